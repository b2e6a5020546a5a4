"""The gradient of a chunk. `chunk.py` has the symbols and equations 3 and 4.

Equation numbers are the paper's.
"""

from typing import Any, NamedTuple

from keras import ops

from fast_weights.cells.base import drop, standardize
from fast_weights.layers.chunk import (
    SLOPES,
    Weights,
    add,
    first_rows,
    put,
    read_factors,
    times_vector,
    transpose,
    vector_times,
    write_factors,
)
from fast_weights.layers.loop import over_numbers


class Inner(NamedTuple):
    """One inner step, for all steps of a chunk at once.

    Attributes:
        query: the h that it reads with, (B, C, H).
        attention: to the vectors written, (B, C, C).
        normal: the inputs of layer normalization with mean 0 and variance 1, (B, C, H).
        inverse: 1 / their standard deviation, (B, C, 1).
        slope: f' of the outputs of layer normalization, (B, C, H).
        gain: `slope` times the gain of layer normalization, (B, C, H).
    """

    query: Any
    attention: Any
    normal: Any
    inverse: Any
    slope: Any
    gain: Any


class ChunkGradient:
    """The gradient of `looped_chunk` and `next_memory`.

    Args:
        cell: the `FastWeightsCell`, for its settings.
        weights: a `Weights`.
        keep: (B, C), or `None`.
        previous: every h_{t-1}, (B, C, H).
        memory: A before the chunk, (B, H, H), or `None` for zeros.
        preliminary: every p_t, (B, C, H).
        before_norm: for each inner step, the inputs of layer normalization, (B, C, H).
        above_memory: the gradient of A after the chunk, (B, H, H), or `None` for zeros.
    """

    def __init__(
        self, cell, weights, keep, previous, memory, preliminary, before_norm, above_memory
    ):
        self.cell, self.weights, self.keep = cell, weights, keep
        self.previous, self.memory, self.preliminary = previous, memory, preliminary
        self.above_memory = above_memory
        self.original = cell.recurrence == "original"
        self.length = preliminary.shape[1]
        settings = (cell, keep, self.length, preliminary.dtype)
        self.factors, self.start = read_factors(*settings)
        self.write_factors, self.end = write_factors(*settings)
        self.written = preliminary if self.original else previous
        self.first = first_rows(preliminary)
        self.slope = SLOPES[cell.activation](preliminary)
        self.inner = self._inner_steps(before_norm)
        # One product reads both A and the vectors written.
        sources = [self.written] if memory is None else [self.written, memory]
        self.sources = ops.concatenate(sources, axis=1)
        self.kernel_transposed = ops.transpose(weights.recurrent_kernel)
        self.into_written = self._into_written()

    def _inner_steps(self, before_norms):
        """Recomputes the inner steps."""
        query, inner, weights = self.preliminary, [], self.weights
        for before_norm in before_norms:
            attention = ops.matmul(query, transpose(self.written)) * self.factors
            centered, inverse = standardize(before_norm, self.cell.epsilon)
            normal = centered * inverse
            value = self.cell.activation(weights.gamma * normal + weights.beta)
            slope = SLOPES[self.cell.activation](value)
            gain = slope * weights.gamma
            inner.append(Inner(query, attention, normal, inverse, slope, gain))
            query = value
        return inner

    def _into_written(self):
        """(3) Returns the gradient of every v_t through A after the chunk: V (G + Gᵀ)."""
        if self.above_memory is None:
            return None
        scaled = self.written * self.write_factors
        # Transposing V instead of G: a transposed G takes as long as ten steps.
        straight = ops.matmul(scaled, self.above_memory)
        return straight + transpose(ops.matmul(self.above_memory, transpose(scaled)))

    def run(self, above_outputs, above_hidden):
        """Computes the gradients.

        Args:
            above_outputs: the gradient of every h_t as an output, (B, C, H).
            above_hidden: the gradient of h after the chunk, (B, H).

        Returns:
            The gradients of z, (B, C, H), of h before the chunk, (B, H), of A before it,
            (B, H, H) or `None`, and of the `Weights`. Those of gain and bias, (B, H), are
            summed over the steps only.
        """

        def step(t, states):
            flow, *states = states
            return self._step(t, flow + above_outputs[:, t], states)

        reads = [_flat_zeros(inner.query) for inner in self.inner]
        scores = [_flat_zeros(inner.attention) for inner in self.inner]
        (into_projected, *outputs), (flow, *states) = over_numbers(
            step, [above_hidden, *reads, *scores], self.length, reverse=True
        )
        reads = [self._unflatten(one) for one in states[: len(self.inner)]]
        into_kernel = [self._of_product(self.previous, into_projected)]
        if self.inner and self.original:
            into_slow_term = total(reads)
            into_kernel.append(self._of_product(self.preliminary, into_slow_term))
            into_projected += into_slow_term
        into_gamma, into_beta = [ops.zeros_like(flow)], [ops.zeros_like(flow)]
        for inner, output in zip(self.inner, outputs, strict=True):
            output = output * inner.slope
            into_gamma.append(ops.sum(output * inner.normal, axis=1))
            into_beta.append(ops.sum(output, axis=1))
        weights = Weights(total(into_kernel), total(into_gamma), total(into_beta))
        return into_projected, flow, self._into_memory(reads), weights

    def _step(self, t, flow, states):
        """Backpropagates one step, from the gradient of h_t to that of h_{t-1}.

        Args:
            t: the step.
            flow: the gradient of h_t, (B, H).
            states: for each inner step, the gradients of the inputs of layer normalization of
                all later steps, (B·C, H); then for each inner step, the gradients of the
                attention of all later steps, (B·C, C).

        Returns:
            As outputs, the gradient of the sum inside p_t, and for each inner step that of
            its value. As states, the gradient of h_{t-1}, and `states` with those of step t.
        """
        keep = self.keep
        states, outputs = list(states), []
        gradient = flow if keep is None else flow * keep[:, t, None]
        into_v = None if self.into_written is None else self.into_written[:, t]
        into_slow_term = None
        for s in reversed(range(len(self.inner))):
            outputs.insert(0, gradient)
            # (5) Through f and layer normalization.
            inner = self.inner[s]
            gradient = normalize_gradient(
                gradient * inner.gain[:, t], inner.normal[:, t], inner.inverse[:, t]
            )
            into_slow_term = add(into_slow_term, gradient)
            gradient, into_v = self._through_read(s, t, gradient, into_v, states)
        # Through the preliminary vector, p_t.
        if self.original:
            gradient = add(gradient, into_v)
            if self.inner:
                gradient += self._through_kernel(into_slow_term)
        gradient *= self.slope[:, t]
        if self.inner and not self.original:
            gradient += into_slow_term
        below = self._through_kernel(gradient)
        if not self.original:
            below = add(below, into_v)
        flow = below if keep is None else flow * (1 - keep[:, t, None]) + below
        return [gradient, *outputs], [flow, *states]

    def _through_read(self, s, t, gradient, into_v, states):
        """(4) Returns the gradients of the query and of v_t; adds those of step t to `states`."""
        inner, num_inner = self.inner[s], len(self.inner)
        both = times_vector(self.sources, gradient)
        score = both[:, : self.length] * self.factors[:, t]
        states[s] = put(states[s], self.first + t, gradient)
        states[num_inner + s] = put(states[num_inner + s], self.first + t, score)
        # To v_t, from the reads of this step and of all later ones.
        into_v = add(into_v, vector_times(inner.attention[:, :, t], self._unflatten(states[s])))
        column = self._unflatten(states[num_inner + s])[:, :, t]
        into_query = None
        if self.memory is not None:
            into_query = self.start[:, t] * both[:, self.length :]
        if s == 0 and self.original:
            # The query is v_t: one product for both.
            return into_query, add(into_v, vector_times(score + column, self.written))
        into_query = add(into_query, vector_times(score, self.written))
        return into_query, add(into_v, vector_times(column, inner.query))

    def _unflatten(self, tensor):
        """Returns (B·C, n) as (B, C, n)."""
        return ops.reshape(tensor, (-1, self.length, tensor.shape[1]))

    def _through_kernel(self, gradient):
        """Returns the gradient of the vectors that W_h multiplies, (B, H)."""
        into_product = self.cell.slow_product(gradient, self.kernel_transposed)
        return drop(into_product, self.weights.recurrent_mask)

    def _of_product(self, vectors, gradients):
        """Returns the gradient of W_h in a product with `vectors`, summed over B and C."""
        mask = self.weights.recurrent_mask
        vectors = vectors if mask is None else drop(vectors, mask[:, None])
        vectors, gradients = (ops.reshape(one, (-1, one.shape[-1])) for one in (vectors, gradients))
        return self.cell.slow_product(ops.transpose(vectors), gradients)

    def _into_memory(self, reads):
        """(3), (4) Returns the gradient of A before the chunk."""
        into_memory = None if self.above_memory is None else self.end * self.above_memory
        if self.memory is None or not self.inner:
            return into_memory
        queries = ops.concatenate([inner.query * self.start for inner in self.inner], axis=1)
        reads = ops.concatenate(reads, axis=1)
        return add(into_memory, ops.matmul(transpose(queries), reads))


def _flat_zeros(tensor):
    """Returns zeros, (B·C, n), for a tensor (B, C, n)."""
    return ops.reshape(ops.zeros_like(tensor), (-1, tensor.shape[2]))


def total(tensors):
    """Returns the sum of tensors of the same shape.

    Stacks the tensors instead of adding them. TensorFlow computes a sum of three large tensors in
    a temporary variable, which fails in nested loops (tensorflow/tensorflow#23780).
    """
    return tensors[0] if len(tensors) == 1 else ops.sum(ops.stack(tensors), axis=0)


def normalize_gradient(gradient, normal, inverse):
    """Returns the gradient of the inputs of `standardize` from that of `normal`."""
    size = normal.shape[-1]
    mean = ops.sum(gradient, axis=-1, keepdims=True) / size
    along = ops.sum(gradient * normal, axis=-1, keepdims=True) / size
    return inverse * (gradient - mean - normal * along)
