"""The task: associative retrieval of digits by letters.

A sequence holds K letter-digit pairs, two question marks and one of the
letters; the target is that letter's digit: `g1o2k3??g` -> `1`. Letters are
distinct, digits may repeat. On disk and in memory a symbol is a token:
a-z are 0-25, 0-9 are 26-35, `?` is 36.

`python -m fast_weights.data` makes a file of sequences; `train.py` makes it
where it is missing.
"""

import argparse
import dataclasses
import json
import pathlib
import re
import string
import sys
import time
import zipfile
from typing import NamedTuple

import numpy as np

from fast_weights import arrays, files, terminal
from fast_weights.config import Config, check_settings
from fast_weights.errors import UserError

ALPHABET = string.ascii_lowercase + string.digits + "?"
NUM_LETTERS = 26
FIRST_DIGIT = 26
QUESTION_MARK = 36
NUM_CLASSES = 37
MAX_PAIRS = NUM_LETTERS
FORMAT_VERSION = 1
# Of what a data file says of itself.
MAX_ABOUT_BYTES = 10_000


class Split(NamedTuple):
    """Sequences and their answers."""

    tokens: np.ndarray
    """(N, T) uint8."""
    targets: np.ndarray
    """(N,) uint8, each a digit's token."""


def encode(text: str) -> np.ndarray:
    """Turns N symbols into N tokens, (N,) uint8.

    Raises:
        UserError: if a symbol is not in the alphabet.
    """
    unknown = sorted(set(text) - set(ALPHABET))
    if unknown:
        raise UserError(
            f"expected only the symbols a-z, 0-9 and ?. Received: {_excerpt(''.join(unknown))}"
        )
    return np.array([ALPHABET.index(symbol) for symbol in text], dtype=np.uint8)


def decode(tokens) -> str:
    """Turns tokens, an iterable of ints from 0 to 36, into text."""
    return "".join(ALPHABET[token] for token in tokens)


def encode_sample(text: str, num_pairs: int) -> np.ndarray:
    """Turns one sequence of the task as a person types it into tokens, (T,) uint8.

    Raises:
        UserError: if the text is not `num_pairs` letter-digit pairs with distinct
            letters, then `??`, then one of those letters.
    """
    expected = f"expected {num_pairs} letter-digit pairs, then ??, then one of the letters"
    length = 2 * num_pairs + 3
    if len(text) != length:
        raise UserError(
            f"sample: {expected} ({length} symbols). "
            f"Received: {_excerpt(text)} of {len(text)} symbols"
        )
    tokens = encode(text)
    keys, values = tokens[:-3:2], tokens[1:-3:2]
    if (keys >= FIRST_DIGIT).any() or (values < FIRST_DIGIT).any() or (values > 35).any():
        raise UserError(
            f"sample: {expected}. Received: {text}, which does not start with such pairs"
        )
    if (tokens[-3:-1] != QUESTION_MARK).any():
        raise UserError(f"sample: {expected}. Received: {text}, which has no ?? before the query")
    if len(set(keys.tolist())) < num_pairs:
        raise UserError(f"sample: {expected}. Received: {text}, in which a letter occurs twice")
    if tokens[-1] not in keys:
        raise UserError(
            f"sample: {expected}. Received: {text}, whose query {text[-1]} is no key of its pairs"
        )
    return tokens


def _excerpt(text: str) -> str:
    """`text` fit for one line: escaped, and cut where it is long."""
    return ascii(text if len(text) <= 40 else text[:40] + "...")


def generate(num_sequences: int, num_pairs: int, rng: np.random.Generator) -> Split:
    """Draws sequences of the task.

    Args:
        num_sequences: N, zero or more.
        num_pairs: K, from 1 to 26.
        rng: the source of randomness; the same state gives the same sequences.

    Returns:
        A `Split` of N sequences of T = 2K + 3 symbols.

    Raises:
        UserError: if `num_pairs` is out of its bounds.
    """
    if not 1 <= num_pairs <= MAX_PAIRS:
        raise UserError(f"`num_pairs` must be from 1 to 26. Received: num_pairs={num_pairs!r}")
    # The order of 26 random numbers is a random order of the letters.
    letters = np.argsort(rng.random((num_sequences, NUM_LETTERS)), axis=1)[:, :num_pairs]
    digits = rng.integers(FIRST_DIGIT, FIRST_DIGIT + 10, (num_sequences, num_pairs))
    asked = rng.integers(0, num_pairs, num_sequences)
    rows = np.arange(num_sequences)
    tokens = np.full((num_sequences, 2 * num_pairs + 3), QUESTION_MARK, dtype=np.uint8)
    tokens[:, :-3:2] = letters
    tokens[:, 1:-3:2] = digits
    tokens[:, -1] = letters[rows, asked]
    return Split(tokens, digits[rows, asked].astype(np.uint8))


