"""Linear attention and the delta rule, two layers for comparison with fast weights.

Like fast weights, both keep a matrix S for each sequence. They write the outer product of two
projections of the inputs to it. The updates are linear in S, so a whole sequence is computed at
once. `docs/recall.md` compares the layers.

| symbol | meaning | shape |
|---|---|---|
| q, k, v | queries, keys and values | (B, T, H) |
| beta | strength of a write of the delta rule, from 0 to 1 | (B, T, 1) |
| S | state, S_t = Σ_{τ≤t} k_τ^T u_τ; the code never forms it | (B, H, H) |
"""

import keras
from keras import ops

# Width of the short convolution in symbols, as in the code of the paper on the delta rule.
WIDTH = 4


def _lower(matrices, diagonal=0):
    """Returns `keras.ops.tril(matrices, diagonal)`, which needs a known batch size in Keras 3.8."""
    return matrices * ops.tri(matrices.shape[-1], k=diagonal, dtype=matrices.dtype)


class _RMSNormalization(keras.layers.Layer):
    """`keras.layers.RMSNormalization`, which Keras 3.8 lacks: gain ∘ x / sqrt(mean(x²) + ε)."""

    def build(self, input_shape):
        self.scale = self.add_weight(shape=(input_shape[-1],), initializer="ones", name="scale")

    def call(self, inputs):
        mean = ops.mean(ops.square(inputs), axis=-1, keepdims=True)
        return inputs * ops.rsqrt(mean + 1e-6) * self.scale


class _Attention(keras.layers.Layer):
    """Computes queries, keys and values with a projection, a short convolution and SiLU.

    A key and its value are two symbols. Without the convolution, the layer could not write them
    together. The outputs are normalized, as in the paper on the delta rule.

    Args:
        units: positive integer, H, the size of a query, a key and a value.
        return_sequences: whether to return the outputs of all steps instead of the last.
    """

    def __init__(self, units, return_sequences=False, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True
        self.units = units
        self.return_sequences = return_sequences
        self.normalize = _RMSNormalization(name="normalize")

    def build(self, sequences_shape):
        columns = 3 * self.units
        self.kernel = self.add_weight(shape=(sequences_shape[-1], columns), name="kernel")
        self.filters = self.add_weight(
            shape=(WIDTH, columns),
            initializer=keras.initializers.RandomUniform(-(WIDTH**-0.5), WIDTH**-0.5),
            name="filters",
        )
        self.normalize.build((None, self.units))

    def call(self, sequences, mask=None):
        """Returns the output of the last step, (B, H), or of all steps, (B, T, H).

        A masked step does not write. The last step is the last one that is not masked.
        """
        length = sequences.shape[1]
        keep = ops.ones_like(sequences[:, :, 0]) if mask is None else ops.cast(mask, "float32")
        padded = ops.pad(sequences @ self.kernel, [[0, 0], [WIDTH - 1, 0], [0, 0]])
        mixed = sum(self.filters[i] * padded[:, i : i + length] for i in range(WIDTH))
        queries, keys, values = ops.split(ops.silu(mixed), 3, axis=-1)
        outputs = self.attend(sequences, queries, keys, values, keep[:, :, None])
        outputs = self.normalize(outputs)
        if self.return_sequences:
            return outputs
        last = ops.max(ops.where(keep > 0, ops.arange(length), 0), axis=1)
        return ops.take_along_axis(outputs, last[:, None, None], axis=1)[:, 0]

    def compute_mask(self, sequences, mask=None):
        return mask if self.return_sequences else None

    def get_config(self):
        config = {"units": self.units, "return_sequences": self.return_sequences}
        return {**super().get_config(), **config}


@keras.saving.register_keras_serializable(package="fast_weights")
class LinearAttention(_Attention):
    """Causal linear attention with the feature map φ(x) = elu(x) + 1.

    o_t = φ(q_t) S_t / (φ(q_t) · Σ_τ φ(k_τ)), where S_t = S_{t-1} + φ(k_t)^T v_t.

    Reference: Katharopoulos et al. 2020, arXiv 2006.16236, equations 9 to 12.
    """

    def attend(self, sequences, queries, keys, values, keep):
        """Returns the outputs, (B, T, H)."""
        keys = keep * (ops.elu(keys) + 1)
        scores = (ops.elu(queries) + 1) @ ops.swapaxes(keys, 1, 2)
        scores = _lower(scores)
        return scores @ values / (ops.sum(scores, axis=-1, keepdims=True) + 1e-6)


@keras.saving.register_keras_serializable(package="fast_weights")
class DeltaRule(_Attention):
    """Linear attention that writes the difference between a value and the current read of its key.

    o_t = q_t S_t, where S_t = S_{t-1} + k_t^T u_t and u_t = β_t (v_t - k_t S_{t-1}). Queries and
    keys have length 1. All u_t are the solution of one triangular system:
    u_t + β_t Σ_{τ<t} (k_t · k_τ) u_τ = β_t v_t.

    Reference: Yang et al. 2024, arXiv 2406.06484, section 2.2 and equations 5 and 6.
    """

    def build(self, sequences_shape):
        super().build(sequences_shape)
        self.beta_kernel = self.add_weight(shape=(sequences_shape[-1], 1), name="beta_kernel")

    def attend(self, sequences, queries, keys, values, keep):
        """Returns the outputs, (B, T, H)."""
        queries, keys = ops.normalize(queries, axis=-1), ops.normalize(keys, axis=-1)
        beta = keep * ops.sigmoid(sequences @ self.beta_kernel)
        transposed = ops.swapaxes(keys, 1, 2)
        system = ops.eye(sequences.shape[1]) + _lower(beta * (keys @ transposed), -1)
        written = ops.solve_triangular(system, beta * values, lower=True)
        return _lower(queries @ transposed) @ written
