"""Blocks of batches: the model that `fit` trains on blocks, and the datasets of blocks.

Training a small recurrent network batch by batch spends most of the time between Python and the
runtime. `fit` therefore gets blocks of K batches, and one compiled program makes the K updates.
"""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from fast_weights.experiment.config import Config
from fast_weights.experiment.metrics import Accuracy, GroupAccuracy, cross_entropy
from fast_weights.experiment.tasks import Split, batches

# Progress is shown after each block. If the number of blocks divides the number of batches, no
# shorter last block must be compiled.
BLOCKS_PER_EPOCH = 10
POSSIBLE_BLOCKS = range(5, 21)


class BlockModel(keras.Model):
    """A model that `fit` trains on blocks of K batches, each in one XLA program.

    It shares the layers and the optimizer of `model`. `fit` takes tokens, (K, B, T), and targets,
    (K, B) or (K, B, T). `evaluate` also takes the group of each target. Callbacks treat a block as
    a batch.

    Args:
        model: as `build_model` returns it.
        num_groups: the number of groups of the task.
        metrics: Keras metrics to compute in addition to the accuracy. Default: only the accuracy.
        jit_compile: whether XLA compiles the loop over a block. Default: `True`.
    """

    def __init__(
        self,
        model: keras.Model,
        num_groups: int,
        metrics: Sequence[keras.metrics.Metric] = (),
        jit_compile: bool = True,
    ):
        super().__init__(inputs=model.input, outputs=model.output, name=model.name)
        self.gradient_norm = keras.metrics.Mean("gradient_norm")
        self.group_accuracy = GroupAccuracy(num_groups)
        # Saves the plain model, which `keras.saving.load_model` can build.
        self.save = model.save
        metrics = [Accuracy(), *metrics]
        self.compile(model.optimizer, cross_entropy, metrics=metrics, jit_compile=jit_compile)
        # Keras creates the variables of a metric in its first update, which must not be in a loop.
        logits = keras.ops.zeros([size or 1 for size in self.output.shape])
        self.compute_metrics(None, keras.ops.zeros(logits.shape[:-1], "int32"), logits)
        self.reset_metrics()

    def train_step(self, data):
        self._for_each_batch(self.update, *data)
        return self._results(hidden=self.group_accuracy.names)

    def test_step(self, data):
        self._for_each_batch(self.evaluate_batch, *data)
        return self._results(hidden={"gradient_norm"})

    def update(self, tokens, targets):
        """Makes one update, as Keras's own `train_step`. Returns the arguments of `measure`."""
        with tf.GradientTape() as tape:
            logits = self(tokens, training=True)
            loss = self.compute_loss(tokens, targets, logits)
        weights = self.trainable_variables
        # With S = 0, the gain and the bias are unused and have no gradient.
        zero = tf.UnconnectedGradients.ZERO
        gradients = tape.gradient(loss, [one.value for one in weights], unconnected_gradients=zero)
        self.optimizer.apply_gradients(zip(gradients, weights, strict=True))  # clips them first
        return loss, tokens, targets, logits, tf.linalg.global_norm(gradients)

    def evaluate_batch(self, tokens, targets, groups=None):
        """Evaluates one batch. Returns the arguments of `measure`."""
        logits = self(tokens, training=False)
        return self.compute_loss(tokens, targets, logits), tokens, targets, logits, None, groups

    def measure(self, loss, tokens, targets, logits, norm=None, groups=None):
        """Adds the results of one batch to the metrics."""
        (loss_tracker,) = (one for one in self.metrics if one.name == "loss")
        loss_tracker.update_state(loss, sample_weight=tf.shape(tokens)[0])
        self.compute_metrics(tokens, targets, logits)
        if norm is not None:
            self.gradient_norm.update_state(norm)
        if groups is not None:
            self.group_accuracy.update_state(targets, logits, groups)

    def _for_each_batch(self, function, *block):
        """Calls a function with each batch of a block, or with a single batch, and measures."""
        if len(block[0].shape) == 2:
            self.measure(*function(*block))
            return
        variables = self.metrics_variables

        # The loop carries the values of the metrics. If it assigned their variables instead, an
        # update would take a quarter more time.
        def body(k, values):
            found = function(*(part[k] for part in block))
            with keras.StatelessScope(list(zip(variables, values, strict=True))) as scope:
                self.measure(*found)
            return [scope.get_current_value(one) for one in variables]

        values = [one.value for one in variables]
        values = keras.ops.fori_loop(0, keras.ops.shape(block[0])[0], body, values)
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)

    def _results(self, hidden):
        """Returns the results of all metrics whose names are not in `hidden`."""
        found = self.get_metrics_result().items()
        return {name: value for name, value in found if name not in hidden}


def num_blocks(config: Config) -> int:
    """Returns the number of blocks in an epoch, for `steps_per_epoch` of `fit`."""
    num_batches = config.num_training // config.batch_size
    dividing = [number for number in POSSIBLE_BLOCKS if num_batches % number == 0]
    nearest = min(dividing, key=lambda n: abs(n - BLOCKS_PER_EPOCH), default=BLOCKS_PER_EPOCH)
    return -(-num_batches // -(-num_batches // nearest))


def training_blocks(split: Split, config: Config, epoch: int = 0) -> tf.data.Dataset:
    """Returns the blocks of all epochs after `epoch`.

    The order of the sequences depends only on the seed and the number of the epoch, so a resumed
    run sees the same batches as an uninterrupted one.
    """
    steps = config.num_training // config.batch_size
    size = -(-steps // num_blocks(config))
    tokens, targets = (tf.constant(part, tf.int32) for part in split)

    def orders():
        for number in range(epoch + 1, config.num_epochs + 1):
            order = np.arange(config.num_training)
            if config.shuffle:
                order = epoch_order(config.seed, number, config.num_training)
            order = order[: steps * config.batch_size].reshape(steps, config.batch_size)
            yield order.astype("int32")

    spec = tf.TensorSpec((steps, config.batch_size), "int32")
    return (
        tf.data.Dataset.from_generator(orders, output_signature=spec)
        .flat_map(lambda order: tf.data.Dataset.from_tensor_slices(order).batch(size))
        .map(lambda order: (tf.gather(tokens, order), tf.gather(targets, order)))
        .prefetch(1)
    )


def epoch_order(seed: int, epoch: int, num_sequences: int) -> np.ndarray:
    """Returns the order of the training sequences in an epoch, a permutation."""
    return np.random.default_rng([seed, epoch]).permutation(num_sequences)


def evaluation_block(split: Split, config: Config) -> tf.data.Dataset:
    """Returns one block of all full batches of a split, with their groups."""
    groups = Split(split.tokens, config.make_task().groups(split))
    size = config.batch_size
    parts = *batches(split, size), batches(groups, size).targets
    return tf.data.Dataset.from_tensors(parts)
