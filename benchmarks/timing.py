"""What the benchmarks share: a timed chunk of the compiled program on real sequences."""

import time

import keras
import numpy as np
import tensorflow as tf

from fast_weights import checkpoints, data, models, training
from fast_weights.config import Config


def training_batches(config: Config, num_sequences: int) -> data.Split:
    """Batches of the task, as tensors."""
    split = data.generate(num_sequences, config.num_pairs, np.random.default_rng(0))
    batches = data.batches(split, config.batch_size)
    return data.Split(*(tf.constant(part) for part in batches))


def compiled_steps(layer, config: Config, batches: data.Split):
    """A function that takes `layer`'s model through n training steps; seconds a step.

    The program is `train.py`'s: whatever the layer, the same step, compiled once.
    """
    model = models.model_around(layer, config)
    optimizer = keras.optimizers.Adam(config.learning_rate, epsilon=1e-8)
    optimizer.build(model.trainable_variables)
    program = training.EpochProgram(checkpoints.TrainingState(config, model, optimizer), config)

    def run(steps: int) -> float:
        start = time.perf_counter()
        totals = program.train(*batches, tf.constant(0), tf.constant(steps), tf.zeros(3))
        totals.numpy()
        return (time.perf_counter() - start) / steps

    run(1)  # compiles
    return run
