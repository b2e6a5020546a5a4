"""What a run leaves on disk, and what of it can be told without TensorFlow.

A model's folder, `checkpoints/<MODEL_NAME>/`, holds `config.json`, the last
checkpoints of weights, optimizer and epoch (`ckpt-N.npz`, N epochs done),
`results.jsonl` and TensorBoard's events, with the runs
`training/` and `validation/`. Seeds other than 0 have such a folder each in it.
`checkpoints/shipped/` holds the weights that come with the project (`shipped.py`).
"""

import contextlib
import dataclasses
import os
import pathlib
import re
import shlex
import stat
from collections.abc import Callable

from fast_weights import arrays, files
from fast_weights.config import Config
from fast_weights.errors import MismatchError, UserError

try:
    import fcntl
except ImportError:  # Windows: two trainings at once are not kept apart
    fcntl = None

CONFIG_NAME = "config.json"
MAX_CONFIG_BYTES = 10_000
LOCK_NAME = "lock"
BROKEN_SHIPPED = (
    "{path} holds no weights of this project, or is broken. "
    "Get it anew (git checkout {path}), or train a model of your own: python train.py"
)
# What makes a folder one of a trained model goes first.
OWN_FILES = (
    "ckpt-*",
    "checkpoint",  # of version 0.1
    "results.jsonl",
    "*.tfevents.*",
    "training",
    "validation",
    f"{files.PARTIAL}*",
    CONFIG_NAME,
)


def model_folder(checkpoint_dir, model_name: str, seed: int = 0) -> pathlib.Path:
    """Where a model's checkpoints lie: `<MODEL_NAME>`, and of other seeds `seed-N` in it."""
    folder = pathlib.Path(checkpoint_dir) / model_name
    return folder / f"seed-{seed}" if seed else folder


def shipped_path(checkpoint_dir, model_name: str) -> pathlib.Path:
    """Where the weights of a model lie that come with the project."""
    return pathlib.Path(checkpoint_dir) / "shipped" / f"{model_name}.npz"


def train_command(checkpoint_dir, model_name: str, seed: int = 0) -> str:
    """What a person types to have that model there."""
    command = f"python train.py --model_name={model_name}"
    if seed:
        command += f" --seed={seed}"
    if str(checkpoint_dir) != "checkpoints":  # the default
        command += f" --checkpoint_dir={shlex.quote(str(checkpoint_dir))}"
    return command


def is_trained(folder) -> bool:
    """Whether the folder holds a checkpoint, be it broken or of an earlier version."""
    return any(pathlib.Path(folder).glob("ckpt-*"))


def epoch_of(path) -> int:
    """How many epochs were done, by a checkpoint's name; -1 of what is none."""
    found = re.fullmatch(r"ckpt-(0|[1-9]\d{0,17})\.npz", pathlib.Path(path).name, re.ASCII)
    return int(found[1]) if found else -1


def all_checkpoints(folder) -> list[pathlib.Path]:
    """The folder's checkpoints, newest first."""
    paths = pathlib.Path(folder).glob("ckpt-*.npz")
    return sorted((path for path in paths if epoch_of(path) >= 0), key=epoch_of, reverse=True)


@contextlib.contextmanager
def locked(folder):
    """Keeps a second training out of a model's folder, which is made where it is missing.

    The lock is the operating system's: it goes when the process does, however it ends.

    Raises:
        UserError: if another process holds it, or the folder cannot be written.
    """
    path = pathlib.Path(folder) / LOCK_NAME
    try:
        files.make_folder(path.parent)
        # Another's file that a link leads to would be written over, a pipe waited for.
        only = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | only, 0o666), "r+b", buffering=0)
    except OSError as error:
        raise UserError(f"cannot write to {path}: {error.strerror}") from None
    with file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise UserError(f"{path} is no regular file; delete it")
        if fcntl:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = file.read(20).decode(errors="replace").strip()
                raise UserError(
                    f"process {holder} is training in {folder}. Wait for it, stop "
                    "it, or name another --checkpoint_dir"
                ) from None
        try:
            os.ftruncate(file.fileno(), 0)
            os.write(file.fileno(), f"{os.getpid()}\n".encode())
        except OSError as error:
            raise UserError(f"cannot write to {folder}: {error.strerror}") from None
        # Of a process that was killed. Not those of other seeds, which may be in use.
        for run in ("", "training", "validation"):
            for leftover in (pathlib.Path(folder) / run).glob(f"{files.PARTIAL}*"):
                files.remove(leftover)
        yield


