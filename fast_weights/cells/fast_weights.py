"""RNN-LN-FW: a recurrent network with fast weights, in two forms.

| symbol | code | shape |
|---|---|---|
| x_t | `inputs` | (B, D) |
| z_t = x_t W_x + b_x | `projected` | (B, H) |
| h_0, the preliminary vector | `preliminary` | (B, H) |
| h_s, h_t | `hidden` | (B, H) |
| W_x | `kernel` | (D, H) |
| W_h | `recurrent_kernel` | (H, H) |
| b_x | `bias` | (H,) |
| gain, bias of LN | `gamma`, `beta` | (H,) |
| A_t, the fast weights | `memory`, matrix form | (B, H·H) |
| h_0 of the last M steps, a column each | `memory`, attention form | (B, H·M) |

The forms compute the same numbers from the same slow weights. The matrix form
costs H² a step whatever the length; the attention form costs M·H and never
forms A, which is cheaper while M, the number of vectors kept, is small.

The past vectors are columns, not rows: both products of a read are then
batched matrix products without a transpose in the way.
"""

import keras
from keras import ops

from fast_weights.cells.common import layer_normalize
from fast_weights.cells.layer_norm_rnn import LayerNormRNNCell


class _FastWeightsBase(LayerNormRNNCell):
    """The step that both forms share; a form says how memory is written and read."""

    def __init__(
        self,
        units,
        inner_steps=1,
        decay_rate=0.95,
        fast_learning_rate=0.5,
        epsilon=1e-5,
        **kwargs,
    ):
        if isinstance(inner_steps, bool) or not isinstance(inner_steps, int) or inner_steps < 1:
            raise ValueError(
                f"`inner_steps` must be a positive integer. Received: inner_steps={inner_steps!r}"
            )
        if not 0 <= decay_rate <= 1:
            raise ValueError(
                f"`decay_rate` must lie between 0 and 1. Received: decay_rate={decay_rate!r}"
            )
        if not fast_learning_rate >= 0:
            raise ValueError(
                "`fast_learning_rate` must be zero or more. "
                f"Received: fast_learning_rate={fast_learning_rate!r}"
            )
        super().__init__(units, epsilon=epsilon, **kwargs)
        self.inner_steps = inner_steps
        self.decay_rate = float(decay_rate)
        self.fast_learning_rate = float(fast_learning_rate)

    def call(self, inputs, states):
        hidden, memory = states
        projected = ops.matmul(inputs, self.kernel) + self.bias
        # (1) preliminary vector
        preliminary = ops.relu(projected + ops.matmul(hidden, self.recurrent_kernel))
        # (2) decay the fast weights and write the preliminary vector's outer product
        memory = self._write(memory, preliminary)
        # (3) inner loop: read the fast weights with the slow term held
        boundary = projected + ops.matmul(preliminary, self.recurrent_kernel)
        hidden = preliminary
        for _ in range(self.inner_steps):
            hidden = boundary + self._read(memory, hidden)
            hidden = ops.relu(layer_normalize(hidden, self.gamma, self.beta, self.epsilon))
        return hidden, [hidden, memory]

    def get_initial_state(self, batch_size=None):
        """Zeros, one (batch_size, size) for each of `state_size`."""
        return [ops.zeros((batch_size, size), dtype=self.compute_dtype) for size in self.state_size]

    def get_config(self):
        return {
            **super().get_config(),
            "inner_steps": self.inner_steps,
            "decay_rate": self.decay_rate,
            "fast_learning_rate": self.fast_learning_rate,
        }


@keras.saving.register_keras_serializable(package="fast_weights")
class FastWeightsCell(_FastWeightsBase):
    """Recurrent cell with an associative memory of its own recent past, in matrix form.

    Beside the slow (trained) weights, each sequence has fast weights A: every
    step writes its preliminary vector into A, and an inner loop reads A with
    the slow input held. With A = 0 and h = 0 before the first step, and z_t =
    x_t W_x + b_x, a step computes

    1. `h_0 = relu(z_t + h_{t-1} W_h)`
    2. `A_t = λ A_{t-1} + η h_0ᵀ h_0`
    3. S times `h_{s+1} = relu(LN(z_t + h_0 W_h + h_s A_t))`; `h_t = h_S`

    Reference: the original's RNN-LN-FW, after Ba et al. 2016, arXiv
    1610.06258, equations 1, 2 and 5.

    Differences from the original: layer normalization is of each example over
    its units, not over the batch, and has an epsilon; any batch size works.

    Args:
        units: positive integer, H, the size of the hidden state.
        inner_steps: positive integer, S, steps of the inner loop. Default 1.
        decay_rate: float in [0, 1], λ, the share of A kept. Default 0.95.
        fast_learning_rate: float, zero or more, η, the strength of a write.
            Default 0.5.
        epsilon: float, zero or more, added to layer normalization's variance.
            Default 1e-5.
        **kwargs: `name`, `dtype` and the like, as for every Keras layer.

    Call arguments:
        inputs: (B, D), one time step.
        states: `[h_{t-1}, A_{t-1}]`, (B, H) and (B, H·H), A by rows.

    Returns:
        `h_t`, (B, H), and the list of states `[h_t, A_t]`.

    Raises:
        ValueError: if an argument is out of its bounds.

    Example:

    >>> import numpy as np
    >>> layer = keras.layers.RNN(FastWeightsCell(4), return_state=True)
    >>> output, hidden, fast_weights = layer(np.ones((2, 9, 3), "float32"))
    >>> output.shape, fast_weights.shape
    (TensorShape([2, 4]), TensorShape([2, 16]))
    """

    def __init__(
        self,
        units,
        inner_steps=1,
        decay_rate=0.95,
        fast_learning_rate=0.5,
        epsilon=1e-5,
        **kwargs,
    ):
        super().__init__(units, inner_steps, decay_rate, fast_learning_rate, epsilon, **kwargs)
        self.state_size = [units, units * units]

    def _write(self, memory, preliminary):
        """A_t from A_{t-1}, both (B, H·H), and h_0, (B, H)."""
        outer = preliminary[:, :, None] * preliminary[:, None, :]
        flat = ops.reshape(outer, (-1, self.units * self.units))
        return self.decay_rate * memory + self.fast_learning_rate * flat

    def _read(self, memory, hidden):
        """h_s A_t, (B, H)."""
        matrix = ops.reshape(memory, (-1, self.units, self.units))
        return ops.squeeze(ops.matmul(hidden[:, None, :], matrix), axis=1)


