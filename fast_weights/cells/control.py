"""CONTROL: a plain ReLU recurrent network.

| symbol | code | shape |
|---|---|---|
| x_t | `inputs` | (B, D) |
| x_t W_x + b_x | `projected` | (B, H) |
| h_t | `hidden` | (B, H) |
| W_x | `kernel` | (D, H) |
| W_h | `recurrent_kernel` | (H, H) |
| b_x | `bias` | (H,) |
"""

from typing import Any

import keras

from fast_weights.cells.base import Activation, RecurrentCell, Tensor, drop


@keras.saving.register_keras_serializable(package="fast_weights")
class ControlCell(RecurrentCell):
    """Recurrent cell without layer normalization and without fast weights.

    With f the activation, each step computes

    `h_t = f(x_t W_x + b_x + h_{t-1} W_h)`

    Reference: the original's CONTROL; an IRNN (Le, Jaitly and Hinton 2015,
    arXiv 1504.00941) whose W_h starts at 0.05·I.

    Args:
        units: positive integer, H, the size of the hidden state.
        activation: f, a Keras activation. Default `"relu"`.
        **kwargs: `kernel_initializer` (default: uniform in ±sqrt(2 / D)),
            `recurrent_initializer` (default: 0.05·I), `bias_initializer` (default:
            zeros), and for each of the three `..._regularizer` and
            `..._constraint` (default: `None`); `use_bias` (default: `True`), `dropout` and
            `recurrent_dropout` (default: 0) and `seed` (default: `None`), as in
            `keras.layers.SimpleRNNCell`; arguments of every Keras layer, such as `name` and
            `dtype`.

    Call arguments:
        inputs: (B, D), one time step.
        states: `[h_{t-1}]`, (B, H).

    Returns:
        `h_t`, (B, H), and the list of states `[h_t]`.

    Raises:
        ValueError: if an argument is out of bounds.

    Example:

    >>> import numpy as np
    >>> layer = keras.layers.RNN(ControlCell(4))
    >>> tuple(layer(np.ones((2, 9, 3), "float32")).shape)
    (2, 4)
    """

    def __init__(self, units: int, activation: Activation = "relu", **kwargs: Any):
        super().__init__(units, activation, **kwargs)

    def build(self, input_shape: tuple) -> None:
        """Creates the slow weights for inputs with `input_shape[-1]` features."""
        self.add_slow_weights(input_shape, columns=self.units)

    def step(
        self, projected: Tensor, states: list[Tensor], recurrent_mask: Tensor | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        recurrent = self.slow_product(drop(states[0], recurrent_mask), self.recurrent_kernel)
        hidden = self.activation(projected + recurrent)
        return hidden, [hidden]
