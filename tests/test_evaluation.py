"""Predictions, accuracy and traces of a model."""

import keras
import numpy as np
import pytest

from fast_weights.experiment import evaluation, task
from fast_weights.experiment.checkpoint import new_state
from fast_weights.experiment.errors import UserError


@pytest.fixture
def model(tiny_config):
    """An untrained RNN-LN-FW of two pairs."""
    return new_state(tiny_config).model


def test_prediction_is_the_most_likely_symbol(model):
    """Catches probabilities in the columns of other symbols, and an answer of another step."""
    text = "g5o8??g"
    logits = model(task.encode(text)[None].astype("int32")).numpy()[0].astype("float64")
    probabilities = np.exp(logits) / np.exp(logits).sum()
    trace = evaluation.trace_sequence(model, text, 2)
    for symbol, probability in zip(task.ALPHABET, probabilities, strict=True):
        assert trace.probability_of(symbol) == pytest.approx(probability, rel=1e-5)
    expected = task.ALPHABET[np.argmax(logits)]
    assert trace.prediction == expected
    assert evaluation.predict_text(model, text, 2) == expected


def test_accuracy_is_counted_by_the_queried_pair():
    """Catches accuracy of another pair: the model here knows the first pair only."""

    class KnowsFirstPair:
        def predict(self, tokens, **kwargs):
            return [[float(token == row[1]) for token in range(37)] for row in tokens]

    split = task.generate(400, 2, np.random.default_rng(0))
    accuracy, by_pair = evaluation.accuracy_by_pair(KnowsFirstPair(), split)
    assert by_pair[0] == 1
    assert by_pair[1] < 0.2
    assert by_pair[1] < accuracy < 1
    first = task.queried_pair(split.tokens) == 0
    _, by_pair = evaluation.accuracy_by_pair(
        KnowsFirstPair(), task.Split(split.tokens[first], split.targets[first])
    )
    assert by_pair[0] == 1
    assert np.isnan(by_pair[1])


@pytest.mark.parametrize("recurrence", ["original", "paper"])
def test_attention_is_by_the_symbol_whose_vector_is_read(tiny, recurrence):
    """Catches attention one symbol late: the paper's recurrence writes a step later."""
    model = new_state(tiny(recurrence=recurrence)).model
    trace = evaluation.trace_sequence(model, "g5o8??g", 2)
    cell = model.get_layer("rnn").cell
    kernel, recurrent_kernel, bias = (weight.numpy() for weight in cell.weights[:3])
    before = np.vstack([np.zeros(5), trace.hidden[:-1]])
    symbols = np.eye(37)[task.encode(trace.text)]
    preliminary = np.maximum(symbols @ kernel + bias + before @ recurrent_kernel, 0)
    for t in range(7):
        vectors = trace.hidden[:t] if recurrence == "paper" else preliminary[: t + 1]
        ages = np.arange(len(vectors))[::-1]
        expected = np.zeros(7)
        expected[: len(vectors)] = 0.5 * 0.95**ages * (vectors @ preliminary[t])
        np.testing.assert_allclose(trace.attention[t, 0], expected, rtol=1e-4, atol=1e-6)


def test_mean_attention_is_the_mean_by_queried_pair(model, monkeypatch):
    """Catches maps of another pair, sums in place of means, and a lost last batch."""
    monkeypatch.setattr(evaluation, "TRACE_BATCH", 5)
    split = task.generate(12, 2, np.random.default_rng(0))
    maps = evaluation.mean_attention(model, split)
    queried = task.queried_pair(split.tokens)
    for pair in range(2):
        single = [
            evaluation.trace_sequence(model, task.decode(tokens), 2).attention.sum(axis=1)
            for tokens in split.tokens[queried == pair]
        ]
        np.testing.assert_allclose(maps[pair], np.mean(single, axis=0), atol=1e-6)
    second = task.Split(split.tokens[queried == 1], split.targets[queried == 1])
    with pytest.raises(UserError, match="pair 1"):
        evaluation.mean_attention(model, second)


@pytest.mark.parametrize("model_name", ["CONTROL", "GRU-LN"])
def test_trace_without_fast_weights_has_the_hidden_states(tiny, model_name):
    """Catches states of another step, and a model without fast weights that cannot be traced."""
    model = new_state(tiny(model_name=model_name)).model
    trace = evaluation.trace_sequence(model, "g5o8??g", 2)
    assert trace.fast_weights is None
    assert trace.attention is None
    tokens = task.encode("g5o8??g")[None].astype("int32")
    layer = model.get_layer("rnn")
    last = layer(keras.ops.one_hot(tokens, 37)).numpy()[0]
    np.testing.assert_allclose(trace.hidden[-1], last, rtol=1e-5, atol=1e-6)
    assert trace.hidden.shape == (7, 5)
