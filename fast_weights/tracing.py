"""`trace_memory`: the fast weights, the states and the attention at every step."""

import dataclasses
from typing import Any

from keras import ops


@dataclasses.dataclass(frozen=True)
class MemoryTrace:
    """Records the steps of a fast weights cell over a batch of sequences, as tensors.

    The times t and τ count from 0 to T - 1.

    Attributes:
        fast_weights: (B, T, H, H): A_t, as step t reads it.
        hidden: (B, T, H): h_t, the state after step t.
        written: (B, T, H): v_t, the vector whose outer product step t writes; zeros
            where t is masked.
        attention: (B, T, S, T): `[b, t, s, τ]` is η λ^(t-τ) (v_τ · h), the weight of
            v_τ in the product h A_t that inner step s of step t computes. Zeros for
            τ > t, for vectors that the cell has forgotten, and where t or τ is
            masked. Masked steps do not add to the age t - τ.
    """

    fast_weights: Any
    hidden: Any
    written: Any
    attention: Any


def trace_memory(layer, sequences, mask=None) -> MemoryTrace:
    """Runs a batch through the cell of a fast weights layer and records every step.

    The cell itself computes the numbers, starting from states of zero. In both forms,
    they satisfy `h A_t = Σ_τ attention[t, s, τ] v_τ`. The layer does not change.

    Args:
        layer: a built `FastWeights`, a `keras.layers.RNN` around a fast weights cell,
            or the cell itself. With `go_backwards`, time runs as in the layer.
        sequences: (B, T, D), the input of the layer, with a known T.
        mask: (B, T), bool. A masked step leaves h and A unchanged. Default `None`.

    Returns:
        A `MemoryTrace` with `fast_weights`, `hidden`, `written` and `attention`.

    Raises:
        ValueError: if `layer` has no fast weights or is not built, or if `sequences`
            or `mask` has a wrong shape.

    Warns:
        UserWarning: if the attention form keeps too few vectors for T steps.

    Reference: Ba et al. 2016, arXiv 1610.06258, equations 3 and 4.

    Example:

    >>> import numpy as np
    >>> from fast_weights import FastWeights
    >>> layer, sequences = FastWeights(4), np.ones((2, 9, 3), "float32")
    >>> output = layer(sequences)
    >>> trace = trace_memory(layer, sequences)
    >>> tuple(trace.fast_weights.shape), tuple(trace.attention.shape)
    ((2, 9, 4, 4), (2, 9, 1, 9))
    """
    cell, sequences, mask = _check(layer, sequences, mask)
    length = sequences.shape[1]
    recorder = _Recorder(cell, _memory_size(layer, cell, length))
    if getattr(layer, "go_backwards", False):
        sequences, mask = ops.flip(sequences, axis=1), ops.flip(mask, axis=1)
    fast_weights, hidden, written = _run(recorder, sequences, mask)
    attention = _scale(recorder, mask)[:, :, None, :]
    if recorder.queries:
        queries = ops.stack(recorder.queries, axis=1)  # (B, T·S, H)
        bracket = ops.matmul(queries, ops.transpose(written, (0, 2, 1)))
        bracket = ops.reshape(bracket, (-1, length, cell.inner_steps, length))
        attention = ops.where(attention > 0, attention * bracket, ops.zeros_like(bracket))
    return MemoryTrace(fast_weights, hidden, written, attention[:, :, : cell.inner_steps])


class _Recorder:
    """Stands in for a cell and records its writes and the vectors h of its reads.

    The cell itself stays unchanged, and its own `call` computes the numbers.
    """

    def __init__(self, cell, memory_size):
        self.cell = cell
        self.memory_size = memory_size
        self.written, self.queries = None, []

    @property
    def __class__(self):
        # `super()` in a subclass of a cell accepts no other stand-in.
        return type(self.cell)

    def __getattr__(self, name):
        return getattr(self.cell, name)

    def call(self, inputs, states):
        return type(self.cell).call(self, inputs, states)

    def get_initial_state(self, batch_size):
        return type(self.cell).get_initial_state(self, batch_size=batch_size)

    def write(self, memory, vector):
        self.written = vector
        return type(self.cell).write(self, memory, vector)

    def read(self, memory, vector):
        self.queries.append(vector)
        return type(self.cell).read(self, memory, vector)


def _memory_size(layer, cell, length):
    """Returns how many vectors a call of `length` steps keeps. Warns if they are too few."""
    if not hasattr(cell, "memory_size"):
        return length  # The matrix form forgets no vector.
    if hasattr(layer, "memory_size_for"):
        return layer.memory_size_for(length)
    cell.warn_if_short(length)
    return cell.memory_size


def _run(recorder, sequences, mask):
    """Returns A_t, h_t and v_t of every step, each with time as the second axis."""
    states = recorder.get_initial_state(ops.shape(sequences)[0])
    fast_weights, hidden, written = [], [], []
    for t in range(sequences.shape[1]):
        kept = mask[:, t : t + 1]
        _, new_states = recorder.call(sequences[:, t], states)
        states = [ops.where(kept, new, old) for new, old in zip(new_states, states, strict=True)]
        hidden.append(states[0])
        fast_weights.append(recorder.fast_weights(states[1]))
        written.append(ops.where(kept, recorder.written, ops.zeros_like(recorder.written)))
    return [ops.stack(part, axis=1) for part in (fast_weights, hidden, written)]


def _scale(recorder, mask):
    """Returns η λ^age of the vector written at τ when step t reads, or zero, (B, T, T)."""
    clock = ops.cumsum(ops.cast(mask, "int32"), axis=1)
    age = clock[:, :, None] - clock[:, None, :]
    steps = ops.arange(mask.shape[1])
    readable = (steps[:, None] >= steps[None, :]) & mask[:, :, None] & mask[:, None, :]
    readable = readable & (age < recorder.memory_size)
    dtype = recorder.compute_dtype
    scale = recorder.fast_learning_rate * ops.power(
        ops.convert_to_tensor(recorder.decay_rate, dtype), ops.cast(ops.maximum(age, 0), dtype)
    )
    return ops.where(readable, scale, ops.zeros_like(scale))


def _check(layer, sequences, mask):
    """Returns the cell, and the sequences and the mask as tensors, or raises `ValueError`."""
    cell = getattr(layer, "cell", layer)
    if not hasattr(cell, "fast_weights"):
        raise ValueError(
            "`layer` must be a `FastWeights` layer, a `FastWeightsCell`, a "
            "`FastWeightsAttentionCell` or a `keras.layers.RNN` around one of the cells. "
            f"Received: layer={layer!r}"
        )
    if not cell.built:
        raise ValueError(f"`layer` must be built; call it once. Received: layer={layer!r}")
    sequences = ops.convert_to_tensor(sequences, dtype=cell.compute_dtype)
    shape, features = tuple(sequences.shape), cell.kernel.shape[0]
    if len(shape) != 3 or not shape[1] or shape[2] != features:
        raise ValueError(
            f"`sequences` must have shape (batch, time, {features}) with at least one step. "
            f"Received: shape {shape}"
        )
    mask = ops.ones_like(sequences[:, :, 0]) if mask is None else mask
    mask = ops.cast(mask, "bool")
    if tuple(mask.shape) != shape[:2]:
        raise ValueError(
            f"`mask` must have shape (batch, time) = {shape[:2]}. "
            f"Received: shape {tuple(mask.shape)}"
        )
    return cell, sequences, mask
