"""Training on several devices and in several processes equals training on one device."""

import contextlib
import dataclasses
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import processes
import pytest
from processes import ROOT, TINY, assert_refused, checkpoint_arrays, records, run_directory, start
from tensorflow.python.eager import context as tf_context

from fast_weights.experiment import dataset, distribution, storage, workers
from fast_weights.experiment.errors import UserError
from fast_weights.experiment.run_dir import RunDirectory
from fast_weights.experiment.training import train

# Gradients are clipped in every update. The learning rate is high, so that faults show.
SETTINGS = {"num_epochs": 3, "max_gradient_norm": 0.1, "shuffle": True}
FLAGS = (
    *(*TINY, "--learning_rate=1e-2", "--max_gradient_norm=0.1", "--shuffle"),
    "--distribution_strategy=multi_worker_mirrored",
)
RECALL = {"task": "multi-query-recall", "vocabulary_size": 8}
OPTIONS = [{"model_name": "CONTROL", "num_test": 24, **RECALL}]
MORE_OPTIONS = [
    *({"model_name": name} for name in ("RNN-LN-FW", "RNN-LN", "GRU-LN")),
    {"model_name": "A-LSTM", "units": 6},
    {"inner_steps": 0},
    {"network": "paper", "weight_decay": 0.1, "learning_rate_schedule": "cosine"},
]


def environments():
    """Returns the environments of two workers at free ports."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
        addresses = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    # conftest.py hides TensorFlow's log. Users leave its level alone.
    inherited = {k: value for k, value in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    for index in range(2):
        task = {"type": "worker", "index": index}
        config = json.dumps({"cluster": {"worker": addresses}, "task": task})
        yield {**inherited, "TF_CONFIG": config}


def start_worker(directory, env, *flags, patch=""):
    """Starts `train.py` as a worker, after a line of Python that changes the module `workers`."""
    script = directory / "patched.py"
    script.write_text(
        f"import runpy, sys\nsys.path.insert(0, {str(ROOT)!r})\n"
        "from fast_weights.experiment import console\n"
        "with console.quiet_import(log_level='3'):\n"
        "    from fast_weights.experiment import workers\n"
        f"{patch}\nrunpy.run_path({str(ROOT / 'train.py')!r}, run_name='__main__')\n",
        encoding="utf-8",
    )
    return start(script, directory, *FLAGS, *flags, env=env)


@contextlib.contextmanager
def start_workers(directory, *flags, others=(), patch=""):
    """Starts two workers. The second has more flags, a patch and a directory of its own."""
    first, second = environments()
    other = directory / "worker"
    other.mkdir(parents=True, exist_ok=True)
    with (
        start("train.py", directory, *FLAGS, *flags, env=first) as chief,
        start_worker(other, second, *flags, *others, patch=patch) as worker,
    ):
        yield chief, worker


def end_of(process):
    """Returns the completed process, without notes and TensorFlow's log on its standard error.

    TensorFlow 2.18 to 2.20 log some lines at any level.
    """
    stdout, stderr = process.communicate(timeout=240)
    is_log = re.compile(r"note: |WARNING: All log messages|[IWE]\d{4} ").match
    errors = [line for line in stderr.splitlines(keepends=True) if not is_log(line)]
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, "".join(errors))


def run_workers(directory, *flags, **options):
    """Runs two workers to their end."""
    with start_workers(directory, *flags, **options) as both:
        return [end_of(worker) for worker in both]


def assert_same_run(run_dir, other):
    """Asserts equal results and weights of two runs, up to rounding."""
    assert len(records(run_dir)) == len(records(other)) > 0
    for mine, theirs in zip(records(run_dir), records(other), strict=True):
        one, two = (json.loads(record.to_json()) for record in (mine, theirs))
        assert one == pytest.approx(two, rel=2e-3, abs=1e-5)
    for name, value in arrays_of(run_dir).items():
        # A tenth of an update: Adam divides small gradients by their size, and so their rounding.
        np.testing.assert_allclose(arrays_of(other)[name], value, 1e-3, 1e-3, err_msg=name)


def arrays_of(run_dir):
    return storage.read_arrays(run_dir.checkpoint_path(run_dir.checkpoint_epochs()[0]))


TRAIN_ON_TWO_DEVICES = """
import json, sys
import keras
from fast_weights.experiment import Config, RunDirectory, UserError, train
from fast_weights.experiment.models import MODELS, ModelEntry
directory, configs = sys.argv[1], [Config(**one) for one in json.loads(sys.argv[2])]
two = {"distribution_strategy": "mirrored", "num_devices": 2}
for i, config in enumerate(configs):
    run_dir = RunDirectory(f"{directory}/{i}-two", config.model_name)
    stop = keras.callbacks.EarlyStopping("val_accuracy", patience=9)
    train(config, run_dir, directory, callbacks=[stop], **two)
