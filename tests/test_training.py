"""The training program: the update, the epoch and the loop over epochs."""

import dataclasses
import itertools

import numpy as np
import pytest
import tensorflow as tf
from event_files import events
from processes import checkpoint_arrays, records

from fast_weights.experiment import dataset, program, results, training
from fast_weights.experiment.checkpoint import TrainingState, new_state
from fast_weights.experiment.errors import UserError
from fast_weights.experiment.models import BLOG_MODELS
from fast_weights.experiment.run_dir import TENSORBOARD_RUNS, RunDirectory
from fast_weights.experiment.tasks import NO_ANSWER, TASKS, Split, batches
from fast_weights.experiment.tensorboard import TensorBoardWriter


def batches_of(config):
    split = dataset.generate(config).training
    return program.to_tensors(batches(split, config.batch_size))


def bounds(start, stop):
    return tf.constant(start), tf.constant(stop)


@pytest.mark.parametrize(
    "changes",
    [
        *({"model_name": name} for name in BLOG_MODELS),
        pytest.param({"model_name": "GRU-LN", "gates": "standard"}, marks=pytest.mark.slow),
        pytest.param({"recurrence": "paper", "inner_steps": 2}, marks=pytest.mark.slow),
        # Longer than the length up to which the loop over time is unrolled.
        {"num_pairs": 16},
    ],
    ids=lambda changes: "-".join(map(str, changes.values())),
)
def test_training_changes_every_weight_and_evaluation_none(tiny, changes):
    """Catches a weight that is not connected to the loss, and an evaluation that trains."""
    config = tiny(**changes)
    state = new_state(config)
    compiled = program.EpochProgram(state)
    weights = state.model.trainable_variables
    before = [weight.numpy() for weight in weights]
    batches = batches_of(config)
    groups = tf.zeros_like(batches.targets)
    compiled.evaluate(*batches, groups, *bounds(0, 2), tf.zeros(2 + config.num_pairs))
    for weight, value in zip(weights, before, strict=True):
        np.testing.assert_array_equal(weight, value)
    compiled.train(*batches, *bounds(0, 1), tf.zeros(3))
    for weight, value in zip(weights, before, strict=True):
        assert np.abs(weight.numpy() - value).max() > 1e-4, weight.path
    assert len(weights) == len(state.model.weights)


def test_model_without_inner_steps_trains(tiny):
    """Catches S = 0, where layer normalization has no gradient, that ends the run."""
    config = tiny(inner_steps=0)
    state = new_state(config)
    before = [weight.numpy() for weight in state.model.weights]
    compiled = program.EpochProgram(state)
    compiled.train(*batches_of(config), *bounds(0, 1), tf.zeros(3))
    weights = zip(state.model.weights, before, strict=True)
    unchanged = [one.name for one, value in weights if np.all(one.numpy() == value)]
    assert unchanged == ["gamma", "beta"]


