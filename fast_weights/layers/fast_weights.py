"""`FastWeights`, and the choice between the two forms of the fast weights."""

import functools
import math

import keras
from keras import ops

from fast_weights import defaults
from fast_weights.cells import FastWeightsAttentionCell, FastWeightsCell, vanishing_length
from fast_weights.cells.base import check_choice
from fast_weights.layers.base import RecurrentLayer, of_cell

# In a loop, the matrix form is faster from this number of kept vectors per unit on.
LOOP_CROSSOVER = 0.6
MEMORIES = ("auto", "matrix", "attention")


def faster_form(memory_size: int, units: int, unroll: bool) -> str:
    """Returns the form of the fast weights that trains faster: "attention" or "matrix".

    Measured by `python -m benchmarks.memory_forms` (`docs/memory_forms.md`). Unrolled,
    attention was faster at every size that compiles within two minutes, which is up to
    33 steps, and also with a mask; longer sequences are assumed to behave alike. In a
    loop, attention was faster while it keeps fewer than 0.6 vectors per unit.

    Args:
        memory_size: M, the number of vectors that the attention form would keep.
        units: H.
        unroll: whether the loop over time is unrolled.
    """
    return "attention" if unroll or memory_size < LOOP_CROSSOVER * units else "matrix"


@keras.saving.register_keras_serializable(package="fast_weights")
class FastWeights(RecurrentLayer):
    """Recurrent layer with fast weights, an associative memory of each sequence's recent past.

    Runs `FastWeightsCell` (matrix form) or `FastWeightsAttentionCell` (attention
    form) over time. Both compute the same numbers from the same weights, at
    different cost.

    Args:
        units: positive integer, H, the size of the hidden state.
        inner_steps: integer of at least 0, S, steps of the inner loop. Default 1.
        decay_rate: float in [0, 1], λ, the share of A that a step keeps.
            Default 0.95.
        fast_learning_rate: float of at least 0, η, the strength of a write.
            Default 0.5.
        epsilon: float of at least 0, added to the variance in layer
            normalization; with 0, a vector of equal units becomes NaN.
            Default 1e-5.
        recurrence: `"original"` or `"paper"`: the vector that a step writes, see
            `FastWeightsCell`. Default `"original"`.
        memory: the form of the fast weights. Default `"auto"`.
            `"matrix"`: keeps A itself: B·H² numbers per step, for any length.
            `"attention"`: keeps the vectors written instead.
            `"auto"`: the faster form according to `faster_form`, if the number of
            steps is known when the layer is built, λ < 1, and no states enter or
            leave the layer (`stateful`, `return_state`, an `initial_state` in the
            first call). Otherwise the matrix form. To pass states to a
            `Bidirectional` layer, use `"matrix"`.
        memory_size: positive integer, M, the number of vectors to keep. Only for
            `memory="attention"`. Default `None`: one vector for each step, up to
            the `vanishing_length` of `decay_rate`; or that number if the length
            is unknown or the states outlive the sequence.
        **kwargs: `return_sequences`, `return_state`, `go_backwards`, `stateful`,
            `unroll`, `zero_output_for_mask` (default: `False`) and
            `activity_regularizer`; `activation` (default: `"relu"`), initializers,
            regularizers and constraints, as in `Control`; `name`, `dtype` and so
            on.

    Call arguments:
        sequences: (B, T, D).
        initial_state: `[h_0, memory]`, (B, H), and (B, H·H) in matrix form or
            (B, M·H) in attention form. Default: zeros.
        mask: (B, T), bool. A masked step leaves h and A unchanged.

    Returns:
        h_T, (B, H), or with `return_sequences` every h_t, (B, T, H). With
        `return_state`, also the last states. With a half precision policy all of
        them are float32.

    Raises:
        ValueError: if an argument is out of bounds; if an input, a mask or a state
            has a wrong shape; if `memory="attention"` cannot decide how many
            vectors to keep, because the length is unknown and λ = 1 forgets
            nothing.

    Warns:
        UserWarning: if `memory_size` is shorter than the sequence, and the vectors
            forgotten would have counted.

    Example:

    >>> import numpy as np
    >>> layer = FastWeights(4, inner_steps=2)
    >>> tuple(layer(np.ones((2, 9, 3), "float32")).shape)
    (2, 4)
    """

    cell_class = FastWeightsCell
    inner_steps = of_cell("inner_steps")
    decay_rate = of_cell("decay_rate")
    fast_learning_rate = of_cell("fast_learning_rate")
    epsilon = of_cell("epsilon")
    recurrence = of_cell("recurrence")

    def __init__(
        self,
        units,
        *,
        inner_steps=defaults.INNER_STEPS,
        decay_rate=defaults.DECAY_RATE,
        fast_learning_rate=defaults.FAST_LEARNING_RATE,
        epsilon=defaults.EPSILON,
        recurrence=defaults.RECURRENCES[0],
        memory="auto",
        memory_size=None,
        **kwargs,
    ):
        self.memory = check_choice("memory", memory, MEMORIES)
        if memory_size is not None and memory != "attention":
            raise ValueError(
                '`memory_size` applies only to `memory="attention"`. '
                f"Received: memory_size={memory_size!r} with memory={memory!r}"
            )
        self.memory_size = memory_size
        super().__init__(
            units,
            inner_steps=inner_steps,
            decay_rate=decay_rate,
            fast_learning_rate=fast_learning_rate,
            epsilon=epsilon,
            recurrence=recurrence,
            **kwargs,
        )
        if memory == "attention" and memory_size is None and not self._states_stay_inside:
            self._keep(self._vectors_that_count(None))

    @property
    def compute_dtype(self):
        """The cell's dtype: float32 for half precision, so that returning A does not round it."""
        return self.cell.compute_dtype

    def make_cell(self, units, **arguments):
        # Keeps the arguments, not the cell's config: a config cannot hold every function.
        self._make_attention_cell = functools.partial(FastWeightsAttentionCell, units, **arguments)
        if self.memory == "attention":
            # Without a size, `build` or `call` sets it once the length is known.
            return self._make_attention_cell(1 if self.memory_size is None else self.memory_size)
        return FastWeightsCell(units, **arguments)

    def build(self, sequences_shape, initial_state_shape=None):
        length, cell = sequences_shape[1], self.cell
        inside = self._states_stay_inside and initial_state_shape is None
        # With λ = 1 nothing vanishes, and a longer sequence could need the other form.
        if self.memory == "auto" and inside and length is not None and cell.decay_rate < 1:
            size = self._vectors_that_count(length)
            if faster_form(size, cell.units, self.unroll) == "attention":
                self.cell = self._make_attention_cell(size)
                self._keep(size)
        elif self.memory == "attention" and self.memory_size is None:
            self._keep(self._vectors_that_count(length if inside else None))
        super().build(sequences_shape)

    def call(self, sequences, initial_state=None, mask=None, training=False, sequences_mask=None):
        if isinstance(self.cell, FastWeightsAttentionCell):
            inside = self._states_stay_inside and initial_state is None
            self._keep(self.memory_size_for(sequences.shape[1] if inside else None))
            if inside and self.unroll and mask is None and sequences_mask is None:
                # The memory grows from nothing, so that no unwritten vectors are read.
                empty = self.cell.get_initial_state(ops.shape(sequences)[0], memory_size=0)
                return keras.layers.RNN.call(self, sequences, initial_state=empty)
        return super().call(sequences, initial_state, mask, training, sequences_mask)

    def memory_size_for(self, length):
        """Returns how many vectors the attention form keeps in a call. Warns if they are too few.

        Args:
            length: number of steps of the call; `None` if unknown.
        """
        if self.memory_size is not None:
            self.cell.warn_if_short(length)
            return self.memory_size
        # A sequence can be longer than the one that the layer was built for.
        return max(self.cell.memory_size, self._vectors_that_count(length))

    def _states_hint(self):
        if self.memory == "auto" and isinstance(self.cell, FastWeightsAttentionCell):
            return (
                ': the layer was built for calls without states; use `memory="matrix"`, '
                "which always accepts them"
            )
        return ""

    @property
    def _states_stay_inside(self):
        """Whether no state outlives a call."""
        return not (self.stateful or self.return_state)

    def _keep(self, memory_size):
        """Sets how many vectors the attention form keeps."""
        self.cell.memory_size = memory_size
        self.state_size = list(self.cell.state_size)

    def _vectors_that_count(self, length):
        """Returns how many past vectors a sequence of `length` steps (`None`: any) needs."""
        vanishing = vanishing_length(self.cell.decay_rate, self.cell.compute_dtype)
        needed = vanishing if length is None else min(max(length, 1), vanishing)
        if needed == math.inf:
            raise ValueError(
                "the number of vectors to keep is unknown: the sequences have no known length, "
                "and with decay_rate=1.0 nothing vanishes. Pass `memory_size` or "
                '`memory="matrix"`. Received: memory_size=None'
            )
        return needed

    def get_config(self):
        return {**super().get_config(), "memory": self.memory, "memory_size": self.memory_size}
