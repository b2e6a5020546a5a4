"""Plots the results of all models or of one, or the memory or the weights of one model.

python plot.py
python plot.py --model_name=GRU-LN --with_bundled
python plot.py --figure=memory --sample='g5o8k1??g'
python plot.py --figure=explore
"""

import fast_weights.experiment.requirements  # noqa: F401  ends here if something is missing

# isort: split
import dataclasses
import pathlib
import re
import statistics
import zlib

from absl import flags

from fast_weights.experiment import console, results
from fast_weights.experiment.config import NETWORKS, Config
from fast_weights.experiment.dataset import load_or_generate
from fast_weights.experiment.errors import UserError
from fast_weights.experiment.models import BLOG_MODELS, MODELS, build_model
from fast_weights.experiment.run_dir import PRETRAINED_DIR, RunDirectory, find_runs

FLAGS = flags.FLAGS

console.define_config_flags("model_name", "seed", "network")
console.define_directory_flags()
flags.DEFINE_enum(
    "figure",
    "curves",
    ("curves", "memory", "attention", "weights", "explore"),
    "curves: accuracy, loss and gradient norm of all runs, or of those that --model_name, "
    "--seed and --network select (a single curve includes training); memory: one sequence step by "
    "step, as an image and as a GIF; attention: mean over the validation sequences; weights: slow "
    "weights before and after training; explore: an interactive page that runs the network in "
    "the browser",
)
flags.DEFINE_string("sample", None, "sequence for --figure=memory|explore, such as g5o8k1??g")
flags.DEFINE_bool("log_epochs", False, "logarithmic axis of epochs for --figure=curves")
flags.DEFINE_bool(
    "with_bundled", False, "also draw the recorded curves of the blog's models, in pale colors"
)
flags.DEFINE_enum("format", "png", ("png", "svg", "pdf"), "format of images; animations are GIFs")
flags.DEFINE_string("output_dir", "figures", "directory to write to")

# Flags that only some figures use.
USED_BY = {
    "sample": ("memory", "explore"),
    "log_epochs": ("curves",),
    "with_bundled": ("curves",),
    "format": ("curves", "memory", "attention", "weights"),
}
# The most characters of the settings, and of a sample, in a file name. A system's limit is 255.
MAX_NAME = 30
BUNDLED_DIR = pathlib.Path(__file__).parent / "docs/results"


def main():
    """Writes the figures that the flags ask for."""
    for name, figures in USED_BY.items():
        if FLAGS[name].present and FLAGS.figure not in figures:
            raise UserError(
                f"--{name} can be used only with --figure={'|'.join(figures)}. "
                f"Received: --figure={FLAGS.figure}"
            )
    with_memory = [name for name, model in MODELS.items() if model.has_fast_weights]
    # The page computes the equations of this model alone.
    drawn = {"memory": with_memory, "attention": with_memory, "explore": ["RNN-LN-FW"]}
    if FLAGS.model_name not in drawn.get(FLAGS.figure, MODELS):
        raise UserError(
            f"--figure={FLAGS.figure} needs one of the models {', '.join(drawn[FLAGS.figure])}. "
            f"Received: --model_name={FLAGS.model_name}"
        )
    draw = {
        "curves": curves,
        "memory": memory,
        "attention": attention,
        "weights": weights,
        "explore": explore,
    }
    for path in draw[FLAGS.figure]():
        print(f"Wrote {path}")


def curves():
    """Plots the results of the runs in --checkpoint_dir, or else of those below it."""
    selected = [name for name in ("model_name", "seed", "network") if FLAGS[name].present]
    runs = {
        run_dir: records
        for run_dir in find_runs(FLAGS.checkpoint_dir)
        if all(getattr(run_dir.read_config(), name) == FLAGS[name].value for name in selected)
        # A run in its first epoch has no records yet.
        if (records := results.read(run_dir.results_path))
    }
    if not runs:
        command = console.run_dir().train_command()
        raise UserError(f"no results in {FLAGS.checkpoint_dir}. Train a model: {command}")
    here = pathlib.Path(FLAGS.checkpoint_dir)
    at_top = [run_dir for run_dir in runs if run_dir.checkpoint_dir == here]
    configs = {run_dir: run_dir.read_config() for run_dir in at_top or runs}
    tasks = sorted({config.task for config in configs.values()})
    has_default_task = tasks == [Config().task]
    if FLAGS.with_bundled and not has_default_task:
        raise UserError(
            f"the bundled curves are only of {Config().task}. Omit --with_bundled. "
            f"Received: runs of {', '.join(tasks)}"
        )
    bundled = {
        name: [results.read(path) for path in sorted(BUNDLED_DIR.glob(f"{name}-seed*.jsonl"))]
        for name in (BLOG_MODELS if FLAGS.with_bundled else ())
    }
    with console.quiet_import():
        from fast_weights.experiment.plots import plot_curves

    labels = _by_label(runs, configs, bundled)
    yield from plot_curves(
        labels,
        FLAGS.output_dir,
        FLAGS.format,
        FLAGS.log_epochs,
        bundled,
        # The blog's accuracies hold for its own settings.
        mark_published=not any(config.changes() for config in configs.values()),
    )
    if len(labels) > 1:
        _print_table(labels)
    trained = {run_dir.model_name for run_dir in at_top}
    if at_top and has_default_task and "model_name" not in selected:
        for name in sorted({*BLOG_MODELS} - trained):
            command = RunDirectory(FLAGS.checkpoint_dir, name).train_command()
            print(f"{name} has no results. To train it: {command}")


