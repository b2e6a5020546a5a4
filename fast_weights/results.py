"""What each epoch came to: one JSON line an epoch in `results.jsonl`."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Callable

FILE_NAME = "results.jsonl"


@dataclasses.dataclass(frozen=True)
class Record:
    """One epoch. Losses are mean cross-entropies in nats, accuracies fractions."""

    epoch: int
    """Counted from 0."""
    train_loss: float
    train_accuracy: float
    valid_loss: float
    valid_accuracy: float
    gradient_norm: float
    """Global norm before clipping, mean over the steps."""
    seconds: float
    """Wall time of training and validation."""


def append(folder, record: Record) -> None:
    """Adds one line to the folder's results and waits until it is on disk."""
    with open(pathlib.Path(folder) / FILE_NAME, "a", encoding="utf-8") as file:
        file.write(json.dumps(dataclasses.asdict(record)) + "\n")
        file.flush()
        os.fsync(file.fileno())


def read(folder, say: Callable[[str], None] = print) -> list[Record]:
    """Reads the folder's results, oldest first; an empty list where there are none.

    Args:
        folder: where `results.jsonl` lies.
        say: called with a line for each line that is not a record, which is skipped.
    """
    path = pathlib.Path(folder) / FILE_NAME
    if not path.exists():
        return []
    records = []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        record = _parse(line)
        if record:
            records.append(record)
        else:
            say(f"{path}, line {number} is no record of an epoch and is skipped: {line[:60]!r}")
    return records


def read_seeds(folder, say: Callable[[str], None] = print) -> list[list[Record]]:
    """The results of a model's folder and of its `seed-N` folders, those that have any."""
    folder = pathlib.Path(folder)
    seeds = [read(one, say) for one in [folder, *sorted(folder.glob("seed-*"))]]
    return [records for records in seeds if records]


def truncate(folder, num_epochs: int) -> None:
    """Drops what is not a record of one of the first `num_epochs` epochs."""
    path = pathlib.Path(folder) / FILE_NAME
    if not path.exists():
        return
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    records = [(line, _parse(line)) for line in lines]
    kept = [line for line, record in records if record and record.epoch < num_epochs]
    temporary = path.with_name(path.name + ".partial")
    temporary.write_text("".join(kept), encoding="utf-8")
    os.replace(temporary, path)


def _parse(line: str) -> Record | None:
    """The line's record; `None` if it is none."""
    try:
        record = Record(**json.loads(line))
    except (ValueError, TypeError):
        return None
    numbers = dataclasses.astuple(record)
    is_record = type(record.epoch) is int and all(type(n) in (int, float) for n in numbers)
    return record if is_record else None
