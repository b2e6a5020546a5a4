"""Predictions and traces of a model, and mean attention."""

import keras
import numpy as np
import pytest

from fast_weights import LinearAttention, trace_memory
from fast_weights.experiment import evaluation, plots
from fast_weights.experiment.config import Config
from fast_weights.experiment.errors import UserError
from fast_weights.experiment.models import build_model
from fast_weights.experiment.tasks import Split

TASK = Config(num_pairs=2).make_task()


@pytest.fixture
def model(tiny_config):
    """An untrained RNN-LN-FW of two pairs."""
    return build_model(tiny_config)


@pytest.mark.parametrize(
    ("task", "text", "positions"),
    [
        ("associative-retrieval", "g5o8??g", [6]),
        ("multi-query-recall", "k1 v1 k2 v2 k2 v3 k1 k2", [4, 6, 7]),
    ],
)
def test_every_query_of_a_sequence_is_answered(tiny, task, text, positions):
    """Catches probabilities of other symbols or positions, and another prediction in a trace."""
    config = tiny(task=task)
    model, task = build_model(config), config.make_task()
    trace = evaluation.trace_sequence(model, task, text)
    assert list(trace.positions) == positions
    logits = np.atleast_2d(model(trace.tokens[None])[0].numpy().astype("float64"))
    logits = logits[positions] if len(positions) > 1 else logits
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(trace.probabilities, probabilities, rtol=1e-5)
    expected = [task.vocabulary[i] for i in logits.argmax(axis=1)]
    assert (
        trace.prediction.split() == evaluation.predict_text(model, task, text).split() == expected
    )


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


def test_heads_are_drawn_like_inner_steps(tiny, tmp_path):
    """Catches heads that the figures of the memory mix up, and a model that they refuse."""
    layer = LinearAttention(6, num_heads=2, value_size=4, name="rnn")
    model = build_model(tiny(model_name="LINEAR-ATTENTION", units=6), layer)
    trace = evaluation.trace_sequence(model, TASK, "g5o8??g")
    expected = trace_memory(layer, np.eye(37, dtype="float32")[TASK.encode(trace.text)][None])
    for head in range(2):
        rows = trace.fast_weights[:, 3 * head : 3 * head + 3]
        np.testing.assert_array_equal(rows, expected.fast_weights[0, :, head])
        np.testing.assert_array_equal(trace.attention[:, head], expected.attention[0, :, head])
    assert trace.fast_weights.shape == (7, 6, 4)
    assert plots.plot_memory(trace, tmp_path / "memory.svg").read_text().count("head 2") == 1


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


@pytest.mark.parametrize(
    "changes", [{"model_name": "CONTROL"}, {"model_name": "GRU-LN"}, {"network": "paper"}], ids=str
)
def test_trace_has_the_hidden_states(tiny, changes):
    """Catches states of another step, one-hot vectors in the place of the embedding, and a model
    without fast weights that cannot be traced.
    """
    model = build_model(tiny(**changes))
    trace = evaluation.trace_sequence(model, TASK, "g5o8??g")
    assert (trace.fast_weights is None) == (trace.attention is None) == ("model_name" in changes)
    last = keras.Model(model.input, model.get_layer("rnn").output)
    np.testing.assert_allclose(
        trace.hidden[-1], last(TASK.encode("g5o8??g")[None])[0], rtol=1e-5, atol=1e-6
    )
    assert trace.hidden.shape == (7, 5)
