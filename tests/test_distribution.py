"""Training on several devices and in several processes equals training on one device."""

import contextlib
import json
import logging
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from processes import (
    ROOT,
    TINY,
    assert_refused,
    checkpoint_arrays,
    records,
    run,
    run_directory,
    start,
)

from fast_weights.experiment import cluster, dataset, storage
from fast_weights.experiment.config import Config
from fast_weights.experiment.errors import UserError

# Gradients are clipped in every update. The learning rate is high, so that faults show.
SETTINGS = (*TINY, "--num_epochs=3", "--learning_rate=1e-2", "--max_gradient_norm=0.1", "--shuffle")
MIRRORED = ("--distribution_strategy=mirrored", "--num_devices=2")
WORKERS = "--distribution_strategy=multi_worker_mirrored"


def free_ports(number):
    """Returns ports that no program uses."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def environment(ports, index):
    """Returns the environment of a worker."""
    workers = [f"127.0.0.1:{port}" for port in ports]
    task = {"type": "worker", "index": index}
    config = json.dumps({"cluster": {"worker": workers}, "task": task})
    # conftest.py hides TensorFlow's log. Users leave its level alone.
    inherited = {k: value for k, value in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    return {**inherited, "TF_CONFIG": config}


@contextlib.contextmanager
def start_workers(directory, *flags, others=None, script_of_other="train.py"):
    """Starts two workers, the second in a directory of its own, `directory/worker`.

    Args:
        directory: of the run.
        *flags: of both workers.
        others: flags of the second worker. Default: the same.
        script_of_other: of the second worker.
    """
    ports = free_ports(2)
    (directory / "worker").mkdir(parents=True, exist_ok=True)
    workers = [
        ("train.py", directory, flags),
        (script_of_other, directory / "worker", others or flags),
    ]
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(
                start(script, path, WORKERS, *chosen, env=environment(ports, index))
            )
            for index, (script, path, chosen) in enumerate(workers)
        ]


def run_workers(directory, *flags, **options):
    """Runs two workers to their end and returns (status, output, errors) of each."""
    with start_workers(directory, *flags, **options) as workers:
        outputs = [worker.communicate(timeout=300) for worker in workers]
        return [
            (worker.returncode, *output) for worker, output in zip(workers, outputs, strict=True)
        ]


def assert_close(result, expected, name):
    """Asserts equality up to rounding, of numbers or of `None`."""
    if expected is None:
        assert result is None, name
    else:
        assert result == pytest.approx(expected, rel=2e-3, abs=1e-5), name


def assert_same_run(directory, other, model_name="RNN-LN-FW"):
    """Asserts equal results and weights of two runs, up to rounding."""
    one, two = (run_directory(path, model_name) for path in (directory, other))
    assert len(records(one)) == len(records(two)) > 0
    for mine, theirs in zip(records(one), records(two), strict=True):
        for name, value in vars(mine).items():
            assert_close(vars(theirs)[name], value, name)
    weights = []
    for run_dir in (one, two):
        with np.load(run_dir.checkpoint_path(run_dir.checkpoint_epochs()[0])) as archive:
            weights.append({name: archive[name] for name in archive.files})
    assert weights[0].keys() == weights[1].keys()
    for name, value in weights[0].items():
        # A tenth of an update: Adam divides small gradients by their size, and so their rounding.
        np.testing.assert_allclose(weights[1][name], value, rtol=1e-3, atol=1e-3, err_msg=name)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The directory of a run on one device."""
    directory = tmp_path_factory.mktemp("alone")
    run("train.py", directory, *SETTINGS)
    return directory


def test_two_devices_equal_one(alone, tmp_path):
    """Catches clipping before the sum, a loss of one share, and a share that is used twice."""
    done = run("train.py", tmp_path, *SETTINGS, *MIRRORED)
    assert "Training on 2 CPU devices" in done.stderr
    assert_same_run(alone, tmp_path)


def test_two_workers_equal_one_device(alone, tmp_path):
    """Catches two writers, and a worker that prints or that trains on the same share."""
    chief, other = run_workers(tmp_path, *SETTINGS)
    assert chief[0] == other[0] == 0, chief[2] + other[2]
    assert "RNN-LN-FW has completed epoch 3" in chief[1]
    assert other[1] == ""
    assert not (tmp_path / "worker/checkpoints").exists()
    assert_same_run(alone, tmp_path)


