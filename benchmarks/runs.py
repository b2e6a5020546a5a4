"""Runs of `train.py`, several at a time, with a live table; what each leaves is copied.

A run that was stopped goes on where it was: the same command again is all it takes.
"""

import concurrent.futures
import dataclasses
import math
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import time

from fast_weights import terminal

with terminal.quiet_import():
    from fast_weights import folders, results

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Between two looks at what the runs have done.
SECONDS = 2
# Between two tables where the output is no terminal.
SECONDS_IN_A_FILE = 60
# Runs under way, by name.
RUNNING: dict[str, subprocess.Popen] = {}


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
        """Runs the command to its end; raises `subprocess.CalledProcessError` if it fails."""
        command = [sys.executable, *self.program, "--quiet", f"--num_epochs={self.num_epochs}"]
        pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        process = subprocess.Popen([*command, *self.flags], cwd=ROOT, text=True, **pipes)
        RUNNING[self.name] = process
        _, said = process.communicate()
        del RUNNING[self.name]
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command, stderr=said)

    def records(self) -> list[results.Record]:
        """What it has done so far."""
        return results.read(self.folder, say=lambda line: None)

    def copy(self, path: pathlib.Path) -> None:
        """Copies its records to `<path>.jsonl` and its configuration to `<path>.json`."""
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(self.folder / results.FILE_NAME, f"{path}.jsonl")
        shutil.copy(self.folder / folders.CONFIG_NAME, f"{path}.json")


def run_all(runs: list[Run], jobs: int | None = None) -> None:
    """Trains all runs, `jobs` at a time (default: as many as cores), and shows how far they are.

    A run that fails does not stop the others; all that failed are named at the end. Ctrl-C
    and SIGTERM stop all of them.

    Raises:
        SystemExit: if one failed, or they were stopped.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    pool = concurrent.futures.ThreadPoolExecutor(jobs or os.cpu_count())
    futures = {pool.submit(run.train): run for run in runs}
    table, pending = Table(runs, jobs or os.cpu_count()), set(futures)
    try:
        while pending:
            _, pending = concurrent.futures.wait(pending, timeout=SECONDS)
            table.show(is_last=not pending)
    except KeyboardInterrupt:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in list(RUNNING.values()):
            process.terminate()
        raise SystemExit("\nStopped. The same command goes on.") from None
    failed = [
        f"{run.name}: {str(getattr(future.exception(), 'stderr', '')).strip().splitlines()[-1:]}"
        for future, run in futures.items()
        if future.exception()
    ]
    if failed:
        raise SystemExit("these runs failed:\n" + "\n".join(failed))


class Table:
    """A row a run: epochs done, best accuracy, time left; redrawn in place on a terminal."""

    def __init__(self, runs: list[Run], jobs: int):
        self._runs, self._jobs = runs, jobs
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
        # The first epoch compiles, and one may have been stopped in.
        epochs = [statistics.median(r.seconds for r in one[-9:]) for one in records if one]
        lines, total = [], 0.0
        for run, done in zip(self._runs, records, strict=True):
            left = run.num_epochs - len(done)
            best, when = "", "waiting"
            if run.name in RUNNING:
                when = "begins"
            if done:
                best = f"best {max(record.valid_accuracy for record in done):7.2%}"
                seconds = left * statistics.median(record.seconds for record in done[-9:])
                when = terminal.duration(seconds) if run.name in RUNNING else "waiting"
                when = when if left > 0 else "done"
            elif epochs:  # like those that have begun
                seconds = left * statistics.mean(epochs)
            else:
                seconds = math.nan
            total += seconds
            progress = f"{len(done)}/{run.num_epochs}"
            lines.append(f"{run.name:{width}}  {progress:>9}  {best:12}  {when:>8}")
        end = "?" if math.isnan(total) else f"about {terminal.duration(total / self._jobs)}"
        return [*lines, f"{'all of them':{width}}  {'':>9}  {'':12}  {end:>8}"]
