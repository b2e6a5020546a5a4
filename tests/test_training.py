"""`train`: data, model, `fit` and callbacks, in one call."""

import dataclasses
import functools
import shutil

import keras
import numpy as np
import pytest
from event_files import events
from processes import checkpoint_arrays, records, without_xla
from test_models import expected_results

from fast_weights.experiment import callbacks, dataset, results, training
from fast_weights.experiment.checkpoint import restore_newest
from fast_weights.experiment.errors import UserError
from fast_weights.experiment.models import BLOG_MODELS, build_model
from fast_weights.experiment.run_dir import RunDirectory
from fast_weights.experiment.tasks import TASKS, batches


@pytest.fixture(scope="module", autouse=True)
def quick():
    with without_xla():
        yield


@pytest.fixture(scope="module")
def control(tiny):
    return tiny(model_name="CONTROL")


@pytest.fixture(scope="module")
def trained(quick, tmp_path_factory, control):
    """A directory with a run of two epochs."""
    directory = tmp_path_factory.mktemp("trained")
    training.train(control, RunDirectory(directory, "CONTROL"), directory)
    return directory


@pytest.fixture
def run_dir(tmp_path):
    return RunDirectory(tmp_path, "CONTROL")


@pytest.fixture
def copy(trained, run_dir):
    """A copy of the run of two epochs."""
    shutil.copytree(trained, run_dir.checkpoint_dir, dirs_exist_ok=True)
    return run_dir


PAPER = {"network": "paper", "learning_rate_schedule": "cosine", "weight_decay": 0.1}


# By default, `test_reliability.py` resumes a killed run.
@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        # With a learning rate that depends on the update, and test sequences.
        {"model_name": "IRNN", "shuffle": True, "num_test": 24, **PAPER},
        *({"model_name": name} for name in BLOG_MODELS),
        {"model_name": "A-LSTM", "units": 6, **PAPER},
    ],
    ids=lambda changes: changes["model_name"],
)
def test_resumed_run_equals_uninterrupted_one(tiny, tmp_path, monkeypatch, changes):
    """Catches a lost optimizer state, an order that starts over, a repeated or missing epoch.

    The run ends between the record and the checkpoint of an epoch, so it must repeat the epoch.
    """
    config = tiny(num_epochs=3, **changes)
    whole, resumed = (
        RunDirectory(tmp_path / name, config.model_name) for name in ("whole", "resumed")
    )
    training.train(config, whole, tmp_path)
    save = callbacks.Checkpoint.on_epoch_end

    def killed(self, epoch, logs=None):
        if epoch == 2:
            raise KeyboardInterrupt
        save(self, epoch)

    with monkeypatch.context() as patch:
        patch.setattr(callbacks.Checkpoint, "on_epoch_end", killed)
        with pytest.raises(KeyboardInterrupt):
            training.train(config, resumed, tmp_path)
    assert records(resumed) == records(whole)
    for key in (("training", "loss"), ("validation", "loss"), (".", "probe")):
        assert events(resumed)[key][-1][0] == 3
    assert resumed.checkpoint_epochs() == [2, 1]
    returned = training.train(config, resumed, tmp_path)
    assert checkpoint_arrays(resumed) == checkpoint_arrays(whole)
    assert records(resumed) == records(whole)
    assert returned == results.read(resumed.results_path)


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_record_holds_means_over_the_splits(tiny, run_dir, task):
    """Catches a loss scaled by the wrong batch, a skipped batch, and one split for the other."""
    # The weights stay as drawn, so all batches can be evaluated afterwards.
    config = tiny(model_name="LSTM", num_epochs=1, task=task, num_test=24, learning_rate=1e-10)
    (record,) = training.train(config, run_dir, run_dir.checkpoint_dir)
    model, found = build_model(config), dataclasses.astuple(record)
    splits = zip(dataset.generate(config), (found[1:3], found[3:5], found[7:9]), strict=True)
    for split, loss_and_accuracy in splits:
        tokens, targets = (part.reshape(-1, *part.shape[2:]) for part in batches(split, 8))
        expected = expected_results(targets, model(tokens).numpy())
        np.testing.assert_allclose(loss_and_accuracy, expected, rtol=1e-5)


