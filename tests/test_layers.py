"""The layers: a cell each, and the choice of the fast weights' form."""

import json
import pathlib
import re
import warnings

import keras
import numpy as np
import pytest
from cases import (
    BACKEND,
    BATCH,
    FEATURES,
    STEPS,
    TIGHT,
    UNITS,
    array,
    inputs_of,
    mask_of,
    oracle,
    randomize,
    tight,
)
from layer_cases import FAST, LAYERS, all_layers, assert_oracle, layer_of

from fast_weights import (
    Control,
    ControlCell,
    FastWeights,
    FastWeightsAttentionCell,
    FastWeightsCell,
    LayerNormGRUCell,
    LayerNormRNNCell,
    vanishing_length,
)
from fast_weights.layers import faster_form

DOCS = pathlib.Path(__file__).parent.parent / "docs"


@all_layers
@pytest.mark.parametrize("unroll", [False, True])
def test_layer_equals_oracle(name, unroll):
    """An argument that does not reach the cell, or not Keras's loop; a memory grown wrong."""
    layer = layer_of(name, unroll=unroll, return_sequences=True)
    assert_oracle(name, layer, layer(inputs_of()))
    mask = mask_of(5, 2)
    assert_oracle(name, layer, layer(inputs_of(), mask=mask), mask)


@all_layers
@pytest.mark.parametrize("unroll", [False, True])
@pytest.mark.parametrize("go_backwards", [False, True])
def test_layer_takes_keras_arguments(name, unroll, go_backwards):
    """An argument that a layer takes and does not hand on, alone or beside another."""
    # Keras 3.15 cannot do this on PyTorch with its own cells either (README).
    skips = unroll and go_backwards and BACKEND == "torch"
    settings = {"unroll": unroll, "go_backwards": go_backwards, "return_sequences": True}
    layer = layer_of(name, zero_output_for_mask=True, activity_regularizer="l2", **settings)
    inputs = inputs_of()[:, ::-1] if go_backwards else inputs_of()
    assert_oracle(name, layer, layer(inputs))
    assert len(layer.losses) == 1
    if not skips:
        mask = mask_of(5, 2)[:, ::-1] if go_backwards else mask_of(5, 2)
        expected, _ = oracle(name, layer.cell, inputs_of(), mask=mask_of(5, 2))
        expected *= mask_of(5, 2)[:, :, None]
        np.testing.assert_allclose(array(layer(inputs, mask=mask)), expected, **tight(name))
        layer.return_sequences = False
        last = array(layer(inputs, mask=mask))
        np.testing.assert_allclose(last, expected[:, -1], **tight(name))
    frozen = layer_of(name, trainable=False)
    assert frozen.trainable is False
    assert frozen.trainable_variables == []


@all_layers
@pytest.mark.parametrize("unroll", [False, True])
def test_layer_takes_and_returns_states(name, unroll):
    """States that a layer takes and forgets: one half of a sequence goes on from the other."""
    layer = layer_of(name, unroll=unroll, return_state=True)
    _, *states = layer(inputs_of()[:, :2])
    output, *_ = layer(inputs_of()[:, 2:], initial_state=states)
    expected, _ = oracle(name, layer.cell, inputs_of())
    np.testing.assert_allclose(array(output), expected[:, -1], **tight(name))


@all_layers
def test_layer_tells_its_settings(name):
    """What Keras's own layers say of themselves."""
    kind, settings = LAYERS[name]
    layer = kind(UNITS, activation="tanh", kernel_regularizer="l2", **settings)
    assert layer.units == UNITS
    assert layer.activation is keras.activations.tanh
    assert layer.kernel_regularizer is not None
    assert layer.bias_constraint is None
    for setting, value in settings.items():
        assert getattr(layer, setting) == value


def own_activation(values):
    """A function that Keras was not told of."""
    return keras.ops.maximum(values, 0.1 * values)


class OwnRegularizer(keras.regularizers.Regularizer):
    """A regularizer that Keras was not told of."""

    def __call__(self, weights):
        return keras.ops.sum(weights)


