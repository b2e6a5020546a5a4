"""A chunk: C steps of the fast weights that read A as it was before the chunk.

| symbol | code | shape |
|---|---|---|
| z_t = x_t W_x + b_x | `projected` | (B, C, H) |
| h_{t-1} | `previous` | (B, C, H), or (B, H) for one step |
| p_t, the preliminary vector | `preliminary` | (B, C, H), (B, H) |
| v_t, the vector that step t writes | `written` | (B, C, H), (B, H) |
| h of the inner loop | `query` | (B, C, H), (B, H) |
| A before the chunk | `memory` | (B, H, H) |
| the dropout mask of the vectors that W_h multiplies, or `None` | `recurrent_mask` | (B, H) |
| m_t: 1 if step t counts, 0 if it is masked | `keep` | (B, C) |
| n_t: number of steps of the chunk, up to t, that count | `age` | (B, C) |

Equation numbers are the paper's. `FastWeightsCell` has equations 1 and 5. A step of a chunk
does not compute A_t by equation 1. It reads A from before the chunk, and attends to the
vectors that the chunk has written since. With A = 0, this is equation 4 of the paper:

(4) `h A_t = λ^{n_t} h A + η Σ_{τ ≤ t} m_τ λ^{n_t - n_τ} (h · v_τ) v_τ`

At the end of the chunk, one product computes A, as the sum of equation 3:

(3) `A ← λ^{n_C} A + η Σ_τ m_τ λ^{n_C - n_τ} v_τᵀ v_τ`

`looped_chunk` and `unrolled_chunk` compute the same results. `chunk_gradient.py` has a custom
gradient of `looped_chunk`. Automatic differentiation would keep the attention and a product with
A for every step. The custom gradient keeps only h_t, p_t and the inputs of layer normalization.
The backward pass loops over the steps only to get from the gradient of h_t to that of h_{t-1}.
Products over the whole chunk give the gradients of A and the weights.
"""

from typing import Any, NamedTuple

import keras
from keras import ops

from fast_weights.cells.base import drop
from fast_weights.layers.loop import over_numbers

# f'(a), computed from f(a). With any other activation, the backend differentiates the chunk. This
# is as exact, but needs more memory.
SLOPES = {
    keras.activations.relu: lambda value: ops.cast(value > 0, value.dtype),
    keras.activations.tanh: lambda value: 1 - ops.square(value),
    keras.activations.sigmoid: lambda value: value * (1 - value),
    keras.activations.linear: ops.ones_like,
}


class Weights(NamedTuple):
    """The slow weights of a step after the projection of its input, or their gradients.

    Without normalization, `gamma` and `beta` are `None`. `recurrent_mask` is the dropout mask of
    the vectors that W_h multiplies, or `None`.
    """

    recurrent_kernel: Any
    gamma: Any
    beta: Any
    recurrent_mask: Any = None


def read_factors(cell, keep, length, dtype):
    """Returns the factors of equation 4.

    Args:
        cell: the `FastWeightsCell`, for λ and η.
        keep: (B, C), or `None` if every step counts.
        length: C.
        dtype: of the factors.

    Returns:
        The factor of v_τ at step t, (B, C, C): zeros for τ > t and for masked τ < t. The factor
        of A at step t, (B, C, 1). Without a mask, B is 1.
    """
    rate, strength, steps = cell.decay_rate, cell.fast_learning_rate, range(length)
    if keep is None:
        # Python numbers become constants of the compiled program. Tensors that are computed in
        # a loop do not.
        vectors = [[strength * rate ** (t - j) if j <= t else 0.0 for j in steps] for t in steps]
        memory = [[rate ** (t + 1)] for t in steps]
        return _constant([vectors], dtype), _constant([memory], dtype)
    # A masked step counts itself and reads its own write, as in the cell. Its result is discarded,
    # but a normalization over the batch includes it.
    age = ops.cumsum(keep, axis=1) - keep + 1
    readable = ops.maximum(keep[:, None, :], ops.eye(length, dtype=dtype))
    # At least 0, because a negative power of λ = 0 is infinite.
    gap = ops.maximum(age[:, :, None] - age[:, None, :], 0)
    vectors = strength * rate**gap * readable * ops.tri(length, dtype=dtype)
    return vectors, rate ** age[:, :, None]


