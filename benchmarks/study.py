"""How every benchmark is defined, run, recorded and drawn.

A `Study` is a table of training runs. A `Measurement` is a table of cases, each measured by a
function. Both keep records in `docs/results`, draw one figure of them, and have the same command
line. The functions that tabulate the records are parts of the pages (`benchmarks/tables.py`).
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
from collections.abc import Callable
from typing import Any

from benchmarks.runs import ROOT, Run, run_all
from benchmarks.tables import Record, table_of_runs
from fast_weights.experiment import results, storage
from fast_weights.experiment.config import Config
from fast_weights.experiment.errors import UserError
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
        results_dir: the directory of that file.
    """

    doc: str
    name: str = ""
    results_dir: pathlib.Path = RESULTS_DIR

    def __post_init__(self):
        self.path = self.results_dir / f"{self.name}.jsonl"
        self.drawing: tuple | None = None

    @functools.cached_property
    def records(self) -> dict[Any, Record]:
        """The saved records, by the name of the run or by the case."""
        return self._read()

    def __getitem__(self, key) -> Record:
        if key not in self.records:
            raise UserError(f"{self.results_dir} has no record of {key}. Run the benchmark first")
        return self.records[key]

    def _read(self) -> dict[Any, Record]:
        text = self.path.read_text(encoding="utf-8") if self.path.exists() else ""
        return {self.key_of(record): record for record in map(json.loads, text.splitlines())}

    def save(self, key, record: Record) -> None:
        """Adds a record to the file, or replaces it."""
        self.records[key] = record
        lines = [f"{json.dumps(one)}\n" for one in self.records.values()]
        storage.write_text(self.path, "".join(lines))

    def figure(self, name: str, width: float, height: float) -> Callable:
        """Returns a decorator of the function that draws the records in a Matplotlib figure.

        Args:
            name: of the file in `docs`.
            width, height: in inches.
        """

        def register(function):
            self.drawing = name, width, height, function
            return function

        return register

    def draw(self, output_dir=DOCS_DIR) -> list[pathlib.Path]:
        """Draws the figure, if the benchmark has one, and returns the paths of all files."""
        if self.drawing is None:
            return []
        from fast_weights.experiment.plots import style  # loads Matplotlib

        name, width, height, function = self.drawing
        figure = style.new_figure(width, height)
        function(figure)
        for axes in figure.axes:
            axes.grid(alpha=0.3)
            style.remove_frame(axes)
        return [style.write(pathlib.Path(output_dir) / name, figure.savefig)]

    def parser(self) -> argparse.ArgumentParser:
        """Returns the parser of the command line."""
        parser = argparse.ArgumentParser(description=self.doc.partition("\n")[0])
        parser.add_argument("--missing", action="store_true", help="omit what has a record")
        return parser

    def end(self) -> None:
        """Draws the figure and prints what to do next."""
        for path in self.draw(self.results_dir.parent):
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
        doc, results_dir: as for `Benchmark`.
        name: of the file of records, and of the directory of checkpoints.
        columns: the results of every epoch to record in that file. Default: no such file, but two
            files of each run, `<run>.jsonl` and `<run>.json`, as `train.py` writes them.
        checkpoint_dir: the directory of all runs. Default: a directory for each run.
        stop_at_accuracy: as for `Run`.
        is_bundled: whether the weights of a run belong to the package.
        quick: the study that `--quick` runs instead. Default: there is no such option.
        runs: the table: name -> run. `add` fills it.
    """

    columns: tuple[str, ...] = ()
    checkpoint_dir: pathlib.Path | None = None
    stop_at_accuracy: float | None = None
    is_bundled: Callable[[Run], bool] = lambda run: False
    quick: "Study | None" = None
    runs: dict[str, Run] = dataclasses.field(default_factory=dict)

    def add(self, name: str, config: Config) -> str:
        """Adds a run to the study, and returns its name."""
        checkpoint_dir = self.checkpoint_dir or ROOT / "checkpoints" / self.name / name
        self.runs[name] = Run(name, config, checkpoint_dir, self.stop_at_accuracy)
        return name

    def key_of(self, record: Record) -> str:
        """Returns the name of the run of a record."""
        return record["name"]

    def _read(self) -> dict[str, Record]:
        if self.columns:
            return super()._read()
        paths = {name: self.results_dir / f"{name}.jsonl" for name in self.runs}
        return {
            name: {
                **json.loads(path.with_suffix(".json").read_text(encoding="utf-8")),
                **columns_of(results.read(path)),
            }
            for name, path in paths.items()
            if path.exists()
        }

    def record(self, run: Run) -> None:
        """Saves the record of a run that has ended, and its weights if they are bundled."""
        epochs = columns_of(run.epochs())
        settings = {"name": run.name, **dataclasses.asdict(run.config)}
        if self.columns:
            rounded = {name: [round(one, 6) for one in epochs[name]] for name in self.columns}
            seconds = round(sum(epochs["seconds"]), 1)
            self.save(run.name, {**settings, **rounded, "seconds": seconds})
        else:
            for path in (run.run_dir.results_path, run.run_dir.config_path):
                target = self.results_dir / f"{run.name}{path.suffix}"
                storage.write_text(target, path.read_text(encoding="utf-8"))
            self.records[run.name] = {**settings, **epochs}
        if self.is_bundled(run):
            run.bundle()

    def parser(self) -> argparse.ArgumentParser:
        """Returns the parser of the command line."""
        parser = super().parser()
        parser.add_argument("--jobs", type=int, help="runs at a time; default: one on each core")
        if self.quick:
            parser.add_argument("--quick", action="store_true", help=self.quick.doc)
        return parser

    def run(self, flags: argparse.Namespace) -> None:
        """Trains the runs, saves and tabulates their records, and draws the figure."""
        if self.quick and flags.quick:
            self.quick.run(flags)
            return
        done = self.records if flags.missing else {}
        runs = [run for run in self.runs.values() if run.name not in done]
        if runs:
            run_all(runs, flags.jobs, on_end=self.record)
        columns = ["epoch of 45%", "epoch of 99%", "best accuracy", "test error", "minutes per run"]
        print(table_of_runs("run", {run.name: [self[run.name]] for run in runs}, *columns))
        self.end()


@dataclasses.dataclass(eq=False)
class Measurement(Benchmark):
    """A table of cases that a function measures, one after the other.

    Args:
        doc, name, results_dir: as for `Benchmark`.
        cases: instances of one frozen dataclass.
        measure: returns what a case's record has besides the fields of the case.
    """

    cases: list = dataclasses.field(default_factory=list)
    measure: Callable[[Any], Record] = dict

    def key_of(self, record: Record):
        """Returns the case of a record. A field that is younger than it has its default."""
        kind = type(self.cases[0])
        names = [field.name for field in dataclasses.fields(kind) if field.name in record]
        return kind(**{name: _with_tuples(record[name]) for name in names})

    def run(self, flags: argparse.Namespace) -> None:
        """Measures the cases, saves their records and draws the figure."""
        for number, case in enumerate(self.cases, 1):
            if flags.missing and case in self.records:
                continue
            print(f"{number} of {len(self.cases)}: {case}", flush=True)
            self.save(case, {**dataclasses.asdict(case), **self.measure(case)})
        self.end()


def _with_tuples(value):
    return tuple(map(_with_tuples, value)) if isinstance(value, list) else value


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


def time_updates(updates: dict[str, Callable[[int], object]]) -> Record:
    """Times functions that make n updates.

    Returns:
        The seconds of the first update, which compiles, and the milliseconds of an update in each
        round.
    """
    seconds, functions = {}, {}
    for name, function in updates.items():
        seconds[name] = timed(function, 1)
        steps = max(1, min(200, int(0.3 / timed(function, 1))))
        functions[name] = functools.partial(_milliseconds, function, steps)
    return {"compile_s": seconds, "rounds": alternate(functions)}


def _milliseconds(function: Callable[[int], object], steps: int) -> float:
    return 1e3 * timed(function, steps) / steps


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
