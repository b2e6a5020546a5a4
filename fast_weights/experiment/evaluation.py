"""Evaluation of a trained model: its predictions, its accuracy and the trace of one sequence."""

import dataclasses

import keras
import numpy as np

from fast_weights.cells import FastWeightsCell
from fast_weights.cells.linear import LinearCell
from fast_weights.experiment.config import Config
from fast_weights.experiment.errors import UserError, option
from fast_weights.experiment.models import layer_inputs
from fast_weights.experiment.tasks import Split, Task
from fast_weights.tracing import MemoryTrace, trace_memory

# A trace holds A of every step of every sequence.
TRACE_BATCH = 1000


def predict_text(model: keras.Model, task: Task, text: str) -> str:
    """Returns the model's predictions for one sequence, as text.

    Args:
        model: from tokens to logits.
        task: the task that the model was trained on.
        text: a sequence of the task, such as `g5o8k1??g`.

    Raises:
        UserError: if the text is not such a sequence.
    """
    return task.decode(_probabilities(model, task, task.encode_sample(text)).argmax(axis=1))


def predict_answers(
    model: keras.Model, task: Task, text: str, number: int = 3
) -> list[tuple[str, dict[str, float]]]:
    """Returns each query of one sequence, with the probabilities of its most likely answers.

    Args:
        model: from tokens to logits.
        task: the task that the model was trained on.
        text: a sequence of the task, such as `g5o8k1??g`.
        number: of answers to each query, the most likely one first. Default 3.

    Raises:
        UserError: if the text is not such a sequence.
    """
    tokens = task.encode_sample(text)
    queries = [task.vocabulary[token] for token in tokens[task.answer_positions(tokens)]]
    return [
        (query, {task.vocabulary[i]: float(row[i]) for i in np.argsort(-row)[:number]})
        for query, row in zip(queries, _probabilities(model, task, tokens), strict=True)
    ]


def _probabilities(model: keras.Model, task: Task, tokens: np.ndarray) -> np.ndarray:
    """Returns the probability of each symbol as an answer to a sequence, (T,) -> (Q, V)."""
    logits = model(tokens[None], training=False)[0]
    probabilities = keras.ops.convert_to_numpy(keras.ops.softmax(logits))
    return (
        probabilities[None] if task.answers_at_end else probabilities[task.answer_positions(tokens)]
    )


def evaluate(model: keras.Model, config: Config, split: Split) -> dict[str, float]:
    """Returns the results of a model on the full batches of a split, as `fit` computes them.

    Args:
        model: from tokens to logits, as `build_model` returns it.
        config: the settings.
        split: N sequences of the task.

    Returns:
        `loss`, `accuracy`, and the accuracy on the answers of each group of the task,
        `accuracy_1`, …, which is NaN for a group without answers.
    """
    # `blocks` needs TensorFlow. The other functions run on any backend.
    from fast_weights.experiment.blocks import BlockModel, evaluation_block

    task = config.make_task()
    block = evaluation_block(split, config)
    found = BlockModel(model, task.num_groups).evaluate(block, verbose=0, return_dict=True)
    return {name: float(value) for name, value in found.items()}


@dataclasses.dataclass(frozen=True)
class SequenceTrace:
    """The states of a model at every step of one sequence of T symbols, as NumPy arrays.

    Attributes:
        task: the task of the sequence.
        tokens: the sequence, (T,).
        probabilities: (Q, V), the probability of each symbol of the vocabulary as the answer.
        hidden: (T, H), the output of each step.
        fast_weights: (T, H, H), A as each step reads it; for linear attention and the delta rules
            (T, n·d_k, d_v), S with the heads below each other; `None` for other models.
        attention: (T, S, T), the weight of the vector of symbol τ in read s of step t; for linear
            attention and the delta rules (T, n, T), in that of each head; `None` for other
            models. The vector of a symbol is written at the step of the
            symbol. With `recurrence="paper"`, it is the state after the symbol, which is written
            at the next step.
        has_heads: whether `attention` has an axis of heads, instead of inner steps.
    """

    task: Task
    tokens: np.ndarray
    probabilities: np.ndarray
    hidden: np.ndarray
    fast_weights: np.ndarray | None
    attention: np.ndarray | None
    has_heads: bool = False

    @property
    def text(self) -> str:
        """The sequence."""
        return self.task.decode(self.tokens)

    @property
    def positions(self) -> np.ndarray:
        """The indices of the symbols that have an answer, (Q,)."""
        return self.task.answer_positions(self.tokens)

    @property
    def symbols(self) -> list[str]:
        """The symbols of the sequence."""
        return [self.task.vocabulary[token] for token in self.tokens]

    @property
    def prediction(self) -> str:
        """The most likely answers, as text."""
        return self.task.decode(self.probabilities.argmax(axis=1))