def write_factors(cell, keep, length, dtype):
    """Returns the factors of equation 3, as `read_factors`: of v_τ, (B, C, 1); of A, (B, 1, 1)."""
    rate, strength = cell.decay_rate, cell.fast_learning_rate
    if keep is None:
        vectors = [[strength * rate**age] for age in reversed(range(length))]
        return _constant([vectors], dtype), _constant([[[rate**length]]], dtype)
    total = ops.sum(keep, axis=1, keepdims=True)
    vectors = strength * rate ** (total - ops.cumsum(keep, axis=1)) * keep
    return vectors[:, :, None], rate ** total[:, :, None]


def _constant(numbers, dtype):
    return ops.convert_to_tensor(numbers, dtype=dtype)


def first_part(cell, weights, projected, previous):
    """Returns the preliminary vector p_t; v_t; and the slow term of equation 5, z_t + v_t W_h."""

    def recurrent(vectors):
        return cell.slow_product(drop(vectors, weights.recurrent_mask), weights.recurrent_kernel)

    preliminary = cell.activation(projected + recurrent(previous))
    written = preliminary if cell.recurrence == "original" else previous
    return preliminary, written, projected + recurrent(written)


def looped_chunk(cell, weights, projected, keep, hidden, memory):
    """Runs a chunk in a loop.

    Args:
        cell: the `FastWeightsCell`, for its settings.
        weights: a `Weights`.
        projected: every z_t, (B, C, H).
        keep: (B, C), or `None` if every step counts.
        hidden: h before the chunk, (B, H).
        memory: A before the chunk, (B, H, H), or `None` for zeros.

    Returns:
        A list of the tensors (B, C, H) that the gradient needs: every h_t, every p_t and, for
        each inner step, the inputs of layer normalization; h after the chunk; every v_t.
    """
    length = projected.shape[1]
    factors, start = read_factors(cell, keep, length, hidden.dtype)
    first = first_rows(projected)

    def step(t, states):
        hidden, stored = states
        preliminary, new, slow_term = first_part(cell, weights, projected[:, t], hidden)
        stored = put(stored, first + t, new)
        query, before_norm = preliminary, []
        for _ in range(cell.inner_steps):
            written = ops.reshape(stored, (-1, length, cell.units))
            read = read_memory(query, written, factors[:, t], memory, start[:, t])
            before_norm.append(slow_term + read)
            query = activate(cell, weights, before_norm[-1])
        hidden = query if keep is None else ops.where(keep[:, t, None] > 0, query, hidden)
        return [hidden, preliminary, *before_norm], [hidden, stored]

    # Every v_t of the chunk, (B·C, H). Those not written yet are zeros, and so are their factors.
    stored = ops.reshape(ops.zeros_like(projected), (-1, cell.units))
    kept, (hidden, stored) = over_numbers(step, [hidden, stored], length)
    return kept, hidden, ops.reshape(stored, (-1, length, cell.units))


