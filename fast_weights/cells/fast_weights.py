"""RNN-LN-FW: a recurrent network with fast weights, in two forms.

| symbol | code | shape |
|---|---|---|
| x_t | `inputs` | (B, D) |
| z_t = x_t W_x + b_x | `projected` | (B, H) |
| h_0, the preliminary vector | `preliminary` | (B, H) |
| the vector that step t writes | `written` | (B, H) |
| h_s, h_t | `hidden` | (B, H) |
| W_x | `kernel` | (D, H) |
| W_h | `recurrent_kernel` | (H, H) |
| b_x | `bias` | (H,) |
| gain, bias of LN | `gamma`, `beta` | (H,) |
| A_t, the fast weights, by rows | `memory`, matrix form | (B, H·H) |
| the last M vectors written, a row each | `memory`, attention form | (B, M·H) |

The forms compute the same numbers from the same slow weights. The matrix form
costs H² a step whatever the length; the attention form costs M·H and never
forms A, which is cheaper while M, the number of vectors kept, is small.

States are flat, (B, n) and not (B, H, H): so functional `return_state`, state
chaining and masks work on every backend of Keras.
"""

import collections
import math
import warnings

import keras
from keras import ops

from fast_weights.cells.common import (
    HALF,
    check_choice,
    check_integer,
    check_number,
    layer_normalize,
)
from fast_weights.cells.layer_norm_rnn import LayerNormRNNCell
from fast_weights.cells.room import check_room

RECURRENCES = ("original", "paper")
Step = collections.namedtuple("Step", ["hidden", "memory", "written", "queries"])


def vanishing_length(decay_rate: float, dtype: str = "float32") -> float:
    """The age n from which λ^n is lost in rounding: below the machine epsilon of `dtype`.

    Args:
        decay_rate: λ, between 0 and 1.
        dtype: `"float32"` or `"float64"`.

    Returns:
        A positive integer, or `math.inf` for λ = 1, at which nothing is forgotten.

    Raises:
        ValueError: if `decay_rate` or `dtype` is none of these.

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


class FastWeightsBase(LayerNormRNNCell):
    """The step that both forms share; a form says how memory is written and read."""

    def __init__(
        self,
        units,
        inner_steps=1,
        decay_rate=0.95,
        fast_learning_rate=0.5,
        epsilon=1e-5,
        recurrence="original",
        **kwargs,
    ):
        inner_steps = check_integer("inner_steps", inner_steps, low=0)
        decay_rate = check_number("decay_rate", decay_rate, high=1)
        fast_learning_rate = check_number("fast_learning_rate", fast_learning_rate)
        recurrence = check_choice("recurrence", recurrence, RECURRENCES)
        # The step casts what it is given itself, and gives states back in their own dtype.
        super().__init__(units, epsilon=epsilon, autocast=False, **kwargs)
        self.inner_steps = inner_steps
        self.decay_rate = decay_rate
        self.fast_learning_rate = fast_learning_rate
        self.recurrence = recurrence

    @property
    def compute_dtype(self):
        """As the policy says, but float32 for half precision.

        `keras.layers.RNN` keeps a cell's states in this dtype, and A must not be
        rounded to 8 or 11 bits at each step. The products with the slow weights
        are in half precision all the same.
        """
        policy = self.dtype_policy.compute_dtype
        return "float32" if policy in HALF else policy

    def call(self, inputs, states):
        step = self.step(inputs, states)
        # `keras.layers.StackedRNNCells` keeps states in a precision of its own.
        hidden, memory = (
            ops.cast(new, old.dtype)
            for new, old in zip([step.hidden, step.memory], states, strict=True)
        )
        return hidden, [hidden, memory]

    def step(self, inputs, states):
        """What `call` computes, and what it wrote and asked on the way.

        Args:
            inputs: (B, D), one time step.
            states: `[h_{t-1}, memory]`.

        Returns:
            A named tuple: `hidden`, h_t, (B, H); `memory`, the new one; `written`,
            the vector whose outer product was added to A, (B, H); `queries`, a list
            of the S vectors h_s, (B, H), with which A was read.
        """
        hidden, memory = (ops.cast(state, self.compute_dtype) for state in states)
        projected = self._slow(inputs, self.kernel) + ops.cast(self.bias, self.compute_dtype)
        # (1) preliminary vector
        preliminary = self.activation(projected + self._slow(hidden, self.recurrent_kernel))
        # (2) decay the fast weights and write the outer product of a vector
        written = preliminary if self.recurrence == "original" else hidden
        memory = self._write(memory, written)
        # (3) inner loop: read the fast weights with the slow term held
        boundary = projected + self._slow(written, self.recurrent_kernel)
        hidden, queries = preliminary, []
        for _ in range(self.inner_steps):
            queries.append(hidden)
            hidden = boundary + self._read(memory, hidden)
            hidden = self.activation(layer_normalize(hidden, self.gamma, self.beta, self.epsilon))
        return Step(hidden, memory, written, queries)

    def _slow(self, vectors, weights):
        """Product with slow weights in the policy's precision, (B, H)."""
        dtype = self.dtype_policy.compute_dtype
        product = ops.matmul(ops.cast(vectors, dtype), ops.cast(weights, dtype))
        return ops.cast(product, self.compute_dtype)

    def get_config(self):
        return {
            **super().get_config(),
            "inner_steps": self.inner_steps,
            "decay_rate": self.decay_rate,
            "fast_learning_rate": self.fast_learning_rate,
            "recurrence": self.recurrence,
        }


