"""GATED-DELTA-RULE: the delta rule with a decay that depends on the input.

`linear.py` has the table of symbols.
"""

import math
from typing import Any

import keras
from keras import ops

from fast_weights.cells.base import Tensor
from fast_weights.cells.linear import LinearCell

# As in Mamba 2, A starts in (0, 16), and softplus(d) in this range.
MIN_STEP, MAX_STEP = 1e-3, 0.1


def _initial_log_rates(shape, dtype=None):
    """Returns log A, with A uniform in (0, 16)."""
    # Not from 0, whose logarithm is infinite.
    return ops.log(keras.initializers.RandomUniform(1e-3, 16.0)(shape, dtype))


def _initial_decay_bias(shape, dtype=None):
    """Returns d, so that the logarithm of softplus(d) is uniform."""
    low, high = math.log(MIN_STEP), math.log(MAX_STEP)
    steps = ops.exp(keras.initializers.RandomUniform(low, high)(shape, dtype))
    return steps + ops.log(-ops.expm1(-steps))


@keras.saving.register_keras_serializable(package="fast_weights")
class GatedDeltaNetCell(LinearCell):
    """Recurrent cell with the gated delta rule: the input sets the decay of its memory.

    With q_t, k_t, v_t and β_t as in `DeltaNetCell`, and two more slow weights per head, A and d, a
    step of each head computes (the numbers are those of this class)

    1. `α_t = exp(-A softplus(a_t + d))`, a decay in (0, 1)
    2. `S_t = α_t S_{t-1} + k_tᵀ β_t (v_t - k_t α_t S_{t-1})`, which is
       `α_t (I - β_t k_tᵀ k_t) S_{t-1} + β_t k_tᵀ v_t`
    3. `o_t = q_t S_t`
    4. `h_t = [RMS(o_t) ∘ silu(z_t)] W_o`, where [] joins the heads

    With α_t = 1, this is the delta rule.

    Reference: Yang, Kautz and Hatamizadeh 2024, arXiv 2412.06464, equation 10; the decay of (1) is
    that of Mamba 2 (Dao and Gu 2024, arXiv 2405.21060).

    Args:
        units: positive integer, H, the size of the output.
        num_heads: positive integer, n, the number of heads. Default 1.
        key_size: positive integer, d_k, the size of a key of one head. Default `None`: H / n.
        value_size: positive integer, d_v, the size of a value of one head. Default `None`: H / n.
            The paper's code has 2 d_k.
        feature_map: φ, as for `DeltaNetCell`. Default `"l2"`, as in the paper. Queries are also
            divided by sqrt(d_k), as in its code.
        convolution_size: integer of at least 0, K, the number of steps of the convolution, with
            this one. 0: no convolution. Default 4, as in the paper's code.
        use_output_gate: whether the cell has the output gate z_t. Default `True`, as in the paper.
        normalization: `"rms"` or `"none"`, the normalization of o_t. Default `"rms"`.
        epsilon: float of at least 0, added to the mean square in RMS; with 0, a read of zeros
            becomes NaN. Default 1e-6.
        activation: f, a Keras activation, after the convolution. Default `"silu"`.
        **kwargs: the other arguments of `DeltaNetCell`, with its defaults. The initializers of A
            and d are fixed: A is uniform in (0, 16), and softplus(d) log-uniform in (0.001, 0.1),
            as in the paper's code.

    Call arguments:
        inputs: (B, D), one time step.
        states: as for `DeltaNetCell`.

    Returns:
        `h_t`, (B, H), and the list of states.

    Raises:
        ValueError: if an argument is out of bounds.

    Example:

    >>> import numpy as np
    >>> layer = keras.layers.RNN(GatedDeltaNetCell(4, value_size=8))
    >>> tuple(layer(np.ones((2, 9, 3), "float32")).shape)
    (2, 4)
    """

    erases = True
    decays = True

    def __init__(
        self,
        units: int,
        *,
        feature_map: str = "l2",
        use_output_gate: bool = True,
        **kwargs: Any,
    ):
        super().__init__(units, feature_map=feature_map, use_output_gate=use_output_gate, **kwargs)

    def build(self, input_shape: tuple) -> None:
        """Creates the slow weights for inputs with `input_shape[-1]` features."""
        super().build(input_shape)
        shape = (self.num_heads,)
        self.log_rate = self.add_weight(
            shape=shape, name="log_rate", initializer=_initial_log_rates
        )
        self.decay_bias = self.add_weight(
            shape=shape, name="decay_bias", initializer=_initial_decay_bias
        )

    def log_decays(self, projected: Tensor) -> Tensor:
        # (1) The logarithm of α.
        rate, bias = (ops.cast(one, self.compute_dtype) for one in (self.log_rate, self.decay_bias))
        return -ops.exp(rate) * ops.softplus(projected + bias)
