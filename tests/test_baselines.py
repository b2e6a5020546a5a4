"""Linear attention and the delta rule, against float64 NumPy, one step at a time."""

import keras
import numpy as np
import pytest

from fast_weights.experiment.baselines import WIDTH, DeltaRule, LinearAttention

UNITS, LENGTH, FEATURES, BATCH = 4, 7, 5, 3


def silu(x):
    return x / (1 + np.exp(-x))


def elu_plus_1(x):
    return np.where(x > 0, x + 1, np.exp(x))


def reference(layer, sequence):
    """Returns the outputs of a layer for one sequence, (T, H), from S_t of every step."""
    weights = {one.name: np.asarray(one, dtype=np.float64) for one in layer.weights}
    state, total, outputs = np.zeros((UNITS, UNITS)), np.zeros(UNITS), []
    for t in range(len(sequence)):
        mixed = np.zeros(3 * UNITS)
        for lag in range(min(WIDTH, t + 1)):
            mixed += weights["filters"][WIDTH - 1 - lag] * (sequence[t - lag] @ weights["kernel"])
        query, key, value = np.split(silu(mixed), 3)
        if isinstance(layer, DeltaRule):
            query, key = query / np.linalg.norm(query), key / np.linalg.norm(key)
            beta = 1 / (1 + np.exp(-sequence[t] @ weights["beta_kernel"]))
            state += np.outer(key, beta * (value - key @ state))
            output = query @ state
        else:
            query, key = elu_plus_1(query), elu_plus_1(key)
            state += np.outer(key, value)
            total += key
            output = query @ state / (query @ total)
        outputs.append(weights["scale"] * output / np.sqrt((output**2).mean() + 1e-6))
    return np.array(outputs)


@pytest.mark.parametrize("layer_class", [LinearAttention, DeltaRule])
def test_outputs_are_those_of_the_equations(layer_class, tmp_path):
    """Catches a read of a later step, a write of another step's value, a lag of the convolution,
    and an argument that `get_config` loses.
    """
    rng = np.random.default_rng(0)
    sequences = rng.normal(size=(BATCH, LENGTH, FEATURES))
    layer = layer_class(UNITS, return_sequences=True)
    layer.build(sequences.shape)
    layer.set_weights([rng.normal(size=weight.shape) for weight in layer.weights])
    outputs = np.asarray(layer(sequences))
    expected = np.stack([reference(layer, sequence) for sequence in sequences])
    np.testing.assert_allclose(outputs, expected, rtol=2e-3, atol=1e-4)
    # A model of a file, with the weights of that layer.
    model = keras.Sequential([keras.Input((LENGTH, FEATURES)), layer_class(UNITS)])
    model.save(tmp_path / "model.keras")
    last = keras.models.load_model(tmp_path / "model.keras")
    last.set_weights(layer.get_weights())
    np.testing.assert_allclose(last(sequences), outputs[:, -1], rtol=1e-5, atol=1e-6)