@keras.saving.register_keras_serializable(package="fast_weights")
class FastWeightsCell(FastWeightsBase):
    """Recurrent cell with an associative memory of its own recent past, in matrix form.

    Beside the slow (trained) weights, each sequence has fast weights A: every
    step writes a vector into A, and an inner loop reads A with the slow input
    held. With A = 0 and h = 0 before the first step, z_t = x_t W_x + b_x and f
    the activation, a step computes

    1. `h_0 = f(z_t + h_{t-1} W_h)`
    2. `A_t = λ A_{t-1} + η vᵀ v`
    3. S times `h_{s+1} = f(LN(z_t + v W_h + h_s A_t))`; `h_t = h_S`

    with v, the vector that is written and that drives the slow term,

    - `recurrence="original"`: `v = h_0`, the preliminary vector of this step;
    - `recurrence="paper"`: `v = h_{t-1}`, the final state of the step before, so
      that A_t is the paper's A(t - 1).

    With S = 0 nothing is read, and the preliminary vector is the state; gain and
    bias of LN have no gradient then.

    Reference: the original's RNN-LN-FW, and Ba et al. 2016, arXiv 1610.06258,
    equations 1, 2 and 5.

    Differences from the original: layer normalization is of each example over
    its units, not over the batch, and has an epsilon; any batch size works.

    Args:
        units: positive integer, H, the size of the hidden state.
        inner_steps: integer, zero or more, S, steps of the inner loop. Default 1.
        decay_rate: float in [0, 1], λ, the share of A kept. Default 0.95.
        fast_learning_rate: float, zero or more, η, the strength of a write.
            Default 0.5.
        epsilon: float, zero or more, added to layer normalization's variance; with
            zero, a vector of equal units becomes NaN. Default 1e-5.
        recurrence: `"original"` (default) or `"paper"`.
        **kwargs: `activation` and the others of `ControlCell`, with its defaults.

    Call arguments:
        inputs: (B, D), one time step.
        states: `[h_{t-1}, A_{t-1}]`, (B, H) and (B, H·H), A by rows. With a half
            precision policy the states, and what is returned, are float32.

    A mask's and a state's shape are checked by the layer `FastWeights`, not by
    `keras.layers.RNN` around the cell.

    Returns:
        `h_t`, (B, H), and the list of states `[h_t, A_t]`.

    Raises:
        ValueError: if an argument is out of its bounds, or if one step needs more
            memory than there is, three times A for the whole batch, B·H² numbers
            (where B is not known, as in `fit`, for one sequence). Training keeps A
            of every step besides.

    Example:

    >>> import numpy as np
    >>> layer = keras.layers.RNN(FastWeightsCell(4), return_state=True)
    >>> output, hidden, fast_weights = layer(np.ones((2, 9, 3), "float32"))
    >>> tuple(output.shape), tuple(fast_weights.shape)
    ((2, 4), (2, 16))
    """

    @property
    def state_size(self):
        """[H, H·H]."""
        return [self.units, self.units**2]

    def build(self, input_shape):
        """Makes the slow weights for inputs of `input_shape[-1]` features."""
        check_room(self.units, input_shape[0], self.compute_dtype)
        super().build(input_shape)

    def get_initial_state(self, batch_size=None):
        """Zeros, [(batch_size, H), (batch_size, H·H)]."""
        check_room(self.units, batch_size, self.compute_dtype)
        return [ops.zeros((batch_size, size), dtype=self.compute_dtype) for size in self.state_size]

    def fast_weights(self, memory):
        """A, (B, H, H), from the second state, (B, H·H)."""
        return ops.reshape(memory, (-1, self.units, self.units))

    def _write(self, memory, written):
        """A_t from A_{t-1}, both (B, H·H), and v, (B, H)."""
        outer = written[:, :, None] * written[:, None, :]
        flat = ops.reshape(outer, (-1, self.units**2))
        return self.decay_rate * memory + self.fast_learning_rate * flat

    def _read(self, memory, hidden):
        """h_s A_t, (B, H)."""
        return ops.squeeze(ops.matmul(hidden[:, None, :], self.fast_weights(memory)), axis=1)


