"""Linear attention and the delta rules in chunks, against the oracle and KerasHub's numbers."""

import pathlib
import re

import cases
import keras
import numpy as np
import pytest
import reference
from cases import BACKEND, BATCH, FEATURES, UNITS, array, cell_of, layer_of, randomize
from keras import ops

from fast_weights import DeltaNet, GatedDeltaNet, GatedDeltaNetCell, LinearAttention
from fast_weights.layers.chunked import into_chunks, out_of_chunks
from fast_weights.layers.linear_chunk import decay_factors, inverse_of, run_chunks

GOLDEN = pathlib.Path(__file__).parent / "golden/keras_hub/gated_delta_net.npz"
LAYERS = [name for name in cases.LINEAR if name in cases.LAYERS]
all_linear = pytest.mark.parametrize("name", LAYERS)


def masks_of(length):
    """Returns masks at the start, at the end, inside, of whole rows, and none."""
    inside = np.random.default_rng(9).random((BATCH, length)) < 0.6
    steps = np.arange(length)
    left, right = steps >= length // 2, steps < (length + 1) // 2
    return [
        None,
        np.array([left, steps >= 0]),
        np.array([right, left]),
        inside,
        inside & [[0], [1]],
    ]


@all_linear
@pytest.mark.parametrize(
    "length", [65, *(pytest.param(T, marks=pytest.mark.slow) for T in (1, 2, 64, 300))]
)
def test_float32_equals_oracle(name, length):
    """Catches a chunk, the window or the output of a masked step that is wrong at some length, and
    sums that cancel. Weights and states are as large as those of a trained layer.
    """
    inputs = cases.inputs_of("float32", length)
    for i, mask in enumerate(masks_of(length)):
        # The lengths are even and odd, so that each mask meets both directions.
        go_backwards, chunk_size = bool((i + length) % 2), (None, 7, 16)[i % 3]
        options = {"return_sequences": True, "return_state": True, "go_backwards": go_backwards}
        layer = layer_of(name, cell={"chunk_size": chunk_size}, dtype="float32", **options)
        states = cases.random_states(layer.cell)
        outputs, *last = layer(inputs, initial_state=states, mask=mask)
        way = slice(None, None, -1 if go_backwards else 1)
        expected = cases.oracle(
            name, layer, inputs[:, way], states, None if mask is None else mask[:, way]
        )
        message = f"{mask}, {go_backwards}, {chunk_size}"
        # Without `return_sequences`, another path computes the output.
        only = layer_of(
            name,
            cell={"chunk_size": chunk_size},
            dtype="float32",
            **{**options, "return_sequences": False},
        )
        outputs = [outputs, *last, only(inputs, initial_state=states, mask=mask)[0]]
        expected = [expected[0], *expected[1], expected[0][:, -1]]
        for output, wanted in zip(outputs, expected, strict=True):
            np.testing.assert_allclose(array(output), wanted, 1e-5, 1e-5, err_msg=message)


@all_linear
@pytest.mark.parametrize(("masked", "chunk_size"), [(False, 16), (True, 2)])
def test_gradients_equal_those_of_the_cell(name, masked, chunk_size):
    """Catches a wrong term of the custom gradients: the backend differentiates the cell."""
    if masked:
        cases.skip_masked_cell(cases.kind_of(name).cell_class.__name__)
    options = {"return_sequences": True, "return_state": True}
    layer = layer_of(name, cell={"chunk_size": chunk_size}, **options)
    settings = {k: v for k, v in cases.SETTINGS[name].items() if k != "chunk_size"}
    cell = cases.kind_of(name).cell_class(UNITS, dtype="float64", **settings)
    cell = keras.layers.RNN(cell, dtype="float64", **options)
    cell.build(cases.inputs_of().shape)
    cell.set_weights(layer.get_weights())
    mask = ops.convert_to_tensor(cases.HOLES) if masked else None
    states = cases.random_states(layer.cell) if masked else []
    arguments = [*map(array, layer.trainable_weights), cases.inputs_of(), *states]
    count = len(layer.trainable_weights)
    coefficients = np.random.default_rng(7)
    factors = [coefficients.normal(size=one.shape) for one in layer(cases.inputs_of())]

    def gradients(one):
        def loss(*tensors):
            variables = list(zip(one.trainable_variables, tensors[:count], strict=True))
            with keras.StatelessScope(state_mapping=variables):
                initial = list(tensors[count + 1 :]) or one.get_initial_state(BATCH)
                results = one(tensors[count], initial_state=initial, mask=mask)
            pairs = zip(results, factors, strict=True)
            return sum(ops.sum(result * ops.convert_to_tensor(factor)) for result, factor in pairs)

        return cases.gradients_of(loss, list(map(ops.convert_to_tensor, arguments)))

    for i, (custom, automatic) in enumerate(zip(gradients(layer), gradients(cell), strict=True)):
        cases.assert_close("", custom, array(automatic))
        assert np.abs(array(custom)).max() > 1e-6, i


