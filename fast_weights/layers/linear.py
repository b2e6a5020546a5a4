"""The layers whose memory is linear: `LinearAttention`, `DeltaNet` and `GatedDeltaNet`."""

import keras
from keras import ops

from fast_weights.cells import DeltaNetCell, GatedDeltaNetCell, LinearAttentionCell
from fast_weights.cells.base import Tensor
from fast_weights.cells.linear import read
from fast_weights.layers.base import of_cell
from fast_weights.layers.chunked import ChunkedLayer, into_chunks, out_of_chunks
from fast_weights.layers.linear_chunk import run_chunks


class LinearLayer(ChunkedLayer):
    """Base class of the layers that compute a `LinearCell` in chunks of steps."""

    memory_state = 0
    num_heads = of_cell("num_heads")
    key_size = of_cell("key_size")
    value_size = of_cell("value_size")
    feature_map = of_cell("feature_map")
    convolution_size = of_cell("convolution_size")
    use_output_gate = of_cell("use_output_gate")
    normalization = of_cell("normalization")
    epsilon = of_cell("epsilon")
    convolution_initializer = of_cell("convolution_initializer")
    convolution_regularizer = of_cell("convolution_regularizer")
    convolution_constraint = of_cell("convolution_constraint")

    @property
    def _can_compile(self) -> bool:
        # Unlike other loops, the one over chunks has a gradient that XLA supports. An activation of
        # a user may have operations that XLA lacks.
        name = getattr(self.activation, "__name__", "")
        return self.activation is getattr(keras.activations, name, None)

    def default_chunk_size(self, length: int | None) -> int:
        return 64

    def run(
        self,
        sequences: Tensor,
        states: list[Tensor],
        mask: Tensor | None,
        recurrent_mask: Tensor | None,
    ) -> tuple[Tensor, list[Tensor]]:
        cell, keep, counts = self.cell, None, None
        memory, window = cell.matrices(states)
        if mask is not None:
            sequences, keep, counts = to_front(sequences, mask)
        signals, stream = cell.signals(cell.project(sequences), window, keep)
        reads, memory = self._read_and_write(signals, memory)
        gates = signals.gates
        if not self.return_sequences:
            # Only one output is needed, so only the last step that counts reads.
            counts = None if counts is None else counts[:, -1:]
            queries, gates = (_last_step(one, counts) for one in (signals.queries, gates))
            reads = read(queries, memory[:, None])
        outputs = cell.outputs(reads, gates)
        if counts is not None:
            if self.return_sequences:
                outputs = steps_at(outputs, counts - 1)
            # As in Keras, the output before the first step that counts is zero.
            outputs = ops.where(counts[:, :, None] > 0, outputs, ops.zeros_like(outputs))
        if window is not None:
            size = window.shape[1]
            window = stream[:, -size:]
            if counts is not None:
                window = steps_at(stream, counts[:, -1:] + ops.arange(size, dtype="int32"))
        return outputs, cell.flat(memory, window)

    def _read_and_write(self, signals, memory):
        """Returns every o_t, (B, T, n, d_v), and S after the last step.

        If the layer returns only the last output, `None` stands for every o_t.
        """
        length = signals.keys.shape[1]
        size = self.steps_per_chunk(length)
        parts = [
            None if one is None else ops.swapaxes(into_chunks(one, size), 2, 3)
            for one in (signals.queries if self.return_sequences else None, *signals[1:5])
        ]
        reads, memory = run_chunks(*parts, memory, self.unroll)
        if reads is not None:
            reads = ops.swapaxes(reads, 2, 3)
            reads = out_of_chunks(reads, ops.shape(signals.keys)[1])
        return reads, memory


