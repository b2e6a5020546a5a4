"""Markdown tables of records, and the registry of the parts that the pages show."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

# The settings of a run, and a list with one value for each epoch under each name of a result.
Record = dict[str, Any]
# The functions that write the generated parts of the pages, by name (`benchmarks/fill_pages.py`).
PARTS: dict[str, Callable[[], str]] = {}


def part(name: str) -> Callable[[Callable[[], str]], Callable[[], str]]:
    """Returns a decorator of the function that returns the text of a generated part."""

    def register(function):
        PARTS[name] = function
        return function

    return register


def table(heads: Iterable, rows: Iterable[Iterable]) -> str:
    """Returns a table in Markdown."""
    heads = list(heads)
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def mean_and_range(values: Sequence[float], form: str) -> str:
    """Returns `mean (lowest to highest)` in a format, or only the value if there is one."""
    mean, low, high = (format(function(values), form) for function in (np.mean, min, max))
    return mean if len(values) == 1 else f"{mean} ({low} to {high})"


def first_epoch(record: Record, accuracy: float) -> int | None:
    """Returns the first epoch with at least that validation accuracy."""
    epochs = enumerate(record["val_accuracy"], start=1)
    return next((epoch for epoch, value in epochs if value >= accuracy), None)


def best_epoch(record: Record) -> int:
    """Returns the first epoch with the highest validation accuracy."""
    return 1 + int(np.argmax(record["val_accuracy"]))


def error(record: Record) -> float | None:
    """Returns the test error at the best validation epoch, as a fraction.

    Of epochs with equal accuracies, the one with the lowest loss is the best, then the last.
    `None` if the run has no test sequences.
    """
    accuracies = record.get("test_accuracy", [None])
    if accuracies[0] is None:
        return None
    scores = zip(record["val_accuracy"], np.negative(record["val_loss"]), accuracies, strict=True)
    *_, accuracy = max((*score[:2], i, score[2]) for i, score in enumerate(scores))
    return 1 - accuracy


# Heading -> value of a run, format.
COLUMNS = {
    "epoch of 45%": (lambda record: first_epoch(record, 0.45), ".0f"),
    "epoch of 99%": (lambda record: first_epoch(record, 0.99), ".0f"),
    "epoch of 99.9%": (lambda record: first_epoch(record, 0.999), ".0f"),
    "final accuracy": (lambda record: record["val_accuracy"][-1], ".2%"),
    "best accuracy": (lambda record: max(record["val_accuracy"]), ".2%"),
    "epoch of best": (best_epoch, ".0f"),
    "training accuracy": (lambda record: record["train_accuracy"][-1], ".2%"),
    "test error": (error, ".2%"),
    "minutes per run": (lambda record: np.sum(record["seconds"]) / 60, ".1f"),
}
for _n in (150, 200, 400, 500, 1000):
    COLUMNS[f"accuracy at {_n}"] = (lambda record, n=_n: record["val_accuracy"][n - 1], ".2%")
    COLUMNS[f"loss at {_n}"] = (lambda record, n=_n: record["val_loss"][n - 1], ".4f")


def cells(records: Sequence[Record], columns: Iterable[str]) -> list[str]:
    """Returns a cell for each column: the mean and the range over records, or a dash.

    Args:
        records: of one run, or of several seeds.
        columns: names in `COLUMNS`.
    """
    row = []
    for value_of, form in (COLUMNS[column] for column in columns):
        values = [value_of(record) for record in records]
        row.append("-" if None in values else mean_and_range(values, form))
    return row


def table_of_runs(head: str, runs: dict[str, Sequence[Record]], *columns: str) -> str:
    """Returns a table with a row for each name, and a column for each of `columns`."""
    return table([head, *columns], ([name, *cells(runs[name], columns)] for name in runs))
