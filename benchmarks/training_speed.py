"""Compares the speed of `train.py` with the original's way of training and with Keras's `fit`.

python -m benchmarks.training_speed

- original: an epoch of RNN-LN-FW by `train`, with validation, records, checkpoint and TensorBoard,
  beside training steps of the original's way: a TensorFlow 1 graph that forms A and is fed one
  batch per `Session.run`. It is written here from the equations. The two take turns, so that a
  machine that speeds up or slows down affects both.
- steps: an epoch of all models and of Keras's `GRUCell`, unrolled and in a loop.
- fit: an epoch in the blocks that `train` uses, beside `fit` with `steps_per_execution`, which
  trains the same model on the same batches.

Writes `docs/results/training_speed.jsonl`.
"""

import dataclasses
import functools
import statistics
import tempfile
import time
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from benchmarks.study import Measurement, alternate, median, timed
from benchmarks.tables import Record, part, table
from fast_weights.experiment import dataset, tasks
from fast_weights.experiment.blocks import BlockModel, num_blocks, training_blocks
from fast_weights.experiment.config import SUMMARY_EVERY, Config
from fast_weights.experiment.metrics import Accuracy
from fast_weights.experiment.models import MODELS, build_layer, build_model
from fast_weights.experiment.run_dir import RunDirectory
from fast_weights.experiment.training import train

tf1 = tf.compat.v1
GRU = "Keras's `GRUCell`"
NUM_EPOCHS = 13
# Of the original after each epoch.
NUM_STEPS = 100


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One of the comparisons above."""

    name: str


def original_graph(config: Config):
    """Returns a training step of RNN-LN-FW that forms A, built as a TensorFlow 1 graph."""
    task = config.make_task()
    length, units, classes = task.length, config.units, len(task.vocabulary)
    graph = tf.Graph()
    with graph.as_default():
        tf1.set_random_seed(0)
        inputs = tf1.placeholder(tf.float32, (config.batch_size, length, classes))
        targets = tf1.placeholder(tf.float32, (config.batch_size, classes))
        limit = np.sqrt(2 / classes)

        def variable(initial):
            return tf1.Variable(initial, use_resource=False)

        W_x = variable(tf1.random_uniform((classes, units), -limit, limit))
        b_x = variable(tf.zeros(units))
        W_h = variable(0.05 * tf.eye(units))
        gain, bias = variable(tf.ones(units)), variable(tf.zeros(units))
        W_y = variable(tf1.random_uniform((units, classes), -limit, limit))
        b_y = variable(tf.zeros(classes))
        A = tf.zeros((config.batch_size, units, units))
        h = tf.zeros((config.batch_size, units))
        for t in range(length):
            z = tf.matmul(inputs[:, t], W_x) + b_x
            h = tf.nn.relu(z + tf.matmul(h, W_h))
            h_s = h[:, None, :]
            outer = tf.matmul(h_s, h_s, transpose_a=True)
            A = config.decay_rate * A + config.fast_learning_rate * outer
            slow = (z + tf.matmul(h, W_h))[:, None, :]
            for _ in range(config.inner_steps):
                a = slow + tf.matmul(h_s, A)
                mean, variance = tf.nn.moments(a, axes=[2], keepdims=True)
                h_s = tf.nn.relu(gain * (a - mean) / tf.sqrt(variance + config.epsilon) + bias)
            h = h_s[:, 0]
        loss = tf.reduce_mean(
            tf1.nn.softmax_cross_entropy_with_logits_v2(
                labels=targets, logits=tf.matmul(h, W_y) + b_y
            )
        )
        weights = tf1.trainable_variables()
        gradients, norm = tf.clip_by_global_norm(
            tf.gradients(loss, weights), config.max_gradient_norm
        )
        optimizer = tf1.train.AdamOptimizer(config.learning_rate)
        update = optimizer.apply_gradients(zip(gradients, weights, strict=True))
        session = tf1.Session(graph=graph)
        session.run(tf1.global_variables_initializer())
    return lambda x, y: session.run((loss, norm, update), {inputs: x, targets: y})


class SideBySide(keras.callbacks.Callback):
    """Times each epoch with all that `train` writes, and then some steps of the original."""

    def __init__(self, step, batches: tasks.Split):
        super().__init__()
        one_hot = np.eye(37, dtype=np.float32)
        # Encoded in advance, as the original does.
        self._feeds = [
            (one_hot[batches.tokens[i]], one_hot[batches.targets[i]]) for i in range(NUM_STEPS)
        ]
        self._step = step
        self.epochs, self.steps = [], []

    def on_epoch_begin(self, epoch, logs=None):
        if epoch:
            self.epochs.append(time.perf_counter() - self._start)
        self.steps.append(timed(lambda: [self._step(*feed) for feed in self._feeds]) / NUM_STEPS)
        self._start = time.perf_counter()


def measure_original(config: Config) -> Record:
    """Measures epochs of `train`, half of them with a snapshot, and steps of the original."""
    config = dataclasses.replace(config, num_epochs=NUM_EPOCHS)
    batches = tasks.batches(dataset.generate(config).training, config.batch_size)
    with tempfile.TemporaryDirectory() as directory:
        both = SideBySide(original_graph(config), batches)
        run_dir = RunDirectory(f"{directory}/train", config.model_name)
        train(config, run_dir, directory, callbacks=[both], summary_every=2)
    # The first epoch compiles, and every second one has a snapshot.
    with_snapshot, epochs, steps = both.epochs[1::2], both.epochs[2::2], both.steps[3::2]
    num_steps = len(batches.targets)
    ratios = [step * num_steps / epoch for step, epoch in zip(steps, epochs, strict=True)]
    return {
        "steps_per_epoch": num_steps,
        "original_step_ms": 1e3 * statistics.median(steps),
        "epoch_s": statistics.median(epochs),
        "snapshot_s": statistics.median(with_snapshot) - statistics.median(epochs),
        "ratio": statistics.median(ratios),
        "lowest_ratio": min(ratios),
    }


def epoch_in_blocks(config: Config, layer=None) -> Callable[[], float]:
    """Returns a function that trains a model for an epoch as `train` does, and returns seconds."""
    model = BlockModel(build_model(config, layer), config.make_task().num_groups)
    blocks = training_blocks(dataset.generate(config).training, config)
    arguments = {"steps_per_epoch": num_blocks(config), "shuffle": False, "verbose": 0}
    return lambda: timed(lambda: model.fit(blocks, **arguments))


def compiled_rounds(functions: dict) -> list[dict]:
    """Returns the results of functions that take turns, after a round that compiles them."""
    for function in functions.values():
        function()
    return alternate(functions)


def measure_steps(config: Config) -> Record:
    """Measures training steps by layer, unrolled and in a loop, in the program of `train`.

    Returns:
        Milliseconds of an unrolled step, the same relative to `GRU`, and the time in a loop
        relative to unrolled.
    """
    functions, names = {}, [*MODELS, GRU]
    for name in names:
        for unroll in (True, False):
            if name == GRU:
                layer = keras.layers.RNN(keras.layers.GRUCell(config.units), unroll=unroll)
            else:
                layer = build_layer(dataclasses.replace(config, model_name=name))
                if MODELS[name].can_unroll:
                    layer = type(layer).from_config({**layer.get_config(), "unroll": unroll})
            functions[name, unroll] = epoch_in_blocks(config, layer)
    rounds, steps = compiled_rounds(functions), config.num_training // config.batch_size
    return {
        "step_ms": {name: 1e3 * median(rounds, (name, True)) / steps for name in names},
        "relative_to_gru": {name: median(rounds, (name, True), (GRU, True)) for name in names},
        "loop_over_unrolled": {name: median(rounds, (name, False), (name, True)) for name in names},
    }


def measure_fit(config: Config) -> Record:
    """Compares the blocks of `train` with `fit`, by the seconds of an epoch."""
    split, plain = dataset.generate(config).training, build_model(config)
    steps = config.num_training // config.batch_size
    arguments = {"metrics": [Accuracy()], "jit_compile": True, "steps_per_execution": steps}
    plain.compile(plain.optimizer, plain.loss, **arguments)
    fit = functools.partial(plain.fit, *split, config.batch_size, shuffle=False, verbose=0)
    functions = {"program_epoch_s": epoch_in_blocks(config), "fit_epoch_s": lambda: timed(fit)}
    rounds = compiled_rounds(functions)
    return {name: median(rounds, name) for name in functions}


MEASURE = {"original": measure_original, "steps": measure_steps, "fit": measure_fit}
BENCHMARK = Measurement(
    __doc__,
    "training_speed",
    cases=[Comparison(name) for name in MEASURE],
    measure=lambda comparison: MEASURE[comparison.name](Config()),
)


def record_of(name: str) -> Record:
    """Returns the record of a comparison."""
    return BENCHMARK[Comparison(name)]


@part("speed_training")
def table_of_training() -> str:
    """Returns the times of `train.py` and of the original's way of training."""
    record = record_of("original")
    step, steps = record["original_step_ms"], record["steps_per_epoch"]
    epoch = f"`train.py`: one epoch of {steps} training steps, validation and files"
    snapshot = "`train.py`: one TensorBoard snapshot of weights and memory"
    rows = [
        ["original: one training step", f"{step:.2f} ms"],
        [f"original: {steps} training steps", f"{step * steps / 1e3:.2f} s"],
        [epoch, f"{record['epoch_s']:.2f} s"],
        [f"{snapshot}, every {SUMMARY_EVERY} epochs", f"{record['snapshot_s']:.2f} s"],
    ]
    return table(["RNN-LN-FW", "time"], rows)


