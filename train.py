"""Trains a model on associative retrieval or another task.

python train.py --model_name=RNN-LN-FW
python train.py --model_name=GRU --task=multi-query-recall --num_pairs=4

A run that was interrupted resumes after the last completed epoch.
"""

import fast_weights.experiment.requirements  # noqa: F401  ends here if something is missing

# isort: split
import logging
import math

from absl import flags

from fast_weights.experiment import console
from fast_weights.experiment.config import STRATEGIES, SUMMARY_EVERY, Config
from fast_weights.experiment.run_dir import resolve_config

FLAGS = flags.FLAGS

console.define_config_flags()
console.define_directory_flags()
flags.DEFINE_bool(
    "restart", False, "move the earlier run of this model and seed to previous/ and start over"
)
flags.DEFINE_integer(
    "summary_every",
    SUMMARY_EVERY,
    "epochs between two TensorBoard snapshots of the weights and the memory",
    lower_bound=1,
)
flags.DEFINE_float(
    "stop_at_accuracy",
    None,
    "end after an epoch with at least this validation accuracy, such as 0.999",
    lower_bound=0,
    upper_bound=1,
)
flags.DEFINE_enum(
    "distribution_strategy",
    "off",
    STRATEGIES,
    "the devices that share each batch: one (off), all of this machine (mirrored), or those of all "
    "workers of TF_CONFIG or of a Slurm job (multi_worker_mirrored)",
)
flags.DEFINE_integer(
    "num_devices",
    None,
    "number of virtual CPU devices with mirrored; default: mirrored uses all GPUs",
    lower_bound=1,
)
flags.DEFINE_bool("quiet", False, "print only errors, warnings and the last line")


def main():
    """Trains the model that the flags describe."""
    run_dir = console.run_dir()
    settings = console.given_settings()
    if FLAGS.restart:
        config = Config.with_defaults(**settings)
    else:
        config = resolve_config(run_dir, settings)
    if FLAGS.quiet:
        logging.getLogger("fast_weights").setLevel(logging.WARNING)
    # When a worker stops, TensorFlow would print a page of log before the error of `train.py`.
    has_workers = FLAGS.distribution_strategy == "multi_worker_mirrored"
    with console.quiet_import(log_level="3" if has_workers else "2"):
        from fast_weights.experiment.training import train

    records = train(
        config,
        run_dir,
        FLAGS.data_dir,
        progress=not FLAGS.quiet,
        restart=FLAGS.restart,
        summary_every=FLAGS.summary_every,
        stop_at_accuracy=math.inf if FLAGS.stop_at_accuracy is None else FLAGS.stop_at_accuracy,
        distribution_strategy=FLAGS.distribution_strategy,
        num_devices=FLAGS.num_devices,
    )
    if not records and has_workers:  # a worker other than the chief
        return
    epoch = run_dir.checkpoint_epochs()[0]
    if not FLAGS.quiet:
        is_planned = epoch < run_dir.read_config().num_epochs
        ended_by = "num_epochs" if FLAGS.stop_at_accuracy is None else "stop_at_accuracy"
        advice = f"omit --{ended_by}" if is_planned else f"raise --num_epochs above {epoch}"
        print(f"To train longer, {advice}.")
    line = f"{config.model_name} has completed epoch {epoch}."
    if records:  # unless someone deleted results.jsonl
        best = max(records, key=lambda record: record.val_accuracy)
        line += f" Best validation accuracy: {best.val_accuracy:.2%} in epoch {best.epoch}."
    print(f"{line} Checkpoint: {run_dir}")


if __name__ == "__main__":
    console.run(
        main,
        on_interrupt="Interrupted. Every completed epoch is saved. To resume, run the same command "
        "(without --restart).",
    )
