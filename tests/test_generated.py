"""The committed records, and the parts of the pages that are generated from them."""

import dataclasses
import json

import numpy as np
import pytest
from cases import needs_litert

from benchmarks import (
    ablations,
    beyond_paper,
    classifier,
    fill_pages,
    harder_than_paper,
    long_sequences,
    recall,
    recurrences,
    reproduce_blog,
    reproduce_paper,
)
from benchmarks.runs import RESULTS_DIR
from fast_weights.experiment.config import Config
from fast_weights.experiment.errors import UserError
from fast_weights.experiment.results import EpochRecord

RUNS = [
    *reproduce_blog.saved_runs(),
    *ablations.RUNS,
    *recurrences.RUNS.values(),
    *long_sequences.RUNS.values(),
]
OTHER_RECORDS = {
    "README.md",
    "classifier.jsonl",
    "devices.jsonl",
    "distributed_speed.jsonl",
    "paper.jsonl",
    "recall.jsonl",
    "sequence_length.jsonl",
    "training_speed.json",
}


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_records_are_complete(run):
    """Catches other settings, a missing or repeated epoch, and a NaN."""
    settings = (RESULTS_DIR / f"{run.name}.json").read_text(encoding="utf-8")
    assert Config.from_json(settings) == run.config
    lines = (RESULTS_DIR / f"{run.name}.jsonl").read_text(encoding="utf-8").splitlines()
    records = [EpochRecord(**json.loads(line)) for line in lines]
    assert [record.epoch for record in records] == list(range(1, run.config.num_epochs + 1))
    assert np.isfinite([list(json.loads(record.to_json()).values()) for record in records]).all()


def test_records_of_the_classifier_are_complete():
    """Catches a missing run, one that no table shows, other sizes, and a NaN."""
    done = classifier.read_records()
    assert done.keys() == set(classifier.RUNS)
    for record in done.values():
        accuracies = record["val_accuracy"]
        assert len(accuracies) == classifier.NUM_EPOCHS
        assert len(record["effects"]) == len(classifier.AGES)
        assert np.isfinite([*record["loss"], *record["effects"]]).all()
        examples = np.multiply(accuracies, classifier.NUM_VALIDATION)
        np.testing.assert_allclose(examples, examples.round(), atol=0.02)


def test_records_of_recall_are_complete():
    """Catches a missing run, other settings, and a run that ended early without having learned."""
    done = recall.read_records()
    runs = [*recall.tuning_runs(), *recall.final_runs(recall.best_rates(done))]
    assert done.keys() == {run.name for run in runs}
    for run in runs:
        record = done[run.name]
        names = [field.name for field in dataclasses.fields(Config)]
        # A setting that is younger than the record had its default.
        assert Config(**{name: record[name] for name in names if name in record}) == run.config
        accuracies = record["val_accuracy"]
        assert len(accuracies) == run.config.num_epochs or accuracies[-1] >= recall.STOP_AT
        assert max(accuracies[:-1], default=0) < recall.STOP_AT


def test_records_of_the_paper_are_complete():
    """Catches a missing run of the table, a run that no table shows, other settings, and a NaN."""
    done = reproduce_paper.read_records()
    table = [
        *reproduce_paper.tuning_runs(reproduce_paper.NETWORKS),
        *reproduce_paper.table_runs(done, reproduce_paper.NETWORKS, reproduce_paper.SEEDS),
        *reproduce_paper.irnn_runs(done),
    ]
    others = [*beyond_paper.runs(done), *harder_than_paper.runs(done)]
    runs = {run.name: run for run in [*table, *others]}
    assert done.keys() == runs.keys()
    for name, record in done.items():
        config = runs[name].config
        assert Config(**{setting: record[setting] for setting in vars(config)}) == config
        for measured in reproduce_paper.SAVED:
            assert len(record[measured]) == config.num_epochs
            assert np.isfinite(record[measured]).all()


def test_every_file_of_records_belongs_to_a_run():
    """Catches records that no table shows and no command reproduces."""
    found = {path.relative_to(RESULTS_DIR).as_posix() for path in RESULTS_DIR.rglob("*.*")}
    assert found - OTHER_RECORDS == {
        f"{run.name}.{end}" for run in RUNS for end in ("json", "jsonl")
    }


def test_different_runs_have_different_records():
    """Catches the records of one run under the name of another."""
    control = Config(model_name="CONTROL", num_epochs=1)
    pairs = set()
    for run in RUNS:
        config = dataclasses.replace(run.config, num_epochs=1)
        if config.inner_steps == 0:  # without inner steps, RNN-LN-FW is CONTROL
            config = control
        pairs.add((config, run.variant, run.records()[0].train_loss))
    computations = {pair[:2] for pair in pairs}
    losses = {pair[2] for pair in pairs}
    assert len(pairs) == len(computations) == len(losses)


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
    assert {name for _, name, _, _ in fill_pages.PART.findall(pages)} == set(fill_pages.GENERATED)


def test_fill(monkeypatch):
    """Catches prose around a part that is changed, and a part within a line that is broken up."""
    monkeypatch.setitem(fill_pages.GENERATED, "test", lambda: "new")
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
    monkeypatch.setitem(fill_pages.GENERATED, "test", lambda: "new")
    with pytest.raises(UserError):
        fill_pages.fill(page)
