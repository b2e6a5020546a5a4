"""Trained weights that come with the project: one small file a model, weights alone.

`checkpoints/shipped/<MODEL_NAME>.npz` holds `config`, the settings as JSON, and one
float32 array for each slow weight. There is no optimizer in it: it can be asked and
drawn, not trained on.
"""

import pathlib
import zipfile

import keras
import numpy as np

from fast_weights import arrays, files
from fast_weights.config import Config
from fast_weights.errors import UserError
from fast_weights.models import build_model

CONFIG = "config"
MAX_CONFIG_BYTES = 100_000


def shipped_path(checkpoint_dir, model_name: str) -> pathlib.Path:
    """Where the weights of a model lie that come with the project."""
    return pathlib.Path(checkpoint_dir) / "shipped" / f"{model_name}.npz"


def save(path, model: keras.Model, config: Config) -> None:
    """Writes the weights of a trained model and its configuration.

    Raises:
        UserError: if the file cannot be written.
    """
    path = pathlib.Path(path)
    arrays = {name: keras.ops.convert_to_numpy(weight) for name, weight in _weights(model).items()}
    try:
        with files.replacing(path) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, **{CONFIG: np.array(config.to_json()), **arrays})
    except OSError as error:
        raise UserError(f"cannot write weights to {path}: {error.strerror}") from None


def load(path) -> tuple[keras.Model, Config]:
    """Reads what `save` wrote and checks it.

    Returns:
        The model, from tokens (B, T) to logits (B, 37), and its configuration.

    Raises:
        UserError: if the file cannot be read, or holds anything but the finite weights of
            the model that its configuration describes.
    """
    try:
        with zipfile.ZipFile(path) as file:
            config = Config.from_json(str(arrays.read(file, CONFIG, MAX_CONFIG_BYTES)))
            model = build_model(config)
            for name, weight in _weights(model).items():
                array = arrays.read(file, name, 4 * int(np.prod(weight.shape)))
                if array.shape != tuple(weight.shape) or array.dtype != np.float32:
                    raise ValueError(name)
                if not np.isfinite(array).all():
                    raise ValueError(name)
                weight.assign(array)
    except Exception as error:
        # Depending on the byte that is wrong, half a dozen types from three libraries.
        raise UserError(
            f"{path} holds no weights of this project, or is broken. "
            f"Get it anew (git checkout {path}), or train a model of your own: python train.py"
        ) from error
    return model, config


def _weights(model) -> dict:
    """The model's weights by a name that does not depend on how it was built."""
    return {f"{layer.name}.{one.name}": one for layer in model.layers for one in layer.weights}
