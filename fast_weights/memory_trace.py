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
    """

    fast_weights: Any
    """(B, T, H, H): A_t, as step t read it."""
    hidden: Any
    """(B, T, H): h_t, the state after step t."""
    written: Any
    """(B, T, H): the vector whose outer product step t wrote; zeros where t is masked."""
    attention: Any
    """(B, T, S, T): with `[b, t, s, τ]` = η λ^(t-τ) (v(τ) · h_s), how much of the vector written
    at τ the inner step s of step t read; zeros for τ > t, for what is forgotten, and where t or
    τ is masked. Masked steps do not count as age."""


def trace_memory(cell, sequences, mask=None) -> MemoryTrace:
    """Takes a batch through a fast weights cell and keeps what it did at every step.

    The numbers are the cell's own: `h_s A_t = Σ_τ attention[t, s, τ] written[τ]`,
    from either form, starting at zero states.

    Args:
        cell: a built `FastWeightsCell` or `FastWeightsAttentionCell`; that of a layer
            is `layer.cell`.
        sequences: (B, T, D), what the cell's layer is given.
        mask: (B, T), bool; a masked step changes nothing. Default `None`.

    Returns:
        A `MemoryTrace`.

    Raises:
        ValueError: if `cell` keeps no fast weights, or `sequences` or `mask` has a
            wrong shape.

    Reference: Ba et al. 2016, arXiv 1610.06258, equations 3 and 4.

    Example:

    >>> import numpy as np
    >>> from fast_weights import FastWeights
    >>> layer, sequences = FastWeights(4), np.ones((2, 9, 3), "float32")
    >>> output = layer(sequences)
    >>> trace = trace_memory(layer.cell, sequences)
    >>> tuple(trace.fast_weights.shape), tuple(trace.attention.shape)
    ((2, 9, 4, 4), (2, 9, 1, 9))
    """
    if not hasattr(cell, "fast_weights"):
        raise ValueError(
            "`cell` must be a `FastWeightsCell` or a `FastWeightsAttentionCell`; a layer's is "
            f"`layer.cell`. Received: cell={cell!r}"
        )
    sequences = ops.convert_to_tensor(sequences, dtype=cell.compute_dtype)
    if len(sequences.shape) != 3:
        raise ValueError(
            "`sequences` must be of shape (batch, time, features). "
            f"Received: shape {tuple(sequences.shape)}"
        )
    batch_size, length, _ = sequences.shape
    mask = ops.ones((batch_size, length), "bool") if mask is None else ops.cast(mask, "bool")
    if tuple(mask.shape) != (batch_size, length):
        raise ValueError(
            f"`mask` must be of shape (batch, time) = {(batch_size, length)}. "
            f"Received: shape {tuple(mask.shape)}"
        )
    states = cell.get_initial_state(batch_size=batch_size)
    fast_weights, hidden, written, queries = [], [], [], []
    for t in range(length):
        step, kept = cell.step(sequences[:, t], states), mask[:, t : t + 1]
        states = [
            ops.where(kept, new, old)
            for new, old in zip([step.hidden, step.memory], states, strict=True)
        ]
        hidden.append(states[0])
        fast_weights.append(cell.fast_weights(states[1]))
        written.append(ops.where(kept, step.written, ops.zeros_like(step.written)))
        queries.extend(step.queries)
    written = ops.stack(written, axis=1)
    attention = _scale(cell, mask)[:, :, None, :]
    if queries:
        queries = ops.stack(queries, axis=1)  # (B, T·S, H)
        bracket = ops.matmul(queries, ops.transpose(written, (0, 2, 1)))
        bracket = ops.reshape(bracket, (batch_size, length, cell.inner_steps, length))
        attention = ops.where(attention > 0, attention * bracket, ops.zeros_like(bracket))
    return MemoryTrace(
        ops.stack(fast_weights, axis=1),
        ops.stack(hidden, axis=1),
        written,
        attention[:, :, : cell.inner_steps],
    )


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
