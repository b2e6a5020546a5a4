"""Asking a model, and watching it meanwhile."""

import numpy as np
import pytest

from fast_weights import checkpoints, data, sampling
from fast_weights.errors import UserError


@pytest.mark.parametrize("recurrence", ["original", "paper"])
def test_attention_is_by_the_symbol_whose_vector_is_read(tiny, recurrence):
    """Reads that are told one symbol late: the paper's recurrence writes a step later."""
    model = checkpoints.new_state(tiny(recurrence=recurrence)).model
    cell = model.get_layer("rnn").cell
    watched = sampling.watch(model, "g5o8??g", 2)
    kernel, recurrent_kernel, bias = (weight.numpy() for weight in cell.weights[:3])
    before = np.vstack([np.zeros(5), watched.hidden[:-1]])
    symbols = np.eye(37)[data.encode(watched.text)]
    preliminary = np.maximum(symbols @ kernel + bias + before @ recurrent_kernel, 0)
    for t in range(7):
        read = watched.hidden[:t] if recurrence == "paper" else preliminary[: t + 1]
        ages = np.arange(len(read))[::-1]
        expected = np.zeros(7)
        expected[: len(read)] = 0.5 * 0.95**ages * (read @ preliminary[t])
        np.testing.assert_allclose(watched.attention[t, 0], expected, rtol=1e-4, atol=1e-6)


def test_mean_attention_is_the_mean_by_the_pair_asked_for(tiny_config):
    """Maps of the wrong pair, sums for means: against one sequence at a time."""
    model = checkpoints.new_state(tiny_config).model
    split = data.generate(12, 2, np.random.default_rng(0))
    maps = sampling.mean_attention(model, split)
    asked = data.asked_pair(split.tokens)
    for pair in range(2):
        alone = [
            sampling.watch(model, data.decode(tokens), 2).attention.sum(axis=1)
            for tokens in split.tokens[asked == pair]
        ]
        np.testing.assert_allclose(maps[pair], np.mean(alone, axis=0), atol=1e-6)
    only = data.Split(split.tokens[asked == 1], split.targets[asked == 1])
    with pytest.raises(UserError, match="asks for pair 1; a larger --num_validation"):
        sampling.mean_attention(model, only)


def test_sampling_counts_what_it_asks(tiny_config):
    """Accuracy by pair that is not about that pair: an oracle that knows only pair 1."""

    class KnowsTheFirst:
        def predict(self, tokens, **kwargs):
            return [[float(token == row[1]) for token in range(37)] for row in tokens]

    split = data.generate(400, 2, np.random.default_rng(0))
    accuracy, by_pair = sampling.accuracy_by_pair(KnowsTheFirst(), split)
    assert by_pair[0] == 1
    assert by_pair[1] < 0.2
    assert by_pair[1] < accuracy < 1
