"""Trained weights that come with the project: one small file a model, weights alone.

`checkpoints/shipped/<MODEL_NAME>.npz` holds `config`, the settings as JSON, and one
float32 array for each slow weight. There is no optimizer in it: it can be asked and
drawn, not trained on.
"""

import io
import os
import pathlib
import zipfile

import keras
import numpy as np

from fast_weights.config import Config
from fast_weights.errors import UserError
from fast_weights.models import build_model

CONFIG = "config"
MAX_CONFIG_BYTES = 100_000
# Of a zip member's header, beside the array.
MAX_HEADER_BYTES = 1_000


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
    temporary = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            np.savez_compressed(file, **{CONFIG: np.array(config.to_json()), **arrays})
        os.replace(temporary, path)
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
            config = Config.from_json(str(_member(file, CONFIG, MAX_CONFIG_BYTES)))
            model = build_model(config)
            for name, weight in _weights(model).items():
                array = _member(file, name, 4 * int(np.prod(weight.shape)) + MAX_HEADER_BYTES)
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


def _member(file: zipfile.ZipFile, name: str, max_bytes: int) -> np.ndarray:
    """An array of the file, of no more than so many bytes, checked against its CRC."""
    if file.getinfo(f"{name}.npy").file_size > max_bytes:
        raise ValueError(name)
    return np.lib.format.read_array(io.BytesIO(file.read(f"{name}.npy")), allow_pickle=False)
