"""Trained weights that come with the project: one small file a model, weights alone.

`checkpoints/shipped/<MODEL_NAME>.npz` holds `config`, the settings as JSON, and one
float32 array for each slow weight. There is no optimizer in it: it can be asked and
drawn, not trained on.
"""

import keras
import numpy as np

from fast_weights import arrays, folders
from fast_weights.config import Config
from fast_weights.errors import MismatchError, UserError
from fast_weights.models import build_model, weights_by_name


def save(path, model: keras.Model, config: Config) -> None:
    """Writes the weights of a trained model and its configuration.

    Raises:
        UserError: if the file cannot be written.
    """
    weights = {n: keras.ops.convert_to_numpy(one) for n, one in weights_by_name(model).items()}
    try:
        arrays.save(path, {arrays.CONFIG: np.array(config.to_json()), **weights})
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
        with arrays.open_archive(path) as archive:
            config = Config.from_json(arrays.read_config(archive))
            arrays.check_units(archive, config.units)
            model = build_model(config)
            weights = weights_by_name(model)
            for name, value in arrays.read_like(archive, weights).items():
                weights[name].assign(value)
    except MismatchError as error:
        raise UserError(f"{path}: {error}") from None
    except Exception as error:
        # Depending on the byte that is wrong, half a dozen types from three libraries.
        raise UserError(folders.BROKEN_SHIPPED.format(path=path)) from error
    return model, config
