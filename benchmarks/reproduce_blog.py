"""Reproduces the blog post's figure: four models, three seeds, 1000 epochs.

python -m benchmarks.reproduce_blog
python -m benchmarks.reproduce_blog --quick

Trains each model with each seed in `checkpoints/`, then overwrites the project's own records
(`docs/results/<MODEL_NAME>-seed<N>.jsonl` and `.json`), figures (`docs/*.png`) and bundled
weights (`fast_weights/experiment/pretrained/blog/`). `--quick` trains in `checkpoints/quick/` and
writes none of these.
"""

import argparse
import functools
import json
import pathlib
from collections.abc import Callable, Iterable
from typing import Any

from benchmarks import tables
from benchmarks.runs import ROOT, Run
from benchmarks.study import RESULTS_DIR, Study, columns_of, run_main
from benchmarks.tables import Record, part
from fast_weights.experiment import results, storage
from fast_weights.experiment.config import Config
from fast_weights.experiment.models import BLOG_MODELS, MODELS
from fast_weights.experiment.plots import plot_curves
from fast_weights.experiment.results import EpochRecord

# Best first, and then the models that the blog post does not have.
MODEL_NAMES = sorted(MODELS, key=lambda name: MODELS[name].published or 0, reverse=True)
# Read off the blog's plots.
PUBLISHED = {
    "RNN-LN-FW": "99% at about 130, 100% from about 150",
    "GRU-LN": "43% until about 150, 93% at 1000",
    "RNN-LN": "leaves 43% at about 40, 90% at 1000",
    "CONTROL": "48% at 1000",
}


class BlogStudy(Study):
    """Runs with the default settings, in the directories of `train.py`.

    It keeps two files for each run, as `train.py` writes them: the results of every epoch and the
    settings.
    """

    def run_of(self, case: Config) -> Run:
        """Returns the run of a case."""
        return Run(f"{case.model_name}-seed{case.seed}", case, ROOT / "checkpoints")

    def epochs(self, case: Config) -> list[EpochRecord]:
        """Returns the recorded results of a case."""
        return results.read(self.results_dir / f"{self.run_of(case).name}.jsonl")

    @functools.cached_property
    def records(self) -> dict[Config, Record]:
        """The saved record of each case: its settings and the results of every epoch."""
        found = {}
        for case in self.cases:
            path = self.results_dir / f"{self.run_of(case).name}.json"
            if path.exists():
                settings = json.loads(path.read_text(encoding="utf-8"))
                found[case] = {**settings, **columns_of(self.epochs(case))}
        return found

    def record(self, run: Run) -> None:
        """Copies the files of a run that has ended, and its weights if they are bundled."""
        for path in (run.run_dir.results_path, run.run_dir.config_path):
            target = self.results_dir / f"{run.name}{path.suffix}"
            storage.write_text(target, path.read_text(encoding="utf-8"))
        self.records[run.config] = {**vars(run.config), **columns_of(run.epochs())}
        if run.config in self.bundled:
            run.bundle()

    def draw(self) -> list[pathlib.Path]:
        """Draws the curves of all recorded runs."""
        study = study_of(recorded_runs())
        return plot_curves(by_model(study.cases, study.epochs), self.results_dir.parent)


def study_of(runs: Iterable[tuple[str, int]]) -> BlogStudy:
    """Returns a study of some models, each with a seed. The weights of seed 0 are bundled."""
    cases = [Config(model_name=name, seed=seed) for name, seed in runs]
    return BlogStudy(__doc__, "blog", cases, bundled=[case for case in cases if case.seed == 0])


def recorded_runs() -> list[tuple[str, int]]:
    """Returns the model and the seed of each run with records in `docs/results`, in order."""
    stems = [path.stem.partition("-seed") for path in RESULTS_DIR.glob("*-seed*.jsonl")]
    runs = sorted((name, int(seed)) for name, _, seed in stems)
    return sorted(runs, key=lambda run: MODEL_NAMES.index(run[0]))


def by_model(cases: list[Config], value_of: Callable[[Config], Any]) -> dict[str, list]:
    """Returns a value of each case in a list for each model, best model first."""
    found = {name: [] for name in MODEL_NAMES}
    for case in cases:
        found[case.model_name].append(value_of(case))
    return {name: values for name, values in found.items() if values}


STUDY = study_of(recorded_runs())


def table_of_models(columns: list[str], published: dict[str, str]) -> str:
    """Returns a table of the models, whose last column is read off the blog's plots."""
    rows = (
        [name, len(seeds), *tables.cells(seeds, columns), published.get(name, "-")]
        for name, seeds in by_model(STUDY.cases, STUDY.__getitem__).items()
    )
    return tables.table(["model", "seeds", *columns, "blog post"], rows)


@part("results")
def table_of_results() -> str:
    """Returns the table of the README."""
    published = {name: f"{MODELS[name].published:.0%}" for name in BLOG_MODELS}
    return table_of_models(["epoch of 99%", "accuracy at 1000"], published)


@part("accuracy")
def table_of_accuracy() -> str:
    """Returns the accuracy of each model over the epochs."""
    columns = ["epoch of 45%", "epoch of 99%", "epoch of 99.9%"]
    columns += ["accuracy at 150", "accuracy at 500", "accuracy at 1000"]
    return table_of_models(columns, PUBLISHED)


@part("losses")
def table_of_losses() -> str:
    """Returns the loss and the time of each model."""
    columns = ["loss at 150", "loss at 500", "loss at 1000", "minutes per run"]
    return tables.table_of_runs("model", by_model(STUDY.cases, STUDY.__getitem__), *columns)


@part("seeds")
def table_of_seeds() -> str:
    """Returns the accuracy of each run."""
    columns = ["epoch of 45%", "epoch of 99%", "accuracy at 400", "accuracy at 1000"]
    runs = {STUDY.run_of(case).name: [STUDY[case]] for case in STUDY.cases}
    return tables.table_of_runs("run", runs, *columns, "best accuracy", "epoch of best")


def requested(flags: argparse.Namespace) -> Study:
    """Returns the study that the flags select."""
    names = flags.models.split(",")
    if flags.quick:
        cases = [Config(model_name=name, num_epochs=200) for name in names]
        return Study("", "quick", cases, ROOT / "checkpoints/quick", columns=("val_accuracy",))
    # The seeds of a model are not trained one after the other: the slowest model would then
    # leave all cores but one idle at the end.
    seeds = map(int, flags.seeds.split(","))
    return study_of((name, seed) for seed in seeds for name in names)


def main() -> None:
    parser = STUDY.parser()
    parser.add_argument("--seeds", default="0,1,2", help="default: %(default)s")
    parser.add_argument("--models", default=",".join(BLOG_MODELS), help="default: %(default)s")
    parser.add_argument("--quick", action="store_true", help="only seed 0 and 200 epochs")
    flags = parser.parse_args()
    requested(flags).run(flags)


if __name__ == "__main__":
    run_main(main)
