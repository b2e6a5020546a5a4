"""Compares training on one device with two workers and with two virtual devices.

python -m benchmarks.distributed_speed

Each kind of training runs `train.py` with few batches. One device has one core, two workers have
a core each, and two virtual devices share both. They take turns. The time of an update is that of
an epoch, without the first, divided by its number of updates. Needs Linux and two idle cores.
Writes `docs/results/distributed_speed.jsonl`.
"""

import dataclasses
import functools
import json
import os
import socket
import statistics
import subprocess
import tempfile

from benchmarks.runs import ROOT, Run
from benchmarks.study import Measurement, alternate, median
from benchmarks.tables import Record, part, table
from fast_weights.experiment.config import Config
from fast_weights.experiment.errors import UserError


@dataclasses.dataclass(frozen=True)
class Case:
    """The sizes of an update, and the number of updates of an epoch."""

    units: int
    batch_size: int
    num_pairs: int
    steps: int


# The blog's sizes, and large ones.
CASES = [Case(50, 128, 3, 500), Case(256, 1024, 26, 8)]
# Kind of training -> cores of each process, and flags of `train.py`.
KINDS = {
    "one device": (["0"], []),
    "two workers": (["0", "1"], ["--distribution_strategy=multi_worker_mirrored"]),
    "two virtual devices": (["0,1"], ["--distribution_strategy=mirrored", "--num_devices=2"]),
}
NUM_EPOCHS = 3


def run_workers(command: list[str], cores: list[str]) -> None:
    """Runs a command as each worker of a cluster.

    Args:
        command: of a worker.
        cores: those of each worker. A single worker forms no cluster.
    """
    with socket.socket() as one, socket.socket() as two:
        for probe in (one, two):
            probe.bind(("127.0.0.1", 0))
        addresses = [f"127.0.0.1:{probe.getsockname()[1]}" for probe in (one, two)]
    processes = []
    for index, core in enumerate(cores):
        env = {**os.environ, "KERAS_BACKEND": "tensorflow"}
        if len(cores) > 1:
            task = {"type": "worker", "index": index}
            env["TF_CONFIG"] = json.dumps({"cluster": {"worker": addresses}, "task": task})
        pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
        pinned = ["taskset", "-c", core, *command]
        processes.append(subprocess.Popen(pinned, cwd=ROOT, env=env, **pipes))
    errors = [process.communicate()[1] for process in processes]
    if any(process.returncode for process in processes):
        raise UserError("\n".join(error[-2000:] for error in errors))


def time_update(case: Case, kind: str) -> float:
    """Returns the milliseconds of an update with a kind of training."""
    cores, flags = KINDS[kind]
    with tempfile.TemporaryDirectory() as directory:
        config = Config(
            units=case.units,
            batch_size=case.batch_size,
            num_pairs=case.num_pairs,
            num_training=case.batch_size * case.steps,
            num_validation=case.batch_size,
            num_epochs=NUM_EPOCHS,
        )
        run = Run("", config, directory)
        flags = [*flags, f"--data_dir={directory}", "--summary_every=1000"]
        run_workers([*run.command, *flags], cores)
        seconds = [epoch.seconds for epoch in run.epochs()]
    return 1e3 * statistics.median(seconds[1:]) / case.steps


def measure(case: Case) -> Record:
    """Returns the time of each kind of training in each round."""
    functions = {kind: functools.partial(time_update, case, kind) for kind in KINDS}
    return {"rounds": alternate(functions)}


BENCHMARK = Measurement(__doc__, "distributed_speed", cases=CASES, measure=measure)


@part("distributed_speed")
def table_of_speed() -> str:
    """Returns the time of an update of each kind of training, and the gain."""
    rows = []
    for case in CASES:
        alone, *others = (median(BENCHMARK[case]["rounds"], kind) for kind in KINDS)
        gains = [f"{time:.2f} ms ({alone / time:.2f})" for time in others]
        rows.append([case.units, case.batch_size, case.num_pairs, f"{alone:.2f} ms", *gains])
    return table(["units", "batch", "pairs", *KINDS], rows)


if __name__ == "__main__":
    BENCHMARK.main()
