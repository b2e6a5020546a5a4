"""The port against numbers computed by the original graph.

Both sides are float32 and sum in different orders. Losses, norms, logits and
gradients agree to 1e-5 relative (norms after updates to 2e-5), entries that
cancel to 1e-6 of their array's largest. Adam divides a gradient by its own
size: an entry whose gradient is at the level of rounding moves up to
`learning_rate` either way however exact the port is. So trained weights agree
to 2e-3 of the farthest that Adam can have moved them, which is 1e-5 absolute;
seen on the machine this was written on: 6e-4.
"""

import json

import numpy as np
import tensorflow as tf

from fast_weights import checkpoints, training
from fast_weights.config import Config

RTOL_LOSS, RTOL_NORM, ERROR_WEIGHT = 1e-5, 2e-5, 2e-3

NAMES = {
    "input_kernel": "kernel",
    "input_bias": "bias",
    "recurrent_kernel": "recurrent_kernel",
    "ln_gain": "gamma",
    "ln_bias": "beta",
    "reset_gain": "reset_gamma",
    "reset_bias": "reset_beta",
    "update_gain": "update_gamma",
    "update_bias": "update_beta",
}


def load(path):
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    recorded = json.loads(str(arrays.pop("config")))
    config = Config(
        model_name=recorded["model_name"],
        batch_size=recorded["batch_size"],
        units=recorded["units"],
        inner_steps=recorded["inner_steps"],
        decay_rate=recorded["decay"],
        fast_learning_rate=recorded["fast_learning_rate"],
        learning_rate=recorded["learning_rate"],
        max_gradient_norm=recorded["max_gradient_norm"],
        epsilon=recorded["ln_epsilon"],
        gates=recorded.get("gates", "original"),
    )
    return config, arrays


def in_our_layout(arrays, prefix, config):
    """{our variable's path: array} from the recorded weights or gradients."""
    found = {
        name.removeprefix(prefix): value
        for name, value in arrays.items()
        if name.startswith(prefix)
    }
    ours = {
        "logits/kernel": found.pop("output_kernel"),
        "logits/bias": found.pop("output_bias"),
    }
    if config.model_name == "GRU-LN":
        # Recorded: inputs above the state, reset beside update. Ours: inputs and
        # state apart, candidate beside the gates, update only where it is read.
        used = slice(config.units if config.gates == "original" else None)
        gates = found.pop("gate_kernel")[:, used]
        candidate = found.pop("candidate_kernel")
        both = np.concatenate([gates, candidate], axis=1)
        bias = [found.pop("gate_bias")[used], found.pop("candidate_bias")]
        features = len(both) - config.units
        ours["kernel"], ours["recurrent_kernel"] = both[:features], both[features:]
        ours["bias"] = np.concatenate(bias)
    ours |= {NAMES[name]: value for name, value in found.items()}
    return ours


def variables(model):
    """{path: variable}, a cell's by name alone."""
    return {
        variable.path if variable.path.startswith("logits") else variable.name: variable
        for variable in model.trainable_variables
    }


def state_with(config, arrays, form=None):
    state = checkpoints.new_state(config, form)
    weights = in_our_layout(arrays, "weight/", config)
    assert weights.keys() == variables(state.model).keys()
    for name, variable in variables(state.model).items():
        variable.assign(weights[name])
    return state


def forms(config):
    """Both forms of the fast weights; the other models have one."""
    return ["matrix", "attention"] if config.model_name == "RNN-LN-FW" else [None]


def assert_close(ours, recorded, name=""):
    atol = 1e-6 * np.abs(recorded).max()
    np.testing.assert_allclose(ours, recorded, rtol=1e-5, atol=atol, err_msg=name)


def test_first_batch(golden_path):
    """A forward pass, a loss or a gradient that is not the original's."""
    config, arrays = load(golden_path)
    tokens, targets = tf.constant(arrays["inputs"][0]), tf.constant(arrays["targets"][0])
    recorded = in_our_layout(arrays, "gradient/", config)
    for form in forms(config):
        state = state_with(config, arrays, form)
        assert_close(state.model(tokens), arrays["logits"], "logits")
        loss, num_right, gradients = training.loss_and_gradients(
            state.model, tokens, targets, config.batch_size
        )
        assert_close(loss, arrays["loss"], "loss")
        assert float(num_right) / config.batch_size == arrays["accuracy"]
        assert_close(tf.linalg.global_norm(gradients), arrays["gradient_norm"], "norm")
        for name, gradient in zip(variables(state.model), gradients, strict=True):
            assert_close(gradient, recorded[name], f"gradient of {name}")
    if config.model_name == "GRU-LN" and config.gates == "original":
        # What our cell leaves out, the original never used.
        assert not arrays["gradient/gate_kernel"][:, config.units :].any()


def test_training_steps(golden_path):
    """Another optimizer, clipping or order of updates, in the program that `train.py` runs."""
    config, arrays = load(golden_path)
    batches = tf.constant(arrays["inputs"]), tf.constant(arrays["targets"])
    steps = len(arrays["targets"])
    before = in_our_layout(arrays, "weight/", config)
    after = in_our_layout(arrays, "trained/", config)
    reach = config.learning_rate * steps
    state = state_with(config, arrays)
    program = training.EpochProgram(state, config)
    totals = [
        program.train(*batches, tf.constant(i), tf.constant(i + 1), tf.zeros(3)).numpy()
        for i in range(steps)
    ]
    losses, num_right, norms = np.transpose(totals)
    np.testing.assert_allclose(losses, arrays["train_losses"], rtol=RTOL_LOSS)
    np.testing.assert_allclose(norms, arrays["train_gradient_norms"], rtol=RTOL_NORM)
    np.testing.assert_array_equal(num_right / config.batch_size, arrays["train_accuracies"])
    for name, variable in variables(state.model).items():
        moved = variable.numpy() - before[name]
        error = np.abs(moved - (after[name] - before[name])).max() / reach
        assert error < ERROR_WEIGHT, (name, error)