def default_sample(num_pairs: int) -> str:
    """The sequence that is asked about where none is given."""
    if num_pairs == 3:
        return "g5o8k1??g"
    return decode(generate(1, num_pairs, np.random.default_rng(0)).tokens[0])


def asked_pair(tokens: np.ndarray) -> np.ndarray:
    """Which pair each sequence asks for: (N, T) tokens to (N,) ints from 0 to K - 1."""
    return np.argmax(tokens[:, :-3:2] == tokens[:, -1:], axis=1)


def batches(split: Split, batch_size: int, order: np.ndarray | None = None) -> Split:
    """Cuts a split into whole batches, in order; a last partial batch is dropped.

    Args:
        split: N sequences.
        batch_size: B.
        order: optional permutation of N, (N,).

    Returns:
        A `Split` of tokens (steps, B, T) and targets (steps, B), int32.
    """
    steps = len(split.targets) // batch_size
    chosen = slice(steps * batch_size) if order is None else order[: steps * batch_size]
    tokens = split.tokens[chosen].astype(np.int32)
    targets = split.targets[chosen].astype(np.int32)
    return Split(tokens.reshape(steps, batch_size, -1), targets.reshape(steps, batch_size))


def data_path(data_dir, num_pairs: int, seed: int) -> pathlib.Path:
    """Where the sequences of K pairs made from `seed` lie."""
    return pathlib.Path(data_dir) / f"associative-retrieval-{num_pairs}-pairs-seed-{seed}.npz"


def make(num_pairs: int, num_training: int, num_validation: int, seed: int) -> tuple[Split, Split]:
    """Draws training and validation sequences from independent streams of one seed."""
    streams = np.random.SeedSequence(seed).spawn(2)
    sizes = (num_training, num_validation)
    training, validation = (
        generate(size, num_pairs, np.random.default_rng(stream))
        for size, stream in zip(sizes, streams, strict=True)
    )
    return training, validation


def save(path, training: Split, validation: Split, num_pairs: int, seed: int) -> None:
    """Writes both splits, with what made them, to `path`; a reader never sees half a file."""
    path = pathlib.Path(path)
    about = _about(num_pairs, len(training.targets), len(validation.targets), seed)
    try:
        members = {
            "about": np.array(json.dumps(about)),
            "training_tokens": training.tokens,
            "training_targets": training.targets,
            "validation_tokens": validation.tokens,
            "validation_targets": validation.targets,
        }
        arrays.save(path, members)
    except OSError as error:
        raise UserError(f"cannot write data to {path}: {error.strerror}") from None


def load(
    path, num_pairs: int, num_training: int, num_validation: int, seed: int
) -> tuple[Split, Split]:
    """Reads what `save` wrote and checks it.

    Raises:
        UserError: if the file cannot be read, was made with other settings than
            the ones given, or holds anything but sequences of the task's tokens.
    """
    path = pathlib.Path(path)
    remedy = "delete the file to have it made anew, or name another --data_dir"
    expected = _about(num_pairs, num_training, num_validation, seed)
    try:
        with arrays.open_archive(path) as archive:
            about = files.parse_json(str(arrays.read(archive, "about", MAX_ABOUT_BYTES)))
            if about == expected:
                training = _read_split(archive, "training", num_training, num_pairs)
                validation = _read_split(archive, "validation", num_validation, num_pairs)
    except Exception as error:
        # A seek to a place that rot made up names no file.
        if isinstance(error, OSError) and error.filename:
            raise UserError(f"cannot read data from {path}: {error.strerror}") from None
        # Depending on the byte that is wrong, half a dozen types from three libraries.
        raise UserError(f"{path} is no data file, or a broken one; {remedy}") from None
    if about != expected:
        about = about if isinstance(about, dict) else {}
        differences = ", ".join(
            f"{name} {ascii(about.get(name))[:40]} and not {value}"
            for name, value in expected.items()
            if about.get(name) != value
        )
        # Or it names something that no data file has.
        made = f"was made with {differences}" if differences else "is no data file"
        raise UserError(f"{path} {made}; {remedy}")
    for split in (training, validation):
        if not all((array < NUM_CLASSES).all() for array in split):
            raise UserError(f"{path} holds something else than tokens 0..36; {remedy}")
    return training, validation


