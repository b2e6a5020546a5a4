"""RNN-LN: the plain recurrent network with layer normalization.

| symbol | code | shape |
|---|---|---|
| x_t | `inputs` | (B, D) |
| h_t | `hidden` | (B, H) |
| W_x | `kernel` | (D, H) |
| W_h | `recurrent_kernel` | (H, H) |
| b_x | `bias` | (H,) |
| gain, bias of LN | `gamma`, `beta` | (H,) |
"""

import keras

from fast_weights.cells.common import check_number, layer_normalize
from fast_weights.cells.control import ControlCell


@keras.saving.register_keras_serializable(package="fast_weights")
class LayerNormRNNCell(ControlCell):
    """Recurrent cell that normalizes its hidden state after the activation.

    Each step computes, with f the activation,

    1. `h_t = LN(f(x_t W_x + b_x + h_{t-1} W_h))`

    Reference: the original's RNN-LN; layer normalization is Ba, Kiros and
    Hinton 2016, arXiv 1607.06450.

    Args:
        units: positive integer, H, the size of the hidden state.
        epsilon: float, zero or more, added to layer normalization's variance; with
            zero, a vector of equal units becomes NaN. Default 1e-5.
        **kwargs: `activation` and the others of `ControlCell`, with its defaults.

    Call arguments:
        inputs: (B, D), one time step.
        states: a list with `h_{t-1}`, (B, H).

    Returns:
        `h_t`, (B, H), and the list of states `[h_t]`.

    Raises:
        ValueError: if `units` is not a positive integer or `epsilon` is negative.

    Example:

    >>> import numpy as np
    >>> layer = keras.layers.RNN(LayerNormRNNCell(4), return_sequences=True)
    >>> tuple(layer(np.ones((2, 9, 3), "float32")).shape)
    (2, 9, 4)
    """

    def __init__(self, units, epsilon=1e-5, **kwargs):
        epsilon = check_number("epsilon", epsilon)
        super().__init__(units, **kwargs)
        self.epsilon = epsilon

    def build(self, input_shape):
        """Makes the slow weights for inputs of `input_shape[-1]` features."""
        super().build(input_shape)
        self.gamma = self.add_weight(shape=(self.units,), name="gamma", initializer="ones")
        self.beta = self.add_weight(shape=(self.units,), name="beta", initializer="zeros")

    def call(self, inputs, states):
        # (1) the plain step, then LN
        hidden, _ = super().call(inputs, states)
        hidden = layer_normalize(hidden, self.gamma, self.beta, self.epsilon)
        return hidden, [hidden]

    def get_config(self):
        return {**super().get_config(), "epsilon": self.epsilon}
