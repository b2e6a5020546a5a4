"""Compares the speed of `train.py` with the original's way of training, for RNN-LN-FW.

python -m benchmarks.training_speed --save

The original's way is a TensorFlow 1 graph that forms A and is fed one batch per
`Session.run`; it is written here from the equations. `train.py` is measured in whole epochs:
validation, results, checkpoint and TensorBoard's scalars included. Its TensorBoard snapshots
are measured separately. The two alternate, an epoch of `train.py` and `--steps` steps of the
original, so that a machine that speeds up or slows down affects both.

Also measures the training steps of all models and of Keras's `GRUCell` in the same compiled
program; the program of `train.py` beside Keras's `fit`, which trains the same model on the same
batches; and `train.py` from its start to the end of its first epoch. Prints the tables of
`docs/speed.md`; with --save, writes `docs/results/training_speed.json`.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time

import keras
import numpy as np
import tensorflow as tf

from benchmarks import tables
from benchmarks.runs import RESULTS_DIR, ROOT, run_main
from fast_weights.experiment import dataset, storage, tasks
from fast_weights.experiment.checkpoint import new_state
from fast_weights.experiment.config import Config
from fast_weights.experiment.models import MODELS, build_layer, build_model
from fast_weights.experiment.program import EpochProgram
from fast_weights.experiment.run_dir import RunDirectory
from fast_weights.experiment.tensorboard import TensorBoardWriter
from fast_weights.experiment.training import Progress, train

tf1 = tf.compat.v1
GRU = "Keras's `GRUCell`"


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


class SideBySide(Progress):
    """Times each epoch of `train.py`, and after it some training steps of the original."""

    def __init__(self, step, batches, num_steps):
        # Encoded in advance, as the original does.
        self._feeds = [
            (one_hot(batches.tokens[i]), one_hot(batches.targets[i])) for i in range(num_steps)
        ]
        self._step = step
        self.epochs, self.steps = [], []
        self._start = time.perf_counter()

    def end_epoch(self, record, best, seconds_left):
        self.epochs.append(time.perf_counter() - self._start)
        start = time.perf_counter()
        for feed in self._feeds:
            self._step(*feed)
        self.steps.append((time.perf_counter() - start) / len(self._feeds))
        self._start = time.perf_counter()


def one_hot(tokens):
    return np.eye(37, dtype=np.float32)[tokens]


def measure_start(directory) -> float:
    """Returns the seconds from the start of `train.py` to the end of its first epoch."""
    paths = [f"--data_dir={directory}/data", f"--checkpoint_dir={directory}/start"]
    command = [sys.executable, str(ROOT / "train.py"), "--num_epochs=1", *paths]
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def measure_snapshot(config, split, directory) -> float:
    """Returns the seconds of a TensorBoard snapshot that includes the probe."""
    run_dir = RunDirectory(directory, config.model_name)
    board = TensorBoardWriter(run_dir, config, build_model(config), split)
    times = []
    for _ in range(6):
        start = time.perf_counter()
        board.write_snapshot(0)
        times.append(time.perf_counter() - start)
    board.close()
    return float(np.median(times[1:]))


def compiled_steps(layer, config: Config, batches: tasks.Batches):
    """Returns a function from n to the seconds of a step, the mean of n training steps.

    The program is that of `train.py`, whatever the layer.
    """
    program = EpochProgram(new_state(config, layer))
    tensors = [tf.constant(part) for part in batches]

    def run(steps: int) -> float:
        start = time.perf_counter()
        program.train(*tensors, tf.constant(0), tf.constant(steps), tf.zeros(3)).numpy()
        return (time.perf_counter() - start) / steps

    run(1)  # compiles
    return run


def measure_steps(config, batches) -> dict:
    """Measures training steps by layer, unrolled and in a loop.

    Returns:
        Milliseconds of an unrolled step, the same relative to `GRU`, and the time in a loop
        relative to unrolled.
    """
    layers = {name: build_layer(Config(model_name=name)) for name in MODELS}
    loops = {name: MODELS[name].layer(Config(model_name=name), name="rnn") for name in MODELS}
    for unroll, group in ((True, layers), (False, loops)):
        group[GRU] = keras.layers.RNN(keras.layers.GRUCell(config.units), unroll=unroll)
    unrolled = {name: compiled_steps(layer, config, batches) for name, layer in layers.items()}
    looped = {name: compiled_steps(layer, config, batches) for name, layer in loops.items()}
    rounds = [{name: (unrolled[name](200), looped[name](200)) for name in layers} for _ in range(7)]

    def medians(function):
        return {name: float(np.median([function(one, name) for one in rounds])) for name in layers}

    return {
        "step_ms": medians(lambda times, name: 1e3 * times[name][0]),
        "relative_to_gru": medians(lambda times, name: times[name][0] / times[GRU][0]),
        "loop_over_unrolled": medians(lambda times, name: times[name][1] / times[name][0]),
    }


def measure_fit(config, split, batches) -> dict:
    """Compares the program of `train.py` with `fit`, epoch by epoch from the same weights."""
    num_steps = len(batches.targets)
    state = new_state(config)
    program, tensors = EpochProgram(state), [tf.constant(part) for part in batches]
    model = new_state(config).model
    model.compile(
        keras.optimizers.Adam(
            config.learning_rate, epsilon=1e-8, global_clipnorm=config.max_gradient_norm
        ),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=True,
        steps_per_execution=num_steps,
    )
    losses, seconds = [], []
    for _ in range(5):
        start = time.perf_counter()
        totals = program.train(*tensors, tf.constant(0), tf.constant(num_steps), tf.zeros(3))
        loss = float(totals[0]) / num_steps
        middle = time.perf_counter()
        history = model.fit(
            split.tokens, split.targets, config.batch_size, shuffle=False, verbose=0
        ).history
        end = time.perf_counter()
        losses.append((loss, history["loss"][0]))
        seconds.append((middle - start, end - middle))
    ours, fit = np.median(seconds[1:], axis=0)  # the first epoch compiles
    return {
        "program_epoch_s": float(ours),
        "fit_epoch_s": float(fit),
        "fit_losses": losses,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    help = "epochs of train.py, at least 3; the first compiles, the last has a snapshot"
    parser.add_argument("--epochs", type=int, default=9, help=help)
    help = "of the original after each epoch, at most 500"
    parser.add_argument("--steps", type=int, default=100, help=help)
    parser.add_argument("--save", action="store_true", help="write the project's own record")
    flags = parser.parse_args()
    # A program is traced for each model, which TensorFlow takes for a mistake.
    tf.get_logger().setLevel("ERROR")
    config = Config(num_epochs=flags.epochs)
    split = dataset.generate(config).training
    batches = tasks.batches(split, config.batch_size)
    with tempfile.TemporaryDirectory() as directory:
        start = measure_start(directory)
        both = SideBySide(original_graph(config), batches, flags.steps)
        run_dir = RunDirectory(f"{directory}/train", config.model_name)
        train(config, run_dir, f"{directory}/data", both)
        snapshot = measure_snapshot(config, split, f"{directory}/snapshot")
    epochs, steps = both.epochs[1:-1], both.steps[1:-1]
    num_steps = len(batches.targets)
    ratios = [step * num_steps / epoch for step, epoch in zip(steps, epochs, strict=True)]
    record = {
        "steps_per_epoch": num_steps,
        "original_step_ms": 1e3 * float(np.median(steps)),
        "epoch_s": float(np.median(epochs)),
        "start_s": start,
        "snapshot_s": snapshot,
        "ratio": float(np.median(ratios)),
        "lowest_ratio": min(ratios),
        **measure_steps(config, batches),
        **measure_fit(config, split, batches),
    }
    parts = (tables.speed_training(record), tables.speed_steps(record), tables.speed_fit(record))
    print(*parts, sep="\n\n")
    print(f"\nThe original takes {record['ratio']:.1f} times as long as train.py (median; lowest "
          f"{record['lowest_ratio']:.1f}). Snapshots take {tables.snapshot_share(record)} of the "
          "time.")  # fmt: skip
    if flags.save:
        path = RESULTS_DIR / "training_speed.json"
        storage.write_text(path, f"{json.dumps(record, indent=2)}\n")
        print(f"Wrote {path}. To update the pages: python -m benchmarks.fill_pages")


if __name__ == "__main__":
    run_main(main)
