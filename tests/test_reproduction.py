"""The committed results: whole, of the settings they claim, and as the pages tell them."""

import dataclasses
import math
import pathlib

import pytest

from benchmarks import recurrences, reproduce_blog, what_the_memory_buys
from fast_weights import data, folders, sampling, shipped
from fast_weights.config import MODEL_NAMES, Config

ROOT = pathlib.Path(__file__).parent.parent
RESULTS = ROOT / "docs/results"
BLOG = [(model, seed) for model in MODEL_NAMES for seed in reproduce_blog.SEEDS]
# Whether RNN-LN falls short of the published curve, or its seeds differ.
BLOG += [("RNN-LN", seed) for seed in (3, 4, 5, 6)]
# What each run says of itself, beside the defaults.
CLAIMS = {
    **{
        reproduce_blog.name_of(model, seed): {"model_name": model, "seed": seed}
        for model, seed in BLOG
    },
    **{
        f"ablations/{name}": {"num_epochs": 200, **changes}
        for name, changes in {
            "S0": {"inner_steps": 0},
            "S2": {"inner_steps": 2},
            "S3": {"inner_steps": 3},
            "eta0": {"fast_learning_rate": 0.0},
            "lambda0.5": {"decay_rate": 0.5},
            "lambda0.8": {"decay_rate": 0.8},
            "lambda1.0": {"decay_rate": 1.0},
            "defaults": {},
            "original-1e-3": {"learning_rate": 1e-3},
            "paper-1e-4": {"recurrence": "paper"},
            "paper-1e-3": {"recurrence": "paper", "learning_rate": 1e-3},
            "without-layer-normalization": {"num_epochs": 1000},
        }.items()
    },
    "ablations/layer-normalization-over-the-batch": {"num_epochs": 200},
    "ablations/GRU-LN-standard-gates": {"model_name": "GRU-LN", "gates": "standard"},
    **{
        f"recurrences/{recurrences.name_of(recurrence, rate, seed)}": {
            "num_epochs": 200,
            "recurrence": recurrence,
            "learning_rate": float(rate),
            "seed": seed,
        }
        for recurrence, rate, seed in recurrences.RUNS
    },
}


@pytest.mark.parametrize("name", CLAIMS)
def test_a_run_is_whole_and_of_the_settings_it_claims(name):
    """A gap, an epoch twice, a number gone bad, the same records by two names."""
    config = Config.from_json((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    assert config == Config(**CLAIMS[name])
    records = reproduce_blog.read_file(RESULTS / f"{name}.jsonl")
    assert [record.epoch for record in records] == list(range(config.num_epochs))
    if config.seed:
        first = reproduce_blog.read_file(RESULTS / f"{name[:-1]}0.jsonl")
        assert records[0].train_loss != first[0].train_loss
    assert all(math.isfinite(n) for one in records for n in dataclasses.astuple(one))


def test_no_record_lies_there_that_nothing_claims():
    found = {str(path.relative_to(RESULTS).with_suffix("")) for path in RESULTS.rglob("*.jsonl")}
    assert found - {"memory_forms"} == set(CLAIMS)


def test_the_pages_have_the_tables_of_the_records():
    """A number that was typed, or is of an older run."""
    page = (ROOT / "docs/reproduction.md").read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    found = reproduce_blog.read(RESULTS)
    for line in reproduce_blog.accuracy_table(found):
        assert line in page
        assert line in readme
    for line in reproduce_blog.loss_table(found):
        assert line in page
    readme = (RESULTS / "README.md").read_text(encoding="utf-8")
    assert set(reproduce_blog.accuracy_table(found)) <= set(readme.splitlines())
    for line in what_the_memory_buys.table(what_the_memory_buys.read()):
        assert line in page
    runs = {
        run: reproduce_blog.read_file(recurrences.RECORDS / f"{recurrences.name_of(*run)}.jsonl")
        for run in recurrences.RUNS
    }
    page = (ROOT / "docs/recurrences.md").read_text(encoding="utf-8")
    for line in recurrences.table(runs):
        assert line in page


@pytest.mark.parametrize("model_name", MODEL_NAMES)
def test_the_shipped_weights_are_those_of_the_records(model_name):
    """Weights of another run, or of another epoch."""
    model, config = shipped.load(folders.shipped_path(ROOT / "checkpoints", model_name))
    records = reproduce_blog.read_file(RESULTS / f"{model_name}-seed0.jsonl")
    _, validation = data.make(3, config.num_training, config.num_validation, config.seed)
    accuracy, _ = sampling.accuracy_by_pair(model, validation)
    # A logit's last bit may depend on the machine.
    assert accuracy == pytest.approx(records[-1].valid_accuracy, abs=2e-4)
