"""`build_model` returns a Keras model like any other."""

import keras
import numpy as np
import tensorflow as tf

from fast_weights.experiment import dataset, metrics
from fast_weights.experiment.models import build_model
from fast_weights.experiment.tasks import NO_ANSWER


def expected_results(targets, logits):
    """Returns loss and accuracy of sequences with equally many answers."""
    logits, targets = logits[targets != NO_ANSWER], targets[targets != NO_ANSWER]
    log_sum = np.log(np.exp(logits.astype("float64")).sum(axis=1))
    losses = log_sum - logits[np.arange(len(targets)), targets]
    return losses.mean(), (logits.argmax(axis=1) == targets).mean()


def test_model_is_a_keras_model(tiny, tmp_path):
    """Catches a model that only `train` can use, a lost last batch, and a file without a loss."""
    config = tiny(model_name="CONTROL", task="multi-query-recall", num_training=12)
    tokens, targets = (part.astype("int32") for part in dataset.generate(config).training)
    data = tf.data.Dataset.from_tensor_slices((tokens, targets)).batch(8)
    model = build_model(config)
    initial = model.get_weights()
    model.fit(data, epochs=2, verbose=0)
    assert model.optimizer.iterations == 4
    assert all(np.any(one != old) for one, old in zip(model.weights, initial, strict=True))
    logits = model.predict(tokens, batch_size=8, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    found = loaded.evaluate(tokens, targets, 8, verbose=0)
    np.testing.assert_allclose(found, expected_results(targets, logits), rtol=1e-5)
    assert loaded.optimizer.global_clipnorm == config.max_gradient_norm
    for one, other in zip(loaded.optimizer.variables, model.optimizer.variables, strict=True):
        np.testing.assert_array_equal(one, other)


def test_targets_in_a_column():
    """Catches one target of a sequence, (B, 1), that is taken for several answers."""
    logits = keras.ops.convert_to_tensor(np.random.default_rng(0).normal(size=(4, 5)))
    targets = np.array([0, 3, 1, 4])
    for function in (metrics.cross_entropy, metrics.accuracy):
        column = function(keras.ops.convert_to_tensor(targets[:, None]), logits)
        np.testing.assert_array_equal(column, function(targets, logits))


def test_initial_weights_are_those_of_the_seed(tiny):
    """Catches weights that depend on what was drawn before, or that ignore the seed."""
    expected = build_model(tiny(seed=1)).get_weights()
    keras.random.normal((3,))
    for one, other in zip(build_model(tiny(seed=1)).get_weights(), expected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert np.any(build_model(tiny(seed=2)).get_weights()[0] != expected[0])
