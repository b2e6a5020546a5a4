"""The base class of the layers: `keras.layers.RNN` around a cell of one kind."""

from typing import Any, ClassVar

import keras
from keras import ops

from fast_weights.cells.base import RecurrentCell, Tensor, check_choice, drop
from fast_weights.layers.chunk import SLOPES
from fast_weights.layers.compiling import compiled
from fast_weights.layers.loop import over_time


def of_cell(name: str) -> property:
    """Returns a read-only property for a setting that the layer's cell holds."""

    def setting(layer: keras.layers.RNN) -> Any:
        return getattr(layer.cell, name)

    return property(setting, doc=f"The cell's `{name}`.")


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
        jit_compile: `"auto"` or `False`. With `"auto"` on TensorFlow, `fit`, `evaluate` and
            `predict` compile the loop over time with XLA if the length of the sequences is
            known, the model has no `train_step` of its own, and the layer is unrolled or has a
            custom gradient. XLA compiles for each batch size. With `False`, only
            `jit_compile` of `model.compile` decides. Default `"auto"`.
        activity_regularizer, name, dtype, trainable, autocast, input_shape, input_dim: as in
            every Keras layer.
        **arguments: arguments of the cell.
    """

    cell_class: ClassVar[type[RecurrentCell]]

    def __init__(
        self,
        units: int,
        *,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        zero_output_for_mask: bool = False,
        jit_compile: bool | str = "auto",
        activity_regularizer: Any = None,
        name: str | None = None,
        dtype: Any = None,
        trainable: bool = True,
        autocast: bool = True,
        **arguments: Any,
    ):
        # Passed to Keras only if given: it rejects a call with both names, even if one is `None`.
        names = [name for name in ("input_shape", "input_dim") if name in arguments]
        shape = {name: arguments.pop(name) for name in names}
        super().__init__(
            self.cell_class(units, name="cell", dtype=dtype, trainable=trainable, **arguments),
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
            autocast=autocast,
            **shape,
        )
        if jit_compile is not False:
            check_choice("jit_compile", jit_compile, ("auto", False))
        self.jit_compile = "auto" if jit_compile else False
        self.input_spec = keras.layers.InputSpec(ndim=3)

    def build(self, sequences_shape: tuple, initial_state_shape: Any = None) -> None:
        super().build(sequences_shape, initial_state_shape)
        self.input_spec = keras.layers.InputSpec(ndim=3, axes={-1: sequences_shape[-1]})

    def call(
        self,
        sequences: Tensor,
        initial_state: list[Tensor] | None = None,
        mask: Any = None,
        training: bool = False,
        sequences_mask: Tensor | None = None,
    ) -> Any:
        """Runs the cell over time.

        Args:
            sequences: (B, T, D), with at least one step.
            initial_state: a list with one tensor (B, n) for each n in the cell's
                `state_size`. Default `None`: zeros.
            mask: (B, T) or (B, T, 1), bool, or a list of that mask and `None` for each
                state. A masked step leaves the states unchanged. Default `None`.
            training: whether to apply dropout. Default `False`.
            sequences_mask: used if `mask` is `None`. Keras passes the mask that
                `sequences` carry as `mask`, but in a call with an `initial_state`
                as `sequences_mask`. Default `None`.

        Returns:
            The last h_t, (B, H), or with `return_sequences` every h_t, (B, T, H).
            With `return_state`, a tuple of that and the last states.
        """
        if sequences.shape[1] == 0:
            raise ValueError(
                "`sequences` must have at least one step. Received: sequences of shape "
                f"{tuple(sequences.shape)}"
            )
        mask = mask_of(sequences_mask if mask is None else mask, sequences)
        if initial_state is not None:
            check_states(self.cell, initial_state, sequences.shape[0])
        elif not self.stateful:
            initial_state = self._zero_states(ops.shape(sequences)[0])
        return super().call(sequences, initial_state, mask, training)

    def _zero_states(self, batch_size):
        """Returns the states that a call without states starts from."""
        return self.get_initial_state(batch_size)

    def _maybe_config_dropout_masks(self, cell, inputs, states):
        """Does nothing. `inner_loop` draws the masks, and only in training, unlike Keras."""

    def inner_loop(
        self,
        sequences: Tensor,
        initial_state: list[Tensor],
        mask: Tensor | None,
        training: bool = False,
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        # Drawn once for all steps, outside of the loop, which XLA may compile separately.
        input_mask, recurrent_mask = self.cell.dropout_masks(
            sequences[:, 0], initial_state[0], training
        )
        if input_mask is not None:
            sequences = drop(sequences, input_mask[:, None])

        def loop(sequences, states, mask, recurrent_mask):
            if mask is not None:
                sequences = without_padding(sequences, mask)
            return self.loop(sequences, list(states), mask, recurrent_mask)

        # With an unknown length, XLA would compile again for each length.
        if self.jit_compile and self._can_compile and sequences.shape[1] is not None:
            loop = compiled(loop, self)
        # By a cast, because the states of a stateful layer are variables, which a function that XLA
        # compiles cannot take.
        states = tuple(ops.cast(state, self.cell.compute_dtype) for state in initial_state)
        return loop(sequences, states, mask, recurrent_mask)

    @property
    def _can_compile(self) -> bool:
        """Whether XLA can compile `loop` separately from the rest of the model.

        TensorFlow's gradient of a loop passes lists from the compiled forward pass to the
        compiled backward pass, which XLA does not support. An activation of a user may have
        operations that XLA lacks.
        """
        return self.unroll and self.activation in list(SLOPES)

    def loop(
        self,
        sequences: Tensor,
        initial_state: list[Tensor],
        mask: Tensor | None,
        recurrent_mask: Tensor | None,
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Runs all steps. Returns the last output, all outputs and the last states."""
        cell = self.cell

        def step(inputs, states):
            projected = cell.project(inputs) if self.unroll else inputs
            return cell.step(projected, states, recurrent_mask)

        # Without `unroll`, one product with W_x serves the whole sequence. It would not make an
        # unrolled program faster, because XLA fuses the products with the rest of the steps.
        inputs = sequences if self.unroll else cell.project(sequences)
        last, outputs, states = over_time(
            step,
            inputs,
            initial_state,
            mask,
            return_sequences=self.return_sequences,
            go_backwards=self.go_backwards,
            stateful=self.stateful,
            unroll=self.unroll,
        )
        if mask is not None and self.go_backwards:
            mask = ops.flip(mask, axis=1)
        return *self._zero_outputs(last, outputs, mask), states

    def _zero_outputs(self, last, outputs, mask):
        """Returns both outputs, with zeros for masked steps if `zero_output_for_mask` is set.

        Under `unroll`, Keras 3.15 zeroes the wrong outputs with `go_backwards`, and no outputs
        on JAX. A related issue is still open: keras-team/keras#17596.

        Args:
            last: (B, H).
            outputs: (B, T, H), or (B, 1, H) without `return_sequences`.
            mask: (B, T), in the order in which the layer processes the steps.
        """
        if mask is None or not self.zero_output_for_mask:
            return last, outputs
        last = ops.where(mask[:, -1:], last, ops.zeros_like(last))
        kept = (mask if self.return_sequences else mask[:, -1:])[:, :, None]
        return last, ops.where(kept, outputs, ops.zeros_like(outputs))

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
    use_bias = of_cell("use_bias")
    dropout = of_cell("dropout")
    recurrent_dropout = of_cell("recurrent_dropout")
    seed = of_cell("seed")

    def get_config(self) -> dict[str, Any]:
        config = {**self.cell.get_config(), **super().get_config()}
        config["jit_compile"] = self.jit_compile
        del config["cell"]
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "RecurrentLayer":
        return cls(**config)


