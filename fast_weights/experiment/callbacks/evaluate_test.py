"""A callback that evaluates a second split."""

import keras


class EvaluateTest(keras.callbacks.Callback):
    """Adds `test_loss` and `test_accuracy` to the logs of an epoch, for the callbacks after it.

    Args:
        data: an argument of `keras.Model.evaluate`, for example a `tf.data.Dataset`.
    """

    def __init__(self, data):
        super().__init__()
        self.data = data

    def on_epoch_end(self, epoch, logs=None):
        found = self.model.evaluate(self.data, verbose=0, return_dict=True)
        logs.update(test_loss=found["loss"], test_accuracy=found["accuracy"])
