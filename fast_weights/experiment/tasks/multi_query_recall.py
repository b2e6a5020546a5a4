"""Multi-query associative recall, from Arora et al. 2023 (arXiv 2312.04927, "Zoology").

A sequence starts with K pairs of a key and a value. Each key then appears once more, as a query. At
that symbol, the model must answer with the value of the key: `k3 v7 k1 v2 … k1 … k3 …` has the
answers `v2` at the second `k1` and `v7` at the second `k3`. The other symbols are random values.

The vocabulary has V symbols. Tokens 0 to V/2 - 1 are the keys k1, k2, …, and the others are the
values v1, v2, … Keys are distinct within a sequence, and so are the values of its pairs. Queries
are at even distances from the end of the pairs, from 0 to T - 2K - 2. As in the original, shorter
distances are more frequent: the probability of the i-th of them is proportional to i^-0.99.

The original draws the other symbols from the whole vocabulary. Here, they are only values, so that
a key after the pairs is always a query.
"""

import numpy as np

from fast_weights.experiment.errors import UserError
from fast_weights.experiment.tasks.base import NO_ANSWER, Split, Task

# The probability of the i-th place of a query is proportional to i ** (POWER - 1).
POWER = 0.01
# Random numbers that are drawn at a time, 32 MB.
MAX_NUMBERS = 4_000_000


class MultiQueryRecall(Task):
    """Key-value pairs, followed by each key once more. The answer at each key is its value.

    Answers are grouped by the pair that they belong to.
    """

    settings = ("num_pairs", "sequence_length", "vocabulary_size")
    separator = " "
    answers_at_end = False
    group = "pair"

    def __init__(self, config):
        self.num_pairs = self.num_groups = config.num_pairs
        size = config.vocabulary_size or 64
        self.num_keys = size // 2
        self.length = config.sequence_length or 4 * self.num_pairs
        if size % 2 or self.num_keys < self.num_pairs:
            raise UserError(
                "`vocabulary_size` must be even and at least twice `num_pairs`, because half of "
                f"the symbols are keys. Received: vocabulary_size={size}, "
                f"num_pairs={self.num_pairs}"
            )
        if self.length % 2 or self.length < 4 * self.num_pairs:
            raise UserError(
                "`sequence_length` must be even and at least four times `num_pairs`. Received: "
                f"sequence_length={self.length}, num_pairs={self.num_pairs}"
            )
        numbers = range(1, self.num_keys + 1)
        self.vocabulary = [f"{kind}{number}" for kind in "kv" for number in numbers]

    def generate(self, num_sequences, rng):
        num_pairs = self.num_pairs
        keys = self._distinct(num_sequences, rng)
        values = self.num_keys + self._distinct(num_sequences, rng)
        last = 2 * self.num_keys
        tokens = rng.integers(self.num_keys, last, (num_sequences, self.length))
        tokens[:, : 2 * num_pairs : 2] = keys
        tokens[:, 1 : 2 * num_pairs : 2] = values
        positions = 2 * num_pairs + 2 * self._places(num_sequences, rng)
        targets = np.full(tokens.shape, NO_ANSWER)
        np.put_along_axis(tokens, positions, keys, axis=1)
        np.put_along_axis(targets, positions, values, axis=1)
        return Split(tokens.astype(np.uint16), targets.astype(np.int32))

    def _distinct(self, num_sequences, rng):
        """Returns K distinct random numbers below V/2 for each sequence, (N, K)."""
        # The order of random numbers is a random order. All sequences at once could exhaust the
        # memory if V is large, so they are drawn in parts.
        part = max(MAX_NUMBERS // self.num_keys, 1)
        sizes = [min(part, num_sequences - i) for i in range(0, num_sequences, part)]
        orders = [np.argsort(rng.random((size, self.num_keys)), axis=1) for size in sizes]
        drawn = [order[:, : self.num_pairs] for order in orders]
        return np.concatenate([np.empty((0, self.num_pairs), int), *drawn])

    def _places(self, num_sequences, rng):
        """Returns K distinct places for the queries of each sequence, (N, K), by the power law."""
        num_places = self.length // 2 - self.num_pairs
        weights = np.arange(1, num_places + 1) ** (POWER - 1.0)
        # The K smallest of exponential variables with these rates are K weighted draws without
        # replacement. `rng.choice` would need a call for each sequence.
        waits = rng.exponential(size=(num_sequences, num_places)) / weights
        return np.argsort(waits, axis=1)[:, : self.num_pairs]

    def answer_positions(self, tokens):
        start = 2 * self.num_pairs
        return start + np.flatnonzero(tokens[start:] < self.num_keys)

    def targets(self, tokens):
        keys, values = tokens[: 2 * self.num_pairs].reshape(-1, 2).T
        value_of = dict(zip(keys, values, strict=True))
        return np.array([value_of[key] for key in tokens[self.answer_positions(tokens)]])

    def groups(self, split):
        keys = split.tokens[:, : 2 * self.num_pairs : 2]
        return np.argmax(split.tokens[:, :, None] == keys[:, None, :], axis=2)

    def follows_rules(self, tokens):
        pairs, rest = np.split(tokens, [2 * self.num_pairs])
        keys, values = pairs[::2], pairs[1::2]
        queries = rest[rest < self.num_keys]
        return bool(
            (keys < self.num_keys).all()
            and (values >= self.num_keys).all()
            and len(set(keys.tolist())) == self.num_pairs
            and len(queries)
            and set(queries.tolist()) <= set(keys.tolist())
        )

    @property
    def rules(self):
        return (
            f"{self.num_pairs} key-value pairs with distinct keys, then values and at least one of "
            f"those keys ({self.length} symbols, k1 to k{self.num_keys} and v1 to "
            f"v{self.num_keys}, separated by spaces)"
        )
