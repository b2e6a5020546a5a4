"""A callback that evaluates a second split."""

import keras


class EvaluateTest(keras.callbacks.Callback):
    """Adds the results on a second split to the logs of an epoch, as `test_loss` and so on.

    Args:
        data: an argument of `keras.Model.evaluate`, for example a `tf.data.Dataset`.
    """

    def __init__(self, data):
        super().__init__()
        self.data = data

    def on_epoch_end(self, epoch, logs=None):
        found = self.model.evaluate(self.data, verbose=0, return_dict=True)
        # Keras 3.8 returns tensors.
        logs.update({f"test_{name}": float(value) for name, value in found.items()})
