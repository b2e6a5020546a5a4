"""The training program: what it moves, what it repeats, what it survives."""

import dataclasses
import itertools
import re
import subprocess
import sys

import event_files
import numpy as np
import pytest
import tensorflow as tf

from fast_weights import checkpoints, data, files, results, training
from fast_weights.config import MODEL_NAMES


def weights_after(config, tmp_path, name):
    """Trains in a folder of its own and returns the final weights and the records."""
    records = training.train(config, tmp_path / "data", tmp_path / name)
    state = checkpoints.new_state(config)
    assert state.restore(tmp_path / name)
    return [v.numpy() for v in [*state.model.weights, *state.optimizer.variables]], records


def without_seconds(records):
    return [dataclasses.replace(record, seconds=0) for record in records]


def batches_of(config):
    split, _ = data.make(config.num_pairs, config.num_training, config.num_validation, config.seed)
    return training._to_tensors(data.batches(split, config.batch_size))


@pytest.mark.parametrize(
    "changes",
    [
        *({"model_name": name} for name in MODEL_NAMES),
        pytest.param({"model_name": "GRU-LN", "gates": "standard"}, marks=pytest.mark.slow),
        pytest.param(
            {"model_name": "RNN-LN-FW", "recurrence": "paper", "inner_steps": 2},
            marks=pytest.mark.slow,
        ),
        # Past the length up to which the loop over time is unrolled.
        {"model_name": "RNN-LN-FW", "num_pairs": 16},
    ],
    ids=lambda changes: "-".join(map(str, changes.values())),
)
def test_one_step_moves_every_weight_and_evaluation_none(tiny, changes):
    """A weight that is not connected to the loss; an evaluation that trains."""
    config = tiny(**changes)
    state = checkpoints.new_state(config)
    program = training.EpochProgram(state, config)
    before = [weight.numpy() for weight in state.model.trainable_variables]
    batches = batches_of(config)
    program.evaluate(*batches, tf.constant(0), tf.constant(2), tf.zeros(1 + config.num_pairs))
    for weight, value in zip(state.model.trainable_variables, before, strict=True):
        np.testing.assert_array_equal(weight, value)
    program.train(*batches, tf.constant(0), tf.constant(1), tf.zeros(3))
    for weight, value in zip(state.model.trainable_variables, before, strict=True):
        assert np.abs(weight.numpy() - value).max() > 1e-4, weight.path
    assert len(state.model.trainable_variables) == len(state.model.weights)


def test_no_inner_step_can_be_trained(tiny):
    """S = 0, with which layer normalization's weights have no gradient, that ends the run."""
    state = checkpoints.new_state(tiny(inner_steps=0))
    before = [weight.numpy() for weight in state.model.weights]
    batches = batches_of(tiny(inner_steps=0))
    program = training.EpochProgram(state, tiny(inner_steps=0))
    program.train(*batches, tf.constant(0), tf.constant(1), tf.zeros(3))
    weights = zip(state.model.weights, before, strict=True)
    assert [w.name for w, old in weights if np.all(w.numpy() == old)] == ["gamma", "beta"]


def test_chunks_add_up_to_the_same_bits(tiny_config):
    """A result that depends on how fast the machine happened to be."""
    batches = batches_of(tiny_config)
    totals = []
    for bounds in ([0, 12], [0, 1, 5, 12]):
        state = checkpoints.new_state(tiny_config)
        program = training.EpochProgram(state, tiny_config)
        total = tf.zeros(3)
        for start, stop in itertools.pairwise(bounds):
            total = program.train(*batches, tf.constant(start), tf.constant(stop), total)
        totals.append((total.numpy(), *(weight.numpy() for weight in state.model.weights)))
    for one, other in zip(*totals, strict=True):
        np.testing.assert_array_equal(one, other)