@keras.saving.register_keras_serializable(package="fast_weights")
class FastWeightsAttentionCell(FastWeightsBase):
    """Recurrent cell with fast weights in attention form: past vectors are kept, not A.

    Computes what `FastWeightsCell` computes, with step 2 and the product
    h_s A_t of step 3 replaced by attention to the vectors v(τ) written in the
    last M steps, scaled by their age:

    4. `h_s A_t = η Σ_τ λ^(t-τ) (v(τ) · h_s) v(τ)`

    Equal to the matrix form for sequences of at most M steps. In a longer one
    vectors older than M steps are forgotten; what they would have added is
    scaled by λ^M or less, which is nothing in float32 from M =
    `vanishing_length(decay_rate)` (311 for λ = 0.95). A cell does not know how long
    its sequences are; the layer `FastWeights` does, and warns. The slow weights are those
    of `FastWeightsCell`, in the same order, so that `set_weights` moves them
    between the forms.

    Reference: Ba et al. 2016, arXiv 1610.06258, equations 3 and 4.

    Args:
        units: positive integer, H, the size of the hidden state.
        memory_size: positive integer, M, how many past vectors are kept.
        inner_steps: integer, zero or more, S, steps of the inner loop. Default 1.
        decay_rate: float in [0, 1], λ, the share of A kept. Default 0.95.
        fast_learning_rate: float, zero or more, η, the strength of a write.
            Default 0.5.
        epsilon: float, zero or more, added to layer normalization's variance; with
            zero, a vector of equal units becomes NaN. Default 1e-5.
        recurrence: `"original"` (default) or `"paper"`.
        **kwargs: `activation` and the others of `ControlCell`, with its defaults.

    Call arguments:
        inputs: (B, D), one time step.
        states: `[h_{t-1}, memory]`, (B, H) and (B, m·H): the past vectors one
            after another, oldest first. m is M, or fewer (see
            `get_initial_state`). With a half precision policy the states, and
            what is returned, are float32.

    Returns:
        `h_t`, (B, H), and the list of states `[h_t, memory]`.

    Raises:
        ValueError: if an argument is out of its bounds.

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
        """[H, M·H]."""
        return [self.units, self.memory_size * self.units]

    def warn_if_short(self, length=None):
        """Warns if sequences of `length` steps (`None`: any) lose vectors that would count."""
        needed = min(vanishing_length(self.decay_rate, self.compute_dtype), length or math.inf)
        if self.memory_size < needed:
            warnings.warn(
                f"vectors older than {self.memory_size} steps are forgotten although they would "
                f"count {self.decay_rate**self.memory_size:.2g} of a new one. "
                f"Received: memory_size={self.memory_size} "
                f"for sequences of {length or 'any number of'} steps",
                stacklevel=3,
            )

    def get_initial_state(self, batch_size=None, memory_size=None):
        """Zeros, [(batch_size, H), (batch_size, m·H)].

        m is `memory_size`, by default the cell's M. From fewer vectors the memory
        grows by one a step until it has M: then nothing unwritten is read, but only
        an unrolled loop without a mask can carry a state that changes its shape.
        """
        slots = self.memory_size if memory_size is None else memory_size
        return [
            ops.zeros((batch_size, size), dtype=self.compute_dtype)
            for size in (self.units, slots * self.units)
        ]

    def fast_weights(self, memory):
        """A, (B, H, H), from the second state, (B, m·H): `Σ_τ η λ^(t-τ) v(τ)ᵀ v(τ)`."""
        past = self._past(memory)
        scaled = past * self._scale(past)[:, None]
        return ops.matmul(ops.transpose(scaled, (0, 2, 1)), past)

    def _write(self, memory, written):
        """Appends v, (B, H), to memory, (B, m·H), and drops the oldest of more than M."""
        memory = ops.concatenate([memory, written], axis=-1)
        size = self.memory_size * self.units
        return memory[:, -size:] if memory.shape[-1] > size else memory

    def _read(self, memory, hidden):
        """h_s A_t, (B, H), by attention to the vectors kept."""
        past = self._past(memory)
        # (4)
        attention = ops.squeeze(ops.matmul(past, hidden[:, :, None]), axis=-1) * self._scale(past)
        return ops.squeeze(ops.matmul(attention[:, None, :], past), axis=1)

    def _past(self, memory):
        """The past vectors, (B, m, H)."""
        return ops.reshape(memory, (-1, memory.shape[-1] // self.units, self.units))

    def _scale(self, past):
        """η λ^age of each past vector, (m,): the newest has age 0; what is unwritten is 0."""
        ages = reversed(range(past.shape[1]))
        scale = [self.fast_learning_rate * self.decay_rate**age for age in ages]
        return ops.convert_to_tensor(scale, dtype=past.dtype)

    def get_config(self):
        return {**super().get_config(), "memory_size": self.memory_size}
