"""Masks on their way into a layer, and what a masked step returns."""

import keras
import numpy as np
import pytest
from cases import (
    BACKEND,
    BATCH,
    FEATURES,
    FLOAT32,
    STEPS,
    array,
    inputs_of,
    mask_of,
    oracle,
    randomize,
    tight,
)
from layer_cases import all_layers, assert_oracle, layer_of

from fast_weights import Control


@all_layers
def test_the_mask_of_an_embedding_counts_beside_an_initial_state(name):
    """Keras fills in `mask` from the sequences only where these are the one tensor given."""
    tokens = np.array([[3, 1, 2, 0, 0], [2, 2, 0, 1, 3]])
    layer = layer_of(name, return_state=True)
    embedding = keras.layers.Embedding(4, FEATURES, mask_zero=True, dtype="float64")
    embedded = np.random.default_rng(5).normal(size=(4, FEATURES))
    embedding.build()
    embedding.set_weights([embedded])
    inputs = [keras.Input(tokens.shape[1:], dtype="int32")]
    inputs += [keras.Input((size,), dtype="float64") for size in layer.state_size]
    model = keras.Model(inputs, layer(embedding(inputs[0]), initial_state=inputs[1:])[0])
    states = [np.full((BATCH, size), 0.3) for size in layer.state_size]
    outputs = model.predict([tokens, *states], verbose=0)
    expected, *_ = layer(embedded[tokens], initial_state=states, mask=tokens != 0)
    np.testing.assert_allclose(outputs, array(expected), **FLOAT32)


@pytest.mark.parametrize("others", [[], [None, None]])
def test_a_mask_in_a_list_is_taken(others):
    """A list with that of the sequences and those, none, of the states."""
    layer, mask = layer_of("matrix", return_sequences=True), mask_of(5, 2)
    assert_oracle("matrix", layer, layer(inputs_of(), mask=[mask, *others]), mask)
    assert_oracle("matrix", layer, layer(inputs_of(), mask=[None, *others]))


def test_a_mask_of_plain_lists_is_taken():
    layer, mask = layer_of("control", return_sequences=True), mask_of(5, 2)
    assert_oracle("control", layer, layer(inputs_of(), mask=mask.tolist()), mask)


@all_layers
@pytest.mark.parametrize("unroll", [False, True])
@pytest.mark.parametrize("return_sequences", [False, True])
def test_bidirectional_with_a_mask(name, unroll, return_sequences):
    """With `return_sequences` it sets `zero_output_for_mask`, and one of its halves goes back."""
    if unroll and BACKEND == "torch":
        pytest.skip("Keras 3.15 cannot go backwards unrolled with a mask on PyTorch (README)")
    layer = layer_of(name, unroll=unroll, return_sequences=return_sequences)
    layer = keras.layers.Bidirectional(layer, dtype="float64")
    layer.build((BATCH, STEPS, FEATURES))
    randomize(layer)
    mask = mask_of(4, 2)
    there, _ = oracle(name, layer.forward_layer.cell, inputs_of(), mask=mask)
    back, _ = oracle(name, layer.backward_layer.cell, inputs_of()[:, ::-1], mask=mask[:, ::-1])
    if return_sequences:
        expected = np.concatenate([there, back[:, ::-1]], axis=-1) * mask[:, :, None]
    else:
        expected = np.concatenate([there[:, -1], back[:, -1]], axis=-1)
    np.testing.assert_allclose(array(layer(inputs_of(), mask=mask)), expected, **tight(name))


def test_a_call_changes_no_setting():
    """A setting that is another for a moment, in which a second thread calls the layer."""
    seen = []

    def activation(values):
        seen.append(layer.zero_output_for_mask)
        return values

    layer = Control(3, activation=activation, zero_output_for_mask=True)
    layer(inputs_of("float32"), mask=mask_of(5, 2))
    assert set(seen) == {True}
