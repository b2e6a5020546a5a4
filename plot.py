"""Plots the models' results, or the memory of a trained RNN-LN-FW at work.

python plot.py
python plot.py --figure=memory --sample=g5o8k1??g
"""

import pathlib

from absl import app, flags

from fast_weights import terminal
from fast_weights.config import MODEL_NAMES, check_settings
from fast_weights.errors import UserError

FLAGS = flags.FLAGS
FIGURES = ("curves", "memory", "attention", "weights")
FORMATS = ("png", "svg", "pdf")

flags.DEFINE_enum(
    "figure",
    "curves",
    FIGURES,
    "curves: accuracy, loss and gradient norm of all models; memory: one sequence step by step, "
    "also as a GIF; attention: who reads whom, over the validation sequences; weights: before "
    "training and after",
)
flags.DEFINE_enum("model_name", "RNN-LN-FW", MODEL_NAMES, "which model; curves takes all of them")
flags.DEFINE_integer("seed", 0, "that the model was trained with; curves takes all of them")
flags.DEFINE_string("sample", None, "memory: the sequence, such as g5o8k1??g")
flags.DEFINE_bool("log_epochs", False, "curves: draw epochs on a logarithmic axis")
flags.DEFINE_enum("format", "png", FORMATS, "of the figures; animations are GIFs")
flags.DEFINE_string("output_dir", "figures", "folder to write the figures to")
flags.DEFINE_string("data_dir", "data", "folder of the sequences; they are made where missing")
flags.DEFINE_string("checkpoint_dir", "checkpoints", "folder of the models' folders")


@terminal.one_line_errors
def main(argv):
    """Flags -> figures."""
    del argv
    terminal.stop_at_once()
    if FLAGS.figure in ("memory", "attention") and FLAGS.model_name != "RNN-LN-FW":
        raise UserError(
            f"--figure={FLAGS.figure} shows fast weights, and RNN-LN-FW alone keeps them. "
            f"Received: --model_name={FLAGS.model_name}"
        )
    of_one_model = ("memory", "attention", "weights")
    for name, its in {
        "sample": ["memory"],
        "log_epochs": ["curves"],
        "model_name": of_one_model,
        "seed": of_one_model,
    }.items():
        if FLAGS[name].present and FLAGS.figure not in its:
            raise UserError(
                f"--{name} goes with --figure={'|'.join(its)}. Received: --figure={FLAGS.figure}"
            )
    check_settings({"seed": FLAGS.seed})
    draw = {"curves": curves, "memory": memory, "attention": attention, "weights": weights}
    for path in draw[FLAGS.figure]():
        print(f"Wrote {path}")
    return 0


def curves():
    """All models that have results; names those that have none."""
    with terminal.quiet_import():  # Matplotlib tells of a home that it cannot write to
        from fast_weights import figures, folders, results

    found = {
        name: results.read_seeds(pathlib.Path(FLAGS.checkpoint_dir) / name, terminal.warn)
        for name in MODEL_NAMES
    }
    if not any(found.values()):
        raise UserError(
            f"no results in {FLAGS.checkpoint_dir}. Train a model first: "
            + folders.train_command(FLAGS.checkpoint_dir, "RNN-LN-FW")
        )
    yield from figures.plot_curves(found, FLAGS.output_dir, FLAGS.format, FLAGS.log_epochs)
    for name, seeds in found.items():
        if not seeds:
            command = folders.train_command(FLAGS.checkpoint_dir, name)
            print(f"{name} has no results yet: {command}")


def memory():
    """One sequence: a figure and an animation."""
    from fast_weights import data

    num_pairs = find_config().num_pairs
    sample = data.default_sample(num_pairs) if FLAGS.sample is None else FLAGS.sample
    data.encode_sample(sample, num_pairs)
    model, _ = load_model()
    from fast_weights import figures, sampling

    watched = sampling.watch(model, sample, num_pairs)
    yield figures.plot_memory(watched, FLAGS.output_dir, FLAGS.format, caption())
    yield figures.animate_memory(watched, FLAGS.output_dir, caption())


def attention():
    """Who reads whom, averaged over the validation sequences."""
    if find_config().inner_steps == 0:
        raise UserError(
            "--figure=attention shows what the inner loop reads, and with inner_steps=0 there is "
            "none. Take a model that was trained with one inner step or more"
        )
    model, config = load_model()
    from fast_weights import data, figures, sampling

    _, validation = data.load_or_make(
        FLAGS.data_dir, config.num_pairs, config.num_training, config.num_validation, config.seed
    )
    maps = sampling.mean_attention(model, validation)
    yield figures.plot_attention(maps, FLAGS.output_dir, FLAGS.format, caption())


def weights():
    """W_h and W_x as drawn from the seed, and as trained."""
    model, config = load_model()
    from fast_weights import checkpoints, figures

    pairs = []
    for one in (checkpoints.new_state(config).model, model):
        cell = one.get_layer("rnn").cell
        pairs.append((cell.recurrent_kernel.numpy(), cell.kernel.numpy()))
    gates = {"original": ("reset", "candidate"), "standard": ("reset", "update", "candidate")}
    blocks = gates[config.gates] if config.model_name == "GRU-LN" else ("h",)
    yield figures.plot_weights(*pairs, FLAGS.output_dir, FLAGS.format, caption(), blocks)


def caption():
    """What a model's figure is of."""
    return f"{FLAGS.model_name}, seed {FLAGS.seed}"


def find_config():
    """The settings of the model that was asked for, or a line that there is none."""
    from fast_weights import folders

    return folders.find_config(
        FLAGS.checkpoint_dir, FLAGS.model_name, FLAGS.seed, say=lambda line: None
    )


def load_model():
    """The model that was asked for, and its settings."""
    find_config()  # before TensorFlow takes its seconds to load
    with terminal.quiet_import():
        from fast_weights import checkpoints

    return checkpoints.load_model(FLAGS.checkpoint_dir, FLAGS.model_name, FLAGS.seed, terminal.note)


if __name__ == "__main__":
    app.run(main, flags_parser=terminal.flags_parser(flags))