MODELS["DROPOUT"] = ModelEntry("fast_weights.Control", arguments={"dropout": 0.5})
odd = Config(batch_size=5, num_training=5, num_validation=5)
dropout = Config("DROPOUT", batch_size=4, num_training=4, num_validation=4)
for config, reason in (odd, "batch_size=5"), (dropout, "dropout"):
    try:
        train(config, RunDirectory(directory, reason), directory, **two)
    except UserError as error:
        assert reason in str(error)
    else:
        sys.exit(f"trained with {reason}")
"""


@pytest.mark.slow
@pytest.mark.parametrize("options", [OPTIONS, MORE_OPTIONS])
def test_two_devices_equal_one(tmp_path, tiny, options):
    """Catches clipping before the sum, a loss of one share, and a share that is used twice."""
    configs = [tiny(**{**SETTINGS, **one}) for one in options]
    settings = json.dumps([dataclasses.asdict(one) for one in configs])
    command = [sys.executable, "-c", TRAIN_ON_TWO_DEVICES, str(tmp_path), settings]
    subprocess.run(command, cwd=ROOT, check=True, timeout=500)
    for i, config in enumerate(configs):
        one, two = (RunDirectory(tmp_path / f"{i}-{n}", config.model_name) for n in ("one", "two"))
        with processes.without_xla():
            train(config, one, tmp_path)
        assert_same_run(one, two)


@pytest.mark.slow
def test_two_workers_equal_one_device(tmp_path, tiny):
    """Catches two writers, a worker on another share, and a checkpoint for one device only."""
    config, one = tiny(model_name="CONTROL", **SETTINGS), RunDirectory(tmp_path / "one", "CONTROL")
    two = run_directory(tmp_path / "two", "CONTROL")
    with processes.without_xla():
        train(config, one, tmp_path)
        train(config, two, tmp_path, stop_at_accuracy=0)  # the workers resume this run
    chief, other = run_workers(tmp_path / "two", "--num_epochs=3", "--model_name=CONTROL")
    assert chief.returncode == other.returncode == 0, chief.stderr + other.stderr
    assert "/3 " in chief.stdout
    assert other.stdout == other.stderr == ""
    assert not (tmp_path / "two/worker/checkpoints").exists()
    assert_same_run(one, two)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("victim", "number"),
    [
        (victim, number)
        for victim in (0, 1)
        for number in [signal.SIGKILL] * 3 + [signal.SIGTERM] * 2
    ],
)
def test_death_of_a_worker_ends_the_others(tmp_path, victim, number):
    """Catches a worker that waits forever, and a resumed run that differs from a whole one."""
    with start_workers(tmp_path, "--num_epochs=3000", "--model_name=CONTROL") as both:
        next(line for line in both[0].stdout if " 2/3000" in line)
        time.sleep(random.random())
        both[victim].send_signal(number)
        done = end_of(both[1 - victim])
        assert_refused(done)
    run_dir = run_directory(tmp_path, "CONTROL")
    completed = run_dir.checkpoint_epochs()[0]
    assert completed >= 2
    for directory in (tmp_path, tmp_path / "whole"):
        epochs = f"--num_epochs={completed + 20}"
        for worker in run_workers(directory, epochs, "--model_name=CONTROL"):
            assert worker.returncode == 0, worker.stderr
    whole = run_directory(tmp_path / "whole", "CONTROL")
    assert records(run_dir) == records(whole)
    assert checkpoint_arrays(run_dir) == checkpoint_arrays(whole)


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1], ids=["chief", "worker"])
def test_death_while_compiling_ends_the_others(tmp_path, victim):
    """Catches a worker that waits forever for one that died before the first update."""
    with start_workers(tmp_path, "--model_name=GRU-LN") as both:
        assert any("Compiling" in line for line in both[0].stderr), both[0].communicate()
        both[victim].kill()
        assert_refused(end_of(both[1 - victim]))
    assert not run_directory(tmp_path, "GRU-LN").is_trained


@pytest.mark.slow
def test_death_while_connecting_ends_the_others(tmp_path):
    """Catches TensorFlow's wait of an hour, in code that Python cannot interrupt."""
    patch = "import os; workers._check_same = lambda *arguments: os._exit(1)"
    chief, other = run_workers(tmp_path, patch=patch)
    assert other.returncode == 1
    assert_refused(chief)


@pytest.mark.slow
def test_differences_between_workers_are_named(tmp_path, tiny_config):
    """Catches workers that train two models together, on other data or with other packages."""
    for path in (tmp_path / "data", tmp_path / "worker/data"):
        dataset.load_or_generate(path, tiny_config)
    path = dataset.data_path(path, tiny_config)
    arrays = storage.read_arrays(path)
    storage.write_arrays(path, {**arrays, "training_tokens": arrays["training_tokens"][::-1]})
    patch = (
        "old = workers._versions; workers._versions = lambda splits: {**old(splits), 'keras': 3}"
    )
    for worker in run_workers(tmp_path, others=["--units=4"], patch=patch):
        assert_refused(worker, "units=5", "units=4", "keras=3", "sequences=")
    assert not run_directory(tmp_path).is_trained


