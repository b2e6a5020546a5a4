"""Blocks of batches: `BlockModel`, the order of the batches, and the metrics."""

import numpy as np
import pytest

from fast_weights.experiment import blocks, dataset
from fast_weights.experiment.blocks import BlockModel, num_blocks, training_blocks
from fast_weights.experiment.metrics import Accuracy, GroupAccuracy, cross_entropy
from fast_weights.experiment.models import BLOG_MODELS, build_model
from fast_weights.experiment.tasks import NO_ANSWER


def values_of(model):
    """Returns the values of all weights and of the optimizer."""
    return [one.numpy() for one in (*model.weights, *model.optimizer.variables)]


def fit_in_blocks(config, **options):
    """Returns a model after training, and the history of `fit`."""
    model = BlockModel(build_model(config), config.make_task().num_groups, **options)
    data = training_blocks(dataset.generate(config).training, config)
    epochs, steps = config.num_epochs, num_blocks(config)
    return model, model.fit(
        data, epochs=epochs, steps_per_epoch=steps, shuffle=False, verbose=0
    ).history


@pytest.mark.parametrize(
    ("changes", "unused"),
    [
        *(({"model_name": name}, []) for name in BLOG_MODELS),
        # Longer than the length up to which the loop over time is unrolled.
        ({"num_pairs": 16}, []),
        ({"inner_steps": 0}, ["gamma", "beta"]),
        ({"model_name": "GRU-LN", "gates": "standard"}, []),
        ({"recurrence": "paper", "inner_steps": 2}, []),
    ],
    ids=str,
)
def test_training_changes_every_weight_and_evaluation_none(tiny, changes, unused):
    """Catches a weight without a gradient, an evaluation that trains, and S = 0 that fails."""
    config = tiny(**changes)
    model = BlockModel(build_model(config), config.num_pairs)
    tokens, targets = (part[:8].astype("int32") for part in dataset.generate(config).training)
    initial = values_of(model)
    model.evaluate_batch(tokens, targets, np.zeros_like(targets))
    for one, value in zip(values_of(model), initial, strict=True):
        np.testing.assert_array_equal(one, value)
    model.update(tokens, targets)
    weights = zip(model.weights, initial, strict=False)
    assert [one.name for one, value in weights if np.abs(one - value).max() < 1e-4] == unused


@pytest.fixture(scope="module")
def whole_epochs(tiny):
    """The settings of 13 batches in an epoch, and the result with one block for each epoch."""
    config = tiny(model_name="CONTROL", num_training=111)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "POSSIBLE_BLOCKS", [1])
        return config, *fit_in_blocks(config)


def test_number_of_blocks_does_not_change_a_bit(whole_epochs, monkeypatch):
    """Catches an update that is lost or done twice between blocks, and a mean over blocks."""
    config, model, history = whole_epochs
    monkeypatch.setattr(blocks, "POSSIBLE_BLOCKS", [])
    monkeypatch.setattr(blocks, "BLOCKS_PER_EPOCH", 3)  # of 5, 5 and 3 batches
    other, expected = fit_in_blocks(config)
    assert history == expected
    for one, value in zip(values_of(model), values_of(other), strict=True):
        np.testing.assert_array_equal(one, value)


def test_blocks_equal_plain_fit(whole_epochs):
    """Catches an update, a loss or an accuracy that is not Keras's own."""
    config, model, history = whole_epochs
    plain, training = build_model(config), dataset.generate(config).training
    tokens, targets = (part[: 13 * 8].astype("int32") for part in training)
    expected = plain.fit(tokens, targets, 8, epochs=2, shuffle=False, verbose=0).history
    for name, values in expected.items():
        np.testing.assert_allclose(history[name], values, rtol=1e-5, err_msg=name)
    for one, value in zip(values_of(model), values_of(plain), strict=True):
        np.testing.assert_allclose(one, value, rtol=1e-3, atol=1e-6)


def test_sequence_counts_as_the_mean_over_its_answers():
    """Catches a sequence with many answers that outweighs the others, and a loss without one."""
    logits = np.random.default_rng(0).normal(size=(3, 4, 5)).astype("float32")
    targets = np.full((3, 4), NO_ANSWER)
    targets[0, 1], targets[1, :3] = 2, (4, 0, 1)  # the last has no answer
    log_probabilities = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    several = np.mean([log_probabilities[1, i, target] for i, target in enumerate((4, 0, 1))])
    expected = [-log_probabilities[0, 1, 2], -several, 0]
    np.testing.assert_allclose(cross_entropy(targets, logits), expected, rtol=1e-5)
    logits[1, 0, 4] = logits[0, 1, 2] = 9
    right = np.mean(logits[1, :3].argmax(axis=-1) == (4, 0, 1))
    assert Accuracy()(targets, logits).numpy() == pytest.approx((1 + right) / 3)


@pytest.mark.parametrize("shape", [(6,), (6, 4)])
def test_group_accuracy_counts_answers(shape):
    """Catches answers of another group, symbols without one, and 0% of a group without any."""
    rng, metric = np.random.default_rng(1), GroupAccuracy(3)
    targets, groups, hits = rng.integers(-1, 3, shape), rng.integers(0, 2, shape), []
    for _ in range(2):
        logits = rng.normal(size=(*shape, 3)).astype("float32")
        metric.update_state(targets, logits, groups)
        hits.append(logits.argmax(axis=-1) == targets)
    expected = [np.mean([hit[(groups == g) & (targets != -1)] for hit in hits]) for g in (0, 1)]
    found = list(metric.result().values())
    np.testing.assert_allclose(found, [*expected, np.nan], rtol=1e-6)
    assert list(metric.result()) == ["accuracy_1", "accuracy_2", "accuracy_3"]


def test_order_is_a_function_of_seed_and_epoch():
    """Catches an order that repeats in every epoch, or that a resumed run cannot draw again."""
    orders = [blocks.epoch_order(seed, epoch, 50) for seed in (0, 1) for epoch in (1, 2)]
    np.testing.assert_array_equal(orders[1], blocks.epoch_order(0, 2, 50))
    assert len({order.tobytes() for order in orders}) == 4
    assert all(sorted(order) == list(range(50)) for order in orders)


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("completed", [0, 2])
def test_blocks_follow_the_order_of_the_epoch(tiny, shuffle, completed):
    """Catches a flag without effect, targets in another order, and a wrong epoch on resume."""
    config = tiny(shuffle=shuffle, num_epochs=3)
    training = dataset.generate(config).training
    data = training_blocks(training, config, completed).unbatch().batch(12)
    found = list(data.as_numpy_iterator())
    assert len(found) == 3 - completed
    for epoch, (tokens, targets) in enumerate(found, start=completed + 1):
        order = blocks.epoch_order(0, epoch, 100)[:96] if shuffle else range(96)
        np.testing.assert_array_equal(tokens.reshape(96, -1), training.tokens[order])
        np.testing.assert_array_equal(targets.ravel(), training.targets[order])


@pytest.mark.parametrize("num_batches", [1, 7, 12, 13, 37])
def test_epoch_is_a_number_of_blocks(tiny, num_batches):
    """Catches `steps_per_epoch` of `fit` that ends an epoch early or late."""
    config = tiny(num_training=8 * num_batches, num_epochs=1)
    assert len(list(training_blocks(dataset.generate(config).training, config))) == (
        num_blocks(config)
    )
    assert 1 <= num_blocks(config) <= 20
