"""Compares fast weights with an attention interface in the encoder-decoders of the examples.

python -m benchmarks.language

Runs `examples/pronounce.py` or `examples/translate.py` for each case, in a separate process. The
learning rate of each network is the best of `RATES` on the validation words. Writes
`docs/results/language.jsonl`, and keeps the weights in `checkpoints/language`.
"""

import dataclasses
import functools
import json
import pathlib
import subprocess
import sys
from collections.abc import Callable

import numpy as np

from benchmarks.runs import ROOT
from benchmarks.study import Measurement, alternate, median, timed
from benchmarks.tables import Record, mean_and_range, part, table

sys.path.append(str(ROOT / "examples"))

from encoder_decoder import MAIN, NETWORKS, alignment, decode

LABELS = {
    "fast-weights": "fast weights",
    "gru-attention": "GRU with an attention interface",
    "gru": "GRU",
    "lstm-attention": "LSTM with an attention interface",
    "gru-additive": "GRU with additive attention",
    "lstm": "LSTM",
    "only-A": "fast weights, only A handed over",
    "only-h": "fast weights, only h handed over",
}
# Network -> the learning rates to try, and the number of updates for each.
RATES = dict.fromkeys(("gru-attention", "gru"), ((0.005, 0.01, 0.02), 4_000))
RATES |= dict.fromkeys(("gru-additive", "lstm"), ((0.005, 0.01, 0.02), 2_000))
# For these, the largest of the three rates was the best, so a larger one was tried, too.
RATES |= {
    "fast-weights": ((0.005, 0.01, 0.02, 0.04), 4_000),
    "lstm-attention": ((0.005, 0.01, 0.02, 0.04), 2_000),
}
# Networks with one seed. Those that hand over one state have the learning rate of fast weights.
OTHERS = ("gru-additive", "lstm", "only-A", "only-h")
SEEDS = range(5)
UPDATES = 8_000
LARGE = {"fast-weights": 470, "gru-attention": 245}  # units for about 1,000,000 parameters
# Updates in the time that fast weights need for `UPDATES`.
EQUAL_TIME = {"gru-attention": 13_000, "gru": 16_000}


@dataclasses.dataclass(frozen=True)
class Case:
    """A run of an example.

    Attributes:
        example: `"pronounce"` or `"translate"`. Or `"time"` for the time of an update of each
            network, and `"probe"` for more results of a trained network.
        network: a name in `NETWORKS`.
        seed: the seed of the run.
        flags: the other flags, and their values.
    """

    example: str
    network: str = ""
    seed: int = 0
    flags: tuple[tuple[str, str], ...] = ()


def case(example: str, network: str, seed: int = 0, **flags) -> Case:
    """Returns a case with flags."""
    return Case(example, network, seed, tuple((name, str(one)) for name, one in flags.items()))


def pronounce(network: str, seed: int = 0, **flags) -> Case:
    """Returns the case of a run of `pronounce.py`, by default with the network's settings."""
    rate = NETWORKS[network].learning_rate
    return case("pronounce", network, seed, **{"learning_rate": rate, "updates": UPDATES, **flags})


TUNING = {
    name: {
        rate: pronounce(name, learning_rate=rate, updates=updates, validate=True) for rate in rates
    }
    for name, (rates, updates) in RATES.items()
}
RUNS = {name: [pronounce(name, seed) for seed in SEEDS] for name in MAIN}
RUNS |= {name: [pronounce(name)] for name in OTHERS}
TIMED = {name: pronounce(name, updates=updates) for name, updates in EQUAL_TIME.items()}
# Task -> the flags of `translate.py`, and its networks.
LOOKUP = {"task": "lookup", "updates": 2_000, "learning_rate": 0.01}
TRANSLATION = {"task": "translate", "growing": True, "updates": 4_000, "learning_rate": 0.01}
TASKS = {
    "look up, 8 pairs": ({**LOOKUP, "pairs": 8}, MAIN),
    "look up, 16 pairs": ({**LOOKUP, "pairs": 16}, MAIN[:2]),
    "translate, 4 pairs": ({**TRANSLATION, "pairs": 4}, MAIN[:2]),
}
BINDING = {
    (task, name): case("translate", name, **flags)
    for task, (flags, names) in TASKS.items()
    for name in names
}
PROBES, TIMES = {name: Case("probe", name) for name in MAIN}, Case("time")


def directory_of(one: Case) -> pathlib.Path:
    """Returns the directory to which a run writes its record and its weights."""
    flags = (f"{name}-{value}" for name, value in one.flags)
    return ROOT / "checkpoints/language" / "-".join([one.example, one.network, *flags])


