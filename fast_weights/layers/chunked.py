"""The base class of the layers that work in chunks of steps."""

from typing import Any, ClassVar

import keras
from keras import ops

from fast_weights.cells.base import Tensor, check_integer
from fast_weights.layers.base import RecurrentLayer


class ChunkedLayer(RecurrentLayer):
    """Base class of the layers that compute their memory, a matrix, only between two chunks.

    A subclass runs all steps in `run`.

    Args:
        units: positive integer, H, the size of the output.
        chunk_size: positive integer, C, the largest number of steps in a chunk. Default `None`:
            that of `default_chunk_size`.
        **kwargs: the other arguments of `RecurrentLayer`.
    """

    # The position of the memory in the list of states.
    memory_state: ClassVar[int]

    def __init__(self, units: int, *, chunk_size: int | None = None, **kwargs: Any):
        if chunk_size is not None:
            chunk_size = check_integer("chunk_size", chunk_size, low=1)
        self.chunk_size = chunk_size
        super().__init__(units, **kwargs)

    @property
    def compute_dtype(self) -> str:
        """The dtype of the states: float32 for half precision, to avoid rounding the memory."""
        return self.cell.compute_dtype

    def default_chunk_size(self, length: int | None) -> int:
        """Returns the largest number of steps in a chunk. `length` is T, or `None` if unknown."""
        raise NotImplementedError

    def steps_per_chunk(self, length: int | None) -> int:
        """Returns C for sequences of `length` steps, or of an unknown number of steps."""
        size = self.chunk_size or self.default_chunk_size(length)
        if length is None:
            return size
        # Chunks of nearly equal size, so that the last one needs little padding.
        number = -(-length // size)
        return -(-length // number)

    def _zero_states(self, batch_size):
        # Shape (B, 0) means a memory of zeros, so that a short sequence need not read one.
        sizes = keras.tree.flatten(self.cell.state_size)
        sizes[self.memory_state] = 0
        return [ops.zeros((batch_size, size), dtype=self.compute_dtype) for size in sizes]

    def loop(
        self,
        sequences: Tensor,
        initial_state: list[Tensor],
        mask: Tensor | None,
        recurrent_mask: Tensor | None,
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        if self.go_backwards:
            sequences = ops.flip(sequences, axis=1)
            mask = None if mask is None else ops.flip(mask, axis=1)
        outputs, states = self.run(sequences, initial_state, mask, recurrent_mask)
        return *self._zero_outputs(outputs[:, -1], outputs, mask), states

    def run(
        self,
        sequences: Tensor,
        states: list[Tensor],
        mask: Tensor | None,
        recurrent_mask: Tensor | None,
    ) -> tuple[Tensor, list[Tensor]]:
        """Runs all steps.

        Args:
            sequences: (B, T, D), in the order in which the layer processes the steps.
            states: those before the first step.
            mask: (B, T), bool, or `None`.
            recurrent_mask: dropout mask of the vectors that W_h multiplies, (B, H), or `None`.

        Returns:
            Every output, (B, T, H), or without `return_sequences` the last one, (B, 1, H). The
            last states. Without `return_state` and `stateful`, the memory may be missing.
        """
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "chunk_size": self.chunk_size}


def into_chunks(tensor, size):
    """Returns (B, T, ...) as n chunks, (n, B, C, ...), with zeros after the end."""
    batch, length, *rest = ops.shape(tensor)
    if tensor.shape[1] == size:
        return tensor[None]
    number = (length + size - 1) // size
    if tensor.shape[1] is None or number * size > length:
        zeros = ops.zeros((batch, number * size - length, *rest), dtype=tensor.dtype)
        tensor = ops.concatenate([tensor, zeros], axis=1)
    return ops.swapaxes(ops.reshape(tensor, (batch, number, size, *rest)), 0, 1)


def out_of_chunks(tensor, length):
    """Returns n chunks, (n, B, C, ...), joined to (B, T, ...)."""
    number, batch, size, *rest = ops.shape(tensor)
    if tensor.shape[0] == 1:
        # Without a transposition, XLA recognizes a caller that uses only the last step.
        return tensor[0][:, :length]
    return ops.reshape(ops.swapaxes(tensor, 0, 1), (batch, number * size, *rest))[:, :length]
