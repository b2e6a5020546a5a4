"""The rules of the task, by property; files that are not what they should be."""

import json
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fast_weights import data
from fast_weights.errors import UserError

SIZES = (7, 5)
pairs = st.integers(1, 26)
seeds = st.integers(0, 2**32 - 1)


@given(num_pairs=pairs, seed=seeds)
def test_sequences_keep_the_rules(num_pairs, seed):
    """A letter twice, a digit among the keys, a query that is no key, a wrong answer."""
    split = data.generate(11, num_pairs, np.random.default_rng(seed))
    assert split.tokens.shape == (11, 2 * num_pairs + 3)
    for tokens, target in zip(split.tokens, split.targets, strict=True):
        text = data.decode(tokens)
        keys, values = text[:-3:2], text[1:-3:2]
        assert len(set(keys)) == num_pairs
        assert keys.isalpha()
        assert values.isdigit()
        assert text[-3:-1] == "??"
        assert data.decode([target]) == dict(zip(keys, values, strict=True))[text[-1]]
        # The check of what a person types takes every such sequence.
        np.testing.assert_array_equal(data.encode_sample(text, num_pairs), tokens)


def test_every_symbol_and_position_is_drawn():
    """A letter, a digit or a pair that never comes up, or a digit that cannot repeat."""
    split = data.generate(20_000, 3, np.random.default_rng(0))
    letters, digits = split.tokens[:, :-3:2], split.tokens[:, 1:-3:2]
    for column in range(3):
        np.testing.assert_allclose(
            np.bincount(letters[:, column], minlength=26), 20_000 / 26, rtol=0.2
        )
        np.testing.assert_allclose(
            np.bincount(digits[:, column] - 26, minlength=10), 2_000, rtol=0.15
        )
    np.testing.assert_allclose(np.bincount(data.asked_pair(split.tokens)), 20_000 / 3, rtol=0.1)
    repeats = (digits[:, 0] == digits[:, 1]).mean()
    assert 0.08 < repeats < 0.12


def test_streams_of_one_seed_are_independent_and_repeatable():
    """Validation sequences that are the training ones, or that move with their number."""
    training, validation = data.make(3, 500, 400, seed=1)
    again, validation_again = data.make(3, 900, 400, seed=1)
    np.testing.assert_array_equal(validation.tokens, validation_again.tokens)
    assert (training.tokens[:400] != validation.tokens).any(axis=1).mean() > 0.99
    other, _ = data.make(3, 900, 400, seed=2)
    assert (again.tokens != other.tokens).any(axis=1).mean() > 0.99


@given(st.text(alphabet=data.ALPHABET, max_size=30))
def test_decode_undoes_encode(text):
    assert data.decode(data.encode(text)) == text


@settings(max_examples=300)
@given(st.text(max_size=14), st.integers(1, 5))
def test_a_sample_is_taken_or_refused_in_one_line(text, num_pairs):
    """A text that ends in a traceback, or in a line of control characters."""
    try:
        outcome = data.decode(data.encode_sample(text, num_pairs))
    except UserError as error:
        outcome = str(error)
    assert outcome == text or re.match("sample: |expected ", outcome)
    assert outcome.isprintable()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("g5o8k1??", "(9 symbols)"),
        ("g5o8k1x9??g", "(9 symbols)"),
        ("G5o8k1??g", "only the symbols"),
        ("5go8k1??g", "does not start with such pairs"),
        ("g5o8k?-?g".replace("-", "?"), "does not start with such pairs"),
        ("g5o8k1a?g", "no ?? before"),
        ("g5g8k1??g", "letter occurs twice"),
        ("g5o8k1??z", "query z is no key"),
        ("g5o8k1??5", "query 5 is no key"),
        ("x" * 1_000_000, "1000000 symbols"),
    ],
)
def test_a_bad_sample_is_refused_with_its_reason(text, words):
    with pytest.raises(UserError) as caught:
        data.encode_sample(text, 3)
    assert words in str(caught.value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("num_pairs", [0, 27])
def test_number_of_pairs_is_bounded(num_pairs):
    with pytest.raises(UserError, match=f"Received: num_pairs={num_pairs}"):
        data.generate(1, num_pairs, np.random.default_rng(0))


def test_batches_keep_order_and_drop_the_partial_one():
    """A lost or doubled sequence, tokens parted from their targets."""
    split = data.generate(11, 2, np.random.default_rng(0))
    tokens, targets = data.batches(split, 3)
    assert tokens.shape == (3, 3, 7)
    np.testing.assert_array_equal(tokens.reshape(9, 7), split.tokens[:9])
    np.testing.assert_array_equal(targets.reshape(9), split.targets[:9])
    order = np.arange(11)[::-1]
    tokens, targets = data.batches(split, 3, order)
    np.testing.assert_array_equal(tokens.reshape(9, 7), split.tokens[::-1][:9])
    np.testing.assert_array_equal(targets.reshape(9), split.targets[::-1][:9])


def test_missing_data_is_made_once_and_said(tmp_path):
    said = []
    made = data.load_or_make(tmp_path / "new", 2, *SIZES, 3, say=said.append)
    loaded = data.load_or_make(tmp_path / "new", 2, *SIZES, 3, say=said.append)
    for split, again in zip(made, loaded, strict=True):
        np.testing.assert_array_equal(split.tokens, again.tokens)
        np.testing.assert_array_equal(split.targets, again.targets)
    assert len(said) == 1
    assert str(data.data_path(tmp_path / "new", 2, 3)) in said[0]


@pytest.fixture
def file(tmp_path):
    data.load_or_make(tmp_path, 2, *SIZES, 3, say=lambda line: None)
    return data.data_path(tmp_path, 2, 3)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ((3, *SIZES, 3), "num_pairs 2 and not 3"),
        ((2, 8, 5, 3), "num_training 7 and not 8"),
        ((2, *SIZES, 4), "seed 3 and not 4"),
    ],
)
def test_a_file_of_other_settings_is_refused(file, settings, words):
    with pytest.raises(UserError, match=words):
        data.load(file, *settings)


