"""`FastWeights` computes in chunks what the oracle computes step by step, with its gradients."""

import itertools

import keras
import numpy as np
import pytest
import reference
from cases import BACKEND, FEATURES, FLOAT32, TIGHT, UNITS, array, gradients_of, randomize

from fast_weights import FastWeights, FastWeightsCell

BATCH, LENGTH = 3, 11
SETTINGS = {
    "inner_steps": 1,
    "decay_rate": 0.8,
    "fast_learning_rate": 0.3,
    "epsilon": 1e-2,
    "recurrence": "original",
}
# The second step is masked in one example, the last one in another.
MASK = np.array([[1, 0, 1, 1, 0, 1, 0, 0, 1, 1, 0], [0, 1] * 5 + [1], [1] * 5 + [0] + [1] * 5]) > 0
ACTIVATIONS = {
    "relu": reference.relu,
    "tanh": np.tanh,
    "sigmoid": reference.sigmoid,
    "linear": lambda values: values,
    "elu": lambda values: np.where(values > 0, values, np.expm1(values)),
}


class Case:
    """A layer with random weights, its arguments, and a scalar function of its results.

    Args:
        length: T.
        masked: whether the layer gets a mask and initial states.
        activation: a name.
        chunk_size, unroll: those of `FastWeights`.
        **settings: those of `FastWeightsCell`.
    """

    def __init__(
        self, length, masked, activation="relu", chunk_size=None, unroll=False, **settings
    ):
        self.settings = {**SETTINGS, **settings}
        self.description = (length, masked, activation, chunk_size, unroll, settings)
        self.activation = activation
        self.mask = MASK[:, :length] if masked else None
        self.options = {"return_sequences": True, "return_state": True, "dtype": "float64"}
        self.layer = FastWeights(
            UNITS,
            activation=activation,
            chunk_size=chunk_size,
            unroll=unroll,
            **self.settings,
            **self.options,
        )
        self.layer.build((BATCH, length, FEATURES))
        randomize(self.layer)
        rng = np.random.default_rng(6)
        self.names = [weight.name for weight in self.layer.weights]
        self.arguments = [*map(array, self.layer.weights), rng.normal(size=(BATCH, length, 4))]
        if masked:
            states = (BATCH, UNITS), (BATCH, UNITS**2)
            self.arguments += [rng.normal(size=shape) for shape in states]
        shapes = (BATCH, length, UNITS), (BATCH, UNITS), (BATCH, UNITS**2)
        # Random coefficients, so that no error cancels.
        self.coefficients = [rng.normal(size=shape) for shape in shapes]

    def run(self, *arguments):
        """Returns every h_t, the last h and the last A from the layer."""
        weights = arguments[: len(self.names)]
        inputs, *states = arguments[len(self.names) :]
        variables = zip(self.layer.trainable_variables, weights, strict=True)
        with keras.StatelessScope(state_mapping=list(variables)):
            mask = None if self.mask is None else keras.ops.convert_to_tensor(self.mask)
            return self.layer(inputs, mask=mask, initial_state=states or None)

    def oracle(self, *arguments):
        """Returns the same from the oracle."""
        weights = dict(zip(self.names, arguments, strict=False))
        inputs, *states = arguments[len(self.names) :]
        h, A = states or (np.zeros((BATCH, UNITS)), np.zeros((BATCH, UNITS**2)))
        A, outputs, f = A.reshape(BATCH, UNITS, UNITS), [], ACTIVATIONS[self.activation]
        for t in range(inputs.shape[1]):
            new_h, new_A = reference.fast_weights_step(
                weights, inputs[:, t], h, A, f=f, **self.settings
            )
            kept = np.ones(BATCH, bool) if self.mask is None else self.mask[:, t]
            h = np.where(kept[:, None], new_h, h)
            A = np.where(kept[:, None, None], new_A, A)
            outputs.append(h)
        return np.stack(outputs, axis=1), h, A.reshape(BATCH, -1)

    def gradients(self, compiled):
        """Returns the gradient of the sum of results times coefficients, for every argument."""

        def loss(*arguments):
            factors = map(keras.ops.convert_to_tensor, self.coefficients)
            pairs = zip(self.run(*arguments), factors, strict=True)
            return sum(keras.ops.sum(result * factor) for result, factor in pairs)

        def program(*tensors):
            return gradients_of(loss, tensors)

        if compiled:
            import tensorflow as tf

            program = tf.function(program, jit_compile=True)
        return program(*map(keras.ops.convert_to_tensor, self.arguments))

    def assert_exact(self, compiled=False, tolerance=TIGHT):
        """Asserts that results equal the oracle's, and gradients its finite differences."""
        for result, expected in zip(
            self.run(*self.arguments), self.oracle(*self.arguments), strict=True
        ):
            np.testing.assert_allclose(
                array(result), expected, err_msg=str(self.description), **tolerance
            )
        rng, step = np.random.default_rng(7), 1e-6
        for i, gradient in enumerate(self.gradients(compiled)):
            direction = rng.normal(size=np.shape(self.arguments[i]))
            ends = []
            for sign in (1, -1):
                moved = list(self.arguments)
                moved[i] = moved[i] + sign * step * direction
                results = zip(self.oracle(*moved), self.coefficients, strict=True)
                ends.append(sum(np.sum(result * factor) for result, factor in results))
            slope = np.sum(array(gradient) * direction)
            expected = (ends[0] - ends[1]) / (2 * step)
            loose = BACKEND == "torch" or tolerance is FLOAT32
            error = {"rtol": 1e-3} if loose else {"rtol": 1e-5, "atol": 1e-6}
            message = f"argument {i}, {self.description}"
            np.testing.assert_allclose(slope, expected, err_msg=message, **error)


