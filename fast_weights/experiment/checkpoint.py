"""Checkpoints: the weights and the optimizer of a run after an epoch, and models made from them.

A checkpoint is one `.npz` file, which is written atomically. `tf.train.Checkpoint` writes
several files, so a run that is killed can leave some of them, and its reader can abort the
process on a damaged file.
"""

import logging

import keras
import numpy as np

from fast_weights.experiment import storage
from fast_weights.experiment.config import Config
from fast_weights.experiment.errors import CorruptFileError, UserError, option
from fast_weights.experiment.models import build_model
from fast_weights.experiment.run_dir import (
    RunDirectory,
    checkpoint_epochs,
    checkpoint_path,
)

logger = logging.getLogger(__name__)


# The array that holds the settings, as bytes of JSON. A user can edit `config.json`.
SETTINGS = "settings"


def save(
    directory, model: keras.Model, epoch: int, max_to_keep: int, config: Config | None = None
) -> None:
    """Writes a checkpoint after `epoch` epochs, and deletes all but the newest `max_to_keep`.

    With a `config`, the checkpoint can be used only with these settings.
    """
    arrays = {
        name: keras.ops.convert_to_numpy(variable) for name, variable in variables_of(model).items()
    }
    if config:
        arrays[SETTINGS] = np.frombuffer(config.to_json().encode(), np.uint8)
    storage.write_arrays(checkpoint_path(directory, epoch), arrays)
    # Checkpoints of later epochs are corrupt, or training would have resumed from them.
    kept = [one for one in checkpoint_epochs(directory) if one <= epoch][:max_to_keep]
    for one in checkpoint_epochs(directory):
        if one not in kept:
            # Windows does not delete a file that another program, such as `test.py`, is reading.
            # It is deleted after a later epoch.
            storage.delete(checkpoint_path(directory, one), skip_open_file=True)


def restore_newest(directory, model: keras.Model, config: Config | None = None) -> int:
    """Restores weights and optimizer from the newest checkpoint that is not corrupt.

    Args:
        directory: the directory of the checkpoints.
        model: a built and compiled model. Its weights are matched by the names of the layers.
        config: the settings, which must be those of the checkpoint. Default: any.

    Returns:
        The number of epochs of the checkpoint, for `initial_epoch` of `fit`. 0 if there is no
        checkpoint.

    Raises:
        UserError: if all checkpoints are corrupt, or the newest is of another model or has other
            settings.
    """
    return _restore_newest(directory, variables_of(model), config)


def variables_of(model: keras.Model) -> dict:
    """Returns the variables of a model and its optimizer, by name.

    Their values, the settings and the number of completed epochs determine the rest of a training.
    Among them are the states of the seed generators that dropout uses.
    """
    if not model.built or model.optimizer is None:
        raise UserError(
            "`model` must be built and compiled before a checkpoint is saved or restored. Call "
            f"`model.build` and `model.compile` first. Received: model={model.name}"
        )
    if not model.optimizer.built:  # Keras would build it in the first update
        model.optimizer.build(model.trainable_variables)
    optimizer = {f"optimizer.{i}": one for i, one in enumerate(model.optimizer.variables)}
    return {**_variables(model), **optimizer}


def save_model(run_dir: RunDirectory, model: keras.Model, config: Config) -> None:
    """Saves a model that `fit` has trained, for `load_model`, `test.py` and `plot.py`.

    Args:
        run_dir: a directory without a run.
        model: as `build_model(config)` returns it, trained for `config.num_epochs` epochs.
        config: the settings.

    Raises:
        UserError: if there is a run in the directory, or another process trains in it.
    """
    with run_dir.lock():
        if run_dir.is_trained:
            raise UserError(
                "the model needs a directory without a run. Choose another "
                f"{option('checkpoint_dir')}. Received: {run_dir}"
            )
        run_dir.write_config(config)
        save(run_dir.path, model, config.num_epochs, 1, config)


def initialize(model: keras.Model, directory) -> None:
    """Sets the weights of a model that has not been trained to those of another run.

    Weights whose shapes differ, for example because of another vocabulary, keep their values.

    Raises:
        UserError: if the directory has no checkpoint, or no weight has the same name and shape.
    """
    if not (epochs := checkpoint_epochs(directory)):
        raise UserError(
            f"{option('init_from')} must be a directory with a checkpoint. Received: {directory}"
        )
    values, variables = (
        storage.read_arrays(checkpoint_path(directory, epochs[0])),
        _variables(model),
    )
    fitting = {
        name: one
        for name, one in variables.items()
        if name in values and values[name].shape == tuple(one.shape)
    }
    if not fitting:
        raise UserError(
            f"{option('init_from')} must be a run with a weight of the same name and shape as in "
            f"this model. Choose a run of the same model. Received: {directory}"
        )
    for name, variable in fitting.items():
        variable.assign(values[name])
    others = ", ".join(sorted(variables.keys() - fitting.keys())) or "none"
    logger.info("Weights from %s. Left at their initial values: %s", directory, others)


