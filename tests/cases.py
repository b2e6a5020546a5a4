"""The cells and layers under test, with random weights, and the oracle's results for them.

Sizes are pairwise distinct, so that a transpose or a swapped axis does not fit. Only the
modules that name TensorFlow need it; the others run on any backend of Keras.
"""

import keras
import numpy as np
import pytest
import reference

import fast_weights

BATCH, FEATURES, UNITS, STEPS = 2, 4, 6, 5
# A large epsilon, so that a lost or misplaced one shows.
NORM = {"epsilon": 1e-2}
FAST = {"inner_steps": 2, "decay_rate": 0.8, "fast_learning_rate": 0.6, **NORM}
PAPER = {**FAST, "recurrence": "paper"}
# One head, so that the output has `UNITS` numbers as that of the others.
# `test_associative_lstm.py` has more.
ASSOCIATIVE = {"num_copies": 3, "num_heads": 1}
# No two sizes are equal.
HEADS = {"num_heads": 3, "key_size": 8, "value_size": 7, "convolution_size": 3, **NORM}
SETTINGS = {
    "ControlCell": {},
    "LayerNormRNNCell": NORM,
    "LayerNormGRUCell": NORM,
    "LayerNormGRUCell-standard": {"gates": "standard", **NORM},
    "AssociativeLSTMCell": ASSOCIATIVE,
    "FastWeightsCell": FAST,
    "FastWeightsCell-paper": PAPER,
    "LinearAttentionCell": HEADS,
    "DeltaNetCell": {"use_output_gate": True, "use_bias": True, **HEADS},
    "GatedDeltaNetCell": HEADS,
    "Control": {},
    "LayerNormRNN": NORM,
    "AssociativeLSTM": ASSOCIATIVE,
    "LayerNormGRU": {"gates": "standard", **NORM},
    "FastWeights": FAST,
    # Three chunks of two steps, the last of which is cut.
    "FastWeights-chunks": {"chunk_size": 2, **PAPER},
    "LinearAttention": {"chunk_size": 3, **HEADS},
    "DeltaNet": HEADS,
    "GatedDeltaNet-chunks": {"chunk_size": 2, **HEADS},
}
CELLS = [name for name in SETTINGS if "Cell" in name]
LAYERS = [name for name in SETTINGS if "Cell" not in name]
FAST_CELLS = [name for name in CELLS if "FastWeights" in name]
LINEAR = [name for name in SETTINGS if "Attention" in name or "Delta" in name]
# Those whose states stay in float32.
MATRIX_CELLS = [name for name in CELLS if name in FAST_CELLS + LINEAR]
all_cases = pytest.mark.parametrize("name", SETTINGS)
all_cells = pytest.mark.parametrize("name", CELLS)
all_layers = pytest.mark.parametrize("name", LAYERS)
# A layer with one state, one with two, and those that work in chunks: for behavior that a base
# class gives to all of them.
SOME_LAYERS = ["LayerNormGRU", "AssociativeLSTM", "FastWeights-chunks", "GatedDeltaNet-chunks"]
some_layers = pytest.mark.parametrize("name", SOME_LAYERS)
fast_cells = pytest.mark.parametrize("name", FAST_CELLS)
needs_litert = pytest.mark.skipif(
    tuple(map(int, keras.__version__.split(".")[:2])) < (3, 13), reason="export to LiteRT"
)
unrolled = pytest.mark.parametrize("unroll", [False, True], ids=["loop", "unrolled"])


def costly(names, always):
    """Parametrizes over `names`; those that are not in `always` are slow."""
    slow = pytest.mark.slow
    cases = [name if name in always else pytest.param(name, marks=slow) for name in names]
    return pytest.mark.parametrize("name", cases)


BACKEND = keras.backend.backend()


def skip_masked_cell(name):
    """Skips a test of a mask if Keras cannot apply it around the cell of a case.

    For a masked step, Keras 3.15 takes the first state for the last output on JAX.
    """
    if BACKEND == "jax" and name in LINEAR and name in CELLS:
        pytest.skip("the first state is not the output")


# Keras 3.15 multiplies float64 matrices in float32 on PyTorch.
FLOAT32 = {"rtol": 1e-4, "atol": 1e-5}
TIGHT = FLOAT32 if BACKEND == "torch" else {"rtol": 1e-10, "atol": 1e-11}

# Neither reads the same backwards.
HOLES = np.array([[True, False, True, True, False], [False, True, False, True, True]])
PADDED = np.array([[True] * 5, [True] * 2 + [False] * 3])


def kind_of(name):
    """Returns the class of a case."""
    return getattr(fast_weights, name.split("-")[0])


def layer_of(name, /, cell=None, dtype="float64", **arguments):
    """Returns a layer with random weights: of the case, or `keras.layers.RNN` around its cell.

    Args:
        name: a case.
        cell: more arguments of the cell.
        dtype: of the layer and of its cell.
        **arguments: those of `keras.layers.RNN`.
    """
    settings = {**SETTINGS[name], **(cell or {}), "dtype": dtype}
    if name in LAYERS:
        layer = kind_of(name)(UNITS, **settings, **arguments)
    else:
        layer = keras.layers.RNN(kind_of(name)(UNITS, **settings), dtype=dtype, **arguments)
    layer.build((BATCH, STEPS, FEATURES))
    return randomize(layer)


