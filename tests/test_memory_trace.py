"""What A knows: equal to what the cells compute, step by step."""

import re

import numpy as np
import pytest
import reference
from cases import (
    BATCH,
    FAST,
    FAST_CELLS,
    STEPS,
    TIGHT,
    UNITS,
    array,
    as_oracle_states,
    built,
    inputs_of,
    layer_of,
    randomize,
    weights_of,
)

from fast_weights import ControlCell, FastWeights, FastWeightsAttentionCell, trace_memory

MASK = np.array([[True, False, True, True, True], [False, True, True, False, True]])
fast_cells = pytest.mark.parametrize("name", FAST_CELLS)
masks = pytest.mark.parametrize("mask", [None, MASK], ids=["whole", "masked"])


@fast_cells
@masks
def test_states_are_the_layers(name, mask):
    """A state or an A that the layer does not have at that step."""
    cell = built(name, dtype="float64")
    trace = trace_memory(cell, inputs_of(), mask)
    for steps in range(1, STEPS + 1):
        part = None if mask is None else mask[:, :steps]
        layer = layer_of(cell, return_state=True)
        _, *states = layer(inputs_of()[:, :steps], mask=part)
        hidden, A = as_oracle_states(cell, states)
        np.testing.assert_allclose(array(trace.hidden)[:, steps - 1], hidden, **TIGHT)
        np.testing.assert_allclose(array(trace.fast_weights)[:, steps - 1], A, **TIGHT)


@fast_cells
def test_attention_equals_equation_4(name):
    """A wrong age, bracket or order of the inner steps: h_s A_t from the oracle's own A."""
    cell = built(name, dtype="float64", inner_steps=2)
    trace = trace_memory(cell, inputs_of())
    weights, inputs = weights_of(cell), inputs_of()
    for b in range(BATCH):
        h, A = np.zeros(UNITS), np.zeros((UNITS, UNITS))
        for t in range(STEPS):
            settings = {**FAST, "epsilon": cell.epsilon, "recurrence": cell.recurrence}
            z = inputs[b, t] @ weights["kernel"] + weights["bias"]
            query = reference.relu(z + h @ weights["recurrent_kernel"])
            for s in range(2):
                now, A_t = reference.fast_weights_step(
                    weights, inputs[b, t], h, A, **{**settings, "inner_steps": s}
                )
                # The result of s inner steps is what the next one reads with.
                read = array(trace.attention)[b, t, s] @ array(trace.written)[b]
                np.testing.assert_allclose(read, now @ A_t, **TIGHT)
                if s == 0:
                    np.testing.assert_allclose(now, query, **TIGHT)
            h, A = reference.fast_weights_step(weights, inputs[b, t], h, A, **settings)
            np.testing.assert_allclose(array(trace.fast_weights)[b, t], A, **TIGHT)


@masks
@pytest.mark.parametrize("recurrence", ["", "_paper"])
def test_forms_agree(recurrence, mask):
    """A trace that depends on the form; ages that count masked steps."""
    matrix = trace_memory(built("matrix" + recurrence, dtype="float64"), inputs_of(), mask)
    attention = trace_memory(built("attention" + recurrence, dtype="float64"), inputs_of(), mask)
    for name in ("fast_weights", "hidden", "written", "attention"):
        one, other = array(getattr(matrix, name)), array(getattr(attention, name))
        np.testing.assert_allclose(one, other, err_msg=name, **TIGHT)
    weights = array(matrix.attention)
    assert weights.shape == (BATCH, STEPS, FAST["inner_steps"], STEPS)
    assert not np.any(weights[:, :, 0][:, ~np.tri(STEPS, dtype=bool)])
    assert np.any(weights)


@fast_cells
def test_masked_steps_do_not_count(name):
    """A masked step that ages what was written: without the step the attention is the same."""
    cell = built(name, dtype="float64")
    masked = trace_memory(cell, inputs_of(), MASK)
    for b, kept in enumerate(MASK):
        short = trace_memory(cell, inputs_of()[b : b + 1, kept])
        attention = array(masked.attention)[b]
        np.testing.assert_allclose(
            attention[kept][:, :, kept], array(short.attention)[0], err_msg=str(b), **TIGHT
        )
        np.testing.assert_allclose(
            array(masked.written)[b, kept], array(short.written)[0], err_msg=str(b), **TIGHT
        )
        assert not np.any(array(masked.written)[b, ~kept])
        assert not np.any(attention[~kept])
        assert not np.any(attention[:, :, ~kept])


def test_what_is_forgotten_is_not_attended_to():
    """Attention to vectors that a short memory has dropped."""
    full = built("matrix", dtype="float64")
    short = FastWeightsAttentionCell(UNITS, 2, dtype="float64", epsilon=full.epsilon, **FAST)
    short.build((BATCH, 4))
    short.set_weights(full.get_weights())
    with pytest.warns(UserWarning, match="memory_size=2 for sequences of 5 steps"):
        trace = trace_memory(short, inputs_of())
    ages = np.arange(STEPS)[:, None] - np.arange(STEPS)
    assert not np.any(array(trace.attention)[:, :, 0][:, ages > 1])
    hidden = array(layer_of(short, return_sequences=True)(inputs_of()))
    np.testing.assert_allclose(array(trace.hidden), hidden, **TIGHT)


@pytest.mark.parametrize("go_backwards", [False, True])
def test_a_layer_is_traced_as_it_runs(go_backwards):
    """The layer's direction, or the memory it has grown since it was built, left out."""
    layer = FastWeights(
        UNITS,
        memory="attention",
        return_sequences=True,
        go_backwards=go_backwards,
        dtype="float64",
        **FAST,
    )
    layer(inputs_of()[:, :2])
    randomize(layer)
    trace = trace_memory(layer, inputs_of())
    np.testing.assert_allclose(array(trace.hidden), array(layer(inputs_of())), **TIGHT)


def test_no_inner_step_no_attention():
    """S = 0 reads nothing."""
    trace = trace_memory(built("matrix", inner_steps=0), inputs_of("float32"))
    assert tuple(trace.attention.shape) == (BATCH, STEPS, 0, STEPS)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: trace_memory(ControlCell(3), inputs_of()), "Received: layer=<ControlCell"),
        (lambda: trace_memory(FastWeights(3), inputs_of()), "call it once. Received: layer=<Fast"),
        (lambda: trace_memory(built("matrix"), inputs_of()[:, :0]), "Received: shape (2, 0, 4)"),
        (
            lambda: trace_memory(built("matrix"), inputs_of()[:, :, :3]),
            "must be of shape (batch, time, 4), of one step or more. Received: shape (2, 5, 3)",
        ),
        (lambda: trace_memory(built("matrix"), inputs_of()[0]), "Received: shape (5, 4)"),
        (
            lambda: trace_memory(built("matrix"), inputs_of(), MASK[:, :3]),
            "`mask` must be of shape (batch, time) = (2, 5). Received: shape (2, 3)",
        ),
    ],
)
def test_bad_input_is_named(call, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        call()
