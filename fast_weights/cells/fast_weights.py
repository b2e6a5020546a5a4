"""RNN-LN-FW: a recurrent network with fast weights.

| symbol | code | shape |
|---|---|---|
| x_t | `inputs` | (B, D) |
| z_t = x_t W_x + b_x | `projected` | (B, H) |
| p_t, the preliminary vector | `preliminary` | (B, H) |
| v_t, the vector that step t writes | `written` | (B, H) |
| h, h_t | `hidden` | (B, H) |
| W_x | `kernel` | (D, H) |
| W_h | `recurrent_kernel` | (H, H) |
| b_x | `bias` | (H,) |
| gain, bias of LN | `gamma`, `beta` | (H,) |
| λ, η, S | `decay_rate`, `fast_learning_rate`, `inner_steps` | |
| A_t, the fast weights, row by row | `memory` of `FastWeightsCell` | (B, H·H) |
| the last M vectors written | `memory` of `FastWeightsAttentionCell` | (B, M·H) |

The two cells compute the same output from the same slow weights. The cost of a
step grows with H² in the matrix form, and with M·H in the attention form, which
keeps the last M vectors and never computes A.

States are flat, (B, n) instead of (B, H, H), so that functional `return_state`,
state chaining and masks work on every Keras backend.
"""

import math
import warnings

import keras
from keras import ops

from fast_weights import defaults
from fast_weights.cells.base import (
    HALF,
    RecurrentCell,
    check_choice,
    check_integer,
    check_number,
    layer_normalize,
)


