"""The workers of a training on several machines: finds and connects them.

`TF_CONFIG` or Slurm describes the cluster. TensorFlow's coordination service connects the workers
and passes values between them. It reports a worker that is missing or has stopped.
"""

import contextlib
import hashlib
import itertools
import json
import logging
import os
import pathlib
import re
import shutil
import signal
import socket
import threading
from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.eager import context as tf_context

import fast_weights
from fast_weights.experiment.errors import UserError, option
from fast_weights.experiment.tasks import Splits

# Connecting fails after this time if a worker is missing.
CONNECT_SECONDS = 300
# When all are connected, each gets the values of the others within this time, or one has stopped.
VALUES_SECONDS = 30
# A worker that has been silent for this time is reported as stopped.
HEARTBEAT_SECONDS = 10
# The port of the first task on a node, as in TensorFlow's `SlurmClusterResolver`.
SLURM_PORT = 8888

logger = logging.getLogger(__name__)


def connect_workers(settings: dict, splits: Splits) -> tf.distribute.Strategy:
    """Waits until all workers of the cluster are connected, and returns their strategy.

    Args:
        settings: the settings that the training depends on. All workers must have the same.
        splits: the sequences. All workers must have the same.

    Raises:
        UserError: if the description of the cluster is missing or invalid, a worker cannot be
            reached, or the settings, sequences or versions of two workers differ.
    """
    resolver = _cluster()
    workers = resolver.cluster_spec().as_dict()["worker"]
    _check_addresses(workers)
    _set_time_limits(len(workers))
    logger.info("Waiting up to %d s for the workers at %s", CONNECT_SECONDS, ", ".join(workers))
    # TensorFlow's handler of SIGTERM would let training continue. While TensorFlow connects the
    # workers, no Python code runs, so Python's handler of Ctrl-C would have to wait.
    with _default_signals():
        with failures(workers):
            strategy = tf.distribute.MultiWorkerMirroredStrategy(resolver)
        with failures():
            _check_same({**settings, **_versions(splits)}, resolver.task_id, workers)
    return strategy


def _set_time_limits(num_workers):
    """Limits the time for which TensorFlow waits for other workers, by default an hour.

    TensorFlow has no public function to set this time.
    """
    context = tf_context.context()
    job = tf_context.coordination_config_pb2.CoordinatedJob(name="worker", num_tasks=num_workers)
    context.configure_coordination_service(
        service_type="standalone",
        service_leader="/job:worker/replica:0/task:0",
        cluster_register_timeout_in_ms=1000 * CONNECT_SECONDS,
        heartbeat_timeout_in_ms=1000 * HEARTBEAT_SECONDS,
        coordinated_jobs=[job],
    )
    if hasattr(context.coordination_service, "cluster_register_with_barrier"):  # not in 2.18
        context.coordination_service.cluster_register_with_barrier = True


def _check_same(values, index, workers):
    """Raises a `UserError` unless all workers have the same values."""
    context = tf_context.context()
    context.set_config_key_value(f"values/{index}", json.dumps(values))
    for other, address in enumerate(workers):
        found = json.loads(context.get_config_key_value(f"values/{other}", 1000 * VALUES_SECONDS))
        differing = [
            f"{name}={values.get(name)} and {name}={found.get(name)}"
            for name in sorted(values.keys() | found.keys())
            if values.get(name) != found.get(name)
        ]
        if differing:
            raise UserError(
                "all workers must have the same settings, sequences and versions. Use the same "
                "command and packages, and delete the data file of a worker that has other "
                f"sequences. Received here and at {address}: {', '.join(differing)}"
            )


def _versions(splits) -> dict:
    """Returns everything else that can change an update: sequences, versions and devices."""
    package = pathlib.Path(fast_weights.__file__).parent
    return {
        "sequences": _hash(array.tobytes() for split in splits for array in split),
        "source": _hash(path.read_bytes() for path in sorted(package.rglob("*.py"))),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
        "GPUs": len(tf.config.list_physical_devices("GPU")),
    }


def _hash(parts) -> str:
    """Returns the hash of the parts as 12 hexadecimal digits."""
    return hashlib.sha256(b"".join(parts)).hexdigest()[:12]


def _cluster() -> tf.distribute.cluster_resolver.ClusterResolver:
    """Returns the resolver of the cluster of `TF_CONFIG`, or else of Slurm.

    Raises:
        UserError: if there is no description of a cluster, or if it is invalid.
    """
    if "TF_CONFIG" in os.environ:
        os.environ["TF_CONFIG"] = _check_description(os.environ["TF_CONFIG"])
        return tf.distribute.cluster_resolver.TFConfigClusterResolver()
    if "SLURM_STEP_NUM_TASKS" in os.environ:
        try:
            return _read_slurm()
        except (KeyError, RuntimeError, ValueError) as error:
            found = {name: one for name, one in os.environ.items() if name.startswith("SLURM_STEP")}
            raise UserError(
                f"cannot read the description of this Slurm step ({error!r}). Set TF_CONFIG for "
                f"each task instead. Received: {found}"
            ) from None
    raise UserError(
        "multi_worker_mirrored found no cluster: the environment variable TF_CONFIG is not set, "
        "and srun did not start this process. Set TF_CONFIG, or start the workers with srun"
    )


