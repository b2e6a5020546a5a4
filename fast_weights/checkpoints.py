"""What a run leaves on disk, and how it is found again.

A model's folder, `checkpoints/<MODEL_NAME>/`, holds `config.json`, the last
checkpoints of weights, optimizer and epoch (`ckpt-N`, N epochs done),
`results.jsonl` and TensorBoard's events, with the runs
`training/` and `validation/`. Seeds other than 0 have such a folder each in it.
"""

import contextlib
import dataclasses
import os
import pathlib
import re
import shutil
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from fast_weights import shipped
from fast_weights.config import Config
from fast_weights.errors import UserError
from fast_weights.models import build_model

try:
    import fcntl
except ImportError:  # Windows: two trainings at once are not kept apart
    fcntl = None

CONFIG_NAME = "config.json"
LOCK_NAME = "lock"
OWN_FILES = (
    CONFIG_NAME,
    "results.jsonl*",
    "checkpoint",
    "ckpt-*",
    "*.tfevents.*",
    "training",
    "validation",
)
# Two, so that there is always a whole one while the next is written.
MAX_TO_KEEP = 2


@dataclasses.dataclass(frozen=True)
class TrainingState:
    """All that training changes."""

    model: keras.Model
    optimizer: keras.optimizers.Optimizer
    epoch: tf.Variable
    """How many epochs are done."""

    def save(self, folder) -> None:
        """Writes `ckpt-<epoch>` and deletes all but the newest `MAX_TO_KEEP`."""
        self._checkpoint().write(str(pathlib.Path(folder) / f"ckpt-{int(self.epoch)}"))
        for path in _all_checkpoints(folder)[MAX_TO_KEEP:]:
            # The index first: what has none is no checkpoint.
            for part in sorted(pathlib.Path(folder).glob(f"{path.name}.*"), reverse=True):
                part.unlink()

    def restore(self, folder, say: Callable[[str], None] = print) -> bool:
        """Takes on the folder's newest whole checkpoint; returns whether there is one.

        Args:
            folder: a model's folder.
            say: called with a line if a newer one is broken.

        Raises:
            UserError: if there are checkpoints and none is whole and of this model.
        """
        if not is_trained(folder):
            return False

        def restore(path):
            status = self._checkpoint().read(str(path))
            status.assert_existing_objects_matched().expect_partial()
            return self.model

        _restore_newest(folder, restore, say)
        return True

    def _checkpoint(self) -> tf.train.Checkpoint:
        return tf.train.Checkpoint(model=self.model, optimizer=self.optimizer, epoch=self.epoch)


def new_state(config: Config, form: str | None = None) -> TrainingState:
    """A model with weights drawn from `config.seed`, an optimizer, epoch 0.

    Args:
        config: the settings.
        form: as for `build_model`.
    """
    keras.utils.set_random_seed(config.seed)
    model = build_model(config, form)
    # TensorFlow 1's epsilon; Keras's default is 1e-7.
    optimizer = keras.optimizers.Adam(config.learning_rate, epsilon=1e-8)
    optimizer.build(model.trainable_variables)
    return TrainingState(model, optimizer, tf.Variable(0, dtype=tf.int64, name="epoch"))


def model_folder(checkpoint_dir, model_name: str, seed: int = 0) -> pathlib.Path:
    """Where a model's checkpoints lie: `<MODEL_NAME>`, and of other seeds `seed-N` in it."""
    folder = pathlib.Path(checkpoint_dir) / model_name
    return folder / f"seed-{seed}" if seed else folder


def is_trained(folder) -> bool:
    """Whether the folder holds a checkpoint, be it broken."""
    # A run killed while it wrote its first one has none; later ones leave one before them.
    numbers = [_number(path) for path in pathlib.Path(folder).glob("ckpt-*.data-*")]
    return bool(_all_checkpoints(folder)) or max(numbers, default=0) > 1


def _all_checkpoints(folder) -> list[pathlib.Path]:
    """The folder's checkpoints, newest first: the index file of each is written last."""
    paths = [path for path in pathlib.Path(folder).glob("ckpt-*.index") if _number(path) >= 0]
    return [path.with_suffix("") for path in sorted(paths, key=_number, reverse=True)]


