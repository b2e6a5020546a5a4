"""`FastWeights` computes in chunks what the oracle computes step by step, with its gradients."""

import itertools

import keras
import numpy as np
import pytest
import reference
from cases import BACKEND, BATCH, FEATURES, TIGHT, UNITS, array, inputs_of, randomize

from fast_weights import FastWeights

SETTINGS = {"decay_rate": 0.8, "fast_learning_rate": 0.6, "epsilon": 1e-2}
MASK = np.array(
    [
        [True, False, True, True, False, True, False, False, True, True, False],
        [False, True, False, True, True, True, True, True, False, True, True],
    ]
)
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
        **settings: those of `FastWeights`.
    """

    def __init__(self, length, masked, activation="relu", **settings):
        self.settings = {**SETTINGS, "inner_steps": 1, "recurrence": "original", **settings}
        self.chunk_size = self.settings.pop("chunk_size", None)
        self.unroll = self.settings.pop("unroll", False)
        self.activation = activation
        self.mask = MASK[:, :length] if masked else None
        self.layer = FastWeights(
            UNITS,
            activation=activation,
            chunk_size=self.chunk_size,
            unroll=self.unroll,
            return_sequences=True,
            return_state=True,
            dtype="float64",
            **self.settings,
        )
        self.layer.build((BATCH, length, FEATURES))
        randomize(self.layer)
        rng = np.random.default_rng(6)
        self.arguments = [*map(array, self.layer.weights), inputs_of(length=length)]
        if masked:
            states = (BATCH, UNITS), (BATCH, UNITS**2)
            self.arguments += [rng.normal(size=shape) for shape in states]
        shapes = (BATCH, length, UNITS), (BATCH, UNITS), (BATCH, UNITS**2)
        # Random coefficients, so that no error cancels.
        self.coefficients = [rng.normal(size=shape) for shape in shapes]

    def run(self, *arguments):
        """Returns every h_t, the last h and the last A from the layer."""
        weights, (inputs, *states) = arguments[:5], arguments[5:]
        variables = zip(self.layer.trainable_variables, weights, strict=True)
        with keras.StatelessScope(state_mapping=list(variables)):
            mask = None if self.mask is None else keras.ops.convert_to_tensor(self.mask)
            return self.layer(inputs, mask=mask, initial_state=states or None)

    def oracle(self, *arguments):
        """Returns the same from the oracle."""
        names = [weight.name for weight in self.layer.weights]
        weights, (inputs, *states) = dict(zip(names, arguments[:5], strict=True)), arguments[5:]
        outputs, last, memory = [], [], []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(reference, "relu", ACTIVATIONS[self.activation])
            for b in range(BATCH):
                h, A = np.zeros(UNITS), np.zeros((UNITS, UNITS))
                if states:
                    h, A = states[0][b], states[1][b].reshape(UNITS, UNITS)
                for t, x in enumerate(inputs[b]):
                    if self.mask is None or self.mask[b, t]:
                        h, A = reference.fast_weights_step(weights, x, h, A, **self.settings)
                    outputs.append(h)
                last.append(h)
                memory.append(A.ravel())
        outputs = np.reshape(outputs, (BATCH, -1, UNITS))
        return outputs, np.array(last), np.array(memory)

    def gradients(self, compiled=False):
        """Returns the gradient of Σ results · coefficients for each argument."""

        def loss(*arguments):
            factors = map(keras.ops.convert_to_tensor, self.coefficients)
            pairs = zip(self.run(*arguments), factors, strict=True)
            return sum(keras.ops.sum(result * factor) for result, factor in pairs)

        tensors = list(map(keras.ops.convert_to_tensor, self.arguments))
        if BACKEND == "jax":
            import jax

            return jax.grad(loss, argnums=range(len(tensors)))(*tensors)
        if BACKEND == "torch":
            import torch

            tensors = [tensor.requires_grad_() for tensor in tensors]
            return torch.autograd.grad(loss(*tensors), tensors, materialize_grads=True)
        import tensorflow as tf

        @tf.function(jit_compile=True)
        def program(*tensors):
            with tf.GradientTape() as tape:
                tape.watch(tensors)
                value = loss(*tensors)
            return tape.gradient(value, tensors, unconnected_gradients="zero")

        return (program if compiled else program.python_function)(*tensors)

    def assert_exact(self, compiled=False):
        """Asserts that results equal the oracle's, and gradients its finite differences."""
        for result, expected in zip(
            self.run(*self.arguments), self.oracle(*self.arguments), strict=True
        ):
            np.testing.assert_allclose(array(result), expected, err_msg=str(vars(self)), **TIGHT)
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
            tolerance = {"rtol": 1e-3} if BACKEND == "torch" else {"rtol": 1e-5, "atol": 1e-6}
            np.testing.assert_allclose(slope, expected, err_msg=f"{i}, {vars(self)}", **tolerance)


# 11 steps are three chunks of 4, the last one padded by a step, or a single chunk. 3 steps are
# three chunks of 1 or a single chunk.
@pytest.mark.parametrize(("length", "sizes"), [(1, (1, 4)), (3, (1, 4)), (11, (4, 16))])
def test_all_combinations(length, sizes):
    """Catches a term of the gradient that is lost or wrong for one combination of settings."""
    for size, steps, recurrence, masked in itertools.product(
        sizes, (0, 1, 2), ("original", "paper"), (False, True)
    ):
        case = Case(length, masked, chunk_size=size, inner_steps=steps, recurrence=recurrence)
        case.assert_exact()


@pytest.mark.parametrize("recurrence", ["original", "paper"])
@pytest.mark.parametrize(
    "settings",
    [{"unroll": True}, {"activation": "elu"}, {"activation": "tanh"}, {"decay_rate": 0.0}],
    ids=str,
)
def test_gradients_of_settings(settings, recurrence):
    """Catches a wrong slope of an activation, a path without a gradient where the backend
    differentiates, and a power of λ = 0.
    """
    if BACKEND == "jax" and settings.get("activation") == "tanh":
        pytest.skip("Keras 3.15 computes `tanh` in float32 on JAX")
    Case(11, True, recurrence=recurrence, chunk_size=4, **settings).assert_exact()


@pytest.mark.parametrize(
    "settings",
    [
        {"recurrence": "paper", "inner_steps": 2},
        pytest.param({"unroll": True}, marks=pytest.mark.slow),
        pytest.param({"activation": "elu"}, marks=pytest.mark.slow),
    ],
    ids=str,
)
@pytest.mark.skipif(BACKEND != "tensorflow", reason="the other backends compile alike")
def test_compiled(settings):
    """Catches loops that only run eagerly."""
    Case(11, True, chunk_size=4, **settings).assert_exact(compiled=True)


@pytest.mark.parametrize("activation", ["sigmoid", "linear"])
def test_slopes(activation):
    """Catches a wrong slope of an activation."""
    Case(3, False, activation=activation, decay_rate=1.0).assert_exact()


@pytest.mark.skipif(BACKEND != "tensorflow", reason="tests a defect of TensorFlow")
@pytest.mark.parametrize("inner_steps", [1, 2])
def test_no_sum_of_three_tensors_between_chunks(inner_steps):
    """Catches a sum that fails in nested loops, such as those of `fit(steps_per_execution=...)`.

    TensorFlow turns it into an `AddN`, and if it is large, into a temporary variable, which exists
    already when the loop runs again: tensorflow/tensorflow#23780. Within a chunk, sums are small.
    """
    import tensorflow as tf
    from tensorflow.python.eager import context

    layer, inputs = FastWeights(8, inner_steps=inner_steps, chunk_size=3), tf.ones((4, 12, 2))
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
