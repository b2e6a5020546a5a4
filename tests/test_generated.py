"""The committed records, and the parts of the pages that are generated from them."""

import dataclasses
import json

import numpy as np
import pytest
from cases import needs_litert

from benchmarks import fill_pages, recall, recall_long, reproduce_blog, reproduce_paper, variants
from benchmarks.study import RESULTS_DIR, Benchmark, Study
from benchmarks.tables import PARTS
from fast_weights.experiment import paper
from fast_weights.experiment.config import Config
from fast_weights.experiment.errors import UserError

BENCHMARKS = [
    value
    for module in fill_pages.MODULES
    for value in vars(module).values()
    if isinstance(value, Benchmark)
]
STUDIES = [one for one in BENCHMARKS if isinstance(one, Study)]


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.doc.splitlines()[0])
def test_records_are_complete(study):
    """Catches other settings, a missing epoch, a run that ended early, and a NaN."""
    assert study.cases
    for case in study.cases:
        record = study[case]
        assert study.case_of(record) == case
        for column in study.columns or ("epoch", "train_loss", "val_accuracy", "gradient_norm"):
            values = record[column]
            assert np.isfinite(values).all()
            if study.stop_at_accuracy is None:
                assert len(values) == case.num_epochs
            else:
                assert len(values) == case.num_epochs or values[-1] >= study.stop_at_accuracy
                assert max(values[:-1], default=0) < study.stop_at_accuracy
    if not study.columns:
        assert all(record["epoch"] == list(range(1, 1001)) for record in study.records.values())


def test_every_record_belongs_to_a_case():
    """Catches a missing record, one that no command reproduces, two of one case, and a NaN."""
    cases = {}
    for benchmark in BENCHMARKS:
        if benchmark is not reproduce_blog.STUDY:
            cases.setdefault(benchmark.path, []).append(benchmark)
    others = {RESULTS_DIR / "README.md"}
    for run in reproduce_blog.STUDY.runs.values():
        others |= {RESULTS_DIR / f"{run.name}.{end}" for end in ("json", "jsonl")}
    assert set(RESULTS_DIR.rglob("*.*")) == cases.keys() | others
    for path, benchmarks in cases.items():
        lines = path.read_text(encoding="utf-8").splitlines()
        records = json.loads(f"[{','.join(lines)}]", parse_constant=pytest.fail)
        expected = {case for one in benchmarks for case in one.cases}
        assert set(map(benchmarks[0].case_of, records)) == expected
        assert len(records) == len(expected)


def test_different_runs_have_different_configs():
    """Catches a configuration that does not say what its run changed.

    Runs whose settings differ in more than their length have different losses, and the others have
    equal ones.
    """
    pairs = set()
    for study in (variants.STUDY, reproduce_blog.STUDY):
        for case in study.cases:
            config = dataclasses.replace(case, num_epochs=1)
            if config.inner_steps == 0:  # without inner steps, RNN-LN-FW is CONTROL
                config = Config(model_name="CONTROL", num_epochs=1)
            pairs.add((config, round(study[case]["train_loss"][0], 9)))
    configs, losses = zip(*pairs, strict=True)
    assert len(pairs) == len(set(configs)) == len(set(losses))


def test_learning_rates_are_the_best():
    """Catches a rate that the tuning does not give."""
    for model_name, rate in paper.BEST_LEARNING_RATES.items():
        cases = reproduce_paper.TUNING[model_name, reproduce_paper.TUNING_UNITS]
        best = max(cases, key=lambda case: max(reproduce_paper.STUDY[case]["val_accuracy"]))
        assert best.learning_rate == rate

    def score(case, study=recall.STUDY):
        accuracies = study[case]["val_accuracy"]
        has_learned = accuracies[-1] >= recall.STOP_AT
        return has_learned, -len(accuracies) if has_learned else accuracies[-1]

    for label, sizes in recall.MODELS.items():
        for size, (_, rate) in zip(recall.SIZES, sizes, strict=True):
            best = max(recall.TUNING[size, label], key=score)
            assert best.learning_rate == rate
    for label, (_, rate) in recall_long.NETWORKS.items():
        scores = {
            case.learning_rate: score(case, recall_long.STUDY) for case in recall_long.TUNING[label]
        }
        assert scores[rate] == max(scores.values())  # several rates can be the best


# These pages measure exported models and bundled weights.
MARKS = {stem: [pytest.mark.slow] for stem in ("examples", "memory")}
MARKS["export"] = [needs_litert, pytest.mark.slow]


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=MARKS.get(path.stem, [])) for path in fill_pages.PAGES],
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
