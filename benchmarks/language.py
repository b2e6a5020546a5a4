"""Compares fast weights with an attention interface in the encoder-decoders of the examples.

python -m benchmarks.language

Runs `examples/pronounce.py` and `examples/translate.py` for each case, in a process of its own. The
learning rates of the networks are the best of those in `RATES` on the validation words. Writes
`docs/results/language.jsonl`. The weights remain in `checkpoints/language`.
"""

import dataclasses
import functools
import json
import pathlib
import subprocess
import sys

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
    "lstm": "LSTM",
    "gru-additive": "GRU with an additive attention interface",
    "rnn-ln": "RNN-LN, without fast weights",
    "only-A": "fast weights, only A handed over",
    "only-h": "fast weights, only h handed over",
    "read-only": "fast weights, the decoder adds nothing to A",
    "shared": "fast weights, one layer for both parts",
}
# Learning rates, and the updates of the runs that choose one of them.
RATES = {name: ((0.005, 0.01, 0.02), 4_000 if name in MAIN[:3] else 2_000) for name in NETWORKS}
SEEDS = range(5)
UPDATES = 8_000
LARGE = 470  # units of fast weights: about 1,000,000 parameters
# Updates in the time that fast weights need for `UPDATES`.
EQUAL_TIME = {"gru-attention": 13_000, "gru": 16_000}


