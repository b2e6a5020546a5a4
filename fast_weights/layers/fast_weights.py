"""`FastWeights`, and which form of the fast weights it takes."""

import functools
import math

import keras
from keras import ops

from fast_weights.cells import FastWeightsAttentionCell, FastWeightsCell, vanishing_length
from fast_weights.cells.common import check_choice
from fast_weights.layers.recurrent import RecurrentLayer, of_cell

# Vectors kept for each unit, from which the matrix form is the faster one in a loop.
LOOP_CROSSOVER = 0.6
MEMORIES = ("auto", "matrix", "attention")


def faster_form(memory_size: int, units: int, unroll: bool) -> str:
    """Which form of the fast weights trains faster: "attention" or "matrix".

    Measured by `python -m benchmarks.memory_forms` (`docs/memory_forms.md`): unrolled,
    attention was faster at every size that compiles within two minutes, which is up to 33
    steps, with a mask too (longer: assumed); in a loop, where fewer than 0.6 times as many
    vectors are kept as there are units.

    Args:
        memory_size: M, how many vectors the attention form would keep.
        units: H.
        unroll: whether the loop over time is unrolled.
    """
    return "attention" if unroll or memory_size < LOOP_CROSSOVER * units else "matrix"


@keras.saving.register_keras_serializable(package="fast_weights")
class FastWeights(RecurrentLayer):
    """Recurrent layer with fast weights, an associative memory of each sequence's recent past.

    `FastWeightsCell` (matrix form) or `FastWeightsAttentionCell` (attention form)
    over time: the same numbers and the same weights, at another price.

    Args:
        units: positive integer, H, the size of the hidden state.
        inner_steps: integer, zero or more, S, steps of the inner loop. Default 1.
        decay_rate: float in [0, 1], λ, the share of A kept. Default 0.95.
        fast_learning_rate: float, zero or more, η, the strength of a write.
            Default 0.5.
        epsilon: float, zero or more, added to layer normalization's variance; with
            zero, a vector of equal units becomes NaN. Default 1e-5.
        recurrence: `"original"` (default) or `"paper"`: what is written, see
            `FastWeightsCell`.
        memory: which form.
            `"matrix"`: A itself is kept; any length, B·H² numbers a step.
            `"attention"`: the vectors written are kept instead.
            `"auto"` (default): the form that was measured to be faster
            (`faster_form`) where the number of steps is known when the layer is
            built, its states stay inside and λ < 1; otherwise (`stateful`,
            `return_state`, an `initial_state` in the first call) the matrix form.
            Who hands states to a `Bidirectional` says `"matrix"`.
        memory_size: positive integer, M, how many vectors the attention form
            keeps. Default `None`: as many as count, the length of the sequence,
            or where that is unknown or the states outlive it, the
            `vanishing_length` of `decay_rate`.
        **kwargs: `return_sequences`, `return_state`, `go_backwards`, `stateful`,
            `unroll`, `zero_output_for_mask` (default: `False`),
            `activity_regularizer`; `activation` (default: `"relu"`), initializers,
            regularizers and constraints, as `Control` takes them; `name`, `dtype`
            and the like.

    Call arguments:
        sequences: (B, T, D).
        initial_state: `[h_0, memory]`, (B, H), and (B, H·H) in matrix form or
            (B, M·H) in attention form. Default: zeros.
        mask: (B, T), bool. A masked step leaves h and A as they were.

    Returns:
        h_T, (B, H), or with `return_sequences` every h_t, (B, T, H); with
        `return_state` also the last states. With a half precision policy all of
        them are float32.

    Raises:
        ValueError: if an argument is out of its bounds; if an input, a mask or a
            state has a wrong shape; if A for the whole batch would be larger than
            this machine's memory; if `memory="attention"` cannot tell how many
            vectors to keep, because nothing bounds the sequence and with λ = 1
            nothing vanishes.

    Warns:
        UserWarning: if `memory_size` is shorter than the sequence, and what is
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
        inner_steps=1,
        decay_rate=0.95,
        fast_learning_rate=0.5,
        epsilon=1e-5,
        recurrence="original",
        memory="auto",
        memory_size=None,
        **kwargs,
    ):
        self.memory = check_choice("memory", memory, MEMORIES)
        if memory_size is not None and memory != "attention":
            raise ValueError(
                "`memory_size` is of the attention form alone. "
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
        """The cell's: with half precision float32, or A would be rounded on its way out."""
        return self.cell.compute_dtype

    def make_cell(self, units, **arguments):
        # From the arguments as they are: not every function can go through a config.
        self._make_attention_cell = functools.partial(FastWeightsAttentionCell, units, **arguments)
        if self.memory == "attention":
            # Where no size is given, it follows when more is known.
            return self._make_attention_cell(1 if self.memory_size is None else self.memory_size)
        return FastWeightsCell(units, **arguments)

    def build(self, sequences_shape, initial_state_shape=None):
        length, cell = sequences_shape[1], self.cell
        inside = self._states_stay_inside and initial_state_shape is None
        # With λ = 1 nothing vanishes, and a longer sequence would want another form.
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
            self.settle_memory(sequences.shape[1] if inside else None)
            if inside and self.unroll and mask is None and sequences_mask is None:
                # The memory grows from nothing, so that nothing unwritten is read.
                empty = self.cell.get_initial_state(ops.shape(sequences)[0], memory_size=0)
                return keras.layers.RNN.call(self, sequences, initial_state=empty)
        return super().call(sequences, initial_state, mask, training, sequences_mask)

    def settle_memory(self, length):
        """Makes an attention form keep what counts in `length` steps (`None`: any), or warns."""
        if self.memory_size is not None:
            self.cell.warn_if_short(length)
        elif isinstance(self.cell, FastWeightsAttentionCell):
            # Sequences can be longer than those that the layer was built for.
            self._keep(max(self.cell.memory_size, self._vectors_that_count(length)))

    def _about_states(self):
        if self.memory == "auto" and isinstance(self.cell, FastWeightsAttentionCell):
            return ', as it was built for calls without one: `memory="matrix"` takes them always'
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
        """How many past vectors a sequence of `length` steps (`None`: any) needs."""
        vanishing = vanishing_length(self.cell.decay_rate, self.cell.compute_dtype)
        needed = vanishing if length is None else min(max(length, 1), vanishing)
        if needed == math.inf:
            raise ValueError(
                "how many vectors to keep is not known: no length bounds the sequence, and with "
                'decay_rate=1.0 nothing vanishes. Give `memory_size`, or `memory="matrix"`. '
                "Received: memory_size=None"
            )
        return needed

    def get_config(self):
        return {**super().get_config(), "memory": self.memory, "memory_size": self.memory_size}
