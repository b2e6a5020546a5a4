"""What all layers share, and a layer for each cell without fast weights."""

import keras
from keras import ops

from fast_weights.cells import ControlCell, LayerNormGRUCell, LayerNormRNNCell


class _WithoutZeros:
    """A layer as it is, but for one setting: a call does not write to it, as another may be on."""

    zero_output_for_mask = False

    def __init__(self, layer):
        self._layer = layer

    def __getattr__(self, name):
        return getattr(self._layer, name)


def of_cell(name: str) -> property:
    """A setting of a layer that is its cell's."""
    return property(lambda layer: getattr(layer.cell, name), doc=f"The cell's `{name}`.")


class RecurrentLayer(keras.layers.RNN):
    """`keras.layers.RNN` around a cell of one kind, whose arguments it takes beside its own.

    Args:
        units: positive integer, H, the size of the hidden state.
        return_sequences: whether to return h_t of every step, not only of the
            last. Default `False`.
        return_state: whether to return the last states too. Default `False`.
        go_backwards: whether to take the steps in reverse. Default `False`.
        stateful: whether a batch starts from the states that the one before it
            ended in. Default `False`.
        unroll: whether to unroll the loop over time: faster for short sequences
            under `jit_compile`, slow to compile for long ones. Default `False`.
        zero_output_for_mask: whether a masked step returns zeros rather than the
            output of the step before it. Default `False`.
        activity_regularizer, name, dtype, trainable: as for every Keras layer.
        **cell_arguments: the cell's.
    """

    cell_class = None

    def __init__(
        self,
        units,
        *,
        return_sequences=False,
        return_state=False,
        go_backwards=False,
        stateful=False,
        unroll=False,
        zero_output_for_mask=False,
        activity_regularizer=None,
        name=None,
        dtype=None,
        trainable=True,
        **cell_arguments,
    ):
        super().__init__(
            self.make_cell(units, name="cell", dtype=dtype, trainable=trainable, **cell_arguments),
            return_sequences=return_sequences,
            return_state=return_state,
            go_backwards=go_backwards,
            stateful=stateful,
            unroll=unroll,
            zero_output_for_mask=zero_output_for_mask,
            activity_regularizer=activity_regularizer,
            name=name,
            dtype=dtype,
            trainable=trainable,
        )
        self.input_spec = keras.layers.InputSpec(ndim=3)

    def make_cell(self, units, **arguments):
        """The cell that the layer runs."""
        return self.cell_class(units, **arguments)

    def build(self, sequences_shape, initial_state_shape=None):
        super().build(sequences_shape, initial_state_shape)
        self.input_spec = keras.layers.InputSpec(ndim=3, axes={-1: sequences_shape[-1]})

    def call(self, sequences, initial_state=None, mask=None, training=False, sequences_mask=None):
        """Runs the cell over time.

        Args:
            sequences: (B, T, D).
            initial_state: a list of one tensor (B, n) for each n of the cell's
                `state_size`. Default `None`: zeros.
            mask: (B, T), bool, or a list of that and of `None` for each state. A masked step
                leaves the states as they were. Default `None`.
            training: taken as Keras's layers take it; the cells do not use it.
            sequences_mask: the same as `mask`, which Keras fills in with the mask that
                `sequences` carry only if there is no `initial_state`; else it fills in
                this. Default `None`.

        Returns:
            The last h_t, (B, H), or with `return_sequences` every one, (B, T, H);
            with `return_state` a tuple of that and the last states.
        """
        mask = _one_mask(sequences_mask if mask is None else mask)
        if mask is not None and not _fits(shape := _shape_of(mask), sequences.shape[:2]):
            raise ValueError(
                "`mask` must be of shape (batch, time), like the sequences. Received: a mask of "
                f"shape {shape} for sequences of shape {tuple(sequences.shape)}"
            )
        if initial_state is not None:
            self._check_states(initial_state, sequences.shape[0])
        return super().call(sequences, initial_state=initial_state, mask=mask, training=training)

    def inner_loop(self, sequences, initial_state, mask, training=False):
        # What a masked step returns is made zero here: Keras 3.15 does it at the wrong steps
        # under `unroll` with `go_backwards`, and on JAX under `unroll` not at all.
        last, outputs, states = keras.layers.RNN.inner_loop(
            _WithoutZeros(self), sequences, initial_state, mask, training
        )
        if self.zero_output_for_mask and mask is not None:
            kept = ops.cast(ops.flip(mask, axis=1) if self.go_backwards else mask, "bool")
            last = ops.where(kept[:, -1:], last, ops.zeros_like(last))
            # Without `return_sequences` the last output is the only one.
            kept = (kept if self.return_sequences else kept[:, -1:])[:, :, None]
            outputs = ops.where(kept, outputs, ops.zeros_like(outputs))
        return last, outputs, states

    def _check_states(self, states, batch_size):
        """Raises a `ValueError` unless `states` are one (B, n) for each n of `state_size`."""
        states = list(states) if isinstance(states, list | tuple) else [states]
        shapes = [_shape_of(state) for state in states]
        expected = [(batch_size, size) for size in self.state_size]
        if len(shapes) != len(expected) or not all(map(_fits, shapes, expected)):
            named = ", ".join(f"({batch_size or 'batch'}, {size})" for size in self.state_size)
            raise ValueError(
                f"`initial_state` must be of shapes {named} ({type(self.cell).__name__}'s)"
                f"{self._about_states()}. Received: {shapes}"
            )

    def _about_states(self):
        """What else there is to say of states that do not fit."""
        return ""

    units = of_cell("units")
    activation = of_cell("activation")
    kernel_initializer = of_cell("kernel_initializer")
    recurrent_initializer = of_cell("recurrent_initializer")
    bias_initializer = of_cell("bias_initializer")
    kernel_regularizer = of_cell("kernel_regularizer")
    recurrent_regularizer = of_cell("recurrent_regularizer")
    bias_regularizer = of_cell("bias_regularizer")
    kernel_constraint = of_cell("kernel_constraint")
    recurrent_constraint = of_cell("recurrent_constraint")
    bias_constraint = of_cell("bias_constraint")

    def get_config(self):
        config = {**self.cell.get_config(), **super().get_config()}
        del config["cell"]
        return config

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def _one_mask(mask):
    """The mask as a tensor or `None`, from plain lists, or of a list of masks the first."""
    if not isinstance(mask, list | tuple):
        return mask
    states_have_none = all(one is None for one in mask[1:])
    if mask and states_have_none and (mask[0] is None or hasattr(mask[0], "shape")):
        return mask[0]
    return ops.convert_to_tensor(mask, "bool")