@keras.saving.register_keras_serializable(package="fast_weights")
class FastWeightsCell(RecurrentCell):
    """Recurrent cell with fast weights: an associative memory of the recent past.

    All sequences share the slow weights, which are trained. Each sequence has its
    own fast weights A. Every step writes a vector to A, and an inner loop reads A
    while the slow term stays fixed. A and the hidden state start at zero. With f the
    activation and z_t = x_t W_x + b_x, each step computes

    1. `p_t = f(z_t + h_{t-1} W_h)`, the preliminary vector
    2. `A_t = λ A_{t-1} + η v_tᵀ v_t`
    3. starting from `h = p_t`, S times `h ← f(LN(z_t + v_t W_h + h A_t))`; the
       last `h` is `h_t`

    Step t writes the vector v_t, and its slow term is z_t + v_t W_h:

    - `recurrence="original"`: `v_t = p_t`, the preliminary vector of this step;
    - `recurrence="paper"`: `v_t = h_{t-1}`, the state after the previous step, so
      that A_t is the paper's A(t - 1).

    With S = 0, A is never read and `h_t = p_t`; the gain and bias of LN then have
    no gradient.

    A takes B·H² numbers, 4 bytes each in float32. One step holds about three
    such arrays at a time, and training keeps one per step.

    Reference: the original's RNN-LN-FW; Ba et al. 2016, arXiv 1610.06258,
    equations 1, 2 and 5.

    Differences from the original: layer normalization is over the units of each
    example, not over the batch, and has an epsilon; any batch size works.

    Args:
        units: positive integer, H, the size of the hidden state.
        inner_steps: integer of at least 0, S, steps of the inner loop. Default 1.
        decay_rate: float in [0, 1], λ, the share of A that a step keeps.
            Default 0.95.
        fast_learning_rate: float of at least 0, η, the strength of a write.
            Default 0.5.
        epsilon: float of at least 0, added to the variance in LN; with 0, a
            vector of equal units becomes NaN. Default 1e-5.
        recurrence: `"original"` or `"paper"`. Default `"original"`.
        activation: f, a Keras activation. Default `"relu"`.
        **kwargs: initializers, regularizers, constraints, `name`, `dtype` and so
            on, with the defaults of `ControlCell`.

    Call arguments:
        inputs: (B, D), one time step.
        states: `[h_{t-1}, A_{t-1}]`, (B, H) and (B, H·H). With a half precision
            policy the states and the output are float32.

    Returns:
        `h_t`, (B, H), and the list of states `[h_t, A_t]`.

    Raises:
        ValueError: if an argument is out of bounds.

    Example:

    >>> import numpy as np
    >>> layer = keras.layers.RNN(FastWeightsCell(4), return_state=True)
    >>> output, hidden, fast_weights = layer(np.ones((2, 9, 3), "float32"))
    >>> tuple(output.shape), tuple(fast_weights.shape)
    ((2, 4), (2, 16))
    """

    def __init__(
        self,
        units,
        inner_steps=defaults.INNER_STEPS,
        decay_rate=defaults.DECAY_RATE,
        fast_learning_rate=defaults.FAST_LEARNING_RATE,
        epsilon=defaults.EPSILON,
        recurrence=defaults.RECURRENCES[0],
        activation="relu",
        **kwargs,
    ):
        inner_steps = check_integer("inner_steps", inner_steps, low=0)
        decay_rate = check_number("decay_rate", decay_rate, high=1)
        fast_learning_rate = check_number("fast_learning_rate", fast_learning_rate)
        epsilon = check_number("epsilon", epsilon)
        recurrence = check_choice("recurrence", recurrence, defaults.RECURRENCES)
        # No autocast: `call` casts its arguments itself, and A must stay in float32.
        super().__init__(units, activation, autocast=False, **kwargs)
        self.inner_steps = inner_steps
        self.decay_rate = decay_rate
        self.fast_learning_rate = fast_learning_rate
        self.epsilon = epsilon
        self.recurrence = recurrence

    @property
    def compute_dtype(self):
        """The dtype of the states: the policy's, but float32 for half precision.

        A must not be rounded to 8 or 11 bits at each step. Products with the slow
        weights still use half precision.
        """
        policy = self.dtype_policy.compute_dtype
        return "float32" if policy in HALF else policy

    @property
    def state_size(self):
        """The sizes of the states: [H, H·H]."""
        return [self.units, self.units**2]

    def build(self, input_shape):
        """Creates the slow weights for inputs with `input_shape[-1]` features."""
        self.add_slow_weights(input_shape, columns=self.units)
        self.gamma, self.beta = self.add_gain_and_bias()

    def call(self, inputs, states):
        hidden, memory = (ops.cast(state, self.compute_dtype) for state in states)
        projected = self._slow(inputs, self.kernel) + ops.cast(self.bias, self.compute_dtype)
        # (1) Preliminary vector.
        preliminary = self.activation(projected + self._slow(hidden, self.recurrent_kernel))
        # (2) Decay A and write one vector.
        written = preliminary if self.recurrence == "original" else hidden
        memory = self.write(memory, written)
        # (3) Inner loop: read A while the slow term stays fixed.
        slow_term = projected + self._slow(written, self.recurrent_kernel)
        hidden = preliminary
        for _ in range(self.inner_steps):
            hidden = slow_term + self.read(memory, hidden)
            hidden = self.activation(layer_normalize(hidden, self.gamma, self.beta, self.epsilon))
        # `keras.layers.StackedRNNCells` may keep the states in another precision.
        hidden = ops.cast(hidden, states[0].dtype)
        return hidden, [hidden, ops.cast(memory, states[1].dtype)]

    def write(self, memory, vector):
        """Returns A_t, (B, H·H), from `memory`, A_{t-1}, and `vector`, v_t, (B, H)."""
        outer = vector[:, :, None] * vector[:, None, :]
        flat = ops.reshape(outer, (-1, self.units**2))
        return self.decay_rate * memory + self.fast_learning_rate * flat

    def read(self, memory, vector):
        """Returns h A_t, (B, H), from `memory`, A_t, and `vector`, h, (B, H)."""
        return ops.squeeze(ops.matmul(vector[:, None, :], self.fast_weights(memory)), axis=1)

    def fast_weights(self, memory):
        """Returns A, (B, H, H), from the second state, (B, H·H)."""
        return ops.reshape(memory, (-1, self.units, self.units))

    def _slow(self, vectors, weights):
        """Returns the product with slow weights, (B, H), computed in the policy's dtype."""
        dtype = self.dtype_policy.compute_dtype
        product = ops.matmul(ops.cast(vectors, dtype), ops.cast(weights, dtype))
        return ops.cast(product, self.compute_dtype)

    def get_initial_state(self, batch_size=None):
        """Returns zeros, `[h_0, A_0]`, (batch_size, H) and (batch_size, H·H)."""
        return [ops.zeros((batch_size, size), dtype=self.compute_dtype) for size in self.state_size]

    def get_config(self):
        return {
            **super().get_config(),
            "inner_steps": self.inner_steps,
            "decay_rate": self.decay_rate,
            "fast_learning_rate": self.fast_learning_rate,
            "epsilon": self.epsilon,
            "recurrence": self.recurrence,
        }


