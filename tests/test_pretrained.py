"""The bundled weights: those of the committed records, and part of the package."""

import pytest
from processes import ROOT

from benchmarks.reproduce_paper import BUNDLED as PAPER_RUNS
from benchmarks.reproduce_paper import STUDY
from fast_weights.experiment import dataset, results, storage
from fast_weights.experiment.checkpoint import load_model
from fast_weights.experiment.config import Config
from fast_weights.experiment.evaluation import evaluate
from fast_weights.experiment.models import BLOG_MODELS
from fast_weights.experiment.run_dir import PRETRAINED_DIR, RunDirectory

RECORDS = {name: results.read(ROOT / f"docs/results/{name}-seed0.jsonl") for name in BLOG_MODELS}
BUNDLED = [
    *((Config(model_name=name), RECORDS[name][-1].val_accuracy) for name in BLOG_MODELS),
    *((STUDY.runs[name].config, STUDY[name]["test_accuracy"][-1]) for name in PAPER_RUNS.values()),
]


@pytest.mark.parametrize(
    ("expected", "accuracy"), BUNDLED, ids=lambda one: getattr(one, "model_name", None)
)
def test_bundled_weights_are_those_of_the_records(tmp_path, expected, accuracy):
    """Catches weights of another run, epoch or network, and settings that are not theirs."""
    model, config = load_model(RunDirectory(tmp_path, expected.model_name), expected.network)
    assert config == expected
    splits = dataset.generate(config)
    # The last bit of a logit may depend on the machine.
    found = evaluate(model, config, splits.test if config.num_test else splits.validation)
    assert found["accuracy"] == pytest.approx(accuracy, abs=2e-4)


def test_bundled_weights_have_no_optimizer():
    """Catches a package that is three times as large as its users need."""
    paths = sorted(PRETRAINED_DIR.rglob("*.npz"))
    assert len(paths) == 8
    for path in paths:
        assert not [name for name in storage.read_arrays(path) if name.startswith("optimizer")]