def test_a_truncated_file_is_refused_wherever_it_ends(file):
    """A cut that reads as shorter data, or ends in a traceback."""
    whole = file.read_bytes()
    for length in range(0, len(whole), 37):
        file.write_bytes(whole[:length])
        with pytest.raises(UserError, match="broken one; delete the file"):
            data.load(file, 2, *SIZES, 3)


def test_a_file_with_a_wrong_byte_is_refused_or_right(file):
    """A byte that ends in a traceback of zlib or zipfile, or in other sequences."""
    whole, expected = file.read_bytes(), data.load(file, 2, *SIZES, 3)
    refused = 0
    for position in range(0, len(whole), 5):
        for mask in (0x01, 0x20, 0xFF):
            wrong = bytearray(whole)
            wrong[position] ^= mask
            file.write_bytes(wrong)
            try:
                found = data.load(file, 2, *SIZES, 3)
            except UserError:
                refused += 1
            else:
                # A byte of the archive that says nothing.
                for split, right in zip(found, expected, strict=True):
                    np.testing.assert_array_equal(split.tokens, right.tokens)
                    np.testing.assert_array_equal(split.targets, right.targets)
    assert refused > len(whole) / 5


@pytest.mark.parametrize(
    ("name", "spoil", "words"),
    [
        ("training_tokens", lambda array: np.where(array == 36, 37, array), "else than tokens"),
        ("validation_targets", lambda array: array + 200, "else than tokens"),
        ("training_tokens", lambda array: array[:, 1:], "broken one"),
        ("training_tokens", lambda array: array.ravel(), "broken one"),
        ("training_tokens", lambda array: array[:3].astype("uint16"), "broken one"),
        ("training_tokens", lambda array: array.view("int8"), "broken one"),
        ("training_tokens", lambda array: np.zeros((2_000, 1_000), "uint8"), "broken one"),
    ],
    ids=["value", "target", "shape", "flat", "size", "signed", "large"],
)
def test_other_values_than_tokens_are_refused(file, name, spoil, words):
    with np.load(file) as archive:
        arrays = dict(archive)
    arrays[name] = spoil(arrays[name])
    with open(file, "wb") as stream:
        np.savez(stream, **arrays)
    with pytest.raises(UserError, match=words):
        data.load(file, 2, *SIZES, 3)


def test_a_pickle_is_refused(file):
    """A file that can run code."""
    about = {"version": 1, "num_pairs": 2, "num_training": 7, "num_validation": 5, "seed": 3}
    with open(file, "wb") as stream:
        np.savez(
            stream,
            about=np.array(json.dumps(about)),
            training_tokens=np.array([{}], dtype=object),
        )
    with pytest.raises(UserError, match="broken one"):
        data.load(file, 2, *SIZES, 3)


def test_a_file_that_names_more_than_data_files_do_is_none(file):
    """A difference without a name."""
    with np.load(file) as archive:
        arrays = dict(archive)
    about = {**json.loads(str(arrays["about"])), "more": 1}
    with open(file, "wb") as stream:
        np.savez(stream, **{**arrays, "about": np.array(json.dumps(about))})
    with pytest.raises(UserError, match="is no data file; delete"):
        data.load(file, 2, *SIZES, 3)


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    """ "File exists", said of a file that does not."""
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(UserError, match=r"cannot write data to .*: Not a directory"):
        data.load_or_make(tmp_path / "taken", 2, *SIZES, 3)
