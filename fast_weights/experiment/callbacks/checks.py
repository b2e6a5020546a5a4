"""Callbacks that end training: at an accuracy, or if a loss or a weight is not finite."""

import keras
import numpy as np

from fast_weights.experiment.errors import UserError, option


class StopAtAccuracy(keras.callbacks.Callback):
    """Ends training after an epoch with at least this validation accuracy.

    `fit` needs validation data and the metric `accuracy`.

    Args:
        accuracy: a fraction, such as 0.999.
    """

    def __init__(self, accuracy: float):
        super().__init__()
        self.accuracy = accuracy

    def on_epoch_end(self, epoch, logs=None):
        if (logs or {}).get("val_accuracy", -1) >= self.accuracy:
            self.model.stop_training = True


class CheckFinite(keras.callbacks.Callback):
    """Raises a `UserError` after an epoch if a loss or a weight is not finite.

    Unlike `keras.callbacks.TerminateOnNaN`, it raises an error, so that the callbacks after it
    neither record the epoch nor save a checkpoint.
    """

    def on_epoch_end(self, epoch, logs=None):
        losses = [logs[name] for name in ("loss", "val_loss", "test_loss") if name in logs]
        if all(np.isfinite(value).all() for value in (losses, *self.model.get_weights())):
            return
        kept = f"The checkpoint of epoch {epoch} is kept. " if epoch else ""
        raise UserError(
            f"training diverged in epoch {epoch + 1}: the loss or a weight is not finite. {kept}"
            f"Train again ({option('restart', True)}) with a lower {option('learning_rate')} or "
            f"{option('fast_learning_rate')}"
        )
