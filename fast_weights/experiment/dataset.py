"""The sequences of a run on disk, in a file that is named after the settings that decide them."""

import json
import logging
import pathlib
import time

import numpy as np

from fast_weights.experiment import storage
from fast_weights.experiment.config import Config
from fast_weights.experiment.errors import CorruptFileError, UserError, option
from fast_weights.experiment.tasks import NO_ANSWER, Split, Splits, Task

logger = logging.getLogger(__name__)
NUM_PROBES = 16
_REMEDY = f"Delete the file to generate it again, or choose another {option('data_dir')}"


def load_or_generate(data_dir: str | pathlib.Path, config: Config) -> Splits:
    """Loads the sequences of a configuration, or generates and saves them.

    Args:
        data_dir: the directory of data files. It is created if it is missing.
        config: the settings.

    Returns:
        The training, the validation and the test `Split`. The last is empty if `num_test` is 0.

    Raises:
        CorruptFileError: if the file is corrupt, or an array in it has a wrong shape or type, or
            contains values that are not tokens.
        UserError: if the file cannot be read or written, or belongs to other settings or to
            another version of the task.
    """
    path = data_path(data_dir, config)
    if path.exists():
        return _load(path, config)
    start = time.perf_counter()
    splits = generate(config)
    _save(path, splits, config)
    sizes = [
        f"{len(split.targets):,} {name}"
        for name, split in splits._asdict().items()
        if len(split.targets)
    ]
    logger.info(
        "Generated %s sequences in %.1f s: %s",
        " and ".join([", ".join(sizes[:-1]), sizes[-1]]),
        time.perf_counter() - start,
        path,
    )
    return splits


def data_path(data_dir, config: Config) -> pathlib.Path:
    """Returns the path of the data file, which names all settings that decide the sequences."""
    parts = []
    for name, value in _settings(config).items():
        words = name.removeprefix("num_").replace("_", "-")
        parts.append(f"{value}-{words}" if name.startswith("num_") else f"{words}-{value}")
    return pathlib.Path(data_dir, f"{config.task}-{'-'.join(parts)}.npz")


def _settings(config: Config) -> dict[str, int]:
    """Returns the settings that decide the sequences of a task, without those left at `None`."""
    given = {name: getattr(config, name) for name in config.make_task().settings}
    return {
        **{name: value for name, value in given.items() if value is not None},
        "num_training": config.num_training,
        "num_validation": config.num_validation,
        **({"num_test": config.num_test} if config.num_test else {}),
        "seed": config.seed if config.data_seed is None else config.data_seed,
    }


def generate(config: Config) -> Splits:
    """Returns the splits, from independent streams of one seed."""
    task = config.make_task()
    streams = np.random.SeedSequence(_settings(config)["seed"]).spawn(3)
    return Splits(
        *(
            task.generate(size, np.random.default_rng(stream))
            for size, stream in zip(_sizes(config), streams, strict=True)
        )
    )


def _sizes(config: Config) -> tuple[int, int, int]:
    """Returns the numbers of sequences of the splits."""
    return config.num_training, config.num_validation, config.num_test


def _probe(config: Config) -> Split:
    """Returns a few sequences, to detect a data file from another version of the task."""
    return config.make_task().generate(NUM_PROBES, np.random.default_rng(0))


def _save(path, splits: Splits, config: Config) -> None:
    named = {**splits._asdict(), "probe": _probe(config)}
    storage.write_arrays(
        path,
        {
            "settings": np.array(json.dumps(_settings(config))),
            **{f"{name}_tokens": split.tokens for name, split in named.items()},
            **{f"{name}_targets": split.targets for name, split in named.items()},
        },
    )


def _load(path, config: Config) -> Splits:
    """Returns the splits of a data file, checked against the configuration."""
    try:
        arrays = storage.read_arrays(path)
    except CorruptFileError as error:
        raise CorruptFileError(f"{error}. {_REMEDY}") from error
    expected = _settings(config)
    if not config.num_test:  # a file without test sequences, or of a version without them
        empty = config.make_task().generate(0, np.random.default_rng(0))
        arrays = {"test_tokens": empty.tokens, "test_targets": empty.targets, **arrays}
    try:
        settings = json.loads(str(arrays["settings"]))
        found = {name: settings[name] for name in expected}
        *splits, probe = (
            Split(arrays[f"{name}_tokens"], arrays[f"{name}_targets"])
            for name in (*Splits._fields, "probe")
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptFileError(f"{path} is not a data file: {error!r:.80}. {_REMEDY}") from error
    differences = [
        f"{name}={found[name]!r:.20} instead of {value}"
        for name, value in expected.items()
        if found[name] != value
    ]
    if differences:
        raise UserError(f"{path} was generated with {', '.join(differences)}. {_REMEDY}")
    if not all(map(np.array_equal, probe, _probe(config))):
        raise UserError(f"{path} was generated by another version of {config.task}. {_REMEDY}")
    for split, size in zip(splits, _sizes(config), strict=True):
        _check_split(path, split, size, config.make_task())
    return Splits(*splits)


def _check_split(path, split: Split, size: int, task: Task) -> None:
    """Raises a `CorruptFileError` unless a split has `size` sequences of the task's tokens."""
    shape = (size, task.length)
    expected = (shape, shape[:1] if task.answers_at_end else shape)
    shapes = (split.tokens.shape, split.targets.shape)
    if shapes != expected:
        raise CorruptFileError(f"{path} has arrays of the wrong shapes: {shapes}. {_REMEDY}")
    lowest = 0 if task.answers_at_end else NO_ANSWER
    for array, low in zip(split, (0, lowest), strict=True):
        is_integer = np.issubdtype(array.dtype, np.integer)
        if not is_integer or (array < low).any() or (array >= len(task.vocabulary)).any():
            raise CorruptFileError(f"{path} contains values that are not tokens. {_REMEDY}")
