"""GRU-LN: a gated recurrent unit with layer normalization of its gates.

| symbol | code | shape |
|---|---|---|
| x_t | `inputs` | (B, D) |
| x_t W_x + b_x | `projected` | (B, 3H) |
| h_t | `hidden` | (B, H) |
| r_t, u_t | `reset`, `update` | (B, H) |
| c_t | `candidate` | (B, H) |
| W_x = [W_xr, W_xu, W_xc] | `kernel` | (D, 3H) |
| W_h = [W_hr, W_hu, W_hc] | `recurrent_kernel` | (H, 3H) |
| b_x = [b_r, b_u, b_c] | `bias` | (3H,) |
| gain, bias of LN_r | `reset_gamma`, `reset_beta` | (H,) |
| gain, bias of LN_u | `update_gamma`, `update_beta` | (H,) |

With `gates="original"` the weights have 2H columns: W_xu, W_hu and b_u are
omitted, because the original never reads them.
"""

import math
from typing import Any

import keras
from keras import ops

from fast_weights import defaults
from fast_weights.cells.base import (
    Activation,
    RecurrentCell,
    Tensor,
    check_choice,
    check_number,
    drop,
    layer_normalize,
)


@keras.saving.register_keras_serializable(package="fast_weights")
class LayerNormGRUCell(RecurrentCell):
    """Gated recurrent cell with layer-normalized reset and update gates.

    With σ the logistic function, f the activation and LN layer normalization,
    each step computes (the numbers are those of this class)

    1. the reset gate: `r'_t = LN_r(x_t W_xr + b_r + h_{t-1} W_hr)`, `r_t = σ(r'_t)`
    2. the update gate: with `gates="original"`, `u_t = σ(LN_u(r'_t))`; with
       `gates="standard"`, `u_t = σ(LN_u(x_t W_xu + b_u + h_{t-1} W_hu))`
    3. the candidate: `c_t = f(x_t W_xc + b_c + (r_t ∘ h_{t-1}) W_hc)`
    4. the new state: `h_t = u_t ∘ h_{t-1} + (1 - u_t) ∘ c_t`

    Reference: the original's GRU-LN; Cho et al. 2014, arXiv 1406.1078.

    Differences from the original: the original also stores W_xu, W_hu and b_u,
    but never reads them; with `gates="original"` this cell omits them.

    Args:
        units: positive integer, H, the size of the hidden state.
        gates: `"original"`, the gates of the published curve, or `"standard"`,
            the textbook's gates. Default `"original"`.
        epsilon: float of at least 0, added to the variance in LN; with 0, a
            vector of equal units becomes NaN. Default 1e-5.
        activation: f, a Keras activation. Default `"tanh"`.
        **kwargs: `kernel_initializer` and `recurrent_initializer` (default:
            uniform in ±sqrt(3 / (D + H))), `bias_initializer` (default: 1 for the
            gates, 0 for the candidate), and for each of the three
            `..._regularizer` and `..._constraint` (default: `None`), as in
            `keras.layers.GRUCell`; the other arguments of `ControlCell`. The gates and the
            candidate share the dropout masks.

    Call arguments:
        inputs: (B, D), one time step.
        states: `[h_{t-1}]`, (B, H).

    Returns:
        `h_t`, (B, H), and the list of states `[h_t]`.

    Raises:
        ValueError: if `units` is not a positive integer, `gates` is unknown or
            `epsilon` is negative.

    Example:

    >>> import numpy as np
    >>> layer = keras.layers.RNN(LayerNormGRUCell(4, gates="standard"))
    >>> tuple(layer(np.ones((2, 9, 3), "float32")).shape)
    (2, 4)
    """

    def __init__(
        self,
        units: int,
        gates: str = defaults.GATES[0],
        epsilon: float = defaults.EPSILON,
        activation: Activation = "tanh",
        **kwargs: Any,
    ):
        gates = check_choice("gates", gates, defaults.GATES)
        epsilon = check_number("epsilon", epsilon)
        super().__init__(units, activation, **kwargs)
        self.gates = gates
        self.epsilon = epsilon

    def build(self, input_shape: tuple) -> None:
        """Creates the slow weights for inputs with `input_shape[-1]` features."""
        num_gates = 2 if self.gates == "standard" else 1
        # The original concatenates inputs and state, so the limit counts both.
        limit = math.sqrt(3 / (input_shape[-1] + self.units))

        def bias(shape, dtype=None):
            # The original's gates start with bias 1, the default of TensorFlow's GRU in 2016.
            gates, candidate = ops.ones(num_gates * self.units, dtype), ops.zeros(self.units, dtype)
            return ops.concatenate([gates, candidate], axis=0)

        self.add_slow_weights(
            input_shape,
            columns=(num_gates + 1) * self.units,
            kernel=keras.initializers.RandomUniform(-limit, limit),
            recurrent_kernel=keras.initializers.RandomUniform(-limit, limit),
            bias=bias,
        )
        self.reset_gamma, self.reset_beta = self.add_gain_and_bias("reset_")
        self.update_gamma, self.update_beta = self.add_gain_and_bias("update_")

    def step(
        self, projected: Tensor, states: list[Tensor], recurrent_mask: Tensor | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        hidden, units, epsilon = states[0], self.units, self.epsilon
        # Dropout applies to the state in products with W_h, but not in the mix (4).
        dropped = drop(hidden, recurrent_mask)
        gates = self.slow_product(dropped, self.recurrent_kernel[:, :-units])
        gates = projected[:, :-units] + gates
        # (1) Reset gate.
        normalized = layer_normalize(gates[:, :units], self.reset_gamma, self.reset_beta, epsilon)
        reset = ops.sigmoid(normalized)
        # (2) Update gate.
        update = gates[:, units:] if self.gates == "standard" else normalized
        update = ops.sigmoid(layer_normalize(update, self.update_gamma, self.update_beta, epsilon))
        # (3) Candidate.
        recurrent = self.slow_product(reset * dropped, self.recurrent_kernel[:, -units:])
        candidate = self.activation(projected[:, -units:] + recurrent)
        # (4) Mix of the old state and the candidate.
        hidden = update * hidden + (1 - update) * candidate
        return hidden, [hidden]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "gates": self.gates, "epsilon": self.epsilon}
