"""A-LSTM: an LSTM whose memory is associative, with complex numbers as pairs of reals.

A vector of N numbers stands for N/2 complex numbers: the real parts, then the imaginary parts.

| symbol | code | shape |
|---|---|---|
| x_t | `inputs` | (B, D) |
| h_t | `hidden` | (B, heads * N) |
| c_t | `memory` | (B, copies * N), or two parts (B, copies * N/2) |
| g_f, g_i, g_o | `forget_gate`, `input_gate`, `output_gate` | (B, N/2), with an axis of heads |
| r_i, u, r_o | `write_keys`, `updates`, `read_keys` | two parts (B, heads, copies * N/2) |
| P_s, for all s | `permutations` | (N/2, copies * N/2) |
"""

import random
from typing import Any

import keras
from keras import ops

from fast_weights.cells.base import Activation, RecurrentCell, Tensor, check_integer, drop


@keras.saving.register_keras_serializable(package="fast_weights")
class AssociativeLSTMCell(RecurrentCell):
    """LSTM cell whose memory holds sums of key-value pairs, in several copies.

    With σ the activation of the gates, ∘ the product by elements, ⊗ the complex product by
    elements, and bound(z) = z / max(1, |z|), each step computes (the numbers
    are those of this class)

    1. g_f, g_i, g_o = σ(...), (B, N/2) each, from `x_t W_x + h_{t-1} W_h + b`
    2. for each head, a write key r_i = bound(...), an update u = bound(...) and a read key
       r_o = bound(...), from the same sum
    3. for each copy s, `c_s = g_f ∘ c_s + Σ_heads (P_s r_i) ⊗ (g_i ∘ u)`
    4. for each head, `h = g_o ∘ bound(mean over s of (P_s r_o) ⊗ c_s)`

    Both halves of a vector have the same gate. P_s is a permutation of the N/2 places. It is
    random, but always the same for a copy.

    Reference: Danihelka et al. 2016 (arXiv 1602.03032), equations 12 to 22. The paper describes
    several heads in words; here they have one set of gates.

    Args:
        units: positive even integer, N, the size of the memory of one copy.
        num_copies: positive integer, number of copies. Default 4, as in table 1 of the paper on
            fast weights.
        num_heads: positive integer, number of writes and of reads in a step. Default 3, likewise.
        activation: σ, a Keras activation. Default `"sigmoid"`.
        **kwargs: `kernel_initializer` (default: Glorot's uniform one), `recurrent_initializer`
            (default: orthogonal), `bias_initializer` (default: 1 for the forget gate, 0 for the
            rest), and for each of the three `..._regularizer` and `..._constraint` (default:
            `None`), as in `keras.layers.LSTMCell`; the other arguments of `ControlCell`. The
            gates, keys and updates share the dropout masks.

    Call arguments:
        inputs: (B, D), one time step.
        states: `[h_{t-1}, c_{t-1}]`, (B, heads * N) and (B, copies * N).

    Returns:
        `h_t`, (B, heads * N), and the list of states `[h_t, c_t]`.

    Raises:
        ValueError: if `units` is not a positive even integer, or if `num_copies` or `num_heads`
            is not a positive integer.

    Example:

    >>> import numpy as np
    >>> layer = keras.layers.RNN(AssociativeLSTMCell(4, num_heads=2))
    >>> tuple(layer(np.ones((2, 9, 3), "float32")).shape)
    (2, 8)
    """

    def __init__(
        self,
        units: int,
        num_copies: int = 4,
        num_heads: int = 3,
        activation: Activation = "sigmoid",
        **kwargs: Any,
    ):
        super().__init__(units, activation, **kwargs)
        if self.units % 2:
            raise ValueError(
                "`units` must be even, because two numbers make a complex one. "
                f"Received: units={units}"
            )
        self.num_copies = check_integer("num_copies", num_copies, low=1)
        self.num_heads = check_integer("num_heads", num_heads, low=1)
        places = range(self.units // 2)
        self._places = [*places] * self.num_copies
        self._permuted_places = [
            place
            for copy in range(self.num_copies)
            for place in random.Random(copy).sample(places, len(places))
        ]

    @property
    def state_size(self) -> list[int]:
        """The sizes of the states: heads * N and copies * N."""
        return [self.output_size, self.num_copies * self.units]

    @property
    def output_size(self) -> int:
        """The size of the output: heads * N."""
        return self.num_heads * self.units

    def build(self, input_shape: tuple) -> None:
        """Creates the slow weights for inputs with `input_shape[-1]` features."""
        half = self.units // 2

        def bias(shape, dtype=None):
            rest = ops.zeros(shape[0] - half, dtype)
            return ops.concatenate([ops.ones(half, dtype), rest], axis=0)

        self.add_slow_weights(
            input_shape,
            columns=3 * half + 3 * self.output_size,
            kernel=keras.initializers.GlorotUniform(),
            recurrent_kernel=keras.initializers.Orthogonal(),
            bias=bias,
        )

    def step(
        self, projected: Tensor, states: list[Tensor], recurrent_mask: Tensor | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        hidden, memory = states
        half, heads = self.units // 2, self.num_heads
        hidden = drop(hidden, recurrent_mask)
        sums = projected + self.slow_product(hidden, self.recurrent_kernel)
        # (1) Gates.
        gates = ops.reshape(self.activation(sums[:, : 3 * half]), (-1, 3, half))
        forget_gate, input_gate, output_gate = gates[:, 0], gates[:, 1:2], gates[:, 2:]
        # (2) Keys and updates, for every copy.
        vectors = ops.reshape(sums[:, 3 * half :], (-1, 3 * heads, 2, half))
        real, imaginary = bound(vectors[:, :, 0], vectors[:, :, 1])
        permutations = self._one_hot(self._permuted_places, sums.dtype)
        copies = self._one_hot(self._places, sums.dtype)
        parts = real, imaginary
        write_keys = [part[:, :heads] @ permutations for part in parts]
        updates = [(input_gate * part[:, heads : 2 * heads]) @ copies for part in parts]
        read_keys = [part[:, 2 * heads :] @ permutations for part in parts]
        # (3) Memory.
        kept = forget_gate @ copies
        memory = ops.split(memory, 2, axis=1)
        memory = [
            kept * part + ops.sum(written, axis=1)
            for part, written in zip(memory, complex_product(write_keys, updates), strict=True)
        ]
        # (4) Output.
        read = complex_product(read_keys, [part[:, None] for part in memory])
        mean = ops.transpose(copies) / self.num_copies
        read = bound(*(part @ mean for part in read))
        hidden = ops.stack([output_gate * part for part in read], axis=2)
        hidden = ops.reshape(hidden, (-1, self.output_size))
        return hidden, [hidden, ops.concatenate(memory, axis=1)]

    def _one_hot(self, places, dtype):
        """Returns the matrix that moves the numbers at `places` to its columns, (N/2, places).

        A product with zeros and ones is exact, and faster than a gather.
        """
        return ops.transpose(ops.one_hot(places, self.units // 2, dtype=dtype))

    def get_config(self) -> dict[str, Any]:
        config = {"num_copies": self.num_copies, "num_heads": self.num_heads}
        return {**super().get_config(), **config}


def bound(real, imaginary):
    """Returns the parts of z / max(1, |z|)."""
    # The maximum is inside the root, whose gradient at 0 is infinite.
    scale = ops.rsqrt(ops.maximum(ops.square(real) + ops.square(imaginary), 1.0))
    return scale * real, scale * imaginary


def complex_product(left, right):
    """Returns the parts of the product by elements of complex numbers, given as two parts."""
    (a, b), (c, d) = left, right
    return a * c - b * d, a * d + b * c
