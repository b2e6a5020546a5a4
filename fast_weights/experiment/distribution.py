"""Training on several devices or machines: the replicas, and the model that they share.

Each replica computes the gradients of its share of every batch. One all-reduce sums the loss and
the gradients over all replicas, and every process then makes the same update. The variables are
ordinary ones: each process has one copy, and passes its values to its replicas.

Keras's own `fit` under a strategy is not an alternative: it clips the gradients of each replica
before the sum, and it fails with several workers (keras-team/keras#20585).
"""

import functools
import logging

import keras
import numpy as np
import tensorflow as tf

from fast_weights.experiment.blocks import BlockModel
from fast_weights.experiment.config import STRATEGIES
from fast_weights.experiment.errors import UserError, option
from fast_weights.experiment.metrics import accuracy, cross_entropy
from fast_weights.experiment.tasks import Splits
from fast_weights.experiment.workers import connect_workers


def connect(name: str, num_devices: int | None, settings: dict, splits: Splits):
    """Connects the replicas of a training. Call it before TensorFlow computes anything.

    Args:
        name: one of `STRATEGIES`.
        num_devices: for `"mirrored"`, the number of virtual CPU devices. Default: all GPUs.
        settings: the settings that the training depends on. All workers must have the same.
        splits: the sequences. All workers must have the same.

    Returns:
        The `Replicas`, or `None` with `"off"`.

    Raises:
        UserError: if the devices do not exist, a worker cannot be reached, the description of the
            cluster is missing or invalid, the workers' settings, sequences or versions differ, or
            the batch size is not a multiple of the number of devices.
    """
    if name not in STRATEGIES:
        raise UserError(
            f"`distribution_strategy` must be one of {', '.join(STRATEGIES)}. Received: {name!r}"
        )
    if num_devices is not None and name != "mirrored":
        raise UserError(
            f"{option('num_devices')} applies only to {option('distribution_strategy', 'mirrored')}"
            f". Received: distribution_strategy={name!r}"
        )
    if name == "off":
        return None
    if name == "mirrored":
        replicas = Replicas(_mirrored(num_devices))
    else:
        replicas = Replicas(connect_workers(settings, splits))
        if not replicas.is_chief:
            logging.getLogger("fast_weights").setLevel(logging.WARNING)
    batch_size = settings["batch_size"]
    if batch_size % replicas.num_replicas:
        raise UserError(
            f"`batch_size` must be a multiple of the number of devices, {replicas.num_replicas}. "
            f"Received: batch_size={batch_size}"
        )
    return replicas


class Replicas:
    """The replicas of a training.

    Args:
        strategy: a `MirroredStrategy` or a `MultiWorkerMirroredStrategy`. It has no variables.

    Attributes:
        strategy: the strategy.
        num_replicas: R, the number of replicas in all processes.
        is_chief: whether this process writes the files of the run.
    """

    def __init__(self, strategy: tf.distribute.Strategy):
        self.strategy = strategy
        self.num_replicas = strategy.num_replicas_in_sync
        resolver = strategy.cluster_resolver
        is_worker = bool(resolver and resolver.cluster_spec())
        self.is_chief = not is_worker or resolver.task_id == 0

    def __str__(self):
        kind = tf.DeviceSpec.from_string(self.strategy.extended.worker_devices[0]).device_type
        return f"{self.num_replicas} {kind} devices"

    def share(self, batch_size: int):
        """Returns the slice of a batch that belongs to the replica that calls this."""
        size = batch_size // self.num_replicas
        start = tf.distribute.get_replica_context().replica_id_in_sync_group * size
        return slice(start, start + size)

    def sum(self, tensor):
        """Returns the sum of a tensor over all replicas. Every replica must call it."""
        return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, tensor)

    def run(self, function, arguments=()):
        """Calls a function on every replica and returns one result. All results must be equal."""
        results = self.strategy.run(function, arguments)
        return self.strategy.experimental_local_results(results)[0]

    def follow_chief(self, model: keras.Model, epoch: int, has_ended: bool) -> tuple[int, bool]:
        """Gives every process the chief's state.

        Args:
            model: whose weights and optimizer become the chief's.
            epoch: the number of completed epochs.
            has_ended: whether there is nothing left to train.

        Returns:
            The chief's `epoch` and `has_ended`.
        """
        variables = [*model.weights, *model.optimizer.variables]
        # Exact: float64 holds float32 and the integers of an optimizer.
        values = [np.array([epoch, has_ended]), *map(keras.ops.convert_to_numpy, variables)]
        flat = np.concatenate([np.ravel(one).astype("float64") for one in values])

        @tf.function
        def chiefs(flat):
            index = tf.distribute.get_replica_context().replica_id_in_sync_group
            return self.sum(tf.where(index == 0, flat, 0))

        flat = self.run(chiefs, (tf.constant(flat),)).numpy()
        parts = np.split(flat, np.cumsum([one.size for one in values])[:-1])
        for variable, part in zip(variables, parts[1:], strict=True):
            variable.assign(part.reshape(variable.shape).astype(variable.dtype))
        return int(parts[0][0]), bool(parts[0][1])


