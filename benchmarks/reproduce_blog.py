"""Reproduces the blog post's figure: four models, three seeds, 1000 epochs.

python -m benchmarks.reproduce_blog
python -m benchmarks.reproduce_blog --quick

Trains each model with each seed in `checkpoints/`, then overwrites the project's own records
(`docs/results/<MODEL_NAME>-seed<N>.jsonl` and `.json`), figures (`docs/*.png`) and bundled
weights (`fast_weights/experiment/pretrained/blog/`). `--quick` uses `checkpoints/blog-200/` and
`figures/blog-200/` instead.
"""

import functools
import json
import pathlib
import statistics
from collections.abc import Callable, Iterable
from typing import Any

from benchmarks import tables
from benchmarks.runs import ROOT, Run
from benchmarks.study import RESULTS_DIR, Study, columns_of, run_main
from benchmarks.tables import Record, part
from fast_weights.experiment import results, storage
from fast_weights.experiment.config import Config
from fast_weights.experiment.console import format_duration
from fast_weights.experiment.models import BLOG_MODELS, MODELS
from fast_weights.experiment.plots import plot_curves
from fast_weights.experiment.results import EpochRecord

NUM_EPOCHS = 1000
SEEDS = (0, 1, 2)
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
    """Runs with the default settings.

    It keeps two files for each run, as `train.py` writes them: the results of every epoch and the
    settings.

    Args:
        seeds: the names of the models, and a seed for each.
        num_epochs: of each run. Another number than `NUM_EPOCHS` leaves the project's own records,
            figures and weights alone.
    """

    def __init__(self, seeds: Iterable[tuple[str, int]], num_epochs: int = NUM_EPOCHS):
        cases = [Config(model_name=name, seed=seed, num_epochs=num_epochs) for name, seed in seeds]
        self.is_own = num_epochs == NUM_EPOCHS
        results_dir = RESULTS_DIR if self.is_own else ROOT / f"figures/blog-{num_epochs}/results"
        bundled = [case for case in cases if self.is_own and case.seed == 0]
        super().__init__(__doc__, f"blog-{num_epochs}", cases, results_dir, bundled=bundled)

    def run_of(self, case: Config) -> Run:
        """Returns the run of a case, in the directory of `train.py` if it is the project's own."""
        checkpoint_dir = ROOT / "checkpoints" / ("" if self.is_own else self.name)
        return Run(f"{case.model_name}-seed{case.seed}", case, checkpoint_dir)

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
        """Draws the curves of these runs, or of all the project's own."""
        study = BlogStudy(own_seeds()) if self.is_own else self
        return plot_curves(by_model(study.cases, study.epochs), self.results_dir.parent)


def by_model(cases: list[Config], value_of: Callable[[Config], Any]) -> dict[str, list]:
    """Returns a value of each case in a list for each model, best model first."""
    found = {name: [] for name in MODEL_NAMES}
    for case in cases:
        found[case.model_name].append(value_of(case))
    return {name: values for name, values in found.items() if values}


def own_seeds() -> list[tuple[str, int]]:
    """Returns the model and the seed of each run with records in `docs/results`, in order."""
    stems = [path.stem.partition("-seed") for path in RESULTS_DIR.glob("*-seed*.jsonl")]
    seeds = sorted((name, int(seed)) for name, _, seed in stems)
    return sorted(seeds, key=lambda one: MODEL_NAMES.index(one[0]))


STUDY = BlogStudy(own_seeds())


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


@part("progress")
def progress() -> str:
    """Returns lines that `train.py` printed for RNN-LN-FW with seed 0."""
    from fast_weights.experiment.callbacks.progress import HEADER, table_row  # loads Keras

    case = Config()
    records = STUDY.epochs(case)

    def row(epoch):
        recent = [one.seconds for one in records[1:epoch][-9:]]
        seconds_left = statistics.median(recent or [0]) * (len(records) - epoch)
        left = format_duration(seconds_left) if recent else "?"
        best = max(one.val_accuracy for one in records[:epoch])
        return table_row(records[epoch - 1], len(records), best, left)

    shown = [HEADER, row(1), row(2), "..."]
    for accuracy in (0.99, 0.999):
        shown += [row(tables.first_epoch(STUDY[case], accuracy)), "..."]
    return "\n".join(["```", *shown, "```"])


def main() -> None:
    parser = STUDY.parser()
    add = parser.add_argument
    add("--seeds", type=_integers, default=SEEDS, help="default: 0,1,2")
    add("--models", default=",".join(BLOG_MODELS), help="default: the four of the blog post")
    add("--quick", action="store_true", help="seed 0, 200 epochs")
    flags = parser.parse_args()
    seeds, num_epochs = ([0], 200) if flags.quick else (flags.seeds, NUM_EPOCHS)
    # The seeds of a model are not trained one after the other: the slowest model would then
    # leave all cores but one idle at the end.
    pairs = [(name, seed) for seed in seeds for name in flags.models.split(",")]
    BlogStudy(pairs, num_epochs).run(flags)


def _integers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


if __name__ == "__main__":
    run_main(main)