def to_front(sequences, mask):
    """Moves the steps that count to the front of their sequences, and keeps their order.

    The convolution of a step needs the inputs of the K - 1 steps before it that count. After the
    move, these are its neighbors, even if the mask has gaps.

    Returns:
        The sequences, (B, T, D). A mask of their steps that count, (B, T), bool. For each step of
        `mask`, the number of steps up to it that count, (B, T).
    """
    steps = ops.arange(ops.shape(mask)[1], dtype="int32")
    counts = ops.cumsum(ops.cast(mask, "int32"), axis=1)
    order = ops.argsort(ops.where(mask, steps, steps + ops.shape(mask)[1]), axis=1)
    return steps_at(sequences, order), steps < counts[:, -1:], counts


def steps_at(tensor, indices):
    """Returns the steps of (B, T, n) at `indices`, (B, m), as (B, m, n). -1 gives step 0."""
    batch, length, size = ops.shape(tensor)
    indices = ops.maximum(ops.cast(indices, "int32"), 0)
    indices = indices + length * ops.arange(batch, dtype="int32")[:, None]
    # Whole rows, because `ops.take_along_axis` would gather each number separately.
    return ops.take(ops.reshape(tensor, (-1, size)), indices, axis=0)


def _last_step(tensor, counts):
    """Returns the last step of (B, T, n, d) that counts, (B, 1, n, d)."""
    if tensor is None or counts is None:
        return tensor if tensor is None else tensor[:, -1:]
    batch, length, heads, size = ops.shape(tensor)
    tensor = steps_at(ops.reshape(tensor, (batch, length, heads * size)), counts - 1)
    return ops.reshape(tensor, (batch, 1, heads, size))


@keras.saving.register_keras_serializable(package="fast_weights")
class LinearAttention(LinearLayer):
    """Recurrent layer of causal linear attention: a memory that only adds.

    Gives the same results as `keras.layers.RNN(LinearAttentionCell(...))` with the same weights,
    for sequences of any length, in chunks of steps. Within a chunk, a step reads the memory S as it
    was before the chunk, and attends to the values written since.

    Args:
        units: positive integer, H, the size of the output.
        feature_map: φ of queries and keys, see `LinearAttentionCell`. Default `"elu"`.
        use_denominator: whether a read is divided by the sum of its weights. Default `None`:
            `True` if φ has no negative numbers.
        chunk_size: positive integer, C, the largest number of steps in a chunk. It changes
            time and memory, not the results. The layer cuts a sequence into chunks of nearly
            equal size. Default `None`: 64.
        **kwargs: `return_sequences`, `return_state`, `go_backwards`, `stateful`,
            `unroll`, `zero_output_for_mask` (default: `False`) and
            `activity_regularizer`; `jit_compile=False` to leave XLA off unless
            `model.compile` turns it on (default: `"auto"`); the other arguments of
            `LinearAttentionCell`, with its defaults.

    Call arguments:
        sequences: (B, T, D).
        initial_state: `[S, window]`, (B, n·d_k·(d_v + 1)) and (B, (K - 1)·n·(2·d_k + d_v)), see
            `LinearAttentionCell`. Default: zeros.
        mask: (B, T), bool. A masked step changes neither S nor the window of the convolution,
            and repeats the output before it. Before the first step that counts, the output is
            zero.

    Returns:
        h_T, (B, H), or with `return_sequences` every h_t, (B, T, H). With `return_state`, also
        the last states. With a half precision policy all of them are float32.

    Raises:
        ValueError: if an argument is unknown or out of bounds, or if an input, a mask or a
            state has a wrong shape.

    Reference: Katharopoulos et al. 2020, arXiv 2006.16236, equations 18 to 20.

    Example:

    >>> import numpy as np
    >>> layer = LinearAttention(4, num_heads=2, return_sequences=True)
    >>> tuple(layer(np.ones((2, 9, 3), "float32")).shape)
    (2, 9, 4)
    """

    cell_class = LinearAttentionCell
    use_denominator = of_cell("use_denominator")


