"""`trace_memory`: the memory, the outputs and the attention at every step.

Equation numbers are those of the paper on fast weights.
"""

import dataclasses

import keras
from keras import ops

from fast_weights.cells import FastWeightsCell
from fast_weights.cells.base import Tensor
from fast_weights.cells.linear import LinearCell
from fast_weights.layers.base import check_states, mask_of, without_padding
from fast_weights.layers.chunk import read_factors
from fast_weights.layers.linear_chunk import decay_factors


@dataclasses.dataclass(frozen=True)
class MemoryTrace:
    """Records the steps of a cell with a memory over a batch of sequences, as tensors.

    The times t and τ count from 0 to T - 1. The first shape is that of fast weights, the second
    that of linear attention and the delta rules with n heads.

    Attributes:
        fast_weights: (B, T, H, H) or (B, T, n, d_k, d_v): A_t or S_t, as step t reads it.
        hidden: (B, T, H): h_t, the output of step t.
        written: (B, T, H) or (B, T, n, d_v): v_t, the vector whose outer product with itself step
            t writes; or u_t, the vector that step t writes under its key, k_t. Zeros where t is
            masked.
        attention: (B, T, S, T) or (B, T, n, T): the weight of the vector that step τ wrote in what
            step t reads. `[b, t, s, τ]` is η λ^(t-τ) (v_τ · h) in inner step s; `[b, t, i, τ]` is
            α_{τ+1} ... α_t (k_τ · q_t) in head i. Zeros for τ > t, and where t or τ is masked.
            Masked steps do not add to the age t - τ.
    """

    fast_weights: Tensor
    hidden: Tensor
    written: Tensor
    attention: Tensor


def trace_memory(
    layer: keras.layers.Layer,
    sequences: Tensor,
    mask: Tensor | None = None,
    initial_state: list[Tensor] | None = None,
) -> MemoryTrace:
    """Runs a batch through the cell of a layer with a memory and records every step.

    The cell runs step by step. From zero states, the trace satisfies
    `h A_t = Σ_τ attention[t, s, τ] v_τ`, where h is the vector with which inner step s reads
    A_t. An `initial_state` adds the term λ^n h A_0, where n is the number of steps so far that
    are not masked. For linear attention and the delta rules, it satisfies
    `q_t S_t = Σ_τ attention[t, i, τ] u_τ` for each head i, and the denominator of linear attention
    is `q_t · m_t = Σ_τ attention[t, i, τ]`. Tracing leaves the layer unchanged.

    Args:
        layer: a built `FastWeights`, `LinearAttention`, `DeltaNet` or `GatedDeltaNet`, a
            `keras.layers.RNN` around one of their cells, or the cell itself. With `go_backwards`,
            time runs as in the layer. The states of a `stateful` layer are not used.
        sequences: (B, T, D), the input of the layer, with a known T.
        mask: (B, T), bool. A masked step leaves h and A unchanged. Default `None`.
        initial_state: the states of the cell, for fast weights `[h_0, A_0]`, (B, H) and
            (B, H·H), such as the last states of another layer. Default `None`: zeros.

    Returns:
        A `MemoryTrace` with `fast_weights`, `hidden`, `written` and `attention`.

    Raises:
        ValueError: if `layer` has no such memory or is not built, or if `sequences`,
            `mask` or a state has a wrong shape.

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
    if initial_state is None:
        initial_state = cell.get_initial_state(ops.shape(sequences)[0])
    check_states(cell, initial_state, sequences.shape[0])
    if getattr(layer, "go_backwards", False):
        sequences, mask = ops.flip(sequences, axis=1), ops.flip(mask, axis=1)
    if isinstance(cell, LinearCell):
        return _trace_linear(cell, sequences, mask, initial_state)
    fast_weights, hidden, written, queries = _run(cell, sequences, mask, initial_state)
    # (4) The attention of h A_t to each v_τ. A masked step does not read.
    keep = ops.cast(mask, cell.compute_dtype)
    factors, _ = read_factors(cell, keep, mask.shape[1], keep.dtype)
    attention = ops.matmul(queries, ops.swapaxes(written, 1, 2)[:, None])
    attention = attention * (factors * keep[:, :, None])[:, :, None, :]
    return MemoryTrace(fast_weights, hidden, written, attention)


def _run(cell, sequences, mask, states):
    """Returns A_t, h_t, v_t and the queries of every step, with time as the second axis."""
    projected = cell.project(sequences)
    hidden, memory = (ops.cast(state, cell.compute_dtype) for state in states)
    memory = ops.reshape(memory, (-1, cell.units, cell.units))
    steps = []
    for t in range(sequences.shape[1]):
        step = cell.trace_step(projected[:, t], [hidden, memory])
        kept = mask[:, t : t + 1]
        hidden = ops.where(kept, step.hidden, hidden)
        memory = ops.where(kept[:, :, None], step.memory, memory)
        written = ops.where(kept, step.written, ops.zeros_like(step.written))
        # With S = 0 there is no query.
        queries = ops.stack([*step.queries, hidden], axis=1)[:, : cell.inner_steps]
        steps.append((memory, hidden, written, queries))
    return [ops.stack(part, axis=1) for part in zip(*steps, strict=True)]


def _trace_linear(cell, sequences, mask, states):
    """Returns the trace of a `LinearCell`."""
    projected = cell.project(sequences)
    states = [ops.cast(state, cell.compute_dtype) for state in states]
    memory, _ = cell.matrices(states)
    hidden, steps = None, []
    for t in range(sequences.shape[1]):
        step = cell.trace_step(projected[:, t], states)
        kept = mask[:, t : t + 1]
        states = [ops.where(kept, *pair) for pair in zip(step.states, states, strict=True)]
        hidden = ops.zeros_like(step.outputs) if hidden is None else hidden
        hidden = ops.where(kept, step.outputs, hidden)
        memory = ops.where(kept[:, :, None, None], step.memory, memory)
        # A masked step neither reads nor writes, and does not decay.
        signals = step.signals
        vectors = signals.queries, signals.keys, step.written, signals.log_decays
        vectors = [
            None if one is None else ops.where(kept[:, :, None], one, ops.zeros_like(one))
            for one in vectors
        ]
        steps.append((memory, hidden, *vectors))
    memory, hidden, *vectors = (
        None if part[0] is None else ops.stack(part, axis=1) for part in zip(*steps, strict=True)
    )
    queries, keys, _, log_decays = (
        None if one is None else ops.swapaxes(one, 1, 2) for one in vectors
    )
    decays, *_ = decay_factors(log_decays, mask.shape[1], keys.dtype)
    attention = ops.matmul(queries, ops.swapaxes(keys, 2, 3)) * decays
    # Without the column m of linear attention, which would hide S in a figure.
    memory, written = (one[..., : cell.value_size] for one in (memory, vectors[2]))
    return MemoryTrace(memory, hidden, written, ops.swapaxes(attention, 1, 2))


def _check(layer, sequences, mask):
    """Returns the cell, and the sequences and the mask as tensors, or raises `ValueError`."""
    cell = getattr(layer, "cell", layer)
    if not isinstance(cell, FastWeightsCell | LinearCell):
        raise ValueError(
            "`layer` must be a `FastWeights`, `LinearAttention`, `DeltaNet` or `GatedDeltaNet` "
            "layer, one of their cells, or a `keras.layers.RNN` around such a cell. "
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
    mask = mask_of(ops.ones_like(sequences[:, :, 0]) if mask is None else mask, sequences)
    return cell, without_padding(sequences, mask), mask
