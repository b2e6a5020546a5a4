"""The layers beyond their numbers, which test_cells.py compares with the oracle."""

import re

import cases
import keras
import numpy as np
import pytest
from cases import BATCH, SETTINGS, STEPS, all_layers, assert_close, inputs_of, layer_of, oracle

from fast_weights import Control, FastWeights

BEFORE_KERAS_3_13 = tuple(map(int, keras.__version__.split(".")[:2])) < (3, 13)


@all_layers
def test_layer_passes_its_arguments_on(name):
    """Catches an argument that the layer accepts and hides, or that Keras or the cell lacks."""
    layer = layer_of(name, activity_regularizer="l2", name="mine", trainable=False)
    for setting, value in SETTINGS[name].items():
        assert getattr(layer, setting) == value
    layer(inputs_of())
    assert len(layer.losses) == 1
    assert layer.weights[0].path == "mine/cell/kernel"
    assert layer.trainable_variables == []


@cases.some_layers
@cases.unrolled
def test_stateful(name, unroll):
    """Catches a state that is lost between batches or not reset, and A that is left behind."""
    layer = layer_of(name, stateful=True, unroll=unroll)
    expected, _ = oracle(name, layer, inputs_of())
    for _ in range(2):
        first, second = layer(inputs_of()[:, :2]), layer(inputs_of()[:, 2:])
        assert_close(name, first, expected[:, 1])
        assert_close(name, second, expected[:, -1])
        layer.reset_state()


@pytest.mark.parametrize(
    ("call", "received"),
    [
        (lambda: Control(0), "units=0"),
        (lambda: FastWeights(3, decay_rate=2), "decay_rate=2"),
        (lambda: FastWeights(3, chunk_size=0), "chunk_size=0"),
        (lambda: FastWeights(3, recurence="paper"), "{'recurence': 'paper'}"),
        (lambda: Control(3, "tanh"), "positional argument"),
        (lambda: Control(3)(np.ones((2, 4), "float32")), "ndim=2"),
        (lambda: FastWeights(3)(inputs_of()[:, :0]), "(2, 0, 4)"),
        (lambda: layer_of("Control")(inputs_of()[:, :, 1:]), "(2, 5, 3)"),
        (lambda: Control(3)(inputs_of(), mask=np.ones((BATCH, STEPS + 1), "bool")), "(2, 6)"),
        (lambda: Control(3)(inputs_of(), mask=np.ones((STEPS,), "bool")), "(5,)"),
        (lambda: Control(3)(inputs_of(), mask=True), "shape ()"),
        (lambda: Control(3)(inputs_of(), mask=[]), "(0,)"),
        (lambda: Control(3)(inputs_of(), mask=[[True] * STEPS] * BATCH), "(5,)"),
        (lambda: Control(3)(inputs_of(), initial_state=[np.ones((4, 3))]), "[(4, 3)]"),
        pytest.param(
            lambda: Control(3)(inputs_of(), initial_state=[None]),
            "[None]",
            marks=pytest.mark.xfail(BEFORE_KERAS_3_13, reason="Keras raises its own error first"),
        ),
        (
            lambda: FastWeights(3)(inputs_of(), initial_state=[np.ones((2, 3)), np.ones((2, 3))]),
            "[(2, 3), (2, 3)]",
        ),
    ],
)
def test_invalid_input_is_refused(call, received):
    """Catches a mistake that gives a wrong result, or an error about something else."""
    with pytest.raises((ValueError, TypeError), match=re.escape(received)):
        call()
