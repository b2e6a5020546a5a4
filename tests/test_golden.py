"""The port, compared with numbers that the original graph computed.

Both sides are float32 and sum in different orders. Losses, norms, logits and gradients agree to
1e-5 relative (norms after updates to 2e-5), entries that cancel to 1e-6 of the largest in their
array. Adam divides a gradient by its own size, so an entry whose gradient is at the level of
rounding moves up to `learning_rate` in either direction, however exact the port is. Trained
weights therefore agree to 2e-3 of the farthest that Adam can have moved them, which is 1e-5
absolute. The largest difference seen was 6e-4.
"""

import dataclasses
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from processes import OPTIMIZED, ROOT, records, run, run_directory

from fast_weights import FastWeightsCell
from fast_weights.experiment import results
from fast_weights.experiment.blocks import BlockModel
from fast_weights.experiment.config import Config
from fast_weights.experiment.models import BLOG_MODELS, build_model

RTOL_LOSS, RTOL_NORM, ERROR_WEIGHT = 1e-5, 2e-5, 2e-3
# Our name of each recorded weight and setting.
NAMES = {
    "decay": "decay_rate",
    "ln_epsilon": "epsilon",
    "input_kernel": "kernel",
    "input_bias": "bias",
    "recurrent_kernel": "recurrent_kernel",
    "ln_gain": "gamma",
    "ln_bias": "beta",
    "reset_gain": "reset_gamma",
    "reset_bias": "reset_beta",
    "update_gain": "update_gamma",
    "update_bias": "update_beta",
    "output_kernel": "logits/kernel",
    "output_bias": "logits/bias",
}


def load(path):
    """Returns the configuration and the arrays of a file."""
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    recorded = json.loads(str(arrays.pop("config")))
    del recorded["steps"]
    return Config(**{NAMES.get(name, name): value for name, value in recorded.items()}), arrays


def in_our_layout(arrays, prefix, config):
    """Returns recorded weights or gradients by our names."""
    found = {
        name.removeprefix(prefix): value
        for name, value in arrays.items()
        if name.startswith(prefix)
    }
    ours = {}
    if config.model_name == "GRU-LN":
        # Recorded: inputs above the state, reset beside update. Ours: inputs and state apart,
        # the candidate beside the gates, the update gate only where it is used.
        used = slice(config.units if config.gates == "original" else None)
        kernels = found.pop("gate_kernel")[:, used], found.pop("candidate_kernel")
        kernel = np.concatenate(kernels, axis=1)
        bias = found.pop("gate_bias")[used], found.pop("candidate_bias")
        features = len(kernel) - config.units
        ours["kernel"], ours["recurrent_kernel"] = kernel[:features], kernel[features:]
        ours["bias"] = np.concatenate(bias)
    return ours | {NAMES[name]: value for name, value in found.items()}


def variables(model):
    """Returns the variables by name; those of the last layer with its name before theirs."""
    return {
        variable.path if variable.path.startswith("logits") else variable.name: variable
        for variable in model.trainable_variables
    }


def model_with(config, arrays, kind="layer"):
    """Returns a compiled model with the recorded weights.

    Args:
        config: the settings.
        arrays: those of a file.
        kind: "layer" for the layer of `train.py`, or "cell" for `FastWeightsCell`.
    """
    layer = None
    if kind == "cell":
        names = ("units", "inner_steps", "decay_rate", "fast_learning_rate", "epsilon")
        cell = FastWeightsCell(**{name: getattr(config, name) for name in names})
        layer = keras.layers.RNN(cell, name="rnn")
    model = build_model(config, layer)
    weights = in_our_layout(arrays, "weight/", config)
    assert weights.keys() == variables(model).keys()
    for name, variable in variables(model).items():
        variable.assign(weights[name])
    return model


def assert_close(ours, recorded, name):
    atol = 1e-6 * np.abs(recorded).max()
    np.testing.assert_allclose(ours, recorded, rtol=1e-5, atol=atol, err_msg=name)


def test_first_batch(golden_path):
    """Catches a forward pass, a loss or a gradient that differs from the original's."""
    config, arrays = load(golden_path)
    tokens, targets = tf.constant(arrays["inputs"][0]), tf.constant(arrays["targets"][0])
    recorded = in_our_layout(arrays, "gradient/", config)
    for kind in ("layer", "cell") if config.model_name == "RNN-LN-FW" else ("layer",):
        model = model_with(config, arrays, kind)
        with tf.GradientTape() as tape:
            logits = model(tokens)
            loss = model.compute_loss(tokens, targets, logits)
        gradients = tape.gradient(loss, [one.value for one in variables(model).values()])
        assert_close(logits, arrays["logits"], "logits")
        assert_close(loss, arrays["loss"], "loss")
        assert_close(tf.linalg.global_norm(gradients), arrays["gradient_norm"], "norm")
        for name, gradient in zip(variables(model), gradients, strict=True):
            assert_close(gradient, recorded[name], f"gradient of {name}")
    if config.model_name == "GRU-LN" and config.gates == "original":
        # Our cell leaves out weights that the original has and does not use.
        assert not arrays["gradient/gate_kernel"][:, config.units :].any()


def test_training_steps(golden_path):
    """Catches another optimizer, clipping or order of updates in the training of `train.py`."""
    config, arrays = load(golden_path)
    steps = len(arrays["targets"])
    before = in_our_layout(arrays, "weight/", config)
    after = in_our_layout(arrays, "trained/", config)
    model = model_with(config, arrays)
    # Each epoch is one block of one batch, so that the history has the results of each update.
    blocks = tf.data.Dataset.from_tensor_slices((arrays["inputs"], arrays["targets"])).batch(1)
    trained = BlockModel(model, config.make_task().num_groups)
    # To compile all would take most of the time.
    trained.run_eagerly = golden_path.stem not in ("gru_ln", "rnn_ln_fw_s1")
    history = trained.fit(blocks, epochs=steps, steps_per_epoch=1, verbose=0).history
    np.testing.assert_allclose(history["loss"], arrays["train_losses"], rtol=RTOL_LOSS)
    norms = arrays["train_gradient_norms"]
    np.testing.assert_allclose(history["gradient_norm"], norms, rtol=RTOL_NORM)
    np.testing.assert_allclose(history["accuracy"], arrays["train_accuracies"], rtol=1e-6)
    for name, variable in variables(model).items():
        moved = variable.numpy() - before[name]
        error = np.abs(moved - (after[name] - before[name])).max()
        assert error < ERROR_WEIGHT * config.learning_rate * steps, name


@pytest.mark.slow
@pytest.mark.parametrize("model_name", BLOG_MODELS)
def test_first_epochs_equal_the_committed_records(tmp_path, model_name):
    """Catches any change of the numbers of a run: data, initial weights, order, arithmetic."""
    flags = (f"--model_name={model_name}", "--num_epochs=20", "--quiet")
    run("train.py", tmp_path, *flags, env=OPTIMIZED)
    committed = results.read(ROOT / f"docs/results/{model_name}-seed0.jsonl")[:20]
    expected = [dataclasses.replace(record, seconds=0) for record in committed]
    assert records(run_directory(tmp_path, model_name)) == expected
