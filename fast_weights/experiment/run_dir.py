"""The directory of a run: the names of its files, its lock and its configuration.

| in `checkpoints/<MODEL_NAME>/` | content |
|---|---|
| `config.json` | the settings |
| `ckpt-N.npz` | weights and optimizer after N epochs, the last two |
| `results.jsonl` | one record per epoch |
| `lock` | held while a process trains |
| `events.out.tfevents.*`, `training/`, `validation/`, `trial/` | TensorBoard |
| `previous/`, `previous-2/`, … | the files of the runs that `--restart` replaced |
| `seed-N/` | the same for a seed other than 0 |

Nothing here needs Keras or TensorFlow.
"""

import contextlib
import dataclasses
import errno
import itertools
import logging
import os
import pathlib
import re
import shlex
import subprocess
from collections.abc import Iterator

from fast_weights.experiment import results, storage
from fast_weights.experiment.config import NETWORKS, Config
from fast_weights.experiment.errors import UserError, option

logger = logging.getLogger(__name__)
PRETRAINED_DIR = pathlib.Path(__file__).parent / "pretrained"
TENSORBOARD_RUNS = ("training", "validation", "trial")


@dataclasses.dataclass(frozen=True)
class RunDirectory:
    """The directory of one model trained with one seed.

    Args:
        checkpoint_dir: the directory of all runs, for example `"checkpoints"`.
        model_name: a name in `MODELS`.
        seed: the seed of the run. Default 0.

    Example:

    >>> RunDirectory("checkpoints", "GRU-LN", seed=1).path.as_posix()
    'checkpoints/GRU-LN/seed-1'
    """

    checkpoint_dir: str | pathlib.Path
    model_name: str
    seed: int = 0

    def __str__(self):
        return str(self.path)

    @property
    def path(self) -> pathlib.Path:
        """`<checkpoint_dir>/<model_name>`, and `seed-N` in it for a seed other than 0."""
        path = pathlib.Path(self.checkpoint_dir) / self.model_name
        return path / f"seed-{self.seed}" if self.seed else path

    @property
    def config_path(self) -> pathlib.Path:
        """The path of the settings."""
        return self.path / "config.json"

    @property
    def results_path(self) -> pathlib.Path:
        """The path of the records."""
        return self.path / "results.jsonl"

    def checkpoint_path(self, epoch: int) -> pathlib.Path:
        """Returns the path of the checkpoint after `epoch` epochs."""
        return checkpoint_path(self.path, epoch)

    def checkpoint_epochs(self) -> list[int]:
        """Returns the numbers of completed epochs that have a checkpoint, newest first."""
        return checkpoint_epochs(self.path)

    @property
    def is_trained(self) -> bool:
        """Whether there is a checkpoint."""
        return bool(self.checkpoint_epochs())

    def train_command(self, network: str | None = None) -> str:
        """Returns the command that trains this run in a clone.

        Args:
            network: `"blog"` or `"paper"`. Default: the blog's.
        """
        command = f"python train.py --model_name={self.model_name}"
        if network == "paper":
            command += " --network=paper"
        if self.seed:
            command += f" --seed={self.seed}"
        if str(self.checkpoint_dir) != "checkpoints":  # the default of the flag
            command += f" --checkpoint_dir={_quote(str(self.checkpoint_dir))}"
        return command

    def trained_or_bundled(self, network: str | None = None) -> "RunDirectory":
        """Returns this directory if it holds a trained model, or else that of bundled weights.

        Args:
            network: `"blog"` or `"paper"`, which the model must have. Default: either. If both
                have bundled weights, those of the blog's network are returned.

        Raises:
            UserError: if the directory holds a run without a checkpoint or of another network, or
                if the model has not been trained and no bundled weights have its seed.
        """
        if self.is_trained:
            found = self.read_config().network
            if network not in (None, found):
                raise UserError(
                    f"{self} holds a run of {option('network', found)}. Omit "
                    f"{option('network', network)}, or use another {option('checkpoint_dir')}"
                )
            return self
        if self.config_path.exists():
            command = self.train_command(self.read_config().network)
            raise UserError(
                f"{self.path.absolute()} has no checkpoint: its training ended before the end of "
                f"the first epoch, or its checkpoints were deleted. Train it: {command}"
            )
        for one in [network] if network else NETWORKS:
            bundled = RunDirectory(PRETRAINED_DIR / one, self.model_name, self.seed)
            if bundled.is_trained:
                return bundled
        which = f" with {option('network', network)}" if network else ""
        raise UserError(
            f"{self.model_name} has no checkpoint in {self.path.absolute()}, and there are no "
            f"bundled weights of it{which}. Train it: {self.train_command(network)}"
        )

    def read_config(self) -> Config:
        """Returns the settings of the run.

        Raises:
            CorruptFileError: if the file does not hold a configuration.
            UserError: if a setting is out of bounds, or the settings are those of another model
                or seed.
        """
        try:
            config = Config.from_json(storage.read_text(self.config_path))
        except UserError as error:
            raise type(error)(
                f"{error}. Restore {self.config_path}, give the {option('plugin')} that the run "
                f"was trained with, or choose another {option('checkpoint_dir')}"
            ) from error
        if (config.model_name, config.seed) != (self.model_name, self.seed):
            raise UserError(
                f"{self} holds a run of {config.model_name} with seed {config.seed}. Rename the "
                f"directory, or use {option('model_name', config.model_name)} "
                f"{option('seed', config.seed)}"
            )
        return config

    def write_config(self, config: Config) -> None:
        """Writes the settings of the run."""
        storage.write_text(self.config_path, config.to_json())

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Locks the directory for one training process. Creates the directory if it is missing.

        The operating system releases the lock when the process ends, however it ends.

        Raises:
            UserError: if another process holds the lock, or the file system has no locks.
        """
        import filelock  # from the extra [experiment], because only training needs it

        try:
            self.path.mkdir(parents=True, exist_ok=True)
            # The soft lock, a file, would remain after its process is killed.
            path = self.path / "lock"
            lock = filelock.FileLock(path, timeout=0, fallback_to_soft=False).acquire()
        except filelock.Timeout:
            raise UserError(
                f"another process is training in {self}. Wait until it ends, or choose "
                f"another {option('checkpoint_dir')}"
            ) from None
        except FileExistsError as error:
            raise UserError(
                f"{error.filename} is not a directory, or it is a link to a missing one. Delete "
                f"it, or choose another {option('checkpoint_dir')}"
            ) from None
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP):
                raise
            raise UserError(
                f"the file system of {self.path.absolute()} does not support locks "
                f"({error.strerror}). Choose a {option('checkpoint_dir')} on another file system, "
                "such as a local disk"
            ) from None
        with lock:
            # A killed process can leave files that it was writing.
            _delete(self.path.glob(f"{storage.PARTIAL_PREFIX}*"))
            yield

    def make_room(self, restart: bool) -> None:
        """Prepares the directory for a training, so that nothing mixes with an earlier run's files.

        Moves an earlier run to `previous/`, if a restart was asked for. Otherwise, keeps a run
        that has a checkpoint to resume from, and deletes the rest of one that ended in its first
        epoch.

        Raises:
            UserError: without `restart`, if there are results of more than one epoch but no
                checkpoint.
        """
        num_records = len(results.read(self.results_path))
        if restart and (self.is_trained or num_records > 1):
            logger.info("The earlier run is now in %s", self._set_aside())
        elif self.is_trained:
            return
        elif num_records > 1:  # a run that was killed in its first epoch can have one record
            raise UserError(
                f"{self} has the results of {num_records} epochs, but no checkpoint to resume "
                f"from. Restore a checkpoint, or start over with {option('restart', True)}, which "
                "moves the results to previous/"
            )
        else:
            _delete(_files_of_run(self.path))

    def _set_aside(self) -> pathlib.Path:
        """Moves the files of the run to `previous/`, or to the first `previous-N/` that is free."""
        names = itertools.chain(["previous"], (f"previous-{i}" for i in itertools.count(2)))
        previous = next(path for path in map(self.path.joinpath, names) if not path.exists())
        # The checkpoints come last: without one, the rest of a run may be deleted.
        for path in reversed(_files_of_run(self.path)):
            target = previous / path.relative_to(self.path)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, target)
        return previous

    def check_records(self, epoch: int) -> None:
        """Raises a `UserError` if more records follow a checkpoint than an interruption can leave.

        Args:
            epoch: of the checkpoint to resume from.
        """
        last = max((record.epoch for record in results.read(self.results_path)), default=0)
        # The newest checkpoint can be corrupt, and one more epoch can have a record only.
        if last > epoch + 2:
            raise UserError(
                f"{self} has results up to epoch {last}, but its newest checkpoint is of epoch "
                f"{epoch}. Restore a newer checkpoint, or start over with "
                f"{option('restart', True)}, which moves the files of the run to previous/"
            )


def checkpoint_path(directory, epoch: int) -> pathlib.Path:
    """Returns the path of the checkpoint after `epoch` epochs."""
    return pathlib.Path(directory) / f"ckpt-{epoch}.npz"


def checkpoint_epochs(directory) -> list[int]:
    """Returns the numbers of epochs that have a checkpoint in a directory, newest first."""
    names = os.listdir(directory) if os.path.isdir(directory) else []
    found = (re.fullmatch(r"ckpt-(\d+)\.npz", name, re.ASCII) for name in names)
    return sorted((int(match[1]) for match in found if match), reverse=True)


def find_runs(directory) -> list[RunDirectory]:
    """Returns all runs with results in a directory and below it, without those set aside."""
    found = []
    for path in sorted(_directories(directory)):
        if re.fullmatch(r"previous(-\d+)?", path.name) or not (path / "results.jsonl").exists():
            continue
        seed = re.fullmatch(r"seed-(\d+)", path.name, re.ASCII)
        model_path = path.parent if seed else path
        number = int(seed[1]) if seed else 0
        found.append(RunDirectory(model_path.parent, model_path.name, number))
    return found


def _directories(directory) -> Iterator[pathlib.Path]:
    """Yields a directory and all below it, each once. Raises `OSError` if one cannot be read."""
    visited = set()

    def report(error):
        raise error

    if os.path.exists(directory):
        for path, names, _ in os.walk(directory, onerror=report, followlinks=True):
            # Links can form a cycle. Visit them last, so that runs are found under their own names.
            links = {name for name in names if os.path.islink(os.path.join(path, name))}
            names.sort(key=links.__contains__)
            if (target := os.path.realpath(path)) in visited:
                names.clear()
                continue
            visited.add(target)
            yield pathlib.Path(path)


def _files_of_run(path: pathlib.Path) -> list[pathlib.Path]:
    """Returns the checkpoints and the other files of the run in a directory, without the lock."""
    names = ["ckpt-*.npz", "results.jsonl", "config.json", "*.tfevents.*"]
    names += [f"{run}/*.tfevents.*" for run in TENSORBOARD_RUNS]
    return [file for name in names for file in sorted(path.glob(name))]


def _quote(text: str) -> str:
    """Returns text as one argument for the command line of this system."""
    return subprocess.list2cmdline([text]) if os.name == "nt" else shlex.quote(text)


def _delete(paths) -> None:
    """Deletes files."""
    for path in list(paths):
        storage.delete(path)


def resolve_config(run_dir: RunDirectory, settings: dict) -> Config:
    """Returns the configuration to train with: that of the run, if there is one to resume.

    Args:
        run_dir: the directory of the run.
        settings: the settings that were given explicitly. The others are those of the run to
            resume, or else the defaults.

    Raises:
        UserError: if a setting contradicts the run to resume. With a constant learning rate,
            `num_epochs` may differ.
    """
    if not run_dir.is_trained:
        return Config.with_defaults(**settings)
    stored = run_dir.read_config()
    config = dataclasses.replace(stored, **settings)
    check_same_run(run_dir, stored, config)
    return config


def check_same_run(run_dir: RunDirectory, stored: Config, config: Config) -> None:
    """Raises a `UserError` if settings differ that a run keeps; see `Config.differences`."""
    differences = [
        f"{name}={getattr(config, name)}, where the checkpoint has {getattr(stored, name)}"
        for name in stored.differences(config)
    ]
    if differences:
        raise UserError(
            f"cannot resume {run_dir} with other settings. Omit them to resume, or choose another "
            f"{option('checkpoint_dir')}. Received: {'; '.join(differences)}"
        )
