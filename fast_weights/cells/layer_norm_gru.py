"""GRU-LN: a gated recurrent unit with layer normalization of its gates.

| symbol | code | shape |
|---|---|---|
| x_t | `inputs` | (B, D) |
| h_t | `hidden` | (B, H) |
| r_t, u_t | `reset`, `update` | (B, H) |
| c_t | `candidate` | (B, H) |
| W_x = [W_xr, W_xu, W_xc] | `kernel` | (D, 3H) |
| W_h = [W_hr, W_hu, W_hc] | `recurrent_kernel` | (H, 3H) |
| b = [b_r, b_u, b_c] | `bias` | (3H,) |
| gain, bias of LN_r | `reset_gamma`, `reset_beta` | (H,) |
| gain, bias of LN_u | `update_gamma`, `update_beta` | (H,) |

The columns and biases of u are there with the standard gates only: the
original's gates never read them.
"""

import math

import keras
from keras import ops

from fast_weights.cells.common import (
    RecurrentCell,
    check_choice,
    check_number,
    layer_normalize,
)

GATES = ("original", "standard")


@keras.saving.register_keras_serializable(package="fast_weights")
class LayerNormGRUCell(RecurrentCell):
    """Gated recurrent cell whose reset and update gates are layer-normalized.

    Each step computes, with σ the logistic function and f the activation,

    1. `r' = x_t W_xr + b_r + h_{t-1} W_hr`, `r_t = σ(LN_r(r'))`
    2. the update gate: with `gates="original"`, `u_t = σ(LN_u(LN_r(r')))`;
       with `gates="standard"`, `u' = x_t W_xu + b_u + h_{t-1} W_hu` and
       `u_t = σ(LN_u(u'))`
    3. `c_t = f(x_t W_xc + b_c + (r_t ∘ h_{t-1}) W_hc)`
    4. `h_t = u_t ∘ h_{t-1} + (1 - u_t) ∘ c_t`

    Reference: the original's GRU-LN; Cho et al. 2014, arXiv 1406.1078.

    Differences from the original: it also trains nothing of, but stores, the
    columns that would make u'; this cell leaves them out.

    Args:
        units: positive integer, H, the size of the hidden state.
        gates: `"original"` (default: the update gate is a second layer norm of
            the normalized reset gate, as in the published curve) or
            `"standard"` (the textbook's gates).
        epsilon: float, zero or more, added to layer normalization's variance; with
            zero, a vector of equal units becomes NaN. Default 1e-5.
        activation: f, of the candidate, a Keras activation. Default `"tanh"`.
        **kwargs: `kernel_initializer` and `recurrent_initializer` (default:
            uniform in ±sqrt(3 / (D + H))), `bias_initializer` (default: 1 for the
            gates, 0 for the candidate), and for each of the three
            `..._regularizer` and `..._constraint` (default: none), as
            `keras.layers.GRUCell` takes them; `name`, `dtype` and the like, as for
            every Keras layer.

    Call arguments:
        inputs: (B, D), one time step.
        states: a list with `h_{t-1}`, (B, H).

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

    def __init__(self, units, gates="original", epsilon=1e-5, activation="tanh", **kwargs):
        gates = check_choice("gates", gates, GATES)
        epsilon = check_number("epsilon", epsilon)
        super().__init__(units, activation, **kwargs)
        self.gates = gates
        self.epsilon = epsilon

    def build(self, input_shape):
        """Makes the slow weights for inputs of `input_shape[-1]` features."""
        features, units = input_shape[-1], self.units
        num_gates = 2 if self.gates == "standard" else 1
        # Inputs and state share one fan-in, and each gate's bias starts at 1:
        # neither reset nor update, as in TensorFlow's GRU of the original's day.
        limit = math.sqrt(3 / (features + units))
        uniform = keras.initializers.RandomUniform

        def bias(shape, dtype=None):
            return ops.concatenate(
                [ops.ones(num_gates * units, dtype), ops.zeros(units, dtype)], axis=0
            )

        self.add_slow_weights(
            input_shape,
            (num_gates + 1) * units,
            uniform(-limit, limit),
            uniform(-limit, limit),
            bias,
        )
        for gate in ("reset", "update"):
            gamma = self.add_weight(shape=(units,), name=f"{gate}_gamma", initializer="ones")
            beta = self.add_weight(shape=(units,), name=f"{gate}_beta", initializer="zeros")
            setattr(self, f"{gate}_gamma", gamma)
            setattr(self, f"{gate}_beta", beta)

    def call(self, inputs, states):
        hidden, units = states[0], self.units
        projected = ops.matmul(inputs, self.kernel) + self.bias
        gates = projected[:, :-units] + ops.matmul(hidden, self.recurrent_kernel[:, :-units])
        # (1) reset gate
        reset_normalized = layer_normalize(
            gates[:, :units], self.reset_gamma, self.reset_beta, self.epsilon
        )
        reset = ops.sigmoid(reset_normalized)
        # (2) update gate
        update_input = gates[:, units:] if self.gates == "standard" else reset_normalized
        update = ops.sigmoid(
            layer_normalize(update_input, self.update_gamma, self.update_beta, self.epsilon)
        )
        # (3) candidate
        candidate = self.activation(
            projected[:, -units:] + ops.matmul(reset * hidden, self.recurrent_kernel[:, -units:])
        )
        # (4) what is kept, and what is new
        hidden = update * hidden + (1 - update) * candidate
        return hidden, [hidden]

    def get_config(self):
        return {**super().get_config(), "gates": self.gates, "epsilon": self.epsilon}
