"""The directory of a run: the names of its files, its lock and its configuration.

| in `checkpoints/<MODEL_NAME>/` | content |
|---|---|
| `config.json` | the settings |
| `ckpt-N.npz` | weights and optimizer after N epochs, the last two |
| `results.jsonl` | one record per epoch |
| `lock` | held while a process trains |
| `events.out.tfevents.*`, `training/`, `validation/`, `trial/` | TensorBoard |
| `previous/` | the files of the run that `--restart` replaced |
| `seed-N/` | the same for a seed other than 0 |

Nothing here needs Keras or TensorFlow.
"""

import contextlib
import dataclasses
import os
import pathlib
import re
import shlex
import subprocess
from collections.abc import Iterator

from fast_weights.experiment import errors, storage
from fast_weights.experiment.config import NETWORKS, Config
from fast_weights.experiment.errors import UserError, option

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
        return self.path / f"ckpt-{epoch}.npz"

    def checkpoint_epochs(self) -> list[int]:
        """Returns the numbers of completed epochs that have a checkpoint, newest first."""
        names = storage.list_names(self.path)
        found = (re.fullmatch(r"ckpt-(\d+)\.npz", name, re.ASCII) for name in names)
        return sorted((int(match[1]) for match in found if match), reverse=True)

    @property
    def is_trained(self) -> bool:
        """Whether there is a checkpoint."""
        return bool(self.checkpoint_epochs())

    def train_command(self, network: str | None = None) -> str:
        """Returns the command that trains this run, or in an installed package Python statements.

        Args:
            network: the setting to train with. Default: the blog's.
        """
        if not errors.IN_CHECKOUT:
            arguments = f"model_name={self.model_name!r}, seed={self.seed!r}"
            config = f"Config({arguments})"
            if network == "paper":
                config = f"Config.with_defaults(network='paper', {arguments})"
            return (
                "from fast_weights.experiment import Config, RunDirectory, train; train("
                f"{config}, RunDirectory({str(self.checkpoint_dir)!r}, {arguments}))"
            )
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
            network: the setting that the model must have. Default: the run's own, and of bundled
                weights the blog's if there are several.

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
        if storage.exists(self.config_path):
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
            UserError: if the file cannot be read, a setting is out of bounds, or the settings are
                those of another model or seed.
        """
        try:
            text = storage.read_bytes(self.config_path).decode("utf-8", errors="replace")
            config = Config.from_json(text)
        except UserError as error:
            raise type(error)(
                f"{error}. Restore {self.config_path}, or train again with "
                f"{option('restart', True)}"
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
            UserError: if another process holds the lock, or the directory cannot be written.
        """
        import filelock  # from the extra [experiment], because only training needs it

        path = self.path / "lock"
        with contextlib.ExitStack() as stack:
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                stack.enter_context(filelock.FileLock(path, timeout=0))
            except filelock.Timeout:
                raise UserError(
                    f"another process is training in {self}. Wait until it ends, or choose "
                    f"another {option('checkpoint_dir')}"
                ) from None
            except OSError as error:
                raise UserError(f"cannot write {path}: {error.strerror}") from error
            # A killed process can leave files that it was writing.
            _remove(self.path.glob(f"{storage.PARTIAL_PREFIX}*"))
            yield

    def keep_checkpoints(self, epochs: list[int]) -> None:
        """Deletes all checkpoints except those of the given epochs.

        Windows does not delete a file that another program, such as `test.py`, is reading. Such a
        file is deleted after a later epoch.
        """
        paths = [self.checkpoint_path(epoch) for epoch in self.checkpoint_epochs()]
        kept = [self.checkpoint_path(epoch) for epoch in epochs]
        _remove((path for path in paths if path not in kept), skip_open_files=True)

    def clear(self) -> None:
        """Deletes the checkpoints, the results and the TensorBoard events, and no other file."""
        _remove(_files_of_run(self.path))

    def set_aside(self) -> pathlib.Path:
        """Moves the files of the run to `previous/`, and deletes those of the run before it.

        Returns:
            The path of `previous/`.

        Raises:
            UserError: if a file cannot be moved or deleted.
        """
        previous = self.path / "previous"
        _remove(_files_of_run(previous))
        for path in _files_of_run(self.path):
            target = previous / path.relative_to(self.path)
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(path, target)
            except OSError as error:
                raise UserError(f"cannot move {path} to {target}: {error.strerror}") from error
        return previous


def find_runs(directory) -> list[RunDirectory]:
    """Returns all runs with results in a directory and below it, without those set aside."""
    found = []
    for path in sorted(_directories(pathlib.Path(directory))):
        if path.name == "previous" or not storage.exists(path / "results.jsonl"):
            continue
        seed = re.fullmatch(r"seed-(\d+)", path.name, re.ASCII)
        model_path = path.parent if seed else path
        number = int(seed[1]) if seed else 0
        found.append(RunDirectory(model_path.parent, model_path.name, number))
    return found


def _directories(directory: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields a directory and all directories below it.

    Raises:
        UserError: if a directory cannot be read.
    """

    def report(error):
        raise UserError(f"cannot read {error.filename}: {error.strerror}") from error

    if directory.exists():
        for path, _, _ in os.walk(directory, onerror=report):
            yield pathlib.Path(path)


def _files_of_run(path: pathlib.Path) -> list[pathlib.Path]:
    """Returns the checkpoints and the other files of the run in a directory, without the lock."""
    names = ["ckpt-*.npz", "results.jsonl", "config.json", "*.tfevents.*"]
    names += [f"{run}/*.tfevents.*" for run in TENSORBOARD_RUNS]
    return [file for name in names for file in sorted(path.glob(name))]


def _quote(text: str) -> str:
    """Returns text as one argument for the command line of this system."""
    return subprocess.list2cmdline([text]) if os.name == "nt" else shlex.quote(text)


def _remove(paths, skip_open_files: bool = False) -> None:
    """Deletes files. `skip_open_files` skips those that Windows does not delete."""
    for path in list(paths):
        try:
            os.unlink(path)
        except OSError as error:
            if skip_open_files and isinstance(error, PermissionError):
                continue
            raise UserError(f"cannot delete {path}: {error.strerror}") from error


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
            f"cannot resume {run_dir} with other settings. Omit them to resume, give "
            f"{option('restart', True)} to start over, or choose another "
            f"{option('checkpoint_dir')}. Received: {'; '.join(differences)}"
        )
