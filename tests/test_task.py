"""The task: the rules of its sequences, samples that a person types, batches."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fast_weights.experiment import task
from fast_weights.experiment.errors import UserError

# A busy machine may take longer than Hypothesis's deadline.
patient = settings(deadline=None)
NUM_PAIRS = st.integers(1, 26)
SEEDS = st.integers(0, 2**32 - 1)


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
def test_sequences_follow_the_rules(num_pairs, seed):
    """Catches a repeated letter, a digit as a key, a query that is not a key, a wrong target."""
    split = task.generate(11, num_pairs, np.random.default_rng(seed))
    assert split.tokens.shape == (11, 2 * num_pairs + 3)
    for tokens, target in zip(split.tokens, split.targets, strict=True):
        text = task.decode(tokens)
        assert answer(text) == task.decode([target])
        np.testing.assert_array_equal(task.encode_sample(text, num_pairs), tokens)
    for tokens, pair in zip(split.tokens, task.queried_pair(split.tokens), strict=True):
        assert tokens[2 * pair] == tokens[-1]


def test_symbols_and_positions_are_uniform():
    """Catches a letter, a digit or a queried pair that never occurs, and digits that differ."""
    split = task.generate(20_000, 3, np.random.default_rng(0))
    letters, digits = split.tokens[:, :-3:2], split.tokens[:, 1:-3:2]
    for column in range(3):
        counts = np.bincount(letters[:, column], minlength=26)
        np.testing.assert_allclose(counts, 20_000 / 26, rtol=0.2)
        counts = np.bincount(digits[:, column] - 26, minlength=10)
        np.testing.assert_allclose(counts, 2_000, rtol=0.15)
    counts = np.bincount(task.queried_pair(split.tokens))
    np.testing.assert_allclose(counts, 20_000 / 3, rtol=0.1)
    assert 0.08 < (digits[:, 0] == digits[:, 1]).mean() < 0.12


@patient
@given(st.text(alphabet=task.ALPHABET, max_size=30))
def test_decode_inverts_encode(text):
    """Catches two symbols that share a token."""
    assert task.decode(task.encode(text)) == text


@settings(patient, max_examples=300)
@given(NUM_PAIRS, SEEDS, st.integers(0, 54), st.text(task.ALPHABET + "G é", max_size=12))
def test_sample_is_accepted_or_refused_by_the_rules(num_pairs, seed, position, replacement):
    """Catches a text outside the task that is accepted, or that raises another error."""
    text = task.decode(task.generate(1, num_pairs, np.random.default_rng(seed)).tokens[0])
    text = text[:position] + replacement + text[position + len(replacement) :]
    follows_rules = len(text) == 2 * num_pairs + 3 and answer(text) is not None
    try:
        assert task.decode(task.encode_sample(text, num_pairs)) == text
    except UserError:
        assert not follows_rules
    else:
        assert follows_rules


@pytest.mark.parametrize(
    "text",
    [
        "",
        "g5o8k1??",
        "g5o8k1x9??g",
        "G5o8k1??g",
        "5go8k1??g",
        "g5o8k???g",
        "g5o8k1a?g",
        "g5g8k1??g",
        "g5o8k1??z",
        "g5o8k1??5",
    ],
)
def test_bad_sample_is_refused(text):
    """Catches each rule of the task on its own."""
    with pytest.raises(UserError, match=r"g5o8k1\?\?g|Received: 'G'"):
        task.encode_sample(text, 3)


@patient
@given(NUM_PAIRS)
def test_default_sample_is_a_sequence_of_the_task(num_pairs):
    """Catches a default that `test.py` itself refuses."""
    sample = task.default_sample(num_pairs)
    assert task.decode(task.encode_sample(sample, num_pairs)) == sample


def test_batches_keep_order_and_drop_the_partial_batch():
    """Catches a lost or repeated sequence, and tokens separated from their targets."""
    split = task.generate(11, 2, np.random.default_rng(0))
    for order in (None, np.arange(11)[::-1]):
        tokens, targets = task.batches(split, 3, order)
        assert (tokens.dtype, targets.dtype) == (np.int32, np.int32)
        assert tokens.shape == (3, 3, 7)
        expected = split if order is None else task.Split(*(part[order] for part in split))
        np.testing.assert_array_equal(tokens.reshape(9, 7), expected.tokens[:9])
        np.testing.assert_array_equal(targets.reshape(9), expected.targets[:9])
