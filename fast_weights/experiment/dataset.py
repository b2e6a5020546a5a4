"""The sequences of a run on disk, in a file that is named after the settings that decide them."""

import json
import logging
import pathlib
import time

import numpy as np

from fast_weights.experiment import storage, task
from fast_weights.experiment.config import Config
from fast_weights.experiment.errors import CorruptFileError, UserError
from fast_weights.experiment.task import Split

logger = logging.getLogger(__name__)
# The settings that decide the sequences.
SETTINGS = ("num_pairs", "num_training", "num_validation", "seed")
_REMEDY = "Delete the file to generate it again, or choose another --data_dir"


def load_or_generate(data_dir, config: Config) -> tuple[Split, Split]:
    """Loads the sequences of a configuration, or generates and saves them.

    Args:
        data_dir: the directory of data files. It is created if it is missing.
        config: the settings. `num_pairs`, `num_training`, `num_validation` and `seed` decide
            the sequences.

    Returns:
        The training and the validation `Split`.

    Raises:
        CorruptFileError: if the file is corrupt, or an array in it has a wrong shape or type,
            or values that are not tokens.
        UserError: if the file cannot be read or written, or belongs to other settings.
    """
    path = data_path(data_dir, config)
    if storage.exists(path):
        return _load(path, config)
    start = time.perf_counter()
    training, validation = generate(config)
    _save(path, training, validation, config)
    logger.info(
        "Generated %s training and %s validation sequences in %.1f s: %s",
        f"{config.num_training:,}",
        f"{config.num_validation:,}",
        time.perf_counter() - start,
        path,
    )
    return training, validation


def data_path(data_dir, config: Config) -> pathlib.Path:
    """Returns the path of the data file, which names all `SETTINGS`."""
    name = (
        f"associative-retrieval-{config.num_pairs}-pairs-{config.num_training}-training-"
        f"{config.num_validation}-validation-seed-{config.seed}.npz"
    )
    return pathlib.Path(data_dir) / name


def generate(config: Config) -> tuple[Split, Split]:
    """Draws the training and the validation split from independent streams of one seed."""
    streams = np.random.SeedSequence(config.seed).spawn(2)
    training, validation = (
        task.generate(size, config.num_pairs, np.random.default_rng(stream))
        for size, stream in zip((config.num_training, config.num_validation), streams, strict=True)
    )
    return training, validation


def _save(path, training: Split, validation: Split, config: Config) -> None:
    storage.write_arrays(
        path,
        {
            "settings": np.array(json.dumps({name: getattr(config, name) for name in SETTINGS})),
            "training_tokens": training.tokens,
            "training_targets": training.targets,
            "validation_tokens": validation.tokens,
            "validation_targets": validation.targets,
        },
    )


def _load(path, config: Config) -> tuple[Split, Split]:
    """Returns the splits of a data file, checked against the configuration."""
    try:
        arrays = storage.read_arrays(path)
    except CorruptFileError as error:
        raise CorruptFileError(f"{error}. {_REMEDY}") from error
    try:
        settings = json.loads(str(arrays["settings"]))
        found = {name: settings[name] for name in SETTINGS}
        splits = [
            Split(arrays[f"{split}_tokens"], arrays[f"{split}_targets"])
            for split in ("training", "validation")
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptFileError(f"{path} is not a data file: {error!r:.80}. {_REMEDY}") from error
    differences = [
        f"{name}={found[name]!r:.20} instead of {getattr(config, name)}"
        for name in SETTINGS
        if found[name] != getattr(config, name)
    ]
    if differences:
        raise UserError(f"{path} was generated with {', '.join(differences)}. {_REMEDY}")
    sizes = (config.num_training, config.num_validation)
    for split, size in zip(splits, sizes, strict=True):
        _check_split(path, split, size, config.sequence_length)
    training, validation = splits
    return training, validation


def _check_split(path, split: Split, size: int, length: int) -> None:
    """Raises a `CorruptFileError` unless a split has `size` sequences of `length` tokens."""
    shapes = (split.tokens.shape, split.targets.shape)
    if shapes != ((size, length), (size,)):
        raise CorruptFileError(f"{path} holds arrays of wrong shapes: {shapes}. {_REMEDY}")
    for array in split:
        if array.dtype != np.uint8 or (array >= task.NUM_CLASSES).any():
            raise CorruptFileError(f"{path} holds values other than tokens 0 to 36. {_REMEDY}")
