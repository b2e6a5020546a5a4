"""The network of the paper's table 1: its layers, schedule, weight decay and test sequences."""

import keras
import numpy as np
import pytest

from fast_weights.experiment.config import Config
from fast_weights.experiment.models import build_model
from fast_weights.experiment.optimizer import learning_rate

PAPER = {
    "network": "paper",
    "recurrence": "paper",
    "learning_rate_schedule": "cosine",
    "warmup_steps": 4,
    "num_test": 24,
    "shuffle": True,
    "units": 6,
}
MODEL_NAMES = ("IRNN", "LSTM", "A-LSTM", "RNN-LN-FW")


@pytest.fixture
def paper(tiny):
    """Returns a configuration of the paper's network that trains in seconds."""
    return lambda **changes: tiny(**{**PAPER, **changes})


def test_defaults_are_those_of_the_paper():
    """Catches a setting of the blog's network under the name of the paper's."""
    config = Config.with_defaults(network="paper")
    assert (config.num_pairs, config.batch_size, config.num_updates) == (4, 128, 149_952)
    sizes = config.num_training, config.num_validation, config.num_test
    assert sizes == (100_000, 10_000, 20_000)
    assert (config.decay_rate, config.fast_learning_rate, config.inner_steps) == (0.9, 0.5, 1)
    assert (config.recurrence, config.shuffle) == ("paper", True)
    assert config.changes() == {"network": "paper"}
    assert Config.with_defaults() == Config()
    constant = Config.with_defaults(network="paper", learning_rate_schedule="constant")
    assert constant.warmup_steps == 0


@pytest.mark.parametrize("model_name", MODEL_NAMES)
def test_layers(paper, model_name):
    """Catches a wrong size, a missing activation and a wrong initial weight."""
    model = build_model(paper(model_name=model_name))
    hidden = {"A-LSTM": 18}.get(model_name, 6)
    names = ("embedding", "expand", "relus", "logits")
    shapes = [model.get_layer(name).kernel.shape for name in names]
    assert shapes == [(37, 50), (50, 100), (hidden, 100), (100, 37)]
    activations = [model.get_layer(name).activation for name in names[1:]]
    assert activations == [keras.activations.relu] * 2 + [keras.activations.linear]
    assert not model.get_layer("embedding").use_bias
    embedding = model.get_layer("embedding").kernel.numpy()
    assert embedding.std() == pytest.approx(0.5, rel=0.05)
    expand = np.abs(model.get_layer("expand").kernel.numpy())
    assert 0.95 * np.sqrt(2 / 50) < expand.max() <= np.sqrt(2 / 50)
    if model_name == "IRNN":
        kernel = model.get_layer("rnn").cell.recurrent_kernel.numpy()
        np.testing.assert_array_equal(kernel, 0.5 * np.eye(6))


def test_learning_rate_follows_warm_up_and_cosine(paper):
    """Catches a schedule that restarts each epoch, or that ends too early or too late."""
    config = paper(num_epochs=2, warmup_steps=4, learning_rate=0.1)
    schedule = learning_rate(config)
    last = config.num_updates
    assert last == 24
    expected = [0, 0.05, 0.1, 0.05, 0]
    steps = [0, 2, 4, 4 + (last - 4) // 2, last]
    np.testing.assert_allclose([schedule(step) for step in steps], expected, atol=1e-7)


def test_weight_decay_spares_biases_and_gains(paper):
    """Catches decay of a bias, and decay that the gradient's moments rescale."""
    config = paper(learning_rate_schedule="constant", warmup_steps=0, weight_decay=0.5)
    model = build_model(config)
    before = {one.path: one.numpy() for one in model.weights}
    zeros = [np.zeros(one.shape, "float32") for one in model.weights]
    model.optimizer.apply(zeros)
    kept = 1 - config.learning_rate * config.weight_decay
    for weight in model.weights:
        decays = weight.name.endswith("kernel")
        expected = before[weight.path] * (kept if decays else 1)
        np.testing.assert_allclose(weight.numpy(), expected, rtol=1e-6, err_msg=weight.path)