def test_own_functions_reach_the_cell_whatever_its_form():
    """A form that is chosen when the layer is built, from a config that cannot hold them."""
    own = {
        "activation": own_activation,
        "kernel_regularizer": OwnRegularizer(),
        "kernel_initializer": lambda shape, dtype=None: keras.ops.full(shape, 0.25, dtype),
    }
    layer = FastWeights(50, unroll=True, **own)
    layer(inputs_of("float32"))
    assert isinstance(layer.cell, FastWeightsAttentionCell)
    assert layer.activation is own_activation
    assert layer.kernel_regularizer is own["kernel_regularizer"]
    np.testing.assert_array_equal(array(layer.cell.kernel), np.float32(0.25))
    assert float(layer.losses[0]) == 50 * FEATURES * 0.25
    assert layer.weights[0].path == f"{layer.name}/cell/kernel"


@all_layers
def test_layer_config(name):
    """A setting of the layer or of its cell that a config loses."""
    settings = {"return_sequences": True, "go_backwards": True, "zero_output_for_mask": True}
    layer = layer_of(name, unroll=True, name="mine", kernel_regularizer="l2", **settings)
    twin = type(layer).from_config(layer.get_config())
    assert twin.get_config() == layer.get_config()
    twin.build((BATCH, STEPS, FEATURES))
    twin.set_weights(layer.get_weights())
    np.testing.assert_array_equal(array(twin(inputs_of())), array(layer(inputs_of())))
    assert len(twin.losses) == 1


