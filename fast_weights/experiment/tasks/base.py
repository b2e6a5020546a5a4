"""The base class of all tasks, their splits and their batches."""

import abc
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np

from fast_weights.experiment.errors import UserError

if TYPE_CHECKING:
    from fast_weights.experiment.config import Config

# The target of a symbol that has no answer.
NO_ANSWER = -1


class Split(NamedTuple):
    """N sequences and their targets.

    Attributes:
        tokens: (N, T), integers.
        targets: the tokens of the correct answers. (N,) if a sequence has one answer, at its end.
            (N, T) if a sequence has answers at several symbols; the other symbols have
            `NO_ANSWER`.
    """

    tokens: np.ndarray
    targets: np.ndarray


class Splits(NamedTuple):
    """The sequences of a run.

    Attributes:
        training: for the updates.
        validation: for the results of every epoch.
        test: for results that no choice may depend on. It can be empty.
    """

    training: Split
    validation: Split
    test: Split


class Task(abc.ABC):
    """Sequences of symbols, and the answers that a model must give.

    A subclass sets `vocabulary` and `length`, and implements `generate`. The defaults of
    the other methods suit a task with one answer at the end of each sequence.

    Args:
        config: the settings of the run.

    Attributes:
        settings: the names of the settings that decide the sequences, other than the numbers of
            sequences and the seed.
        vocabulary: the symbols. A token is an index into it.
        separator: the text between two symbols of a sample.
        length: T, the number of symbols in a sequence.
        answers_at_end: whether a sequence has one answer, at its end. If `False`, it has answers at
            several symbols.
        padding: the token that fills a shorter sequence up to T symbols, or `None`. The recurrent
            layer masks it, and samples omit it.
        group: a noun for a group of answers, such as `"pair"`. Accuracy is also counted for each
            group. Empty if answers are not grouped.
        num_groups: the number of groups, 1 if answers are not grouped.
        split: the split that `generate` is called for, `"training"`, `"validation"` or `"test"`.

    Raises:
        UserError: if a setting is invalid for the task.
    """

    settings: ClassVar[tuple[str, ...]] = ()
    separator: ClassVar[str] = ""
    answers_at_end: ClassVar[bool] = True
    padding: ClassVar[int | None] = None
    group: ClassVar[str] = ""
    vocabulary: Sequence[str]
    length: int
    num_groups: int = 1
    split: str = "training"

    @abc.abstractmethod
    def __init__(self, config: "Config"):
        """Sets `vocabulary` and `length`."""

    @abc.abstractmethod
    def generate(self, num_sequences: int, rng: np.random.Generator) -> Split:
        """Returns random sequences and their targets.

        Args:
            num_sequences: N, zero or more.
            rng: the random generator. The same state gives the same sequences.
        """

    def answer_positions(self, tokens: np.ndarray) -> np.ndarray:
        """Returns the indices of the symbols at which a sequence, (T,), has an answer, (Q,)."""
        return np.flatnonzero(tokens != self.padding)[-1:]

    def targets(self, tokens: np.ndarray) -> np.ndarray | None:
        """Returns the correct answers of a sequence, (T,) -> (Q,), or `None` if unknown."""
        return None

    def groups(self, split: Split) -> np.ndarray:
        """Returns the group of each answer, in the shape of the targets."""
        return np.zeros(split.targets.shape, dtype=np.int64)

    def follows_rules(self, tokens: np.ndarray) -> bool:
        """Returns whether T tokens, (T,), form a sequence of the task."""
        return True

    @property
    def rules(self) -> str:
        """A description of a valid sequence, for error messages."""
        return f"{self.length} of the symbols {self.separator.join(self.vocabulary)}"

    @property
    def default_sample(self) -> str:
        """The sequence to use if the user gives none."""
        return self.decode(self.generate(1, np.random.default_rng(0)).tokens[0])

    @property
    def position_labels(self) -> list[str]:
        """A label for each of the T positions in a sequence."""
        return [str(i + 1) for i in range(self.length)]

    def encode(self, text: str) -> np.ndarray:
        """Returns the tokens of a text, (N,).

        Raises:
            UserError: if a symbol is not in the vocabulary.
        """
        index = {symbol: token for token, symbol in enumerate(self.vocabulary)}
        symbols = text.split() if self.separator else text
        unknown = [symbol for symbol in symbols if symbol not in index]
        if unknown:
            raise UserError(
                f"a sample must be {self.rules}, such as {self.default_sample}. Received: "
                f"{text!r:.80}, where {self.separator.join(unknown)!r:.80} is unknown"
            )
        return np.array([index[symbol] for symbol in symbols], dtype=np.int32)

    def decode(self, tokens) -> str:
        """Returns the text of tokens, an iterable of indices into the vocabulary."""
        symbols = (self.vocabulary[token] for token in tokens if token != self.padding)
        return self.separator.join(symbols)

    def encode_sample(self, text: str) -> np.ndarray:
        """Returns the tokens of one sequence of the task, (T,).

        Raises:
            UserError: if the text is not such a sequence.
        """
        tokens = self.encode(text)
        if self.padding is not None and 0 < len(tokens) < self.length:
            missing = self.length - len(tokens)
            tokens = np.pad(tokens, (0, missing), constant_values=self.padding)
        if len(tokens) != self.length or not self.follows_rules(tokens):
            raise UserError(
                f"a sample must be {self.rules}, such as {self.default_sample}. "
                f"Received: {text!r:.80}"
            )
        return tokens


def batches(split: Split, batch_size: int) -> Split:
    """Returns the full batches of a split as int32: (steps, B, T), and (steps, B) or (steps, B, T).

    A last partial batch is dropped.

    Args:
        split: N sequences.
        batch_size: B.
    """
    steps = len(split.targets) // batch_size
    return Split(
        *(
            part[: steps * batch_size].astype(np.int32).reshape(steps, batch_size, *part.shape[1:])
            for part in split
        )
    )
