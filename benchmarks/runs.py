"""Training runs: several at a time through `train.py`.

An interrupted run resumes with the same command.
"""

import concurrent.futures
import ctypes
import dataclasses
import os
import pathlib
import signal
import statistics
import subprocess
import sys
from collections.abc import Callable

from fast_weights.experiment import results, storage
from fast_weights.experiment.config import Config
from fast_weights.experiment.console import format_duration
from fast_weights.experiment.errors import UserError
from fast_weights.experiment.results import EpochRecord
from fast_weights.experiment.run_dir import PRETRAINED_DIR, RunDirectory

ROOT = pathlib.Path(__file__).resolve().parent.parent
DATA_DIR = ROOT / "data"
# Between two lines of progress.
SECONDS = 60
PR_SET_PDEATHSIG = 1
# XLA's threads of two runs on two cores get in each other's way: an epoch takes 1.5 times as long.
ONE_THREAD = "--xla_cpu_multi_thread_eigen=false"


@dataclasses.dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        name: of the run and its records.
        config: the settings.
        checkpoint_dir: the directory to train in.
        stop_at_accuracy: the run ends after an epoch with this validation accuracy. Default: never.
    """

    name: str
    config: Config
    checkpoint_dir: pathlib.Path
    stop_at_accuracy: float | None = None

    @property
    def run_dir(self) -> RunDirectory:
        """The directory of the run."""
        return RunDirectory(self.checkpoint_dir, self.config.model_name, self.config.seed)

    @property
    def command(self) -> list[str]:
        """The command that trains or resumes the run."""
        # Every setting is given, so `train.py` refuses to resume a run that has others.
        flags = {
            **dataclasses.asdict(self.config),
            "data_dir": DATA_DIR,
            "checkpoint_dir": self.checkpoint_dir,
            "stop_at_accuracy": self.stop_at_accuracy,
        }
        flags = [f"--{name}={value}" for name, value in flags.items() if value is not None]
        return [sys.executable, "train.py", "--quiet", *flags]

    def epochs(self) -> list[EpochRecord]:
        """Returns the results of the epochs so far."""
        return results.read(self.run_dir.results_path)

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


def run_all(
    runs: list[Run],
    jobs: int | None = None,
    on_end: Callable[[Run], object] = lambda run: None,
) -> None:
    """Trains all runs and prints their progress.

    A run that fails does not stop the others. If this process ends early, Linux ends all runs.

    Args:
        runs: to train or resume.
        jobs: how many to train at a time. Default: one on each core.
        on_end: called after a run has ended without an error.

    Raises:
        UserError: if runs failed; names each with its error.
    """
    jobs = jobs or os.cpu_count()
    failed = []
    pool = concurrent.futures.ThreadPoolExecutor(jobs)
    open_runs = {pool.submit(_train, run, has_all_cores=jobs == 1): run for run in runs}
    while open_runs:
        done, _ = concurrent.futures.wait(
            open_runs, SECONDS, return_when=concurrent.futures.FIRST_COMPLETED
        )
        for future in done:
            run, error = open_runs.pop(future), future.result()
            if error:
                failed.append(f"{run.name}: {error}")
            else:
                on_end(run)
        print(progress(list(open_runs.values()), len(runs), jobs), flush=True)
    if failed:
        raise UserError("\n".join(["these runs failed:", *failed]))


def _train(run: Run, has_all_cores: bool) -> str:
    """Trains or resumes a run. Returns its error, or an empty string."""
    flags = os.environ.get("XLA_FLAGS", "")
    env = {**os.environ, "XLA_FLAGS": flags if has_all_cores else f"{flags} {ONE_THREAD}".strip()}
    done = subprocess.run(
        run.command, cwd=ROOT, env=env, capture_output=True, text=True, preexec_fn=_end_with_parent
    )
    return done.returncode and (done.stderr.strip() or f"exit status {done.returncode}")


def _end_with_parent() -> None:
    """Lets Linux end this process with its parent. Left alone, it would hold the run's lock."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def progress(open_runs: list[Run], num_runs: int, jobs: int) -> str:
    """Returns the number of runs that have ended, and an estimate of the time until all have."""
    epochs = {run: run.epochs() for run in open_runs}
    # The first epoch compiles.
    seconds = [one.seconds for done in epochs.values() for one in done[1:][-9:]]
    left = [run.config.num_epochs - len(done) for run, done in epochs.items()]
    line = f"{num_runs - len(open_runs)} of {num_runs} runs have ended"
    if not seconds:
        return line
    # No sooner than the longest run, however many run at a time.
    num_epochs = max(sum(left) / jobs, *left)
    return f"{line}, about {format_duration(num_epochs * statistics.mean(seconds))} left"
