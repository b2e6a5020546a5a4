"""Runs of `train.py`, several at a time, with a live table; what each leaves is copied.

A run that was stopped goes on where it was: the same command again is all it takes.
"""

import argparse
import concurrent.futures
import ctypes
import dataclasses
import math
import os
import pathlib
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import NoReturn

from fast_weights import files, folders, results, terminal

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Between two looks at what the runs have done.
SECONDS = 2
# Between two tables where the output is no terminal.
SECONDS_IN_A_FILE = 60
# Runs under way, by name.
RUNNING: dict[str, subprocess.Popen] = {}
PR_SET_PDEATHSIG = 1


def num_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def at_least_one(text: str) -> int:
    """A whole number, for argparse."""
    if not re.fullmatch(r"0*[1-9]\d{0,5}", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"expected from 1 to 999999. Received: {text}")
    return int(text)


def end_with_parent() -> None:
    """Has the system stop this process when the one that started it is gone (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


@dataclasses.dataclass(frozen=True)
class Run:
    """One training: its command is `python <program> <flags>`, in the project's folder."""

    name: str
    folder: pathlib.Path
    """Where its records and its configuration come to lie."""
    num_epochs: int
    flags: tuple[str, ...]
    program: tuple[str, ...] = ("train.py",)

    def train(self) -> None:
        """Runs the command to its end; raises `RuntimeError` with a line if it fails."""
        command = [sys.executable, *self.program, "--quiet", f"--num_epochs={self.num_epochs}"]
        pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        process = subprocess.Popen(
            [*command, *self.flags], cwd=ROOT, text=True, preexec_fn=end_with_parent, **pipes
        )
        RUNNING[self.name] = process
        _, said = process.communicate()
        del RUNNING[self.name]
        lines = said.strip().splitlines()
        if process.returncode < 0:
            lines.append(f"it was ended by signal {-process.returncode}")
        elif not process.returncode and not self.is_complete():
            lines.append(
                f"{self.folder / results.FILE_NAME} does not have all {self.num_epochs} epochs. "
                f"Delete {self.folder} to have them run again"
            )
        elif not process.returncode:
            return
        raise RuntimeError("; ".join(lines) or f"exit status {process.returncode}")

    def records(self) -> list[results.Record]:
        """What it has done so far."""
        return results.read(self.folder, say=lambda line: None)

    def is_complete(self) -> bool:
        """Whether all of its epochs are on record."""
        return [record.epoch for record in self.records()] == list(range(self.num_epochs))

    def copy(self, path: pathlib.Path) -> None:
        """Copies its records to `<path>.jsonl` and its configuration to `<path>.json`."""
        for name, suffix in ((results.FILE_NAME, "jsonl"), (folders.CONFIG_NAME, "json")):
            with files.replacing(f"{path}.{suffix}") as temporary:
                shutil.copy(self.folder / name, temporary)


def run_all(runs: list[Run], jobs: int | None = None) -> None:
    """Trains all runs, `jobs` at a time (default: as many as cores), and shows how far they are.

    A run that fails does not stop the others; all that failed are named at the end. Ctrl-C
    and SIGTERM stop all of them, and so does the end of this process, whatever ends it.

    Raises:
        SystemExit: if one failed, or they were stopped.
    """
    stopped_by = []

    def stop(number, frame):
        stopped_by.append(number)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    start, jobs = time.monotonic(), jobs or num_cores()
    pool = concurrent.futures.ThreadPoolExecutor(jobs)
    futures = {pool.submit(run.train): run for run in runs}
    table, pending = Table(runs, jobs), set(futures)
    try:
        while pending:
            _, pending = concurrent.futures.wait(pending, timeout=SECONDS)
            table.failed = {
                futures[future].name for future in set(futures) - pending if future.exception()
            }
            table.show(is_last=not pending)
    except BaseException as error:  # who reads the table may go away, too
        pool.shutdown(wait=False, cancel_futures=True)
        for process in list(RUNNING.values()):
            process.terminate()
        if not isinstance(error, KeyboardInterrupt):
            raise
        print("\nStopped. The same command goes on.", file=sys.stderr)
        raise SystemExit(128 + stopped_by[0]) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    failed = [f"{run.name}: {e}" for future, run in futures.items() if (e := future.exception())]
    if failed:
        raise SystemExit("these runs failed:\n" + "\n".join(failed))
    minutes = (time.monotonic() - start) / 60
    print(f"Took {minutes:.1f} minutes, {jobs} at a time")


def end_with(main: Callable[[], None]) -> NoReturn:
    """Ends the process with what `main` does, and with a line, not a traceback, if that fails."""
    sys.exit(terminal.one_line_errors(lambda argv: main())(sys.argv))


class Table:
    """A row a run: epochs done, best accuracy, time left; redrawn in place on a terminal."""

    def __init__(self, runs: list[Run], jobs: int):
        self._runs, self._jobs = runs, jobs
        self.failed: set[str] = set()
        self._is_live = sys.stdout.isatty()
        self._last = 0.0

    def show(self, is_last: bool) -> None:
        """Prints the table if it is time to."""
        now = time.monotonic()
        if not (is_last or self._is_live or now - self._last > SECONDS_IN_A_FILE):
            return
        lines = self._lines()
        if self._is_live and self._last:
            sys.stdout.write(f"\x1b[{len(lines)}A")
        clear = "\x1b[K" if self._is_live else ""
        sys.stdout.write("".join(f"{clear}{line}\n" for line in lines))
        sys.stdout.flush()
        self._last = now

    def _lines(self) -> list[str]:
        width = max(len(run.name) for run in self._runs)
        records = [run.records() for run in self._runs]
        # The first epoch compiles: only the later ones tell how long one takes.
        epochs = [statistics.median(r.seconds for r in one[1:][-9:]) for one in records if one[1:]]
        lines, remaining = [], []
        for run, done in zip(self._runs, records, strict=True):
            left = run.num_epochs - len(done)
            best = f"best {max(record.valid_accuracy for record in done):7.2%}" if done else ""
            if done[1:]:
                seconds = left * statistics.median(record.seconds for record in done[1:][-9:])
            else:  # like those that have begun
                seconds = left * statistics.mean(epochs) if epochs else math.nan
            if run.name in self.failed:
                when, seconds = "failed", 0
            elif left <= 0:
                when = "done"
            elif run.name not in RUNNING:
                when = "waiting"
            else:
                when = terminal.duration(seconds) if done[1:] else "begins"
            remaining.append(seconds)
            progress = f"{len(done)}/{run.num_epochs}"
            lines.append(f"{run.name:{width}}  {progress:>9}  {best:12}  {when:>8}")
        # Not before the longest ends, however many go side by side.
        total = max(sum(remaining) / self._jobs, *remaining)
        end = "?" if math.isnan(sum(remaining)) else f"about {terminal.duration(total)}"
        return [*lines, f"{'all of them':{width}}  {'':>9}  {'':12}  {end:>8}"]