@all_layers
def test_layer_is_saved_and_loaded(name, tmp_path):
    """A form that is chosen anew on loading and does not find its weights."""
    kind, settings = LAYERS[name]
    model = keras.Sequential(
        [keras.Input((STEPS, FEATURES)), kind(UNITS, **settings), keras.layers.Dense(2)]
    )
    randomize(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    inputs = inputs_of("float32")
    np.testing.assert_array_equal(array(loaded(inputs)), array(model(inputs)))
    assert type(loaded.layers[0].cell) is type(model.layers[0].cell)


def test_each_layer_has_its_cell():
    cells = {name: type(layer_of(name).cell) for name in LAYERS}
    assert cells["control"] is ControlCell
    assert cells["rnn_ln"] is LayerNormRNNCell
    assert cells["gru_original"] is LayerNormGRUCell
    assert cells["matrix"] is FastWeightsCell
    assert cells["attention"] is FastWeightsAttentionCell


def test_auto_takes_the_faster_form():
    """A form that is chosen without a look at the length, or where the length is not known."""
    for length, units in ((9, 50), (2_000, 20)):
        layer = FastWeights(units, unroll=length < 10)
        layer.build((None, length, FEATURES))
        attention = isinstance(layer.cell, FastWeightsAttentionCell)
        assert attention == (faster_form(length, units, layer.unroll) == "attention")
    assert faster_form(9, 50, unroll=True) == "attention"
    for settings in ({"stateful": True}, {"return_state": True}):
        layer = FastWeights(50, unroll=True, **settings)
        layer.build((BATCH, 9, FEATURES))
        assert isinstance(layer.cell, FastWeightsCell), settings
    layer = FastWeights(50)
    layer.build((None, None, FEATURES))
    assert isinstance(layer.cell, FastWeightsCell)


def test_the_faster_form_is_the_one_that_was_measured_so():
    """A rule that is not what the measurements say, where they say it clearly."""
    lines = (DOCS / "results/memory_forms.jsonl").read_text().splitlines()
    times = {}
    for one in map(json.loads, lines):
        if "ms" in one:
            case = (one["length"], one["units"], one["unroll"], one.get("masked"))
            times.setdefault(case, {})[one["form"]] = one["ms"]
    checked = 0
    for (length, units, unroll, _), by_form in times.items():
        if len(by_form) == 2:
            ratio = by_form["matrix"] / by_form["attention"]
            size = min(length, vanishing_length(0.95))
            if not 1 / 1.5 < ratio < 1.5:
                assert faster_form(size, units, unroll) == min(by_form, key=by_form.get)
                checked += 1
    assert checked > 20


def test_an_initial_state_decides_for_the_matrix_form():
    """A state of H + H² numbers that is taken for H past vectors."""
    sequences, hidden, memory = (
        keras.Input((STEPS, FEATURES)),
        keras.Input((UNITS,)),
        keras.Input((UNITS**2,)),
    )
    layer = FastWeights(UNITS, unroll=True)
    layer(sequences, initial_state=[hidden, memory])
    assert isinstance(layer.cell, FastWeightsCell)


@pytest.mark.parametrize("unroll", [False, True])
def test_attention_layer_takes_longer_sequences_than_it_was_built_for(unroll):
    """A memory that is as long as the first sequence, and forgets in a longer one."""
    layer = FastWeights(UNITS, memory="attention", unroll=unroll, dtype="float64", **FAST)
    layer(inputs_of()[:, :2])
    randomize(layer)
    for length in (STEPS, 1, STEPS):
        outputs = array(layer(inputs_of()[:, :length]))
        expected, _ = oracle("matrix", layer.cell, inputs_of()[:, :length])
        np.testing.assert_allclose(outputs, expected[:, -1], **TIGHT)
        assert layer.cell.memory_size == STEPS


def test_attention_layer_keeps_what_can_count():
    """A memory of all steps where λ^n has vanished, or of too few where states live on."""
    layer = FastWeights(UNITS, memory="attention", decay_rate=0.5)
    layer.build((BATCH, 1_000, FEATURES))
    assert layer.cell.memory_size == 23
    layer = FastWeights(UNITS, memory="attention", decay_rate=0.5, stateful=True)
    layer.build((BATCH, 2, FEATURES))
    assert layer.cell.memory_size == 23
    layer = FastWeights(UNITS, memory="attention", decay_rate=0.5, return_state=True)
    assert layer.compute_output_shape((BATCH, 9, FEATURES))[-1] == (BATCH, 23 * UNITS)
    with pytest.raises(ValueError, match=re.escape('Give `memory_size`, or `memory="matrix"`')):
        FastWeights(UNITS, memory="attention", decay_rate=1.0, stateful=True)


def test_a_float64_memory_holds_what_float64_can_tell():
    """Vectors that are lost in float32's rounding, and not in float64's."""
    assert vanishing_length(0.5, "float64") == 52
    assert vanishing_length(0.5, "float32") == 23
    inputs = inputs_of("float64", 60)
    settings = {**FAST, "decay_rate": 0.5, "dtype": "float64"}
    outputs = []
    for memory in ("attention", "matrix"):
        layer = FastWeights(UNITS, memory=memory, **settings)
        layer.build(inputs.shape)
        randomize(layer)
        outputs.append(array(layer(inputs)))
    np.testing.assert_allclose(*outputs, **TIGHT)


def test_auto_with_nothing_that_vanishes_takes_any_length():
    """A form chosen for the first length, with λ = 1, that cannot take a longer one."""
    layer = FastWeights(50, unroll=True, decay_rate=1.0)
    layer.build((None, 9, FEATURES))
    assert isinstance(layer.cell, FastWeightsCell)


def test_stateful_attention_layer():
    """A memory that ends with the batch."""
    layer = layer_of("attention", stateful=True)
    expected, _ = oracle("attention", layer.cell, inputs_of())
    layer(inputs_of()[:, :2])
    np.testing.assert_allclose(array(layer(inputs_of()[:, 2:])), expected[:, -1], **TIGHT)


@pytest.mark.parametrize("memory", ["matrix", "attention"])
def test_half_precision_states_stay_in_float32(memory):
    """A that is rounded where it leaves the layer, in a state returned or kept."""
    layer = FastWeights(UNITS, memory=memory, return_state=True, dtype="mixed_float16", **FAST)
    inputs = inputs_of("float32")
    layer(inputs)
    randomize(layer)
    output, *states = layer(inputs)
    assert [keras.backend.standardize_dtype(state.dtype) for state in states] == ["float32"] * 2
    exact = FastWeights(UNITS, memory=memory, return_state=True, **FAST)
    exact(inputs)
    exact.set_weights(layer.get_weights())
    np.testing.assert_allclose(array(output), array(exact(inputs)[0]), rtol=0.02, atol=0.02)


def test_short_memory_is_warned_of():
    """A memory too short that is taken silently; a warning where nothing is lost."""
    layer = FastWeights(UNITS, memory="attention", memory_size=3, decay_rate=0.5)
    with pytest.warns(
        UserWarning, match=r"count 0\.12 of a new one\. Received: memory_size=3 for .* of 5 steps"
    ):
        layer(inputs_of("float32"))
    stream = FastWeights(UNITS, memory="attention", memory_size=5, stateful=True)
    with pytest.warns(UserWarning, match="memory_size=5 for sequences of any number of steps"):
        stream(inputs_of("float32"))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        layer(inputs_of("float32")[:, :3])
        long = FastWeights(UNITS, memory="attention", memory_size=23, decay_rate=0.5)
        long(inputs_of("float32", 40))
    assert [str(one.message) for one in said] == []


def states_for_a_form_that_is_chosen():
    """A layer that was built for calls without states, and then gets some."""
    layer = FastWeights(50, unroll=True)
    layer(inputs_of("float32"))
    layer(inputs_of("float32"), initial_state=[np.ones((2, 50)), np.ones((2, 2_500))])


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: FastWeights(3)(np.ones((2, 4), "float32")), "expected ndim=3, found ndim=2"),
        (lambda: FastWeights(0), "`units` must be a positive integer. Received: units=0"),
        (lambda: FastWeights(3, decay_rate=2), "Received: decay_rate=2"),
        (lambda: FastWeights(3, memory="both"), "Received: memory='both'"),
        (lambda: FastWeights(3, memory="attention", memory_size=-1), "Received: memory_size=-1"),
        (lambda: FastWeights(3, memory_size=9), "Received: memory_size=9 with memory='auto'"),
        (lambda: FastWeights(3, recurence="paper"), "recurence"),
        (
            lambda: Control(3)(inputs_of("float32"), mask=np.ones((BATCH, STEPS + 1), "bool")),
            "`mask` must be of shape (batch, time), like the sequences. "
            "Received: a mask of shape (2, 6) for sequences of shape (2, 5, 4)",
        ),
        (
            lambda: FastWeights(3)(inputs_of("float32"), mask=np.ones((STEPS,), "bool")),
            "Received: a mask of shape (5,)",
        ),
        (lambda: Control(3)(inputs_of("float32"), mask=True), "Received: a mask of shape None"),
        (lambda: Control(3)(inputs_of("float32"), mask=[]), "Received: a mask of shape (0,)"),
        (
            lambda: layer_of("matrix")(inputs_of()[:, :, 1:]),
            "expected axis -1 of input shape to have value 4, but received input with shape (2, 5",
        ),
        (
            lambda: FastWeights(3, memory="matrix")(
                inputs_of("float32"), initial_state=[np.ones((2, 3)), np.ones((2, 3))]
            ),
            "`initial_state` must be of shapes (2, 3), (2, 9) (FastWeightsCell's). "
            "Received: [(2, 3), (2, 3)]",
        ),
        (
            lambda: Control(3)(inputs_of("float32"), initial_state=[np.ones((4, 3))]),
            "(2, 3) (ControlCell's). Received: [(4, 3)]",
        ),
        (
            lambda: Control(3)(inputs_of("float32"), initial_state=[None]),
            "(2, 3) (ControlCell's). Received: [None]",
        ),
        (
            states_for_a_form_that_is_chosen,
            '`memory="matrix"` takes them always. Received: [(',
        ),
        (lambda: Control(3, "tanh"), "positional argument"),
    ],
)
def test_bad_input_is_named(call, text):
    """A mistake that ends in a wrong answer, or in a message about something else."""
    with pytest.raises((ValueError, TypeError), match=re.escape(text)):
        call()
