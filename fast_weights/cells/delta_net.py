"""DELTA-RULE: a memory that corrects itself. `linear.py` has the table of symbols."""

from typing import Any

import keras

from fast_weights.cells.linear import LinearCell


@keras.saving.register_keras_serializable(package="fast_weights")
class DeltaNetCell(LinearCell):
    """Recurrent cell with the delta rule: it writes the error of its memory.

    With q_t, k_t and v_t from a projection of the input, a short convolution and the feature
    map φ, and β_t = σ(b_t), a step of each head computes (the numbers are those of this class)

    1. `S_t = S_{t-1} + k_tᵀ β_t (v_t - k_t S_{t-1})`, which is `(I - β_t k_tᵀ k_t) S_{t-1} +
       β_t k_tᵀ v_t`
    2. `o_t = q_t S_t`
    3. `h_t = [RMS(o_t) ∘ silu(z_t)] W_o`, where [] joins the heads; z_t only with
       `use_output_gate`

    With a key of length 1 and β_t = 1, v_t replaces the old value of the key.

    Reference: Schlag, Irie and Schmidhuber 2021, arXiv 2102.11174, section 4.2; Yang et al. 2024,
    arXiv 2406.06484, section 2.2. The second also has the convolution, f, the normalization of keys
    and that of o_t, and computes (1) in chunks, as the layer `DeltaNet` does.

    Args:
        units: positive integer, H, the size of the output.
        num_heads: positive integer, n, the number of heads. Default 1.
        key_size: positive integer, d_k, the size of a key of one head. Default `None`: H / n.
        value_size: positive integer, d_v, the size of a value of one head. Default `None`: H / n.
        feature_map: φ, one of `"l2"` (divided by its length) and `"sum"` (elu(x) + 1, divided by
            its sum), with which erasing never enlarges S; or `"elu"`, `"relu"`, `"softmax"` and
            `"identity"`. Default `"l2"`, as in the second paper. The first paper divides by the
            sum, also for features other than elu(x) + 1. Queries are also divided by sqrt(d_k), as
            in the code of the second.
        convolution_size: integer of at least 0, K, the number of steps of the convolution, with
            this one. 0: no convolution, as in the first paper. Default 4, as in the second.
        use_output_gate: whether the cell has the output gate z_t. Default `False`.
        normalization: `"rms"` or `"none"`, the normalization of o_t. Default `"rms"`.
        epsilon: float of at least 0, added to the mean square in RMS; with 0, a read of zeros
            becomes NaN. Default 1e-6.
        activation: f, a Keras activation, after the convolution. Default `"silu"`.
        **kwargs: the other arguments of `LinearAttentionCell`, with its defaults, but not
            `use_denominator`.

    Call arguments:
        inputs: (B, D), one time step.
        states: `[S_{t-1}, window]`, (B, n·d_k·d_v) and (B, (K - 1)·C), where
            C = n·(2·d_k + d_v). Without a convolution, the window is missing. With a half
            precision policy, the states and the output are float32.

    Returns:
        `h_t`, (B, H), and the list of states.

    Raises:
        ValueError: if an argument is out of bounds.

    Example:

    >>> import numpy as np
    >>> layer = keras.layers.RNN(DeltaNetCell(4))
    >>> tuple(layer(np.ones((2, 9, 3), "float32")).shape)
    (2, 4)
    """

    erases = True
    decays = False

    def __init__(self, units: int, *, feature_map: str = "l2", **kwargs: Any):
        super().__init__(units, feature_map=feature_map, **kwargs)
