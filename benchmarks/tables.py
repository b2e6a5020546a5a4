"""Markdown tables of records. The pages show them (`benchmarks/fill_pages.py`)."""

from collections.abc import Iterable, Sequence

import numpy as np

from fast_weights.experiment.config import SUMMARY_EVERY
from fast_weights.experiment.results import EpochRecord

Records = list[EpochRecord]


def first_epoch(records: Records, accuracy: float) -> int | None:
    """Returns the first epoch with at least that validation accuracy."""
    return next((record.epoch for record in records if record.val_accuracy >= accuracy), None)


def best(records: Records) -> EpochRecord:
    """Returns the record with the highest validation accuracy."""
    return max(records, key=lambda record: record.val_accuracy)


# Heading -> value of a run, format.
COLUMNS = {
    "epoch of 45%": (lambda records: first_epoch(records, 0.45), ".0f"),
    "epoch of 99%": (lambda records: first_epoch(records, 0.99), ".0f"),
    "epoch of 99.9%": (lambda records: first_epoch(records, 0.999), ".0f"),
    "final accuracy": (lambda records: records[-1].val_accuracy, ".2%"),
    "best accuracy": (lambda records: best(records).val_accuracy, ".2%"),
    "epoch of best": (lambda records: best(records).epoch, ".0f"),
    "training accuracy": (lambda records: records[-1].train_accuracy, ".2%"),
    "minutes per run": (lambda records: sum(one.seconds for one in records) / 60, ".1f"),
}
for _n in (150, 200, 400, 500, 1000):
    COLUMNS[f"accuracy at {_n}"] = (lambda records, n=_n: records[n - 1].val_accuracy, ".2%")
    COLUMNS[f"loss at {_n}"] = (lambda records, n=_n: records[n - 1].val_loss, ".4f")


def table(heads: Iterable, rows: Iterable[Iterable]) -> str:
    """Returns a table in Markdown."""
    heads = list(heads)
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def cells(runs: Sequence[Records], columns: Iterable[str]) -> list[str]:
    """Returns a cell for each column: the mean and the range over runs, or a dash.

    Args:
        runs: the records of a run, or of the seeds of one model.
        columns: names in `COLUMNS`.
    """
    row = []
    for value_of, form in (COLUMNS[column] for column in columns):
        values = [value_of(records) for records in runs]
        if None in values:
            row.append("-")
            continue
        mean, low, high = (format(f(values), form) for f in (np.mean, min, max))
        row.append(mean if len(runs) == 1 else f"{mean} ({low} to {high})")
    return row


def table_of_runs(head: str, runs: dict[str, Records], *columns: str) -> str:
    """Returns a table with a row for each run, by name."""
    return table([head, *columns], ([name, *cells([runs[name]], columns)] for name in runs))


def speed_training(record: dict) -> str:
    """Returns the times of `train.py` and of the original's way of training."""
    step, steps = record["original_step_ms"], record["steps_per_epoch"]
    rows = {
        "original: one training step": f"{step:.2f} ms",
        f"original: {steps} training steps": f"{step * steps / 1e3:.2f} s",
        f"`train.py`: one epoch of {steps} training steps, validation and files": (
            f"{record['epoch_s']:.2f} s"
        ),
        "`train.py`: from its start to the end of the first epoch": f"{record['start_s']:.1f} s",
        f"`train.py`: one TensorBoard snapshot of weights and memory, every {SUMMARY_EVERY} "
        "epochs": f"{record['snapshot_s']:.2f} s",
    }
    return table(["RNN-LN-FW", "time"], rows.items())


def speed_steps(record: dict) -> str:
    """Returns the time of a training step of each layer, relative to Keras's GRU, and in a loop."""
    rows = (
        [
            name,
            f"{time:.2f} ms",
            f"{record['relative_to_gru'][name]:.2f}",
            f"{record['loop_over_unrolled'][name]:.2f}",
        ]
        for name, time in record["step_ms"].items()
    )
    return table(["layer", "time", "relative to Keras's `GRUCell`", "loop / unrolled"], rows)


def speed_fit(record: dict) -> str:
    """Returns the time and the losses of the program of `train.py` and of `fit`."""
    rows = (
        [name, f"{seconds:.2f} s", *(f"{losses[i]:.5f}" for losses in record["fit_losses"])]
        for i, (name, seconds) in enumerate(
            {
                "the program of `train.py`": record["program_epoch_s"],
                "`fit`": record["fit_epoch_s"],
            }.items()
        )
    )
    epochs = range(1, len(record["fit_losses"]) + 1)
    return table(["", "one epoch", *(f"loss of epoch {n}" for n in epochs)], rows)


def snapshot_share(record: dict) -> str:
    """Returns the share of the time of training that TensorBoard snapshots take."""
    snapshot = record["snapshot_s"]
    return f"{snapshot / (snapshot + SUMMARY_EVERY * record['epoch_s']):.1%}"
