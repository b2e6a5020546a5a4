"""The update, and the compiled loops over the batches of an epoch.

A small recurrent network spends most of its time at the boundary between Python and the
runtime. Therefore, each call of the compiled program makes the updates of a whole chunk of an
epoch.
"""

import keras
import numpy as np
import tensorflow as tf

from fast_weights.experiment.checkpoint import TrainingState
from fast_weights.experiment.distribution import Replicas
from fast_weights.experiment.tasks import NO_ANSWER, Batches, Split, Task, batches


def loss_and_gradients(model: keras.Model, tokens, targets, batch_size: int, weights=None):
    """Computes the softmax cross-entropy of one batch and its gradients.

    Args:
        model: from tokens to logits.
        tokens: (B, T) int.
        targets: (B,) or (B, T) int, as in `Split`.
        batch_size: the number of sequences in one update: B, or the sum of B over replicas.
        weights: values to use in place of those of `model.trainable_variables`. Default: `None`.

    Returns:
        The loss, a scalar, summed over B and divided by `batch_size`; the number of
        correct predictions, a scalar; and a list of gradients, one for each of
        `model.trainable_variables`. A sequence with several answers counts as their mean.
    """
    sources = model.trainable_variables if weights is None else weights
    with tf.GradientTape() as tape:
        if weights is not None:
            tape.watch(weights)
        logits = _logits(model, tokens, weights, training=True)
        loss = _summed_loss(logits, targets) / batch_size
    gradients = tape.gradient(loss, sources)
    # With S = 0 the gain and bias of layer normalization are not used and have no gradient.
    gradients = [
        tf.zeros_like(weight) if gradient is None else gradient
        for gradient, weight in zip(gradients, sources, strict=True)
    ]
    return loss, _sum_over_sequences(_is_correct(logits, targets), targets), gradients


def train_step(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    tokens,
    targets,
    max_gradient_norm: float,
):
    """Updates the slow weights from one batch.

    Args:
        model: from tokens to logits.
        optimizer: built for the model's trainable variables.
        tokens: (B, T) int.
        targets: (B,) or (B, T) int.
        max_gradient_norm: the global norm that gradients are clipped to.

    Returns:
        Three scalars: the loss, the number of correct predictions, and the global norm of the
        gradients before clipping.
    """
    loss, num_correct, gradients = loss_and_gradients(model, tokens, targets, tokens.shape[0])
    norm = _apply_clipped(model, optimizer, gradients, max_gradient_norm)
    return loss, num_correct, norm


def _apply_clipped(model, optimizer, gradients, max_gradient_norm):
    """Updates the weights from clipped gradients, and returns their norm before clipping."""
    clipped, norm = tf.clip_by_global_norm(gradients, max_gradient_norm)
    optimizer.apply_gradients(zip(clipped, model.trainable_variables, strict=True))
    return norm


def _logits(model, tokens, weights=None, training=False):
    """Returns the logits, with other values of the trainable weights if they are given."""
    if weights is None:
        return model(tokens, training=training)
    others = [variable.value for variable in model.non_trainable_variables]
    logits, _ = model.stateless_call(weights, others, tokens, training=training)
    return logits


def _summed_loss(logits, targets):
    """Returns the cross-entropy summed over B, (); the mean over the answers of a sequence."""
    labels = targets if targets.shape.rank == 1 else tf.maximum(targets, 0)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    return _sum_over_sequences(losses, targets)


def _sum_over_sequences(values, targets):
    """Returns the sum over B of a value of each answer; the mean over the answers of a sequence."""
    if targets.shape.rank == 1:
        return tf.reduce_sum(values)
    is_answer = tf.cast(targets != NO_ANSWER, values.dtype)
    num_answers = tf.maximum(tf.reduce_sum(is_answer, axis=1), 1)
    return tf.reduce_sum(tf.reduce_sum(values * is_answer, axis=1) / num_answers)


def _is_correct(logits, targets):
    """Returns 1 for a correct prediction, else 0, in the shape of the targets."""
    predictions = tf.argmax(logits, axis=-1, output_type=targets.dtype)
    return tf.cast(predictions == targets, tf.float32)


class EpochProgram:
    """The compiled loops over batches, for training and for evaluation.

    Both loops take batches, the range of steps to run, and running totals. They return the
    totals with that range added. Start and stop are tensors, so chunks of any length share one
    compilation and give bit-identical totals. XLA would compile a loop over `tf.range` again for
    each pair of bounds, because it needs them at compile time.
    """

    def __init__(self, state: TrainingState):
        self._model = state.model
        self._optimizer = state.optimizer
        self._config = state.config

    @tf.function(jit_compile=True)
    def train(self, tokens, targets, start, stop, totals):
        """Updates the weights. Totals are [loss, correct predictions, gradient norm], (3,)."""
        step = start
        while step < stop:
            totals += tf.stack(
                train_step(
                    self._model,
                    self._optimizer,
                    tokens[step],
                    targets[step],
                    self._config.max_gradient_norm,
                )
            )
            step += 1
        return totals

    @tf.function(jit_compile=True)
    def evaluate(self, tokens, targets, groups, start, stop, totals):
        """Evaluates without an update.

        Args:
            tokens, targets: as for `train`.
            groups: the group of each answer, in the shape of the targets.
            start, stop: the range of steps.
            totals: [loss, correct predictions, correct predictions of each group], (2 + G,).
        """
        return self._evaluate(tokens, targets, groups, start, stop, totals)

    def _evaluate(self, tokens, targets, groups, start, stop, totals, weights=None):
        num_groups = totals.shape[0] - 2
        step = start
        while step < stop:
            logits = _logits(self._model, tokens[step], weights)
            loss = _summed_loss(logits, targets[step]) / self._config.batch_size
            is_correct = _is_correct(logits, targets[step])
            correct = _sum_over_sequences(is_correct, targets[step])
            in_group = tf.one_hot(groups[step], num_groups)
            of_groups = tf.reduce_sum(
                in_group * is_correct[..., None], axis=range(targets.shape.rank - 1)
            )
            totals += tf.concat([[loss, correct], of_groups], axis=0)
            step += 1
        return totals


