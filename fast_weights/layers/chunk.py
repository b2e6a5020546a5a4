"""A chunk: C steps of the fast weights that read A as it was before the chunk.

| symbol | code | shape |
|---|---|---|
| z_t = x_t W_x + b_x | `projected` | (B, C, H) |
| h_{t-1} | `previous` | (B, C, H), or (B, H) for one step |
| p_t, the preliminary vector | `preliminary` | (B, C, H), (B, H) |
| v_t, the vector that step t writes | `written` | (B, C, H), (B, H) |
| h of the inner loop | `query` | (B, C, H), (B, H) |
| A before the chunk | `memory` | (B, H, H) |
| m_t: 1 if step t counts, 0 if it is masked | `keep` | (B, C) |
| n_t: number of steps that count, from the start of the chunk to t | `age` | (B, C) |

Equations 1 to 3 are those of `FastWeightsCell`. A step does not compute A_t. It reads A
from before the chunk, and attends to the vectors that the chunk has written since:

4. `h A_t = λ^{n_t} h A + η Σ_{τ ≤ t} m_τ λ^{n_t - n_τ} (h · v_τ) v_τ`

At the end of the chunk, one product applies equation 2 for all its steps:

2. `A ← λ^{n_C} A + η Σ_τ m_τ λ^{n_C - n_τ} v_τᵀ v_τ`

`chunk_gradient.py` has a custom gradient. Automatic differentiation would keep the attention
and a product with A for every step. The custom gradient keeps only h_t, p_t and the inputs of
layer normalization. The backward pass loops over the steps only to get from the gradient of
h_t to that of h_{t-1}. Products over the whole chunk give the gradients of A and the weights.
"""

from typing import Any, NamedTuple

import keras
from keras import ops

from fast_weights.cells.base import layer_normalize
from fast_weights.layers.loop import over_numbers

# f'(a), computed from f(a). For any other activation the backend differentiates the chunk:
# the gradients are as exact, but need more memory.
SLOPES = {
    keras.activations.relu: lambda value: ops.cast(value > 0, value.dtype),
    keras.activations.tanh: lambda value: 1 - ops.square(value),
    keras.activations.sigmoid: lambda value: value * (1 - value),
    keras.activations.linear: ops.ones_like,
}


class Weights(NamedTuple):
    """The slow weights of a step after the projection of its input, or their gradients."""

    recurrent_kernel: Any
    gamma: Any
    beta: Any


def read_factors(cell, keep, length, dtype):
    """Returns the factors of equation 4.

    Args:
        cell: the `FastWeightsCell`, for λ and η.
        keep: (B, C), or `None` if every step counts.
        length: C.
        dtype: of the factors.

    Returns:
        The factor of v_τ at step t, (B, C, C): zeros for τ > t and for masked τ. The factor
        of A at step t, (B, C, 1). Without a mask, B is 1.
    """
    rate, strength, steps = cell.decay_rate, cell.fast_learning_rate, range(length)
    if keep is None:
        # Python numbers become constants of the compiled program. Tensors that are computed in
        # a loop do not.
        vectors = [[strength * rate ** (t - j) if j <= t else 0.0 for j in steps] for t in steps]
        memory = [[rate ** (t + 1)] for t in steps]
        return _constant([vectors], dtype), _constant([memory], dtype)
    age = ops.cumsum(keep, axis=1)
    # At least 0, because λ = 0 has no negative powers.
    gap = ops.maximum(age[:, :, None] - age[:, None, :], 0)
    vectors = strength * rate**gap * keep[:, None, :] * ops.tri(length, dtype=dtype)
    return vectors, rate ** age[:, :, None]


def write_factors(cell, keep, length, dtype):
    """Returns the factors of equation 2, as `read_factors`: of v_τ, (B, C, 1); of A, (B, 1, 1)."""
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
    """Computes equation 1.

    Returns:
        p_t; v_t; and the slow term of the inner loop, z_t + v_t W_h.
    """
    recurrent = cell.slow_product(previous, weights.recurrent_kernel)
    preliminary = cell.activation(projected + recurrent)
    written = preliminary if cell.recurrence == "original" else previous
    return preliminary, written, projected + cell.slow_product(written, weights.recurrent_kernel)


def next_memory(cell, keep, written, memory):
    """Computes equation 2.

    Args:
        cell: the `FastWeightsCell`, for its settings.
        keep: (B, C), or `None` if every step counts.
        written: every v_t, (B, C, H).
        memory: A before the steps, (B, H, H), or `None` for zeros.

    Returns:
        A after the steps, (B, H, H).
    """
    vectors, rest = write_factors(cell, keep, written.shape[1], written.dtype)
    added = ops.matmul(transpose(written * vectors), written)
    return added if memory is None else rest * memory + added


def run_chunk(cell, weights, inputs, keep, hidden, memory, unroll):
    """Takes h through the steps of a chunk.

    Args:
        cell: the `FastWeightsCell`, for its settings.
        weights: a `Weights`.
        inputs: z, (B, C, H), or with `unroll` x, (B, C, D).
        keep: (B, C), or `None` if every step counts.
        hidden: h before the chunk, (B, H).
        memory: A before the chunk, (B, H, H), or `None` for zeros.
        unroll: whether to unroll the loop over the steps.

    Returns:
        A list of the tensors (B, C, H) that the gradient needs: every h_t, every p_t and, for
        each inner step, the inputs of layer normalization; h after the chunk; every v_t.
    """
    length = inputs.shape[1]
    factors, start = read_factors(cell, keep, length, hidden.dtype)
    # In an unrolled program, XLA fuses the projection with the rest of a step. The gradient of one
    # `unstack` is one `stack`; that of C slices is a sum of C tensors.
    projected = [cell.project(one) for one in ops.unstack(inputs, axis=1)] if unroll else None

    def step(t, states):
        hidden, stored = states
        # (1)
        z = projected[t] if unroll else inputs[:, t]
        preliminary, new, slow_term = first_part(cell, weights, z, hidden)
        if unroll:
            # Holds only the vectors written so far, so that no step reads zeros. It is flat
            # because XLA copies it then; with three axes, XLA would compute each vector again.
            # LiteRT cannot concatenate with an empty tensor.
            stored = ops.concatenate([stored, new] if t else [new], axis=1)
            step_factors = factors[:, t, : t + 1]
        else:
            stored = put(stored, first + t, new)
            step_factors = factors[:, t]
        query, inner = preliminary, []
        for _ in range(cell.inner_steps):
            # (4)
            written = ops.reshape(stored, (-1, t + 1 if unroll else length, cell.units))
            read = vector_times(times_vector(written, query) * step_factors, written)
            if memory is not None:
                read += start[:, t] * vector_times(query, memory)
            # (3)
            inner.append(slow_term + read)
            normal = layer_normalize(inner[-1], weights.gamma, weights.beta, cell.epsilon)
            query = cell.activation(normal)
        hidden = query if keep is None else ops.where(keep[:, t, None] > 0, query, hidden)
        return [hidden, preliminary, *inner], [hidden, stored]

    # An unrolled program stores the vectors written so far, (B, t·H). A loop stores those of all
    # steps, (B·C, H): vectors that are not written yet are zeros, and so are their factors.
    stored = None if unroll else ops.reshape(ops.zeros_like(inputs), (-1, cell.units))
    first = None if unroll else first_rows(inputs)
    kept, (hidden, stored) = over_numbers(step, [hidden, stored], length, unroll=unroll)
    return kept, hidden, ops.reshape(stored, (-1, length, cell.units))


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