@keras.saving.register_keras_serializable(package="fast_weights")
class FastWeightsAttentionCell(FastWeightsCell):
    """Recurrent cell with fast weights in attention form: it keeps past vectors instead of A.

    Computes what `FastWeightsCell` computes, but replaces step 2 and the product
    h A_t in step 3 by attention to the vectors written in the last M steps,
    scaled by their age:

    4. `h A_t = η Σ_τ λ^(t-τ) (v_τ · h) v_τ`

    The two forms are equal for sequences of at most M steps. In a longer sequence
    this cell forgets all but the last M vectors. In A, the forgotten vectors would
    have been scaled by λ^M or less. From M = `vanishing_length(decay_rate)` on, this
    is lost to rounding in float32 (311 for λ = 0.95). The layer `FastWeights` knows
    the length of its sequences and warns if M is too small; the cell does not.
    Both forms have the same weights in the same order, so `set_weights` copies
    them from one to the other.

    Reference: Ba et al. 2016, arXiv 1610.06258, equations 3 and 4.

    Args:
        units: positive integer, H, the size of the hidden state.
        memory_size: positive integer, M, the number of past vectors to keep.
        **kwargs: the other arguments of `FastWeightsCell`, with its defaults.

    Call arguments:
        inputs: (B, D), one time step.
        states: `[h_{t-1}, memory]`, (B, H) and (B, m·H): the past vectors, oldest
            first. m is M or less (see `get_initial_state`). With a half precision
            policy the states and the output are float32.

    Returns:
        `h_t`, (B, H), and the list of states `[h_t, memory]`.

    Raises:
        ValueError: if an argument is out of bounds.

    Example:

    >>> import numpy as np
    >>> layer = keras.layers.RNN(FastWeightsAttentionCell(4, memory_size=9))
    >>> tuple(layer(np.ones((2, 9, 3), "float32")).shape)
    (2, 4)
    """

    def __init__(self, units, memory_size, **kwargs):
        memory_size = check_integer("memory_size", memory_size, low=1)
        super().__init__(units, **kwargs)
        self.memory_size = memory_size

    @property
    def state_size(self):
        """The sizes of the states: [H, M·H]."""
        return [self.units, self.memory_size * self.units]

    def write(self, memory, vector):
        """Appends `vector`, v_t, (B, H), to `memory`, (B, m·H), and keeps the last M."""
        memory = ops.concatenate([memory, vector], axis=-1)
        size = self.memory_size * self.units
        return memory[:, -size:] if memory.shape[-1] > size else memory

    def read(self, memory, vector):
        """Returns h A_t, (B, H), from `memory`, (B, m·H), and `vector`, h, (B, H)."""
        past = self._past(memory)
        # (4) Attention to the past vectors.
        attention = ops.squeeze(ops.matmul(past, vector[:, :, None]), axis=-1) * self._scale(past)
        return ops.squeeze(ops.matmul(attention[:, None, :], past), axis=1)

    def fast_weights(self, memory):
        """Returns A = η Σ_τ λ^(t-τ) v_τᵀ v_τ, (B, H, H), from the second state, (B, m·H)."""
        past = self._past(memory)
        scaled = past * self._scale(past)[:, None]
        return ops.matmul(ops.transpose(scaled, (0, 2, 1)), past)

    def _past(self, memory):
        """Returns the past vectors, (B, m, H)."""
        return ops.reshape(memory, (-1, memory.shape[-1] // self.units, self.units))

    def _scale(self, past):
        """Returns η λ^age of each past vector, (m,); the newest has age 0."""
        ages = reversed(range(past.shape[1]))
        scale = [self.fast_learning_rate * self.decay_rate**age for age in ages]
        return ops.convert_to_tensor(scale, dtype=past.dtype)

    def get_initial_state(self, batch_size=None, memory_size=None):
        """Returns zeros, [(batch_size, H), (batch_size, m·H)].

        Args:
            batch_size: B.
            memory_size: m. Default `None`: the cell's M. If m is smaller, the memory
                grows by one vector per step up to M; from m = 0, no step reads
                vectors of zeros. Only an unrolled loop without a mask can carry such
                a state.
        """
        slots = self.memory_size if memory_size is None else memory_size
        return [
            ops.zeros((batch_size, size), dtype=self.compute_dtype)
            for size in (self.units, slots * self.units)
        ]

    def warn_if_short(self, length=None):
        """Warns if sequences of `length` steps (`None`: any) lose vectors that still count."""
        needed = min(vanishing_length(self.decay_rate, self.compute_dtype), length or math.inf)
        if self.memory_size < needed:
            warnings.warn(
                f"The memory keeps only the last {self.memory_size} vectors. The next older one "
                f"still has {self.decay_rate**self.memory_size:.2g} times the weight of a new one. "
                f"Use a larger `memory_size`. Received: memory_size={self.memory_size} for "
                f"sequences of {length or 'any number of'} steps",
                stacklevel=3,
            )

    def get_config(self):
        return {**super().get_config(), "memory_size": self.memory_size}


def vanishing_length(decay_rate: float, dtype: str = "float32") -> float:
    """Returns the smallest age n at which λ^n is at most the machine epsilon of `dtype`.

    Rounding loses a vector of this age or older next to a new one.

    Args:
        decay_rate: λ, in [0, 1].
        dtype: `"float32"` or `"float64"`.

    Returns:
        A positive integer, or `math.inf` for λ = 1, which forgets nothing.

    Raises:
        ValueError: if `decay_rate` or `dtype` is invalid.

    Example:

    >>> vanishing_length(0.95), vanishing_length(0.5), vanishing_length(1.0)
    (311, 23, inf)
    """
    decay_rate = check_number("decay_rate", decay_rate, high=1)
    check_choice("dtype", dtype, ("float32", "float64"))
    if decay_rate in (0, 1):
        return 1 if decay_rate == 0 else math.inf
    epsilon = 2.0**-23 if dtype == "float32" else 2.0**-52
    return math.ceil(math.log(epsilon) / math.log(decay_rate))
