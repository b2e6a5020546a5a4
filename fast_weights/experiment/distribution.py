"""Training on several devices or machines: the replicas, and what they exchange.

Each replica computes the gradients of its share of every batch. One all-reduce sums the loss and
the gradients over all replicas, and every process then makes the same update. The variables are
ordinary ones: each process has one copy, and passes its values to its replicas.
"""

import contextlib
import dataclasses
import hashlib
import json
import logging
import math
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf

import fast_weights
from fast_weights.experiment.config import STRATEGIES, Config
from fast_weights.experiment.errors import UserError, option
from fast_weights.experiment.tasks import Splits

# Waiting for the other workers to connect fails after this time.
START_SECONDS = 300
# TensorFlow connects the workers within a few seconds, or not at all.
CONNECT_SECONDS = 50
# The chief names the missing workers after this time.
NOTE_SECONDS = 5
# The port of the first task on a node, as in TensorFlow's `SlurmClusterResolver`.
SLURM_PORT = 8888

logger = logging.getLogger(__name__)


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
    """Returns a strategy for the cluster of `TF_CONFIG`, or else that of Slurm.

    Args:
        values: settings and versions, which must be the same in all workers.
    """
    if "TF_CONFIG" in os.environ:
        _read_cluster(os.environ["TF_CONFIG"])
        found = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    elif "SLURM_PROCID" in os.environ:
        found = _read_slurm()
    else:
        raise UserError(
            "multi_worker_mirrored found no cluster: the environment variable TF_CONFIG is not "
            "set, and this process does not run under Slurm. Set TF_CONFIG, or start the workers "
            "with srun"
        )
    gpus = len(tf.config.list_physical_devices("GPU"))
    workers = found.cluster_spec().as_dict()["worker"]
    _wait_for_workers(workers, found.task_id, {**values, "number of GPUs": gpus})
    with _time_limit():
        return tf.distribute.MultiWorkerMirroredStrategy(found)


# Reads the time limit and waits for the end of its input.
_WATCH = """
import os, select, signal, sys
if not select.select([sys.stdin], [], [], float(sys.argv[1]))[0]:
    print(sys.argv[2], file=sys.stderr)
    os.kill(os.getppid(), signal.SIGKILL)
"""


@contextlib.contextmanager
def _time_limit() -> Iterator[None]:
    """Kills this process with a message if the block takes longer than `CONNECT_SECONDS`.

    If another worker dies while TensorFlow connects the workers, TensorFlow waits for an hour and
    keeps Python's lock, so that nothing in this process can interrupt it.
    """
    message = (
        f"error: TensorFlow has not connected the workers within {CONNECT_SECONDS} s. Another "
        "worker has stopped. Start all workers again"
    )
    command = [sys.executable, "-c", _WATCH, str(CONNECT_SECONDS), message]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as watch:
        yield
        watch.communicate()


def _read_slurm() -> tf.distribute.cluster_resolver.ClusterResolver:
    """Returns the resolver of the cluster whose workers are the tasks of this Slurm step.

    Raises:
        UserError: if `srun` did not start this process.
    """
    resolver = tf.distribute.cluster_resolver
    if "SLURM_STEP_NUM_TASKS" not in os.environ:
        raise UserError("in a Slurm job, srun must start the workers. Run this command with srun")
    if os.environ.get("CUDA_VISIBLE_DEVICES", shutil.which("nvidia-smi")):
        slurm = resolver.SlurmClusterResolver()
        gpus = slurm.num_accelerators()
    else:  # TensorFlow's resolver fails without GPUs, so claim one for each task
        tasks = int(os.environ["SLURM_STEP_NUM_TASKS"])
        slurm = resolver.SlurmClusterResolver(
            gpus_per_node=tasks, gpus_per_task=1, auto_set_gpu=False
        )
        gpus = {}
    spec = slurm.cluster_spec()
    # The resolver sorts node10 before node2, so the rank of a task is not always its index.
    port = SLURM_PORT + int(os.environ["SLURM_LOCALID"])
    index = spec.as_dict()["worker"].index(f"{os.environ['SLURMD_NODENAME']}:{port}")
    return resolver.SimpleClusterResolver(
        spec, task_type="worker", task_id=index, num_accelerators=gpus, rpc_layer="grpc"
    )