@keras.saving.register_keras_serializable(package="fast_weights")
class DeltaNet(LinearLayer):
    """Recurrent layer with the delta rule: each write corrects the memory.

    Gives the same results as `keras.layers.RNN(DeltaNetCell(...))` with the same weights, for
    sequences of any length, in chunks of steps. The writes of a chunk are the solution of a
    triangular system, so that the steps need no loop (`linear_chunk.py` has the equations).

    Args:
        units: positive integer, H, the size of the output.
        feature_map: φ of queries and keys, see `DeltaNetCell`. Default `"l2"`.
        chunk_size: positive integer, C, the largest number of steps in a chunk. It changes
            time and memory, not the results. The layer cuts a sequence into chunks of nearly
            equal size. Default `None`: 64.
        **kwargs: `return_sequences`, `return_state`, `go_backwards`, `stateful`,
            `unroll`, `zero_output_for_mask` (default: `False`) and
            `activity_regularizer`; `jit_compile=False` to leave XLA off unless
            `model.compile` turns it on (default: `"auto"`); the other arguments of
            `DeltaNetCell`, with its defaults.

    Call arguments:
        sequences: (B, T, D).
        initial_state: `[S, window]`, (B, n·d_k·d_v) and (B, (K - 1)·n·(2·d_k + d_v)), see
            `DeltaNetCell`. Default: zeros.
        mask: (B, T), bool. A masked step changes neither S nor the window of the convolution,
            and repeats the output before it. Before the first step that counts, the output is
            zero.

    Returns:
        h_T, (B, H), or with `return_sequences` every h_t, (B, T, H). With `return_state`, also
        the last states. With a half precision policy all of them are float32.

    Raises:
        ValueError: if an argument is unknown or out of bounds, or if an input, a mask or a
            state has a wrong shape.

    Reference: Schlag, Irie and Schmidhuber 2021, arXiv 2102.11174; Yang et al. 2024, arXiv
    2406.06484, sections 2.2 and 3.

    Example:

    >>> import numpy as np
    >>> layer = DeltaNet(4, num_heads=2, key_size=3)
    >>> tuple(layer(np.ones((2, 9, 3), "float32")).shape)
    (2, 4)
    """

    cell_class = DeltaNetCell


@keras.saving.register_keras_serializable(package="fast_weights")
class GatedDeltaNet(LinearLayer):
    """Recurrent layer with the gated delta rule: `DeltaNet` whose memory decays.

    Gives the same results as `keras.layers.RNN(GatedDeltaNetCell(...))` with the same weights,
    for sequences of any length, in chunks of steps like those of `DeltaNet`. The decay and the
    strength of a write depend on the input.

    Args:
        units: positive integer, H, the size of the output.
        feature_map: φ of queries and keys, see `GatedDeltaNetCell`. Default `"l2"`.
        use_output_gate: whether a gate multiplies what a step reads. Default `True`.
        chunk_size: positive integer, C, the largest number of steps in a chunk. It changes
            time and memory, not the results. The layer cuts a sequence into chunks of nearly
            equal size. Default `None`: 64.
        **kwargs: `return_sequences`, `return_state`, `go_backwards`, `stateful`,
            `unroll`, `zero_output_for_mask` (default: `False`) and
            `activity_regularizer`; `jit_compile=False` to leave XLA off unless
            `model.compile` turns it on (default: `"auto"`); the other arguments of
            `GatedDeltaNetCell`, with its defaults.

    Call arguments:
        sequences: (B, T, D).
        initial_state: `[S, window]`, as for `DeltaNet`. Default: zeros.
        mask: (B, T), bool. A masked step changes neither S nor the window of the convolution,
            and repeats the output before it. Before the first step that counts, the output is
            zero.

    Returns:
        h_T, (B, H), or with `return_sequences` every h_t, (B, T, H). With `return_state`, also
        the last states. With a half precision policy all of them are float32.

    Raises:
        ValueError: if an argument is unknown or out of bounds, or if an input, a mask or a
            state has a wrong shape.

    Reference: Yang, Kautz and Hatamizadeh 2024, arXiv 2412.06464, section 3.

    Example:

    >>> import numpy as np
    >>> layer = GatedDeltaNet(4, value_size=8)
    >>> tuple(layer(np.ones((2, 9, 3), "float32")).shape)
    (2, 4)
    """

    cell_class = GatedDeltaNetCell
