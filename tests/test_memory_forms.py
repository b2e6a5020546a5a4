"""The two forms of the fast weights, and how `FastWeights` chooses between them."""

import json
import pathlib
import re
import warnings

import keras
import numpy as np
import pytest
from cases import (
    BATCH,
    FAST,
    FEATURES,
    STEPS,
    UNITS,
    array,
    assert_close,
    cell_of,
    inputs_of,
    layer_of,
    oracle,
    randomize,
)

from fast_weights import FastWeights, FastWeightsAttentionCell, FastWeightsCell, vanishing_length
from fast_weights.layers import faster_form

MEASUREMENTS = pathlib.Path(__file__).parent.parent / "docs/results/memory_forms.jsonl"


def form_of(layer):
    return {FastWeightsCell: "matrix", FastWeightsAttentionCell: "attention"}[type(layer.cell)]


def built(shape, units=50, **settings):
    layer = FastWeights(units, **settings)
    layer.build(shape)
    return layer


@pytest.mark.parametrize("recurrence", ["original", "paper"])
def test_effect_of_shorter_memory(recurrence):
    """Catches a memory of `vanishing_length` vectors that loses more than rounding.

    λ = 0.5 vanishes after 23 steps in float32, and after 52 in float64.
    """
    assert [vanishing_length(0.5, dtype) for dtype in ("float32", "float64")] == [23, 52]
    settings = {"dtype": "float32", "decay_rate": 0.5, "recurrence": recurrence}
    inputs = inputs_of("float32", length=46)

    def states_of(name, **size):
        cell = cell_of(name, **settings, **size)
        return array(keras.layers.RNN(cell, return_sequences=True)(inputs))

    exact = states_of("FastWeightsCell")

    def error_of(size):
        return np.abs(states_of("FastWeightsAttentionCell", memory_size=size) - exact).max()

    assert error_of(46) < 1e-5
    assert error_of(23) < 1e-5
    assert error_of(3) > 1e-3


def test_auto_chooses_form():
    """Catches a form that ignores the length, or is chosen although the length is unknown."""
    assert form_of(built((None, 9, FEATURES), unroll=True)) == "attention"
    assert form_of(built((None, 9, FEATURES))) == "attention"
    assert form_of(built((None, 2_000, FEATURES), units=20)) == "matrix"
    assert form_of(built((None, None, FEATURES))) == "matrix"
    # States that outlive a call, and λ = 1, at which a longer sequence needs a larger memory.
    for settings in ({"stateful": True}, {"return_state": True}, {"decay_rate": 1.0}):
        assert form_of(built((BATCH, 9, FEATURES), unroll=True, **settings)) == "matrix", settings
    layer = FastWeights(UNITS, unroll=True)
    states = [keras.Input((UNITS,)), keras.Input((UNITS**2,))]
    layer(keras.Input((STEPS, FEATURES)), initial_state=states)
    assert form_of(layer) == "matrix"


def test_faster_form_agrees_with_measurements():
    """Catches a rule that contradicts a clear measurement."""
    times = {}
    for one in map(json.loads, MEASUREMENTS.read_text().splitlines()):
        if "ms" in one:
            case = (one["length"], one["units"], one["unroll"], one.get("masked"))
            times.setdefault(case, {})[one["form"]] = one["ms"]
    checked = 0
    for (length, units, unroll, _), by_form in times.items():
        if len(by_form) == 2 and not 1 / 1.5 < by_form["matrix"] / by_form["attention"] < 1.5:
            size = min(length, vanishing_length(0.95))
            assert faster_form(size, units, unroll) == min(by_form, key=by_form.get)
            checked += 1
    assert checked > 20


@pytest.mark.parametrize("unroll", [False, True])
def test_attention_takes_longer_sequences_than_built_for(unroll):
    """Catches a memory that keeps the length of the first sequence and forgets in a longer one."""
    layer = FastWeights(UNITS, memory="attention", unroll=unroll, dtype="float64", **FAST)
    layer(inputs_of()[:, :2])
    randomize(layer)
    for length in (STEPS, 1, STEPS):
        expected, _ = oracle("FastWeights-attention", layer, inputs_of()[:, :length])
        assert_close("FastWeights", layer(inputs_of()[:, :length]), expected[:, -1])


def test_attention_keeps_vectors_that_count():
    """Catches a memory of vectors that have vanished, or of too few where states live on."""
    settings = {"memory": "attention", "decay_rate": 0.5, "units": UNITS}
    assert built((BATCH, 1_000, FEATURES), **settings).cell.memory_size == 23
    double = built((BATCH, 1_000, FEATURES), **settings, dtype="float64")
    assert double.cell.memory_size == 52
    assert built((BATCH, 2, FEATURES), **settings, stateful=True).cell.memory_size == 23
    given = FastWeights(**settings, memory_size=9)
    assert FastWeights.from_config(given.get_config()).cell.memory_size == 9
    layer = FastWeights(**settings, return_state=True)
    assert layer.compute_output_shape((BATCH, 9, FEATURES))[-1] == (BATCH, 23 * UNITS)


@pytest.mark.parametrize("memory", ["matrix", "attention"])
def test_half_precision_states_stay_in_float32(memory):
    """Catches A that is rounded where it leaves the layer."""
    layer = layer_of(f"FastWeights-{memory}", return_state=True, dtype="mixed_float16")
    outputs = layer(inputs_of("float32"))
    assert [keras.backend.standardize_dtype(one.dtype) for one in outputs] == ["float32"] * 3


def test_short_memory_warns():
    """Catches a memory that is too short without a warning, and a warning if nothing is lost."""
    short = FastWeights(UNITS, memory="attention", memory_size=3, decay_rate=0.5)
    with pytest.warns(UserWarning, match="memory_size=3"):
        short(inputs_of("float32"))
    stateful = FastWeights(UNITS, memory="attention", memory_size=5, stateful=True)
    with pytest.warns(UserWarning, match="memory_size=5"):
        stateful(inputs_of("float32"))
    long = FastWeights(UNITS, memory="attention", memory_size=23, decay_rate=0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        short(inputs_of("float32")[:, :3])
        long(inputs_of("float32", 40))


def call_with_states_after_call_without():
    layer = FastWeights(50, unroll=True)
    layer(inputs_of("float32"))
    layer(inputs_of("float32"), initial_state=[np.ones((2, 50)), np.ones((2, 2_500))])


@pytest.mark.parametrize(
    ("call", "received"),
    [
        (lambda: FastWeights(3, memory="both"), "memory='both'"),
        (lambda: FastWeights(3, memory="attention", memory_size=-1), "memory_size=-1"),
        (lambda: FastWeights(3, memory_size=9), "memory_size=9"),
        (lambda: FastWeightsAttentionCell(3, memory_size=0), "memory_size=0"),
        (
            lambda: FastWeights(3, memory="attention", decay_rate=1.0, stateful=True),
            "memory_size=None",
        ),
        (call_with_states_after_call_without, 'memory="matrix"'),
        (lambda: vanishing_length(2), "decay_rate=2"),
        (lambda: vanishing_length(0.5, "float16"), "dtype='float16'"),
    ],
)
def test_invalid_memory_is_refused(call, received):
    """Catches an invalid memory that gives a wrong result, or an error about something else."""
    with pytest.raises(ValueError, match=re.escape(received)):
        call()
