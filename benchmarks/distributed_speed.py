"""Compares training on one device with two workers and with two virtual devices.

python -m benchmarks.distributed_speed

Each kind of training runs `train.py` with few batches. One device has one core, two workers have
a core each, and two virtual devices share both. They take turns. The time of an update is that of
an epoch, without the first, divided by its number of updates. The time of a sum is measured between
two workers on the loopback address. Needs Linux and two idle cores. Writes
`docs/results/distributed_speed.jsonl`.
"""

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time

from benchmarks.runs import RESULTS_DIR, ROOT, run_main
from benchmarks.tables import table
from fast_weights.experiment import results, storage
from fast_weights.experiment.config import Config
from fast_weights.experiment.errors import UserError
from fast_weights.experiment.models import build_model
from fast_weights.experiment.run_dir import RunDirectory

RESULTS = RESULTS_DIR / "distributed_speed.jsonl"
# Label: units, batch size, pairs, batches of an epoch.
SIZES = {
    "blog": (50, 128, 3, 500),
    "large": (256, 1024, 26, 8),
}
KINDS = ("one device", "two workers", "two virtual devices")
ROUNDS = 5
NUM_EPOCHS = 3
SUMS = 200
# Devices for which `table_of_expectations` reckons.
NUM_DEVICES = (2, 8, 16)


def run_workers(commands, cores):
    """Runs a command for each worker of a cluster, on the given cores; returns their outputs."""
    with socket.socket() as one, socket.socket() as two:
        for probe in (one, two):
            probe.bind(("127.0.0.1", 0))
        addresses = [f"127.0.0.1:{probe.getsockname()[1]}" for probe in (one, two)]
    processes = []
    for index, (command, core) in enumerate(zip(commands, cores, strict=True)):
        env = {**os.environ, "KERAS_BACKEND": "tensorflow"}
        if len(commands) > 1:
            task = {"type": "worker", "index": index}
            env["TF_CONFIG"] = json.dumps({"cluster": {"worker": addresses}, "task": task})
        command = ["taskset", "-c", core, sys.executable, *command]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        processes.append(subprocess.Popen(command, cwd=ROOT, env=env, **pipes))
    outputs = [process.communicate() for process in processes]
    if any(process.returncode for process in processes):
        raise UserError("\n".join(errors[-2000:] for _, errors in outputs))
    return [output for output, _ in outputs]


def milliseconds(kind, size):
    """Returns the time of an update."""
    units, batch_size, num_pairs, steps = SIZES[size]
    with tempfile.TemporaryDirectory() as directory:
        config = Config(
            units=units,
            batch_size=batch_size,
            num_pairs=num_pairs,
            num_training=batch_size * steps,
            num_validation=batch_size,
            num_epochs=NUM_EPOCHS,
        )
        settings = {**vars(config), "data_dir": directory, "checkpoint_dir": directory}
        flags = [f"--{name}={value}" for name, value in settings.items() if value is not None]
        command = ["train.py", "--quiet", "--summary_every=1000", *flags]
        if kind == "one device":
            run_workers([command], ["0"])
        elif kind == "two workers":
            command.append("--distribution_strategy=multi_worker_mirrored")
            run_workers([command, command], ["0", "1"])
        else:
            run_workers(
                [[*command, "--distribution_strategy=mirrored", "--num_devices=2"]], ["0,1"]
            )
        records = results.read(RunDirectory(directory, config.model_name).results_path)
    return 1e3 * statistics.median(record.seconds for record in records[1:]) / steps


def measure_sum():
    """Measures, as one of two workers, the time of the sum of vectors of several sizes."""
    import tensorflow as tf

    from fast_weights.experiment import distribution

    replicas = distribution.connect("multi_worker_mirrored", None, Config())
    times = {}
    for length in (10_000, 100_000, 1_000_000):

        def one_sum(length=length):
            return replicas.sum(tf.zeros(length))

        @tf.function
        def sums(one_sum=one_sum):
            total = 0.0
            for _ in tf.range(SUMS):
                total += replicas.run(one_sum, ())[0]
            return total

        sums()
        start = time.perf_counter()
        sums().numpy()
        times[length] = 1e3 * (time.perf_counter() - start) / SUMS
    print(json.dumps(times))


def table_of_speed() -> str:
    """Returns a table of the time of an update of each kind of training, and the gain."""
    *records, _ = map(json.loads, RESULTS.read_text(encoding="utf-8").splitlines())
    rows = []
    for record in records:
        times = [statistics.median(record["ms"][kind]) for kind in KINDS]
        sizes = [record[name] for name in ("units", "batch_size", "num_pairs")]
        gains = [f"{time:.2f} ms ({times[0] / time:.2f})" for time in times[1:]]
        rows.append([*sizes, f"{times[0]:.2f} ms", *gains])
    return table(["units", "batch", "pairs", *KINDS], rows)


def table_of_sums() -> str:
    """Returns a table of the time of a sum between two workers."""
    *_, record = map(json.loads, RESULTS.read_text(encoding="utf-8").splitlines())
    rows = [[f"{int(n):,}", f"{value:.2f} ms"] for n, value in record["sum_ms"].items()]
    return table(["values", "time of a sum"], rows)


def table_of_expectations() -> str:
    """Returns a table of the gain to expect of more devices, from the measured times.

    An update of R devices takes 1/R of the time of one device, and a sum. With a ring, a sum has
    2(R - 1) steps, in each of which a device sends 1/R of the numbers. The time of a step is a + b
    times the numbers that it sends; a and b are those of the two workers' sums.
    """
    *records, sums = map(json.loads, RESULTS.read_text(encoding="utf-8").splitlines())
    (few, short), *_, (many, long) = ((int(n), time) for n, time in sums["sum_ms"].items())
    # Two workers: 2 steps, with half of the numbers each, which take 2 a + b n.
    b = (long - short) / (many - few)
    a = (short - b * few) / 2
    rows = []
    for record in records:
        alone = statistics.median(record["ms"][KINDS[0]])
        row = [record["units"], record["batch_size"], f"{record['num_weights']:,}"]
        for devices in NUM_DEVICES:
            numbers = record["num_weights"] / devices
            row.append(f"{alone / (alone / devices + 2 * (devices - 1) * (a + b * numbers)):.1f}")
        rows.append(row)
    heads = ["units", "batch", "weights", *(f"{devices} devices" for devices in NUM_DEVICES)]
    return table(heads, rows)


def main():
    if sys.argv[1:] == ["--sum"]:
        measure_sum()
        return
    records = []
    for size, (units, batch_size, num_pairs, _) in SIZES.items():
        found = {kind: [] for kind in KINDS}
        for _ in range(ROUNDS):
            for kind in KINDS:
                found[kind].append(milliseconds(kind, size))
                print(size, kind, f"{found[kind][-1]:.2f} ms", flush=True)
        model = build_model(Config(units=units, num_pairs=num_pairs))
        sizes = {
            "units": units,
            "batch_size": batch_size,
            "num_pairs": num_pairs,
            "num_weights": model.count_params(),
        }
        records.append({**sizes, "ms": found})
    command = ["-m", "benchmarks.distributed_speed", "--sum"]
    records.append({"sum_ms": json.loads(run_workers([command, command], ["0", "1"])[0])})
    storage.write_text(RESULTS, "".join(f"{json.dumps(record)}\n" for record in records))
    print(table_of_speed(), table_of_sums(), table_of_expectations(), sep="\n\n")


if __name__ == "__main__":
    run_main(main)
