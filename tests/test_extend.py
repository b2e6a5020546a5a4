"""A model and a task of one's own go through the whole program, as docs/extend.md shows."""

import dataclasses
import re
import shutil

import keras
import matplotlib
import numpy as np
import pytest
from event_files import curves
from processes import ROOT, TINY, run
from test_docs import python_of

from fast_weights.experiment import evaluation, plots
from fast_weights.experiment.checkpoint import load_model, new_state
from fast_weights.experiment.config import Config
from fast_weights.experiment.models import MODELS, ModelEntry
from fast_weights.experiment.run_dir import RunDirectory
from fast_weights.experiment.tasks import NO_ANSWER, TASKS
from fast_weights.experiment.training import train

PAGE = ROOT / "docs/extend.md"


def added_lines(text):
    """Returns the lines that each diff of a page adds, without the plus signs."""
    diffs = re.findall(r"^```diff\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [[line[1:] for line in diff.splitlines() if line.startswith("+")] for diff in diffs]


def test_page_shows_how_lstm_was_added():
    """Catches a diff that is not the code, and an entry that is not enough."""
    lines, _ = added_lines(PAGE.read_text(encoding="utf-8"))
    assert len(lines) < 15
    models = (ROOT / "fast_weights/experiment/models.py").read_text(encoding="utf-8")
    assert "\n".join(lines[:4]) in models
    assert "\n".join(lines[6:]) in models
    package = [*(ROOT / "fast_weights").rglob("*.py"), *ROOT.glob("*.py")]
    named = [path.name for path in package if '"LSTM"' in path.read_text(encoding="utf-8")]
    assert named == ["models.py", "style.py"]


@pytest.fixture
def simple(monkeypatch):
    """Adds Keras's SimpleRNN to the models."""

    def layer(config, **kwargs):
        return keras.layers.SimpleRNN(config.units, **kwargs)

    monkeypatch.setitem(MODELS, "SIMPLE", ModelEntry(layer))


@pytest.mark.parametrize("task", TASKS)
def test_added_model_trains_and_answers(simple, tiny, tmp_path, task):
    """Catches a part of the program that knows only the models of this project."""
    config, run_dir = tiny(model_name="SIMPLE", task=task), RunDirectory(tmp_path, "SIMPLE")
    records = train(config, run_dir, tmp_path / "data")
    model, config = load_model(run_dir)
    sample = config.make_task().default_sample
    trace = evaluation.trace_sequence(model, config.make_task(), sample)
    assert trace.hidden.shape == (len(trace.tokens), 5)
    assert trace.fast_weights is None
    plots.plot_curves({"SIMPLE": [records]}, tmp_path)
    assert {"slow_weights/rnn/kernel", "probe/hidden_state"} <= {tag for _, tag in curves(run_dir)}


@pytest.fixture
def contains_z(monkeypatch):
    """Adds the task of the page."""
    names = {}
    exec(python_of(PAGE).partition("from fast_weights.experiment import")[0], names)
    monkeypatch.setitem(TASKS, "contains-z", names["ContainsZ"])


def test_task_of_the_page_is_right(contains_z):
    """Catches an answer that the letters contradict, and a z in the padding."""
    task = Config(task="contains-z", sequence_length=9).make_task()
    split = task.generate(500, np.random.default_rng(0))
    lengths = []
    for tokens, target in zip(*split, strict=True):
        text = task.decode(tokens)
        lengths.append(len(text))
        assert "_" not in text
        assert task.decode([target]) == ("+" if "z" in text else "-")
        np.testing.assert_array_equal(task.encode_sample(text), tokens)
    assert set(lengths) == {5, 6, 7, 8, 9}
    assert 0.4 < (split.targets == 28).mean() < 0.6
    assert NO_ANSWER not in split.targets


@pytest.mark.slow
def test_padded_task_trains(contains_z, tiny, tmp_path):
    """Catches a part of the program that forgets the mask, and so fails or learns nothing."""
    config = tiny(task="contains-z", num_pairs=3, num_training=6_400, units=20, num_epochs=3)
    records = train(config, RunDirectory(tmp_path, config.model_name), tmp_path)
    assert records[-1].val_accuracy > 0.9


@pytest.mark.parametrize("model_name", MODELS)
def test_padding_is_masked(contains_z, tiny, model_name):
    """Catches an answer that depends on the padding, in the model, the trace and the attention."""
    config = tiny(task="contains-z", model_name=model_name, num_pairs=3, units=6)
    long = dataclasses.replace(config, sequence_length=14)
    answers = []
    for settings in (config, long):
        model, task = new_state(settings).model, settings.make_task()
        trace = evaluation.trace_sequence(model, task, "helloz")
        assert list(trace.positions) == [5]
        assert len(trace.hidden) == 6
        answers.append(trace.probabilities)
    np.testing.assert_allclose(*answers, rtol=1e-4)


@pytest.mark.slow
def test_scripts_take_a_model_and_a_task(tmp_path):
    """Catches a script or a benchmark that an entry and a file do not reach."""
    checkout = tmp_path / "checkout"
    for name in ("fast_weights", "benchmarks", "docs/results"):
        shutil.copytree(ROOT / name, checkout / name)
    for script in ("train.py", "test.py", "plot.py"):
        shutil.copy(ROOT / script, checkout)
    page = PAGE.read_text(encoding="utf-8")
    # The model of the page under another name, as its own entry.
    (*function, _, _, entry), (imported, registered) = added_lines(page)
    models = checkout / "fast_weights/experiment/models.py"
    text = models.read_text(encoding="utf-8")
    function = "\n".join(function).replace("_lstm", "_fifth")
    entry = entry.replace("LSTM", "FIFTH").replace("_lstm", "_fifth")
    text = text.replace("\nMODELS = {\n", f"\n{function}\n\nMODELS = {{\n{entry}\n")
    models.write_text(text, encoding="utf-8")
    tasks = checkout / "fast_weights/experiment/tasks"
    source = python_of(PAGE).partition("from fast_weights.experiment import")[0]
    (tasks / "contains_z.py").write_text(source, encoding="utf-8")
    text = (tasks / "__init__.py").read_text(encoding="utf-8")
    text = text.replace("\nTASKS = {\n", f"\n{imported}\n\nTASKS = {{\n{registered}\n")
    (tasks / "__init__.py").write_text(text, encoding="utf-8")

    def call(script, *flags):
        environment = {"MPLCONFIGDIR": matplotlib.get_cachedir(), "TF_CPP_MIN_LOG_LEVEL": "3"}
        return run(checkout / script, checkout, *flags, env=environment).stdout

    fifth = "--model_name=FIFTH"
    assert "FIFTH has completed epoch 2" in call("train.py", fifth, *TINY, "--num_epochs=2")
    assert "PREDICTION: " in call("test.py", fifth)
    assert "accuracy.png" in call("plot.py", fifth)
    assert "weights-FIFTH-seed-0-" in call("plot.py", fifth, "--figure=weights")
    flags = ("--models=FIFTH", "--seeds=0", "--num_epochs=1")
    assert "FIFTH" in call("benchmarks/reproduce_blog.py", *flags)
    place = "--checkpoint_dir=checkpoints/z"
    task = ("--task=contains-z", "--units=5", "--batch_size=8", "--num_epochs=1")
    call("train.py", place, *task, "--num_training=100", "--num_validation=40")
    assert "INPUT: helloz\n" in call("test.py", place, "--sample=helloz")
    assert "memory-RNN-LN-FW" in call("plot.py", place, "--figure=memory", "--sample=helloz")
