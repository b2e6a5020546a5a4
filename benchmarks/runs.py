"""Training runs: several at a time through `train.py`, with a table of their progress.

An interrupted run resumes with the same command.
"""

import argparse
import ctypes
import dataclasses
import json
import math
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import IO

from fast_weights.experiment import results, storage
from fast_weights.experiment.config import Config
from fast_weights.experiment.console import format_duration
from fast_weights.experiment.errors import UserError
from fast_weights.experiment.results import EpochRecord
from fast_weights.experiment.run_dir import PRETRAINED_DIR, RunDirectory

ROOT = pathlib.Path(__file__).resolve().parent.parent
RESULTS_DIR = ROOT / "docs/results"
# Between two tables, on a terminal and in a file.
SECONDS = 2
SECONDS_IN_A_FILE = 60
PR_SET_PDEATHSIG = 1
# XLA's threads of two runs on two cores get in each other's way: an epoch takes 1.5 times as long.
ONE_THREAD = "--xla_cpu_multi_thread_eigen=false"


@dataclasses.dataclass(frozen=True)
class Run:
    """One training and its records.

    Attributes:
        name: of the files of records, such as `"ablations/eta0"`.
        config: the settings.
        checkpoint_dir: the directory to train in.
        variant: a flag of `benchmarks/variants.py`, which changes something that is not a
            setting. Default: no change.
        stop_at_accuracy: the run ends after an epoch with this validation accuracy. Default: never.
    """

    name: str
    config: Config
    checkpoint_dir: pathlib.Path
    variant: str = ""
    stop_at_accuracy: float | None = None

    @property
    def run_dir(self) -> RunDirectory:
        """The directory of the run."""
        return RunDirectory(self.checkpoint_dir, self.config.model_name, self.config.seed)

    @property
    def command(self) -> list[str]:
        """The command that trains or resumes the run."""
        program = ["-m", "benchmarks.variants", self.variant] if self.variant else ["train.py"]
        # Every setting is given, so `train.py` refuses to resume a run that has others.
        flags = {
            **dataclasses.asdict(self.config),
            "checkpoint_dir": self.checkpoint_dir,
            "stop_at_accuracy": self.stop_at_accuracy,
        }
        flags = [f"--{name}={value}" for name, value in flags.items() if value is not None]
        return [sys.executable, *program, "--quiet", *flags]

    def save(self, results_dir: pathlib.Path = RESULTS_DIR) -> None:
        """Copies the records to `<name>.jsonl` and the settings to `<name>.json`."""
        for path in (self.run_dir.results_path, self.run_dir.config_path):
            target = results_dir / f"{self.name}{path.suffix}"
            storage.write_text(target, path.read_text(encoding="utf-8"))

    def bundle(self) -> None:
        """Writes the weights after the last epoch to the package, without the optimizer."""
        epoch = self.config.num_epochs
        arrays = storage.read_arrays(self.run_dir.checkpoint_path(epoch))
        weights = {
            name: value for name, value in arrays.items() if not name.startswith("optimizer.")
        }
        directory = PRETRAINED_DIR / self.config.network
        bundled = RunDirectory(directory, self.config.model_name, self.config.seed)
        storage.write_arrays(bundled.checkpoint_path(epoch), weights)
        bundled.write_config(self.config)

    def records(self, results_dir: pathlib.Path = RESULTS_DIR) -> list[EpochRecord]:
        """Returns the saved records.

        Raises:
            UserError: if there are none.
        """
        path = results_dir / f"{self.name}.jsonl"
        records = results.read(path)
        if not records:
            raise UserError(f"{path} has no records")
        return records


def run_all(
    runs: list[Run],
    jobs: int | None = None,
    on_end: Callable[[Run], object] = lambda run: None,
) -> None:
    """Trains all runs and shows their progress.

    A run that fails does not stop the others. If this process ends early, all runs end too.

    Args:
        runs: to train or resume.
        jobs: how many to train at a time. Default: one on each core.
        on_end: called after a run has ended without an error.

    Raises:
        UserError: if runs failed; names each with its error.
    """
    jobs = jobs or os.cpu_count()
    waiting, running, failed = list(runs), {}, {}
    table = RunsTable(runs, jobs)
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                run = waiting.pop(0)
                running[run] = _start(run, has_all_cores=jobs == 1)
            time.sleep(SECONDS)
            for run, (process, errors) in list(running.items()):
                if process.poll() is None:
                    continue
                del running[run]
                if process.returncode:
                    errors.seek(0)
                    failed[run] = errors.read().strip() or f"exit status {process.returncode}"
                else:
                    on_end(run)
            table.show(waiting, running, failed)
    finally:
        for process, _ in running.values():
            process.terminate()
            process.wait()
    if failed:
        reasons = (f"{run.name}: {reason}" for run, reason in failed.items())
        raise UserError("\n".join(["these runs failed:", *reasons]))


