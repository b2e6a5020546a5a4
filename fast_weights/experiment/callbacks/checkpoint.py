"""A callback that saves everything that training changes."""

import keras

from fast_weights.experiment import checkpoint

# One to resume from, and one to fall back to.
MAX_TO_KEEP = 2


class Checkpoint(keras.callbacks.Callback):
    """Saves the weights and the optimizer after every epoch, in one atomically written file.

    To resume, `fit` starts at `initial_epoch=checkpoint.restore_newest(directory, model)`.
    Unlike `keras.callbacks.BackupAndRestore`, it keeps a second file, in case that the newest is
    corrupt, and a reader finds only complete files.

    Args:
        directory: of the files `ckpt-N.npz`, one for each of the last epochs N.
        max_to_keep: the number of files to keep. Default 2.
    """

    def __init__(self, directory, max_to_keep: int = MAX_TO_KEEP):
        super().__init__()
        self.directory = directory
        self.max_to_keep = max_to_keep

    def on_epoch_end(self, epoch, logs=None):
        checkpoint.save(self.directory, self.model, epoch + 1, self.max_to_keep)