def test_run_moves_between_kinds_of_training(alone, tmp_path):
    """Catches a checkpoint that only one kind of training can read, and a lost optimizer."""
    run("train.py", tmp_path, *SETTINGS, "--num_epochs=1")
    (status, _, errors), _ = run_workers(tmp_path, *SETTINGS, "--num_epochs=2")
    assert status == 0, errors
    run("train.py", tmp_path, *SETTINGS, *MIRRORED)
    assert_same_run(alone, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["devices", "workers"])
@pytest.mark.parametrize(
    "flags",
    [
        ("--model_name=CONTROL",),
        ("--model_name=RNN-LN",),
        ("--model_name=GRU-LN",),
        ("--model_name=A-LSTM", "--units=6"),
        ("--inner_steps=0",),
        ("--task=multi-query-recall", "--vocabulary_size=8"),
        ("--num_test=24", "--weight_decay=0.1", "--network=paper", "--warmup_steps=4"),
    ],
    ids=" ".join,
)
def test_every_option_equals_one_device(tmp_path, flags, kind):
    """Catches a model, a task or a setting that the divided update computes differently."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    run("train.py", tmp_path / "one", *SETTINGS, *flags)
    if kind == "devices":
        run("train.py", tmp_path / "two", *SETTINGS, *flags, *MIRRORED)
    else:
        (status, _, errors), _ = run_workers(tmp_path / "two", *SETTINGS, *flags)
        assert status == 0, errors
    model_name = flags[0].removeprefix("--model_name=") if "model" in flags[0] else "RNN-LN-FW"
    assert_same_run(tmp_path / "one", tmp_path / "two", model_name)


DIES_WHILE_CONNECTING = f"""
import os, runpy, sys
sys.path.insert(0, {str(ROOT)!r})
from fast_weights.experiment import console
with console.quiet_import():
    from fast_weights.experiment import cluster
wait = cluster.wait_for_workers
def wait_and_die(*arguments):
    wait(*arguments)
    os._exit(1)
cluster.wait_for_workers = wait_and_die
runpy.run_path({str(ROOT / "train.py")!r}, run_name="__main__")
"""


@pytest.mark.slow
def test_death_while_connecting_ends_the_others(tmp_path):
    """Catches TensorFlow's wait of an hour, in code that Python cannot interrupt."""
    script = tmp_path / "dies.py"
    script.write_text(DIES_WHILE_CONNECTING, encoding="utf-8")
    chief, other = run_workers(tmp_path, *SETTINGS, script_of_other=script)
    assert other[0] == 1
    assert chief[0] == -signal.SIGKILL
    assert re.fullmatch(r"(note: .*\n)?error: .* Another worker has stopped.*\n", chief[2])


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1], ids=["chief", "worker"])
def test_death_while_compiling_ends_the_others(tmp_path, victim):
    """Catches a worker that waits for ever for one that died before the first update."""
    with start_workers(tmp_path, *SETTINGS, "--model_name=GRU-LN") as workers:
        assert any("Compiling" in line for line in workers[0].stderr), workers[0].communicate()
        workers[victim].kill()
        _, errors = workers[1 - victim].communicate(timeout=60)
        assert workers[1 - victim].returncode == 2
        (error,) = (line for line in errors.splitlines() if not line.startswith("note: "))
        assert error.startswith("error: another worker has stopped")
    assert not run_directory(tmp_path, "GRU-LN").is_trained


@pytest.mark.slow
@pytest.mark.parametrize("end", ["kill", "terminate"])
@pytest.mark.parametrize("victim", [0, 1], ids=["chief", "worker"])
def test_death_of_a_worker_ends_the_others(alone, tmp_path, victim, end):
    """Catches a worker that waits for ever, and a resumed run that differs from a whole one."""
    with start_workers(tmp_path, *SETTINGS, "--num_epochs=3000") as workers:
        path = run_directory(tmp_path).results_path
        while not (path.exists() and path.read_text().count("\n") > 1):
            assert workers[0].poll() is None, workers[0].communicate()
            time.sleep(0.1)
        time.sleep(random.random())
        getattr(workers[victim], end)()
        killed = time.monotonic()
        _, errors = workers[1 - victim].communicate(timeout=60)
        assert time.monotonic() - killed < 60
        assert workers[1 - victim].returncode == 2
        lines = [line for line in errors.splitlines() if not line.startswith("note: ")]
        (error,) = lines
        assert error.startswith("error: another worker has stopped")
    completed = run_directory(tmp_path).checkpoint_epochs()[0]
    for directory in (tmp_path, tmp_path / "whole"):
        results = run_workers(directory, *SETTINGS, f"--num_epochs={completed + 20}")
        assert [status for status, _, _ in results] == [0, 0], results
    resumed, whole = (run_directory(path) for path in (tmp_path, tmp_path / "whole"))
    assert records(resumed) == records(whole)
    assert checkpoint_arrays(resumed) == checkpoint_arrays(whole)


