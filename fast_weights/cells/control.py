"""CONTROL: a plain ReLU recurrent network.

| symbol | code | shape |
|---|---|---|
| x_t | `inputs` | (B, D) |
| h_t | `hidden` | (B, H) |
| W_x | `kernel` | (D, H) |
| W_h | `recurrent_kernel` | (H, H) |
| b_x | `bias` | (H,) |
"""

import keras
from keras import ops

from fast_weights.cells.common import check_units, input_initializer, recurrent_initializer


@keras.saving.register_keras_serializable(package="fast_weights")
class ControlCell(keras.layers.Layer):
    """Recurrent cell with neither layer normalization nor fast weights.

    Each step computes

    1. `h_t = relu(x_t W_x + b_x + h_{t-1} W_h)`

    Reference: the original's CONTROL; an IRNN (Le, Jaitly and Hinton 2015,
    arXiv 1504.00941) whose W_h starts at 0.05·I.

    Args:
        units: positive integer, H, the size of the hidden state.
        **kwargs: `name`, `dtype` and the like, as for every Keras layer.

    Call arguments:
        inputs: (B, D), one time step.
        states: a list with `h_{t-1}`, (B, H).

    Returns:
        `h_t`, (B, H), and the list of states `[h_t]`.

    Raises:
        ValueError: if `units` is not a positive integer.

    Example:

    >>> import numpy as np
    >>> layer = keras.layers.RNN(ControlCell(4))
    >>> layer(np.ones((2, 9, 3), "float32")).shape
    TensorShape([2, 4])
    """

    def __init__(self, units, **kwargs):
        check_units(units)
        super().__init__(**kwargs)
        self.units = units
        self.state_size = units
        self.output_size = units

    def build(self, input_shape):
        """Makes the slow weights for inputs of `input_shape[-1]` features."""
        self.kernel = self.add_weight(
            shape=(input_shape[-1], self.units), name="kernel", initializer=input_initializer()
        )
        self.recurrent_kernel = self.add_weight(
            shape=(self.units, self.units),
            name="recurrent_kernel",
            initializer=recurrent_initializer(),
        )
        self.bias = self.add_weight(shape=(self.units,), name="bias", initializer="zeros")

    def call(self, inputs, states):
        hidden = states[0]
        projected = ops.matmul(inputs, self.kernel) + self.bias
        # (1)
        hidden = ops.relu(projected + ops.matmul(hidden, self.recurrent_kernel))
        return hidden, [hidden]

    def get_initial_state(self, batch_size=None):
        """Zeros, [(batch_size, H)]."""
        return [ops.zeros((batch_size, self.units), dtype=self.compute_dtype)]

    def get_config(self):
        return {**super().get_config(), "units": self.units}
