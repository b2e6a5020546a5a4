"""Plots accuracy, loss and gradient norm of all models that have results.

python plot.py
"""

from absl import app, flags

from fast_weights import terminal

FLAGS = flags.FLAGS

flags.DEFINE_string("checkpoint_dir", "checkpoints", "folder of the models' folders")
flags.DEFINE_string("output_dir", "figures", "folder to write the figures to")


@terminal.one_line_errors
def main(argv):
    """Results -> figures."""
    del argv
    import pathlib

    from fast_weights import figures, results
    from fast_weights.errors import UserError

    checkpoint_dir = pathlib.Path(FLAGS.checkpoint_dir)
    found = {name: results.read(checkpoint_dir / name) for name in figures.STYLES}
    missing = [name for name, records in found.items() if not records]
    if len(missing) == len(found):
        raise UserError(
            f"no results in {checkpoint_dir}. Train a model first: "
            "python train.py --model_name=RNN-LN-FW"
        )
    for path in figures.plot_curves(found, FLAGS.output_dir):
        print(f"Wrote {path}")
    for name in missing:
        print(f"{name} has no results yet: python train.py --model_name={name}")
    return 0


if __name__ == "__main__":
    app.run(main)