def _read_slurm() -> tf.distribute.cluster_resolver.ClusterResolver:
    """Returns the resolver of the cluster whose workers are the tasks of this Slurm step."""
    # TensorFlow's resolver reads only one range in brackets, at the end of a name.
    os.environ["SLURM_STEP_NODELIST"] = ",".join(_hosts(os.environ["SLURM_STEP_NODELIST"]))
    resolver = tf.distribute.cluster_resolver
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


def _hosts(text: str) -> Iterator[str]:
    """Yields the host names of a Slurm list such as `n[1-2,7],c[01-02]r3`."""
    for one in re.findall(r"(?:[^,\[]|\[[^\]]*\])+", text):
        parts = [
            [
                f"{n:0{len(low)}}"
                for low, high in _ranges(part)
                for n in range(int(low), int(high) + 1)
            ]
            if i % 2
            else [part]
            for i, part in enumerate(re.split(r"\[([^\]]*)\]", one))
        ]
        yield from map("".join, itertools.product(*parts))


def _ranges(text):
    """Yields the ends of the ranges of a list such as `1-2,7`."""
    for part in text.split(","):
        low, _, high = part.partition("-")
        yield low, high or low


def _check_addresses(workers) -> None:
    """Raises a `UserError` for an invalid address, and makes gRPC connect without a proxy.

    Only logs a warning for a host that is not found, because its machine can start later.
    """
    hosts = []
    for worker in workers:
        found = re.fullmatch(r"(\[[\da-fA-F:.]+(?:%\w+)?\]|[^\s/@:\[\]]+):(\d+)", worker)
        if not found or not 0 < int(found[2]) < 2**16:
            raise UserError(
                "the address of a worker must be HOST:PORT or [IPv6]:PORT, without a scheme or a "
                f"user. Received: {worker!r:.100}"
            )
        hosts.append(found[1].strip("[]"))
        try:
            socket.getaddrinfo(hosts[-1], None)
        except OSError as error:
            logger.warning("The host of %s cannot be found yet: %s", worker, error.strerror)
    # gRPC would connect through the proxy that https_proxy names.
    os.environ["no_grpc_proxy"] = ",".join(hosts)  # noqa: SIM112


def _check_description(text: str) -> str:
    """Checks a `TF_CONFIG`, and returns it with the chief as worker 0.

    Raises:
        UserError: if it does not describe the workers and the index of this one.
    """
    example = (
        '{"cluster": {"worker": ["10.0.0.1:5001", "10.0.0.2:5001"]}, '
        '"task": {"type": "worker", "index": 0}}'
    )
    try:
        values = json.loads(text)
        cluster, task = values["cluster"], values["task"]
        chief, others = cluster.get("chief", []), cluster.get("worker", [])
        workers, kinds = [*chief, *others], {*cluster, task["type"]} - {"chief", "worker"}
        index = int(task["index"]) + (len(chief) if task["type"] == "worker" else 0)
        addresses = {one for one in workers if isinstance(one, str)}
        is_valid = 0 <= index < len(workers) == len(addresses)
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
        is_valid, kinds = False, set()
    if kinds:
        raise UserError(
            "TF_CONFIG must describe only workers and a chief. Remove the other types. Received: "
            f"{', '.join(sorted(kinds))}"
        )
    if not is_valid:
        raise UserError(
            f"TF_CONFIG must be JSON such as {example}, with a different address for each worker "
            f"and the index of this one. Received: {text:.300}"
        )
    task = {"type": "worker", "index": index}
    return json.dumps({**values, "cluster": {"worker": workers}, "task": task})


@contextlib.contextmanager
def _default_signals() -> Iterator[None]:
    """Lets the system handle Ctrl-C within the block, and SIGTERM after it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextlib.contextmanager
def failures(workers=()) -> Iterator[None]:
    """Turns an error of the communication between workers into a `UserError`.

    Args:
        workers: the addresses of all workers, if they are not connected yet.
    """
    try:
        yield
    except (
        tf.errors.AbortedError,
        tf.errors.CancelledError,
        tf.errors.DeadlineExceededError,
        tf.errors.FailedPreconditionError,
        tf.errors.InternalError,
        tf.errors.UnavailableError,
        tf.errors.UnknownError,
    ) as error:
        raise UserError(_explain(error, workers)) from None


def _explain(error, workers) -> str:
    """Returns a message that says what an error means and what to do."""
    text = str(error).replace(r"\n", "\n")
    missing = re.findall(r"^/job:worker/replica:0/task:(\d+)$", text, re.MULTILINE)
    if workers and "start gRPC server" in text:
        return "the port of this worker is in use. End the program that uses it, or change the port"
    if workers and isinstance(error, tf.errors.DeadlineExceededError):
        # Without a list of missing workers, this worker was waiting for the chief.
        addresses = ", ".join(workers[int(index)] for index in dict.fromkeys(missing or [0]))
        return (
            f"no connection to {addresses} within {CONNECT_SECONDS} s. Check the addresses of the "
            "workers, and start all of them"
        )
    found = re.search(r'(?:grpc_message:"|Collective ops is aborted by: )([^"\n]+)', text)
    reason = found[1] if found else f"{text.splitlines()[0]:.300}"
    return (
        "another worker has stopped or cannot be reached. Every completed epoch is saved. To "
        f"resume, run the same commands on all workers, without {option('restart', True)}. "
        f"TensorFlow reported: {reason}"
    )