def test_totals_are_means_of_the_split(tiny_config):
    """A loss scaled by the wrong batch, an accuracy counted over the wrong number."""
    state = checkpoints.new_state(tiny_config)
    program = training.EpochProgram(state, tiny_config)
    batches = batches_of(tiny_config)
    totals = training.Chunks(program.evaluate, 3).run(batches)
    loss, accuracy = training._means((totals[0], totals[1:].sum()), batches)
    tokens, targets = (np.concatenate(part) for part in batches)
    logits = state.model(tokens).numpy().astype(np.float64)
    log_sum = np.log(np.exp(logits).sum(axis=1))
    expected = (log_sum - logits[np.arange(len(targets)), targets]).mean()
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    assert accuracy == pytest.approx((logits.argmax(axis=1) == targets).mean())


@pytest.mark.parametrize("shuffle", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_resumed_equals_uninterrupted_bit_for_bit(tiny, tmp_path, shuffle):
    """A lost optimizer state, a restarted order, a doubled or missing epoch."""
    whole = tiny(num_epochs=3, shuffle=shuffle)
    expected, records = weights_after(whole, tmp_path, "whole")
    # Stopped in the third epoch, after its record was written.
    weights_after(tiny(num_epochs=2, shuffle=shuffle), tmp_path, "stopped")
    results.append(tmp_path / "stopped", records[2])
    resumed, resumed_records = weights_after(whole, tmp_path, "stopped")
    for one, other in zip(resumed, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert without_seconds(resumed_records) == without_seconds(records)
    assert [record.epoch for record in records] == [0, 1, 2]


def test_a_checkpoint_comes_after_all_that_belongs_to_its_epoch(tiny, tmp_path, monkeypatch):
    """A kill between the two, after which an epoch has no record, or no events."""
    order, on_disk = [], {}

    def watch(owner, name, mark):
        method = getattr(owner, name)

        def watched(*args, **kwargs):
            method(*args, **kwargs)
            order.append(mark)
            if mark == "saved":
                on_disk[len(order)] = event_files.events(tmp_path / "run")

        monkeypatch.setattr(owner, name, watched)

    watch(results, "append", "record")
    watch(training.summaries.Summaries, "write", "events")
    watch(training.summaries.Summaries, "look", "look")
    watch(checkpoints.TrainingState, "save", "saved")
    training.train(tiny(num_epochs=2), tmp_path / "data", tmp_path / "run", summary_every=1)
    epoch = ["record", "events", "look", "saved"]
    assert order == ["look", *epoch, *epoch]
    # Written out, though the writers are not closed yet.
    for steps, found in enumerate(on_disk.values(), start=1):
        for key in (("training", "loss"), ("validation", "loss"), (".", "probe")):
            assert found[key][-1][0] == steps


def test_events_are_on_disk_when_an_epoch_is_saved(tiny, tmp_path, monkeypatch):
    """Events that the operating system keeps to itself until a power cut."""
    synced, sync = [], files.sync

    def syncing(path):
        synced.append(path)
        sync(path)

    monkeypatch.setattr(files, "sync", syncing)
    monkeypatch.setattr(checkpoints.TrainingState, "save", lambda *_: synced.append("saved"))
    training.train(tiny(num_epochs=1), tmp_path / "data", tmp_path / "run")
    before = synced[: synced.index("saved")]
    for path in (tmp_path / "run").rglob("*.tfevents.*"):
        assert path in before
        assert path.parent in before


@pytest.mark.parametrize(
    ("error", "restart", "words"),
    [
        (OSError(28, "No space left on device"), False, "No space.*the same command goes on"),
        (OSError(28, "No space left on device"), True, "the same command without --restart goes"),
        (
            tf.errors.ResourceExhaustedError(None, None, "a/b.c; No space left on device"),
            False,
            "cannot write to run: No space left on device. What",
        ),
        (
            tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor"),
            False,
            "more memory than there is. Take a smaller --batch_size",
        ),
    ],
)
def test_what_is_said_of_a_training_that_cannot_go_on(error, restart, words):
    """Memory that is told as a disk, advice that would delete what was trained."""
    line = str(training._as_user_error(error, "run", restart))
    assert re.search(words, line)
    assert line.isprintable()


def test_shuffling_is_a_function_of_seed_and_epoch():
    """An order that repeats every epoch, or that a resume cannot draw again."""
    orders = [training.epoch_order(seed, epoch, 50) for seed in (0, 1) for epoch in (0, 1)]
    np.testing.assert_array_equal(orders[1], training.epoch_order(0, 1, 50))
    assert len({order.tobytes() for order in orders}) == 4
    assert all(sorted(order) == list(range(50)) for order in orders)


class Listener(training.Reporter):
    """Keeps what it is told of each epoch."""

    def __init__(self):
        self.epochs = []

    def epoch(self, record, best, seconds_left):
        self.epochs.append((record, best, seconds_left))


def test_the_reporter_is_told_the_best_and_the_time_left(tiny, tmp_path):
    """The last accuracy for the best, a time that is not the epochs' own."""
    listener = Listener()
    config = tiny(num_epochs=8, num_training=40)
    training.train(config, tmp_path / "data", tmp_path / "run", listener)
    records, bests, lefts = zip(*listener.epochs, strict=True)
    np.testing.assert_array_equal(bests, np.maximum.accumulate([r.valid_accuracy for r in records]))
    assert lefts[0] is None  # of an epoch that compiles, nothing follows
    for done in range(2, 9):
        median = np.median([record.seconds for record in records[1:done]])
        assert lefts[done - 1] == pytest.approx((8 - done) * median, abs=0.01)


def test_it_learns(tiny, tmp_path):
    """A program that runs and learns nothing: one pair needs no memory to speak of."""
    config = tiny(num_pairs=1, num_training=4_000, units=24, batch_size=32, num_epochs=4)
    records = training.train(config, tmp_path / "data", tmp_path / "run")
    assert records[-1].valid_accuracy > 0.9
    assert records[-1].valid_loss < records[0].valid_loss


DISTRIBUTED = """
import numpy as np, tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2)
from fast_weights import checkpoints, data, training
from fast_weights.config import Config
# So small a norm that every step is clipped.
config = Config(batch_size=8, units=5, num_training=24, num_validation=8,
                learning_rate=1e-2, max_gradient_norm=0.1)
split, _ = data.make(3, 24, 8, 0)
tokens, targets = data.batches(split, 8)
single = checkpoints.new_state(config)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    mirrored = checkpoints.new_state(config)

@tf.function
def step(tokens, targets):
    def share():
        half = tf.distribute.get_replica_context().replica_id_in_sync_group
        return training.train_step(mirrored.model, mirrored.optimizer,
            tf.reshape(tokens, (2, 4, -1))[half], tf.reshape(targets, (2, 4))[half], 8, 0.1)
    loss, right, norm = strategy.run(share)
    return strategy.reduce("SUM", loss, axis=None), norm.values[0]

for x, y in zip(tokens, targets):
    loss, _, norm = training.train_step(single.model, single.optimizer, x, y, 8, 0.1)
    both_loss, both_norm = step(x, y)
    np.testing.assert_allclose(both_loss, loss, rtol=1e-5)
    np.testing.assert_allclose(both_norm, norm, rtol=1e-4)
for a, b in zip(single.model.weights, mirrored.model.weights):
    np.testing.assert_allclose(np.asarray(b), np.asarray(a), atol=1e-5)
print("equal")
"""


@pytest.mark.slow
def test_two_replicas_equal_one_device():
    """Clipping before the gradients are complete, or a loss scaled by the replica's batch."""
    done = subprocess.run(
        [sys.executable, "-c", DISTRIBUTED], capture_output=True, text=True, timeout=200
    )
    assert done.stdout.strip() == "equal", done.stderr[-2000:]
