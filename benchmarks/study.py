"""How every benchmark is defined, run, recorded and drawn.

A benchmark is a table of cases. A case of a `Study` is the `Config` of a training run. A case of a
`Measurement` is an instance of a dataclass of its own, which a function measures. Both keep a
record of each case in `docs/results`, draw figures of them, and have the same command line. The
functions that tabulate the records are parts of the pages (`benchmarks/tables.py`).
"""

import argparse
import dataclasses
import functools
import json
import os
import pathlib
import statistics
import sys
import time
from collections.abc import Callable, Container
from typing import Any

from benchmarks.runs import ROOT, Run, run_all
from benchmarks.tables import Record, table_of_runs
from fast_weights.experiment import storage
from fast_weights.experiment.config import Config
from fast_weights.experiment.errors import UserError
from fast_weights.experiment.plots import style
from fast_weights.experiment.results import EpochRecord

DOCS_DIR = ROOT / "docs"
RESULTS_DIR = DOCS_DIR / "results"
ROUNDS = 5


@dataclasses.dataclass(eq=False)
class Benchmark:
    """The base class of `Study` and `Measurement`.

    Args:
        doc: the docstring of the module. Its first line describes the command.
        name: of the file of records, without its suffix.
        cases: instances of one frozen dataclass.
        results_dir: the directory of the file of records.
    """

    doc: str
    name: str
    cases: list = dataclasses.field(default_factory=list)
    results_dir: pathlib.Path = RESULTS_DIR

    def __post_init__(self):
        self.path = self.results_dir / f"{self.name}.jsonl"
        self.drawings: list[tuple] = []

    @functools.cached_property
    def records(self) -> dict[Any, Record]:
        """The saved record of each case: its fields and its results."""
        text = self.path.read_text(encoding="utf-8") if self.path.exists() else ""
        return {self.case_of(record): record for record in map(json.loads, text.splitlines())}

    def case_of(self, record: Record):
        """Returns the case of a record. A field that is younger than it has its default."""
        kind = type(self.cases[0])
        names = [field.name for field in dataclasses.fields(kind) if field.name in record]
        return kind(**{name: _with_tuples(record[name]) for name in names})

    def __getitem__(self, case) -> Record:
        if case not in self.records:
            raise UserError(f"{self.results_dir} has no record of {case}. Run the benchmark first")
        return self.records[case]

    def save(self, case, results: Record) -> None:
        """Adds the record of a case to the file, or replaces it."""
        self.records[case] = {**dataclasses.asdict(case), **results}
        lines = [f"{json.dumps(one)}\n" for one in self.records.values()]
        storage.write_text(self.path, "".join(lines))

    def figure(self, name: str, width: float, height: float) -> Callable:
        """Returns a decorator of a function that draws the records in a Matplotlib figure.

        Args:
            name: of the file in `docs`.
            width, height: in inches.
        """

        def register(function):
            self.drawings.append((name, width, height, function))
            return function

        return register

    def draw(self) -> list[pathlib.Path]:
        """Draws all figures beside the directory of records, and returns their paths."""
        paths = []
        for name, width, height, function in self.drawings:
            figure = style.new_figure(width, height)
            function(figure)
            for axes in figure.axes:
                axes.grid(alpha=0.3)
                style.remove_frame(axes)
            paths.append(style.write(self.results_dir.parent / name, figure.savefig))
        return paths

    def parser(self) -> argparse.ArgumentParser:
        """Returns the parser of the command line."""
        parser = argparse.ArgumentParser(description=self.doc.partition("\n")[0])
        parser.add_argument("--missing", action="store_true", help="omit what has a record")
        return parser

    def run(self, flags: argparse.Namespace) -> None:
        """Runs the cases, saves their records and draws the figures."""
        self.run_cases([c for c in self.cases if not (flags.missing and c in self.records)], flags)
        for path in self.draw():
            print(f"Wrote {path}")
        if self.results_dir == RESULTS_DIR:
            print("To update the pages: python -m benchmarks.fill_pages")

    def main(self) -> None:
        """Runs the command."""
        run_main(lambda: self.run(self.parser().parse_args()))


