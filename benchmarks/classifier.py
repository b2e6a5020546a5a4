"""Trains a classifier of masked sequences with `GRU`, `LSTM` and `FastWeights`.

python -m benchmarks.classifier

A sequence has 50 to 200 random tokens, and padding. Half of the sequences contain token 7, at one
random position. The model predicts whether a sequence contains it.

Before training, a run measures how much the last state depends on one token: `effect` replaces
that token and returns the relative change of the state. The program writes one JSON line for each
run to `docs/results/classifier.jsonl`, and skips runs that the file already contains.
"""

import dataclasses
import json
import time

import numpy as np

from benchmarks.runs import RESULTS_DIR, run_main
from fast_weights.experiment import storage

VOCABULARY, TOKEN = 100, 7  # 0 is padding
SHORTEST, LONGEST = 50, 200
NUM_TRAINING, NUM_VALIDATION, BATCH_SIZE, NUM_EPOCHS = 6_400, 2_048, 64, 5
FEATURES, UNITS, LEARNING_RATE = 32, 64, 1e-3
AGES = (10, 100)
RESULTS = RESULTS_DIR / "classifier.jsonl"


@dataclasses.dataclass(frozen=True)
class Setting:
    """A layer and its arguments.

    Attributes:
        layer: `"FastWeights"`, or the name of a layer of Keras.
        embedding: the largest value of an initial embedding. Embeddings are drawn uniformly between
            minus and plus this value. Keras's default is 0.05.
        arguments: the layer's arguments that differ from the defaults, as (name, value) pairs.
    """

    layer: str
    embedding: float = 0.05
    arguments: tuple = ()


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
RUNS = [(setting, seed) for setting, seeds in SETTINGS.items() for seed in range(seeds)]


def sequences(number, seed):
    """Returns tokens, (N, LONGEST), and whether each sequence contains `TOKEN`, (N,)."""
    rng = np.random.default_rng(seed)
    tokens = rng.choice(np.delete(np.arange(1, VOCABULARY), TOKEN - 1), size=(number, LONGEST))
    lengths = rng.integers(SHORTEST, LONGEST + 1, size=number)
    labels = rng.permutation(np.arange(number) % 2)
    tokens[np.flatnonzero(labels), rng.integers(lengths)[labels == 1]] = TOKEN
    return tokens * (np.arange(LONGEST) < lengths[:, None]), labels


def make_model(setting, units=UNITS):
    """Returns the model, untrained."""
    import keras

    import fast_weights

    home = fast_weights if setting.layer == "FastWeights" else keras.layers
    layer = getattr(home, setting.layer)(units, **dict(setting.arguments))
    initializer = keras.initializers.RandomUniform(-setting.embedding, setting.embedding)
    embedding = keras.layers.Embedding(VOCABULARY, FEATURES, initializer, mask_zero=True)
    model = keras.Sequential([embedding, layer, keras.layers.Dense(1, activation="sigmoid")])
    optimizer = keras.optimizers.Adam(LEARNING_RATE)
    model.compile(optimizer, "binary_crossentropy", metrics=["accuracy"], jit_compile=True)
    return model


def effect(model, age):
    """Returns the relative change of the last state if the token of that age is replaced."""
    tokens = np.random.default_rng(0).integers(TOKEN + 1, VOCABULARY, size=(128, LONGEST))
    changed = tokens.copy()
    changed[:, -1 - age] = TOKEN
    embedding, layer, _ = model.layers
    states, others = (np.asarray(layer(embedding(one))) for one in (tokens, changed))
    norms = np.linalg.norm(states, axis=1)
    return float(np.mean(np.linalg.norm(states - others, axis=1) / norms))


def train(setting, seed, num_training=NUM_TRAINING, num_epochs=NUM_EPOCHS, units=UNITS, ages=AGES):
    """Trains a model and returns the record of the run."""
    import keras

    keras.utils.set_random_seed(seed)
    start = time.perf_counter()
    model = make_model(setting, units)
    effects = [effect(model, age) for age in ages]
    history = model.fit(
        *sequences(num_training, seed),
        batch_size=BATCH_SIZE,
        epochs=num_epochs,
        validation_data=sequences(NUM_VALIDATION, 1_000 + seed),
        verbose=0,
    ).history
    seconds = round(time.perf_counter() - start, 1)
    run = {**dataclasses.asdict(setting), "seed": seed, "seconds": seconds, "effects": effects}
    return {**run, **{name: [round(value, 5) for value in history[name]] for name in history}}


def read_records():
    """Returns the records by setting and seed."""
    lines = RESULTS.read_text(encoding="utf-8").splitlines() if RESULTS.exists() else []
    return {run_of(record): record for record in map(json.loads, lines)}


def run_of(record):
    """Returns the setting and the seed of a record."""
    arguments = tuple(map(tuple, record["arguments"]))
    return Setting(record["layer"], record["embedding"], arguments), record["seed"]


def main():
    done = read_records()
    for number, (setting, seed) in enumerate(sorted(RUNS, key=lambda run: run[1]), 1):
        if (setting, seed) in done:
            continue
        print(f"{number} of {len(RUNS)}: {setting}, seed {seed}", flush=True)
        done[setting, seed] = train(setting, seed)
        storage.write_text(RESULTS, "".join(f"{json.dumps(one)}\n" for one in done.values()))
    print("To update the pages: python -m benchmarks.fill_pages")


if __name__ == "__main__":
    run_main(main)
