"""A loss or a weight that is no finite number: the run ends there, and keeps what was good."""

import numpy as np
import pytest
from assertions import assert_refused
from harm import TINY, model_folder, records, run, tensors

from fast_weights import checkpoints, folders, results, training
from fast_weights.errors import UserError

# Nothing normalizes a state, and nothing holds back the first update.
WILD = ("--model_name=CONTROL", "--learning_rate=10", "--max_gradient_norm=1000000")


def test_a_run_that_diverges(tmp_path):
    """Hours with a loss that is no number; a checkpoint of it in the place of the last good one."""
    flags = (*TINY, *WILD, "--num_pairs=14", "--num_training=8", "--num_validation=8")
    folder = model_folder(tmp_path, "CONTROL")
    said = (
        "diverged in epoch 2",
        "gradient norms of the last epochs: 0.",
        "checkpoint of epoch 1 is kept",
    )
    assert_refused(run(tmp_path, *flags, "--quiet"), *said)
    good = tensors(folder)
    assert len(records(folder)) == 1
    done = run(tmp_path, "--model_name=CONTROL", script="test.py")
    assert done.returncode == 0, done.stderr
    assert tensors(folder) == good


@pytest.mark.slow
def test_a_first_epoch_that_diverges(tmp_path):
    """A checkpoint that is said to be kept, and is not there."""
    done = run(tmp_path, *TINY, *WILD, "--num_pairs=26", "--quiet")
    assert_refused(done, "diverged in epoch 1", "There is no checkpoint yet")
    assert not folders.is_trained(model_folder(tmp_path, "CONTROL"))


def test_weights_gone_bad_are_not_trained_on(tiny, tmp_path):
    """The norms of the epochs before, of which somebody may see what happened."""
    folder = tmp_path / "run"
    folders.save_config(folder, tiny())
    state = checkpoints.new_state(tiny())
    for epoch in range(3):
        results.append(folder, results.Record(epoch, 3.5, 0.1, 3.4, 0.1, 1.5 + epoch, 0.2))
    state.model.get_layer("logits").kernel.assign(np.full((5, 37), 1e38))
    state.epoch = 3
    state.save(folder)
    before = tensors(folder)
    with pytest.raises(UserError, match=r"epoch 4.*norms.*: 1.5, 2.5, 3.5, nan\).*epoch 3 is"):
        training.train(tiny(num_epochs=9), tmp_path / "data", folder)
    assert len(results.read(folder)) == 3
    assert tensors(folder) == before


def test_weights_that_are_no_numbers_are_refused(tiny_config, tmp_path):
    folder = folders.model_folder(tmp_path, "RNN-LN-FW")
    folders.save_config(folder, tiny_config)
    state = checkpoints.new_state(tiny_config)
    state.model.get_layer("logits").bias.assign(np.full(37, np.nan))
    state.save(folder)
    with pytest.raises(UserError, match="weights that are no numbers"):
        checkpoints.load_model(tmp_path, "RNN-LN-FW")
    with pytest.raises(UserError, match="weights that are no numbers"):
        checkpoints.new_state(tiny_config).restore(folder)
