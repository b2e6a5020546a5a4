"""The base class of the layers: `keras.layers.RNN` around a cell of one kind."""

import keras
from keras import ops


class _ZeroOutputOff:
    """Stands in for a layer, with `zero_output_for_mask` off.

    Setting the attribute of the layer for the time of a call would be simpler, but a
    second thread could call the layer in the meantime.
    """

    zero_output_for_mask = False

    def __init__(self, layer):
        self._layer = layer

    def __getattr__(self, name):
        return getattr(self._layer, name)


def of_cell(name: str) -> property:
    """Returns a read-only property for a setting that the layer's cell holds."""
    return property(lambda layer: getattr(layer.cell, name), doc=f"The cell's `{name}`.")


class RecurrentLayer(keras.layers.RNN):
    """`keras.layers.RNN` around a cell of one kind; takes the cell's arguments besides its own.

    Args:
        units: positive integer, H, the size of the hidden state.
        return_sequences: whether to return h_t of every step instead of the last
            one only. Default `False`.
        return_state: whether to return the last states too. Default `False`.
        go_backwards: whether to process the steps in reverse. Default `False`.
        stateful: whether each batch starts from the last states of the batch
            before it. Default `False`.
        unroll: whether to unroll the loop over time: faster for short sequences
            under `jit_compile`, slow to compile for long ones. Default `False`.
        zero_output_for_mask: whether a masked step returns zeros instead of the
            output of the step before it. Default `False`.
        activity_regularizer, name, dtype, trainable: as in every Keras layer.
        **cell_arguments: arguments of the cell.
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
        """Returns the cell that the layer runs."""
        return self.cell_class(units, **arguments)

    def build(self, sequences_shape, initial_state_shape=None):
        super().build(sequences_shape, initial_state_shape)
        self.input_spec = keras.layers.InputSpec(ndim=3, axes={-1: sequences_shape[-1]})

    def call(self, sequences, initial_state=None, mask=None, training=False, sequences_mask=None):
        """Runs the cell over time.

        Args:
            sequences: (B, T, D).
            initial_state: a list with one tensor (B, n) for each n in the cell's
                `state_size`. Default `None`: zeros.
            mask: (B, T), bool, or a list of that mask and `None` for each state. A
                masked step leaves the states unchanged. Default `None`.
            training: accepted as in Keras's layers; the cells do not use it.
            sequences_mask: used if `mask` is `None`. Keras passes the mask that
                `sequences` carry as `mask`, but in a call with an `initial_state`
                as `sequences_mask`. Default `None`.

        Returns:
            The last h_t, (B, H), or with `return_sequences` every h_t, (B, T, H).
            With `return_state`, a tuple of that and the last states.
        """
        mask = _one_mask(sequences_mask if mask is None else mask)
        if mask is not None and not _fits(shape := _shape_of(mask), sequences.shape[:2]):
            raise ValueError(
                "`mask` must have shape (batch, time), like the sequences. Received: a mask of "
                f"shape {shape} for sequences of shape {tuple(sequences.shape)}"
            )
        if initial_state is not None:
            self._check_states(initial_state, sequences.shape[0])
        return super().call(sequences, initial_state=initial_state, mask=mask, training=training)

    def inner_loop(self, sequences, initial_state, mask, training=False):
        # Under `unroll`, Keras 3.15 zeroes the wrong outputs with `go_backwards`, and no
        # outputs on JAX, so this method zeroes them itself. A related issue is still open:
        # keras-team/keras#17596.
        last, outputs, states = keras.layers.RNN.inner_loop(
            _ZeroOutputOff(self), sequences, initial_state, mask, training
        )
        if self.zero_output_for_mask and mask is not None:
            kept = ops.cast(ops.flip(mask, axis=1) if self.go_backwards else mask, "bool")
            last = ops.where(kept[:, -1:], last, ops.zeros_like(last))
            # Without `return_sequences`, `outputs` holds the last step alone.
            kept = (kept if self.return_sequences else kept[:, -1:])[:, :, None]
            outputs = ops.where(kept, outputs, ops.zeros_like(outputs))
        return last, outputs, states

    def _check_states(self, states, batch_size):
        """Raises `ValueError` unless `states` has one (B, n) for each n in `state_size`."""
        states = list(states) if isinstance(states, list | tuple) else [states]
        shapes = [_shape_of(state) for state in states]
        expected = [(batch_size, size) for size in self.state_size]
        if len(shapes) != len(expected) or not all(map(_fits, shapes, expected)):
            named = ", ".join(f"({batch_size or 'batch'}, {size})" for size in self.state_size)
            raise ValueError(
                f"`initial_state` must have the shapes {named} of {type(self.cell).__name__}'s "
                f"states{self._states_hint()}. Received: {shapes}"
            )

    def _states_hint(self):
        """Returns advice to append to the error about states that do not fit."""
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
    """Returns the mask of the sequences as a tensor or `None`.

    Args:
        mask: a tensor, `None`, nested lists of booleans, or the list that Keras makes
            of the mask of the sequences and `None` for each state.
    """
    if not isinstance(mask, list | tuple):
        return mask
    states_have_none = all(one is None for one in mask[1:])
    if mask and states_have_none and (mask[0] is None or hasattr(mask[0], "shape")):
        return mask[0]
    return ops.convert_to_tensor(mask, "bool")


def _shape_of(value):
    """Returns the shape of `value` as a tuple, or `None` if it has no shape."""
    return tuple(value.shape) if hasattr(value, "shape") else None


def _fits(shape, expected_shape):
    """Returns whether `shape` equals `expected_shape` wherever both sizes are known."""
    return (
        shape is not None
        and len(shape) == len(expected_shape)
        and all(
            None in sizes or len(set(sizes)) == 1
            for sizes in zip(shape, expected_shape, strict=True)
        )
    )