# 11 steps are three chunks of 4, the last one padded by a step, or a single chunk. 3 steps are
# three chunks of 1.
@pytest.mark.parametrize(
    ("length", "size"),
    [
        (LENGTH, 16),
        pytest.param(3, 1, marks=pytest.mark.slow),
        pytest.param(LENGTH, 4, marks=pytest.mark.slow),
    ],
)
def test_all_combinations(length, size):
    """Catches a term of the gradient that is lost or wrong for one combination of settings."""
    for steps, recurrence, masked in itertools.product(
        (0, 1, 2), ("original", "paper"), (False, True)
    ):
        Case(
            length, masked, chunk_size=size, inner_steps=steps, recurrence=recurrence
        ).assert_exact()


@pytest.mark.parametrize("recurrence", ["original", "paper"])
@pytest.mark.parametrize(
    "settings",
    [
        *({"unroll": True}, {"decay_rate": 0.0}, {"activation": "linear", "decay_rate": 1.0}),
        *({"activation": name} for name in ("elu", "tanh", "sigmoid")),
    ],
    ids=str,
)
def test_gradients_of_settings(settings, recurrence):
    """Catches a wrong slope of an activation, a path without a gradient where the backend
    differentiates, and a power of λ = 0.
    """
    if BACKEND == "jax" and settings.get("activation") == "tanh":
        pytest.skip("Keras 3.15 computes `tanh` in float32 on JAX")
    Case(LENGTH, True, recurrence=recurrence, chunk_size=4, **settings).assert_exact()


@pytest.mark.parametrize("normalization", ["batch", "none"])
@pytest.mark.parametrize("unroll", [False, True], ids=["loop", "unrolled"])
def test_normalizations(normalization, unroll):
    """Catches statistics over the wrong axis, a lost epsilon, the gradient of layer normalization
    for another one, and a cell that differs from its layer.
    """
    settings = {"normalization": normalization, "inner_steps": 2, "activation": "sigmoid"}
    # In the statistics of a batch, the layer counts a masked step with zeros as its input, and
    # `keras.layers.RNN` with its padding.
    masked = normalization != "batch"
    case = Case(5, masked, chunk_size=2, unroll=unroll, **settings)
    # Keras computes moments and `sigmoid` of float64 in float32 outside TensorFlow.
    case.assert_exact(tolerance=TIGHT if BACKEND == "tensorflow" else FLOAT32)
    cell = FastWeightsCell(UNITS, activation="sigmoid", dtype="float64", **case.settings)
    layer = keras.layers.RNN(cell, unroll=unroll, **case.options)
    inputs, *states = case.arguments[len(case.names) :]
    layer.build(inputs.shape)
    layer.set_weights(case.layer.get_weights())
    # A masked first step returns h_0 in the layer, and zeros in Keras's loop.
    _, *ends = layer(inputs, mask=case.mask, initial_state=states or None)
    for end, expected in zip(ends, case.run(*case.arguments)[1:], strict=True):
        np.testing.assert_allclose(array(end), array(expected), **FLOAT32)
    names = ["kernel", "recurrent_kernel", "bias"]
    assert case.names == (names if normalization == "none" else [*names, "gamma", "beta"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {"recurrence": "paper", "inner_steps": 2},
        {"unroll": True},
        {"activation": "elu"},
        {"normalization": "batch"},
    ],
    ids=str,
)
@pytest.mark.skipif(BACKEND != "tensorflow", reason="the other backends compile alike")
def test_compiled(settings):
    """Catches loops that only run eagerly."""
    masked = settings.get("normalization") != "batch"  # see `test_normalizations`
    Case(LENGTH, masked, chunk_size=4, **settings).assert_exact(compiled=True)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="tests a defect of TensorFlow")
def test_no_sum_of_three_tensors_between_chunks():
    """Catches a sum that fails in nested loops, such as those of `fit(steps_per_execution=...)`.

    TensorFlow turns it into an `AddN`, and if it is large, into a temporary variable, which exists
    already when the loop runs again: tensorflow/tensorflow#23780. Within a chunk, sums are small.
    """
    import tensorflow as tf
    from tensorflow.python.eager import context

    layer, inputs = FastWeights(8, inner_steps=2, chunk_size=3), tf.ones((4, 12, 2))
    layer.build(inputs.shape)

    @tf.function
    def gradients():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(inputs))
        return tape.gradient(loss, layer.trainable_weights)

    with context.collect_graphs(optimized=True) as graphs:
        gradients()
    nodes = [node for graph in graphs for node in graph.node]
    nodes += [node for graph in graphs for one in graph.library.function for node in one.node_def]
    assert any("/body/" in node.name for node in nodes)
    sums = [node.name for node in nodes if node.op == "AddN"]
    assert all(name.count("/body/") == 2 for name in sums), sums
