"""Predictions and traces of a model, and mean attention."""

import keras
import numpy as np
import pytest

from fast_weights.experiment import evaluation
from fast_weights.experiment.config import Config
from fast_weights.experiment.errors import UserError
from fast_weights.experiment.models import build_model
from fast_weights.experiment.tasks import Split

TASK = Config(num_pairs=2).make_task()


@pytest.fixture
def model(tiny_config):
    """An untrained RNN-LN-FW of two pairs."""
    return build_model(tiny_config)


def test_prediction_is_the_most_likely_symbol(model):
    """Catches probabilities in the columns of other symbols, and an answer of another step."""
    text = "g5o8??g"
    logits = model(TASK.encode(text)[None].astype("int32")).numpy()[0].astype("float64")
    probabilities = np.exp(logits) / np.exp(logits).sum()
    trace = evaluation.trace_sequence(model, TASK, text)
    assert list(trace.positions) == [6]
    np.testing.assert_allclose(trace.probabilities, probabilities[None], rtol=1e-5)
    expected = TASK.vocabulary[np.argmax(logits)]
    assert trace.prediction == expected
    assert evaluation.predict_text(model, TASK, text) == expected


def test_every_query_of_a_sequence_is_answered(tiny):
    """Catches an answer of another position, and a probe that shows other answers than test.py."""
    config = tiny(task="multi-query-recall")
    model, task = build_model(config), config.make_task()
    text = "k1 v1 k2 v2 k2 v3 k1 k2"
    trace = evaluation.trace_sequence(model, task, text)
    logits = model(trace.tokens[None])[0].numpy()
    expected = [task.vocabulary[i] for i in logits[[4, 6, 7]].argmax(axis=1)]
    assert trace.prediction.split() == expected
    assert evaluation.predict_text(model, task, text).split() == expected
    assert trace.hidden.shape == (8, 5)
    split = task.generate(5, np.random.default_rng(0))
    assert evaluation.mean_attention(model, task, split).shape == (1, 8, 8)


@pytest.mark.parametrize("recurrence", ["original", "paper"])
def test_attention_is_by_the_symbol_whose_vector_is_read(tiny, recurrence):
    """Catches attention one symbol late: the paper's recurrence writes a step later."""
    model = build_model(tiny(recurrence=recurrence))
    trace = evaluation.trace_sequence(model, TASK, "g5o8??g")
    cell = model.get_layer("rnn").cell
    kernel, recurrent_kernel, bias = (weight.numpy() for weight in cell.weights[:3])
    before = np.vstack([np.zeros(5), trace.hidden[:-1]])
    symbols = np.eye(37)[TASK.encode(trace.text)]
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
    split = TASK.generate(12, np.random.default_rng(0))
    maps = evaluation.mean_attention(model, TASK, split)
    queried = TASK.groups(split)
    for pair in range(2):
        single = [
            evaluation.trace_sequence(model, TASK, TASK.decode(tokens)).attention.sum(axis=1)
            for tokens in split.tokens[queried == pair]
        ]
        np.testing.assert_allclose(maps[pair], np.mean(single, axis=0), atol=1e-6)
    second = Split(split.tokens[queried == 1], split.targets[queried == 1])
    with pytest.raises(UserError, match="pair 1"):
        evaluation.mean_attention(model, TASK, second)


@pytest.mark.parametrize("model_name", ["CONTROL", "GRU-LN"])
def test_trace_without_fast_weights_has_the_hidden_states(tiny, model_name):
    """Catches states of another step, and a model without fast weights that cannot be traced."""
    model = build_model(tiny(model_name=model_name))
    trace = evaluation.trace_sequence(model, TASK, "g5o8??g")
    assert trace.fast_weights is None
    assert trace.attention is None
    tokens = TASK.encode("g5o8??g")[None].astype("int32")
    layer = model.get_layer("rnn")
    last = layer(keras.ops.one_hot(tokens, 37)).numpy()[0]
    np.testing.assert_allclose(trace.hidden[-1], last, rtol=1e-5, atol=1e-6)
    assert trace.hidden.shape == (7, 5)
