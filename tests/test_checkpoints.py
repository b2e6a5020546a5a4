"""What is found again on disk, and what is refused."""

import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from fast_weights import checkpoints, data, folders
from fast_weights.errors import UserError


@pytest.fixture
def trained(tiny_config, tmp_path):
    """A folder with the checkpoint of a model that was never stepped."""
    folder = folders.model_folder(tmp_path, tiny_config.model_name)
    folders.save_config(folder, tiny_config)
    checkpoints.new_state(tiny_config).save(folder)
    return folder


def test_a_loaded_model_is_the_saved_one(tiny, trained, tmp_path):
    """Weights that are left at their initial values: another seed's differ, then agree."""
    tokens = data.make(2, 5, 3, 0)[0].tokens
    saved = checkpoints.new_state(tiny()).model
    other = checkpoints.new_state(tiny(seed=1)).model
    assert abs(other(tokens) - saved(tokens)).numpy().max() > 1e-3
    loaded, config = checkpoints.load_model(tmp_path, "RNN-LN-FW")
    assert config == tiny()
    assert abs(loaded(tokens) - saved(tokens)).numpy().max() == 0


def test_settings_come_from_the_checkpoint(tiny_config, trained):
    """A resume that falls back to defaults for what was not asked for again."""
    asked = {"model_name": "RNN-LN-FW", "num_epochs": 7}
    config = folders.settle_config(trained, asked)
    assert (config.units, config.num_pairs, config.num_epochs) == (5, 2, 7)
    assert folders.settle_config(trained, {"units": 5}) == tiny_config


def test_contradictions_are_named_with_both_values(trained):
    with pytest.raises(UserError) as caught:
        folders.settle_config(trained, {"units": 6, "decay_rate": 0.5, "batch_size": 8})
    assert "--units=6 but the checkpoint has 5" in str(caught.value)
    assert "--decay_rate=0.5 but the checkpoint has 0.95" in str(caught.value)
    assert "batch_size" not in str(caught.value)


def test_a_folder_without_checkpoint_takes_what_is_asked(tmp_path):
    assert folders.settle_config(tmp_path, {"units": 6}).units == 6


def test_a_model_never_trained_is_named(tmp_path):
    with pytest.raises(UserError, match=r"python train\.py --model_name=GRU-LN"):
        checkpoints.load_model(tmp_path, "GRU-LN")


def test_broken_files_are_refused_in_one_line(trained, tmp_path):
    path = trained / "ckpt-0.npz"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match="is broken, of another model"):
        checkpoints.load_model(tmp_path, "RNN-LN-FW")
    (trained / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"config\.json: not a configuration in JSON"):
        checkpoints.load_model(tmp_path, "RNN-LN-FW")
    (trained / "config.json").unlink()
    with pytest.raises(UserError, match=r"cannot read .*config\.json"):
        checkpoints.load_model(tmp_path, "RNN-LN-FW")


def test_a_broken_checkpoint_falls_back_to_the_one_before(tiny_config, trained, tmp_path):
    """A run that is lost to its last file; one that goes back and does not say so."""
    state = checkpoints.new_state(tiny_config)
    expected = state.model.get_layer("rnn").cell.kernel.numpy()
    state.model.get_layer("rnn").cell.kernel.assign_add(tf.ones((37, 5)))
    state.epoch = 1
    state.save(trained)
    newest = trained / "ckpt-1.npz"
    newest.write_bytes(newest.read_bytes()[:100])
    said = []
    resumed = checkpoints.new_state(tiny_config)
    assert resumed.restore(trained, said.append)
    assert resumed.epoch == 0
    np.testing.assert_array_equal(resumed.model.get_layer("rnn").cell.kernel, expected)
    loaded, _ = checkpoints.load_model(tmp_path, "RNN-LN-FW", say=said.append)
    np.testing.assert_array_equal(loaded.get_layer("rnn").cell.kernel, expected)
    assert len(said) == 2
    assert all(
        "ckpt-1.npz is broken; going back to the checkpoint before it" in line for line in said
    )


def test_two_checkpoints_are_kept(tiny_config, trained):
    """A disk that fills up; a checkpoint that is taken for a newer one by its name."""
    state = checkpoints.new_state(tiny_config)
    for epoch in range(8, 12):
        state.epoch = epoch
        state.save(trained)
    assert sorted(path.name for path in trained.glob("ckpt-*")) == ["ckpt-10.npz", "ckpt-11.npz"]
    resumed = checkpoints.new_state(tiny_config)
    assert resumed.restore(trained)
    assert resumed.epoch == 11


def test_a_checkpoint_of_an_earlier_version_is_refused(tiny_config, tmp_path):
    """A folder that is taken for an untrained model's, and written over."""
    for name in ("ckpt-7.index", "ckpt-7.data-00000-of-00001", "checkpoint"):
        (tmp_path / name).write_bytes(b"of version 0.1")
    with pytest.raises(UserError, match="of an earlier version of this project"):
        checkpoints.new_state(tiny_config).restore(tmp_path)


def test_a_second_training_is_refused(tiny_config, trained):
    """Two processes that write one folder; a lock that outlives its process."""
    program = (
        "import sys, time; from fast_weights import folders\n"
        "with folders.locked(sys.argv[1]): print('locked', flush=True); time.sleep(60)"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", program, str(trained)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout.readline() == "locked\n"
        message = f"process {other.pid} is training in"
        with pytest.raises(UserError, match=message), folders.locked(trained):
            pass
        (trained / "lock").write_bytes(b"\xff\xfe")
        with pytest.raises(UserError, match="is training in"), folders.locked(trained):
            pass
    finally:
        other.kill()
        other.wait()
    (trained / "seed-1").mkdir()
    for run in (".", "seed-1"):
        (trained / run / "partial-7").write_text("")
    with folders.locked(trained):
        assert (trained / "lock").read_text() == f"{os.getpid()}\n"
    assert not (trained / "partial-7").exists()
    # Of another training, that may be under way.
    assert (trained / "seed-1/partial-7").exists()


def test_a_checkpoint_of_another_size_is_refused(tiny, trained, tmp_path):
    folders.save_config(trained, tiny(units=6))
    with pytest.raises(UserError, match="of another model"):
        checkpoints.load_model(tmp_path, "RNN-LN-FW")


def test_clear_deletes_what_training_made_and_nothing_else(trained):
    (trained / "notes").mkdir()
    (trained / "notes/one.txt").write_text("a person's own")
    (trained / "validation").mkdir()
    (trained / "training").symlink_to(trained / "notes")
    folders.clear(trained)
    assert [path.name for path in trained.iterdir()] == ["notes"]
    assert (trained / "notes/one.txt").exists()