def _read_cluster(text: str) -> tuple[list[str], int]:
    """Returns the addresses of the workers and the index of this one, from a `TF_CONFIG`.

    Raises:
        UserError: if the text does not describe them.
    """
    example = (
        '{"cluster": {"worker": ["10.0.0.1:5001", "10.0.0.2:5001"]}, '
        '"task": {"type": "worker", "index": 0}}'
    )
    try:
        values = json.loads(text)
        workers, task = values["cluster"]["worker"], values["task"]
        index = int(task["index"])
        is_valid = (
            list(values["cluster"]) == [task["type"]] == ["worker"]
            and 0 <= index < len(workers) == len(set(workers))
            and all(0 < int(worker.rsplit(":", 1)[1]) < 2**16 for worker in workers)
        )
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        is_valid = False
    if not is_valid:
        raise UserError(
            f"TF_CONFIG must be JSON such as {example}, with a different address for each worker "
            f"and the index of this one. Received: {text:.300}"
        )
    return workers, index


def _wait_for_workers(workers: list[str], index: int, values: dict) -> None:
    """Returns when all workers of the cluster have exchanged greetings.

    TensorFlow waits for them for an hour, in code that Python cannot interrupt. Until all are
    connected, this worker listens on its port, which TensorFlow uses afterwards, and sends a
    greeting to each worker that connects.

    Args:
        workers: the addresses of all workers.
        index: of this worker.
        values: must be the same in all workers.

    Raises:
        UserError: if the port is in use, if another worker has other addresses or values, or if a
            worker is still missing after `START_SECONDS`.
    """
    port = int(workers[index].rsplit(":", 1)[1])
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("", port))
        except OSError as error:
            other = ", or give the worker another port in TF_CONFIG"
            raise UserError(
                f"port {port} of worker {index} cannot be used: {error.strerror}. End the program "
                f"that uses it{other if 'TF_CONFIG' in os.environ else ''}"
            ) from None
        listener.listen()
        greeting = {"index": index, "workers": workers, "values": values}
        others = set(range(len(workers))) - {index}
        met: set[int] = set()
        greeted: set[int] = set()
        threading.Thread(target=_greet, args=(listener, greeting, greeted), daemon=True).start()
        start, is_noted = time.monotonic(), index != 0
        while missing := others - (met & greeted):
            met |= {other for other in others - met if _meets(other, greeting)}
            seconds = time.monotonic() - start
            addresses = ", ".join(workers[other] for other in sorted(missing))
            if seconds > START_SECONDS:
                raise UserError(
                    f"no connection to {addresses} within {START_SECONDS} s. Check the addresses "
                    "of the workers, and start all of them"
                )
            if seconds > NOTE_SECONDS and not is_noted:
                logger.info("Waiting for the workers at %s", addresses)
                is_noted = True
            time.sleep(0.2)
        listener.shutdown(socket.SHUT_RDWR)  # ends the thread


def _greet(listener: socket.socket, greeting: dict, greeted: set[int]) -> None:
    """Sends a greeting to everyone who connects, until the listener is shut down.

    Args:
        listener: of this worker.
        greeting: of this worker.
        greeted: receives the indices of the workers that have read the greeting.
    """
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError, ValueError):
                connection.settimeout(1)
                connection.sendall(json.dumps(greeting).encode() + b"\n")
                greeted.add(int(connection.recv(16)))


def _meets(other: int, greeting: dict) -> bool:
    """Reads the greeting of another worker. Returns whether there is one at its address.

    Args:
        other: the index of that worker.
        greeting: of this worker.

    Raises:
        UserError: if that worker has another index than expected, or other addresses or values.
    """
    host, port = greeting["workers"][other].rsplit(":", 1)
    try:
        with (
            socket.create_connection((host, int(port)), timeout=1) as connection,
            connection.makefile("rb") as stream,
        ):
            theirs = json.loads(stream.readline())
            _check_greeting(other, greeting, theirs)
            connection.sendall(str(greeting["index"]).encode())
    except UserError:
        time.sleep(2)  # until that worker has read this one's greeting
        raise
    except (OSError, ValueError):
        return False
    return True


def _check_greeting(other: int, mine: dict, theirs: dict) -> None:
    """Raises a `UserError` if the worker with the index `other` is not as expected."""
    address = mine["workers"][other]
    if theirs["workers"] != mine["workers"]:
        raise UserError(
            f"the worker at {address} has other addresses. Give all workers the same addresses, in "
            f"the same order. Received from that worker: {', '.join(theirs['workers'])}"
        )
    if theirs["index"] != other:
        raise UserError(
            f"the worker at {address} has index {theirs['index']}, but its index must be {other}. "
            "Give each worker its own index, and workers on one machine different ports"
        )
    names = sorted(mine["values"].keys() | theirs["values"].keys())
    pairs = [(name, mine["values"].get(name), theirs["values"].get(name)) for name in names]
    differing = [f"{name}={one} and {name}={two}" for name, one, two in pairs if one != two]
    if differing:
        raise UserError(
            "all workers must have the same settings and versions. Use the same command and "
            f"packages. Received here and at {address}: {', '.join(differing)}"
        )


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
