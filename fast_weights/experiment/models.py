"""The models: `MODELS` has an entry for each, and `build_model` builds it."""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

# Keras takes seconds to load and the flags need only the names of the models, so this module
# loads it when a layer is built: `fast_weights.FastWeights` is a lazy name.
import fast_weights
from fast_weights.experiment import paper

if TYPE_CHECKING:
    import keras

    from fast_weights.experiment.config import Config
    from fast_weights.experiment.tasks import Task

# The loop over time is unrolled up to this length, so that XLA fuses across steps: RNN-LN-FW takes
# almost twice as long in a loop (`benchmarks/training_speed.py`). Longer sequences train in a loop,
# which compiles as fast at any length.
MAX_UNROLLED_LENGTH = 33


@dataclasses.dataclass(frozen=True)
class ModelEntry:
    """One model: how to build its recurrent layer, and facts that figures need.

    Attributes:
        layer: takes a `Config` and the arguments `unroll`, `return_sequences` and `name`. Returns a
            layer that maps (B, T, D) to (B, H), or to (B, T, H) with `return_sequences`.
        has_fast_weights: whether `trace_memory` and the figures of the memory apply to it.
        published: validation accuracy after 1000 epochs, read off the blog's plot, or `None`.
        blocks: takes a `Config`. Returns the names of the blocks of H columns in the matrices of
            slow weights.
    """

    layer: Callable[..., Any]
    has_fast_weights: bool = False
    published: float | None = None
    blocks: Callable[["Config"], tuple[str, ...]] = lambda config: ("h",)


def _control(config, **kwargs):
    return fast_weights.Control(config.units, **kwargs)


def _layer_norm_rnn(config, **kwargs):
    return fast_weights.LayerNormRNN(config.units, epsilon=config.epsilon, **kwargs)


def _fast_weights(config, **kwargs):
    return fast_weights.FastWeights(
        config.units,
        inner_steps=config.inner_steps,
        decay_rate=config.decay_rate,
        fast_learning_rate=config.fast_learning_rate,
        epsilon=config.epsilon,
        recurrence=config.recurrence,
        **kwargs,
    )


def _layer_norm_gru(config, **kwargs):
    return fast_weights.LayerNormGRU(
        config.units, gates=config.gates, epsilon=config.epsilon, **kwargs
    )


def _gru(config, **kwargs):
    import keras

    return keras.layers.GRU(config.units, **kwargs)


def _lstm(config, **kwargs):
    import keras

    return keras.layers.LSTM(config.units, **kwargs)


def _irnn(config, **kwargs):
    import keras

    identity = keras.initializers.Identity(gain=paper.IRNN_GAIN)
    return fast_weights.Control(config.units, recurrent_initializer=identity, **kwargs)


def _associative_lstm(config, unroll, **kwargs):
    # Its loop is faster than the unrolled one.
    return fast_weights.AssociativeLSTM(
        config.units, num_copies=paper.NUM_COPIES, num_heads=paper.NUM_HEADS, **kwargs
    )


def _linear_attention(config, unroll, **kwargs):
    from fast_weights.experiment.baselines import LinearAttention

    return LinearAttention(config.units, **kwargs)


def _delta_rule(config, unroll, **kwargs):
    from fast_weights.experiment.baselines import DeltaRule

    return DeltaRule(config.units, **kwargs)


def _layer_norm_gru_blocks(config):
    update = ("update",) if config.gates == "standard" else ()
    return ("reset", *update, "candidate")


# In the order in which figures draw them. Those with `published` are the blog's four models.
MODELS = {
    "CONTROL": ModelEntry(_control, published=0.48),
    "RNN-LN": ModelEntry(_layer_norm_rnn, published=0.90),
    "RNN-LN-FW": ModelEntry(_fast_weights, has_fast_weights=True, published=1.00),
    "GRU-LN": ModelEntry(_layer_norm_gru, published=0.93, blocks=_layer_norm_gru_blocks),
    "GRU": ModelEntry(_gru, blocks=lambda config: ("update", "reset", "candidate")),
    "LSTM": ModelEntry(_lstm, blocks=lambda config: ("input", "forget", "candidate", "output")),
    "IRNN": ModelEntry(_irnn),
    "A-LSTM": ModelEntry(_associative_lstm, blocks=lambda config: ()),
    "LINEAR-ATTENTION": ModelEntry(_linear_attention, blocks=lambda config: ("q", "k", "v")),
    "DELTA-RULE": ModelEntry(_delta_rule, blocks=lambda config: ("q", "k", "v")),
}
BLOG_MODELS = tuple(name for name, model in MODELS.items() if model.published is not None)


