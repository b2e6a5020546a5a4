"""Computes linear attention and the delta rules in chunks of steps.

| symbol | code | shape |
|---|---|---|
| q_t, k_t, v_t | `queries`, `keys`, `values` | (N, B, n, C, d_k), (N, B, n, C, d_v) |
| β_t | `strengths` | (N, B, n, C, 1) |
| log α_t | `log_decays` | (N, B, n, C, 1) |
| g_t, the product of α from the start of the chunk to step t | `start` | (N, B, n, C, 1) |
| g_t / g_τ for τ ≤ t, else 0 | `decays` | (N, B, n, C, C) |
| u_t, the vector that step t writes under its key | `written` | (N, B, n, C, d_v) |
| S before a chunk | `memory` | (B, n, d_k, d_v) |

N is the number of chunks. The cells compute `S_t = α_t S_{t-1} + k_tᵀ u_t`, so that within a chunk
(numbers of this module)

(1) `o_t = g_t q_t S + Σ_{τ≤t} (g_t / g_τ) (q_t · k_τ) u_τ`

Linear attention has u_t = v_t. For delta rules, u_t = β_t (v_t - α_t k_t S_{t-1}), which (1) with
k_t as the query turns into a triangular system, the WY form of Yang et al. 2024 (arXiv 2406.06484
and 2412.06464): with L_tτ = β_t (g_t / g_τ) (k_t · k_τ) for τ < t,

(2) `(I + L) U = diag(β) V - diag(β g) K S`

The inverse of I + L is applied to both terms, so that u_t is linear in S. The loop over chunks then
needs only two products per chunk, those of K S in (2) and of

(3) `S ← g_C S + Σ_τ (g_C / g_τ) k_τᵀ u_τ`

Everything else is computed for all chunks at once.
"""

from keras import ops

from fast_weights.layers.chunk import transpose
from fast_weights.layers.gradient import with_gradient
from fast_weights.layers.loop import over_numbers


def run_chunks(queries, keys, values, strengths, log_decays, memory, unroll):
    """Runs all steps.

    Args:
        queries, keys, values, strengths, log_decays: as in the table. `strengths` is `None` for
            linear attention, `log_decays` is `None` for α = 1, and `queries` is `None` if no step
            reads.
        memory: S before the first step, or `None` for zeros.
        unroll: whether to unroll the loop over chunks.

    Returns:
        Every o_t, (N, B, n, C, d_v), or `None` without queries. S after the last step.
    """
    decays, start, end, whole = decay_factors(log_decays, keys.shape[-2], keys.dtype)
    written, erased = values, None
    if strengths is not None:
        # (2) L is only the part below the diagonal. β and g multiply the C × C matrices, which are
        # smaller than the keys and the values, so the gradient keeps less.
        scores = ops.matmul(keys, transpose(keys)) * (strengths * decays)
        size = keys.shape[-2]
        inverse = inverse_of(scores * ops.tri(size, k=-1, dtype=scores.dtype))
        inverse = inverse * transpose(strengths)
        written = ops.matmul(inverse, values)
        erased = ops.matmul(inverse if log_decays is None else inverse * transpose(start), keys)
    if memory is None and keys.shape[0] == 1:
        before, last = None, ops.matmul(transpose(end * keys), written)[0]
    else:
        if memory is None:
            memory = 0 * ops.matmul(transpose(keys[0]), values[0])
        memories = memories_of(whole, end * keys, written, erased, memory, unroll)
        before, last = memories[:-1], memories[-1]
        if erased is not None:
            written = written - ops.matmul(erased, before)
    if queries is None:
        return None, last
    # (1)
    reads = ops.matmul(ops.matmul(queries, transpose(keys)) * decays, written)
    return reads if before is None else reads + ops.matmul(start * queries, before), last


def decay_factors(log_decays, size, dtype):
    """Returns g_t / g_τ, g_t, g_C / g_t and g_C: products of α within a chunk of C steps."""
    lower = ops.tri(size, dtype=dtype)
    if log_decays is None:
        return lower, 1, 1, None
    # Sum each gap separately. Differences of sums from the start of the chunk would lose the
    # digits of steps with α near 1 that follow a step with α near 0. Products with triangles,
    # because `ops.cumsum` is slow under XLA.
    gaps = ops.matmul(lower, log_decays * ops.tri(size, k=-1, dtype=dtype))
    decays, start = ops.exp(gaps) * lower, ops.exp(ops.matmul(lower, log_decays))
    return decays, start, transpose(decays[..., -1:, :]), start[..., -1:, :]


