"""A callback that saves the weights and the optimizer."""

import keras

from fast_weights.experiment import checkpoint
from fast_weights.experiment.config import Config

# One to resume from, and one to fall back to.
MAX_TO_KEEP = 2


class Checkpoint(keras.callbacks.Callback):
    """Saves the weights and the optimizer after every epoch, in one atomically written file.

    In a model of your own, give each layer a name, by which its weights are found again.

    To resume, pass `initial_epoch=checkpoint.restore_newest(directory, model)` to `fit`. Unlike
    `keras.callbacks.BackupAndRestore`, this callback keeps an earlier file, in case the newest one
    is corrupt. A reader finds only complete files.

    Args:
        directory: the directory of the files, `ckpt-N.npz` after N epochs.
        max_to_keep: the number of files to keep. Default 2.
        config: the settings to save in each file. Default `None`: no settings.
    """

    def __init__(self, directory, max_to_keep: int = MAX_TO_KEEP, config: Config | None = None):
        super().__init__()
        self.directory = directory
        self.max_to_keep = max_to_keep
        self.config = config

    def on_epoch_end(self, epoch, logs=None):
        checkpoint.save(self.directory, self.model, epoch + 1, self.max_to_keep, self.config)