@keras.saving.register_keras_serializable(package="fast_weights")
class FastWeightsAttentionCell(_FastWeightsBase):
    """Recurrent cell with fast weights in attention form: past vectors are kept, not A.

    Computes what `FastWeightsCell` computes, with step 2 and the product
    h_s A_t of step 3 replaced by attention to the preliminary vectors h(τ) of
    the last M steps, scaled by their age:

    4. `h_s A_t = η Σ_τ λ^(t-τ) (h(τ) · h_s) h(τ)`

    Equal to the matrix form for sequences of at most M steps. In a longer one
    vectors older than M steps are forgotten; what they would have added is
    scaled by λ^M or less. The slow weights are those of `FastWeightsCell`, in
    the same order, so that `set_weights` moves them between the forms.

    Reference: Ba et al. 2016, arXiv 1610.06258, equations 3 and 4.

    Args:
        units: positive integer, H, the size of the hidden state.
        memory_size: positive integer, M, how many past vectors are kept.
        inner_steps: positive integer, S, steps of the inner loop. Default 1.
        decay_rate: float in [0, 1], λ, the share of A kept. Default 0.95.
        fast_learning_rate: float, zero or more, η, the strength of a write.
            Default 0.5.
        epsilon: float, zero or more, added to layer normalization's variance.
            Default 1e-5.
        **kwargs: `name`, `dtype` and the like, as for every Keras layer.

    Call arguments:
        inputs: (B, D), one time step.
        states: `[h_{t-1}, memory]`, (B, H) and (B, H·M): an H by M matrix by
            rows whose columns are the past vectors, oldest first.

    Returns:
        `h_t`, (B, H), and the list of states `[h_t, memory]`.

    Raises:
        ValueError: if an argument is out of its bounds.

    Example:

    >>> import numpy as np
    >>> layer = keras.layers.RNN(FastWeightsAttentionCell(4, memory_size=9))
    >>> layer(np.ones((2, 9, 3), "float32")).shape
    TensorShape([2, 4])
    """

    def __init__(
        self,
        units,
        memory_size,
        inner_steps=1,
        decay_rate=0.95,
        fast_learning_rate=0.5,
        epsilon=1e-5,
        **kwargs,
    ):
        if isinstance(memory_size, bool) or not isinstance(memory_size, int) or memory_size < 1:
            raise ValueError(
                f"`memory_size` must be a positive integer. Received: memory_size={memory_size!r}"
            )
        super().__init__(units, inner_steps, decay_rate, fast_learning_rate, epsilon, **kwargs)
        self.memory_size = memory_size
        self.state_size = [units, units * memory_size]

    def _write(self, memory, preliminary):
        """Drops the oldest vector and appends h_0, (B, H); memory is (B, H·M)."""
        past = ops.reshape(memory, (-1, self.units, self.memory_size))
        past = ops.concatenate([past[:, :, 1:], preliminary[:, :, None]], axis=-1)
        return ops.reshape(past, (-1, self.units * self.memory_size))

    def _read(self, memory, hidden):
        """h_s A_t, (B, H), by attention to the vectors kept."""
        past = ops.reshape(memory, (-1, self.units, self.memory_size))
        # (4) The newest vector has age 0; a slot not yet written holds zeros.
        scale = [
            self.fast_learning_rate * self.decay_rate**age
            for age in reversed(range(self.memory_size))
        ]
        attention = ops.matmul(hidden[:, None, :], past)  # (B, 1, M)
        attention = attention * ops.convert_to_tensor(scale, dtype=attention.dtype)
        return ops.squeeze(ops.matmul(attention, ops.transpose(past, (0, 2, 1))), axis=1)

    def get_config(self):
        return {**super().get_config(), "memory_size": self.memory_size}
