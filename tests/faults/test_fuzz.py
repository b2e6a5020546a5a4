"""Random samples, configurations and lines of results: taken as they are, or refused in a line."""

import dataclasses
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fast_weights import data, files, results
from fast_weights.config import Config
from fast_weights.errors import UserError

MANY = [100, pytest.param(10_000, marks=pytest.mark.slow)]
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)
SETTINGS = {field.name for field in dataclasses.fields(Config)}
FIELDS = {field.name for field in dataclasses.fields(results.Record)}


def fuzz(number, strategy, check):
    """Calls `check` with so many values."""
    settings(
        max_examples=number, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )(given(strategy)(check))()


def refused_in_a_line(error):
    text = str(error)
    assert text.isprintable()
    assert len(text) < 1_000


@pytest.mark.parametrize("number", MANY)
def test_samples(number):
    """A text that is taken and is no sequence of the task; an error that none thought of."""
    symbols = st.text(data.ALPHABET + "G \n\x1b\u202eé", max_size=12)
    near = st.builds(
        lambda k, seed, at, symbol: (k, mutated(k, seed, at, symbol)),
        st.integers(1, 26),
        st.integers(0, 99),
        st.integers(0, 54),
        symbols,
    )

    def check(drawn):
        num_pairs, text = drawn
        try:
            tokens = data.encode_sample(text, num_pairs)
        except UserError as error:
            refused_in_a_line(error)
        else:
            assert data.decode(tokens) == text
            keys, values = text[:-3:2], text[1:-3:2]
            assert len(set(keys)) == num_pairs
            assert keys.isalpha()
            assert values.isdigit()
            assert text[-3:-1] == "??"
            assert text[-1] in keys

    fuzz(number, near | st.tuples(st.integers(1, 26), st.text()), check)


def mutated(num_pairs, seed, at, symbols):
    """A sequence of the task with some symbols put in the place of others."""
    text = data.decode(data.generate(1, num_pairs, data.np.random.default_rng(seed)).tokens[0])
    return text[:at] + symbols + text[at + len(symbols) :]


@pytest.mark.parametrize("number", MANY)
def test_configurations(number):
    """A setting of another type, a bound that holds for some numbers only."""
    whole = json.loads(Config().to_json())
    del whole["checksum"]
    whole["version"] = 2  # whose content alone decides
    changes = st.dictionaries(st.sampled_from(sorted(SETTINGS)), JSON, min_size=1, max_size=2)
    texts = st.builds(lambda some: json.dumps({**whole, **some}), changes)
    texts |= st.builds(json.dumps, JSON) | st.text() | st.binary().map(lambda b: b.decode("latin1"))

    def check(text):
        try:
            config = Config.from_json(text)
        except UserError as error:
            refused_in_a_line(error)
        else:
            assert Config.from_json(config.to_json()) == config
            values = json.loads(text)
            assert all(values[name] == getattr(config, name) for name in SETTINGS)

    fuzz(number, texts, check)


@pytest.mark.parametrize("number", MANY)
def test_lines_of_results(number, tmp_path):
    """A line that is taken and has no numbers to draw; one that takes its neighbours with it."""
    record = results.Record(0, 1.5, 0.25, 1.25, 0.5, 3.75, 0.125)
    whole = dataclasses.asdict(record)
    changes = st.dictionaries(st.sampled_from(sorted({*FIELDS, "checksum"})), JSON, max_size=2)
    lines = st.builds(lambda some: json.dumps({**whole, **some}), changes)
    lines |= st.builds(
        lambda some: json.dumps({**whole, "checksum": files.checksum(whole), **some}), changes
    )
    lines |= st.builds(json.dumps, JSON) | st.text() | st.binary().map(lambda b: b.decode("latin1"))

    def check(line):
        path = tmp_path / results.FILE_NAME
        good, last = json.dumps(whole), json.dumps({**whole, "epoch": 1})
        path.write_text(f"{good}\n{line}\n{last}\n", encoding="utf-8", errors="replace")
        said = []
        found = results.read(tmp_path, said.append)
        # The line may be a record of epoch 1 itself: then the last is a second one.
        assert found[0] == record
        assert found[-1].epoch == 1
        for one in found:
            assert all(isinstance(number, int | float) for number in dataclasses.astuple(one))
            assert abs(sum(map(float, dataclasses.astuple(one)))) <= float("inf")
        for text in said:
            assert text.replace(str(tmp_path), "").isprintable()

    fuzz(number, lines, check)
