"""Weights, optimizer and epoch on disk: saved, found again, and read no further than they go.

They lie in TensorFlow's own checkpoint files, each tensor with a checksum, and are read
tensor by tensor, each only once its shape and type have been found right. (Restoring
through `tf.train.Checkpoint` would read whatever a file claims to hold.)
"""

import dataclasses
import pathlib
import shutil
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from fast_weights import files, folders, shipped
from fast_weights.config import Config
from fast_weights.errors import UserError
from fast_weights.models import build_model

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
        folder = pathlib.Path(folder)
        path = folder / f"ckpt-{int(self.epoch)}"
        tf.train.Checkpoint(
            weights=self.model.weights, optimizer=self.optimizer.variables, epoch=self.epoch
        ).write(str(path))
        for part in folder.glob(f"{path.name}.*"):
            files.sync(part)
        files.sync(folder)
        for old in folders.all_checkpoints(folder)[MAX_TO_KEEP:]:
            # The index first: what has none is no checkpoint.
            for part in sorted(folder.glob(f"{old.name}.*"), reverse=True):
                part.unlink()
        # Of a run killed while it wrote.
        for leftover in folder.glob("ckpt-*_temp"):
            shutil.rmtree(leftover)

    def restore(self, folder, say: Callable[[str], None] = print) -> bool:
        """Takes on the folder's newest whole checkpoint; returns whether there is one.

        Args:
            folder: a model's folder.
            say: called with a line if a newer one is broken.

        Raises:
            UserError: if there are checkpoints and none is whole and of this model.
        """
        if not folders.is_trained(folder):
            return False
        optimizer = {f"optimizer/{i}": one for i, one in enumerate(self.optimizer.variables)}
        variables = {**_weights(self.model), **optimizer, "epoch": self.epoch}
        _restore_newest(folder, variables, say)
        return True


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


def _weights(model: keras.Model) -> dict:
    """A model's weights by their names in a checkpoint."""
    return {f"weights/{i}": weight for i, weight in enumerate(model.weights)}


def _restore_newest(folder, variables: dict, say) -> None:
    """Assigns to all variables what the newest whole checkpoint has, or to none.

    Raises:
        UserError: if there is no whole checkpoint of these variables with finite values.
    """
    paths = folders.all_checkpoints(folder)
    for path in paths:
        try:
            values = _read(path, variables)
        except Exception:
            # Depending on the byte that is wrong, half a dozen types of error.
            continue
        for name, variable in variables.items():
            variable.assign(values[name])
        if path != paths[0]:
            say(f"{paths[0]} is broken; going back to the checkpoint before it, {path}")
        return
    raise UserError(
        f"the checkpoint in {folder} is broken, of another model, or has weights that are no "
        "numbers. Train with --restart to begin anew"
    )


def _read(path: pathlib.Path, variables: dict) -> dict:
    """The variables' values in a checkpoint, checked against its checksums.

    Raises:
        ValueError: if one has another shape or type, or is no finite number; besides,
            whatever TensorFlow raises for a file that is broken.
    """
    reader = tf.train.load_checkpoint(str(path))
    shapes, types = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    values = {}
    for name, variable in variables.items():
        keys = [f"{one}/.ATTRIBUTES/VARIABLE_VALUE" for one in (name, _name_before(name))]
        key = keys[0] if keys[0] in shapes else keys[1]
        if tuple(shapes[key]) != tuple(variable.shape):
            raise ValueError(f"{name}: another shape")
        if types[key] != tf.as_dtype(variable.dtype):
            raise ValueError(f"{name}: another type")
        values[name] = reader.get_tensor(key)
        if not np.isfinite(values[name]).all():
            raise ValueError(f"{name}: no finite number")
    return values


def _name_before(name: str) -> str:
    """What Keras's optimizer called a variable, up to configuration format 2."""
    kind, _, number = name.partition("/")
    if kind == "weights":
        return f"optimizer/_trainable_variables/{number}"
    if kind == "optimizer":
        named = {"0": "_iterations", "1": "_learning_rate"}
        return f"optimizer/{named.get(number, f'_variables/{number}')}"
    return name


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
    folder = folders.model_folder(checkpoint_dir, model_name, seed)
    if not folders.is_trained(folder):
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
    config = folders.load_config(folder)
    model = build_model(config)
    _restore_newest(folder, _weights(model), say)
    return model, config