@pytest.mark.slow
@pytest.mark.parametrize("port_is_taken", [False, True])
def test_worker_without_a_connection_is_named(tmp_path, port_is_taken):
    """Catches a wait without end for a worker that never comes, or at a port in use."""
    service = tf_context.coordination_config_pb2.CoordinationServiceConfig()
    if not port_is_taken and not hasattr(service, "cluster_register_with_barrier"):
        pytest.skip("TensorFlow 2.18 has no time limit for it")
    env, _ = environments()
    mine, missing = json.loads(env["TF_CONFIG"])["cluster"]["worker"]
    taken = ("127.0.0.1", int(mine.split(":")[1]))
    with (
        socket.create_server(taken) if port_is_taken else contextlib.nullcontext(),
        start_worker(tmp_path, env, patch="workers.CONNECT_SECONDS = 2") as worker,
    ):
        assert_refused(end_of(worker), "" if port_is_taken else missing)


@pytest.mark.parametrize(
    ("name", "num_devices", "variables"),
    [
        ("mirrored", None, {}),  # no GPU
        ("mirrored", 2, {}),  # this process has started computing
        ("off", 2, {}),
        ("multi_worker_mirrored", None, {}),
        ("multi_worker_mirrored", None, {"SLURM_PROCID": "0"}),  # not started by srun
        ("parameter_server", None, {}),
    ],
)
def test_devices_that_do_not_exist_are_refused(
    monkeypatch, tiny_config, name, num_devices, variables
):
    """Catches a traceback for a wrong flag or environment."""
    monkeypatch.delenv("TF_CONFIG", raising=False)
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    splits, settings = dataset.generate(tiny_config), dataclasses.asdict(tiny_config)
    with pytest.raises(UserError):
        distribution.connect(name, num_devices, settings, splits)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1e999}}',
        '{"cluster": {"worker": [5001]}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": ["a:1", "a:1"]}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"ps": ["a:1"], "worker": ["a:2"]}, "task": {"type": "ps", "index": 0}}',
    ],
)
def test_wrong_cluster_is_named(text):
    """Catches a cluster that TensorFlow waits for in vain."""
    with pytest.raises(UserError):
        workers._check_description(text)


@pytest.mark.parametrize("address", ["a", "a:70000", "http://a:1", "me@a:1", "::1:5", "[a:1", ""])
def test_wrong_address_is_named(address):
    """Catches a wait without end, or a traceback, for an address that gRPC cannot use."""
    with pytest.raises(UserError, match=re.escape(repr(address))):
        workers._check_addresses(["127.0.0.1:1", address])


def test_addresses_bypass_a_proxy(monkeypatch, caplog):
    """Catches a connection through a proxy, and a missing host without a warning."""
    monkeypatch.setenv("no_grpc_proxy", "")
    workers._check_addresses(["127.0.0.1:1", "[::1]:2", "no-such-host.invalid:3"])
    assert os.environ["no_grpc_proxy"] == "127.0.0.1,::1,no-such-host.invalid"  # noqa: SIM112
    (warning,) = caplog.records
    assert "no-such-host.invalid:3" in warning.args


def test_chief_is_the_first_worker():
    """Catches a chief, as in Kubeflow, that is refused, and two workers with one index."""
    for kind, index, expected in (("chief", 0, 0), ("worker", 1, 2)):
        cluster, task = {"chief": ["a:1"], "worker": ["b:1", "c:1"]}, {"type": kind, "index": index}
        text = workers._check_description(json.dumps({"cluster": cluster, "task": task}))
        assert json.loads(text) == {
            "cluster": {"worker": ["a:1", "b:1", "c:1"]},
            "task": {"type": "worker", "index": expected},
        }


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("cpn-[10-11]-[01-01]", "cpn-10-01 cpn-11-01"),
        ("c1r[01-02]n3,x", "c1r01n3 c1r02n3 x"),
        ("n[8-10,12]", "n8 n9 n10 n12"),
        ("a-1,b", "a-1 b"),
    ],
)
def test_lists_of_slurm(text, names):
    """Catches a list with two ranges or a suffix, which TensorFlow's resolver cannot read."""
    assert list(workers._hosts(text)) == names.split()


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
    found = workers._read_slurm()
    addresses = ["n10:8888", "n10:8889", "n9:8888", "n9:8889"]
    assert found.cluster_spec().as_dict() == {"worker": addresses}
    assert (found.task_id, found.num_accelerators()) == (index, {})
