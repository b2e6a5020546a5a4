"""Data files: generated once, and refused if they hold anything else."""

import dataclasses
import logging

import numpy as np
import pytest

from fast_weights.experiment import dataset, storage
from fast_weights.experiment.config import Config
from fast_weights.experiment.errors import CorruptFileError, UserError
from fast_weights.experiment.tasks.associative_retrieval import AssociativeRetrieval

CONFIG = Config(num_pairs=2, num_training=7, num_validation=5, batch_size=5, seed=3)


def assert_equal(one, other):
    """Checks that two pairs of splits hold the same sequences."""
    for split, expected in zip(one, other, strict=True):
        np.testing.assert_array_equal(split.tokens, expected.tokens)
        np.testing.assert_array_equal(split.targets, expected.targets)


@pytest.fixture
def path(tmp_path):
    """A data file of `CONFIG`."""
    dataset.load_or_generate(tmp_path, CONFIG)
    return dataset.data_path(tmp_path, CONFIG)


def test_streams_of_a_seed_are_independent_and_reproducible():
    """Catches validation sequences that repeat the training ones or depend on their number."""
    config = Config(num_training=400, num_validation=400, seed=1)
    training, validation, _ = dataset.generate(config)
    assert (training.tokens != validation.tokens).any(axis=1).mean() > 0.99
    same = dataset.generate(dataclasses.replace(config, num_training=900)).validation
    assert_equal([validation], [same])
    other = dataset.generate(dataclasses.replace(config, seed=2)).training
    assert (training.tokens != other.tokens).any(axis=1).mean() > 0.99
    assert_equal([training], dataset.generate(dataclasses.replace(config, seed=2, data_seed=1))[:1])


def test_task_knows_the_split(monkeypatch):
    """Catches a task that reads the data of another split."""
    seen = []
    monkeypatch.setattr(AssociativeRetrieval, "generate", lambda self, *_: seen.append(self.split))
    dataset.generate(CONFIG)
    assert seen == ["training", "validation", "test"]


def test_missing_data_is_generated_once(tmp_path, caplog):
    """Catches a file that is generated again, or that holds other sequences than were used."""
    caplog.set_level(logging.INFO)
    generated = dataset.load_or_generate(tmp_path / "new", CONFIG)
    loaded = dataset.load_or_generate(tmp_path / "new", CONFIG)
    assert_equal(generated, dataset.generate(CONFIG))
    assert_equal(loaded, generated)
    (record,) = caplog.records
    assert str(dataset.data_path(tmp_path / "new", CONFIG)) in record.getMessage()


@pytest.mark.parametrize(
    "change", ["num_pairs", "num_training", "num_validation", "seed", "data_seed"]
)
def test_other_settings_have_another_file(path, change):
    """Catches a trial with fewer sequences whose file stops the next run."""
    other = dataclasses.replace(CONFIG, **{change: (getattr(CONFIG, change) or 0) + 1})
    assert_equal(dataset.load_or_generate(path.parent, other), dataset.generate(other))
    assert_equal(dataset.load_or_generate(path.parent, CONFIG), dataset.generate(CONFIG))


def test_corrupt_data_is_refused(path):
    """Catches training on the rest of a damaged file, and on a file of something else."""
    content = path.read_bytes()
    path.write_bytes(content[:-100])
    with pytest.raises(CorruptFileError, match=path.name):
        dataset.load_or_generate(path.parent, CONFIG)
    storage.write_arrays(path, {"training_tokens": np.zeros((7, 7))})
    with pytest.raises(CorruptFileError, match=path.name):
        dataset.load_or_generate(path.parent, CONFIG)


def test_file_of_an_earlier_version_is_loaded(path):
    """Catches an existing file that is refused: it has the settings, and no empty test split."""
    arrays = storage.read_arrays(path)
    del arrays["test_tokens"], arrays["test_targets"]
    storage.write_arrays(path, {"settings": np.array("{}"), **arrays})
    assert_equal(dataset.load_or_generate(path.parent, CONFIG), dataset.generate(CONFIG))


@pytest.mark.parametrize(
    ("name", "part"), [("training_tokens", np.s_[:, 1:]), ("validation_targets", np.s_[:3])]
)
def test_arrays_of_other_shapes_are_refused(path, name, part):
    """Catches a renamed file, whose number of sequences or their length is another."""
    arrays = storage.read_arrays(path)
    storage.write_arrays(path, {**arrays, name: arrays[name][part]})
    with pytest.raises(UserError, match=path.name):
        dataset.load_or_generate(path.parent, CONFIG)


def test_data_of_an_edited_task_is_refused(path, monkeypatch):
    """Catches training on the sequences that a task drew before someone changed it."""
    draw = AssociativeRetrieval.generate

    def edited(task, num_sequences, rng):
        split = draw(task, num_sequences, rng)
        return split._replace(targets=split.tokens[:, 1])

    monkeypatch.setattr(AssociativeRetrieval, "generate", edited)
    with pytest.raises(UserError, match=path.name):
        dataset.load_or_generate(path.parent, CONFIG)
