"""What is found again on disk, and what is refused."""

import numpy as np
import pytest

from fast_weights import checkpoints, data, sampling
from fast_weights.errors import UserError


@pytest.fixture
def trained(tiny_config, tmp_path):
    """A folder with the checkpoint of a model that was never stepped."""
    folder = checkpoints.model_folder(tmp_path, tiny_config.model_name)
    checkpoints.save_config(folder, tiny_config)
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
    config = checkpoints.settle_config(trained, asked)
    assert (config.units, config.num_pairs, config.num_epochs) == (5, 2, 7)
    assert checkpoints.settle_config(trained, {"units": 5}) == tiny_config


def test_contradictions_are_named_with_both_values(trained):
    with pytest.raises(UserError) as caught:
        checkpoints.settle_config(trained, {"units": 6, "decay_rate": 0.5, "batch_size": 8})
    assert "--units=6 but the checkpoint has 5" in str(caught.value)
    assert "--decay_rate=0.5 but the checkpoint has 0.95" in str(caught.value)
    assert "batch_size" not in str(caught.value)


def test_a_folder_without_checkpoint_takes_what_is_asked(tmp_path):
    assert checkpoints.settle_config(tmp_path, {"units": 6}).units == 6


def test_a_model_never_trained_is_named(tmp_path):
    with pytest.raises(UserError, match=r"python train\.py --model_name=GRU-LN"):
        checkpoints.load_model(tmp_path, "GRU-LN")


def test_broken_files_are_refused_in_one_line(trained, tmp_path):
    shard = next(trained.glob("ckpt-*.data*"))
    shard.write_bytes(shard.read_bytes()[:100])
    with pytest.raises(UserError, match="is broken or of another model"):
        checkpoints.load_model(tmp_path, "RNN-LN-FW")
    (trained / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"config\.json: not a configuration in JSON"):
        checkpoints.load_model(tmp_path, "RNN-LN-FW")
    (trained / "config.json").unlink()
    with pytest.raises(UserError, match=r"cannot read .*config\.json"):
        checkpoints.load_model(tmp_path, "RNN-LN-FW")


def test_a_checkpoint_of_another_size_is_refused(tiny, trained, tmp_path):
    checkpoints.save_config(trained, tiny(units=6))
    with pytest.raises(UserError, match="of another model"):
        checkpoints.load_model(tmp_path, "RNN-LN-FW")


def test_clear_deletes_what_training_made_and_nothing_else(trained):
    (trained / "notes.txt").write_text("a person's own")
    checkpoints.clear(trained)
    assert [path.name for path in trained.iterdir()] == ["notes.txt"]


def test_sampling_counts_what_it_asks(tiny_config):
    """Accuracy by pair that is not about that pair: an oracle that knows only pair 1."""

    class KnowsTheFirst:
        def predict(self, tokens, **kwargs):
            return [[float(token == row[1]) for token in range(37)] for row in tokens]

    split = data.generate(400, 2, np.random.default_rng(0))
    accuracy, by_pair = sampling.accuracy_by_pair(KnowsTheFirst(), split)
    assert by_pair[0] == 1
    assert by_pair[1] < 0.2
    assert by_pair[1] < accuracy < 1
