"""`trace_memory` against the oracle and the layers, on any backend."""

import re

import cases
import numpy as np
import pytest
from cases import BATCH, HOLES, STEPS, TIGHT, UNITS, array, assert_close, cell_of, inputs_of
from reference import fast_weights_step

from fast_weights import ControlCell, FastWeights, trace_memory

masks = pytest.mark.parametrize("mask", [None, HOLES], ids=["no mask", "mask with holes"])
PARTS = ("fast_weights", "hidden", "written", "attention")


def oracle_trace(name, cell, inputs, mask, h, A):
    """Returns the four parts of a trace of one example, (T, ...) each."""
    settings, weights = cases.SETTINGS[name], cases.weights_of(cell)
    states, matrices, record = [], [], []
    for x, kept in zip(inputs, mask, strict=True):
        if kept:
            h, A = fast_weights_step(weights, x, h, A, record=record, **settings)
        else:
            record.append((np.zeros(UNITS), [np.zeros(UNITS)] * settings["inner_steps"]))
        states.append(h)
        matrices.append(A)
    written = np.array([v for v, _ in record])
    attention = np.zeros((len(inputs), settings["inner_steps"], len(inputs)))
    clock = np.cumsum(mask)
    for t, (_, queries) in enumerate(record):
        for s, query in enumerate(queries):
            for past in range(t + 1):
                share = settings["decay_rate"] ** (clock[t] - clock[past]) * written[past] @ query
                attention[t, s, past] = settings["fast_learning_rate"] * share
    return np.array(matrices), np.array(states), written, attention


@cases.fast_cells
@masks
def test_trace_equals_oracle(name, mask):
    """Catches a wrong age or bracket of equation 4, a query of another inner step, a masked step
    that writes, reads or counts as age, and an initial state that is ignored.
    """
    cell = cell_of(name)
    states = None if mask is None else cases.random_states(cell)
    trace = trace_memory(cell, inputs_of(), mask, states)
    h, A = cases.oracle_states(states or cell.get_initial_state(BATCH))
    for b in range(BATCH):
        kept = np.ones(STEPS, bool) if mask is None else mask[b]
        expected = oracle_trace(name, cell, inputs_of()[b], kept, h[b], A[b])
        for part, value in zip(PARTS, expected, strict=True):
            np.testing.assert_allclose(array(getattr(trace, part))[b], value, err_msg=part, **TIGHT)


@masks
@pytest.mark.parametrize("go_backwards", [False, True])
def test_trace_equals_layer_and_leaves_it_unchanged(go_backwards, mask):
    """Catches a trace that ignores the layer's direction, and a layer that the trace changes."""
    layer = cases.layer_of("FastWeights-chunks", return_sequences=True, go_backwards=go_backwards)
    before = vars(layer).copy(), vars(layer.cell).copy()
    trace = trace_memory(layer, inputs_of(), mask)
    assert before == (vars(layer), vars(layer.cell))
    assert_close("FastWeights", trace.hidden, array(layer(inputs_of(), mask=mask)))


@masks
@pytest.mark.parametrize("name", ["LinearAttention", "DeltaNet", "GatedDeltaNet-chunks"])
def test_trace_of_a_linear_memory(name, mask):
    """Catches attention that misses a decay or reads a later step, a vector under another step, a
    masked step that reads or writes, a trace that differs from the layer, and a column of S that
    does not hold a value.
    """
    settings = {"use_output_gate": False}
    options = {"return_sequences": True, "return_state": True, "go_backwards": mask is None}
    layer = cases.layer_of(name, cell=settings, **options)
    trace = trace_memory(layer, inputs_of(), mask)
    outputs, memory, _ = layer(inputs_of(), mask=mask)
    assert_close("", trace.hidden, array(outputs))
    memory = array(memory).reshape(BATCH, *layer.cell.memory_shape)[..., :7]
    np.testing.assert_allclose(array(trace.fast_weights)[:, -1], memory, **TIGHT)
    # (B, n, T, T) and (B, n, T, d_v)
    attention, written = (np.swapaxes(array(one), 1, 2) for one in (trace.attention, trace.written))
    reads = attention @ written
    if name == "LinearAttention":
        reads = np.concatenate([reads, attention.sum(axis=-1, keepdims=True)], axis=-1)
    reads = np.swapaxes(reads, 1, 2)
    kept = np.ones((BATCH, STEPS), bool) if mask is None else mask
    np.testing.assert_allclose(
        array(layer.cell.outputs(reads, None))[kept], array(outputs)[kept], **TIGHT
    )
    assert not np.triu(attention, 1).any()
    assert not attention[np.broadcast_to(~kept[:, None], attention.shape[:3])].any()


def test_zero_inner_steps_have_no_attention():
    """Catches a query where nothing reads."""
    trace = trace_memory(cell_of("FastWeightsCell", inner_steps=0), inputs_of())
    assert tuple(trace.attention.shape) == (BATCH, STEPS, 0, STEPS)


@pytest.mark.parametrize(
    ("layer", "inputs", "mask", "received"),
    [
        (ControlCell(3), inputs_of(), None, "layer=<ControlCell"),
        (FastWeights(3), inputs_of(), None, "layer=<FastWeights"),
        (cell_of("FastWeightsCell"), inputs_of()[:, :0], None, "(2, 0, 4)"),
        (cell_of("FastWeightsCell"), inputs_of()[:, :, :3], None, "(2, 5, 3)"),
        (cell_of("FastWeightsCell"), inputs_of()[0], None, "(5, 4)"),
        (cell_of("FastWeightsCell"), inputs_of(), HOLES[:, :3], "(2, 3)"),
        (cell_of("FastWeightsCell"), inputs_of(), HOLES[:1], "(1, 5)"),
    ],
)
def test_invalid_input_is_refused(layer, inputs, mask, received):
    """Catches an input of a wrong shape that is broadcast silently."""
    with pytest.raises(ValueError, match=re.escape(received)):
        trace_memory(layer, inputs, mask)


def test_invalid_state_is_refused():
    """Catches a state of another layer that is broadcast silently."""
    with pytest.raises(ValueError, match=re.escape("(1, 6)")):
        trace_memory(cell_of("FastWeightsCell"), inputs_of(), None, [np.ones((1, 6))] * 2)