@pytest.mark.slow
def test_callbacks_and_metrics_of_keras(control, run_dir):
    """Catches a result that a user's callback or metric does not get, and its end of a run."""
    seen = []
    ours = [
        keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate if epoch else 1e-10),
        keras.callbacks.ReduceLROnPlateau("val_accuracy", factor=0.5, patience=1),
        keras.callbacks.EarlyStopping("val_accuracy", patience=2),
        keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(dict(logs))),
    ]
    config = dataclasses.replace(control, num_epochs=9, num_test=16)
    top = keras.metrics.SparseTopKCategoricalAccuracy(37, name="top")
    found = training.train(config, run_dir, run_dir.checkpoint_dir, callbacks=ours, metrics=[top])
    # With this rate, no epoch is better than the first.
    assert [record.epoch for record in found] == [1, 2, 3]
    assert ours[2].monitor_op(2, 1)  # a higher accuracy is better
    common = {"loss", "accuracy", "top"}
    evaluated = (*common, "accuracy_1", "accuracy_2")
    others = {f"{split}_{name}" for split in ("val", "test") for name in evaluated}
    assert set(seen[0]) == common | others | {"gradient_norm", "learning_rate"}
    assert (seen[0]["top"], seen[0]["val_top"]) == (1, 1)
    assert seen[2]["val_loss"] == found[2].val_loss
    assert [one["learning_rate"] for one in seen] == pytest.approx([1e-10, 1e-10, 5e-11])
    model = build_model(config)
    restore_newest(run_dir.path, model)
    assert float(model.optimizer.learning_rate) == pytest.approx(2.5e-11)


def test_restart_starts_over(control, copy):
    """Catches the settings, records or checkpoints of the earlier run in the new one."""
    other = dataclasses.replace(control, num_epochs=1, learning_rate=1e-3)
    missing = dataclasses.replace(control, init_from="missing")
    for refused, restart in [(other, False), (missing, True)]:
        with pytest.raises(UserError):
            training.train(refused, copy, copy.checkpoint_dir, restart=restart)
        assert copy.is_trained
    assert copy.read_config() == control
    found = training.train(other, copy, copy.checkpoint_dir, restart=True)
    assert [record.epoch for record in found] == [1]
    assert copy.checkpoint_epochs() == [1]
    assert copy.read_config() == other
    assert (copy.path / "previous/ckpt-2.npz").exists()


@pytest.mark.slow
def test_nothing_is_deleted_without_restart(control, copy):
    """Catches the loss of records whose checkpoints are missing, and of a run set aside."""
    before, last = copy.results_path.read_bytes(), results.read(copy.results_path)[-1]
    for epoch in (3, 4, 5):  # the checkpoints are of long ago
        results.append(copy.results_path, dataclasses.replace(last, epoch=epoch))
    longer = dataclasses.replace(control, num_epochs=9)
    with pytest.raises(UserError):
        training.train(longer, copy, copy.checkpoint_dir)
    assert len(results.read(copy.results_path)) == 5
    copy.results_path.write_bytes(before)
    for epoch in copy.checkpoint_epochs():
        copy.checkpoint_path(epoch).unlink()
    with pytest.raises(UserError):
        training.train(control, copy, copy.checkpoint_dir)
    assert copy.results_path.read_bytes() == before
    interrupt = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: 1 / 0)
    options = {"restart": True, "callbacks": [interrupt]}
    for _ in range(2):  # restarts that end in their first epochs
        with pytest.raises(ZeroDivisionError):
            training.train(control, copy, copy.checkpoint_dir, **options)
        assert (copy.path / "previous/results.jsonl").read_bytes() == before


@pytest.mark.slow
def test_training_ends_where_it_should(control, run_dir):
    """Catches an epoch too many, and `num_epochs=3` in a run of 5 that counts as complete."""
    config = dataclasses.replace(control, num_epochs=5)
    train = functools.partial(training.train, data_dir=run_dir.checkpoint_dir)
    for _ in range(2):  # the accuracy is reached, at first and when training is called again
        (first,) = train(config, run_dir, stop_at_accuracy=0)
    # As if the process had been killed between the record and the checkpoint.
    results.append(run_dir.results_path, dataclasses.replace(first, epoch=2, val_accuracy=1))
    for num_epochs, expected in ((3, 3), (3, 3), (2, 3), (5, 5)):
        shorter = dataclasses.replace(config, num_epochs=num_epochs)
        found = train(shorter, run_dir, stop_at_accuracy=1)
        assert [record.epoch for record in found] == list(range(1, expected + 1))
        assert run_dir.checkpoint_epochs()[0] == expected
        assert run_dir.read_config() == config


def test_diverged_run_keeps_last_checkpoint(control, copy):
    """Catches hours of training on NaN, and NaN in the place of the last good checkpoint."""
    before = checkpoint_arrays(copy), copy.results_path.read_bytes()
    config = dataclasses.replace(control, num_epochs=4)
    infinite = keras.callbacks.LearningRateScheduler(lambda epoch: np.inf)
    with pytest.raises(UserError):
        training.train(config, copy, copy.checkpoint_dir, callbacks=[infinite])
    assert (checkpoint_arrays(copy), copy.results_path.read_bytes()) == before


def test_training_on_another_backend_is_refused(monkeypatch, run_dir, control):
    """Catches a training that fails in the middle of TensorFlow."""
    monkeypatch.setattr(training.keras.config, "backend", lambda: "jax")
    with pytest.raises(UserError):
        training.train(control, run_dir, run_dir.checkpoint_dir)
    assert list(run_dir.checkpoint_dir.iterdir()) == []