class ReplicatedModel(BlockModel):
    """A `BlockModel` that gives every replica a share of each batch.

    XLA compiles the gradients of a share, and the update from their sum, but not the sum, which
    crosses devices. One vector holds the loss and all gradients, so that an update needs one sum.

    Args:
        model: as `build_model` returns it.
        num_groups: the number of groups of the task.
        replicas: the replicas of the training.
    """

    def __init__(self, model: keras.Model, num_groups: int, replicas: Replicas):
        super().__init__(model, num_groups, jit_compile=False)
        self.replicas = replicas

    def train_step(self, data):
        tokens, targets = data

        def body(k, done):
            summed = self._summed(self._gradients, tokens[k], targets[k])
            self._apply(summed / tokens.shape[1])
            return done

        keras.ops.fori_loop(0, keras.ops.shape(tokens)[0], body, 0)
        return self._results(hidden=self.group_accuracy.names)

    def test_step(self, data):
        """Evaluates a block with groups, with one sum over the replicas; or a batch, without."""
        if len(data[0].shape) == 2:
            return super().test_step(data)
        num_groups, shape = self.group_accuracy.num_groups, tf.shape(data[1])
        summed = self._summed(self._totals, *data, axis=1)
        means, correct, count = tf.split(summed, [2, num_groups, num_groups])
        # Splits of different sizes share a program, so it does not know the number of batches.
        num_batches, size = (tf.cast(one, "float32") for one in (shape[0], shape[1]))
        self._add_means(means / (num_batches * size), num_batches)
        self.group_accuracy.add(correct, count)
        return self._results(hidden={"gradient_norm"})

    def _summed(self, function, *data, axis=0):
        """Returns the sum over replicas of a function of the weights and a share of the data."""

        def of_share(weights):
            share = (slice(None),) * axis + (self.replicas.share(data[0].shape[axis]),)
            return self.replicas.sum(function(weights, *(part[share] for part in data)))

        weights = [tf.convert_to_tensor(one.value) for one in self.trainable_variables]
        return self.replicas.run(of_share, (weights,))

    def _add_means(self, values, number=1):
        loss, compiled = self.metrics[:2]
        means = loss, compiled.metrics[0]  # of the accuracy
        for mean, value in zip(means, tf.unstack(values), strict=True):
            keras.metrics.Mean.update_state(mean, value, number)

    @tf.function(jit_compile=True, autograph=False)  # which would change the message of an error
    def _gradients(self, weights, tokens, targets):
        """Returns the sums of loss and correct predictions, and the gradients, as one vector."""
        with tf.GradientTape() as tape:
            tape.watch(weights)
            constants = self._constants()
            logits, after = self.stateless_call(weights, constants, tokens, training=True)
            if any(new is not old for new, old in zip(after, constants, strict=True)):
                raise UserError(
                    "several devices cannot train a model with dropout or other variables that an "
                    f"update changes besides the weights. Omit {option('distribution_strategy')}"
                )
            loss = tf.reduce_sum(cross_entropy(targets, logits))
        gradients = tape.gradient(loss, weights, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        correct = tf.reduce_sum(accuracy(targets, logits))
        return tf.concat([[loss, correct], *(tf.reshape(one, [-1]) for one in gradients)], axis=0)

    @tf.function(jit_compile=True)
    def _apply(self, mean):
        """Updates weights and metrics from the vector of `_gradients`, averaged over a batch."""
        weights = self.trainable_variables
        parts = tf.split(mean[2:], [one.shape.num_elements() for one in weights])
        gradients = [tf.reshape(part, one.shape) for part, one in zip(parts, weights, strict=True)]
        self.gradient_norm.update_state(tf.linalg.global_norm(gradients))
        self.optimizer.apply_gradients(zip(gradients, weights, strict=True))  # clips them first
        self._add_means(mean[:2])

    @tf.function(jit_compile=True)
    def _totals(self, weights, tokens, targets, groups):
        """Returns the sums of loss and correct predictions, and the counts of `GroupAccuracy`."""

        def body(k, totals):
            logits, _ = self.stateless_call(weights, self._constants(), tokens[k], training=False)
            sums = [tf.reduce_sum(one(targets[k], logits)) for one in (cross_entropy, accuracy)]
            by_group = self.group_accuracy.counts(targets[k], logits, groups[k])
            return totals + tf.concat([sums, *by_group], axis=0)

        start = tf.zeros(2 + 2 * self.group_accuracy.num_groups)
        return keras.ops.fori_loop(0, keras.ops.shape(tokens)[0], body, start)

    def _constants(self):
        return [one.value for one in self.non_trainable_variables]


def device_name() -> str:
    """Returns the name of the device that TensorFlow trains on: the first GPU, or the CPU."""
    gpus = tf.config.get_visible_devices("GPU")
    if not gpus:
        return "CPU (TensorFlow uses no GPU)"
    details = tf.config.experimental.get_device_details(gpus[0])
    return f"GPU ({details.get('device_name', gpus[0].name)})"


def _mirrored(num_devices):
    """Returns a strategy for all GPUs, or for virtual CPU devices."""
    if num_devices is None:
        gpus = tf.config.list_logical_devices("GPU")
        if not gpus:
            raise UserError(
                "TensorFlow found no GPU. To train on virtual devices of the CPU, set "
                f"{option('num_devices', 2)}"
            )
        return _strategy(tuple(gpu.name for gpu in gpus))
    (cpu,) = tf.config.list_physical_devices("CPU")
    devices = [tf.config.LogicalDeviceConfiguration() for _ in range(num_devices)]
    try:
        if tf.config.get_logical_device_configuration(cpu) != devices:
            tf.config.set_logical_device_configuration(cpu, devices)
    except RuntimeError:
        raise UserError(
            "the number of virtual devices cannot be set after TensorFlow has started computing. "
            "Restart Python, or the kernel of a notebook, and train before anything else uses "
            f"TensorFlow. Received: num_devices={num_devices}"
        ) from None
    return _strategy(tuple(f"CPU:{index}" for index in range(num_devices)))


@functools.cache
def _strategy(devices: tuple[str, ...]) -> tf.distribute.Strategy:
    """Returns the strategy for these devices, which all trainings of a process share.

    A second strategy would number its sums from the start again. TensorFlow would then confuse
    them with sums of the first training, which may have another size.
    """
    return tf.distribute.MirroredStrategy(devices)