def _start(run: Run, has_all_cores: bool) -> tuple[subprocess.Popen, IO]:
    """Returns the process of a run, and the file of its standard error.

    Not a pipe: it is read after the end, and a full pipe would block the process.
    """
    errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
    flags = os.environ.get("XLA_FLAGS", "")
    env = {**os.environ, "XLA_FLAGS": flags if has_all_cores else f"{flags} {ONE_THREAD}".strip()}
    process = subprocess.Popen(
        run.command,
        cwd=ROOT,
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=errors,
        preexec_fn=_end_with_parent,
    )
    return process, errors


def _end_with_parent() -> None:
    """Lets Linux end this process with its parent. Left alone, it would hold the run's lock."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class RunsTable:
    """Prints a row for each run: epochs, best accuracy, time left. Updates it on a terminal."""

    def __init__(self, runs: list[Run], jobs: int):
        self._runs, self._jobs = runs, jobs
        self._is_live = sys.stdout.isatty()
        self._last = -math.inf

    def show(self, waiting, running, failed) -> None:
        """Prints the table if it is time to, or if all runs have ended."""
        now, is_last = time.monotonic(), not (waiting or running)
        if not (is_last or self._is_live or now - self._last > SECONDS_IN_A_FILE):
            return
        lines = self._lines(waiting, running, failed)
        if self._is_live and self._last > 0:
            print(f"\x1b[{len(lines)}A", end="")
        clear = "\x1b[K" if self._is_live else ""
        print("\n".join(f"{clear}{line}" for line in lines), flush=True)
        self._last = now

    def _lines(self, waiting, running, failed) -> list[str]:
        width = max(len(run.name) for run in self._runs)
        records = [results.read(run.run_dir.results_path) for run in self._runs]
        paces = [_seconds_per_epoch(one) for one in records]
        typical = statistics.mean(filter(None, paces)) if any(paces) else math.nan
        lines, seconds_left = [], []
        for run, done, pace in zip(self._runs, records, paces, strict=True):
            is_open = run in waiting or run in running
            epochs_left = run.config.num_epochs - len(done) if is_open else 0
            seconds = epochs_left * (pace or typical)
            seconds_left.append(seconds)
            if run in failed:
                state = "failed"
            elif run in running:
                state = format_duration(seconds) if pace else "starting"
            else:
                state = "waiting" if is_open else "done"
            epochs = f"{len(done)}/{run.config.num_epochs}"
            best = f"best {max(record.val_accuracy for record in done):.2%}" if done else ""
            lines.append(f"{run.name:{width}}  {epochs:>9}  {best:12}  {state:>9}")
        # No sooner than the longest run, however many run at a time.
        total = max(sum(seconds_left) / self._jobs, *seconds_left)
        end = "?" if math.isnan(sum(seconds_left)) else f"about {format_duration(total)} left"
        return [*lines, end]


def _seconds_per_epoch(records: list[EpochRecord]) -> float | None:
    """Returns the median of recent epochs; `None` after the first epoch, which compiles."""
    return statistics.median(r.seconds for r in records[1:][-9:]) if records[1:] else None


def train_and_draw(description: str, runs: list[Run], draw: Callable[[], pathlib.Path]) -> None:
    """Trains all runs, saves their records and draws a figure of them."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--jobs", type=int, help="runs at a time; default: one on each core")
    run_all(runs, parser.parse_args().jobs)
    for run in runs:
        run.save()
    print(f"Wrote {draw()}. To update the pages: python -m benchmarks.fill_pages")


def named_records(path: pathlib.Path) -> dict[str, dict]:
    """Returns the records of a file with one JSON object in a line, by their `name`."""
    lines = storage.read_bytes(path).decode().splitlines() if storage.exists(path) else []
    return {record["name"]: record for record in map(json.loads, lines)}


def run_main(main: Callable[[], None]) -> None:
    """Runs `main`, and prints a `UserError` or Ctrl-C without a traceback."""
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        print("\nInterrupted. To resume, run the same command.", file=sys.stderr)
        sys.exit(130)
