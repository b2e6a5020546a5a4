"""The workers of a training on several machines: who they are, and the wait until all are there."""

import contextlib
import json
import logging
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import tensorflow as tf

from fast_weights.experiment.errors import UserError

# Waiting for the other workers to connect fails after this time.
START_SECONDS = 300
# TensorFlow connects the workers within a few seconds, or not at all.
CONNECT_SECONDS = 50
# The chief names the missing workers after this time.
NOTE_SECONDS = 5
# The port of the first task on a node, as in TensorFlow's `SlurmClusterResolver`.
SLURM_PORT = 8888

logger = logging.getLogger(__name__)
# Reads the time limit and waits for the end of its input.
_WATCH = """
import os, select, signal, sys
if not select.select([sys.stdin], [], [], float(sys.argv[1]))[0]:
    print(sys.argv[2], file=sys.stderr)
    os.kill(os.getppid(), signal.SIGKILL)
"""


def find() -> tf.distribute.cluster_resolver.ClusterResolver:
    """Returns the resolver of the cluster of `TF_CONFIG`, or else of Slurm.

    Raises:
        UserError: if there is no description of a cluster, or if it is invalid.
    """
    if "TF_CONFIG" in os.environ:
        _check_cluster(os.environ["TF_CONFIG"])
        return tf.distribute.cluster_resolver.TFConfigClusterResolver()
    if "SLURM_PROCID" in os.environ:
        return _read_slurm()
    raise UserError(
        "multi_worker_mirrored found no cluster: the environment variable TF_CONFIG is not set, "
        "and this process does not run under Slurm. Set TF_CONFIG, or start the workers with srun"
    )


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


def _check_cluster(text: str) -> None:
    """Raises a `UserError` unless a `TF_CONFIG` describes the workers and the index of this one."""
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


def wait_for_workers(workers: list[str], index: int, values: dict) -> None:
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
def time_limit() -> Iterator[None]:
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
