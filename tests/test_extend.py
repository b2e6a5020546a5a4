"""A model and a task of one's own go through the whole program, as docs/extend.md shows."""

import dataclasses
import re
import shutil

import keras
import matplotlib
import numpy as np
import pytest
from processes import ROOT, TINY, run
from test_docs import python_of, read

from fast_weights.experiment import evaluation, plots
from fast_weights.experiment.checkpoint import load_model
from fast_weights.experiment.models import MODELS, ModelEntry, build_model
from fast_weights.experiment.run_dir import RunDirectory
from fast_weights.experiment.tasks import TASKS
from fast_weights.experiment.training import train

PAGE = read(ROOT / "docs/extend.md")
TASK = python_of(PAGE).partition("from fast_weights.experiment import")[0]
# The lines that each diff of the page adds.
(MODEL,), (IMPORT, ENTRY) = (
    re.findall(r"^\+(.*)", diff, re.MULTILINE)
    for diff in re.findall(r"^```diff\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
)


def test_page_shows_how_lstm_was_added():
    """Catches a diff that is not the code."""
    assert MODEL in read(ROOT / "fast_weights/experiment/models.py")


@pytest.mark.parametrize("task", TASKS)
def test_added_model_trains_and_answers(tiny, tmp_path, monkeypatch, task):
    """Catches a part of the program that knows only the models of this project."""
    monkeypatch.setitem(MODELS, "SIMPLE", ModelEntry(keras.layers.SimpleRNN))
    config, run_dir = tiny(model_name="SIMPLE", task=task), RunDirectory(tmp_path, "SIMPLE")
    records = train(config, run_dir, tmp_path / "data")
    model, config = load_model(run_dir)
    sample = config.make_task().default_sample
    trace = evaluation.trace_sequence(model, config.make_task(), sample)
    assert trace.hidden.shape == (len(trace.tokens), 5)
    assert trace.fast_weights is None
    plots.plot_curves({"SIMPLE": [records]}, tmp_path)


@pytest.fixture
def contains_z(monkeypatch):
    """Adds the task of the page."""
    names = {}
    exec(TASK, names)
    monkeypatch.setitem(TASKS, "contains-z", names["ContainsZ"])


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


@pytest.mark.slow
def test_scripts_take_a_model_and_a_task(tmp_path):
    """Catches a script that an entry and a file do not reach."""
    shutil.copytree(ROOT / "fast_weights", tmp_path / "fast_weights")
    for script in ("train.py", "test.py", "plot.py"):
        shutil.copy(ROOT / script, tmp_path)
    experiment = tmp_path / "fast_weights/experiment"
    (experiment / "tasks/contains_z.py").write_text(TASK, encoding="utf-8")
    for name, before, after in [
        ("models.py", "", MODEL.replace('"LSTM"', '"FIFTH"')),
        ("tasks/__init__.py", IMPORT, ENTRY),
    ]:
        text = re.sub(r"\n(\w+ = \{)\n", rf"\n{before}\n\1\n{after}\n", read(experiment / name))
        (experiment / name).write_text(text, encoding="utf-8")
    env = {"MPLCONFIGDIR": matplotlib.get_cachedir(), "TF_CPP_MIN_LOG_LEVEL": "3"}

    def call(script, *flags):
        return run(tmp_path / script, tmp_path, *flags, env=env).stdout

    fifth = "--model_name=FIFTH"
    assert "FIFTH has completed epoch 2" in call("train.py", fifth, *TINY, "--num_epochs=2")
    assert "PREDICTION: " in call("test.py", fifth)
    assert "weights-FIFTH-seed-0-" in call("plot.py", fifth, "--figure=weights")
    place, task = "--checkpoint_dir=checkpoints/z", ("--task=contains-z", "--num_epochs=1")
    call("train.py", place, *task, *(one for one in TINY if "num_pairs" not in one))
    assert "INPUT: helloz\n" in call("test.py", place, "--sample=helloz")
    assert "memory-RNN-LN-FW" in call("plot.py", place, "--figure=memory", "--sample=helloz")