def test_inverse_of_keys_that_are_alike():
    """Catches a product of powers of L, which cancels: all keys are equal here, and β is 1."""
    for size in (1, 2, 5, 64, 65):
        system = np.tri(size, k=-1, dtype="float32")
        expected = np.eye(size) - np.eye(size, k=-1)
        np.testing.assert_array_equal(array(inverse_of(ops.convert_to_tensor(system))), expected)


def test_decays_near_zero_and_one():
    """Catches a product of decays near 1 that loses its digits after a decay near 0."""
    log_decays = -np.where(np.arange(32) % 5 == 0, 1e4, 0.01).astype("float32")[:, None]
    decays, start, end, whole = decay_factors(ops.convert_to_tensor(log_decays), 32, "float32")
    until = np.cumsum(log_decays.astype("float64"), axis=0)
    expected = np.tri(32) * np.exp(np.minimum(until - until.T, 0))
    np.testing.assert_allclose(array(decays), expected, rtol=1e-6)
    np.testing.assert_allclose(array(end)[:, 0], expected[-1], rtol=1e-6)
    np.testing.assert_allclose(array(start), np.exp(until), rtol=1e-6)
    np.testing.assert_allclose(array(whole), np.exp(until[-1:]), rtol=1e-6)


def golden():
    with np.load(GOLDEN, allow_pickle=False) as file:
        return dict(file)


@pytest.mark.parametrize("size", [1, 7, 64])
def test_rule_of_keras_hub(size):
    """Catches a gated delta rule that differs from that of a published model."""
    numbers = golden()
    length = numbers["queries"].shape[1]
    parts = [
        reference_length(numbers["queries"]) * np.float32(numbers["queries"].shape[-1] ** -0.5),
        reference_length(numbers["keys"]),
        numbers["values"],
        numbers["strengths"][..., None],
        numbers["log_decays"][..., None],
    ]
    chunks = [ops.swapaxes(into_chunks(ops.convert_to_tensor(one), size), 2, 3) for one in parts]
    reads, state = run_chunks(*chunks, ops.convert_to_tensor(numbers["state"]), False)
    reads = out_of_chunks(ops.swapaxes(reads, 2, 3), length)
    for kind in ("chunk", "recurrent"):
        np.testing.assert_allclose(array(reads), numbers[f"{kind}_outputs"], atol=1e-5)
        np.testing.assert_allclose(array(state), numbers[f"{kind}_state"], atol=1e-5)


def reference_length(vectors):
    return np.apply_along_axis(reference.FEATURE_MAPS["l2"], -1, vectors).astype("float32")


