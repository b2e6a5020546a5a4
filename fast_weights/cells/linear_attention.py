"""LINEAR-ATTENTION: a memory that only adds. `linear.py` has the table of symbols."""

from typing import Any

import keras
from keras import ops

from fast_weights.cells.base import Tensor
from fast_weights.cells.linear import LinearCell


@keras.saving.register_keras_serializable(package="fast_weights")
class LinearAttentionCell(LinearCell):
    """Recurrent cell of causal linear attention.

    With q_t, k_t and v_t from a projection of the input, a short convolution and the feature
    map φ, a step of each head computes (the numbers are those of this class)

    1. `S_t = S_{t-1} + k_tᵀ v_t` and `m_t = m_{t-1} + k_t`
    2. `o_t = q_t S_t / (q_t · m_t)`
    3. `h_t = [RMS(o_t) ∘ silu(z_t)] W_o`, where [] joins the heads; z_t only with
       `use_output_gate`

    The sum m_t is kept as one more column of S_t.

    Reference: Katharopoulos et al. 2020, arXiv 2006.16236: (1) is its equations 18 and 19, (2) its
    equation 20.

    Differences from the paper: the convolution, because without it a symbol cannot be written
    together with the one before it, and f after it. The cell also normalizes o_t, as the
    implementations of its successors do. `convolution_size=0`, `activation="linear"` and
    `normalization="none"` give the paper's layer. RMS(o) hardly depends on the scale of o, so
    `use_denominator` matters little with `normalization="rms"`.

    Args:
        units: positive integer, H, the size of the output.
        num_heads: positive integer, n, the number of heads. Default 1.
        key_size: positive integer, d_k, the size of a key of one head. Default `None`: H / n.
        value_size: positive integer, d_v, the size of a value of one head. Default `None`: H / n.
        feature_map: φ, one of `"elu"` (elu(x) + 1), `"relu"`, `"softmax"`, `"sum"` (elu(x) + 1,
            divided by its sum), `"l2"` (divided by its length) and `"identity"`. Default `"elu"`,
            as in the paper. Published implementations also learn φ.
        use_denominator: whether (2) divides by q_t · m_t, as in the paper. Not for `"l2"` and
            `"identity"`, with which it can be zero. Default `None`: `True` for the others.
        convolution_size: integer of at least 0, K, the number of steps of the convolution, with
            this one. 0: no convolution. Default 4, as in the implementations of delta rules.
        use_output_gate: whether the cell has the output gate z_t. Default `False`.
        normalization: `"rms"` or `"none"`, the normalization of o_t. Default `"rms"`.
        epsilon: float of at least 0, added to the mean square in RMS; with 0, a read of zeros
            becomes NaN. Default 1e-6.
        activation: f, a Keras activation, after the convolution. Default `"silu"`.
        **kwargs: `kernel_initializer` (of W_x and W_o; default: Glorot uniform),
            `convolution_initializer` (default: uniform in ±1/sqrt(K)), `bias_initializer`
            (default: zeros), and for each of the three a `..._regularizer` and a `..._constraint`
            (default: `None`); `use_bias` (default: `False`), `dropout` of the inputs
            (default: 0) and `seed` (default: `None`); arguments of every Keras layer, such as
            `name` and `dtype`.

    Call arguments:
        inputs: (B, D), one time step.
        states: `[S_{t-1}, window]`, (B, n·d_k·(d_v + 1)) and (B, (K - 1)·C), where
            C = n·(2·d_k + d_v). Without the denominator, S has d_v columns. Without a convolution,
            the window is missing. With a half precision policy, the states and the output are
            float32.

    Returns:
        `h_t`, (B, H), and the list of states.

    Raises:
        ValueError: if an argument is out of bounds.

    Example:

    >>> import numpy as np
    >>> layer = keras.layers.RNN(LinearAttentionCell(4, num_heads=2), return_state=True)
    >>> output, memory, window = layer(np.ones((2, 9, 3), "float32"))
    >>> tuple(output.shape), tuple(memory.shape), tuple(window.shape)
    ((2, 4), (2, 12), (2, 36))
    """

    erases = False
    decays = False

    def __init__(
        self,
        units: int,
        *,
        feature_map: str = "elu",
        use_denominator: bool | None = None,
        **kwargs: Any,
    ):
        super().__init__(units, feature_map=feature_map, **kwargs)
        is_signed = self.feature_map in ("l2", "identity")
        if use_denominator and is_signed:
            raise ValueError(
                "`use_denominator` needs a feature map without negative numbers. "
                f"Received: use_denominator={use_denominator}, feature_map={feature_map!r}"
            )
        self.use_denominator = not is_signed if use_denominator is None else bool(use_denominator)

    @property
    def memory_shape(self) -> tuple[int, int, int]:
        """The shape of S of one sequence, with m as its last column."""
        heads, keys, values = super().memory_shape
        return heads, keys, values + self.use_denominator

    def signals(self, projected: Tensor, window: Tensor, keep: Tensor | None = None) -> tuple:
        signals, stream = super().signals(projected, window, keep)
        if self.use_denominator:
            ones = ops.ones_like(signals.values[..., :1])
            signals = signals._replace(values=ops.concatenate([signals.values, ones], axis=-1))
        return signals, stream

    def outputs(self, reads: Tensor, gates: Tensor | None) -> Tensor:
        if self.use_denominator:
            # (2) The small number avoids a division by zero, which `relu` could cause.
            reads = reads[..., :-1] / (reads[..., -1:] + 1e-6)
        return super().outputs(reads, gates)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "use_denominator": self.use_denominator}
