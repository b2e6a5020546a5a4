"""Weights that come with the project: the same as trained, and nothing else is taken."""

import numpy as np
import pytest

from fast_weights import checkpoints, data, folders, shipped
from fast_weights.config import MODEL_NAMES
from fast_weights.errors import UserError


@pytest.fixture
def path(tiny_config, tmp_path):
    """The file of a model with weights of seed 0."""
    path = folders.shipped_path(tmp_path, "RNN-LN-FW")
    shipped.save(path, checkpoints.new_state(tiny_config).model, tiny_config)
    return path


def logits(model):
    return model(data.make(2, 5, 3, 0)[0].tokens).numpy()


@pytest.mark.parametrize("model_name", MODEL_NAMES)
def test_loaded_weights_are_the_saved_ones(tiny, tmp_path, model_name):
    """A weight that is left as the seed of the configuration draws it."""
    model = checkpoints.new_state(tiny(model_name=model_name, seed=1)).model
    path = folders.shipped_path(tmp_path, model_name)
    shipped.save(path, model, tiny(model_name=model_name))
    said = []
    loaded, config = checkpoints.load_model(tmp_path, model_name, say=said.append)
    assert config == tiny(model_name=model_name)
    np.testing.assert_array_equal(logits(loaded), logits(model))
    assert len(said) == 1
    assert f"of 2 epochs. To train your own: python train.py --model_name={model_name}" in said[0]


def test_ones_own_training_takes_their_place(tiny, path, tmp_path):
    state, said = checkpoints.new_state(tiny(seed=1)), []
    folder = folders.model_folder(tmp_path, "RNN-LN-FW")
    folders.save_config(folder, tiny(seed=1))
    state.epoch = 2
    state.save(folder)
    loaded, _ = checkpoints.load_model(tmp_path, "RNN-LN-FW", say=said.append)
    np.testing.assert_array_equal(logits(loaded), logits(state.model))
    assert said == []


def test_another_seed_is_not_there(path, tmp_path):
    with pytest.raises(UserError, match="--seed=3"):
        checkpoints.load_model(tmp_path, "RNN-LN-FW", seed=3)


def rewritten(path, **changes):
    """The file with some arrays replaced or, where `None`, left out."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    arrays = {**arrays, **{name.replace("__", "."): value for name, value in changes.items()}}
    with open(path, "wb") as file:
        np.savez_compressed(file, **{n: a for n, a in arrays.items() if a is not None})


@pytest.mark.parametrize(
    "changes",
    [
        {"rnn__kernel": None},
        {"rnn__kernel": np.zeros((37, 6), "float32")},
        {"rnn__kernel": np.zeros((37, 5))},
        {"rnn__kernel": np.full((37, 5), np.nan, "float32")},
        {"rnn__kernel": np.zeros((37, 5_000), "float32")},
        {"rnn__kernel": np.array([{"an": "object"}])},
        {"config": np.array("{}")},
        {"config": None},
    ],
    ids=lambda changes: str([(n, getattr(a, "shape", a)) for n, a in changes.items()]),
)
def test_anything_else_is_refused(path, changes):
    """A missing weight, another shape or type, numbers gone bad, a pickle, too large a file."""
    rewritten(path, **changes)
    with pytest.raises(UserError, match="holds no weights of this project, or is broken"):
        shipped.load(path)


def test_a_wrong_byte_is_refused_or_harmless(path):
    """A byte that makes another weight; one in a zip's spare field may do nothing."""
    whole = path.read_bytes()
    expected = logits(shipped.load(path)[0])
    for place in range(0, len(whole), len(whole) // 60):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            loaded, _ = shipped.load(path)
        except UserError:
            continue
        np.testing.assert_array_equal(logits(loaded), expected)
