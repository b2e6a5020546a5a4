"""What a run leaves on disk, and how it is found again.

A model's folder, `checkpoints/<MODEL_NAME>/`, holds `config.json`, the last
checkpoints of weights, optimizer and epoch (`ckpt-N`, N epochs done, and the
index `checkpoint`), `results.jsonl` and TensorBoard's events, with the runs
`training/` and `validation/`. Seeds other than 0 have such a folder each in it.
"""

import contextlib
import dataclasses
import os
import pathlib
import shutil
from collections.abc import Callable

import keras
import tensorflow as tf

from fast_weights import shipped
from fast_weights.config import Config
from fast_weights.errors import UserError
from fast_weights.models import build_model

CONFIG_NAME = "config.json"
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
        """Writes `ckpt-<epoch>` and moves the folder's index to it."""
        self._manager(folder).save(checkpoint_number=self.epoch)

    def restore(self, folder) -> bool:
        """Takes on the folder's newest checkpoint; returns whether there is one.

        Raises:
            UserError: if the checkpoint is broken or of another model.
        """
        manager = self._manager(folder)
        if manager.latest_checkpoint is None:
            return False
        with _one_line_if_broken(manager.latest_checkpoint):
            manager.checkpoint.restore(manager.latest_checkpoint).assert_consumed()
        return True

    def _manager(self, folder) -> tf.train.CheckpointManager:
        checkpoint = tf.train.Checkpoint(
            model=self.model, optimizer=self.optimizer, epoch=self.epoch
        )
        return tf.train.CheckpointManager(checkpoint, str(folder), max_to_keep=MAX_TO_KEEP)


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
    """Whether the folder holds a checkpoint."""
    return _newest(folder) is not None


def _newest(folder) -> str | None:
    """The newest checkpoint by the folder's index, whether its files are there or not."""
    state = tf.train.get_checkpoint_state(str(folder))
    return state.model_checkpoint_path if state else None


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
    path = _newest(folder)
    with _one_line_if_broken(path):
        checkpoint = tf.train.Checkpoint(model=model)
        checkpoint.restore(path).assert_existing_objects_matched().expect_partial()
    return model, config


@contextlib.contextmanager
def _one_line_if_broken(path):
    """Turns whatever TensorFlow raises while it reads a checkpoint into one line.

    Depending on the byte that is wrong it raises half a dozen types of error.
    """
    try:
        yield
    except Exception as error:
        raise UserError(
            f"the checkpoint {path} is broken or of another model. "
            "Train with --restart to begin anew"
        ) from error
