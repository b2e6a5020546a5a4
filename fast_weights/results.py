"""What each epoch came to: one JSON line an epoch, with a checksum, in `results.jsonl`."""

import dataclasses
import io
import json
import os
import pathlib
from collections.abc import Callable

from fast_weights import files
from fast_weights.config import MAX_EPOCHS
from fast_weights.errors import UserError

FILE_NAME = "results.jsonl"
# A million epochs have a quarter of a gigabyte.
MAX_BYTES = 3 * 10**8
# Lines that are none: more than any accident leaves.
MAX_BROKEN = 10_000
# Losses and norms are of float32, which has none larger; so many seconds are none.
MAX_NUMBER = 3.5e38
# Broken lines that are named; of a file that holds something else altogether, the first.
MAX_NAMED = 5


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
        values = dataclasses.asdict(record)
        file.write(json.dumps({**values, "checksum": files.checksum(values)}) + "\n")
        file.flush()
        os.fsync(file.fileno())


def read(folder, say: Callable[[str], None] = print) -> list[Record]:
    """Reads the folder's results, oldest first; an empty list where there are none.

    Args:
        folder: where `results.jsonl` lies.
        say: called with a line for each line that is no record and is skipped (the first
            `MAX_NAMED`; then one for the others).

    Raises:
        UserError: if the file cannot be read, or holds something else altogether.
    """
    return read_file(pathlib.Path(folder) / FILE_NAME, say)


def read_file(path, say: Callable[[str], None] = print) -> list[Record]:
    """`read` of a file by any name."""
    return [record for _, record in _lines(pathlib.Path(path), say)]


def read_seeds(folder, say: Callable[[str], None] = print) -> list[list[Record]]:
    """The results of a model's folder and of its `seed-N` folders, those that have any."""
    folder = pathlib.Path(folder)
    seeds = [read(one, say) for one in [folder, *sorted(folder.glob("seed-*"))]]
    return [records for records in seeds if records]


def truncate(folder, num_epochs: int, say: Callable[[str], None] = print) -> None:
    """Drops what is not a record of one of the first `num_epochs` epochs.

    Args:
        folder: where `results.jsonl` lies.
        num_epochs: how many epochs are done.
        say: as `read`, and called with a line if epochs are missing.
    """
    path = pathlib.Path(folder) / FILE_NAME
    kept = [(line, record) for line, record in _lines(path, say) if record.epoch < num_epochs]
    missing = num_epochs - len({record.epoch for _, record in kept})
    if missing:
        say(f"{path} lacks {missing} of the {num_epochs} epochs that are done")
    with files.replacing(path) as temporary:
        temporary.write_text("".join(f"{line}\n" for line, _ in kept), encoding="utf-8")


def _lines(path: pathlib.Path, say) -> list[tuple[str, Record]]:
    """The lines that are records, each epoch's first, and those; says which are none."""
    if not path.exists():
        return []
    try:
        text = files.read_text(path, MAX_BYTES)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"{path} holds no results: {error}") from None
    found, epochs, broken = [], set(), 0
    for number, line in enumerate(io.StringIO(text), start=1):
        line = line.rstrip("\n")
        record = _parse(line)
        if record and record.epoch not in epochs:
            found.append((line, record))
            epochs.add(record.epoch)
            continue
        broken += 1
        if broken <= MAX_NAMED:
            what = f"a second record of epoch {record.epoch}" if record else "no record of an epoch"
            say(f"{path}, line {number} is {what} and is skipped: {line[:60]!a}")
        if broken > MAX_BROKEN:
            raise UserError(
                f"{path} holds no results: more than {MAX_BROKEN:,} of its lines are none. "
                "Move it elsewhere"
            )
    if broken > MAX_NAMED:
        say(f"{path}: {broken - MAX_NAMED} more lines are none and are skipped")
    return found


def _parse(line: str) -> Record | None:
    """The line's record; `None` if it is none, or not what was written."""
    try:
        values = files.parse_json(line)
        # Lines of version 0.1 have none.
        if "checksum" in values and values.pop("checksum") != files.checksum(values):
            return None
        record = Record(**values)
        numbers = dataclasses.astuple(record)
        is_record = (
            type(record.epoch) is int
            and record.epoch < MAX_EPOCHS
            and record.train_accuracy <= 1
            and record.valid_accuracy <= 1
            and all(type(n) in (int, float) and 0 <= n <= MAX_NUMBER for n in numbers)
        )
    except (ValueError, TypeError, AttributeError, OverflowError):
        return None
    return record if is_record else None
