"""The scripts where people work: under rules of Windows, in a notebook, beside a GPU."""

import os
import re
import sys

import pytest
from processes import OPTIMIZED, ROOT, TINY, checkpoint_arrays, records, run, run_directory

from fast_weights.experiment import console, training

RULES_OF_WINDOWS = {**os.environ, "PYTHONPATH": str(ROOT / "tests/windows")}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="Linux imitates Windows")
def test_scripts_obey_rules_of_windows(tmp_path):
    """Catches a flush, a rename or a file name that Windows refuses, and a module that it lacks."""
    env = RULES_OF_WINDOWS
    for directory in ("windows", "linux"):
        (tmp_path / directory).mkdir()
    for flags in (("--num_epochs=1",), ("--num_epochs=4",), ("--num_epochs=3", "--restart")):
        run("train.py", tmp_path / "windows", *TINY, *flags, env=env)
    run("test.py", tmp_path / "windows", "--evaluate", env=env)
    run("plot.py", tmp_path / "windows", env=env)
    run("plot.py", tmp_path / "windows", "--figure=memory", "--sample=g5o8??g", env=env)
    assert len(list((tmp_path / "windows/figures").iterdir())) == 5
    run("train.py", tmp_path / "linux", *TINY, "--num_epochs=3")
    ours, others = (run_directory(tmp_path / directory) for directory in ("windows", "linux"))
    assert ours.checkpoint_epochs() == [3, 2]
    assert checkpoint_arrays(ours) == checkpoint_arrays(others)
    assert records(ours) == records(others)


class Notebook:
    """A kernel, and what its cells print."""

    def __init__(self, manager, client):
        self._manager, self._client = manager, client

    def execute(self, code, interrupt_at=None):
        """Runs a cell; returns its streams and errors. Interrupts it once it prints a text."""
        printed = []

        def receive(message):
            content = message["content"]
            if message["msg_type"] == "stream":
                printed.append(content["text"])
            elif message["msg_type"] == "error":
                printed.append(f"Traceback: {content['ename']}: {content['evalue']}")
            if interrupt_at and interrupt_at in "".join(printed[-1:]):
                self._manager.interrupt_kernel()

        self._client.execute_interactive(code, output_hook=receive, timeout=300)
        return "".join(printed)

    def run(self, script, *flags, **options):
        """Runs a script with `%run`."""
        printed = self.execute(f"%run {ROOT / script} {' '.join(flags)}", **options)
        assert not {"\r", "\x1b"} & set(printed), printed
        assert "Traceback" not in printed, printed
        return printed


@pytest.fixture
def notebook(tmp_path):
    """A notebook in an empty directory."""
    pytest.importorskip("ipykernel")
    manager = pytest.importorskip("jupyter_client.manager")
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    kernel, client = manager.start_new_kernel(cwd=tmp_path, env=env)
    yield Notebook(kernel, client)
    client.stop_channels()
    kernel.shutdown_kernel(now=True)


IN_PYTHON = """
from fast_weights.experiment import Config, RunDirectory, load_model, train
config = Config(model_name="CONTROL", num_epochs=2, num_training=200, num_validation=200)
print(len(train(config)), RunDirectory("checkpoints", "CONTROL").is_trained)
model, loaded = load_model(RunDirectory("checkpoints", "CONTROL"))
print(loaded == config)
"""


