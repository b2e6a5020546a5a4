"""A callback that prints training as a table."""

import logging
import os
import shutil
import statistics
import sys

import keras

from fast_weights.experiment.callbacks.records import Records
from fast_weights.experiment.console import format_duration
from fast_weights.experiment.results import EpochRecord

logger = logging.getLogger(__name__)
# Fits a terminal of 80 columns.
WIDTH = 80
HEADER = (
    f"{'':9}  {'training':>16}  {'validation':>25} {'gradient':>8}\n"
    f"{'epoch':>9}  {'loss':>6}  {'accuracy':>8}  {'loss':>6}  {'accuracy':>8}  {'best':>7}"
    f"  {'norm':>7}  {'seconds':>7}  {'left':>6}"
)
# The console of Windows may show escape sequences as they are.
CLEAR_LINE = f"\r{'':79}\r" if os.name == "nt" else "\r\x1b[K"


class ProgressTable(keras.callbacks.Callback):
    """Prints a row for each epoch, and on a terminal a bar for the current one.

    Args:
        records: the callback that writes the records. `fit` must get it before this one.
        stream: the stream to print to. Default: standard output.
    """

    def __init__(self, records: Records, stream=None):
        super().__init__()
        self._records = records
        self._stream = stream or sys.stdout
        self._is_live = self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self._can_write = True
        self._so_far = ""
        self._seconds: list[float] = []

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch + 1

    def on_train_batch_end(self, batch, logs=None):
        # A generator does not know its number of steps. In a narrow terminal, the bar would leave a
        # line at each step.
        is_wide = shutil.get_terminal_size().columns >= WIDTH
        if self._is_live and is_wide and self.params["steps"]:
            # Validation takes about as long as one more batch.
            fraction = (batch + 1) / (self.params["steps"] + 1)
            bar = "#" * round(30 * fraction)
            label = _label(self._epoch, self.params["epochs"])
            self._write(f"{CLEAR_LINE}{label}  [{bar:<30}] {fraction:4.0%}{self._so_far}")

    def on_epoch_end(self, epoch, logs=None):
        record, num_epochs = self._records.all[-1], self.params["epochs"]
        # The first epoch compiles, so only the later ones predict the time of an epoch.
        self._seconds.append(record.seconds)
        recent = self._seconds[1:][-9:]
        epochs_left = num_epochs - record.epoch
        left = format_duration(statistics.median(recent) * epochs_left) if recent else "?"
        best = max(one.val_accuracy for one in self._records.all)
        clear = CLEAR_LINE if self._is_live else ""
        if not self._so_far:
            self._write(f"{clear}{HEADER}\n")
        self._so_far = f"  best {best:.2%}, {left} left"
        self._write(f"{clear}{table_row(record, num_epochs, best, left)}\n")

    def _write(self, text):
        if not self._can_write:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError as error:  # such as `train.py | head`
            self._can_write = False
            logger.warning("Training continues without the progress table: %s", error.strerror)


def table_row(record: EpochRecord, num_epochs: int, best: float, left: str) -> str:
    """Returns the row of an epoch, with the best validation accuracy and the time left."""
    # Only a `BlockModel` measures the norm.
    norm = "-" if record.gradient_norm is None else f"{record.gradient_norm:.3f}"
    return (
        f"{_label(record.epoch, num_epochs)}  {record.train_loss:6.4f}"
        f"  {record.train_accuracy:8.2%}  {record.val_loss:6.4f}  {record.val_accuracy:8.2%}"
        f"  {best:7.2%}  {norm:>7}  {record.seconds:7.2f}  {left:>6}"
    )


def _label(epoch, num_epochs):
    return f"{f'{epoch}/{num_epochs}':>9}"
