"""Weights, optimizer and epoch on disk: saved, and found again.

A checkpoint is one `.npz` file with a checksum for each array. (TensorFlow's own
checkpoints are several files, and its reader takes the process down on some that were
made to do so.)
"""

import contextlib
import dataclasses
import pathlib
from collections.abc import Callable

import keras
import numpy as np

from fast_weights import arrays, files, folders, shipped
from fast_weights.config import MAX_EPOCHS, Config
from fast_weights.errors import MismatchError, UserError
from fast_weights.models import build_model, weights_by_name

# Two, so that there is one to go back to.
MAX_TO_KEEP = 2
EPOCH = "epoch"


@dataclasses.dataclass
class TrainingState:
    """All that training changes, and the settings that it has from the start."""

    config: Config
    model: keras.Model
    optimizer: keras.optimizers.Optimizer
    epoch: int = 0
    """How many epochs are done."""

    def save(self, folder) -> None:
        """Writes `ckpt-<epoch>.npz` and keeps the newest `MAX_TO_KEEP` up to that one.

        One of a later epoch goes: it was broken, or training would have gone on from it.

        Raises:
            OSError: if it cannot be written; then the others are as they were.
        """
        values = {n: keras.ops.convert_to_numpy(one) for n, one in self._variables().items()}
        about = {arrays.CONFIG: np.array(self.config.to_json()), EPOCH: np.int64(self.epoch)}
        arrays.save(pathlib.Path(folder) / f"ckpt-{self.epoch}.npz", {**about, **values})
        found = folders.all_checkpoints(folder)
        kept = [path for path in found if folders.epoch_of(path) <= self.epoch][:MAX_TO_KEEP]
        for path in set(found) - set(kept):
            files.remove(path)

    def restore(self, folder, say: Callable[[str], None] = print) -> bool:
        """Takes on the folder's newest whole checkpoint; returns whether there is one.

        Args:
            folder: a model's folder.
            say: called with a line if a newer one is broken.

        Raises:
            UserError: if there are checkpoints and none is whole and of these settings.
        """
        if not folders.is_trained(folder):
            return False
        self.epoch = _restore_newest(folder, self._variables(), self.config, say)
        return True

    def _variables(self) -> dict:
        optimizer = {f"optimizer.{i}": one for i, one in enumerate(self.optimizer.variables)}
        return {**weights_by_name(self.model), **optimizer}


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
    return TrainingState(config, model, optimizer)


def resume_or_new(folder, config: Config, say: Callable[[str], None] = print) -> TrainingState:
    """The state that the folder's newest whole checkpoint has, or where there is none a new one.

    Args:
        folder: a model's folder.
        config: the settings.
        say: called with a line if a checkpoint is broken.

    Raises:
        UserError: if there are checkpoints and none is whole and of these settings.
    """
    if folders.is_trained(folder):
        _check_units(folder, config)
    state = new_state(config)
    state.restore(folder, say)
    return state


def _check_units(folder, config: Config) -> None:
    """Ends before a model is built of which no checkpoint can be.

    Raises:
        UserError: if no checkpoint has weights of so many units.
    """
    for path in folders.all_checkpoints(folder):
        with contextlib.suppress(Exception), arrays.open_archive(path) as archive:
            arrays.check_units(archive, config.units)
            return
    raise _none_is_whole(folder)


def _restore_newest(folder, variables: dict, config: Config, say) -> int:
    """Assigns to all variables what the newest whole checkpoint has, or to none.

    Returns:
        How many epochs were done.

    Raises:
        UserError: if there is no whole checkpoint of these variables with finite values, or
            the newest is of other settings than `config` but for `num_epochs`.
    """
    paths = []
    # Again, if a training has put others in their place meanwhile.
    while (found := folders.all_checkpoints(folder)) != paths:
        paths = found
        for path in paths:
            try:
                values, epoch = _read(path, variables, config)
            except MismatchError as error:
                raise UserError(f"{path}: {error}") from None
            except Exception:
                # Depending on the byte that is wrong, half a dozen types of error.
                continue
            for name, variable in variables.items():
                variable.assign(values[name])
            if path != paths[0]:
                say(f"{paths[0]} is broken; going back to the checkpoint before it, {path.name}")
            return epoch
    raise _none_is_whole(folder)


def _read(path, variables: dict, config: Config) -> tuple[dict, int]:
    """The values of all variables in a checkpoint, and how many epochs were done.

    Raises:
        MismatchError: if it is of a newer version, or of other settings than `config`.
        Exception: of half a dozen types if it is broken.
    """
    with arrays.open_archive(path) as archive:
        stored = dataclasses.asdict(Config.from_json(arrays.read_config(archive)))
        differences = [
            f"{name} {stored[name]} and not {value}"
            for name, value in dataclasses.asdict(config).items()
            if name != "num_epochs" and stored[name] != value
        ]
        if differences:
            raise MismatchError(
                f"it was made with {', '.join(differences)}, as the configuration beside it says. "
                "Put back the files that belong together, or train with --restart to begin anew"
            )
        values = arrays.read_like(archive, variables)
        epoch = int(arrays.read(archive, EPOCH, np.int64().itemsize))
    if epoch != folders.epoch_of(path) or epoch > MAX_EPOCHS:
        raise ValueError(f"{EPOCH}: not the file's")
    return values, epoch


def _none_is_whole(folder) -> UserError:
    """What to say of a folder in which nothing can be gone on with."""
    if folders.all_checkpoints(folder):
        what = "is broken, of another model, or has weights that are no numbers"
    else:
        what = "is of an earlier version of this project, or parts of it are missing"
    return UserError(f"the checkpoint in {folder} {what}. Train with --restart to begin anew")


def load_model(
    checkpoint_dir, model_name: str, seed: int = 0, say: Callable[[str], None] = print
) -> tuple[keras.Model, Config]:
    """Builds a trained model from its configuration and reads its newest weights.

    Where the model was never trained, the weights that come with the project are read.

    Args:
        checkpoint_dir: the folder of all models' folders.
        model_name: which of them.
        seed: that it was trained with.
        say: called with a line if the weights are those that come with the project, the
            training was stopped before its end, or a file is broken.

    Returns:
        The model, from tokens (B, T) to logits (B, 37), and its configuration.

    Raises:
        UserError: if the model was never trained, or its files are broken.
    """
    config = folders.find_config(checkpoint_dir, model_name, seed, say)
    folder = folders.model_folder(checkpoint_dir, model_name, seed)
    if not folders.is_trained(folder):
        return shipped.load(folders.shipped_path(checkpoint_dir, model_name))
    _check_units(folder, config)
    model = build_model(config)
    epoch = _restore_newest(folder, weights_by_name(model), config, say)
    if epoch < config.num_epochs:
        say(f"{model_name} has been trained for {epoch} of its {config.num_epochs} epochs so far")
    return model, config
