"""All chunks of a sequence, one after another, with their gradient.

`scan` is exact for any length and any λ. A single chunk that starts from A = 0 is attention to
the whole past, equation 4 of the paper; chunks of one step are equation 1 at every step.
"""

from keras import ops

from fast_weights.layers.chunk import (
    SLOPES,
    Weights,
    add,
    looped_chunk,
    next_memory,
    unrolled_chunk,
)
from fast_weights.layers.chunk_gradient import ChunkGradient
from fast_weights.layers.gradient import with_gradient
from fast_weights.layers.loop import over_numbers


def has_custom_gradient(cell) -> bool:
    """Returns whether `scan` has a custom gradient for the cell's settings."""
    known = cell.activation in list(SLOPES)  # a callable may have no hash
    return known and cell.normalization == "layer"


def scan(cell, inputs, keep, hidden, memory, recurrent_mask):
    """Runs all steps, n chunks of C steps, from the projected inputs.

    Args:
        cell: a built `FastWeightsCell`.
        inputs: z, (n, B, C, H).
        keep: (n, B, C), 1 for a step that counts and 0 for a masked one, or `None`.
        hidden: h_0, (B, H).
        memory: A before the first step, (B, H, H), or `None` for zeros.
        recurrent_mask: dropout mask of the vectors that W_h multiplies, (B, H), or `None`.

    Returns:
        Every h_t, (n, B, C, H).
    """
    weights = weights_of(cell, recurrent_mask)
    if not has_custom_gradient(cell):
        kept, _ = _forward(cell, weights, inputs, keep, hidden, memory)
        return kept[0]

    def forward(*tensors):
        results = _forward(cell, Weights(*tensors[:4]), *tensors[4:])
        return results[0][0], results

    def backward(tensors, results, above):
        return _gradients(cell, tensors, results, above)

    return with_gradient(forward, backward, (*weights, inputs, keep, hidden, memory))


def _gradients(cell, tensors, results, above):
    """Returns the gradients of the tensors of `_forward`. `None` stands for zeros.

    Args:
        cell: the `FastWeightsCell`.
        tensors: the other arguments of `_forward`, with those of the `Weights` one by one.
        results: those of `_forward`.
        above: the gradient of every h_t, (n, B, C, H).
    """
    *weights, _, keep, hidden, _ = tensors
    into_inputs, into_hidden, into_memory, into_weights = _backward(
        cell, Weights(*weights), keep, hidden, *results, above
    )
    return *into_weights, into_inputs, None, into_hidden, into_memory


def unrolled_scan(cell, inputs, keep, hidden, memory, recurrent_mask):
    """Runs all steps without a loop. Arguments and results are those of `scan`.

    The backend differentiates the steps, and keeps what each step reads from A. In an unrolled
    program, this is faster than a custom gradient, because XLA fuses across steps.

    Args:
        inputs: x, (n, B, C, D).
    """
    weights, outputs = weights_of(cell, recurrent_mask), []
    for i in range(inputs.shape[0]):
        steps = at(keep, i)
        chunk, written = unrolled_chunk(cell, weights, inputs[i], steps, hidden, memory)
        memory, hidden = next_memory(cell, steps, written, memory), chunk[-1]
        outputs.append(ops.stack(chunk, axis=1))
    return ops.stack(outputs)


def weights_of(cell, recurrent_mask):
    """Returns the `Weights` of a step as tensors, with `recurrent_mask`."""
    # A cast, because `ops.convert_to_tensor` can return the variable itself.
    weights = (cell.recurrent_kernel, cell.gamma, cell.beta, recurrent_mask)
    return Weights(*(None if one is None else ops.cast(one, cell.compute_dtype) for one in weights))


def at(tensor, i):
    """Returns `tensor[i]`, or `None` for `None`."""
    return None if tensor is None else tensor[i]


def _forward(cell, weights, inputs, keep, hidden, memory):
    """Runs all chunks in a loop. Arguments are those of `scan`.

    Returns:
        The list of tensors (n, B, C, H) that the gradient needs, as `looped_chunk` returns it,
        with every h_t first; and A before each chunk, (n, B, H, H), or `None` for a single chunk
        that starts from zeros.
    """
    number = inputs.shape[0]

    def step(i, states):
        hidden, memory = states
        steps = at(keep, i)
        kept, hidden, written = looped_chunk(cell, weights, inputs[i], steps, hidden, memory)
        after = None if number == 1 else next_memory(cell, steps, written, memory)
        # The loop swaps the first axis with the axis of chunks. An extra first axis of size 1
        # means that this moves no data.
        return [one[None] for one in (*kept, memory) if one is not None], [hidden, after]

    if number == 1:
        kept, _ = step(0, [hidden, memory])
    else:
        if memory is None:
            memory = 0 * hidden[:, :, None] * hidden[:, None, :]
        kept, _ = over_numbers(step, [hidden, memory], ops.shape(inputs)[0])
        kept = [one[0] for one in kept]
    return (kept, None) if memory is None else (kept[:-1], kept[-1])


def _backward(cell, weights, keep, hidden, kept, borders, above):
    """Returns the gradients of z, of h and A before the first step, and of the weights.

    Args:
        cell, weights, keep, hidden: those of `_forward`.
        kept, borders: the results of `_forward`.
        above: the gradient of every h_t, (n, B, C, H).
    """
    outputs, preliminary, *before_norm = kept
    ends = ops.concatenate([hidden[None], outputs[:-1, :, -1]], axis=0)
    previous = ops.concatenate([ends[:, :, None], outputs[:, :, :-1]], axis=2)
    number = outputs.shape[0]

    def step(i, states):
        hidden, memory, *sums = states
        parts = [at(one, i) for one in (keep, previous, borders, preliminary)]
        gradient = ChunkGradient(cell, weights, *parts, [one[i] for one in before_norm], memory)
        into_projected, hidden, memory, into_weights = gradient.run(above[i], hidden)
        sums = [add(*pair) for pair in zip(sums, into_weights[:3], strict=True)]
        return [into_projected[None]], [hidden, memory, *sums]

    zeros = ops.zeros_like(hidden)
    if number == 1:
        (projected,), (hidden, memory, *sums) = step(0, [zeros, None, None, None, None])
    else:
        kernel = ops.zeros_like(weights.recurrent_kernel)
        states = [zeros, ops.zeros_like(borders[0]), kernel, zeros, zeros]
        chunks = ops.shape(outputs)[0]
        (projected,), (hidden, memory, *sums) = over_numbers(step, states, chunks, reverse=True)
        projected = projected[0]
    kernel, gamma, beta = sums
    # The gradients of gain and bias are summed over the batch once, not in each chunk.
    weights = Weights(kernel, ops.sum(gamma, axis=0), ops.sum(beta, axis=0))
    return projected, hidden, memory, weights