class ReplicatedProgram(EpochProgram):
    """The loops over batches, with a share of each batch on every replica.

    XLA compiles the gradients of a share, and the update from their sum. The sum crosses between
    devices, which XLA's programs cannot do here. One vector holds the loss and all gradients, so
    that there is one sum in an update.
    """

    def __init__(self, state: TrainingState, replicas: Replicas):
        super().__init__(state)
        self._replicas = replicas

    @tf.function
    def train(self, tokens, targets, start, stop, totals):
        """Updates the weights, as in `EpochProgram`."""
        step = start
        while step < stop:
            summed = self._replicas.run(
                self._gradients_of_batch, (self._weights(), tokens[step], targets[step])
            )
            totals += self._update(summed)
            step += 1
        return totals

    @tf.function
    def evaluate(self, tokens, targets, groups, start, stop, totals):
        """Evaluates without an update, as in `EpochProgram`."""

        def totals_of_split(weights, *batches):
            share = self._replicas.share(self._config.batch_size)
            shares = (one[:, share] for one in batches)
            return self._replicas.sum(
                self._totals(*shares, start, stop, tf.zeros_like(totals), weights)
            )

        arguments = (self._weights(), tokens, targets, groups)
        return totals + self._replicas.run(totals_of_split, arguments)

    def _weights(self):
        return [tf.convert_to_tensor(one.value) for one in self._model.trainable_variables]

    def _gradients_of_batch(self, weights, tokens, targets):
        share = self._replicas.share(self._config.batch_size)
        return self._replicas.sum(self._gradients(weights, tokens[share], targets[share]))

    @tf.function(jit_compile=True)
    def _gradients(self, weights, tokens, targets):
        """Returns loss, number of correct predictions and gradients as one vector."""
        loss, num_correct, gradients = loss_and_gradients(
            self._model, tokens, targets, self._config.batch_size, weights
        )
        flat = [tf.reshape(gradient, [-1]) for gradient in gradients]
        return tf.concat([tf.stack([loss, num_correct]), *flat], axis=0)

    @tf.function(jit_compile=True)
    def _update(self, summed):
        """Updates the weights from the summed vector. Returns what the step adds to the totals."""
        weights = self._model.trainable_variables
        parts = tf.split(summed[2:], [weight.shape.num_elements() for weight in weights])
        gradients = [
            tf.reshape(part, weight.shape) for part, weight in zip(parts, weights, strict=True)
        ]
        norm = _apply_clipped(
            self._model, self._optimizer, gradients, self._config.max_gradient_norm
        )
        return tf.stack([summed[0], summed[1], norm])

    @tf.function(jit_compile=True)
    def _totals(self, tokens, targets, groups, start, stop, totals, weights):
        return self._evaluate(tokens, targets, groups, start, stop, totals, weights)


class Evaluation:
    """The results of a model on the full batches of a split.

    Args:
        program: of the model.
        task: of the split.
        split: N sequences.
        batch_size: B.
    """

    def __init__(self, program: EpochProgram, task: Task, split: Split, batch_size: int):
        cut = batches(split, batch_size)
        groups = batches(Split(split.tokens, task.groups(split)), batch_size).targets
        is_answer = cut.targets != NO_ANSWER
        self._group_sizes = np.bincount(groups[is_answer], minlength=task.num_groups)
        self._arguments = (*to_tensors(cut), tf.constant(groups), *bounds(0, len(groups)))
        self._program = program
        self._steps, self._batch_size = len(groups), batch_size

    def run(self) -> tuple[float, float, np.ndarray]:
        """Returns loss, accuracy, and the accuracy of each group; NaN for one without answers."""
        totals = self._program.evaluate(*self._arguments, tf.zeros(2 + len(self._group_sizes)))
        loss, correct, *of_groups = totals.numpy()
        with np.errstate(invalid="ignore"):
            by_group = of_groups / self._group_sizes
        return (
            float(loss / self._steps),
            float(correct / (self._steps * self._batch_size)),
            by_group,
        )


def bounds(start: int, stop: int):
    """Returns the range of steps of a call."""
    return tf.constant(start), tf.constant(stop)


def to_tensors(batches: Batches) -> Batches:
    """Returns batches as tensors."""
    return Batches(tf.constant(batches.tokens), tf.constant(batches.targets))
