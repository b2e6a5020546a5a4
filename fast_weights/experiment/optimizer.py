"""The optimizer of a run: Adam, its learning rate schedule, gradient clipping and weight decay."""

import keras

from fast_weights.experiment.config import Config


def build_optimizer(config: Config) -> keras.optimizers.Optimizer:
    """Returns Adam with the settings of a run.

    It clips the gradients to the global norm `config.max_gradient_norm`.
    """
    optimizer = keras.optimizers.Adam(
        learning_rate(config),
        epsilon=1e-8,  # TensorFlow 1's default; Keras's is 1e-7
        weight_decay=config.weight_decay or None,
        global_clipnorm=config.max_gradient_norm,
    )
    if config.weight_decay:
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def learning_rate(config: Config):
    """Returns the learning rate, or its schedule: a linear warm-up, then a cosine down to 0.

    The schedule depends only on the number of updates, which the optimizer counts.
    """
    if config.learning_rate_schedule == "constant":
        return config.learning_rate
    return keras.optimizers.schedules.CosineDecay(
        0.0 if config.warmup_steps else config.learning_rate,
        config.num_updates - config.warmup_steps,
        warmup_target=config.learning_rate if config.warmup_steps else None,
        warmup_steps=config.warmup_steps,
    )
