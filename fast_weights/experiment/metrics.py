"""The loss and the accuracies, for `compile`.

| symbol | meaning | shape |
|---|---|---|
| targets | the tokens of the correct answers; `NO_ANSWER` for other symbols | (B,) or (B, T) |
| logits | the logits of the V symbols of the vocabulary | (B, V) or (B, T, V) |
"""

import keras
from keras import ops

from fast_weights.experiment.tasks import NO_ANSWER


@keras.saving.register_keras_serializable(package="fast_weights")
def cross_entropy(targets, logits):
    """Returns the mean softmax cross-entropy over the answers of each sequence, (B,)."""
    targets = _tokens(targets, logits)
    labels = ops.maximum(targets, 0)
    losses = ops.sparse_categorical_crossentropy(labels, logits, from_logits=True)
    return _over_answers(losses, targets)


@keras.saving.register_keras_serializable(package="fast_weights")
def accuracy(targets, logits):
    """Returns the fraction of correct answers of each sequence, (B,)."""
    targets = _tokens(targets, logits)
    return _over_answers(is_correct(targets, logits), targets)


def is_correct(targets, logits):
    """Returns 1 for a correct prediction, else 0, in the shape of the targets."""
    predictions = ops.cast(ops.argmax(logits, axis=-1), "int32")
    return ops.cast(predictions == targets, "float32")


def _tokens(targets, logits):
    """Returns the targets as integers, (B,) or (B, T), also if they come as (B, 1)."""
    targets = ops.cast(targets, "int32")
    return ops.squeeze(targets, axis=-1) if len(targets.shape) == len(logits.shape) else targets


def _over_answers(values, targets):
    """Returns the mean of `values` over the answers of each sequence, (B,)."""
    if len(targets.shape) == 1:
        return values
    is_answer = ops.cast(targets != NO_ANSWER, values.dtype)
    return ops.sum(values * is_answer, axis=1) / ops.maximum(ops.sum(is_answer, axis=1), 1)


@keras.saving.register_keras_serializable(package="fast_weights")
class Accuracy(keras.metrics.MeanMetricWrapper):
    """The mean of `accuracy` over all sequences."""

    def __init__(self, name="accuracy", dtype=None):
        super().__init__(accuracy, name=name, dtype=dtype)
        # Tells callbacks such as `EarlyStopping` that higher is better.
        self._direction = "up"

    def get_config(self):
        return {"name": self.name, "dtype": self.dtype}


class GroupAccuracy(keras.metrics.Metric):
    """The accuracy on the answers of each group of a task.

    `result` returns a dict with `accuracy_1`, …, which is NaN for a group without answers.

    Args:
        num_groups: G, the number of groups.
    """

    def __init__(self, num_groups: int, name="group_accuracy"):
        super().__init__(name=name)
        self.num_groups = num_groups
        self.correct = self.add_weight(shape=(num_groups,), initializer="zeros", name="correct")
        self.count = self.add_weight(shape=(num_groups,), initializer="zeros", name="count")

    def update_state(self, targets, logits, groups):
        """Counts the answers of a batch. `groups` has the group of each answer, 0 to G - 1."""
        self.add(*self.counts(targets, logits, groups))

    def counts(self, targets, logits, groups):
        """Returns the number of correct answers and of all answers of each group, (G,) each."""
        is_answer = ops.cast(targets != NO_ANSWER, "float32")[..., None]
        member = ops.one_hot(groups, self.num_groups) * is_answer
        hits = member * is_correct(targets, logits)[..., None]
        axes = tuple(range(len(targets.shape)))
        return ops.sum(hits, axis=axes), ops.sum(member, axis=axes)

    def add(self, correct, count):
        """Adds counts to the totals."""
        self.correct.assign_add(correct)
        self.count.assign_add(count)

    @property
    def names(self) -> list[str]:
        """The names of the results."""
        return [f"accuracy_{group}" for group in range(1, self.num_groups + 1)]

    def result(self):
        fractions = ops.unstack(self.correct / self.count, self.num_groups)
        return dict(zip(self.names, fractions, strict=True))