def cell_of(name, dtype="float64", features=FEATURES, **settings):
    """Returns a built cell with random weights, the same as those of `layer_of`."""
    cell = kind_of(name)(UNITS, **{**SETTINGS[name], "dtype": dtype, **settings})
    cell.build((BATCH, features))
    return randomize(cell)


def randomize(layer, seed=3):
    """Gives a layer random weights: with the initial ones, layer normalization hides faults."""
    rng = np.random.default_rng(seed)
    layer.set_weights([rng.normal(0.15, 0.45, weight.shape) for weight in layer.weights])
    return layer


def array(tensor):
    return keras.ops.convert_to_numpy(tensor)


def weights_of(layer):
    return {weight.name: array(weight).astype(np.float64) for weight in layer.weights}


def inputs_of(dtype="float64", length=STEPS, seed=4):
    return np.random.default_rng(seed).normal(size=(BATCH, length, FEATURES)).astype(dtype)


def random_states(cell, seed=5):
    """Returns random states, flat as the cell takes them."""
    rng = np.random.default_rng(seed)
    sizes = cell.state_size if isinstance(cell.state_size, list) else [cell.state_size]
    return [rng.normal(size=(BATCH, size)).astype(cell.compute_dtype) for size in sizes]


def oracle_states(states):
    """Returns a cell's states as the oracle has them, with A as a matrix."""
    hidden, *memory = (array(state) for state in states)
    is_matrix = memory and memory[0].shape == (BATCH, UNITS**2)
    return [hidden, *(A.reshape(BATCH, UNITS, UNITS) if is_matrix else A for A in memory)]


def step_of(name, weights, **arguments):
    """Returns the oracle's step of a case, with the settings of the table above and `arguments`."""
    family = name.split("-")[0].removesuffix("Cell")
    step = {
        "Control": reference.control_step,
        "LayerNormRNN": reference.layer_norm_rnn_step,
        "LayerNormGRU": reference.layer_norm_gru_step,
        "AssociativeLSTM": reference.associative_lstm_step,
        "FastWeights": reference.fast_weights_step,
        "LinearAttention": reference.linear_step,
        "DeltaNet": reference.linear_step,
        "GatedDeltaNet": reference.linear_step,
    }[family]
    settings = {k: v for k, v in SETTINGS[name].items() if k != "chunk_size"} | arguments
    if name in LINEAR:
        is_delta = "Delta" in name
        settings = {
            "num_heads": HEADS["num_heads"],
            "epsilon": HEADS["epsilon"],
            "rule": reference.delta_rule if is_delta else reference.linear_attention_rule,
            "feature_map": "l2" if is_delta else "elu",
            **arguments,
        }
    return lambda x, *state: step(weights, x, *state, **settings)


def oracle(name, layer, inputs, states=None, mask=None):
    """Returns the oracle's outputs, (B, T, H), and last states.

    Args:
        name: the case.
        layer: its layer or cell, for the weights.
        inputs: (B, T, D).
        states: h and, for fast weights, A; for a linear memory, S and the window. Default `None`:
            zeros.
        mask: (B, T). A masked step repeats the output before it; the first one is zero.
    """
    step, outputs, last = step_of(name, weights_of(layer)), [], []
    # Here, a step of a linear memory takes and returns h, which is not a state.
    states_from = int(name in LINEAR)
    shapes = [(UNITS,)]
    if "FastWeights" in name:
        shapes.append((UNITS, UNITS))
    if "Associative" in name:
        shapes.append((ASSOCIATIVE["num_copies"] * UNITS,))
    if name in LINEAR:
        sizes = getattr(layer, "cell", layer).state_size
        states = [np.zeros((BATCH, n)) for n in sizes] if states is None else states
        states = [np.zeros((BATCH, UNITS)), *states]
    elif states is None:
        states = [np.zeros((BATCH, *shape)) for shape in shapes]
    for b, example in enumerate(np.asarray(inputs, np.float64)):
        state = [part[b] for part in states]
        sequence = [np.zeros(UNITS)]
        for t, x in enumerate(example):
            if mask is None or mask[b, t]:
                state = step(x, *state)
                sequence.append(state[0])
            else:
                sequence.append(sequence[-1])
        outputs.append(sequence[1:])
        last.append(state[states_from:])
    return np.array(outputs), [np.array(part) for part in zip(*last, strict=True)]


def gradients_of(function, tensors):
    """Returns the gradient of a scalar function for each of its tensors, on any backend."""
    if BACKEND == "jax":
        import jax

        return jax.grad(function, tuple(range(len(tensors))))(*tensors)
    if BACKEND == "torch":
        import torch

        leaves = [tensor.requires_grad_() for tensor in tensors]
        options = {"create_graph": True, "materialize_grads": True}
        return torch.autograd.grad(function(*leaves), leaves, **options)
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(tensors)
        value = function(*tensors)
    return tape.gradient(value, tensors, unconnected_gradients="zero")


def assert_close(name, outputs, expected):
    """Asserts equality up to the rounding of the backend."""
    # Keras computes `tanh` and `sigmoid` of float64 in float32 outside TensorFlow.
    loose = BACKEND != "tensorflow" and ("GRU" in name or "LSTM" in name)
    np.testing.assert_allclose(array(outputs), expected, **(FLOAT32 if loose else TIGHT))
