"""From a model's name to a Keras model: tokens -> one-hot -> RNN -> logits."""

import keras

from fast_weights.cells import (
    ControlCell,
    FastWeightsAttentionCell,
    FastWeightsCell,
    LayerNormGRUCell,
    LayerNormRNNCell,
)
from fast_weights.cells.common import input_initializer
from fast_weights.config import Config

NUM_CLASSES = 37
# The longest sequences at which attention was seen to be faster whatever the units.
MEASURED_LENGTH = 21


def faster_form(sequence_length: int, units: int) -> str:
    """Which form of the fast weights trains faster: "attention" or "matrix".

    Measured by `python -m benchmarks.memory_forms` on two CPU cores: for T of 9
    and 21 and H of 20, 50 and 100 the attention form was 3 to 40 times as fast.
    Beyond that the bound follows from the counts: a read costs 2·T·H in attention
    form and H² in matrix form, whose write costs H² more.
    """
    return "attention" if sequence_length <= max(units, MEASURED_LENGTH) else "matrix"


def build_cell(config: Config, form: str | None = None) -> keras.layers.Layer:
    """Makes the recurrent cell of `config.model_name`.

    Args:
        config: the settings.
        form: RNN-LN-FW's `"matrix"` or `"attention"`; by default the faster one.

    Returns:
        A cell for `keras.layers.RNN`, not yet built.
    """
    if config.model_name == "CONTROL":
        return ControlCell(config.units)
    if config.model_name == "RNN-LN":
        return LayerNormRNNCell(config.units, epsilon=config.epsilon)
    if config.model_name == "GRU-LN":
        return LayerNormGRUCell(config.units, gates=config.gates, epsilon=config.epsilon)
    arguments = {
        "units": config.units,
        "inner_steps": config.inner_steps,
        "decay_rate": config.decay_rate,
        "fast_learning_rate": config.fast_learning_rate,
        "epsilon": config.epsilon,
    }
    form = form or faster_form(config.sequence_length, config.units)
    if form == "matrix":
        return FastWeightsCell(**arguments)
    return FastWeightsAttentionCell(memory_size=config.sequence_length, **arguments)


def build_model(config: Config, form: str | None = None) -> keras.Model:
    """Makes one of the four models, with new weights.

    Args:
        config: the settings.
        form: RNN-LN-FW's `"matrix"` or `"attention"`; by default the faster one.
            The numbers and the order of the weights are the same.

    Returns:
        A `keras.Model` from integer tokens, (B, T), to logits, (B, 37).
    """
    return model_around(build_cell(config, form), config)


def model_around(cell: keras.layers.Layer, config: Config) -> keras.Model:
    """The one model of this task around any recurrent cell, as `build_model` makes it."""
    tokens = keras.Input((config.sequence_length,), dtype="int32", name="tokens")
    symbols = keras.ops.one_hot(tokens, NUM_CLASSES)
    # Unrolled: XLA fuses across time steps, and a loop inside it costs more than it saves.
    hidden = keras.layers.RNN(cell, unroll=True, name="rnn")(symbols)
    logits = keras.layers.Dense(NUM_CLASSES, kernel_initializer=input_initializer(), name="logits")(
        hidden
    )
    return keras.Model(tokens, logits, name=config.model_name.replace("-", "_"))
