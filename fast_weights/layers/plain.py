"""The layers without fast weights: `Control`, `LayerNormRNN`, `LayerNormGRU`, `AssociativeLSTM`."""

from typing import Any

import keras

from fast_weights import defaults
from fast_weights.cells import (
    AssociativeLSTMCell,
    ControlCell,
    LayerNormGRUCell,
    LayerNormRNNCell,
)
from fast_weights.layers.base import RecurrentLayer, of_cell


@keras.saving.register_keras_serializable(package="fast_weights")
class Control(RecurrentLayer):
    """Plain ReLU recurrent layer: `ControlCell` over time.

    Args:
        units: positive integer, H, the size of the hidden state.
        **kwargs: `return_sequences`, `return_state`, `go_backwards`, `stateful`,
            `unroll`, `zero_output_for_mask` (default: `False`) and
            `activity_regularizer`, as in `keras.layers.SimpleRNN`; `jit_compile=False` to
            leave XLA off unless `model.compile` turns it on (default: `"auto"`); the
            arguments of `ControlCell`, with its defaults.

    Call arguments:
        sequences: (B, T, D).
        initial_state: `[h_0]`, (B, H). Default: zeros.
        mask: (B, T), bool. A masked step leaves the state unchanged.

    Returns:
        h_T, (B, H), or with `return_sequences` every h_t, (B, T, H). With
        `return_state`, also the last state, (B, H).

    Raises:
        ValueError: if an argument is out of bounds, or if an input, a mask or a
            state has a wrong shape.

    Example:

    >>> import numpy as np
    >>> tuple(Control(4)(np.ones((2, 9, 3), "float32")).shape)
    (2, 4)
    """

    cell_class = ControlCell


@keras.saving.register_keras_serializable(package="fast_weights")
class LayerNormRNN(RecurrentLayer):
    """Recurrent layer with layer normalization: `LayerNormRNNCell` over time.

    Args:
        units: positive integer, H, the size of the hidden state.
        epsilon: float of at least 0, added to the variance in layer normalization;
            with 0, a vector of equal units becomes NaN. Default 1e-5.
        **kwargs: the arguments of `Control`.

    Call arguments:
        sequences: (B, T, D).
        initial_state: `[h_0]`, (B, H). Default: zeros.
        mask: (B, T), bool. A masked step leaves the state unchanged.

    Returns:
        h_T, (B, H), or with `return_sequences` every h_t, (B, T, H). With
        `return_state`, also the last state, (B, H).

    Raises:
        ValueError: if an argument is out of bounds, or if an input, a mask or a
            state has a wrong shape.

    Example:

    >>> import numpy as np
    >>> layer = LayerNormRNN(4, return_sequences=True)
    >>> tuple(layer(np.ones((2, 9, 3), "float32")).shape)
    (2, 9, 4)
    """

    cell_class = LayerNormRNNCell
    epsilon = of_cell("epsilon")

    def __init__(self, units: int, *, epsilon: float = defaults.EPSILON, **kwargs: Any):
        super().__init__(units, epsilon=epsilon, **kwargs)


@keras.saving.register_keras_serializable(package="fast_weights")
class LayerNormGRU(RecurrentLayer):
    """GRU with layer normalization of its gates: `LayerNormGRUCell` over time.

    Args:
        units: positive integer, H, the size of the hidden state.
        gates: `"original"`, the gates of the published curve, or `"standard"`, the
            textbook's gates. Default `"original"`.
        epsilon: float of at least 0, added to the variance in layer normalization;
            with 0, a vector of equal units becomes NaN. Default 1e-5.
        **kwargs: `activation` (default: `"tanh"`), the initializers of
            `LayerNormGRUCell`, with its defaults, and the other arguments of `Control`.

    Call arguments:
        sequences: (B, T, D).
        initial_state: `[h_0]`, (B, H). Default: zeros.
        mask: (B, T), bool. A masked step leaves the state unchanged.

    Returns:
        h_T, (B, H), or with `return_sequences` every h_t, (B, T, H). With
        `return_state`, also the last state, (B, H).

    Raises:
        ValueError: if an argument is out of bounds, or if an input, a mask or a
            state has a wrong shape.

    Example:

    >>> import numpy as np
    >>> layer = LayerNormGRU(4, gates="standard")
    >>> tuple(layer(np.ones((2, 9, 3), "float32")).shape)
    (2, 4)
    """

    cell_class = LayerNormGRUCell
    gates = of_cell("gates")
    epsilon = of_cell("epsilon")

    def __init__(
        self,
        units: int,
        *,
        gates: str = defaults.GATES[0],
        epsilon: float = defaults.EPSILON,
        **kwargs: Any,
    ):
        super().__init__(units, gates=gates, epsilon=epsilon, **kwargs)


@keras.saving.register_keras_serializable(package="fast_weights")
class AssociativeLSTM(RecurrentLayer):
    """LSTM with an associative memory: `AssociativeLSTMCell` over time.

    Args:
        units: positive even integer, N, the size of the memory of one copy.
        num_copies: positive integer, number of copies of the memory. Default 4.
        num_heads: positive integer, number of writes and of reads in a step. Default 3.
        **kwargs: `activation` (default: `"sigmoid"`), the initializers of
            `AssociativeLSTMCell`, with its defaults, and the other arguments of `Control`.

    Call arguments:
        sequences: (B, T, D).
        initial_state: `[h_0, c_0]`, (B, heads * N) and (B, copies * N). Default: zeros.
        mask: (B, T), bool. A masked step leaves the states unchanged.

    Returns:
        h_T, (B, heads * N), or with `return_sequences` every h_t, (B, T, heads * N).
        With `return_state`, also the last states.

    Raises:
        ValueError: if an argument is out of bounds, or if an input, a mask or a
            state has a wrong shape.

    Example:

    >>> import numpy as np
    >>> layer = AssociativeLSTM(4, num_copies=2, num_heads=1)
    >>> tuple(layer(np.ones((2, 9, 3), "float32")).shape)
    (2, 4)
    """

    cell_class = AssociativeLSTMCell
    num_copies = of_cell("num_copies")
    num_heads = of_cell("num_heads")

    def __init__(self, units: int, *, num_copies: int = 4, num_heads: int = 3, **kwargs: Any):
        super().__init__(units, num_copies=num_copies, num_heads=num_heads, **kwargs)