def test_other_settings_of_a_worker_are_named(tmp_path):
    """Catches workers that train two different models together."""
    for status, _, errors in run_workers(tmp_path, *SETTINGS, others=(*SETTINGS, "--units=4")):
        assert status == 2
        assert re.search(r"^error: .*same settings.* units=(5 and|4 and) units=", errors, re.M)
    assert not run_directory(tmp_path).is_trained


# A version with another setting, too: its exchange has another length.
OTHER_KERAS = f"""
import runpy, sys
sys.path.insert(0, {str(ROOT)!r})
from fast_weights.experiment import console
with console.quiet_import():
    from fast_weights.experiment import distribution
versions = distribution._versions()
distribution._versions = lambda: {{**versions, "keras": "3.0.0", "new": "setting"}}
runpy.run_path({str(ROOT / "train.py")!r}, run_name="__main__")
"""


def test_other_sequences_of_a_worker_are_named(tmp_path):
    """Catches workers that learn from different data."""
    config = Config.with_defaults(batch_size=8, num_pairs=2, num_training=100, num_validation=40)
    paths = [dataset.data_path(path / "data", config) for path in (tmp_path, tmp_path / "worker")]
    for path in paths:
        path.parent.mkdir(parents=True)
        dataset.load_or_generate(path.parent, config)
    arrays = storage.read_arrays(paths[1])
    arrays["training_tokens"] = arrays["training_tokens"][::-1]
    storage.write_arrays(paths[1], arrays)
    for status, _, errors in run_workers(tmp_path, *SETTINGS):
        assert status == 2
        assert "error: another worker has other sequences" in errors


def test_other_versions_of_a_worker_are_named(tmp_path):
    """Catches workers whose packages round differently."""
    script = tmp_path / "other_keras.py"
    script.write_text(OTHER_KERAS, encoding="utf-8")
    for status, _, errors in run_workers(tmp_path, *SETTINGS, script_of_other=script):
        assert status == 2
        assert re.search(r"^error: .*versions.*keras=3\S+ and keras=3\S+, new=", errors, re.M)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ((*MIRRORED, "--batch_size=5"), ["batch_size", "2."]),
        (("--distribution_strategy=mirrored",), ["no GPU", "--num_devices=2"]),
        (("--num_devices=2",), ["--num_devices", "mirrored"]),
        ((WORKERS,), ["TF_CONFIG", "Slurm"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_devices_that_do_not_exist_are_named(tmp_path, flags, words):
    """Catches a traceback for a wrong flag or environment."""
    clean = {name: value for name, value in os.environ.items() if name != "TF_CONFIG"}
    assert_refused(run("train.py", tmp_path, *TINY, *flags, status=2, env=clean), *words)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
        '{"cluster": {"worker": ["a:1", "a:1"]}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": ["a:70000"]}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": ["a"]}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"ps": ["a:1"], "worker": ["a:2"]}, "task": {"type": "ps", "index": 0}}',
    ],
)
def test_wrong_cluster_is_named(text):
    """Catches a cluster that TensorFlow waits for in vain."""
    with pytest.raises(UserError, match="TF_CONFIG must be JSON such as"):
        cluster._check_cluster(text)


