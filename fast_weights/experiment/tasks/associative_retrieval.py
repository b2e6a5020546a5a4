"""Associative retrieval of digits by letters, the task of the paper and of the blog post.

A sequence holds K letter-digit pairs, two question marks and one of the letters. The target
is the digit of that letter: `g1o2k3??g` -> `1`. Letters are distinct, and digits can repeat.
The tokens of a-z are 0 to 25, those of 0-9 are 26 to 35, and that of `?` is 36.
"""

import string

import numpy as np

from fast_weights.experiment.errors import UserError
from fast_weights.experiment.tasks.base import Split, Task

NUM_LETTERS = 26
FIRST_DIGIT = 26
QUESTION_MARK = 36


class AssociativeRetrieval(Task):
    """Letter-digit pairs, followed by a letter of one of them. The answer is its digit.

    Answers are grouped by the pair that the sequence queries.
    """

    settings = ("num_pairs",)
    vocabulary = string.ascii_lowercase + string.digits + "?"
    group = "pair"

    def __init__(self, config):
        if config.num_pairs > NUM_LETTERS:
            raise UserError(
                f"`num_pairs` must be from 1 to {NUM_LETTERS}, because the letters are distinct. "
                f"Received: num_pairs={config.num_pairs}"
            )
        self.num_pairs = self.num_groups = config.num_pairs
        self.length = 2 * config.num_pairs + 3

    def generate(self, num_sequences, rng):
        # The order of 26 random numbers is a random order of the letters.
        letters = np.argsort(rng.random((num_sequences, NUM_LETTERS)), axis=1)[:, : self.num_pairs]
        digits = rng.integers(FIRST_DIGIT, QUESTION_MARK, (num_sequences, self.num_pairs))
        queried = rng.integers(0, self.num_pairs, num_sequences)
        rows = np.arange(num_sequences)
        tokens = np.full((num_sequences, self.length), QUESTION_MARK, dtype=np.uint8)
        tokens[:, :-3:2] = letters
        tokens[:, 1:-3:2] = digits
        tokens[:, -1] = letters[rows, queried]
        return Split(tokens, digits[rows, queried].astype(np.uint8))

    def targets(self, tokens):
        return tokens[1:-2][tokens[:-3] == tokens[-1]]

    def groups(self, split):
        return np.argmax(split.tokens[:, :-3:2] == split.tokens[:, -1:], axis=1)

    def follows_rules(self, tokens):
        keys, values = tokens[:-3:2], tokens[1:-3:2]
        return bool(
            (keys < FIRST_DIGIT).all()
            and ((values >= FIRST_DIGIT) & (values < QUESTION_MARK)).all()
            and len(set(keys.tolist())) == self.num_pairs
            and (tokens[-3:-1] == QUESTION_MARK).all()
            and tokens[-1] in keys
        )

    @property
    def rules(self):
        return (
            f"{self.num_pairs} letter-digit pairs with distinct letters, then ??, then one of the "
            f"letters ({self.length} symbols)"
        )

    @property
    def default_sample(self):
        return "g5o8k1??g" if self.num_pairs == 3 else super().default_sample

    @property
    def position_labels(self):
        pairs = range(1, self.num_pairs + 1)
        labels = [f"{kind} {pair}" for pair in pairs for kind in ("letter", "digit")]
        return [*labels, "?", "?", "query"]
