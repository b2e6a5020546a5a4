"""The results of every epoch: one JSON object per line, in `results.jsonl`."""

import dataclasses
import json
import logging
import os

from fast_weights.experiment import storage

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class EpochRecord:
    """The results of one epoch.

    Attributes:
        epoch: counted from 1.
        train_loss: mean cross-entropy in nats, measured while the weights change.
        train_accuracy: a fraction, also measured while the weights change.
        val_loss: mean cross-entropy in nats after the epoch.
        val_accuracy: a fraction.
        gradient_norm: global norm before clipping, mean over the updates; `None` if not measured.
        seconds: wall time of training and validation.
        test_loss: mean cross-entropy in nats on the test sequences; `None` without any.
        test_accuracy: a fraction on the test sequences; `None` without any.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    gradient_norm: float | None
    seconds: float
    test_loss: float | None = None
    test_accuracy: float | None = None

    def to_json(self) -> str:
        """Returns the record as a JSON object in one line, without results that are `None`."""
        values = dataclasses.asdict(self).items()
        return json.dumps({name: value for name, value in values if value is not None})


def append(path, record: EpochRecord) -> None:
    """Adds a record to a file and waits until it is on disk."""
    try:
        with open(path, "a", encoding="utf-8") as file:
            file.write(f"{record.to_json()}\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:  # the error of a full disk does not name the file
        raise type(error)(error.errno, error.strerror, str(path)) from error


def read(path) -> list[EpochRecord]:
    """Returns the records of a file, oldest first; an empty list if there is no file.

    A line that cannot be parsed is skipped with a warning that gives its number.
    """
    try:
        text = storage.read_text(path)
    except FileNotFoundError:
        return []
    records = []
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            records.append(_parse(line))
        except (AttributeError, TypeError, ValueError):
            logger.warning("%s: line %d is not a record and is skipped", path, number)
    return records


def _parse(line: str) -> EpochRecord:
    """Returns the record of a line."""
    values = json.loads(line)
    if not all(isinstance(value, int | float) for value in values.values()):
        raise ValueError
    return EpochRecord(**{"gradient_norm": None, **values})


def truncate(path, num_epochs: int) -> None:
    """Discards the records after epoch `num_epochs`, and lines that cannot be parsed."""
    kept = [record for record in read(path) if record.epoch <= num_epochs]
    storage.write_text(path, "".join(f"{record.to_json()}\n" for record in kept))
