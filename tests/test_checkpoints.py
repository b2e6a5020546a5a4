"""What is found again on disk, and what is refused."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from fast_weights import arrays, checkpoints, data, files, folders, training
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
    *broken, half_way = said
    assert len(broken) == 2
    assert all(
        "ckpt-1.npz is broken; going back to the checkpoint before it" in line for line in broken
    )
    assert half_way == "RNN-LN-FW has been trained for 0 of its 2 epochs so far"


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


@pytest.mark.parametrize("changes", [{"decay_rate": 0.5}, {"seed": 3, "learning_rate": 0.1}])
def test_a_checkpoint_of_other_settings_is_refused(tiny, trained, tmp_path, changes):
    """Another run's files beside a configuration: weights of the same shapes, of another model.

    So it looks too if two trainings begin at once with other settings, and the second gets the
    folder when the first has ended.
    """
    folders.save_config(trained, tiny(**changes))
    made = ", ".join(f"{name} {getattr(tiny(), name)} and not" for name in changes)
    with pytest.raises(UserError, match=r"ckpt-0\.npz: it was made with .*as the configuration"):
        checkpoints.load_model(tmp_path, "RNN-LN-FW")
    with pytest.raises(UserError) as caught:
        training.train(tiny(**changes), tmp_path / "data", trained)
    for part in made.split(", "):
        assert part in str(caught.value)
    assert [path.name for path in trained.glob("ckpt-*")] == ["ckpt-0.npz"]
    # More epochs are the same run.
    assert checkpoints.new_state(tiny(num_epochs=9)).restore(trained)


def test_a_checkpoint_of_a_newer_version_is_refused(trained, tmp_path):
    """A rotten one that is gone back from: what the newer version did would be lost."""
    values = json.loads((trained / "config.json").read_text())
    del values["checksum"]
    values["version"] = 99
    newer = json.dumps({**values, "checksum": files.checksum(values)})
    with np.load(trained / "ckpt-0.npz") as archive:
        members = {name: archive[name] for name in archive.files}
    for path in (trained / "ckpt-1.npz", tmp_path / "shipped/CONTROL.npz"):
        arrays.save(path, {**members, "config": np.array(newer)})
    for name in ("RNN-LN-FW", "CONTROL"):
        with pytest.raises(UserError, match=r"\.npz: .*newer ones. Received: version=99"):
            checkpoints.load_model(tmp_path, name)
    (trained / "config.json").write_text(newer)
    with pytest.raises(UserError, match=r"config\.json: .*Received: version=99"):
        checkpoints.load_model(tmp_path, "RNN-LN-FW")


def test_good_checkpoints_do_not_make_room_for_broken_ones(tiny_config, trained):
    """Files that are newer by their names alone, and outlive all that a training saves."""
    for number in (90, 91):
        (trained / f"ckpt-{number}.npz").write_bytes(b"rot")
    (trained / "ckpt-92.npz").mkdir()
    state = checkpoints.new_state(tiny_config)
    said = []
    assert state.restore(trained, said.append)
    assert "ckpt-92.npz is broken; going back to the checkpoint before it, ckpt-0.npz" in said[0]
    state.epoch = 1
    state.save(trained)
    assert sorted(path.name for path in trained.glob("ckpt-*")) == ["ckpt-0.npz", "ckpt-1.npz"]


def test_clear_deletes_what_training_made_and_nothing_else(trained):
    (trained / "notes").mkdir()
    (trained / "notes/one.txt").write_text("a person's own")
    (trained / "validation").mkdir()
    (trained / "training").symlink_to(trained / "notes")
    folders.clear(trained)
    assert [path.name for path in trained.iterdir()] == ["notes"]
    assert (trained / "notes/one.txt").exists()