@pytest.mark.slow
def test_scripts_run_in_a_notebook(notebook, tmp_path):
    """Catches a second script that defines its flags again, and an end of the kernel."""
    pid = notebook.execute("import os; print(os.getpid())")
    # The interrupt arrives while TensorFlow loads: a part of it could not be loaded again.
    interrupt = (
        "import builtins, signal\n"
        "load = builtins.__import__\n"
        "def interrupted(name, *args):\n"
        "    if name.startswith('tensorflow.python.data'):\n"
        "        builtins.__import__ = load\n"
        "        signal.raise_signal(signal.SIGINT)\n"
        "    return load(name, *args)\n"
        "builtins.__import__ = interrupted"
    )
    notebook.execute(interrupt)
    assert "Interrupted." in notebook.run("test.py")
    assert "PREDICTION: 5" in notebook.run("test.py")
    printed = notebook.run("train.py", *TINY, "--num_epochs=2")
    assert [line.split()[0] for line in printed.splitlines() if "/2 " in line] == ["1/2", "2/2"]
    assert printed.count("note: Training on ") == 1
    for flags in (["--units=6"], ["--unit=5"], ["RNN-LN"]):
        printed = notebook.run("train.py", *flags)
        assert printed.startswith("error: ")
        assert printed.count("\n") == 1
    printed = notebook.run("train.py", "--num_epochs=100000", interrupt_at=" 3/100000")
    assert "--restart" in printed.splitlines()[-1]
    # The interrupted run released its lock.
    printed = notebook.run("train.py", *TINY, "--restart", "--num_epochs=1")
    assert printed.count("note: Training on ") == 1
    assert "of 40" in notebook.run("test.py", "--evaluate")
    assert "accuracy.png" in notebook.run("plot.py")
    assert notebook.execute(IN_PYTHON).splitlines()[-2:] == ["2 True", "True"]
    assert notebook.execute("print(os.getpid())") == pid


NOTICE = """\
WARNING: All log messages before absl::InitializeLog() is called are written to STDERR
I0000 00:00:1.1    1 cudart_stub.cc:31] Could not find cuda drivers on your machine.
E0000 00:00:1.2    1 cuda_executor.cc:1737] INTERNAL: Error loading CUDA libraries.
W0000 00:00:1.3    1 gpu_device.cc:2365] Cannot dlopen some GPU libraries.
Skipping registering GPU devices...
"""
NO_DRIVER = "E0000 00:00:1.1    1 cuda_platform.cc:52] failed call to cuInit: UNKNOWN ERROR (303)\n"


@pytest.mark.parametrize(
    ("log", "level", "shown"),
    [
        (NOTICE, None, "".join(NOTICE.splitlines(keepends=True)[2:])),
        (NO_DRIVER, None, ""),
        (NO_DRIVER.replace("303", "803"), None, NO_DRIVER.replace("303", "803")),
        (NO_DRIVER, "0", NO_DRIVER),
    ],
)
def test_unusable_gpu_is_reported(capfd, monkeypatch, log, level, shown):
    """Catches a GPU that is not used without a reason, and noise on a machine without a GPU."""
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    if level is None:
        monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    else:
        monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", level)
    with console.quiet_import():
        os.write(2, log.encode())
    assert capfd.readouterr().err == shown
    # TensorFlow keeps the notice to itself above this level.
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == (level or "1")


def test_nothing_is_printed_without_a_gpu(tmp_path):
    """Catches messages of TensorFlow at the level that shows its notice."""
    env = {name: value for name, value in OPTIMIZED.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    env["CUDA_VISIBLE_DEVICES"] = "-1"
    done = run("train.py", tmp_path, *TINY, "--model_name=CONTROL", "--num_epochs=1", env=env)
    first, second, third = done.stderr.splitlines()
    assert re.fullmatch(r"note: Training on CPU \(.*\)", second), done.stderr
    assert all(line.startswith("note: ") for line in (first, third))


def test_device_is_named(monkeypatch):
    """Catches a GPU that is reported as the CPU, and a name such as `/physical_device:GPU:0`."""
    config = training.tf.config
    gpu = config.PhysicalDevice("/physical_device:GPU:0", "GPU")
    monkeypatch.setattr(config, "get_visible_devices", lambda kind: [gpu])
    for details, name in (({"device_name": "H100"}, "H100"), ({}, gpu.name)):
        monkeypatch.setattr(config.experimental, "get_device_details", lambda _, d=details: d)
        assert training.device_name() == f"GPU ({name})"
