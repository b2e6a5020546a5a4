"""A callback that writes the results of every epoch."""

import time

import keras

from fast_weights.experiment import results
from fast_weights.experiment.errors import UserError
from fast_weights.experiment.results import EpochRecord

NEEDED = ("loss", "accuracy", "val_loss", "val_accuracy")


class Records(keras.callbacks.Callback):
    """Adds a line to a file of records after every epoch. `fit` needs validation data.

    Args:
        path: the file, such as `"results.jsonl"`. Training keeps its records of the epochs before
            `initial_epoch`, and removes later ones.

    Attributes:
        all: the records of all epochs so far, oldest first.
    """

    def __init__(self, path):
        super().__init__()
        self.path = path
        self.all: list[EpochRecord] = []

    def on_train_begin(self, logs=None):
        self.all = []

    def on_epoch_begin(self, epoch, logs=None):
        if not self.all:
            results.truncate(self.path, epoch)
            self.all = results.read(self.path)
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        missing = [name for name in NEEDED if name not in (logs or {})]
        if missing:
            raise UserError(
                "`Records` needs validation data in every epoch, and the metric `accuracy`. "
                f"Received: logs without {', '.join(missing)}"
            )
        record = EpochRecord(
            epoch=epoch + 1,
            train_loss=logs["loss"],
            train_accuracy=logs["accuracy"],
            val_loss=logs["val_loss"],
            val_accuracy=logs["val_accuracy"],
            gradient_norm=logs.get("gradient_norm"),
            seconds=round(time.perf_counter() - self._start, 3),
            test_loss=logs.get("test_loss"),
            test_accuracy=logs.get("test_accuracy"),
        )
        results.append(self.path, record)
        self.all.append(record)