def load_model(run_dir: RunDirectory, network: str | None = None) -> tuple[keras.Model, Config]:
    """Loads a trained model, or the bundled weights if it has not been trained.

    Args:
        run_dir: the directory of the run.
        network: `"blog"` or `"paper"`, which the model must have. Default: either. If both have
            bundled weights, those of the blog's network are loaded.

    Returns:
        The model, from tokens to logits, as `build_model` returns it, and its configuration.

    Raises:
        CorruptFileError: if the configuration is corrupt.
        UserError: if the model has not been trained and no bundled weights have its seed, if
            the run has another network, or if all checkpoints are corrupt.

    Example:

    >>> model, config = load_model(RunDirectory("checkpoints", "RNN-LN-FW"))
    >>> config.num_epochs
    1000
    """
    model, config, _ = load_epoch(run_dir, network)
    return model, config


def load_epoch(
    run_dir: RunDirectory, network: str | None = None
) -> tuple[keras.Model, Config, int]:
    """Returns the results of `load_model` and the number of epochs that the model was trained."""
    check_float32()
    found = run_dir.trained_or_bundled(network)
    config = found.read_config()
    if found != run_dir:
        logger.info(
            "%s has no checkpoint in %s: using bundled weights. To train your own: %s",
            run_dir.model_name,
            run_dir.path.absolute(),
            run_dir.train_command(config.network),
        )
    model = build_model(config)
    epoch = _restore_newest(found.path, _variables(model), config)
    if epoch < config.num_epochs:
        logger.info(
            "%s has been trained for %d of its %d epochs",
            config.model_name,
            epoch,
            config.num_epochs,
        )
    return model, config, epoch


def check_float32() -> None:
    """Raises a `UserError` if Keras uses another float type, which a run does not record."""
    names = {"floatx": keras.config.floatx(), "dtype_policy": keras.config.dtype_policy().name}
    wrong = [f"{name}={value}" for name, value in names.items() if value != "float32"]
    if wrong:
        raise UserError(
            "runs are trained and loaded in float32. Call keras.config.set_floatx('float32') and "
            f"keras.config.set_dtype_policy('float32') first. Received: {', '.join(wrong)}"
        )


def _variables(model: keras.Model) -> dict:
    """Returns a model's variables by names that do not depend on how often it was built."""
    found: dict = {}
    for owner in (*model.layers, model):  # a subclass of `keras.Model` can have weights of its own
        for one in owner.variables:
            if any(one is other for other in found.values()):
                continue
            name = f"{owner.name}.{one.name}"
            # A layer of layers, such as `Bidirectional`, has several weights of one name.
            found[f"{name}.{len(found)}" if name in found else name] = one
    return found


def _restore_newest(directory, variables: dict, config: Config | None) -> int:
    """Assigns the values of the newest checkpoint that is not corrupt; returns its epoch."""
    epochs = checkpoint_epochs(directory)
    for epoch in epochs:
        try:
            values = _read(checkpoint_path(directory, epoch), variables, config)
        except CorruptFileError as error:
            logger.warning("%s; using an earlier checkpoint if there is one", error)
            continue
        for name, value in values.items():
            variables[name].assign(value)
        return epoch
    if not epochs:
        return 0
    raise UserError(
        f"all checkpoints in {directory} are corrupt. Restore one, or train again with "
        f"{option('restart', True)} or in another directory"
    )


def _read(path, variables: dict, config: Config | None) -> dict[str, np.ndarray]:
    """Returns the values of the variables, checked against the settings and the model."""
    values, found = storage.read_arrays(path), {}
    if config and SETTINGS in values:
        saved = Config.from_json(values[SETTINGS].tobytes().decode())
        if names := saved.differences(config):
            changes = [f"{one}={getattr(config, one)}, not {getattr(saved, one)}" for one in names]
            raise UserError(
                f"{path} was saved with other settings than those in config.json. Restore "
                f"config.json, or train in another directory. Received: {'; '.join(changes)}"
            )
    for name, variable in variables.items():
        value = values.get(name)
        # Keras's GRU has a seed generator without dropout, too. Older files lack its state.
        if value is None and name.endswith("seed_generator_state"):
            continue
        if value is None or value.shape != tuple(variable.shape) or value.dtype != variable.dtype:
            raise UserError(
                f"{path} does not hold {name} of this model. Restore the settings of the run in "
                "config.json. In a model of your own, give each layer a name: Keras gives unnamed "
                "layers other numbers when they are built again"
            )
        if not np.isfinite(value).all():
            raise CorruptFileError(f"{path} holds values of {name} that are not finite")
        found[name] = value
    return found
