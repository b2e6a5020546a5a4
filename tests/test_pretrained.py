"""The bundled weights: those of the committed records, and part of the package."""

import logging

import pytest
from processes import ROOT

from benchmarks import reproduce_paper
from fast_weights.experiment import dataset, results, storage
from fast_weights.experiment.checkpoint import load_model
from fast_weights.experiment.config import Config
from fast_weights.experiment.errors import UserError
from fast_weights.experiment.evaluation import evaluate
from fast_weights.experiment.models import BLOG_MODELS
from fast_weights.experiment.run_dir import PRETRAINED_DIR, RunDirectory


@pytest.fixture(scope="module")
def validation():
    """The validation sequences of seed 0, on which all bundled weights were evaluated."""
    return dataset.generate(Config())[1]


@pytest.mark.parametrize("model_name", BLOG_MODELS)
def test_bundled_weights_are_those_of_the_records(tmp_path, caplog, validation, model_name):
    """Catches weights of another run or epoch, and settings that are not theirs."""
    caplog.set_level(logging.INFO)
    run_dir = RunDirectory(tmp_path, model_name)
    model, config = load_model(run_dir)
    assert config == Config(model_name=model_name)
    (note,) = caplog.records
    assert run_dir.train_command() in note.args
    accuracy = evaluate(model, config, validation)["accuracy"]
    records = results.read(ROOT / f"docs/results/{model_name}-seed0.jsonl")
    assert records[-1].epoch == 1000
    # The last bit of a logit may depend on the machine.
    assert accuracy == pytest.approx(records[-1].val_accuracy, abs=2e-4)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if model_name == "A-LSTM" else name
        for model_name, name in reproduce_paper.BUNDLED.items()
    ],
)
def test_bundled_weights_of_the_paper_are_those_of_the_records(tmp_path, name):
    """Catches weights of another run or of the blog's network, and settings that are not theirs."""
    run, record = reproduce_paper.STUDY.runs[name], reproduce_paper.STUDY[name]
    model, config = load_model(RunDirectory(tmp_path, run.config.model_name), "paper")
    assert config == run.config
    accuracy = evaluate(model, config, dataset.generate(config).test)["accuracy"]
    assert accuracy == pytest.approx(record["test_accuracy"][-1], abs=2e-4)


def test_other_seeds_are_not_bundled(tmp_path):
    """Catches the weights of seed 0 under the name of another seed."""
    with pytest.raises(UserError):
        load_model(RunDirectory(tmp_path, "RNN-LN-FW", seed=3))


def test_bundled_weights_have_no_optimizer():
    """Catches a package that is three times as large as its users need."""
    paths = sorted(PRETRAINED_DIR.rglob("*.npz"))
    assert len(paths) == 8
    for path in paths:
        assert not [name for name in storage.read_arrays(path) if name.startswith("optimizer")]
