"""Checkpoints: the weights, the optimizer and the number of epochs of a run.

A checkpoint is one `.npz` file, which is written atomically. `tf.train.Checkpoint` writes
several files, so a run that is killed can leave some of them, and its reader can abort the
process on a damaged file.
"""

import dataclasses
import logging

import keras
import numpy as np

from fast_weights.experiment import storage
from fast_weights.experiment.config import Config
from fast_weights.experiment.errors import CorruptFileError, UserError, option
from fast_weights.experiment.models import build_model
from fast_weights.experiment.run_dir import RunDirectory

logger = logging.getLogger(__name__)
# One to resume from, and one to fall back to.
MAX_TO_KEEP = 2


@dataclasses.dataclass
class TrainingState:
    """Everything that training changes, with the settings that it starts from.

    Attributes:
        config: the settings.
        model: from tokens to logits.
        optimizer: built for the model's trainable variables.
        epoch: number of completed epochs.
    """

    config: Config
    model: keras.Model
    optimizer: keras.optimizers.Optimizer
    epoch: int = 0

    def save(self, run_dir: RunDirectory) -> None:
        """Writes a checkpoint and deletes all but the newest `MAX_TO_KEEP`.

        Raises:
            UserError: if the checkpoint cannot be written. The older ones are then unchanged.
        """
        arrays = {
            name: keras.ops.convert_to_numpy(variable)
            for name, variable in self.variables().items()
        }
        storage.write_arrays(run_dir.checkpoint_path(self.epoch), arrays)
        # A checkpoint of a later epoch is corrupt, or training would have resumed from it.
        complete = [epoch for epoch in run_dir.checkpoint_epochs() if epoch <= self.epoch]
        run_dir.keep_checkpoints(complete[:MAX_TO_KEEP])

    def restore(self, run_dir: RunDirectory) -> None:
        """Restores the newest checkpoint that is not corrupt.

        Raises:
            UserError: if all checkpoints are corrupt, or one cannot be read.
        """
        self.epoch = _restore_newest(run_dir, self.variables())

    def variables(self) -> dict:
        """Returns the variables of the model and the optimizer by name."""
        optimizer = {f"optimizer.{i}": one for i, one in enumerate(self.optimizer.variables)}
        return {**_weights(self.model), **optimizer}


def new_state(config: Config, layer: keras.layers.Layer | None = None) -> TrainingState:
    """Returns a model with weights drawn from `config.seed`, a new optimizer, and epoch 0.

    Args:
        config: the settings.
        layer: the recurrent layer, as for `build_model`.
    """
    keras.utils.set_random_seed(config.seed)
    model = build_model(config, layer)
    # The epsilon of TensorFlow 1; Keras's default is 1e-7.
    optimizer = keras.optimizers.Adam(
        _learning_rate(config), epsilon=1e-8, weight_decay=config.weight_decay or None
    )
    if config.weight_decay:
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    optimizer.build(model.trainable_variables)
    return TrainingState(config, model, optimizer)


def _learning_rate(config: Config):
    """Returns the learning rate, or its schedule."""
    if config.learning_rate_schedule == "constant":
        return config.learning_rate
    return keras.optimizers.schedules.CosineDecay(
        0.0 if config.warmup_steps else config.learning_rate,
        config.num_updates - config.warmup_steps,
        warmup_target=config.learning_rate if config.warmup_steps else None,
        warmup_steps=config.warmup_steps,
    )


def load_model(run_dir: RunDirectory, network: str | None = None) -> tuple[keras.Model, Config]:
    """Loads a trained model, or the bundled weights if it has not been trained.

    Args:
        run_dir: the directory of the run.
        network: the setting that the model must have. Default: the run's own, and of bundled
            weights the blog's if there are several.

    Returns:
        The model, from tokens to logits, as `build_model` returns it, and its configuration.

    Raises:
        CorruptFileError: if the configuration is corrupt.
        UserError: if the model has not been trained and no bundled weights have its seed, if
            the run has another network, if a file cannot be read, or if all checkpoints are
            corrupt.

    Example:

    >>> model, config = load_model(RunDirectory("checkpoints", "RNN-LN-FW"))
    >>> tuple(model(np.zeros((2, config.make_task().length), "int32")).shape)
    (2, 37)
    """
    model, config, _ = load_epoch(run_dir, network)
    return model, config


def load_epoch(
    run_dir: RunDirectory, network: str | None = None
) -> tuple[keras.Model, Config, int]:
    """Returns the model, its configuration, and the number of epochs of its checkpoint."""
    found = run_dir.trained_or_bundled(network)
    config = found.read_config()
    if found != run_dir:
        logger.info(
            "%s has no checkpoint in %s; using the bundled weights. To train your own: %s",
            run_dir.model_name,
            run_dir.path.absolute(),
            run_dir.train_command(config.network),
        )
    model = build_model(config)
    epoch = _restore_newest(found, _weights(model))
    if epoch < config.num_epochs:
        logger.info(
            "%s has been trained for %d of its %d epochs",
            config.model_name,
            epoch,
            config.num_epochs,
        )
    return model, config, epoch


def _weights(model: keras.Model) -> dict:
    """Returns a model's weights by names that do not depend on how often it was built."""
    return {f"{layer.name}.{one.name}": one for layer in model.layers for one in layer.weights}


def _restore_newest(run_dir: RunDirectory, variables: dict) -> int:
    """Assigns the values of the newest checkpoint that is not corrupt; returns its epoch."""
    for epoch in run_dir.checkpoint_epochs():
        try:
            values = _read(run_dir.checkpoint_path(epoch), variables)
        except CorruptFileError as error:
            logger.warning("%s; using an earlier checkpoint if there is one", error)
            continue
        for name, variable in variables.items():
            variable.assign(values[name])
        return epoch
    raise UserError(
        f"no checkpoint in {run_dir} can be used. Restore one, or train again with "
        f"{option('restart', True)}"
    )


def _read(path, variables: dict) -> dict[str, np.ndarray]:
    """Returns the values of the variables, checked against the shapes and types of the model."""
    values = storage.read_arrays(path)
    for name, variable in variables.items():
        value = values.get(name)
        if value is None or value.shape != tuple(variable.shape) or value.dtype != variable.dtype:
            raise CorruptFileError(f"{path} does not hold {name} of this model")
        if not np.isfinite(value).all():
            raise CorruptFileError(f"{path} holds values of {name} that are not finite")
    return values
