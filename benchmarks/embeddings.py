"""Trains `FastWeights` and `GRU` with embeddings of different sizes, on four tasks.

python -m benchmarks.embeddings

Keras's embeddings start between -0.05 and 0.05. `WAYS` lists ways to give the layer larger inputs.
Writes `docs/results/embeddings.jsonl`.
"""

import dataclasses

import keras
import numpy as np

import fast_weights
from benchmarks.study import Measurement
from benchmarks.tables import Record, part, table

VOCABULARY, LONGEST, NUM_PAIRS = 30, 24, 4  # 0 is padding
NUM_TRAINING, NUM_VALIDATION, BATCH_SIZE, NUM_EPOCHS = 6_400, 2_048, 64, 15
FEATURES, UNITS, LEARNING_RATE = 32, 64, 1e-3
SEEDS = range(1)
# Way to enlarge the inputs -> the bound of the initial embeddings, the scale of the initial W_x
# relative to its default, and whether a `LayerNormalization` precedes the layer.
WAYS = {
    "none": (0.05, 1.0, False),
    "embeddings of ±1": (1.0, 1.0, False),
    "initial W_x times 20": (0.05, 20.0, False),
    "`LayerNormalization`": (0.05, 1.0, True),
}


@dataclasses.dataclass(frozen=True)
class Case:
    """A training run.

    Attributes:
        task: a name in `TASKS`.
        layer: `"FastWeights"` or `"GRU"`.
        way: a name in `WAYS`.
        seed: of the weights and the sequences.
    """

    task: str
    layer: str
    way: str
    seed: int


def repeated(rng, tokens, ends, labels) -> None:
    """Labels whether the last symbol occurred before."""
    for row, end, label in zip(tokens, ends, labels, strict=True):
        before = row[:end]
        if label:
            before[rng.integers(end)] = row[end]
        else:
            before[before == row[end]] = 1 + row[end] % (VOCABULARY - 1)


def ordered(rng, tokens, ends, labels) -> None:
    """Labels whether symbol 1 comes before symbol 2. Both occur once."""
    tokens[(tokens == 1) | (tokens == 2)] = 3
    for row, end, label in zip(tokens, ends, labels, strict=True):
        first, second = sorted(rng.choice(end + 1, size=2, replace=False))
        row[[first, second]] = (1, 2) if label else (2, 1)


def contained(rng, tokens, ends, labels) -> None:
    """Labels whether symbol 1 occurs."""
    tokens[tokens == 1] = 2
    tokens[np.flatnonzero(labels), rng.integers(ends + 1)[labels == 1]] = 1


def recalled(rng, tokens, ends, labels) -> None:
    """Labels each sequence of pairs and a key with the value of the key, 0 or 1."""
    tokens[:] = 0
    keys = rng.permuted(np.tile(np.arange(3, VOCABULARY), (len(tokens), 1)), axis=1)
    values = rng.integers(1, 3, size=(len(tokens), NUM_PAIRS))
    asked = rng.integers(NUM_PAIRS, size=len(tokens))
    rows = np.arange(len(tokens))
    tokens[:, 0 : 2 * NUM_PAIRS : 2] = keys[:, :NUM_PAIRS]
    tokens[:, 1 : 2 * NUM_PAIRS : 2] = values
    tokens[:, 2 * NUM_PAIRS] = keys[rows, asked]
    labels[:] = values[rows, asked] - 1


TASKS = {
    "the last symbol occurred before": repeated,
    "one symbol comes before another": ordered,
    "a symbol occurs": contained,
    f"recall, K = {NUM_PAIRS}": recalled,
}


def sequences(task: str, number: int, seed: int):
    """Returns tokens, (N, LONGEST), padded at the end, and labels of 0 or 1, (N,)."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(1, VOCABULARY, size=(number, LONGEST))
    ends = rng.integers(LONGEST // 2, LONGEST, size=number)  # the position of the last symbol
    labels = rng.permutation(np.arange(number) % 2)
    TASKS[task](rng, tokens, ends, labels)
    return tokens * (np.arange(LONGEST) <= ends[:, None]), labels


def make_model(case: Case):
    """Returns the model, untrained."""
    size, scale, is_normalized = WAYS[case.way]
    initializer = keras.initializers.RandomUniform(-size, size)
    layers = [keras.layers.Embedding(VOCABULARY, FEATURES, initializer, mask_zero=True)]
    if is_normalized:
        layers.append(keras.layers.LayerNormalization())
    home = fast_weights if case.layer == "FastWeights" else keras.layers
    layer = getattr(home, case.layer)(UNITS)
    layers += [layer, keras.layers.Dense(1, activation="sigmoid")]
    model = keras.Sequential(layers)
    model.build((None, LONGEST))
    layer.cell.kernel.assign(scale * layer.cell.kernel)
    optimizer = keras.optimizers.Adam(LEARNING_RATE)
    model.compile(optimizer, "binary_crossentropy", metrics=["accuracy"], jit_compile=True)
    return model


def train(case: Case) -> Record:
    """Trains a model and returns the validation accuracy of every epoch."""
    keras.utils.set_random_seed(case.seed)
    history = (
        make_model(case)
        .fit(
            *sequences(case.task, NUM_TRAINING, case.seed),
            batch_size=BATCH_SIZE,
            epochs=NUM_EPOCHS,
            validation_data=sequences(case.task, NUM_VALIDATION, 1_000 + case.seed),
            verbose=0,
        )
        .history
    )
    return {"val_accuracy": [round(value, 5) for value in history["val_accuracy"]]}


CASES = {
    (layer, way): {task: [Case(task, layer, way, seed) for seed in SEEDS] for task in TASKS}
    for layer, ways in {"FastWeights": WAYS, "GRU": [*WAYS][:2]}.items()
    for way in ways
}
BENCHMARK = Measurement(
    __doc__,
    "embeddings",
    cases=[case for tasks in CASES.values() for cases in tasks.values() for case in cases],
    measure=train,
)


@part("embeddings")
def table_of_accuracies() -> str:
    """Returns a table of the validation accuracies after the last epoch."""
    rows = []
    for (layer, way), tasks in CASES.items():
        row = [layer, way]
        for cases in tasks.values():
            values = [BENCHMARK[case]["val_accuracy"][-1] for case in cases]
            low, high = f"{min(values):.1%}", f"{max(values):.1%}"
            row.append(low if low == high else f"{low} to {high}")
        rows.append(row)
    return table(["layer", "larger inputs by", *TASKS], rows)


if __name__ == "__main__":
    BENCHMARK.main()