def check_states(cell, states, batch_size):
    """Raises `ValueError` unless `states` has one (B, n) for each n in the cell's `state_size`."""
    states = states if isinstance(states, list | tuple) else [states]
    shapes = [tuple(one.shape) if hasattr(one, "shape") else None for one in states]
    expected = [(batch_size, size) for size in keras.tree.flatten(cell.state_size)]
    if len(shapes) != len(expected) or not all(map(_fits, shapes, expected)):
        named = ", ".join(f"({batch_size or 'batch'}, {size})" for _, size in expected)
        raise ValueError(
            f"`initial_state` must have the shapes {named} of {type(cell).__name__}'s states. "
            f"Received: {shapes}"
        )


def mask_of(mask, sequences):
    """Returns the mask of the sequences as (B, T), bool, or `None`.

    Args:
        mask: a tensor, `None`, or the list that Keras makes of the mask of the sequences and
            `None` for each state.
        sequences: (B, T, D).

    Raises:
        ValueError: if the shape of the mask does not fit.
    """
    if isinstance(mask, list | tuple) and mask:
        mask = mask[0]
    if mask is None:
        return None
    mask = ops.cast(ops.convert_to_tensor(mask), "bool")
    shape, expected = tuple(mask.shape), tuple(sequences.shape[:2])
    if not (_fits(shape, expected) or _fits(shape, (*expected, 1))):
        raise ValueError(
            "`mask` must have shape (batch, time), like the sequences. Received: a mask of "
            f"shape {shape} for sequences of shape {tuple(sequences.shape)}"
        )
    return mask if len(shape) == 2 else ops.squeeze(mask, axis=2)


def without_padding(sequences, mask):
    """Returns the sequences, (B, T, D), with zeros in the steps that `mask`, (B, T), excludes.

    Padding may be NaN or infinite. The backend discards the outputs of masked steps. But in the
    backward pass, it multiplies their gradients by 0, and 0 times NaN is NaN.
    """
    return ops.where(mask[:, :, None], sequences, ops.zeros_like(sequences))


def _fits(shape, expected):
    """Returns whether `shape` equals `expected` wherever both sizes are known."""
    if shape is None or len(shape) != len(expected):
        return False
    return all(None in pair or pair[0] == pair[1] for pair in zip(shape, expected, strict=True))