def _read_split(archive: zipfile.ZipFile, name: str, size: int, num_pairs: int) -> Split:
    """Two arrays of a data file.

    Raises:
        ValueError: if they are not of the task's shapes and type; besides, whatever
            `arrays.read` raises.
    """
    length = 2 * num_pairs + 3
    tokens = arrays.read(archive, f"{name}_tokens", size * length)
    targets = arrays.read(archive, f"{name}_targets", size)
    if tokens.shape != (size, length) or targets.shape != (size,):
        raise ValueError(f"{name}: other shapes")
    if tokens.dtype != np.uint8 or targets.dtype != np.uint8:
        raise ValueError(f"{name}: other types")
    return Split(tokens, targets)


def load_or_make(
    data_dir, num_pairs: int, num_training: int, num_validation: int, seed: int, say=print
) -> tuple[Split, Split]:
    """Loads the sequences of these settings from `data_dir`; makes them where they are missing.

    Args:
        data_dir: folder of data files.
        num_pairs: K.
        num_training: number of training sequences.
        num_validation: number of validation sequences.
        seed: decides every sequence.
        say: called with a line when the file is made.

    Returns:
        The training and the validation `Split`.

    Raises:
        UserError: as `load` and `save` do.
    """
    path = data_path(data_dir, num_pairs, seed)
    if path.exists():
        return load(path, num_pairs, num_training, num_validation, seed)
    start = time.perf_counter()
    training, validation = make(num_pairs, num_training, num_validation, seed)
    save(path, training, validation, num_pairs, seed)
    say(
        f"Made {num_training:,} training and {num_validation:,} validation sequences "
        f"in {time.perf_counter() - start:.1f} s: {path}"
    )
    return training, validation


def _about(num_pairs: int, num_training: int, num_validation: int, seed: int) -> dict:
    return {
        "version": FORMAT_VERSION,
        "num_pairs": num_pairs,
        "num_training": num_training,
        "num_validation": num_validation,
        "seed": seed,
    }


class _Parser(argparse.ArgumentParser):
    """Raises what argparse would print."""

    def error(self, message):
        raise UserError(message)


@terminal.one_line_errors
def main(argv) -> int:
    """`python -m fast_weights.data`: makes a file of sequences and shows one."""
    terminal.mend_streams()
    terminal.stop_at_once()
    about = "Makes a file of sequences where it is missing, and shows the first."
    parser = _Parser(prog="python -m fast_weights.data", usage=argparse.SUPPRESS, description=about)
    parser.add_argument("--data_dir", default="data", help="folder to write to (default: data)")
    for field in dataclasses.fields(Config):
        if field.name in ("num_pairs", "num_training", "num_validation", "seed"):
            text = f"{field.metadata['help']}; {field.metadata['bound']} (default: {field.default})"
            parser.add_argument(f"--{field.name}", type=_number, default=field.default, help=text)
    flags = parser.parse_args(argv[1:])
    if not flags.data_dir:
        raise UserError("--data_dir must name a folder. Received: --data_dir=")
    check_settings(vars(flags))
    path = data_path(flags.data_dir, flags.num_pairs, flags.seed)
    training, _ = load_or_make(**vars(flags))
    first = f"{decode(training.tokens[0])} -> {decode(training.targets[:1])}"
    print(f"{path} is there. Its first sequence: {first}")
    return 0


def _number(text: str) -> int | str:
    """A whole number; other text as it is, of which `check_settings` says what it should be."""
    return int(text) if re.fullmatch(r"-?[0-9]{1,99}", text) else text


if __name__ == "__main__":
    sys.exit(main(sys.argv))