def measure(one: Case) -> Record:
    """Returns the results of a case."""
    if one.example == "time":
        return {"rounds": alternate(updates_of_all())}
    if one.example == "probe":
        return probe(one)
    directory = directory_of(one)
    flags = {"network": one.network, "seed": one.seed, "directory": directory, **dict(one.flags)}
    command = [sys.executable, ROOT / f"examples/{one.example}.py"]
    subprocess.run([*command, *(f"--{name}={value}" for name, value in flags.items())], check=True)
    return {"results": json.loads(record_path(one).read_text())}


def record_path(one: Case) -> pathlib.Path:
    """Returns the path of the record that an example writes."""
    task = f"{dict(one.flags).get('task', 'lookup')}-" if one.example == "translate" else ""
    return directory_of(one) / f"{task}{one.network}-seed{one.seed}.json"


def updates_of_all() -> dict[str, Callable[[], float]]:
    """Returns, for each network, a function that measures the milliseconds of an update."""
    import pronounce as example

    rng, functions = np.random.default_rng(0), {}
    letters = rng.integers(3, 20, size=(example.BATCH_SIZE, example.LONGEST))
    phonemes = rng.integers(3, 20, size=(example.BATCH_SIZE, example.LONGEST + 1))

    def measurement(model, number):
        model.compile(UPDATES)
        update = functools.partial(model.training.train_on_batch, (letters, phonemes), phonemes)
        update()  # compiles
        return lambda: 1e3 * timed(lambda: [update() for _ in range(number)]) / number

    settings = {name: (name, NETWORKS[name].units, 20) for name in LABELS}
    settings |= {f"large {name}": (name, units, 3) for name, units in LARGE.items()}
    for label, (name, units, number) in settings.items():
        record = {"network": name, "seed": 0, "units": units, "bidirectional": True}
        model = example.build({**record, "learning_rate": 0.01})
        functions[label] = measurement(model, number)
    return functions


def probe(one: Case) -> Record:
    """Returns a trained network's results with a beam and without a state, and its alignment."""
    import pronounce as example
    from absl import flags

    flags.FLAGS(["pronounce"])
    words = example.Words()
    model, record = example.load(record_path(RUNS[one.network][one.seed]))
    results = {"beam": example.score(model, words, {**record, "beam": 5})}
    if one.network == "fast-weights":
        for state, other in (("A", "only-h"), ("h", "only-A")):  # with zeros in place of the state
            changed = example.build({**record, "network": other})
            changed.training.set_weights(model.training.get_weights())
            results[f"without {state}"] = example.score(changed, words, record)
    if model.attention or one.network == "fast-weights":
        results["diagonal"] = diagonal(model, words.parts["test"], example)
    return results


def diagonal(model, words: list[str], example) -> dict[str, float]:
    """Returns how often the letter read most is at most one letter away from its phoneme's place.

    The places of a word's phonemes are spread evenly from its first letter to its last. "equal" is
    the share in words with as many letters as phonemes, where the places are those of the letters.
    """
    letters, near = example.spell(words, reverse=False), {"equal": [], "all": []}
    outputs = decode(model, letters, example.LONGEST)
    for start in range(0, len(words), 500):
        rows = slice(start, start + 500)
        written = example.rows_of(
            [[example.START, *one] for one in outputs[rows]], 1 + example.LONGEST
        )
        reads = np.abs(alignment(model, letters[rows], written))
        for word, output, read in zip(words[rows], outputs[rows], reads, strict=True):
            places = np.linspace(0, len(word) - 1, max(2, len(output)))[: len(output)]
            most = read[: len(output), : len(word)].argmax(axis=1)
            hits = (np.abs(most - places) < 1.5).tolist()
            near["all"] += hits
            near["equal"] += hits if len(word) == len(output) else []
    return {name: float(np.mean(hits)) for name, hits in near.items()}


CASES = [one for rates in TUNING.values() for one in rates.values()]
CASES += [one for seeds in RUNS.values() for one in seeds]
CASES += [*TIMED.values(), *BINDING.values(), TIMES, *PROBES.values()]
BENCHMARK = Measurement(__doc__, "language", CASES, measure=measure)


def results_of(one: Case) -> Record:
    """Returns the record that the example wrote."""
    return BENCHMARK[one]["results"]


def _errors(records: list[Record]) -> list[str]:
    """Returns the table cells of the phoneme error rate and of the word error rate."""
    return [
        mean_and_range([record[name] for record in records], ".2%")
        for name in ("phoneme_error", "word_error")
    ]


def _milliseconds(name: str, other: str | None = None) -> float:
    return median(BENCHMARK[TIMES]["rounds"], name, other)


