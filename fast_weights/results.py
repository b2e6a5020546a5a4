"""What each epoch came to: one JSON line an epoch in `results.jsonl`."""

import dataclasses
import json
import os
import pathlib

from fast_weights.errors import UserError

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


def read(folder) -> list[Record]:
    """Reads the folder's results, oldest first; an empty list where there are none.

    Raises:
        UserError: if a line is not a record.
    """
    path = pathlib.Path(folder) / FILE_NAME
    if not path.exists():
        return []
    records = []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        record = _parse(line)
        if record is None:
            raise UserError(
                f"{path}, line {number}: expected a JSON object of "
                f"{', '.join(field.name for field in dataclasses.fields(Record))}. "
                f"Received: {line[:60]!r}. Delete that line to go on without its epoch"
            )
        records.append(record)
    return records


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
    try:
        return Record(**json.loads(line))
    except (ValueError, TypeError):
        return None
