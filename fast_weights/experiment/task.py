"""The task: associative retrieval of digits by letters.

A sequence holds K letter-digit pairs, two question marks and one of the letters. The target
is the digit of that letter: `g1o2k3??g` -> `1`. Letters are distinct, digits may repeat.
A symbol is a token: a-z are 0-25, 0-9 are 26-35 and `?` is 36.
"""

import string
from typing import NamedTuple

import numpy as np

from fast_weights.experiment.errors import UserError

ALPHABET = string.ascii_lowercase + string.digits + "?"
NUM_CLASSES = len(ALPHABET)
NUM_LETTERS = 26
FIRST_DIGIT = 26
QUESTION_MARK = 36


class Split(NamedTuple):
    """N sequences and their targets.

    Attributes:
        tokens: (N, T) uint8.
        targets: (N,) uint8, the token of the correct digit.
    """

    tokens: np.ndarray
    targets: np.ndarray


class Batches(NamedTuple):
    """A split cut into batches.

    Attributes:
        tokens: (steps, B, T) int32.
        targets: (steps, B) int32.
    """

    tokens: np.ndarray
    targets: np.ndarray


def encode(text: str) -> np.ndarray:
    """Returns the tokens of N symbols, (N,) uint8.

    Raises:
        UserError: if a symbol is not in the alphabet.
    """
    unknown = sorted(set(text) - set(ALPHABET))
    if unknown:
        raise UserError(f"a symbol must be one of a-z, 0-9 and ?. Received: {''.join(unknown)!r}")
    return np.array([ALPHABET.index(symbol) for symbol in text], dtype=np.uint8)


def decode(tokens) -> str:
    """Returns the text of tokens, an iterable of integers from 0 to 36."""
    return "".join(ALPHABET[token] for token in tokens)


def encode_sample(text: str, num_pairs: int) -> np.ndarray:
    """Returns the tokens of one sequence of the task, (T,) uint8.

    Args:
        text: a sequence such as `g5o8k1??g`.
        num_pairs: K.

    Raises:
        UserError: if the text is not `num_pairs` letter-digit pairs with distinct letters,
            then `??`, then one of those letters.
    """
    length = 2 * num_pairs + 3
    tokens = encode(text) if len(text) == length else np.empty(0)
    keys, values = tokens[:-3:2], tokens[1:-3:2]
    is_sequence = (
        len(tokens) == length
        and (keys < FIRST_DIGIT).all()
        and ((values >= FIRST_DIGIT) & (values < QUESTION_MARK)).all()
        and len(set(keys.tolist())) == num_pairs
        and (tokens[-3:-1] == QUESTION_MARK).all()
        and tokens[-1] in keys
    )
    if not is_sequence:
        raise UserError(
            f"a sample must be {num_pairs} letter-digit pairs with distinct letters, then ??, then "
            f"one of the letters ({length} symbols), such as {default_sample(num_pairs)}. "
            f"Received: {text!r:.80}"
        )
    return tokens


def generate(num_sequences: int, num_pairs: int, rng: np.random.Generator) -> Split:
    """Draws sequences of the task.

    Args:
        num_sequences: N, zero or more.
        num_pairs: K, from 1 to 26.
        rng: the source of randomness. The same state gives the same sequences.

    Returns:
        A `Split` of N sequences of T = 2K + 3 symbols.
    """
    # The order of 26 random numbers is a random order of the letters.
    letters = np.argsort(rng.random((num_sequences, NUM_LETTERS)), axis=1)[:, :num_pairs]
    digits = rng.integers(FIRST_DIGIT, QUESTION_MARK, (num_sequences, num_pairs))
    queried = rng.integers(0, num_pairs, num_sequences)
    rows = np.arange(num_sequences)
    tokens = np.full((num_sequences, 2 * num_pairs + 3), QUESTION_MARK, dtype=np.uint8)
    tokens[:, :-3:2] = letters
    tokens[:, 1:-3:2] = digits
    tokens[:, -1] = letters[rows, queried]
    return Split(tokens, digits[rows, queried].astype(np.uint8))


def default_sample(num_pairs: int) -> str:
    """Returns the sequence that is shown when the user gives none."""
    if num_pairs == 3:
        return "g5o8k1??g"
    return decode(generate(1, num_pairs, np.random.default_rng(0)).tokens[0])


def queried_pair(tokens: np.ndarray) -> np.ndarray:
    """Returns the index of the pair that each sequence queries: (N, T) -> (N,), 0 to K - 1."""
    return np.argmax(tokens[:, :-3:2] == tokens[:, -1:], axis=1)


def batches(split: Split, batch_size: int, order: np.ndarray | None = None) -> Batches:
    """Cuts a split into full batches, in order. A last partial batch is dropped.

    Args:
        split: N sequences.
        batch_size: B.
        order: a permutation of 0 to N - 1, (N,). Default: the order of the split.
    """
    steps = len(split.targets) // batch_size
    chosen = slice(steps * batch_size) if order is None else order[: steps * batch_size]
    tokens = split.tokens[chosen].astype(np.int32)
    targets = split.targets[chosen].astype(np.int32)
    return Batches(tokens.reshape(steps, batch_size, -1), targets.reshape(steps, batch_size))
