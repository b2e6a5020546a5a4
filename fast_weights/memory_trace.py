"""What A knows: the fast weights, the states and the attention at every step.

Figures, TensorBoard and notebooks all start from `trace_memory`.
"""

import dataclasses
from typing import Any

from keras import ops


@dataclasses.dataclass(frozen=True)
class MemoryTrace:
    """What a fast weights cell did with a batch of sequences, as tensors.

    Time t and past time τ both count from 0 to T - 1.

    Attributes:
        fast_weights: (B, T, H, H): A_t, as step t read it.
        hidden: (B, T, H): h_t, the state after step t.
        written: (B, T, H): the vector whose outer product step t wrote; zeros where t is
            masked.
        attention: (B, T, S, T): with `[b, t, s, τ]` = η λ^(t-τ) (v(τ) · h_s), how much of the
            vector written at τ the inner step s of step t read; zeros for τ > t, for what is
            forgotten, and where t or τ is masked. Masked steps do not count as age.
    """

    fast_weights: Any
    hidden: Any
    written: Any
    attention: Any


def trace_memory(layer, sequences, mask=None) -> MemoryTrace:
    """Takes a batch through a fast weights layer and keeps what it did at every step.

    The numbers are the cell's own: `h_s A_t = Σ_τ attention[t, s, τ] written[τ]`,
    from either form, starting at zero states.

    Args:
        layer: a built `FastWeights`, a `keras.layers.RNN` around a fast weights cell,
            or the cell itself. With `go_backwards` time runs as the layer takes it.
        sequences: (B, T, D), what the layer is given; T is known. An attention form that
            keeps as many vectors as count does so for T steps from then on, as when it is
            called.
        mask: (B, T), bool; a masked step changes nothing. Default `None`.

    Returns:
        A `MemoryTrace`: `fast_weights`, `hidden`, `written` and `attention`.

    Raises:
        ValueError: if `layer` keeps no fast weights or is not built, or `sequences` or
            `mask` has a wrong shape.

    Warns:
        UserWarning: if the attention form's memory is too short for T steps.

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
    if hasattr(layer, "settle_memory"):
        layer.settle_memory(length)
    elif hasattr(cell, "warn_if_short"):
        cell.warn_if_short(length)
    if getattr(layer, "go_backwards", False):
        sequences, mask = ops.flip(sequences, axis=1), ops.flip(mask, axis=1)
    fast_weights, hidden, written, queries = _run(cell, sequences, mask)
    attention = _scale(cell, mask)[:, :, None, :]
    if queries:
        queries = ops.stack(queries, axis=1)  # (B, T·S, H)
        bracket = ops.matmul(queries, ops.transpose(written, (0, 2, 1)))
        bracket = ops.reshape(bracket, (-1, length, cell.inner_steps, length))
        attention = ops.where(attention > 0, attention * bracket, ops.zeros_like(bracket))
    return MemoryTrace(fast_weights, hidden, written, attention[:, :, : cell.inner_steps])


def _run(cell, sequences, mask):
    """Every step's A, h, vector written, each with time as its second axis, and the queries."""
    states = cell.get_initial_state(batch_size=ops.shape(sequences)[0])
    fast_weights, hidden, written, queries = [], [], [], []
    for t in range(sequences.shape[1]):
        step, kept = cell.step(sequences[:, t], states), mask[:, t : t + 1]
        states = [
            ops.where(kept, new, old)
            for new, old in zip([step.hidden, step.memory], states, strict=True)
        ]
        hidden.append(states[0])
        fast_weights.append(cell.fast_weights(states[1]))
        written.append(ops.where(kept, step.written, ops.zeros_like(step.written)))
        queries.extend(step.queries)
    return *(ops.stack(part, axis=1) for part in (fast_weights, hidden, written)), queries


def _check(layer, sequences, mask):
    """The cell, the sequences and the mask as tensors, or a `ValueError`."""
    cell = getattr(layer, "cell", layer)
    if not hasattr(cell, "fast_weights"):
        raise ValueError(
            "`layer` must be `FastWeights`, or hold or be a `FastWeightsCell` or a "
            f"`FastWeightsAttentionCell`. Received: layer={layer!r}"
        )
    if not cell.built:
        raise ValueError(f"`layer` must be built: call it once. Received: layer={layer!r}")
    sequences = ops.convert_to_tensor(sequences, dtype=cell.compute_dtype)
    shape, features = tuple(sequences.shape), cell.kernel.shape[0]
    if len(shape) != 3 or not shape[1] or shape[2] != features:
        raise ValueError(
            f"`sequences` must be of shape (batch, time, {features}), of one step or more. "
            f"Received: shape {shape}"
        )
    length = shape[1]
    mask = ops.ones_like(sequences[:, :, 0]) if mask is None else mask
    mask = ops.cast(mask, "bool")
    if len(mask.shape) != 2 or tuple(mask.shape)[1] != length or mask.shape[0] != shape[0]:
        raise ValueError(
            f"`mask` must be of shape (batch, time) = {shape[:2]}. "
            f"Received: shape {tuple(mask.shape)}"
        )
    return cell, sequences, mask


def _scale(cell, mask):
    """(B, T, T): η λ^age of the vector written at τ when step t reads, else zero."""
    clock = ops.cumsum(ops.cast(mask, "int32"), axis=1)
    age = clock[:, :, None] - clock[:, None, :]
    steps = ops.arange(mask.shape[1])
    readable = (steps[:, None] >= steps[None, :]) & mask[:, :, None] & mask[:, None, :]
    readable = readable & (age < getattr(cell, "memory_size", mask.shape[1]))
    dtype = cell.compute_dtype
    scale = cell.fast_learning_rate * ops.power(
        ops.convert_to_tensor(cell.decay_rate, dtype), ops.cast(ops.maximum(age, 0), dtype)
    )
    return ops.where(readable, scale, ops.zeros_like(scale))
