"""Trains one of the four models on associative retrieval.

python train.py --model_name=RNN-LN-FW

A run that was stopped goes on where its last whole epoch ended.
"""

import dataclasses

from absl import app, flags

from fast_weights import terminal
from fast_weights.config import SUMMARY_EVERY, Config, check_settings
from fast_weights.errors import UserError

FLAGS = flags.FLAGS
DEFINERS = {
    bool: flags.DEFINE_bool,
    float: flags.DEFINE_float,
    int: flags.DEFINE_integer,
    str: flags.DEFINE_string,
}
SETTINGS = dataclasses.fields(Config)

for field in SETTINGS:
    bound = field.metadata["bound"]
    help_text = field.metadata["help"] + (f"; {bound}" if bound else "")
    DEFINERS[field.type](field.name, field.default, help_text)
flags.DEFINE_string("data_dir", "data", "folder of the sequences; they are made where missing")
flags.DEFINE_string("checkpoint_dir", "checkpoints", "folder of the models' folders")
flags.DEFINE_bool("restart", False, "delete the model's checkpoint and results and begin anew")
flags.DEFINE_integer(
    "summary_every",
    SUMMARY_EVERY,
    "epochs between two looks at weights and memory in TensorBoard; from 1 to 1000000",
)
flags.DEFINE_bool("quiet", False, "print nothing but errors, warnings and the last line")


@terminal.one_line_errors
def main(argv):
    """Flags -> Config -> training."""
    del argv
    # The old run may not have been deleted yet.
    unless = ", without --restart if an epoch of the new run is done" if FLAGS.restart else ""
    terminal.stop_at_once(f"Whole epochs are kept; the same command goes on{unless}.")
    asked = {field.name: FLAGS[field.name].value for field in SETTINGS if FLAGS[field.name].present}
    # A bad value is told before TensorFlow takes its seconds to load.
    check_settings(asked)
    if not 1 <= FLAGS.summary_every <= 10**6:
        raise UserError(
            "--summary_every must be from 1 to 1000000. "
            f"Received: --summary_every={FLAGS.summary_every}"
        )
    # NumPy's threads would take the signals, had they begun before.
    from fast_weights import folders

    model_name = FLAGS.model_name
    folder = folders.model_folder(FLAGS.checkpoint_dir, model_name, FLAGS.seed)
    asked["model_name"] = model_name
    config = (
        Config(**asked) if FLAGS.restart else folders.settle_config(folder, asked, terminal.warn)
    )
    with terminal.quiet_import():
        from fast_weights import training

    reporter = terminal.Quiet() if FLAGS.quiet else terminal.ProgressTable(config.num_epochs)
    records = training.train(
        config, FLAGS.data_dir, folder, reporter, FLAGS.restart, FLAGS.summary_every
    )
    # Lines of the results may have been deleted by hand.
    epochs = max([config.num_epochs, *(record.epoch + 1 for record in records)])
    if not FLAGS.quiet:
        print(f"To train longer: --num_epochs=N with N greater than {epochs}")
    line = f"{model_name} has been trained for {epochs} epochs"
    if records:
        best = max(records, key=lambda record: record.valid_accuracy)
        line += f", best validation accuracy {best.valid_accuracy:.2%} in epoch {best.epoch + 1}"
    print(f"{line}. Checkpoint: {folder}")
    return 0


if __name__ == "__main__":
    app.run(main, flags_parser=terminal.flags_parser(flags))
