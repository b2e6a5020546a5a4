"""Keras's loop over time, for steps that are functions instead of cells."""

import keras
from keras import ops


class _Cell:
    """Gives a function the interface of a cell, as `keras.layers.RNN` expects it."""

    def __init__(self, step, num_states):
        self.call = step
        self.state_size = [1] * num_states

    def __call__(self, inputs, states):
        return self.call(inputs, states)


def over_time(step, sequences, states, mask=None, **settings):
    """Runs a step over time.

    Args:
        step: takes the input of one time step, (B, D), and a list of states. Returns the
            output, a tensor or a list of tensors (B, ...), and a list of new states.
        sequences: (B, T, D).
        states: the list of states before the first step.
        mask: (B, T), or `None`.
        **settings: those of `keras.layers.RNN`.

    Returns:
        The last output, every output with time as the second axis, and the last states.
    """
    layer = keras.layers.RNN(_Cell(step, len(states)), name="loop", **settings)
    return layer.inner_loop(sequences, list(states), mask)


def over_numbers(function, states, number, reverse=False):
    """Calls a function with 0, 1, ... `number` - 1, or in reverse, and carries states along.

    `keras.ops.scan` would be shorter, but on TensorFlow its outputs must have the shapes of
    its states.

    Args:
        function: takes i, a scalar tensor, and a list of states. Returns a list of
            outputs, (B, ...), and a list of new states.
        states: the list of states before the first call.
        number: an int or a scalar tensor.
        reverse: whether i runs from `number` - 1 to 0.

    Returns:
        The outputs of all calls in the order of i, (B, `number`, ...) each, and the last states.
    """
    indices = ops.arange(number, dtype="int32")[None, :, None]
    _, outputs, states = over_time(
        lambda i, states: function(i[0, 0], states),
        ops.flip(indices, axis=1) if reverse else indices,
        states,
        return_sequences=True,
    )
    outputs = [ops.flip(output, axis=1) for output in outputs] if reverse else list(outputs)
    return outputs, list(states)
