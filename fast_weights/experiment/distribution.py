"""Training on several devices or machines: the replicas, and what they exchange.

Each replica computes the gradients of its share of every batch. One all-reduce sums the loss and
the gradients over all replicas, and every process then makes the same update. The variables are
ordinary ones: each process has one copy, and passes its values to its replicas.
"""

import contextlib
import dataclasses
import hashlib
import logging
import math
import pathlib
import re
import signal
import sys
import threading
from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf

import fast_weights
from fast_weights.experiment import cluster
from fast_weights.experiment.config import STRATEGIES, Config
from fast_weights.experiment.errors import UserError, option
from fast_weights.experiment.tasks import Splits


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

    def run(self, function, arguments):
        """Calls a function on every replica and returns one result. All results must be equal."""
        results = self.strategy.run(function, arguments)
        return self.strategy.experimental_local_results(results)[0]

    def gather(self, values: np.ndarray) -> np.ndarray:
        """Returns the values that each replica has, (R, n), from this process's values, (n,)."""

        @tf.function
        def gathered(values):
            def rows(values):
                index = tf.distribute.get_replica_context().replica_id_in_sync_group
                own_row = tf.one_hot(index, self.num_replicas, dtype="float64")
                return self.sum(own_row[:, None] * values)

            return self.run(rows, (values,))

        return gathered(tf.constant(values, "float64")).numpy()

    def check_same_sequences(self, splits: Splits) -> None:
        """Raises a `UserError` if another process has other sequences."""
        content = b"".join(array.tobytes() for split in splits for array in split)
        # 48 bits of a hash are exact in a float64.
        found = self.gather(np.array([int(_hash(content), 16)], "float64"))
        if len(np.unique(found)) > 1:
            raise UserError(
                "another worker has other sequences. Delete the data file in the "
                f"{option('data_dir')} of every worker, which then generates it again"
            )

    def copy_from_chief(self, variables) -> None:
        """Sets the variables of every process to the chief's values."""
        # Exact: float64 holds float32 and the integers of an optimizer.
        mine = np.concatenate([np.ravel(v).astype("float64") for v in map(_numpy, variables)])
        chiefs = self.gather(mine)[0]
        sizes = [int(np.prod(variable.shape)) for variable in variables]
        for variable, part in zip(variables, np.split(chiefs, np.cumsum(sizes)[:-1]), strict=True):
            variable.assign(part.reshape(variable.shape).astype(variable.dtype))


def _numpy(variable):
    return keras.ops.convert_to_numpy(variable)


def _hash(content: bytes) -> str:
    """Returns 12 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()[:12]


def _versions() -> dict[str, str]:
    """Returns all versions that can change the result of an update."""
    package = pathlib.Path(fast_weights.__file__).parent
    source = b"".join(path.read_bytes() for path in sorted(package.rglob("*.py")))
    return {
        "fast_weights": f"{fast_weights.__version__} (source {_hash(source)})",
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
        "python": ".".join(map(str, sys.version_info[:2])),
    }


def connect(
    name: str, num_devices: int | None, config: Config, stop_at_accuracy: float = math.inf
) -> Replicas | None:
    """Connects the replicas of a training. Must come before TensorFlow computes anything.

    Args:
        name: one of `STRATEGIES`.
        num_devices: for `"mirrored"`, the number of virtual CPU devices. Default: all GPUs.
        config: the settings.
        stop_at_accuracy: as in `train`. All workers must have the same value.

    Returns:
        The replicas, or `None` with `"off"`.

    Raises:
        UserError: if the devices do not exist, a worker cannot be reached, the description of the
            cluster is missing or invalid, the workers' settings or versions differ, or
            `batch_size` is not a multiple of the number of devices.
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
        with reported_failures():
            settings = {**dataclasses.asdict(config), "stop_at_accuracy": stop_at_accuracy}
            replicas = Replicas(_multi_worker({**settings, **_versions()}))
        if threading.current_thread() is threading.main_thread():
            # TensorFlow's handler would treat it as a notice of preemption and keep training.
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if not replicas.is_chief:
            logging.getLogger("fast_weights").setLevel(logging.WARNING)
    if config.batch_size % replicas.num_replicas:
        raise UserError(
            f"`batch_size` must be a multiple of the number of devices, {replicas.num_replicas}. "
            f"Received: batch_size={config.batch_size}"
        )
    return replicas


def _mirrored(num_devices):
    """Returns a strategy for all GPUs, or for virtual CPU devices."""
    if num_devices is None:
        gpus = tf.config.list_logical_devices("GPU")
        if not gpus:
            raise UserError(
                "TensorFlow found no GPU. To train on virtual devices of the CPU, set "
                f"{option('num_devices', 2)}"
            )
        return tf.distribute.MirroredStrategy([gpu.name for gpu in gpus])
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
    return tf.distribute.MirroredStrategy([f"CPU:{index}" for index in range(num_devices)])


def _multi_worker(values: dict):
    """Returns a strategy for all workers of the cluster.

    Args:
        values: settings and versions, which must be the same in all workers.
    """
    found = cluster.find()
    gpus = len(tf.config.list_physical_devices("GPU"))
    workers = found.cluster_spec().as_dict()["worker"]
    cluster.wait_for_workers(workers, found.task_id, {**values, "number of GPUs": gpus})
    with cluster.time_limit():
        return tf.distribute.MultiWorkerMirroredStrategy(found)


@contextlib.contextmanager
def reported_failures() -> Iterator[None]:
    """Turns an error of the communication between workers into a `UserError`."""
    try:
        yield
    except (
        tf.errors.AbortedError,
        tf.errors.CancelledError,
        tf.errors.DeadlineExceededError,
        tf.errors.FailedPreconditionError,
        tf.errors.InternalError,
        tf.errors.UnavailableError,
    ) as error:
        raise UserError(
            "another worker has stopped or cannot be reached. Every completed epoch is saved. To "
            f"resume, run the same commands on all workers, without {option('restart', True)}. "
            f"TensorFlow reported: {_reason(error)}"
        ) from None


def _reason(error) -> str:
    """Returns the part of a long message of TensorFlow that names the reason."""
    text = str(error).strip().replace(r"\n", "\n")
    found = re.search(r'(?:grpc_message:"|Collective ops is aborted by: )([^"\n]+)', text)
    return found[1] if found else f"{text.splitlines()[0]:.300}"