def test_defaults_and_initial_weights():
    """Catches a changed default or initial weight, which would change the results of users."""
    common = {"num_heads": 1, "convolution_size": 4, "normalization": "rms", "epsilon": 1e-6}
    common |= {"activation": "silu", "use_bias": False}
    for kind, own in (
        (LinearAttention, {"feature_map": "elu", "use_denominator": True}),
        (DeltaNet, {"feature_map": "l2", "use_output_gate": False}),
        (GatedDeltaNet, {"feature_map": "l2", "use_output_gate": True}),
    ):
        assert kind(UNITS).get_config().items() >= {**common, **own}.items()
    layer = GatedDeltaNet(2, num_heads=4_000, key_size=1, value_size=1)
    layer.build((None, 1, 1))
    weights = cases.weights_of(layer)
    rates, steps = np.exp(weights["log_rate"]), np.log1p(np.exp(weights["decay_bias"]))
    for values, low, high in (
        (rates, 0, 16),
        (np.log(steps), np.log(1e-3), np.log(0.1)),
        (weights["convolution_kernel"], -0.5, 0.5),
    ):
        assert low <= values.min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < values.max() <= high + 1e-4
        assert abs(values.mean() - (low + high) / 2) < 0.03 * (high - low)


def test_layer_of_keras_hub():
    """Catches a convolution, a gate or a normalization that differs from the published model's."""
    numbers = golden()
    weights = {name.removeprefix("weight/"): one for name, one in numbers.items()}
    heads, key_size, value_size = (numbers["values"].shape[2], *numbers["state"].shape[2:])
    layer = GatedDeltaNet(
        6, num_heads=heads, key_size=key_size, value_size=value_size, return_sequences=True
    )
    layer.build(numbers["inputs"].shape)
    kernels = [weights[f"in_proj_{part}/kernel"] for part in ("qkv", "z", "b", "a")]
    ours = {
        "kernel": np.concatenate(kernels, axis=1),
        "convolution_kernel": weights["conv1d_kernel"].T,
        "gamma": weights["norm/scale"],
        "output_kernel": weights["out_proj/kernel"],
        "log_rate": weights["A_log"],
        "decay_bias": weights["dt_bias"],
    }
    layer.set_weights([ours[weight.name] for weight in layer.weights])
    np.testing.assert_allclose(array(layer(numbers["inputs"])), numbers["outputs"], atol=1e-4)


def test_decay_of_one_is_the_delta_rule():
    """Catches a decay that touches more than S."""
    gated = layer_of("GatedDeltaNet-chunks", return_sequences=True)
    plain = layer_of("DeltaNet", return_sequences=True, cell={"use_output_gate": True})
    *weights, log_rate, decay_bias = gated.get_weights()
    gated.set_weights([*weights, np.full_like(log_rate, -np.inf), decay_bias])
    weights[0] = weights[0][:, : -gated.num_heads]
    plain.set_weights(weights)
    outputs = [array(one(cases.inputs_of())) for one in (gated, plain)]
    np.testing.assert_allclose(*outputs, **cases.TIGHT)


@pytest.mark.parametrize("feature_map", [*reference.FEATURE_MAPS])
@pytest.mark.parametrize("size", [0, 1])
def test_other_settings(feature_map, size):
    """Catches another feature map, a convolution of no or one step, and outputs or reads that are
    normalized without having to be.
    """
    settings = {"feature_map": feature_map, "convolution_size": size, "normalization": "none"}
    name = "LinearAttention"
    layer = layer_of(name, cell={**settings, "use_denominator": False}, return_sequences=True)
    assert layer.cell.state_size == [3 * 8 * 7]
    cell = cell_of("LinearAttentionCell", **settings, use_denominator=False)
    options = {"rule": reference.sum_rule, "feature_map": feature_map}
    weights = cases.weights_of(layer)
    expected = []
    for example in cases.inputs_of():
        state = np.zeros(UNITS), np.zeros(3 * 8 * 7), np.zeros(0)
        for x in example:
            state = cases.step_of(name, weights, **options)(x, *state)
            expected.append(state[0])
    expected = np.reshape(expected, (BATCH, -1, UNITS))
    cases.assert_close("GRU", layer(cases.inputs_of()), expected)
    steps = keras.layers.RNN(cell, return_sequences=True, dtype="float64")
    cases.assert_close("GRU", steps(cases.inputs_of()), expected)