def inverse_of(system):
    """Returns (I + L)^-1 for a strictly lower triangular L, (..., C, C), with products alone.

    Each pass doubles the size of the diagonal blocks whose inverse is known: the inverse of
    [[A, 0], [B, D]] is [[A^-1, 0], [-D^-1 B A^-1, D^-1]]. The product of all I + (-L)^(2^i) would
    need as many products. But if keys are alike, the powers of L grow like binomial coefficients,
    and their cancellation loses precision.
    """

    def forward(system):
        size = system.shape[-1]
        inverse, width = ops.eye(size, dtype=system.dtype), 1
        while width < size:
            blocks = [i // width for i in range(size)]
            corner = [[float(row % 2 and column == row - 1) for column in blocks] for row in blocks]
            corner = system * ops.convert_to_tensor(corner, dtype=system.dtype)
            if width > 1:
                corner = ops.matmul(ops.matmul(inverse, corner), inverse)
            inverse, width = inverse - corner, 2 * width
        return inverse, inverse

    def backward(_, inverse, above):
        inverse = transpose(inverse)
        return (-ops.matmul(ops.matmul(inverse, above), inverse),)

    return system if system.shape[-1] == 0 else with_gradient(forward, backward, (system,))


def memories_of(whole, keys, written, erased, memory, unroll):
    """Returns S before each chunk and after the last, (N + 1, B, n, d_k, d_v).

    (3) `S ← whole S + keysᵀ (written - erased S)`

    Args:
        whole: g_C, (N, B, n, 1, 1), or `None` for 1.
        keys: (N, B, n, C, d_k), the keys times g_C / g_τ.
        written: (N, B, n, C, d_v), the part of U that does not depend on S.
        erased: (N, B, n, C, d_k), the factor of S in U, or `None` for zeros.
        memory: S before the first chunk.
        unroll: whether to unroll the loop.
    """

    def forward(whole, keys, written, erased, memory):
        def step(i, memory):
            new = written[i] if erased is None else written[i] - ops.matmul(erased[i], memory)
            kept = memory if whole is None else whole[i] * memory
            return kept + ops.matmul(transpose(keys[i]), new)

        before, last = _over_chunks(step, memory, keys, unroll)
        memories = ops.concatenate([before, last[None]], axis=0)
        return memories, memories

    def backward(tensors, memories, above):
        whole, keys, written, erased, _ = tensors

        def step(i, flow):
            below = above[i] + (flow if whole is None else whole[i] * flow)
            if erased is None:
                return below
            return below - ops.matmul(transpose(erased[i]), ops.matmul(keys[i], flow))

        flow, into_memory = _over_chunks(step, above[-1], keys, unroll, reverse=True)
        before = memories[:-1]
        into_written = ops.matmul(keys, flow)
        into_whole = into_erased = None
        if whole is not None:
            into_whole = ops.sum(before * flow, axis=(-1, -2), keepdims=True)
        if erased is not None:
            written = written - ops.matmul(erased, before)
            into_erased = -ops.matmul(into_written, transpose(before))
        into_keys = ops.matmul(written, transpose(flow))
        return into_whole, into_keys, into_written, into_erased, into_memory

    return with_gradient(forward, backward, (whole, keys, written, erased, memory))


def _over_chunks(step, state, chunks, unroll, reverse=False):
    """Calls a function with the number of each chunk and a state, in order or in reverse.

    Args:
        step: takes i and the state, and returns the new state.
        state: the one before the first call.
        chunks: a tensor with an axis of chunks, (N, ...).
        unroll: whether to unroll the loop.
        reverse: whether i runs from N - 1 to 0.

    Returns:
        The state before each call in the order of i, (N, ...), and the state after the last call.
    """
    if unroll:
        before, way = [], -1 if reverse else 1
        for i in range(chunks.shape[0])[::way]:
            before.append(state)
            state = step(i, state)
        return ops.stack(before[::way]), state
    (before,), (state,) = over_numbers(
        # The loop swaps the first two axes, see `scan.py`.
        lambda i, states: ([states[0][None]], [step(i, states[0])]),
        [state],
        chunks.shape[0] or ops.shape(chunks)[0],
        reverse,
    )
    return before[0], state
