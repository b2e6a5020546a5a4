"""Asking a trained model: `g5o8k1??g` -> `5`."""

import keras
import numpy as np

from fast_weights import data


def predict(model: keras.Model, tokens: np.ndarray) -> np.ndarray:
    """The most likely token after each sequence: (N, T) to (N,), ints from 0 to 36."""
    logits = model.predict(tokens.astype(np.int32), batch_size=1024, verbose=0)
    return np.argmax(logits, axis=-1)


def predict_text(model: keras.Model, text: str, num_pairs: int) -> str:
    """The model's answer to one sequence, a symbol.

    Args:
        model: from tokens to logits.
        text: such as `g5o8k1??g`.
        num_pairs: K, how many pairs the model was trained on.

    Raises:
        UserError: if the text is no such sequence.
    """
    tokens = data.encode_sample(text, num_pairs)
    return data.decode(predict(model, tokens[None]))


def default_sample(num_pairs: int) -> str:
    """The sequence that is asked about where none is given."""
    if num_pairs == 3:
        return "g5o8k1??g"
    return data.decode(data.generate(1, num_pairs, np.random.default_rng(0)).tokens[0])


def accuracy_by_pair(model: keras.Model, split: data.Split) -> tuple[float, list[float]]:
    """Accuracy over all sequences, and over those that ask for each pair.

    Args:
        model: from tokens to logits.
        split: N sequences of K pairs.

    Returns:
        A fraction, and a list of K fractions (NaN where no sequence asks).
    """
    right = predict(model, split.tokens) == split.targets
    asked = data.asked_pair(split.tokens)
    num_pairs = (split.tokens.shape[1] - 3) // 2
    by_pair = [
        float(right[asked == pair].mean()) if (asked == pair).any() else float("nan")
        for pair in range(num_pairs)
    ]
    return float(right.mean()), by_pair