def build_layer(config: "Config") -> "keras.layers.Layer":
    """Returns the recurrent layer of `config.model_name`, not built yet."""
    task = config.make_task()
    unroll = task.length <= MAX_UNROLLED_LENGTH
    return_sequences = not task.answers_at_end
    layer = MODELS[config.model_name].layer
    return layer(config, unroll=unroll, return_sequences=return_sequences, name="rnn")


def layer_inputs(model: "keras.Model", task: "Task", tokens):
    """Returns the inputs of a model's recurrent layer, (B, T, D), and its keyword arguments.

    Args:
        model: as `build_model` returns it.
        task: the task of the tokens.
        tokens: (B, T), integers.
    """
    names = {layer.name for layer in model.layers}
    layers = [model.get_layer(name) for name in ("embedding", "expand") if name in names]
    return _symbols(task, tokens, layers), _mask(task, tokens)


def _symbols(task, tokens, layers):
    """Returns what `layers` make of one-hot vectors, (B, T, D)."""
    import keras

    symbols = keras.ops.one_hot(tokens, len(task.vocabulary))
    for layer in layers:
        symbols = layer(symbols)
    return symbols


def _mask(task, tokens):
    """Returns the keyword arguments of the recurrent layer: its mask, if the task has padding."""
    import keras

    return {} if task.padding is None else {"mask": keras.ops.not_equal(tokens, task.padding)}


def build_model(config: "Config", layer: "keras.layers.Layer | None" = None) -> "keras.Model":
    """Builds one of the models and compiles it.

    The weights are drawn from `config.seed`, which this function makes the seed of Keras, NumPy
    and Python.

    Args:
        config: the settings.
        layer: a recurrent layer from (B, T, D) to (B, H), or to (B, T, H) if the task has
            answers at several symbols. Default: the layer of `config.model_name`.

    Returns:
        A `keras.Model` from integer tokens, (B, T), to logits, (B, V) or (B, T, V). V is the size
        of the task's vocabulary. It is compiled with the optimizer of the settings, which clips
        gradients, the cross-entropy and the metric `accuracy`.

    Example:

    >>> import numpy as np
    >>> from fast_weights.experiment import Config
    >>> model = build_model(Config(units=4))
    >>> tokens, targets = np.zeros((8, 9), "int32"), np.zeros(8, "int32")
    >>> history = model.fit(tokens, targets, epochs=2, verbose=0).history
    >>> sorted(history), len(history["loss"])
    (['accuracy', 'loss'], 2)
    """
    import keras

    from fast_weights.experiment import metrics
    from fast_weights.experiment.optimizer import build_optimizer

    keras.utils.set_random_seed(config.seed)
    tokens, logits = _tokens_and_logits(config, layer)
    model = keras.Model(tokens, logits, name=config.model_name.replace("-", "_"))
    model.compile(
        build_optimizer(config),
        metrics.cross_entropy,
        metrics=[metrics.Accuracy()],
        jit_compile=True,
    )
    model.optimizer.build(model.trainable_variables)
    return model


def _tokens_and_logits(config, layer):
    """Returns the input and the output of a model."""
    import keras

    from fast_weights.cells.base import input_initializer

    def dense(units, activation, name):
        return keras.layers.Dense(
            units, activation, kernel_initializer=input_initializer(), name=name
        )

    task = config.make_task()
    num_symbols = len(task.vocabulary)
    tokens = keras.Input((task.length,), dtype="int32", name="tokens")
    # Keras draws initial weights in the order in which layers are built. The committed records
    # depend on this order.
    before, after = [], []
    if config.network == "paper":
        # Of one-hot vectors, a product is faster under XLA than a lookup and its gradient.
        before = [
            keras.layers.Dense(
                paper.EMBEDDING_SIZE,
                use_bias=False,
                kernel_initializer=keras.initializers.RandomNormal(stddev=0.5),
                name="embedding",
            ),
            dense(paper.NUM_RELUS, "relu", "expand"),
        ]
        after = [dense(paper.NUM_RELUS, "relu", "relus")]
    symbols = _symbols(task, tokens, before)
    hidden = (layer or build_layer(config))(symbols, **_mask(task, tokens))
    for one in [*after, dense(num_symbols, None, "logits")]:
        hidden = one(hidden)
    return tokens, hidden
