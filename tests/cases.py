"""The cells under test, built with random weights, and what the oracle says of them.

Sizes are pairwise distinct, so that no transpose or mixed-up axis fits. Nothing here
or in the modules that use it names a backend, but for those that say so.
"""

import keras
import numpy as np
import pytest
import reference

from fast_weights import (
    ControlCell,
    FastWeightsAttentionCell,
    FastWeightsCell,
    LayerNormGRUCell,
    LayerNormRNNCell,
)

BATCH, FEATURES, UNITS, STEPS = 2, 4, 3, 5
FAST = {"inner_steps": 2, "decay_rate": 0.8, "fast_learning_rate": 0.6}
# A large epsilon: one that is lost or misplaced shows.
EPSILON = 1e-2


def _fast(cell, recurrence, *arguments):
    return lambda **kwargs: cell(
        UNITS, *arguments, **{"epsilon": EPSILON, "recurrence": recurrence, **FAST, **kwargs}
    )


SLOW = pytest.mark.slow
CELLS = {
    "control": lambda **kwargs: ControlCell(UNITS, **kwargs),
    "rnn_ln": lambda **kwargs: LayerNormRNNCell(UNITS, epsilon=EPSILON, **kwargs),
    "gru_original": lambda **kwargs: LayerNormGRUCell(UNITS, epsilon=EPSILON, **kwargs),
    "gru_standard": lambda **kwargs: LayerNormGRUCell(
        UNITS, gates="standard", epsilon=EPSILON, **kwargs
    ),
    "matrix": _fast(FastWeightsCell, "original"),
    "attention": _fast(FastWeightsAttentionCell, "original", STEPS + 2),
    "matrix_paper": _fast(FastWeightsCell, "paper"),
    "attention_paper": _fast(FastWeightsAttentionCell, "paper", STEPS + 2),
}
# For tests that take seconds a case: these always, and the others where there is time.
costly_cells = pytest.mark.parametrize(
    "name",
    [
        one if one in ("gru_original", "matrix", "attention") else pytest.param(one, marks=SLOW)
        for one in CELLS
    ],
)
BACKEND = keras.backend.backend()
# Keras 3.15 multiplies float64 matrices in float32 on PyTorch.
FLOAT32 = {"rtol": 1e-4, "atol": 1e-5}
TIGHT = FLOAT32 if BACKEND == "torch" else {"rtol": 1e-10, "atol": 1e-11}
FAST_CELLS = [name for name in CELLS if name.startswith(("matrix", "attention"))]


def tight(name):
    """The tolerance for a cell in float64: its tanh is of float32 outside TensorFlow."""
    return FLOAT32 if BACKEND != "tensorflow" and name.startswith("gru") else TIGHT


def built(name, features=FEATURES, **kwargs):
    """A cell with random weights: constant ones make a layer-norm cell output 0 everywhere."""
    cell = CELLS[name](**kwargs)
    cell.build((BATCH, features))
    randomize(cell)
    return cell


def randomize(layer, seed=3):
    """Gives a layer random weights, the same ones for the same shapes and seed."""
    rng = np.random.default_rng(seed)
    layer.set_weights([rng.normal(0.3, 0.7, weight.shape) for weight in layer.weights])


def weights_of(cell):
    return {weight.name: array(weight).astype(np.float64) for weight in cell.weights}


def array(tensor):
    return keras.ops.convert_to_numpy(tensor)


def inputs_of(dtype="float64", length=STEPS, seed=4):
    return np.random.default_rng(seed).normal(size=(BATCH, length, FEATURES)).astype(dtype)


def mask_of(*lengths):
    """(B, T): True for the first `lengths[b]` steps."""
    return np.arange(STEPS) < np.array(lengths)[:, None]


def layer_of(cell, **kwargs):
    """`keras.layers.RNN` around a cell, in the cell's precision."""
    return keras.layers.RNN(cell, dtype=cell.dtype_policy, **kwargs)


def oracle(name, cell, inputs, states=None, mask=None):
    """Outputs (B, T, H) and last states of the oracle; the second state is A, (B, H, H).

    `states` are h and, for fast weights, A. A masked step repeats the output before it.
    """
    weights = weights_of(cell)
    if name in FAST_CELLS:
        settings = {
            "inner_steps": cell.inner_steps,
            "decay_rate": cell.decay_rate,
            "fast_learning_rate": cell.fast_learning_rate,
            "epsilon": cell.epsilon,
            "recurrence": cell.recurrence,
        }

        def step(x, h, A):
            return reference.fast_weights_step(weights, x, h, A, **settings)

        shapes = [(UNITS,), (UNITS, UNITS)]
    else:
        plain = {
            "control": lambda x, h: reference.control_step(weights, x, h),
            "rnn_ln": lambda x, h: reference.rnn_ln_step(weights, x, h, EPSILON),
            "gru_original": lambda x, h: reference.gru_ln_step(weights, x, h, "original", EPSILON),
            "gru_standard": lambda x, h: reference.gru_ln_step(weights, x, h, "standard", EPSILON),
        }[name]

        def step(x, h):
            return (plain(x, h),)

        shapes = [(UNITS,)]
    outputs, last = [], []
    for b, example in enumerate(np.asarray(inputs, np.float64)):
        state = tuple(np.zeros(shape) for shape in shapes)
        if states is not None:
            state = tuple(part[b] for part in states)
        output, sequence = np.zeros(UNITS), []
        for t, x in enumerate(example):
            if mask is None or mask[b, t]:
                state = step(x, *state)
                output = state[0]
            sequence.append(output)
        outputs.append(sequence)
        last.append(state)
    return np.array(outputs), [np.array(part) for part in zip(*last, strict=True)]


def as_oracle_states(cell, states):
    """A layer's states as the oracle has them: A as a matrix, from either form."""
    states = list(states)
    if hasattr(cell, "fast_weights"):
        states[1] = cell.fast_weights(keras.ops.convert_to_tensor(states[1]))
    return [array(state) for state in states]


def random_states(cell, seed=5):
    """States that are not zero, flat as the cell takes them.

    The oldest vectors of an attention form are zero, so that `STEPS` more forget nothing.
    """
    rng = np.random.default_rng(seed)
    sizes = cell.state_size if isinstance(cell.state_size, list) else [cell.state_size]
    states = [rng.normal(size=(BATCH, size)).astype(cell.compute_dtype) for size in sizes]
    if hasattr(cell, "memory_size"):
        states[1][:, : STEPS * UNITS] = 0
    return states
