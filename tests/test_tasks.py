"""The tasks: the rules of their sequences, samples that a person types, batches."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fast_weights.experiment.config import Config
from fast_weights.experiment.errors import UserError
from fast_weights.experiment.tasks import NO_ANSWER, batches, multi_query_recall

# A busy machine may take longer than Hypothesis's deadline.
patient = settings(deadline=None)
NUM_PAIRS = st.integers(1, 26)
SEEDS = st.integers(0, 2**32 - 1)
ALPHABET = Config().make_task().vocabulary


def retrieval(num_pairs):
    """Returns associative retrieval with a number of pairs."""
    return Config(num_pairs=num_pairs).make_task()


def recall(num_pairs, **settings):
    """Returns multi-query recall with a number of pairs."""
    return Config(task="multi-query-recall", num_pairs=num_pairs, **settings).make_task()


def answer(text):
    """Returns the digit that a sequence asks for, or `None` if it is not one of the task."""
    keys, values = text[:-3:2], text[1:-3:2]
    if (
        len(keys) == len(values) == len(set(keys)) > 0
        and set(keys) <= set("abcdefghijklmnopqrstuvwxyz")
        and set(values) <= set("0123456789")
        and text[-3:-1] == "??"
    ):
        return dict(zip(keys, values, strict=True)).get(text[-1])
    return None


@patient
@given(num_pairs=NUM_PAIRS, seed=SEEDS)
def test_retrieval_follows_the_rules(num_pairs, seed):
    """Catches a repeated letter, a digit as a key, a query that is not a key, a wrong target."""
    task = retrieval(num_pairs)
    split = task.generate(11, np.random.default_rng(seed))
    assert split.tokens.shape == (11, 2 * num_pairs + 3)
    for tokens, target in zip(split.tokens, split.targets, strict=True):
        text = task.decode(tokens)
        assert answer(text) == task.decode([target])
        np.testing.assert_array_equal(task.encode_sample(text), tokens)
        np.testing.assert_array_equal(task.targets(tokens), [target])
    for tokens, pair in zip(split.tokens, task.groups(split), strict=True):
        assert tokens[2 * pair] == tokens[-1]


def test_symbols_and_positions_are_uniform():
    """Catches a letter, a digit or a queried pair that never occurs, and digits that differ."""
    task = retrieval(3)
    split = task.generate(20_000, np.random.default_rng(0))
    letters, digits = split.tokens[:, :-3:2], split.tokens[:, 1:-3:2]
    for column in range(3):
        counts = np.bincount(letters[:, column], minlength=26)
        np.testing.assert_allclose(counts, 20_000 / 26, rtol=0.2)
        counts = np.bincount(digits[:, column] - 26, minlength=10)
        np.testing.assert_allclose(counts, 2_000, rtol=0.15)
    counts = np.bincount(task.groups(split))
    np.testing.assert_allclose(counts, 20_000 / 3, rtol=0.1)
    assert 0.08 < (digits[:, 0] == digits[:, 1]).mean() < 0.12


# By the rule that they break.
BAD_SAMPLES = {
    "length": ["", "g5o8k1??", "g5o8k1x9??g"],
    "symbols": ["G5o8k1??g", "5go8k1??g", "g5o8k???g", "g5o8k1a?g"],
    "keys": ["g5g8k1??g", "g5o8k1??z", "g5o8k1??5"],
}
BAD_SAMPLES_OF_RECALL = {
    "length": ["", "k1 v1 k2 v2 k1 v3 v4", "k1v1k2v2k1v3v4v5"],
    "symbols": ["v1 k1 k2 v2 k1 v3 v4 v5", "k1 v1 k2 v2 k1 v3 v4 x"],
    "keys": ["k1 v1 k1 v2 k1 v3 v4 v5", "k1 v1 k2 v2 k3 v3 v4 v5", "k1 v1 k2 v2 v1 v3 v4 v5"],
}


@pytest.mark.parametrize("rule", BAD_SAMPLES)
def test_bad_sample_is_refused(rule):
    """Catches each rule of the tasks on its own."""
    for task, samples in ((retrieval(3), BAD_SAMPLES), (recall(2), BAD_SAMPLES_OF_RECALL)):
        for text in samples[rule]:
            with pytest.raises(UserError):
                task.encode_sample(text)


@patient
@given(NUM_PAIRS)
def test_default_sample_is_a_sequence_of_the_task(num_pairs):
    """Catches a default that `test.py` itself refuses."""
    for task in (retrieval(num_pairs), recall(num_pairs)):
        assert task.decode(task.encode_sample(task.default_sample)) == task.default_sample


def test_position_labels_name_each_symbol():
    """Catches a label at another symbol."""
    labels = retrieval(2).position_labels
    assert labels == ["letter 1", "digit 1", "letter 2", "digit 2", "?", "?", "query"]
    assert len(recall(2).position_labels) == 8


def lookup(task, tokens):
    """Returns the answers to a sequence of multi-query recall, by the index of the query."""
    words = task.decode(tokens).split()
    keys, values = (words[i : 2 * task.num_pairs : 2] for i in range(2))
    pairs = dict(zip(keys, values, strict=True))
    assert len(pairs) == task.num_pairs
    rest = enumerate(words[2 * task.num_pairs :], start=2 * task.num_pairs)
    return {i: pairs[word] for i, word in rest if word.startswith("k")}


@patient
@given(st.integers(1, 8), st.integers(0, 10), st.integers(8, 20), SEEDS)
def test_recall_follows_the_rules(num_pairs, more, num_keys, seed):
    """Catches a wrong answer, a query without an answer, and a key that is queried twice."""
    length = 4 * num_pairs + 2 * more
    task = recall(num_pairs, sequence_length=length, vocabulary_size=2 * num_keys)
    split = task.generate(7, np.random.default_rng(seed))
    assert split.tokens.shape == split.targets.shape == (7, length)
    for tokens, targets, groups in zip(*split, task.groups(split), strict=True):
        answers = lookup(task, tokens)
        assert len(answers) == num_pairs
        positions = np.flatnonzero(targets != NO_ANSWER)
        assert {i: task.vocabulary[targets[i]] for i in positions} == answers
        np.testing.assert_array_equal(task.answer_positions(tokens), positions)
        np.testing.assert_array_equal(tokens[2 * groups[positions]], tokens[positions])
        np.testing.assert_array_equal(task.targets(tokens), targets[positions])
        np.testing.assert_array_equal(task.encode_sample(task.decode(tokens)), tokens)


def test_recall_places_its_queries_by_the_power_law():
    """Catches queries at all places alike, and places that no query reaches."""
    task = recall(1, sequence_length=22, vocabulary_size=40)
    split = task.generate(40_000, np.random.default_rng(0))
    places = (np.argmax(split.targets != NO_ANSWER, axis=1) - 2) // 2
    expected = np.arange(1, 11) ** -0.99
    frequencies = np.bincount(places, minlength=10) / 40_000
    np.testing.assert_allclose(frequencies, expected / expected.sum(), rtol=0.1)
    # Keys and values are uniform.
    for tokens in (split.tokens[:, 0], split.tokens[:, 1] - 20, split.tokens[:, 3] - 20):
        values = tokens[tokens < 20]
        np.testing.assert_allclose(np.bincount(values, minlength=20) * 20 / len(values), 1, 0.15)


def test_recall_with_a_large_vocabulary(monkeypatch):
    """Catches tokens that overflow their type, and a part of the sequences that is lost."""
    task = recall(4, vocabulary_size=2**16)
    monkeypatch.setattr(multi_query_recall, "MAX_NUMBERS", 2**17)  # four sequences a part
    split = task.generate(30, np.random.default_rng(0))
    assert split.tokens.shape == (30, 16)
    assert split.tokens.max() > 2**15 + 30_000
    for tokens, targets in zip(*split, strict=True):
        answers = {i: task.vocabulary[targets[i]] for i in np.flatnonzero(targets != NO_ANSWER)}
        assert answers == lookup(task, tokens)


def test_batches_keep_order_and_drop_the_partial_batch():
    """Catches a lost or repeated sequence, and tokens separated from their targets."""
    for task in (retrieval(2), recall(2)):
        split = task.generate(11, np.random.default_rng(0))
        tokens, targets = batches(split, 3)
        assert (tokens.dtype, targets.dtype) == (np.int32, np.int32)
        assert tokens.shape == (3, 3, task.length)
        np.testing.assert_array_equal(tokens.reshape(9, -1), split.tokens[:9])
        np.testing.assert_array_equal(targets.reshape(split.targets[:9].shape), split.targets[:9])
