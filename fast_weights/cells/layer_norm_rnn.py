"""RNN-LN: a recurrent network with layer normalization.

| symbol | code | shape |
|---|---|---|
| x_t | `inputs` | (B, D) |
| x_t W_x + b_x | `projected` | (B, H) |
| h_t | `hidden` | (B, H) |
| W_x | `kernel` | (D, H) |
| W_h | `recurrent_kernel` | (H, H) |
| b_x | `bias` | (H,) |
| gain, bias of LN | `gamma`, `beta` | (H,) |
"""

from typing import Any

import keras

from fast_weights import defaults
from fast_weights.cells.base import (
    Activation,
    RecurrentCell,
    Tensor,
    check_number,
    drop,
    layer_normalize,
)


@keras.saving.register_keras_serializable(package="fast_weights")
class LayerNormRNNCell(RecurrentCell):
    """Recurrent cell that normalizes its hidden state after the activation.

    With f the activation and LN layer normalization, each step computes (the numbers are
    those of this class)

    1. `a_t = f(x_t W_x + b_x + h_{t-1} W_h)`
    2. `h_t = LN(a_t)`

    Reference: the original's RNN-LN; layer normalization is Ba, Kiros and
    Hinton 2016, arXiv 1607.06450.

    Args:
        units: positive integer, H, the size of the hidden state.
        epsilon: float of at least 0, added to the variance in LN; with 0, a
            vector of equal units becomes NaN. Default 1e-5.
        activation: f, a Keras activation. Default `"relu"`.
        **kwargs: the other arguments of `ControlCell`, with its defaults.

    Call arguments:
        inputs: (B, D), one time step.
        states: `[h_{t-1}]`, (B, H).

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

    def __init__(
        self,
        units: int,
        epsilon: float = defaults.EPSILON,
        activation: Activation = "relu",
        **kwargs: Any,
    ):
        epsilon = check_number("epsilon", epsilon)
        super().__init__(units, activation, **kwargs)
        self.epsilon = epsilon

    def build(self, input_shape: tuple) -> None:
        """Creates the slow weights for inputs with `input_shape[-1]` features."""
        self.add_slow_weights(input_shape, columns=self.units)
        self.gamma, self.beta = self.add_gain_and_bias()

    def step(
        self, projected: Tensor, states: list[Tensor], recurrent_mask: Tensor | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        # (1) Activation, as in `ControlCell`.
        recurrent = self.slow_product(drop(states[0], recurrent_mask), self.recurrent_kernel)
        hidden = self.activation(projected + recurrent)
        # (2) Layer normalization.
        hidden = layer_normalize(hidden, self.gamma, self.beta, self.epsilon)
        return hidden, [hidden]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "epsilon": self.epsilon}