@dataclasses.dataclass(eq=False)
class Study(Benchmark):
    """A table of training runs.

    Args:
        doc, name, cases, results_dir: as for `Benchmark`.
        columns: the results of every epoch to record.
        stop_at_accuracy: as for `Run`.
        bundled: the cases whose weights belong to the package.
    """

    columns: tuple[str, ...] = ()
    stop_at_accuracy: float | None = None
    bundled: Container[Config] = ()

    def add(self, **settings) -> Config:
        """Adds a case, unless there is an equal one, and returns it."""
        case = Config.with_defaults(**settings)
        if case not in self.cases:
            self.cases.append(case)
        return case

    @property
    def runs(self) -> dict[Config, Run]:
        """The run of each case."""
        return {case: self.run_of(case) for case in self.cases}

    def run_of(self, case: Config) -> Run:
        """Returns the run of a case."""
        name = name_of(case)
        checkpoint_dir = ROOT / "checkpoints" / self.name / name
        return Run(name, case, checkpoint_dir, self.stop_at_accuracy)

    def record(self, run: Run) -> None:
        """Saves the record of a run that has ended, and its weights if they are bundled."""
        epochs = columns_of(run.epochs())
        rounded = {name: [round(one, 9) for one in epochs[name]] for name in self.columns}
        self.save(run.config, {**rounded, "seconds": round(sum(epochs["seconds"]), 1)})
        if run.config in self.bundled:
            run.bundle()

    def parser(self) -> argparse.ArgumentParser:
        """Returns the parser of the command line."""
        parser = super().parser()
        parser.add_argument("--jobs", type=int, help="runs at a time; default: one on each core")
        return parser

    def run_cases(self, cases: list[Config], flags: argparse.Namespace) -> None:
        """Trains runs, and saves and tabulates their records."""
        runs = [self.run_of(case) for case in cases]
        if runs:
            run_all(runs, flags.jobs, on_end=self.record)
        columns = ["epoch of 45%", "epoch of 99%", "best accuracy", "test error", "minutes per run"]
        print(table_of_runs("run", {run.name: [self[run.config]] for run in runs}, *columns))


@dataclasses.dataclass(eq=False)
class Measurement(Benchmark):
    """A table of cases that a function measures, one after the other.

    Args:
        doc, name, cases, results_dir: as for `Benchmark`.
        measure: returns the results of a case.
    """

    measure: Callable[[Any], Record] = dict

    def run_cases(self, cases: list, flags: argparse.Namespace) -> None:
        """Measures cases and saves their records."""
        for number, case in enumerate(cases, 1):
            print(f"{number} of {len(cases)}: {case}", flush=True)
            self.save(case, self.measure(case))


def _with_tuples(value):
    return tuple(map(_with_tuples, value)) if isinstance(value, list) else value


def name_of(case: Config) -> str:
    """Returns the name of a run: its model, the settings that are not the defaults, its seed."""
    defaults = Config.with_defaults(
        network=case.network, model_name=case.model_name, seed=case.seed
    )
    changed = vars(case).items() - vars(defaults).items()
    settings = (f"{name}-{value}" for name, value in sorted(changed))
    return "-".join([case.model_name, *settings, f"seed{case.seed}"])


def columns_of(epochs: list[EpochRecord]) -> dict[str, list]:
    """Returns a list for each result, with one value for each epoch."""
    names = [field.name for field in dataclasses.fields(EpochRecord)]
    return {name: [getattr(epoch, name) for epoch in epochs] for name in names}


def alternate(functions: dict[str, Callable[[], float]]) -> list[dict[str, float]]:
    """Returns the results of functions that take turns, for each round.

    A machine that slows down then affects all of them.
    """
    return [{name: function() for name, function in functions.items()} for _ in range(ROUNDS)]


def median(rounds: list[dict[str, float]], name: str, other: str | None = None) -> float:
    """Returns the median of a value over the rounds, or of its ratio to another value."""
    return statistics.median(one[name] / (one[other] if other else 1) for one in rounds)


def timed(function: Callable, *arguments) -> float:
    """Returns the seconds that a call takes."""
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def run_main(main: Callable[[], None]) -> None:
    """Runs `main`. Prints a `UserError`, a file's error or Ctrl-C without a traceback."""
    try:
        main()
        return
    except (UserError, OSError) as error:
        message, status = f"error: {error}", 1
    except KeyboardInterrupt:
        message, status = "\nInterrupted. To resume, run the same command.", 130
    sys.stdout.flush()
    print(message, file=sys.stderr)
    os._exit(status)  # `sys.exit` would wait for the runs
