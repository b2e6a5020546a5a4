"""`FastWeights`: the layer with fast weights, computed in chunks of steps."""

from typing import Any

import keras
from keras import ops

from fast_weights import defaults
from fast_weights.cells import FastWeightsCell
from fast_weights.cells.base import Tensor
from fast_weights.layers.base import of_cell
from fast_weights.layers.chunk import first_part, next_memory
from fast_weights.layers.chunked import ChunkedLayer, into_chunks, out_of_chunks
from fast_weights.layers.scan import has_custom_gradient, scan, unrolled_scan, weights_of


def default_chunk_size(length, units):
    """Returns the default of `chunk_size`, the largest number of steps in a chunk.

    A single chunk that starts from A = 0 neither reads nor computes A: each step attends to the
    vectors written so far. This was the fastest choice up to T = 2/3 H. For longer sequences, no
    chunk size was much faster than 32. Shorter chunks need more memory, because training keeps
    A for each chunk. `benchmarks/sequence_length.py` measures time and memory.

    Args:
        length: T, or `None` if it is unknown.
        units: H.
    """
    single = max(32, 2 * units // 3)
    return length if length is not None and length <= single else 32


@keras.saving.register_keras_serializable(package="fast_weights")
class FastWeights(ChunkedLayer):
    """Recurrent layer with fast weights, an associative memory of each sequence's recent past.

    Gives the same results as `keras.layers.RNN(FastWeightsCell(...))` with the same weights,
    for sequences of any length. The layer cuts a sequence into chunks of C steps and computes
    A only between two chunks. Within a chunk, each step reads A as it was before the chunk,
    and attends to the vectors written since (equation 4 of the paper).

    For sequences of 100 steps or more, set `decay_rate` to 0.99 or 1: with 0.95, 0.6% of a
    write is left after 100 steps. Keras's embeddings are so small by default that learning
    starts late. Pass `keras.initializers.RandomUniform(-1, 1)` to `Embedding`; see
    `docs/recall.md`.

    Args:
        units: positive integer, H, the size of the hidden state.
        inner_steps: integer of at least 0, S, steps of the inner loop. Default 1.
        decay_rate: float in [0, 1], λ, the share of A that a step keeps.
            Default 0.95.
        fast_learning_rate: float of at least 0, η, the strength of a write.
            Default 0.5.
        epsilon: float of at least 0, added to the variance in the
            normalization; with 0, a vector of equal units becomes NaN.
            Default 1e-5.
        recurrence: `"original"` or `"paper"`: the vector that a step writes, see
            `FastWeightsCell`. Default `"original"`.
        normalization: `"layer"`, `"batch"` or `"none"`, see `FastWeightsCell`. With
            `"batch"`, the result of an example depends on the rest of its batch, and masked
            steps count as steps with zeros as inputs. Default `"layer"`.
        chunk_size: positive integer, C, the largest number of steps in a chunk. It changes
            time and memory, not the results. The layer cuts a long sequence into chunks of
            nearly equal size. Default `None`: all T steps if T is at most max(32, 2/3 H);
            32 if T is larger or unknown.
        **kwargs: `return_sequences`, `return_state`, `go_backwards`, `stateful`,
            `unroll`, `zero_output_for_mask` (default: `False`) and
            `activity_regularizer`; `jit_compile=False` to leave XLA off unless
            `model.compile` turns it on (default: `"auto"`); the other arguments of
            `FastWeightsCell`, with its defaults.

    Call arguments:
        sequences: (B, T, D).
        initial_state: `[h_0, A_0]`, (B, H) and (B, H·H). Default: zeros.
        mask: (B, T), bool. A masked step leaves h and A unchanged, and its output is h.

    Returns:
        h_T, (B, H), or with `return_sequences` every h_t, (B, T, H). With
        `return_state`, also the last states, (B, H) and (B, H·H). With a half precision
        policy all of them are float32.

    Raises:
        ValueError: if an argument is unknown or out of bounds, or if an input, a mask or a
            state has a wrong shape.

    For training, the layer keeps 2 + S vectors of H numbers for each step and A for each
    chunk. Activations other than `"relu"`, `"tanh"`, `"sigmoid"` and `"linear"`, and
    normalizations other than `"layer"`, need more memory.

    Reference: Ba et al. 2016, arXiv 1610.06258, equations 1 to 5.

    Example:

    >>> import numpy as np
    >>> layer = FastWeights(4, inner_steps=2)
    >>> tuple(layer(np.ones((2, 9, 3), "float32")).shape)
    (2, 4)
    """

    cell_class = FastWeightsCell
    memory_state = 1
    inner_steps = of_cell("inner_steps")
    decay_rate = of_cell("decay_rate")
    fast_learning_rate = of_cell("fast_learning_rate")
    epsilon = of_cell("epsilon")
    recurrence = of_cell("recurrence")
    normalization = of_cell("normalization")

    def __init__(
        self,
        units: int,
        *,
        inner_steps: int = defaults.INNER_STEPS,
        decay_rate: float = defaults.DECAY_RATE,
        fast_learning_rate: float = defaults.FAST_LEARNING_RATE,
        epsilon: float = defaults.EPSILON,
        recurrence: str = defaults.RECURRENCES[0],
        normalization: str = defaults.NORMALIZATIONS[0],
        **kwargs: Any,
    ):
        super().__init__(
            units,
            inner_steps=inner_steps,
            decay_rate=decay_rate,
            fast_learning_rate=fast_learning_rate,
            epsilon=epsilon,
            recurrence=recurrence,
            normalization=normalization,
            **kwargs,
        )

    @property
    def _can_compile(self) -> bool:
        return super()._can_compile or has_custom_gradient(self.cell)

    def default_chunk_size(self, length: int | None) -> int:
        return default_chunk_size(length, self.units)

    def run(
        self,
        sequences: Tensor,
        states: list[Tensor],
        mask: Tensor | None,
        recurrent_mask: Tensor | None,
    ) -> tuple[Tensor, list[Tensor]]:
        hidden, memory = states
        square = (-1, self.units, self.units)
        memory = ops.reshape(memory, square) if memory.shape[-1] else None
        keep = None if mask is None else ops.cast(mask, self.compute_dtype)
        # Without `unroll`, one product with W_x serves the whole sequence.
        inputs = sequences if self.unroll else self.cell.project(sequences)
        path = self._trajectory(inputs, keep, hidden, memory, recurrent_mask)
        last = [path[:, -1]]
        if self.return_state or self.stateful:
            projected = self.cell.project(sequences) if self.unroll else inputs
            previous = path[:, :-1]
            last.append(self._last_memory(projected, keep, previous, memory, recurrent_mask))
        return path[:, 1:] if self.return_sequences else path[:, -1:], last

    def _trajectory(self, inputs, keep, hidden, memory, recurrent_mask):
        """Returns h_0 to h_T, (B, T + 1, H)."""
        size = self.steps_per_chunk(inputs.shape[1])
        keep = None if keep is None else into_chunks(keep, size)
        run = unrolled_scan if self.unroll else scan
        outputs = run(self.cell, into_chunks(inputs, size), keep, hidden, memory, recurrent_mask)
        outputs = out_of_chunks(outputs, ops.shape(inputs)[1])
        return ops.concatenate([hidden[:, None], outputs], axis=1)

    def _last_memory(self, projected, keep, previous, memory, recurrent_mask):
        """Returns A after the last step, (B, H·H): equation 3, with the sequence as one chunk.

        Recomputes every v_t from every h_{t-1} in one product. If `scan` returned A, every call
        would compute it. Also, `keras.ops.custom_gradient` supports only one result on PyTorch.
        """
        mask = None if recurrent_mask is None else recurrent_mask[:, None]
        _, written, _ = first_part(self.cell, weights_of(self.cell, mask), projected, previous)
        if keep is None and written.shape[1] is None:
            keep = ops.ones_like(projected[:1, :, 0])
        memory = next_memory(self.cell, keep, written, memory)
        return ops.reshape(memory, (-1, self.units**2))