@pytest.mark.parametrize(
    ("node", "local", "index"), [("n9", 0, 2), ("n9", 1, 3), ("n10", 0, 0), ("n10", 1, 1)]
)
def test_tasks_of_slurm_are_workers(monkeypatch, node, local, index):
    """Catches two tasks with the same index, and nodes without a GPU."""
    step = {"NODELIST": "n[9-10]", "TASKS_PER_NODE": "2(x2)", "NUM_TASKS": "4"}
    variables = {f"SLURM_STEP_{name}": value for name, value in step.items()}
    rank = 2 * (node == "n10") + local
    variables |= {"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(local), "SLURMD_NODENAME": node}
    for name, value in {**variables, "CUDA_VISIBLE_DEVICES": ""}.items():
        monkeypatch.setenv(name, value)
    found = cluster._read_slurm()
    addresses = ["n10:8888", "n10:8889", "n9:8888", "n9:8889"]
    assert found.cluster_spec().as_dict() == {"worker": addresses}
    assert (found.task_id, found.num_accelerators()) == (index, {})


def test_slurm_without_srun_is_named(monkeypatch):
    """Catches a traceback in a script of sbatch that starts `train.py` itself."""
    monkeypatch.setenv("SLURM_PROCID", "0")
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(UserError, match="with srun"):
        cluster.find()


def test_port_in_use_is_named():
    """Catches a worker that cannot listen and blames the others."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"port {port} of worker 1 cannot be used"):
            cluster.wait_for_workers(["127.0.0.1:1", f"127.0.0.1:{port}"], 1, {})


def test_missing_worker_is_named(monkeypatch, caplog):
    """Catches a wait without end, or without a word, for a worker that never comes."""
    monkeypatch.setattr(cluster, "START_SECONDS", 1)
    monkeypatch.setattr(cluster, "NOTE_SECONDS", 0)
    caplog.set_level(logging.INFO)
    workers = [f"127.0.0.1:{port}" for port in free_ports(2)]
    with pytest.raises(UserError, match=f"no connection to {workers[1]} within 1 s"):
        cluster.wait_for_workers(workers, 0, {})
    assert caplog.messages == [f"Waiting for the workers at {workers[1]}"]


@contextlib.contextmanager
def other_worker(handle, *arguments):
    """Runs `handle(listener, *arguments)` in a thread, at the second of the yielded addresses."""
    ports = free_ports(2)
    with socket.create_server(("127.0.0.1", ports[1])) as listener:
        threading.Thread(target=handle, args=(listener, *arguments), daemon=True).start()
        yield [f"127.0.0.1:{port}" for port in ports]
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"workers": ["a:1", "b:2"]}, "has other addresses.*a:1, b:2"),
        ({"index": 0}, "has index 0, but its index must be 1"),
        ({"values": {"units": 4, "new": 1}}, "new=None and new=1, units=5 and units=4"),
    ],
    ids=lambda value: str(value),
)
def test_other_greeting_of_a_worker_is_named(change, message):
    """Catches workers that would wait for each other for ever, or train different models."""
    greeting = {"index": 1, "values": {"units": 5}}
    with other_worker(cluster._greet, greeting, set()) as workers:
        greeting.update({"workers": workers, **change})
        with pytest.raises(UserError, match=message):
            cluster.wait_for_workers(workers, 0, {"units": 5})


@pytest.mark.parametrize("reply", [b"", b"SSH-2.0-OpenSSH\r\n"])
def test_another_program_is_no_worker(monkeypatch, reply):
    """Catches a wait without end for a program at a worker's address that is not a worker."""
    monkeypatch.setattr(cluster, "START_SECONDS", 1)
    kept = []

    def answer(listener):
        with contextlib.suppress(OSError):
            while True:
                kept.append(listener.accept()[0])
                kept[-1].sendall(reply)

    with (
        other_worker(answer) as workers,
        pytest.raises(UserError, match=f"no connection to {workers[1]} within 1 s"),
    ):
        cluster.wait_for_workers(workers, 0, {})


DATA_PARALLEL = """
import keras, numpy as np, sys
if len(keras.distribution.list_devices()) != 2:
    sys.exit("two devices expected")
from fast_weights import Control, FastWeights, LayerNormGRU, LayerNormRNN
rng = np.random.default_rng(0)
inputs = rng.normal(size=(32, 5, 3)).astype("float32")
targets = rng.normal(size=(32, 4)).astype("float32")
layers = [Control, LayerNormRNN, LayerNormGRU, FastWeights, lambda n: FastWeights(n, chunk_size=2)]
for parallel in (False, True):
    if parallel:
        keras.distribution.set_distribution(keras.distribution.DataParallel(auto_shard_dataset=False))
    for layer in layers:
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((5, 3)), layer(4)])
        model.compile(keras.optimizers.Adam(1e-2), "mse")
        history = model.fit(inputs, targets, batch_size=16, epochs=3, verbose=0, shuffle=False)
        devices = len(model.weights[0].value.sharding.device_set)
        print(devices, *history.history["loss"])
"""


def test_layers_under_data_parallel_on_jax():
    """Catches a layer whose states or sums depend on how `fit` divides a batch."""
    pytest.importorskip("jax")
    env = {
        **os.environ,
        "KERAS_BACKEND": "jax",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
    }
    done = subprocess.run(
        [sys.executable, "-c", DATA_PARALLEL], env=env, cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [[float(number) for number in line.split()] for line in done.stdout.splitlines()]
    assert [line[0] for line in lines] == [1] * 5 + [2] * 5
    np.testing.assert_allclose(np.array(lines)[5:, 1:], np.array(lines)[:5, 1:], rtol=1e-4)
