"""Padding that is not finite: masked steps with NaN, infinity or huge numbers."""

import numpy as np
import pytest
import tensorflow as tf
from cases import HOLES, all_layers, array, cell_of, inputs_of, layer_of, unrolled

from fast_weights import trace_memory

ZEROS = np.zeros(4)
# At the start of a sequence, inside and at the end.
NOT_FINITE = np.array([np.nan, np.inf, 1e20, -np.inf])


def padded(padding, dtype="float64"):
    """Returns sequences with `padding`, four numbers, in the four steps that `HOLES` excludes."""
    sequences = inputs_of(dtype)
    sequences[~HOLES] = padding[:, None]
    return tf.constant(sequences)


def results(layer, sequences):
    """Returns the gradient of the sequences, those of the weights, the output and the states."""
    weights = [weight.value for weight in layer.trainable_variables]
    with tf.GradientTape() as tape:
        tape.watch([sequences, *weights])
        outputs = layer(sequences, mask=tf.constant(HOLES))
        loss = sum(tf.reduce_sum(tf.sin(output)) for output in outputs)
    return *tape.gradient(loss, [sequences, *weights]), *outputs


def check(layer, run, dtype="float64"):
    expected = run(layer, padded(ZEROS, dtype))
    given = run(layer, padded(NOT_FINITE, dtype))
    for one, of_zeros in zip(given, expected, strict=True):
        np.testing.assert_array_equal(array(one), array(of_zeros))
    np.testing.assert_array_equal(array(given[0])[~HOLES], 0)
    return given


@all_layers
@unrolled
def test_padding_that_is_not_finite(name, unroll):
    """Catches padding that the backward pass multiplies by 0: for NaN and infinity, that is NaN."""
    layer = layer_of(name, unroll=unroll, return_sequences=True, return_state=True)
    assert all(np.all(np.isfinite(array(one))) for one in check(layer, results))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["LayerNormGRU", "FastWeights-chunks", "GatedDeltaNet-chunks"])
def test_padding_that_is_not_finite_under_xla(name):
    """Catches a product with padding before a compiled loop; 1e20 is infinite in half precision."""
    layer = layer_of(name, dtype="mixed_float16", go_backwards=True, return_state=True)
    compiled = tf.function(lambda sequences: results(layer, sequences), jit_compile=True)
    check(layer, lambda _, sequences: compiled(sequences), "float32")


def test_trace_with_padding_that_is_not_finite():
    """Catches attention of NaN: a masked step reads, and 0 times its result is not 0."""
    cell = cell_of("FastWeightsCell")
    trace, expected = (trace_memory(cell, padded(one), HOLES) for one in (NOT_FINITE, ZEROS))
    for name, tensor in vars(expected).items():
        np.testing.assert_array_equal(array(getattr(trace, name)), array(tensor), err_msg=name)
