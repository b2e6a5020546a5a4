"""From a model's name to a Keras model: tokens -> one-hot -> RNN -> logits."""

import keras

from fast_weights.cells.common import check_choice, input_initializer
from fast_weights.config import Config
from fast_weights.layers import Control, FastWeights, LayerNormGRU, LayerNormRNN, faster_form

NUM_CLASSES = 37
# Sequences of up to so many steps are unrolled: XLA fuses across time steps then. A
# longer program takes a minute and more to compile (docs/memory_forms.md).
UNROLLED_LENGTH = 33


def build_layer(config: Config, form: str | None = None) -> keras.layers.Layer:
    """Makes the recurrent layer of `config.model_name`.

    Args:
        config: the settings.
        form: RNN-LN-FW's `"matrix"` or `"attention"`; by default the faster one.

    Returns:
        A layer from (B, T, D) to (B, H), not yet built.

    Raises:
        ValueError: if `form` is neither.
    """
    length, units = config.sequence_length, config.units
    unroll = length <= UNROLLED_LENGTH
    common = {"units": units, "unroll": unroll, "name": "rnn"}
    if config.model_name == "CONTROL":
        return Control(**common)
    common["epsilon"] = config.epsilon
    if config.model_name == "RNN-LN":
        return LayerNormRNN(**common)
    if config.model_name == "GRU-LN":
        return LayerNormGRU(gates=config.gates, **common)
    if form is not None:
        check_choice("form", form, ("matrix", "attention"))
    return FastWeights(
        inner_steps=config.inner_steps,
        decay_rate=config.decay_rate,
        fast_learning_rate=config.fast_learning_rate,
        recurrence=config.recurrence,
        memory=form or faster_form(length, units, unroll),
        **common,
    )


def build_model(config: Config, form: str | None = None) -> keras.Model:
    """Makes one of the four models, with new weights.

    Args:
        config: the settings.
        form: RNN-LN-FW's `"matrix"` or `"attention"`; by default the faster one.
            The numbers and the order of the weights are the same.

    Returns:
        A `keras.Model` from integer tokens, (B, T), to logits, (B, 37).
    """
    return model_around(build_layer(config, form), config)


def model_around(layer: keras.layers.Layer, config: Config) -> keras.Model:
    """The one model of this task around any recurrent layer, as `build_model` makes it."""
    tokens = keras.Input((config.sequence_length,), dtype="int32", name="tokens")
    symbols = keras.ops.one_hot(tokens, NUM_CLASSES)
    # In this order: weights are drawn from one seed as their layers are made.
    hidden = layer(symbols)
    logits = keras.layers.Dense(NUM_CLASSES, kernel_initializer=input_initializer(), name="logits")(
        hidden
    )
    return keras.Model(tokens, logits, name=config.model_name.replace("-", "_"))


def weights_by_name(model: keras.Model) -> dict:
    """A model's weights by names that do not depend on how it was built."""
    return {f"{layer.name}.{one.name}": one for layer in model.layers for one in layer.weights}
