"""A model and a task of one's own go through the whole program, as docs/extend.md shows."""

import dataclasses
import re

import keras
import numpy as np
import pytest
from processes import ROOT, TINY, without_xla
from test_docs import python_of, read

from fast_weights.experiment import evaluation
from fast_weights.experiment.models import MODELS, ModelEntry, build_model
from fast_weights.experiment.tasks import TASKS

PAGE = read(ROOT / "docs/extend.md")
TASK = python_of(PAGE).partition("from fast_weights.experiment import")[0]


def test_page_shows_how_lstm_was_added():
    """Catches a diff that is not the code."""
    added = re.search(r"^\+(.*)", PAGE, re.MULTILINE)[1]
    assert added in read(ROOT / "fast_weights/experiment/models.py")


@pytest.fixture
def contains_z(monkeypatch):
    """Adds the task of the page."""
    names = {}
    exec(TASK, names)
    monkeypatch.setitem(TASKS, "contains-z", names["ContainsZ"])


@pytest.mark.slow
@pytest.mark.parametrize("task", ["multi-query-recall", "contains-z"])
def test_scripts_take_a_model_and_a_task(contains_z, call, tmp_path, monkeypatch, task):
    """Catches a part of the program that knows only the models and the tasks of this project."""
    monkeypatch.setitem(MODELS, "SIMPLE", ModelEntry(keras.layers.SimpleRNN))
    monkeypatch.chdir(tmp_path)
    settings = [f"--task={task}", *(one for one in TINY if "num_pairs" not in one)]
    with without_xla():
        call("train.py", "--model_name=SIMPLE", "--num_epochs=2", *settings)
    assert "PREDICTION: " in call("test.py", "--model_name=SIMPLE").stdout
    assert "accuracy.png" in call("plot.py", "--model_name=SIMPLE").stdout
    assert "-SIMPLE-" in call("plot.py", "--model_name=SIMPLE", "--figure=weights").stdout


def test_plugin_adds_a_task(call, tmp_path, monkeypatch):
    """Catches a plugin that runs after the flags are defined, and weights that are not copied."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_task.py").write_text(
        f"{TASK}\nfrom fast_weights.experiment.tasks import TASKS\nTASKS['plugin'] = ContainsZ\n"
    )
    monkeypatch.setitem(TASKS, "plugin", None)  # removed at the end
    settings = [one for one in TINY if "num_pairs" not in one]
    settings += ["--plugin", "my_task.py", "--task=plugin", "--model_name=CONTROL"]
    with without_xla():
        call("train.py", *settings, "--num_epochs=1")
        flags = ["--init_from=checkpoints/CONTROL", "--checkpoint_dir=other", "--num_epochs=1"]
        note = call("train.py", *settings, *flags).stderr
    assert "Weights from checkpoints/CONTROL. Left at their initial values: none" in note
    flags = ["--plugin=my_task.py", "--model_name=CONTROL", "--sample=helloz", "--probabilities"]
    *_, answer = call("test.py", *flags).stdout.splitlines()
    assert re.fullmatch(r"  z: \S \(\S+%\), \S \(\S+%\), \S \(\S+%\)", answer)


@pytest.mark.parametrize("model_name", ["RNN-LN-FW", "A-LSTM", "LSTM"])
def test_padding_is_masked(contains_z, tiny, model_name):
    """Catches an answer that depends on the padding, in the model, the trace and the attention."""
    config = tiny(task="contains-z", model_name=model_name, num_pairs=3, units=6)
    answers = []
    for settings in (config, dataclasses.replace(config, sequence_length=14)):
        task = settings.make_task()
        trace = evaluation.trace_sequence(build_model(settings), task, "helloz")
        assert list(trace.positions) == [5]
        assert len(trace.hidden) == 6
        answers.append(trace.probabilities)
    np.testing.assert_allclose(*answers, rtol=1e-4)