def trace_sequence(model: keras.Model, task: Task, text: str) -> SequenceTrace:
    """Runs a model on one sequence and returns its state at every step, without the padding.

    Args:
        model: from tokens to logits.
        task: the task that the model was trained on.
        text: a sequence of the task, such as `g5o8k1??g`.

    Raises:
        UserError: if the text is not such a sequence.
    """
    tokens = task.encode_sample(text)
    length = np.flatnonzero(tokens != task.padding)[-1] + 1
    hidden = hidden_states(model, task, tokens[None])[0, :length]
    fast_weights = attention = None
    cell = getattr(model.get_layer("rnn"), "cell", None)
    if isinstance(cell, FastWeightsCell | LinearCell):
        trace = _trace(model, task, tokens[None])
        fast_weights = keras.ops.convert_to_numpy(trace.fast_weights)[0, :length]
        fast_weights = fast_weights.reshape(length, -1, fast_weights.shape[-1])
        attention = _attention_by_symbol(model, trace)[0, :length, :, :length]
    probabilities = _probabilities(model, task, tokens)
    has_heads = isinstance(cell, LinearCell)
    return SequenceTrace(
        task, tokens[:length], probabilities, hidden, fast_weights, attention, has_heads
    )


def hidden_states(model: keras.Model, task: Task, tokens: np.ndarray) -> np.ndarray:
    """Returns the state of the recurrent layer after every step: (B, T) -> (B, T, H)."""
    layer = model.get_layer("rnn")
    # A copy: a change of the model's own layer would affect its next call.
    copy = type(layer).from_config({**layer.get_config(), "return_sequences": True})
    symbols, mask = layer_inputs(model, task, tokens)
    copy.build(symbols.shape)
    copy.set_weights(layer.get_weights())
    return keras.ops.convert_to_numpy(copy(symbols, **mask))


def mean_attention(model: keras.Model, task: Task, split: Split) -> np.ndarray:
    """Returns the mean attention of the sequences of each group of the task.

    Args:
        model: of a layer that `trace_memory` takes, from tokens to logits.
        task: the task that the model was trained on.
        split: N sequences of the task.

    Returns:
        (G, T, T): for each group, the weight of the vector of symbol τ in step t, summed over the
        inner steps or the heads. G is 1 for a task with several answers in a sequence.

    Raises:
        UserError: if a group has no sequence.
    """
    num_sequences, length = split.tokens.shape
    groups = task.groups(split) if task.answers_at_end else np.zeros(num_sequences, dtype=int)
    counts = np.bincount(groups, minlength=task.num_groups if task.answers_at_end else 1)
    if not counts.all():
        raise UserError(
            f"no validation sequence queries {task.group} {np.argmin(counts) + 1}. Train with a "
            f"larger {option('num_validation')}. Received: num_validation={num_sequences}"
        )
    sums = np.zeros((len(counts), length, length))
    for start in range(0, num_sequences, TRACE_BATCH):
        part = slice(start, start + TRACE_BATCH)
        trace = _trace(model, task, split.tokens[part].astype(np.int32))
        np.add.at(sums, groups[part], _attention_by_symbol(model, trace).sum(axis=2))
    return sums / counts[:, None, None]


def _trace(model: keras.Model, task: Task, tokens: np.ndarray) -> MemoryTrace:
    """Returns the trace of the model's memory over tokens, (B, T)."""
    symbols, mask = layer_inputs(model, task, tokens)
    return trace_memory(model.get_layer("rnn"), symbols, **mask)


def _attention_by_symbol(model: keras.Model, trace: MemoryTrace) -> np.ndarray:
    """Returns the attention of a trace by the symbol whose vector is read, (B, T, S, T)."""
    attention = keras.ops.convert_to_numpy(trace.attention)
    if getattr(model.get_layer("rnn").cell, "recurrence", None) == "paper":
        # Step τ writes the state after symbol τ - 1. The first step writes zeros.
        attention = np.roll(attention, -1, axis=-1)
    return attention