def save_config(folder, config: Config) -> None:
    """Writes the configuration beside the checkpoints; makes the folder where it is missing."""
    try:
        with files.replacing(pathlib.Path(folder) / CONFIG_NAME) as temporary:
            temporary.write_text(config.to_json(), encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}") from None


def load_config(folder, say: Callable[[str], None] = print) -> Config:
    """Reads the configuration beside the checkpoints or, where it is broken, the copy in one.

    Args:
        folder: a model's folder.
        say: called with a line if it is broken.

    Raises:
        UserError: if there is none, or none that is whole.
    """
    path = pathlib.Path(folder) / CONFIG_NAME
    try:
        return Config.from_json(files.read_text(path, MAX_CONFIG_BYTES))
    except MismatchError as error:
        raise UserError(f"{path}: {error}") from None
    except OSError as error:
        reason = f"cannot read {path}: {error.strerror}"
    except ValueError as error:
        reason = f"{path}: {error}"
    for checkpoint in all_checkpoints(folder):
        # Depending on the byte that is wrong, half a dozen types of error.
        with contextlib.suppress(Exception), arrays.open_archive(checkpoint) as archive:
            config = Config.from_json(arrays.read_config(archive))
            say(f"{reason}; taking the copy in {checkpoint.name}")
            return config
    raise UserError(f"{reason}. Put it back, or train with --restart to begin anew")


def find_config(
    checkpoint_dir, model_name: str, seed: int = 0, say: Callable[[str], None] = print
) -> Config:
    """The settings of a trained model or, where it never was, of one that comes with the project.

    Args:
        checkpoint_dir: the folder of all models' folders.
        model_name: which of them.
        seed: that it was trained with.
        say: called with a line if it comes with the project, or a file is broken.

    Raises:
        UserError: if there is no such model, or its files are broken.
    """
    folder = model_folder(checkpoint_dir, model_name, seed)
    if is_trained(folder):
        return load_config(folder, say)
    command = train_command(checkpoint_dir, model_name, seed)
    path = shipped_path(checkpoint_dir, model_name)
    if seed or not path.exists():
        raise UserError(f"{model_name} has no checkpoint in {folder}. Train it first: {command}")
    try:
        with arrays.open_archive(path) as archive:
            config = Config.from_json(arrays.read_config(archive))
    except MismatchError as error:
        raise UserError(f"{path}: {error}") from None
    except Exception:
        # Depending on the byte that is wrong, half a dozen types from three libraries.
        raise UserError(BROKEN_SHIPPED.format(path=path)) from None
    say(
        f"{model_name} has not been trained here; these are the weights that come with the "
        f"project, of {config.num_epochs} epochs. To train your own: {command}"
    )
    return config


def settle_config(folder, asked: dict, say: Callable[[str], None] = print) -> Config:
    """The configuration to train with: the checkpoint's where there is one.

    Args:
        folder: a model's folder.
        asked: settings that were asked for by name; the others are the
            checkpoint's, or else the defaults.
        say: called with a line if `config.json` is broken and the checkpoint's copy is not.

    Returns:
        A `Config` that agrees with `asked`. Only `num_epochs` may differ from the
        checkpoint's.

    Raises:
        UserError: if what was asked for contradicts the checkpoint.
    """
    if not is_trained(folder):
        return Config(**asked)
    stored = load_config(folder, say)
    contradictions = [
        f"--{name}={value} but the checkpoint has {getattr(stored, name)}"
        for name, value in asked.items()
        if name != "num_epochs" and value != getattr(stored, name)
    ]
    if contradictions:
        raise UserError(
            f"flags contradict the checkpoint in {folder}: {'; '.join(contradictions)}. "
            "Leave them out to go on with it, give --restart to begin anew, "
            "or name another --checkpoint_dir"
        )
    return dataclasses.replace(stored, num_epochs=asked.get("num_epochs", stored.num_epochs))


def clear(folder) -> None:
    """Deletes a model's checkpoints, results and TensorBoard runs, and nothing else."""
    for pattern in OWN_FILES:
        for path in pathlib.Path(folder).glob(pattern):
            files.remove(path)