def _number(path: pathlib.Path) -> int:
    """N of `ckpt-N.<anything>`; -1 of other files."""
    match = re.match(r"ckpt-(\d+)\.", path.name)
    return int(match[1]) if match else -1


def _restore_newest(folder, restore: Callable[[pathlib.Path], keras.Model], say) -> None:
    """Calls `restore(path)` for the newest checkpoint, and for older ones as long as it fails.

    Raises:
        UserError: if it fails for all of them, or what comes back has weights that are
            no numbers.
    """
    paths = _all_checkpoints(folder)
    for path in paths:
        try:
            model = restore(path)
            whole = all(np.isfinite(weight.numpy()).all() for weight in model.weights)
        except Exception:
            # Depending on the byte that is wrong, half a dozen types of error.
            whole = False
        if whole:
            if path != paths[0]:
                say(f"{paths[0]} is broken; going back to the checkpoint before it, {path}")
            return
    raise UserError(
        f"the checkpoint in {folder} is broken, of another model, or has weights that are no "
        "numbers. Train with --restart to begin anew"
    )


@contextlib.contextmanager
def locked(folder):
    """Keeps a second training out of a model's folder, which is made where it is missing.

    The lock is the operating system's: it goes when the process does, however it ends.

    Raises:
        UserError: if another process holds it, or the folder cannot be written.
    """
    path = pathlib.Path(folder) / LOCK_NAME
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "a+", encoding="utf-8")  # noqa: SIM115
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}") from None
    with file:
        if fcntl:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                raise UserError(
                    f"process {file.read(20).strip()} is training in {folder}. Wait for it, stop "
                    "it, or name another --checkpoint_dir"
                ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def save_config(folder, config: Config) -> None:
    """Writes the configuration beside the checkpoints; makes the folder where it is missing."""
    folder = pathlib.Path(folder)
    temporary = folder / (CONFIG_NAME + ".partial")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary.write_text(config.to_json(), encoding="utf-8")
        os.replace(temporary, folder / CONFIG_NAME)
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}") from None


def load_config(folder) -> Config:
    """Reads the configuration beside the checkpoints.

    Raises:
        UserError: if there is none, or a broken one.
    """
    path = pathlib.Path(folder) / CONFIG_NAME
    try:
        return Config.from_json(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a configuration in JSON") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def settle_config(folder, asked: dict) -> Config:
    """The configuration to train with: the checkpoint's where there is one.

    Args:
        folder: a model's folder.
        asked: settings that were asked for by name; the others are the
            checkpoint's, or else the defaults.

    Returns:
        A `Config` that agrees with `asked`. Only `num_epochs` may differ from the
        checkpoint's.

    Raises:
        UserError: if what was asked for contradicts the checkpoint.
    """
    if not is_trained(folder):
        return Config(**asked)
    stored = load_config(folder)
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
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def load_model(
    checkpoint_dir, model_name: str, seed: int = 0, say: Callable[[str], None] = print
) -> tuple[keras.Model, Config]:
    """Builds a trained model from its configuration and reads its newest weights.

    Where the model was never trained, the weights that come with the project are read.

    Args:
        checkpoint_dir: the folder of all models' folders.
        model_name: which of them.
        seed: that it was trained with.
        say: called with a line if the weights are those that come with the project.

    Returns:
        The model, from tokens (B, T) to logits (B, 37), and its configuration.

    Raises:
        UserError: if the model was never trained, or its files are broken.
    """
    folder = model_folder(checkpoint_dir, model_name, seed)
    if not is_trained(folder):
        command = f"python train.py --model_name={model_name}" + (f" --seed={seed}" if seed else "")
        path = shipped.shipped_path(checkpoint_dir, model_name)
        if seed == 0 and path.exists():
            model, config = shipped.load(path)
            say(
                f"{model_name} has not been trained here; these are the weights that come with "
                f"the project, of {config.num_epochs} epochs. To train your own: {command}"
            )
            return model, config
        raise UserError(f"{model_name} has no checkpoint in {folder}. Train it first: {command}")
    config = load_config(folder)
    model = build_model(config)

    def restore(path):
        checkpoint = tf.train.Checkpoint(model=model)
        checkpoint.read(str(path)).assert_existing_objects_matched().expect_partial()
        return model

    _restore_newest(folder, restore, say)
    return model, config
