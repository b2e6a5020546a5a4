"""The models: `MODELS` has an entry for each, and `build_model` builds it."""

import dataclasses
import importlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from fast_weights.experiment import paper

# Keras takes seconds to load and the flags need only the names of the models, so this module
# loads it when a layer is built.
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
        layer: the layer's class, or its name as "module.Class", which is imported when a model is
            built. Its first argument is `units`. It maps (B, T, D) to (B, H), or to (B, T, H)
            with `return_sequences=True`.
        settings: the names of the fields of `Config` to pass to the layer.
        arguments: other arguments of the layer, by name.
        can_unroll: whether the layer has an `unroll` argument and is faster with it.
        has_fast_weights: whether `trace_memory` and the figures of the memory apply to it.
        published: validation accuracy after 1000 epochs, read off the blog's plot, or `None`.
        blocks: the names of the blocks of H columns in the matrices of slow weights.
    """

    layer: str | Callable[..., Any]
    settings: tuple[str, ...] = ()
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    can_unroll: bool = True
    has_fast_weights: bool = False
    published: float | None = None
    blocks: tuple[str, ...] = ("h",)


LINEAR: Any = {"can_unroll": False, "has_fast_weights": True, "blocks": ()}

# In the order in which figures draw them. Those with `published` are the blog's four models.
MODELS = {
    "CONTROL": ModelEntry("fast_weights.Control", published=0.48),
    "RNN-LN": ModelEntry("fast_weights.LayerNormRNN", ("epsilon",), published=0.90),
    "RNN-LN-FW": ModelEntry(
        "fast_weights.FastWeights",
        (
            "inner_steps",
            "decay_rate",
            "fast_learning_rate",
            "epsilon",
            "recurrence",
            "normalization",
        ),
        has_fast_weights=True,
        published=1.00,
    ),
    "GRU-LN": ModelEntry(
        "fast_weights.LayerNormGRU",
        ("gates", "epsilon"),
        published=0.93,
        blocks=("reset", "candidate"),
    ),
    "GRU": ModelEntry("keras.layers.GRU", blocks=("update", "reset", "candidate")),
    "LSTM": ModelEntry("keras.layers.LSTM", blocks=("input", "forget", "candidate", "output")),
    "IRNN": ModelEntry(
        "fast_weights.Control",
        arguments={
            "recurrent_initializer": {
                "class_name": "Identity",
                "config": {"gain": paper.IRNN_GAIN},
            }
        },
    ),
    "A-LSTM": ModelEntry(
        "fast_weights.AssociativeLSTM",
        arguments={"num_copies": paper.NUM_COPIES, "num_heads": paper.NUM_HEADS},
        can_unroll=False,
        blocks=(),
    ),
    "LINEAR-ATTENTION": ModelEntry("fast_weights.LinearAttention", **LINEAR),
    "DELTA-RULE": ModelEntry("fast_weights.DeltaNet", **LINEAR),
    "GATED-DELTA-RULE": ModelEntry("fast_weights.GatedDeltaNet", **LINEAR),
}
BLOG_MODELS = tuple(name for name, model in MODELS.items() if model.published is not None)


def build_layer(config: "Config") -> "keras.layers.Layer":
    """Returns the recurrent layer of `config.model_name`, not built yet."""
    task, model = config.make_task(), MODELS[config.model_name]
    layer = model.layer
    if isinstance(layer, str):
        module, _, name = layer.rpartition(".")
        layer = getattr(importlib.import_module(module), name)
    settings = {name: getattr(config, name) for name in model.settings}
    arguments = {**settings, **model.arguments}
    if model.can_unroll:
        arguments["unroll"] = task.length <= MAX_UNROLLED_LENGTH
    several = not task.answers_at_end
    return layer(config.units, return_sequences=several, name="rnn", **arguments)


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
    """Returns the outputs of `layers` for one-hot vectors of the tokens, (B, T, D)."""
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

    Sets the seed of Keras, NumPy and Python to `config.seed`, which decides the initial weights.

    Args:
        config: the settings.
        layer: a recurrent layer from (B, T, D) to (B, H), or to (B, T, H) if the task has
            answers at several symbols. Default: the layer of `config.model_name`.

    Returns:
        A `keras.Model` from integer tokens, (B, T), to logits, (B, V) or (B, T, V). V is the size
        of the task's vocabulary. The model is compiled with the cross-entropy, the metric
        `accuracy` and the optimizer of the settings, which clips gradients.

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
        # Under XLA, a product with one-hot vectors is faster than a lookup and its gradient.
        before = [
            keras.layers.Dense(
                paper.EMBEDDING_SIZE,
                use_bias=False,
                kernel_initializer=keras.initializers.RandomNormal(stddev=paper.EMBEDDING_STDDEV),
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