@dataclasses.dataclass(frozen=True)
class Case:
    """A run of an example.

    Attributes:
        example: `"pronounce"` or `"translate"`; or `"time"` for the time of an update of all
            networks, and `"probe"` for what a trained network depends on.
        network: a name in `NETWORKS`.
        seed: of the run.
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
    """Returns the case of a run that is scored on the test words."""
    rate = NETWORKS[network].learning_rate
    return case("pronounce", network, seed, **{"learning_rate": rate, "updates": UPDATES, **flags})


TUNING = {
    name: {
        rate: pronounce(name, learning_rate=rate, updates=updates, validate=True) for rate in rates
    }
    for name, (rates, updates) in RATES.items()
}
RUNS = {name: [pronounce(name, seed) for seed in SEEDS] for name in MAIN}
RUNS |= {name: [pronounce(name)] for name in NETWORKS if name not in MAIN}
TIMED = {name: pronounce(name, updates=updates) for name, updates in EQUAL_TIME.items()}
BEAM = {name: pronounce(name, beam=5) for name in MAIN[:3]}
TASKS = {
    **{f"look up {n} of {n} pairs": {"task": "lookup", "pairs": n} for n in (4, 8, 16)},
    **{f"translate {n} words, {n} pairs": {"task": "translate", "pairs": n} for n in (4, 8, 16)},
    "copy up to 40 symbols": {"task": "copy"},
    "reverse up to 40 symbols": {"task": "reverse"},
}
BINDING = {
    (task, name): case("translate", name, **flags) for task, flags in TASKS.items() for name in MAIN
}
PROBE, TIMES = Case("probe", "fast-weights"), Case("time")


def directory_of(one: Case) -> pathlib.Path:
    """Returns the directory of the weights of a run."""
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


def updates_of_all():
    """Returns, for each network, a function that measures the milliseconds of an update."""
    import pronounce as example

    functions = {}
    rng = np.random.default_rng(0)
    for name, network in NETWORKS.items():
        model = example.build({**network._asdict(), "network": name, "seed": 0}, True)
        model.compile(UPDATES)
        letters = rng.integers(3, 20, size=(example.BATCH_SIZE, example.LONGEST))
        phonemes = rng.integers(3, 20, size=(example.BATCH_SIZE, example.LONGEST + 1))
        update = functools.partial(model.training.train_on_batch, (letters, phonemes), phonemes)
        update()  # compiles

        def milliseconds(update=update, number=20):
            return 1e3 * timed(lambda: [update() for _ in range(number)]) / number

        functions[name] = milliseconds
    return functions


def probe(one: Case) -> Record:
    """Returns what a trained network depends on.

    "without" are the error rates if the decoder starts from zeros in place of A or h. "diagonal"
    is the share of the phonemes for which the letter that is read most, in absolute value, is at
    most one letter from the place of the phoneme, for test words with as many letters as phonemes
    and for all.
    """
    import pronounce as example
    from absl import flags

    flags.FLAGS(["pronounce"])
    words = example.Words()
    path = record_path(RUNS[one.network][one.seed])
    model, record = example.load(path)
    without = {}
    for name, other in (("A", "only-h"), ("h", "only-A")):
        changed = example.build({**record, "network": other})
        changed.training.set_weights(model.training.get_weights())
        scores = example.score(changed, words, record)
        without[name] = [scores["phoneme_error"], scores["word_error"]]
    part_ = words.parts["test"]
    letters = example.spell(part_, record["reverse"])
    outputs = decode(model, letters, example.LONGEST)
    near = {"equal": [], "all": []}
    for start in range(0, len(part_), 500):
        rows = slice(start, start + 500)
        written = example.rows_of([[1, *one] for one in outputs[rows]], example.LONGEST + 1)
        reads = np.abs(alignment(model, letters[rows], written))
        for word, output, read in zip(part_[rows], outputs[rows], reads, strict=True):
            places = np.linspace(0, len(word) - 1, max(2, len(output)))[: len(output)]
            found = read[: len(output), : len(word)].argmax(axis=1)
            hits = (np.abs(found - places) < 1.5).tolist()
            near["all"] += hits
            near["equal"] += hits if len(word) == len(output) else []
    return {"without": without, "diagonal": {name: np.mean(hits) for name, hits in near.items()}}


CASES = [one for rates in TUNING.values() for one in rates.values()]
CASES += [one for seeds in RUNS.values() for one in seeds]
CASES += [*TIMED.values(), *BEAM.values(), *BINDING.values(), TIMES, PROBE]
BENCHMARK = Measurement(__doc__, "language", CASES, measure=measure)


def results_of(one: Case) -> Record:
    """Returns the record of a run, as its example wrote it."""
    return BENCHMARK[one]["results"]


def _errors(runs: list[Case]) -> list[str]:
    """Returns the cells of the error rates of phonemes and of words."""
    records = [results_of(one) for one in runs]
    return [
        mean_and_range([record[name] for record in records], ".2%")
        for name in ("phoneme_error", "word_error")
    ]


def _milliseconds(name: str, other: str | None = None) -> float:
    return median(BENCHMARK[TIMES]["rounds"], name, other)


@part("language")
def table_of_runs() -> str:
    """Returns the error rates of all networks after the same number of updates."""
    rows = []
    for name, runs in RUNS.items():
        record = results_of(runs[0])
        sizes = [record["units"], f"{record['parameters']:,}", f"{record['learning_rate']:g}"]
        rows.append([LABELS[name], *sizes, len(runs), *_errors(runs), f"{_milliseconds(name):.0f}"])
    heads = ["units", "parameters", "learning rate", "seeds", "PER", "WER", "ms / update"]
    return table(["network", *heads], rows)


@part("language_rates")
def table_of_rates() -> str:
    """Returns the word error rates of the runs that chose the learning rates."""
    rates = sorted({rate for runs in TUNING.values() for rate in runs})
    rows = []
    for name, runs in TUNING.items():
        cells = [_errors([runs[rate]])[1] if rate in runs else "-" for rate in rates]
        rows.append([LABELS[name], RATES[name][1], *cells])
    return table(["network", "updates", *(f"{rate:g}" for rate in rates)], rows)


@part("language_time")
def table_of_equal_time() -> str:
    """Returns the error rates after about the same time."""
    rows = []
    for name, one in {"fast-weights": RUNS["fast-weights"][0], **TIMED}.items():
        updates = results_of(one)["updates"]
        seconds = updates * _milliseconds(name) / 1e3
        rows.append([LABELS[name], f"{updates:,}", f"{seconds / 60:.1f}", *_errors([one])])
    return table(["network", "updates", "minutes", "PER", "WER"], rows)


@part("language_beam")
def table_of_beams() -> str:
    """Returns the error rates of greedy decoding and of a beam, with the same weights."""
    rows = (
        [LABELS[name], *_errors([RUNS[name][0]]), *_errors([one])] for name, one in BEAM.items()
    )
    return table(
        ["network", "PER, greedy", "WER, greedy", "PER, beam of 5", "WER, beam of 5"], rows
    )


@part("language_binding")
def table_of_binding() -> str:
    """Returns the shares of symbols that are right."""
    rows = []
    for task in TASKS:
        shares = (f"{results_of(BINDING[task, name])['symbols']:.1%}" for name in MAIN)
        rows.append([task, *shares])
    return table(["task", *(LABELS[name] for name in MAIN)], rows)


@part("language_without")
def table_without_states() -> str:
    """Returns the error rates of the trained fast weights with zeros in place of a state."""
    rows = [["A and h", *_errors([RUNS["fast-weights"][0]])]]
    for name, other in (("A", "h"), ("h", "A")):
        rows.append([f"only {other}", *(f"{one:.2%}" for one in BENCHMARK[PROBE]["without"][name])])
    return table(["handed over", "PER", "WER"], rows)


part("language_diagonal")(lambda: f"{BENCHMARK[PROBE]['diagonal']['equal']:.1%}")
part("language_diagonal_all")(lambda: f"{BENCHMARK[PROBE]['diagonal']['all']:.1%}")


if __name__ == "__main__":
    BENCHMARK.main()