@all_linear
def test_sequence_is_cut_anywhere(name):
    """Catches a window that counts masked steps, or that a piece shorter than itself replaces."""
    layer = layer_of(name, return_state=True)
    expected = layer(cases.inputs_of(), mask=cases.HOLES)
    for cut in range(1, cases.STEPS):
        _, *states = layer(cases.inputs_of()[:, :cut], mask=cases.HOLES[:, :cut])
        found = layer(cases.inputs_of()[:, cut:], states, mask=cases.HOLES[:, cut:])
        for state, wanted in zip(found[1:], expected[1:], strict=True):
            np.testing.assert_allclose(array(state), array(wanted), **cases.TIGHT)


@all_linear
def test_half_precision_keeps_the_memory_in_float32(name):
    """Catches a memory, keys or values that are rounded in chunks but not in the cell."""
    # Not bfloat16: in a loop, JAX may leave out the rounding of a projection.
    layer = layer_of(name, dtype="mixed_float16", return_state=True)
    inputs = cases.inputs_of("float32", 65)
    results = layer(inputs)
    # `keras.layers.RNN` of the same policy would round the last states.
    cell = keras.layers.RNN(layer.cell, return_state=True, dtype="float32")
    for one, expected in zip(results[1:], cell(inputs)[1:], strict=True):
        np.testing.assert_allclose(array(one), array(expected), 1e-4, 1e-4)
    assert {keras.backend.standardize_dtype(one.dtype) for one in results} == {"float32"}


@all_linear
def test_gradients_of_zeros_are_finite(name):
    """Catches NaN from keys of zeros, sums without keys, and rows without steps."""
    layer = layer_of(name, cell={"use_bias": False, "epsilon": 1e-6}, return_sequences=True)
    mask = ops.convert_to_tensor([[True] * cases.STEPS, [False] * cases.STEPS])
    weights = list(map(array, layer.trainable_weights))

    def loss(inputs, *weights):
        variables = list(zip(layer.trainable_variables, weights, strict=True))
        with keras.StatelessScope(state_mapping=variables):
            return ops.sum(ops.sin(layer(inputs, mask=mask)))

    arguments = [np.zeros_like(cases.inputs_of()), *weights]
    gradients = cases.gradients_of(loss, list(map(ops.convert_to_tensor, arguments)))
    assert all(np.isfinite(array(one)).all() for one in gradients)


@pytest.mark.slow
@pytest.mark.skipif(BACKEND != "tensorflow", reason="only TensorFlow compiles loops on their own")
def test_fit_compiles_the_loop():
    """Catches a loop that XLA cannot compile apart from the model, and one that it need not."""
    inputs, losses = cases.inputs_of("float32", 70), []
    for jit_compile in ("auto", False):
        layer = randomize(
            keras.Sequential(
                [keras.Input((70, FEATURES)), GatedDeltaNet(UNITS, jit_compile=jit_compile)]
            )
        )
        layer.compile("sgd", "mse")
        losses.append(
            layer.fit(inputs, np.ones((BATCH, UNITS)), epochs=3, verbose=0).history["loss"]
        )
    np.testing.assert_allclose(*losses, rtol=1e-4)
    assert layer.layers[0]._can_compile
    assert not GatedDeltaNet(UNITS, activation=lambda values: values)._can_compile


@pytest.mark.parametrize(
    ("call", "received"),
    [
        (lambda: DeltaNet(5, num_heads=2), "units=5, num_heads=2"),
        (lambda: DeltaNet(5, num_heads=0), "num_heads=0"),
        (lambda: DeltaNet(4, key_size=0), "key_size=0"),
        (lambda: DeltaNet(4, feature_map="gelu"), "feature_map='gelu'"),
        (lambda: DeltaNet(4, convolution_size=-1), "convolution_size=-1"),
        (lambda: DeltaNet(4, normalization="layer"), "normalization='layer'"),
        (lambda: DeltaNet(4, recurrent_dropout=0.1), "{'recurrent_dropout': 0.1}"),
        (lambda: GatedDeltaNetCell(4, epsilon=-1), "epsilon=-1"),
        (lambda: LinearAttention(4, feature_map="l2", use_denominator=True), "feature_map='l2'"),
    ],
)
def test_invalid_argument_is_refused(call, received):
    """Catches an invalid argument that is accepted silently."""
    with pytest.raises(ValueError, match=re.escape(received)):
        call()
