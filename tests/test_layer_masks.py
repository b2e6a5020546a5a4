"""How masks reach a layer, and what a layer returns for a masked step."""

import cases
import keras
import numpy as np
import pytest
from cases import FEATURES, PADDED, array, assert_close, inputs_of, layer_of, oracle, some_layers

FAILS_ON_TORCH = "Keras 3.15 fails with a mask, `go_backwards` and `unroll` on PyTorch"


@some_layers
def test_masking_layer(name):
    """Catches a mask that does not reach the layer, or is not passed on to the next one."""
    inputs = keras.Input((None, FEATURES))
    masked = keras.layers.Masking(mask_value=0.0)(inputs)
    hidden = layer_of(name, dtype="float32", return_sequences=True)(masked)
    model = keras.Model(inputs, keras.layers.RNN(keras.layers.SimpleRNNCell(2))(hidden))
    padded = inputs_of("float32") * PADDED[:, :, None]
    short = array(model(padded[1:, :2]))
    np.testing.assert_allclose(array(model(padded))[1:], short, **cases.FLOAT32)


@some_layers
def test_embedding_mask_counts_with_initial_state(name):
    """Catches the mask of an `Embedding` that is lost in a call with an initial state."""
    tokens = np.array([[3, 1, 2, 0, 0], [2, 2, 0, 1, 3]])
    layer = layer_of(name, return_state=True)
    embedding = keras.layers.Embedding(4, FEATURES, mask_zero=True, dtype="float64")
    embedding.build()
    cases.randomize(embedding)
    inputs = [keras.Input(tokens.shape[1:], dtype="int32")]
    inputs += [keras.Input((size,), dtype="float64") for size in layer.state_size]
    model = keras.Model(inputs, layer(embedding(inputs[0]), initial_state=inputs[1:])[0])
    states = [np.full((cases.BATCH, size), 0.3) for size in layer.state_size]
    outputs = model.predict([tokens, *states], verbose=0)
    expected, *_ = layer(array(embedding(tokens)), initial_state=states, mask=tokens != 0)
    np.testing.assert_allclose(outputs, array(expected), **cases.FLOAT32)


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ([PADDED], PADDED),
        ([PADDED, None, None], PADDED),
        ([None, None, None], None),
        (PADDED[:, :, None], PADDED),
    ],
)
def test_forms_of_masks(given, used):
    """Catches the list that Keras makes of the masks of the sequences and the states, and a mask
    of three axes, which Keras's layers accept.
    """
    layer = layer_of("FastWeights", return_sequences=True)
    expected, _ = oracle("FastWeights", layer, inputs_of(), mask=used)
    assert_close("FastWeights", layer(inputs_of(), mask=given), expected)


@some_layers
@cases.unrolled
@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("return_sequences", [False, True])
def test_zero_output_for_mask(name, unroll, go_backwards, return_sequences):
    """Catches zeros at the wrong steps, and zeros that enter the state."""
    if unroll and go_backwards and cases.BACKEND == "torch":
        pytest.skip(FAILS_ON_TORCH)
    options = {"go_backwards": go_backwards, "return_sequences": return_sequences}
    layer = layer_of(name, unroll=unroll, zero_output_for_mask=True, **options)
    direction = -1 if go_backwards else 1
    inputs, mask = inputs_of()[:, ::direction], cases.HOLES[:, ::direction]
    expected, _ = oracle(name, layer, inputs, mask=mask)
    expected = expected * mask[:, :, None]
    outputs = layer(inputs_of(), mask=cases.HOLES)
    assert_close(name, outputs, expected if return_sequences else expected[:, -1])


@some_layers
@cases.unrolled
def test_bidirectional(name, unroll):
    """Catches zeros at the wrong steps: `Bidirectional` sets `zero_output_for_mask` itself. Catches
    states that are mixed up: it gives half of them to each direction.
    """
    if unroll and cases.BACKEND == "torch":
        pytest.skip(FAILS_ON_TORCH)
    inner = layer_of(name, unroll=unroll, return_sequences=True)
    layer = keras.layers.Bidirectional(inner, dtype="float64")
    layer.build((cases.BATCH, cases.STEPS, FEATURES))
    cases.randomize(layer)
    ahead, behind = cases.random_states(inner.cell, seed=5), cases.random_states(inner.cell, seed=6)
    initial = [cases.oracle_states(ahead), cases.oracle_states(behind)]
    there, _ = oracle(name, layer.forward_layer, inputs_of(), initial[0], PADDED)
    flipped = inputs_of()[:, ::-1], initial[1], PADDED[:, ::-1]
    back, _ = oracle(name, layer.backward_layer, *flipped)
    expected = np.concatenate([there, back[:, ::-1]], axis=-1) * PADDED[:, :, None]
    outputs = layer(inputs_of(), initial_state=[*ahead, *behind], mask=PADDED)
    assert_close(name, outputs, expected)