def test_chunks_add_up_to_the_same_bits(tiny):
    """Catches results that depend on the number of chunks in an epoch."""
    config = tiny(model_name="CONTROL")
    batches = batches_of(config)
    outcomes = []
    for limits in ([0, 12], [0, 1, 5, 12]):
        state = new_state(config)
        compiled = program.EpochProgram(state)
        totals = tf.zeros(3)
        for start, stop in itertools.pairwise(limits):
            totals = compiled.train(*batches, *bounds(start, stop), totals)
        outcomes.append((totals.numpy(), *(weight.numpy() for weight in state.model.weights)))
    for one, other in zip(*outcomes, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("task", TASKS)
def test_record_holds_means_over_the_splits(tiny, tmp_path, monkeypatch, task):
    """Catches a loss scaled by the wrong batch, a skipped batch, and one split for the other.

    The weights stay as drawn, so all batches of both splits can be evaluated afterwards.
    """
    monkeypatch.setattr(program, "train_step", _evaluating_step)
    config = tiny(model_name="CONTROL", num_epochs=1, task=task, num_test=24)
    (record,) = training.train(config, RunDirectory(tmp_path, "CONTROL"), tmp_path)
    model = new_state(config).model
    for split, loss, accuracy in zip(
        dataset.generate(config),
        (record.train_loss, record.val_loss, record.test_loss),
        (record.train_accuracy, record.val_accuracy, record.test_accuracy),
        strict=True,
    ):
        tokens, targets = (part.reshape(-1, *part.shape[2:]) for part in batches(split, 8))
        logits = model(tokens).numpy().astype(np.float64)
        # Both tasks have the same number of answers in every sequence.
        logits, targets = logits[targets != NO_ANSWER], targets[targets != NO_ANSWER]
        log_sum = np.log(np.exp(logits).sum(axis=1))
        expected = (log_sum - logits[np.arange(len(targets)), targets]).mean()
        assert loss == pytest.approx(expected, rel=1e-5)
        assert accuracy == pytest.approx((logits.argmax(axis=1) == targets).mean(), rel=1e-6)
    assert record.gradient_norm == pytest.approx(2.5)


def test_sequence_counts_as_the_mean_over_its_answers():
    """Catches a sequence with many answers that outweighs the others, and a loss without one."""
    logits = np.random.default_rng(0).normal(size=(3, 4, 5)).astype("float32")
    targets = np.full((3, 4), NO_ANSWER)
    targets[0, 1], targets[1, :3] = 2, (4, 0, 1)  # the last has no answer
    log_probabilities = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    several = np.mean([log_probabilities[1, i, target] for i, target in enumerate((4, 0, 1))])
    loss = program._summed_loss(tf.constant(logits), tf.constant(targets))
    assert loss.numpy() == pytest.approx(-(log_probabilities[0, 1, 2] + several), rel=1e-5)


def _evaluating_step(model, optimizer, tokens, targets, max_gradient_norm):
    """Stands in for `train_step` and leaves the weights as they are."""
    loss, num_correct, _ = program.loss_and_gradients(model, tokens, targets, 8)
    return loss, num_correct, tf.constant(2.5)


@pytest.mark.parametrize(
    ("model_name", "shuffle"),
    [
        ("CONTROL", True),
        *(pytest.param(name, False, marks=pytest.mark.slow) for name in BLOG_MODELS),
    ],
)
def test_resumed_run_equals_uninterrupted_one(tiny, tmp_path, model_name, shuffle):
    """Catches a lost optimizer state, an order that starts over, a repeated or missing epoch."""
    config = tiny(model_name=model_name, num_epochs=3, shuffle=shuffle)
    whole, resumed = (RunDirectory(tmp_path / name, model_name) for name in ("whole", "resumed"))
    expected = training.train(config, whole, tmp_path)
    training.train(dataclasses.replace(config, num_epochs=2), resumed, tmp_path)
    # As if the process had been killed in the third epoch, after its record was written.
    results.append(resumed.results_path, expected[2])
    returned = training.train(config, resumed, tmp_path)
    assert checkpoint_arrays(resumed) == checkpoint_arrays(whole)
    assert records(resumed) == records(whole)
    assert returned == results.read(resumed.results_path)
    assert [record.epoch for record in returned] == [1, 2, 3]


def test_checkpoint_comes_after_the_record_and_the_events(tiny, tmp_path, monkeypatch):
    """Catches an epoch without a record or events, after a kill between the two."""
    calls, run_dir = [], RunDirectory(tmp_path, "CONTROL")

    def recorded(owner, name, check):
        method = getattr(owner, name)

        def wrapper(*args, **kwargs):
            check()
            calls.append(name)
            return method(*args, **kwargs)

        monkeypatch.setattr(owner, name, wrapper)

    def check_record_and_events():
        epoch = calls.count("save") + 1
        assert results.read(run_dir.results_path)[-1].epoch == epoch
        found = events(run_dir)
        for key in (("training", "loss"), ("validation", "loss"), (".", "probe")):
            assert found[key][-1][0] == epoch

    recorded(TensorBoardWriter, "write_epoch", lambda: None)
    recorded(TrainingState, "save", check_record_and_events)
    training.train(tiny(model_name="CONTROL"), run_dir, tmp_path, summary_every=1)
    assert calls == ["write_epoch", "save"] * 2


def test_restart_starts_over(tiny, tmp_path):
    """Catches the settings, records or checkpoints of the earlier run in the new one."""
    run_dir = RunDirectory(tmp_path, "CONTROL")
    config = tiny(model_name="CONTROL")
    training.train(config, run_dir, tmp_path)
    other = tiny(model_name="CONTROL", num_epochs=1, units=4)
    with pytest.raises(UserError, match="units=4"):
        training.train(other, run_dir, tmp_path)
    assert run_dir.read_config() == config
    found = training.train(other, run_dir, tmp_path, restart=True)
    assert [record.epoch for record in found] == [1]
    assert run_dir.checkpoint_epochs() == [1]
    assert run_dir.read_config() == other
    assert (run_dir.path / "previous/ckpt-2.npz").exists()


def test_nothing_is_deleted_without_restart(tiny, tmp_path, monkeypatch):
    """Catches the loss of records whose checkpoints are missing, and of a run set aside."""
    run_dir = RunDirectory(tmp_path, "CONTROL")
    config = tiny(model_name="CONTROL")
    training.train(config, run_dir, tmp_path)
    records = run_dir.results_path.read_bytes()
    for epoch in run_dir.checkpoint_epochs():
        run_dir.checkpoint_path(epoch).unlink()
    with pytest.raises(UserError, match="2 epochs"):
        training.train(config, run_dir, tmp_path)
    assert run_dir.results_path.read_bytes() == records
    # The checkpoints of long ago.
    other = RunDirectory(tmp_path / "other", "CONTROL")
    training.train(config, other, tmp_path)
    last = results.read(other.results_path)[-1]
    for epoch in (3, 4, 5):
        results.append(other.results_path, dataclasses.replace(last, epoch=epoch))
    with pytest.raises(UserError, match="epoch 5"):
        training.train(config, other, tmp_path)
    assert len(results.read(other.results_path)) == 5
    # Two restarts that are interrupted in their first epochs.
    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(training.TrainingState, "save", _interrupt)
            with pytest.raises(KeyboardInterrupt):
                training.train(config, run_dir, tmp_path, restart=True)
        assert (run_dir.path / "previous/results.jsonl").read_bytes() == records


def _interrupt(*args):
    raise KeyboardInterrupt


def test_training_ends_at_an_accuracy(tiny, tmp_path):
    """Catches an epoch after the accuracy is reached, and one that a second call adds."""
    run_dir = RunDirectory(tmp_path, "CONTROL")
    config = tiny(model_name="CONTROL", num_epochs=4)
    first, *_ = training.train(config, RunDirectory(tmp_path / "whole", "CONTROL"), tmp_path)
    for _ in range(2):
        found = training.train(config, run_dir, tmp_path, stop_at_accuracy=first.val_accuracy)
        assert [record.epoch for record in found] == [1]
    assert len(training.train(config, run_dir, tmp_path)) == 4


def test_completed_run_is_not_trained_further(tiny, tmp_path):
    """Catches an epoch added to a complete run, and a smaller `num_epochs` that is recorded."""
    run_dir = RunDirectory(tmp_path, "CONTROL")
    config = tiny(model_name="CONTROL")
    expected = training.train(config, run_dir, tmp_path)
    before = checkpoint_arrays(run_dir)
    for num_epochs in (2, 1):
        again = dataclasses.replace(config, num_epochs=num_epochs)
        assert training.train(again, run_dir, tmp_path) == expected
        assert checkpoint_arrays(run_dir) == before
        assert run_dir.read_config() == config


def test_plan_stays_when_a_training_is_shorter(tiny, tmp_path):
    """Catches `--num_epochs=3` in a run of 1,000 that makes the run count as complete."""
    run_dir = RunDirectory(tmp_path, "CONTROL")
    config = tiny(model_name="CONTROL", num_epochs=5)
    training.train(config, run_dir, tmp_path, stop_at_accuracy=0)
    for num_epochs in (2, 3):
        training.train(dataclasses.replace(config, num_epochs=num_epochs), run_dir, tmp_path)
        assert run_dir.checkpoint_epochs()[0] == num_epochs
        assert run_dir.read_config() == config


def test_run_without_checkpoint_leaves_nothing_to_the_next(tiny, tmp_path, monkeypatch):
    """Catches TensorBoard events of a run that ended in its first epoch beside those of another."""
    run_dir = RunDirectory(tmp_path, "CONTROL")

    def interrupt(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training.TrainingState, "save", interrupt)
        with pytest.raises(KeyboardInterrupt):
            training.train(tiny(model_name="CONTROL", units=4), run_dir, tmp_path)
    left = set(run_dir.path.rglob("*.tfevents.*"))
    assert len(left) == 1 + len(TENSORBOARD_RUNS)
    training.train(tiny(model_name="CONTROL", num_epochs=1), run_dir, tmp_path)
    assert not left & set(run_dir.path.rglob("*.tfevents.*"))


def test_order_is_a_function_of_seed_and_epoch():
    """Catches an order that repeats in every epoch, or that a resumed run cannot draw again."""
    orders = [training.epoch_order(seed, epoch, 50) for seed in (0, 1) for epoch in (1, 2)]
    np.testing.assert_array_equal(orders[1], training.epoch_order(0, 2, 50))
    assert len({order.tobytes() for order in orders}) == 4
    assert all(sorted(order) == list(range(50)) for order in orders)


@pytest.mark.parametrize("shuffle", [False, True])
def test_shuffle_uses_the_order_of_the_epoch(tiny, tmp_path, monkeypatch, shuffle):
    """Catches a flag without effect, and targets that stay in the old order."""
    seen = []

    def recorded_train(program, tokens, targets, start, stop, totals):
        if not start:
            seen.append(Split(tokens.numpy().reshape(-1, 7), targets.numpy().ravel()))
        return totals

    monkeypatch.setattr(program.EpochProgram, "train", recorded_train)
    monkeypatch.setattr(program.EpochProgram, "evaluate", lambda *args: tf.zeros(3))
    config = tiny(model_name="CONTROL", shuffle=shuffle)
    training.train(config, RunDirectory(tmp_path, "CONTROL"), tmp_path)
    split = dataset.generate(config).training
    for epoch, found in enumerate(seen, start=1):
        order = training.epoch_order(0, epoch, 100) if shuffle else np.arange(100)
        np.testing.assert_array_equal(found.tokens, split.tokens[order[:96]])
        np.testing.assert_array_equal(found.targets, split.targets[order[:96]])


class Recorder(training.Progress):
    """Keeps what `train` reports."""

    def __init__(self):
        self.fractions, self.epochs = [], []

    def update(self, epoch, fraction):
        self.fractions.append((epoch, fraction))

    def end_epoch(self, record, best, seconds_left):
        self.epochs.append((record, best, seconds_left))


def test_progress_reports_the_best_accuracy_and_the_time_left(tiny, tmp_path):
    """Catches the last accuracy in place of the best, and a time that includes the compilation."""
    progress = Recorder()
    config = tiny(model_name="CONTROL", num_epochs=8)
    training.train(config, RunDirectory(tmp_path, "CONTROL"), tmp_path, progress)
    found, best, left = zip(*progress.epochs, strict=True)
    np.testing.assert_array_equal(best, np.maximum.accumulate([one.val_accuracy for one in found]))
    assert left[0] is None
    for epoch in range(2, 9):
        median = np.median([record.seconds for record in found[1:epoch]])
        assert left[epoch - 1] == pytest.approx((8 - epoch) * median, abs=0.01)
    expected = [(epoch, chunk / 10) for epoch in range(1, 9) for chunk in range(1, 10)]
    assert progress.fractions == expected


def test_diverged_run_keeps_last_checkpoint(tiny, tmp_path):
    """Catches hours of training on NaN, and NaN in the place of the last good checkpoint."""
    # Nothing normalizes the state of CONTROL, and nothing holds back its updates.
    config = tiny(
        model_name="CONTROL", num_pairs=14, num_training=8, num_validation=8, num_epochs=20,
        learning_rate=10, max_gradient_norm=1e6,
    )  # fmt: skip
    run_dir = RunDirectory(tmp_path, "CONTROL")
    with pytest.raises(UserError, match="--learning_rate"):
        training.train(config, run_dir, tmp_path)
    last = records(run_dir)[-1]
    assert last.epoch < 20
    assert run_dir.checkpoint_epochs()[0] == last.epoch
    new_state(config).restore(run_dir)  # refuses values that are not finite


def test_model_learns(tiny, tmp_path):
    """Catches a program that runs and learns nothing: one pair needs little memory."""
    config = tiny(num_pairs=1, num_training=4_000, units=24, batch_size=32, num_epochs=4)
    found = training.train(config, RunDirectory(tmp_path, "RNN-LN-FW"), tmp_path)
    assert found[-1].val_accuracy > 0.9
    assert found[-1].val_loss < found[0].val_loss


def test_training_on_another_backend_is_refused(monkeypatch, tmp_path, tiny_config):
    """Catches a training that fails in the middle of TensorFlow."""
    monkeypatch.setattr(training.keras.config, "backend", lambda: "jax")
    with pytest.raises(UserError, match=r"KERAS_BACKEND=tensorflow.*restart the kernel"):
        training.train(tiny_config, RunDirectory(tmp_path, "RNN-LN-FW"), tmp_path)
    assert list(tmp_path.iterdir()) == []