@part("speed_steps")
def table_of_steps() -> str:
    """Returns the time of a training step of each layer, relative to Keras's GRU, and in a loop."""
    record, keys = record_of("steps"), ("relative_to_gru", "loop_over_unrolled")
    rows = (
        [name, f"{time:.2f} ms", *(f"{record[key][name]:.2f}" for key in keys)]
        for name, time in record["step_ms"].items()
    )
    return table(["layer", "time", "relative to Keras's `GRUCell`", "loop / unrolled"], rows)


@part("speed_fit")
def table_of_fit() -> str:
    """Returns the time of an epoch in the program of `train.py` and with `fit`."""
    record = record_of("fit")
    rows = {"the program of `train.py`": "program_epoch_s", "`fit`": "fit_epoch_s"}
    return table(["", "one epoch"], ([row, f"{record[name]:.2f} s"] for row, name in rows.items()))


@part("snapshot_share")
def snapshot_share() -> str:
    """Returns the share of the time of training that TensorBoard snapshots take."""
    record = record_of("original")
    snapshot = record["snapshot_s"]
    return f"{snapshot / (snapshot + SUMMARY_EVERY * record['epoch_s']):.1%}"


part("epoch_time")(lambda: f"{record_of('original')['epoch_s']:.2f} s")
part("speed_ratio")(lambda: f"{record_of('original')['ratio']:.1f}")
part("speed_lowest_ratio")(lambda: f"{record_of('original')['lowest_ratio']:.1f}")


if __name__ == "__main__":
    BENCHMARK.main()