def _by_label(runs, configs, bundled):
    """Returns the records of each seed by label: the model, and its settings that differ.

    Args:
        runs: the records of each run, by `RunDirectory`.
        configs: the settings of each run.
        bundled: the bundled records by model, which are runs with the default settings.
    """
    others = [*configs.values(), *(Config(model_name=name) for name in bundled)]
    found = {}
    for run_dir, config in sorted(configs.items(), key=lambda item: _order(item[1])):
        same_model = [other for other in others if other.model_name == config.model_name]
        varied = dict.fromkeys(name for other in same_model for name in config.differences(other))
        settings = [f"{name}={getattr(config, name)}" for name in varied if name != "seed"]
        label = ", ".join([config.model_name, *settings])
        if run_dir.seed in found.get(label, {}):  # the same run in another directory
            label += f", {run_dir}"
        found.setdefault(label, {})[run_dir.seed] = runs[run_dir]
    return {label: list(seeds.values()) for label, seeds in found.items()}


def _print_table(labels):
    """Prints the seeds, the epochs and the best validation accuracy of each label."""
    width = max(map(len, labels))
    print(f"{'':{width}}  seeds  epochs  best accuracy")
    for label, seeds in labels.items():
        epochs = max(len(one) for one in seeds)
        best = statistics.mean(max(record.val_accuracy for record in one) for one in seeds)
        print(f"{label:{width}}  {len(seeds):5}  {epochs:6}  {best:13.2%}")


def _order(config):
    """Returns a key that sorts runs by their settings, and numbers by size."""
    values = dataclasses.astuple(config)
    return [(type(value).__name__, value) for value in values if value is not None]


def memory():
    """Plots one sequence, as an image and as an animation."""
    task = _config().make_task()
    sample = _sample(task)
    model, config, caption = _load()
    from fast_weights.experiment import evaluation, plots

    trace = evaluation.trace_sequence(model, task, sample)
    yield plots.plot_memory(trace, _path(config, FLAGS.format, sample), caption)
    yield plots.animate_memory(trace, _path(config, "gif", sample), caption)


def attention():
    """Plots the mean attention over the validation sequences."""
    if _config().inner_steps == 0:
        raise UserError("--figure=attention needs one inner step or more. Received: inner_steps=0")
    model, config, caption = _load()
    from fast_weights.experiment import evaluation, plots

    task, validation = config.make_task(), load_or_generate(FLAGS.data_dir, config).validation
    maps = evaluation.mean_attention(model, task, validation)
    yield plots.plot_attention(maps, task, _path(config, FLAGS.format), caption)


def weights():
    """Plots the matrices of the recurrent layer before and after training."""
    model, config, caption = _load()
    from fast_weights.experiment import plots

    before, after = (
        {weight.name: weight.numpy() for weight in one.get_layer("rnn").weights if weight.ndim == 2}
        for one in (build_model(config), model)
    )
    blocks = MODELS[config.model_name].blocks
    path = _path(config, FLAGS.format)
    yield plots.plot_weights(before, after, config.make_task(), path, caption, config.units, blocks)


def explore():
    """Writes the page with the network of the run, before and after training, and bundled ones."""
    if (task_name := _config().task) != Config().task:
        raise UserError(
            f"--figure=explore needs a run of {Config().task}. Received: a run of {task_name}"
        )
    sample = _sample(_config().make_task())
    model, config, caption = _load()
    from fast_weights.experiment.checkpoint import load_model
    from fast_weights.experiment.plots import explore

    networks = [
        explore.network_data(model, config, "Trained"),
        explore.network_data(build_model(config), config, "Untrained"),
    ]
    for bundled in (RunDirectory(PRETRAINED_DIR / one, config.model_name) for one in NETWORKS):
        recurrence = bundled.read_config().recurrence
        if recurrence != config.recurrence:
            networks.append(explore.network_data(*load_model(bundled), f"Trained, {recurrence}"))
    path = _path(config, "html", FLAGS.sample or "")
    yield explore.write_page(networks, sample, caption, path)


def _sample(task):
    """Returns the sequence that `--sample` names. Raises `UserError` if it is invalid."""
    sample = task.default_sample if FLAGS.sample is None else FLAGS.sample
    task.encode_sample(sample)
    return sample


def _path(config, suffix, sample=""):
    """Returns the path of a figure, which is unique to its model, seed, settings and sample."""
    settings = "-".join(f"{name}-{value}" for name, value in config.changes().items())
    parts = [FLAGS.figure, config.model_name, f"seed-{config.seed}"]
    parts += [_file_name(text) for text in (settings, sample.replace("?", "")) if text]
    return pathlib.Path(FLAGS.output_dir, f"{'-'.join(parts)}.{suffix}")


def _file_name(text):
    """Returns `text` as a valid file name on all systems, with a digest if it was changed."""
    name = re.sub(r"[^\w.+-]", "_", text, flags=re.ASCII)[:MAX_NAME]
    return name if name == text else f"{name}-{zlib.crc32(text.encode()):08x}"


def _config():
    """Returns the configuration of the model that the flags name."""
    return console.run_dir().trained_or_bundled(console.network()).read_config()


def _load():
    """Returns the model that the flags name, its configuration, and a caption for its figures."""
    _config()  # a missing model is reported before TensorFlow loads
    with console.quiet_import():
        from fast_weights.experiment.checkpoint import load_epoch

    model, config, epochs = load_epoch(console.run_dir(), console.network())
    settings = [f"{name}={value}" for name, value in config.changes().items()]
    parts = [
        config.model_name,
        f"seed {config.seed}",
        *settings,
        f"after {epochs:,} epoch{'' if epochs == 1 else 's'}",
    ]
    return model, config, ", ".join(parts)


if __name__ == "__main__":
    console.run(main)