def _shape_of(value):
    """Its shape as a tuple; `None` if it has none."""
    return tuple(value.shape) if hasattr(value, "shape") else None


def _fits(shape, expected_shape):
    """Whether a shape is as expected, as far as the sizes are known."""
    return (
        shape is not None
        and len(shape) == len(expected_shape)
        and all(
            None in sizes or len(set(sizes)) == 1
            for sizes in zip(shape, expected_shape, strict=True)
        )
    )


@keras.saving.register_keras_serializable(package="fast_weights")
class Control(RecurrentLayer):
    """Plain ReLU recurrent layer: `ControlCell` over time.

    Args:
        units: positive integer, H, the size of the hidden state.
        **kwargs: `return_sequences`, `return_state`, `go_backwards`, `stateful`,
            `unroll`, `zero_output_for_mask` (default: `False`) and
            `activity_regularizer`, as `keras.layers.SimpleRNN` takes them;
            `activation`, `kernel_initializer`, `kernel_regularizer` and
            `kernel_constraint`, and the same for `recurrent_` and `bias_`, with the
            cell's defaults; `name`, `dtype` and the like.

    Call arguments:
        sequences: (B, T, D).
        initial_state: `[h_0]`, (B, H). Default: zeros.
        mask: (B, T), bool. A masked step leaves the state as it was.

    Returns:
        h_T, (B, H), or with `return_sequences` every h_t, (B, T, H); with
        `return_state` also the last state, (B, H).

    Raises:
        ValueError: if an argument is out of its bounds, or an input, a mask or a
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
        **kwargs: `epsilon` (default: 1e-5), and those of `Control`.

    Call arguments:
        sequences: (B, T, D).
        initial_state: `[h_0]`, (B, H). Default: zeros.
        mask: (B, T), bool. A masked step leaves the state as it was.

    Returns:
        h_T, (B, H), or with `return_sequences` every h_t, (B, T, H); with
        `return_state` also the last state, (B, H).

    Raises:
        ValueError: if an argument is out of its bounds, or an input, a mask or a
            state has a wrong shape.

    Example:

    >>> import numpy as np
    >>> layer = LayerNormRNN(4, return_sequences=True)
    >>> tuple(layer(np.ones((2, 9, 3), "float32")).shape)
    (2, 9, 4)
    """

    cell_class = LayerNormRNNCell
    epsilon = of_cell("epsilon")


@keras.saving.register_keras_serializable(package="fast_weights")
class LayerNormGRU(RecurrentLayer):
    """GRU with layer normalization of its gates: `LayerNormGRUCell` over time.

    Args:
        units: positive integer, H, the size of the hidden state.
        **kwargs: `gates` (`"original"`, the default, or `"standard"`), `epsilon`
            (default: 1e-5), and those of `Control`.

    Call arguments:
        sequences: (B, T, D).
        initial_state: `[h_0]`, (B, H). Default: zeros.
        mask: (B, T), bool. A masked step leaves the state as it was.

    Returns:
        h_T, (B, H), or with `return_sequences` every h_t, (B, T, H); with
        `return_state` also the last state, (B, H).

    Raises:
        ValueError: if an argument is out of its bounds, or an input, a mask or a
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