def unrolled_chunk(cell, weights, inputs, keep, hidden, memory):
    """Runs a chunk without a loop. The backend differentiates it.

    Args:
        cell, weights, keep, hidden, memory: those of `looped_chunk`.
        inputs: every x_t, (B, C, D). XLA fuses their projection with the rest of a step.

    Returns:
        The list of every h_t, (B, H) each; and every v_t, (B, C, H).
    """
    factors, start = read_factors(cell, keep, inputs.shape[1], hidden.dtype)
    outputs, stored = [], []
    # The gradient of one `unstack` is one `stack`; that of C slices is a sum of C tensors.
    for t, x in enumerate(ops.unstack(inputs, axis=1)):
        # The scopes name the boxes of the graph in TensorBoard.
        with keras.name_scope(f"step_{t + 1}"):
            preliminary, new, slow_term = first_part(cell, weights, cell.project(x), hidden)
            # The vectors written so far, (B, (t + 1)·H), so that no step reads zeros. Flat, so that
            # XLA copies them instead of computing them again. Step 0 concatenates a single tensor:
            # LiteRT rejects an empty second one, and no concatenation at all would change the order
            # in which gradients are summed.
            with keras.name_scope("write"):
                stored = ops.concatenate([stored, new] if t else [new], axis=1)
            query = preliminary
            for _ in range(cell.inner_steps):
                written = ops.reshape(stored, (-1, t + 1, cell.units))
                with keras.name_scope("read"):
                    read = read_memory(query, written, factors[:, t, : t + 1], memory, start[:, t])
                with keras.name_scope("normalize"):
                    query = activate(cell, weights, slow_term + read)
            hidden = query if keep is None else ops.where(keep[:, t, None] > 0, query, hidden)
        outputs.append(hidden)
    return outputs, ops.reshape(stored, (-1, len(outputs), cell.units))


def read_memory(query, written, factors, memory, start):
    """Returns h A_t, (B, H), for one step.

    Args:
        query: h, (B, H).
        written: the vectors that the chunk has written, (B, n, H).
        factors: those of the vectors, (B, n).
        memory: A before the chunk, (B, H, H), or `None` for zeros.
        start: the factor of A, (B, 1).
    """
    # (4)
    read = vector_times(times_vector(written, query) * factors, written)
    return read if memory is None else read + start * vector_times(query, memory)


def activate(cell, weights, values):
    """Returns the h of the next inner step from z_t + v_t W_h + h A_t."""
    # (5)
    return cell.activation(cell.normalize(values, weights.gamma, weights.beta))


def next_memory(cell, keep, written, memory):
    """Returns A after the steps of a chunk, (B, H, H).

    Args:
        cell: the `FastWeightsCell`, for its settings.
        keep: (B, C), or `None` if every step counts.
        written: every v_t, (B, C, H).
        memory: A before the steps, (B, H, H), or `None` for zeros.
    """
    vectors, rest = write_factors(cell, keep, written.shape[1], written.dtype)
    # (3)
    added = ops.matmul(transpose(written * vectors), written)
    return added if memory is None else rest * memory + added


def first_rows(tensor):
    """Returns the row of step 0 of each example, (B,), in a tensor (B, C, n) as (B·C, n)."""
    batch, length = ops.shape(tensor)[:2]
    return ops.arange(batch, dtype="int32") * length


def put(tensor, rows, vectors):
    """Returns `tensor`, (B·C, n), with `vectors`, (B, n), in `rows`, (B,)."""
    # `keras.ops.slice_update` is as fast, but it has no gradient on TensorFlow and cannot be
    # exported to ONNX. A select takes three times as long without XLA.
    return ops.scatter_update(tensor, rows[:, None], vectors)


def vector_times(vectors, matrices):
    """Returns the product q M of each example, (B, n) and (B, n, k) to (B, k)."""
    return ops.squeeze(ops.matmul(vectors[:, None], matrices), axis=1)


def times_vector(matrices, vectors):
    """Returns the product q Mᵀ of each example, (B, k, n) and (B, n) to (B, k)."""
    return ops.squeeze(ops.matmul(vectors[:, None], transpose(matrices)), axis=1)


def transpose(matrices):
    """Returns the transposed matrix of each example."""
    return ops.swapaxes(matrices, -1, -2)


def add(first, second):
    """Returns the sum of two tensors. `None` stands for zeros."""
    if first is None or second is None:
        return second if first is None else first
    return first + second
