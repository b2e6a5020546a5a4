"""Trains a classifier of masked sequences with `GRU`, `LSTM` and `FastWeights`.

python -m benchmarks.classifier

A sequence has 50 to 200 random tokens, and padding. Half of the sequences contain token 7, at one
random position. The model predicts whether a sequence contains it.

Before training, a run measures how much the last state depends on one token: `effect` replaces
that token and returns the relative change of the state. Writes `docs/results/classifier.jsonl`.
"""

import dataclasses
import time

import keras
import numpy as np

import fast_weights
from benchmarks.study import Measurement
from benchmarks.tables import Record, part, table

VOCABULARY, TOKEN = 100, 7  # 0 is padding
SHORTEST, LONGEST = 50, 200
NUM_TRAINING, NUM_VALIDATION, BATCH_SIZE, NUM_EPOCHS = 6_400, 2_048, 64, 5
FEATURES, UNITS, LEARNING_RATE = 32, 64, 1e-3
AGES = (10, 100)
SHOWN_EPOCHS = (1, 2, 3, 5)


@dataclasses.dataclass(frozen=True)
class Setting:
    """A layer, its arguments and a seed.

    Attributes:
        layer: `"FastWeights"`, or the name of a layer of Keras.
        embedding: the largest value of an initial embedding. Embeddings are drawn uniformly between
            minus and plus this value. Keras's default is 0.05.
        arguments: the layer's arguments that differ from the defaults, as (name, value) pairs.
        seed: of the weights and the sequences.
    """

    layer: str
    embedding: float = 0.05
    arguments: tuple = ()
    seed: int = 0


# Setting -> number of seeds.
SETTINGS = {
    Setting("GRU"): 3,
    Setting("LSTM"): 3,
    Setting("GRU", 1.0): 1,
    Setting("LSTM", 1.0): 1,
    Setting("FastWeights"): 3,
    Setting("FastWeights", 0.05, (("recurrent_initializer", "identity"),)): 1,
    Setting("FastWeights", 0.05, (("decay_rate", 1.0),)): 3,
    Setting("FastWeights", 1.0): 3,
    Setting("FastWeights", 1.0, (("decay_rate", 0.99),)): 3,
    Setting("FastWeights", 1.0, (("decay_rate", 1.0),)): 3,
    Setting("FastWeights", 1.0, (("decay_rate", 1.0), ("fast_learning_rate", 0.01))): 1,
    Setting("FastWeights", 1.0, (("recurrent_initializer", "identity"),)): 1,
    Setting("FastWeights", 1.0, (("inner_steps", 0),)): 1,
    Setting("FastWeights", 1.0, (("recurrence", "paper"),)): 1,
}


# Setting -> the same with each of its seeds.
CASES = {
    setting: [dataclasses.replace(setting, seed=seed) for seed in range(num_seeds)]
    for setting, num_seeds in SETTINGS.items()
}


def sequences(number: int, seed: int):
    """Returns tokens, (N, LONGEST), and whether each sequence contains `TOKEN`, (N,)."""
    rng = np.random.default_rng(seed)
    tokens = rng.choice(np.delete(np.arange(1, VOCABULARY), TOKEN - 1), size=(number, LONGEST))
    lengths = rng.integers(SHORTEST, LONGEST + 1, size=number)
    labels = rng.permutation(np.arange(number) % 2)
    tokens[np.flatnonzero(labels), rng.integers(lengths)[labels == 1]] = TOKEN
    return tokens * (np.arange(LONGEST) < lengths[:, None]), labels


def make_model(setting: Setting):
    """Returns the model, untrained."""
    home = fast_weights if setting.layer == "FastWeights" else keras.layers
    layer = getattr(home, setting.layer)(UNITS, **dict(setting.arguments))
    initializer = keras.initializers.RandomUniform(-setting.embedding, setting.embedding)
    embedding = keras.layers.Embedding(VOCABULARY, FEATURES, initializer, mask_zero=True)
    model = keras.Sequential([embedding, layer, keras.layers.Dense(1, activation="sigmoid")])
    optimizer = keras.optimizers.Adam(LEARNING_RATE)
    model.compile(optimizer, "binary_crossentropy", metrics=["accuracy"], jit_compile=True)
    return model


def effect(model, age: int) -> float:
    """Returns the relative change of the last state if the token of that age is replaced."""
    tokens = np.random.default_rng(0).integers(TOKEN + 1, VOCABULARY, size=(128, LONGEST))
    changed = tokens.copy()
    changed[:, -1 - age] = TOKEN
    embedding, layer, _ = model.layers
    states, others = (np.asarray(layer(embedding(one))) for one in (tokens, changed))
    norms = np.linalg.norm(states, axis=1)
    return float(np.mean(np.linalg.norm(states - others, axis=1) / norms))


def train(setting: Setting) -> Record:
    """Trains a model and returns the results of every epoch."""
    keras.utils.set_random_seed(setting.seed)
    start = time.perf_counter()
    model = make_model(setting)
    effects = [effect(model, age) for age in AGES]
    history = model.fit(
        *sequences(NUM_TRAINING, setting.seed),
        batch_size=BATCH_SIZE,
        epochs=NUM_EPOCHS,
        validation_data=sequences(NUM_VALIDATION, 1_000 + setting.seed),
        verbose=0,
    ).history
    results = {name: [round(value, 5) for value in values] for name, values in history.items()}
    return {"seconds": round(time.perf_counter() - start, 1), "effects": effects, **results}


BENCHMARK = Measurement(
    __doc__,
    "classifier",
    cases=[case for cases in CASES.values() for case in cases],
    measure=train,
)


@part("token_classifier")
def table_of_settings() -> str:
    """Returns validation accuracies, as the range over seeds, and mean effects of a token."""
    rows = []
    for setting, cases in CASES.items():
        records = [BENCHMARK[case] for case in cases]
        arguments = ", ".join(f"`{name}={value!r}`" for name, value in setting.arguments)
        row = [setting.layer, f"±{setting.embedding:g}", arguments or "defaults", len(cases)]
        for epoch in SHOWN_EPOCHS:
            values = [record["val_accuracy"][epoch - 1] for record in records]
            low, high = f"{min(values):.1%}", f"{max(values):.1%}"
            row.append(low if low == high else f"{low} to {high}")
        effects = np.mean([record["effects"] for record in records], axis=0)
        rows.append([*row, *(f"{effect:.2%}" for effect in effects)])
    heads = [f"epoch {epoch}" for epoch in SHOWN_EPOCHS]
    heads += [f"effect at age {age}" for age in AGES]
    return table(["layer", "embeddings", "arguments", "seeds", *heads], rows)


if __name__ == "__main__":
    BENCHMARK.main()