@part("language")
def table_of_runs() -> str:
    """Returns a table of the error rates of all networks after the same number of updates."""
    rows = []
    for name, runs in RUNS.items():
        record = results_of(runs[0])
        sizes = [record["units"], f"{record['parameters']:,}", f"{record['learning_rate']:g}"]
        rows.append(
            [
                LABELS[name],
                *sizes,
                len(runs),
                *_errors([*map(results_of, runs)]),
                f"{_milliseconds(name):.0f}",
            ]
        )
    heads = ["units", "parameters", "learning rate", "seeds", "PER", "WER", "ms / update"]
    return table(["network", *heads], rows)


@part("language_main")
def table_of_means() -> str:
    """Returns a table of the mean error rates of the main networks."""
    rows = []
    for name in MAIN:
        records = [results_of(one) for one in RUNS[name]]
        rates = (
            np.mean([one[rate] for one in records]) for rate in ("phoneme_error", "word_error")
        )
        rows.append([LABELS[name], *(f"{rate:.1%}" for rate in rates)])
    return table(["about 60,000 parameters", "phonemes", "words"], rows)


def _mean_word_error(name: str) -> str:
    """Returns the mean word error rate of a main network."""
    return f"{np.mean([results_of(one)['word_error'] for one in RUNS[name]]):.1%}"


for _name in MAIN[:3]:
    part(f"language_{_name}")(functools.partial(_mean_word_error, _name))


@part("language_rates")
def table_of_rates() -> str:
    """Returns a table of the word error rates with each learning rate."""
    rates = sorted({rate for runs in TUNING.values() for rate in runs})
    rows = []
    for name, runs in TUNING.items():
        cells = [_errors([results_of(runs[rate])])[1] if rate in runs else "-" for rate in rates]
        rows.append([LABELS[name], RATES[name][1], *cells])
    return table(["network", "updates", *(f"{rate:g}" for rate in rates)], rows)


@part("language_time")
def table_of_equal_time() -> str:
    """Returns a table of the error rates after about the same time."""
    rows = []
    for name, one in {"fast-weights": RUNS["fast-weights"][0], **TIMED}.items():
        updates = results_of(one)["updates"]
        seconds = updates * _milliseconds(name) / 1e3
        rows.append(
            [LABELS[name], f"{updates:,}", f"{seconds / 60:.1f}", *_errors([results_of(one)])]
        )
    return table(["network", "updates", "minutes", "PER", "WER"], rows)


@part("language_beam")
def table_of_beams() -> str:
    """Returns a table of the error rates of greedy decoding and of a beam, with equal weights."""
    rows = []
    for name, one in PROBES.items():
        both = results_of(RUNS[name][one.seed]), BENCHMARK[one]["beam"]
        rows.append([LABELS[name], *(cell for record in both for cell in _errors([record]))])
    heads = (f"{rate}, {how}" for how in ("greedy", "beam of 5") for rate in ("PER", "WER"))
    return table(["network", *heads], rows)


@part("language_binding")
def table_of_binding() -> str:
    """Returns a table of the shares of correct symbols."""
    rows = []
    for task in TASKS:
        cases = (BINDING.get((task, name)) for name in MAIN)
        shares = (f"{results_of(one)['symbols']:.1%}" if one else "-" for one in cases)
        rows.append([task, *shares])
    return table(["task", *(LABELS[name] for name in MAIN)], rows)


@part("language_without")
def table_without_states() -> str:
    """Returns a table of the error rates of trained fast weights if zeros replace a state."""
    probed = BENCHMARK[PROBES["fast-weights"]]
    records = {
        "A and h": results_of(RUNS["fast-weights"][0]),
        "only A": probed["without h"],
        "only h": probed["without A"],
    }
    rows = ([name, *_errors([record])] for name, record in records.items())
    return table(["handed over", "PER", "WER"], rows)


@part("language_diagonal")
def table_of_diagonals() -> str:
    """Returns a table of how often the letter read most is near the place of the phoneme."""
    rows = []
    for name, one in PROBES.items():
        if "diagonal" in BENCHMARK[one]:
            shares = BENCHMARK[one]["diagonal"]
            rows.append([LABELS[name], *(f"{shares[words]:.1%}" for words in ("equal", "all"))])
    return table(["network", "as many letters as phonemes", "all words"], rows)


@part("language_large")
def ratio_of_large() -> str:
    """Returns how many times as long an update of large fast weights takes."""
    return f"{_milliseconds('large fast-weights', 'large gru-attention'):.1f}"


if __name__ == "__main__":
    BENCHMARK.main()
