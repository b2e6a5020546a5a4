"""The committed records, and the parts of the pages that are generated from them."""

import dataclasses
import json

import numpy as np
import pytest
from cases import needs_litert

from benchmarks import classifier, fill_pages, recall, reproduce_paper
from benchmarks.study import RESULTS_DIR, Measurement, Study
from benchmarks.tables import PARTS
from fast_weights.experiment import paper
from fast_weights.experiment.config import Config
from fast_weights.experiment.errors import UserError

FOUND = [value for module in fill_pages.MODULES for value in vars(module).values()]
# Those with records in `docs/results`.
STUDIES = [one for one in FOUND if isinstance(one, Study) and one.results_dir == RESULTS_DIR]
MEASUREMENTS = [one for one in FOUND if isinstance(one, Measurement)]
RUNS = [(study, name) for study in STUDIES for name in study.runs]


def config_of(record):
    """Returns the settings of a record. One that is younger than it had its default."""
    names = [field.name for field in dataclasses.fields(Config)]
    return Config(**{name: record[name] for name in names if name in record})


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.doc.splitlines()[0])
def test_records_are_complete(study):
    """Catches other settings, a missing epoch, a run that ended early, and a NaN."""
    for name, run in study.runs.items():
        record = study[name]
        assert config_of(record) == run.config
        columns = study.columns or ("epoch", "train_loss", "val_accuracy", "gradient_norm")
        for column in columns:
            values = record[column]
            assert np.isfinite(values).all()
            if study.stop_at_accuracy is None:
                assert len(values) == run.config.num_epochs
            else:
                assert len(values) == run.config.num_epochs or values[-1] >= study.stop_at_accuracy
                assert max(values[:-1], default=0) < study.stop_at_accuracy
        if not study.columns:
            assert record["epoch"] == list(range(1, run.config.num_epochs + 1))


@pytest.mark.parametrize("measurement", MEASUREMENTS, ids=lambda measurement: measurement.name)
def test_measurements_are_complete(measurement):
    """Catches a missing case, a case that no table shows, and a NaN."""
    assert measurement.records.keys() == set(measurement.cases)
    text = measurement.path.read_text(encoding="utf-8")
    json.loads(f"[{','.join(text.splitlines())}]", parse_constant=pytest.fail)


def test_every_record_belongs_to_a_run():
    """Catches records that no table shows and no command reproduces."""
    expected, names = {"README.md"}, {}
    for study in STUDIES:
        if study.columns:
            expected.add(study.path.name)
            names.setdefault(study.path, set()).update(study.runs)
        else:
            expected |= {f"{name}.{end}" for name in study.runs for end in ("json", "jsonl")}
    expected |= {measurement.path.name for measurement in MEASUREMENTS}
    found = {path.relative_to(RESULTS_DIR).as_posix() for path in RESULTS_DIR.rglob("*.*")}
    assert found == expected
    for path, of_studies in names.items():
        lines = path.read_text(encoding="utf-8").splitlines()
        assert sorted(json.loads(line)["name"] for line in lines) == sorted(of_studies)


def test_different_runs_have_different_configs():
    """Catches a configuration that does not say what its run changed.

    Runs whose settings differ in more than their length have different losses, and the others have
    equal ones.
    """
    pairs = set()
    for study, name in RUNS:
        if study.columns:
            continue
        config = dataclasses.replace(config_of(study[name]), num_epochs=1)
        if config.inner_steps == 0:  # without inner steps, RNN-LN-FW is CONTROL
            config = Config(model_name="CONTROL", num_epochs=1)
        pairs.add((config, study[name]["train_loss"][0]))
    configs, losses = zip(*pairs, strict=True)
    assert len(pairs) == len(set(configs)) == len(set(losses))
    for study in STUDIES:
        configs = [run.config for run in study.runs.values()]
        assert len(configs) == len(set(configs))


def test_learning_rates_are_the_best():
    """Catches a rate that the tuning does not give."""
    for model_name, rate in paper.BEST_LEARNING_RATES.items():
        names = reproduce_paper.TUNING[model_name, reproduce_paper.TUNING_UNITS]
        best = max(names, key=lambda name: max(reproduce_paper.STUDY[name]["val_accuracy"]))
        assert reproduce_paper.STUDY.runs[best].config.learning_rate == rate

    def score(name):
        accuracies = recall.STUDY[name]["val_accuracy"]
        has_learned = accuracies[-1] >= recall.STOP_AT
        return has_learned, -len(accuracies) if has_learned else accuracies[-1]

    for label, sizes in recall.MODELS.items():
        for size, (_, rate) in zip(recall.SIZES, sizes, strict=True):
            best = max(recall.TUNING[size, label], key=score)
            assert recall.STUDY.runs[best].config.learning_rate == rate


def test_records_of_the_classifier_have_its_sizes():
    """Catches records of other sizes."""
    for record in classifier.BENCHMARK.records.values():
        accuracies = record["val_accuracy"]
        assert len(accuracies) == classifier.NUM_EPOCHS
        assert len(record["effects"]) == len(classifier.AGES)
        examples = np.multiply(accuracies, classifier.NUM_VALIDATION)
        np.testing.assert_allclose(examples, examples.round(), atol=0.02)


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=[needs_litert] if path.stem == "export" else [])
        for path in fill_pages.PAGES
    ],
    ids=lambda path: path.stem,
)
def test_page_is_filled(path):
    """Catches numbers that were typed, or that are older than the records or the weights."""
    page = path.read_text(encoding="utf-8")
    assert page == fill_pages.fill(page)


def test_every_generated_part_is_on_a_page():
    """Catches a table that a page lost."""
    pages = "".join(path.read_text(encoding="utf-8") for path in fill_pages.PAGES)
    assert {name for _, name, _, _ in fill_pages.PART.findall(pages)} == set(PARTS)


def test_fill(monkeypatch):
    """Catches prose around a part that is changed, and a part within a line that is broken up."""
    monkeypatch.setitem(PARTS, "test", lambda: "new")
    start, end = "<!-- generated: test -->", "<!-- end generated -->"
    page = f"a {start}old{end} b {start}{end}\n{start}\nold\nold\n{end}\nc"
    expected = f"a {start}new{end} b {start}new{end}\n{start}\nnew\n{end}\nc"
    assert fill_pages.fill(page) == expected


@pytest.mark.parametrize(
    "page",
    [
        "<!-- generated: typo --><!-- end generated -->",
        "<!-- generated: test --> <!-- generated: test --><!-- end generated -->",
        "<!-- generated: test --> <!-- generated: test --><!-- end generated --> "
        "<!-- end generated -->",
        "<!-- generated: test-->old<!-- end generated -->",
    ],
)
def test_wrong_markers(monkeypatch, page):
    """Catches an unknown name, and a missing end, which deletes the prose up to the next end."""
    monkeypatch.setitem(PARTS, "test", lambda: "new")
    with pytest.raises(UserError):
        fill_pages.fill(page)
