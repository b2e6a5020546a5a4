"""RNN-LN-FW through `train.py` against the original's way of stepping, side by side.

python -m benchmarks.training_speed

The original's way is a TensorFlow 1 graph that keeps A explicitly and is fed a
batch at each `Session.run`; it is written here anew, from the equations. Ours is
whole epochs of `training.train`: validation, results, checkpoint and TensorBoard
included, but for the look at the weights every 50 epochs, which is timed by itself.
The two alternate, an epoch of ours and as many steps of the other as
`--steps`, so that a machine that speeds up or slows down does so for both. Also
timed: the training steps of all models and of Keras's own GRUCell under the same
program, and the first epoch of the command from its start.
"""

import argparse
import pathlib
import platform
import subprocess
import sys
import tempfile
import time

import keras
import numpy as np
import tensorflow as tf

from benchmarks import timing
from benchmarks.runs import at_least_one
from fast_weights import data, models, summaries, training
from fast_weights.config import MODEL_NAMES, SUMMARY_EVERY, Config

tf1 = tf.compat.v1
ROOT = pathlib.Path(__file__).parent.parent


def original_graph(config: Config):
    """Builds RNN-LN-FW with explicit A as a TensorFlow 1 graph; returns its training step."""
    length, units, classes = config.sequence_length, config.units, data.NUM_CLASSES
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


class SideBySide(training.Reporter):
    """After each epoch of ours, times some steps of the original's way."""

    def __init__(self, step, batches, num_steps):
        # Made once, as the original makes them.
        self._feeds = [
            (one_hot(batches.tokens[i]), one_hot(batches.targets[i])) for i in range(num_steps)
        ]
        self._step = step
        self.epochs, self.steps = [], []
        self._start = time.perf_counter()

    def epoch(self, record, best, seconds_left):
        self.epochs.append(time.perf_counter() - self._start)
        start = time.perf_counter()
        for feed in self._feeds:
            self._step(*feed)
        self.steps.append((time.perf_counter() - start) / len(self._feeds))
        self._start = time.perf_counter()


def seconds_of_a_look(config, split, folder):
    """What `--summary_every` spaces out: histograms, pictures and text."""
    board = summaries.Summaries(f"{folder}/looks", config, models.build_model(config), split)
    times = []
    for steps in range(6):
        start = time.perf_counter()
        board.look(steps, with_probe=True)
        times.append(time.perf_counter() - start)
    board.close()
    return np.median(times[1:])


def one_hot(tokens):
    return np.eye(data.NUM_CLASSES, dtype=np.float32)[tokens]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    about = "of ours; the first and the last, which looks, are left out"
    parser.add_argument("--epochs", type=at_least_one, default=9, help=about)
    about = "of the original's, after each; at most an epoch's 500"
    parser.add_argument("--steps", type=at_least_one, default=100, help=about)
    flags = parser.parse_args()
    if flags.epochs < 3 or flags.steps > 500:
        parser.error("--epochs must be 3 or more, and --steps 500 or less")
    # A program is traced for each model, which TensorFlow takes for a mistake.
    tf.get_logger().setLevel("ERROR")
    config = Config(num_epochs=flags.epochs)
    split = data.generate(config.num_training, 3, np.random.default_rng(0))
    batches = data.batches(split, config.batch_size)
    num_steps = len(batches.targets)
    print(f"{platform.processor() or platform.machine()}, TensorFlow {tf.__version__}")

    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        paths = [f"--data_dir={folder}/data", f"--checkpoint_dir={folder}/checkpoints"]
        command = [sys.executable, str(ROOT / "train.py"), "--num_epochs=1", *paths]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        print(f"train.py from its start to the end of its first epoch: "
              f"{time.perf_counter() - start:.1f} s")  # fmt: skip
        both = SideBySide(original_graph(config), batches, flags.steps)
        training.train(config, f"{folder}/data", f"{folder}/run", both)
        look = seconds_of_a_look(config, split, folder)
    epochs, steps = both.epochs[1:-1], both.steps[1:-1]
    ours, theirs = np.median(epochs), np.median(steps)
    ratios = [step * num_steps / epoch for step, epoch in zip(steps, epochs, strict=True)]
    print(f"original's way: {1e3 * theirs:.2f} ms a step, {theirs * num_steps:.2f} s for "
          f"{num_steps} training steps")  # fmt: skip
    print(f"train.py: {ours:.2f} s an epoch of {num_steps} training steps, validation and files")
    print(f"ratio: {np.median(ratios):.1f} (median; lowest {min(ratios):.1f})")
    share = look / (look + SUMMARY_EVERY * ours)
    print(f"TensorBoard's look at weights and memory: {look:.2f} s every "
          f"{SUMMARY_EVERY} epochs, {share:.1%} of the time")  # fmt: skip

    tensors = data.Split(*(tf.constant(part) for part in batches))
    layers = {name: models.build_layer(Config(model_name=name)) for name in MODEL_NAMES}
    layers["Keras GRUCell"] = keras.layers.RNN(keras.layers.GRUCell(config.units), unroll=True)
    runs = {name: timing.compiled_steps(layer, config, tensors) for name, layer in layers.items()}
    rounds = [{name: run(200) for name, run in runs.items()} for _ in range(7)]
    print("training steps alone, under the same program:")
    for name in layers:
        times = [one[name] for one in rounds]
        ratio = np.median([one[name] / one["Keras GRUCell"] for one in rounds])
        print(f"  {name:14} {1e3 * np.median(times):5.2f} ms, {ratio:.2f} of Keras's GRUCell")


if __name__ == "__main__":
    main()
