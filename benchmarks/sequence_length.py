"""Measures the time and memory of an update of `FastWeights` and of Keras's layers.

python -m benchmarks.sequence_length

An update is a forward pass, a backward pass and a subtraction from the weights, for a batch of
random sequences of 32 features and a loss of the last output. Other cases measure a batch of
Keras's `fit`, `evaluate` and `predict`. The layers of a case take turns in one process, so that
changes in the speed of the machine affect all of them. Each layer's memory is measured
in a separate process: the peak memory of the process during the update (Linux's VmHWM, which is
reset after compilation) minus its memory before the update.
`keras.layers.RNN(FastWeightsCell)` computes A at every step.

Also measures other chunk sizes; `default_chunk_size` is based on them. Writes
`docs/results/sequence_length.jsonl` and `docs/sequence_length.png`.
"""

import concurrent.futures
import ctypes
import dataclasses
import functools
import itertools
import multiprocessing
import pathlib
import re
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

import fast_weights
from benchmarks.study import Measurement, alternate, median, timed
from benchmarks.tables import Record, part, table

FEATURES = 32
LENGTHS = (9, 33, 129, 513, 2049, 8193)
UNITS = (50, 128, 256)
CHUNK_SIZES = (8, 12, 16, 24, 32, 48, 64)
# Around the length up to which a sequence is a single chunk.
SHORT_LENGTHS = (33, 65, 129, 257)
FAST, GRU, LSTM, CELL = "FastWeights", "GRU", "LSTM", "FastWeightsCell"
LINEAR = ("LinearAttention", "DeltaNet", "GatedDeltaNet")
# `FastWeights` that does not compile itself.
UNCOMPILED = f"{FAST} uncompiled"
NUM_LENGTHS = 20


@dataclasses.dataclass(frozen=True)
class Case:
    """Layers that are measured side by side.

    Attributes:
        length: T.
        units: H.
        batch: B.
        layers: their names: Keras's, `CELL`, `FAST`, or `FAST` and a chunk size, as in
            `"FastWeights 16"`.
        step: `"fit"`, `"evaluate"` or `"predict"`. Default: an update without Keras.
        masked: of a step, whether sequences have T/4 to T symbols, and padding after them.
        xla: of a step, whether XLA compiles it. It compiles all updates.
        return_sequences: of a step, whether the loss is that of every output.
        num_lengths: of `fit`, the number of batches, each with a length of its own up to T.
        has_new_sizes: of a step, whether every batch is one sequence larger than the last.
    """

    length: int
    units: int
    batch: int = 16
    layers: tuple[str, ...] = (GRU, LSTM, FAST, CELL)
    step: str = ""
    masked: bool = False
    xla: bool = True
    return_sequences: bool = False
    num_lengths: int = 1
    has_new_sizes: bool = False


def _keras(length, batch, **settings) -> Case:
    return Case(length, 128, batch, **{"layers": (GRU, FAST), "xla": False, **settings})


def _chunk_sizes(length: int, units: int, sizes: tuple[int, ...]) -> Case:
    return Case(length, units, layers=tuple(f"{FAST} {size}" for size in sizes))


# Part of the page -> its cases.
CASES = {
    # As an engineer would use it: without XLA, which is Keras's default on CPUs, and with it.
    "keras": [
        _keras(length, batch, step=step, masked=masked, return_sequences=every, xla=xla)
        for length, batch in ((200, 64), (2049, 16))
        for step, masked, every, xla in (
            *(("fit", masked, False, xla) for masked in (False, True) for xla in (False, True)),
            *(("fit", False, True, xla) for xla in (False, True)),
            *(
                (step, masked, False, False)
                for step in ("evaluate", "predict")
                for masked in (False, True)
            ),
        )
    ],
    "many_lengths": [
        _keras(200, 64, step="fit", num_lengths=NUM_LENGTHS, layers=(GRU, FAST, UNCOMPILED))
    ],
    # What it costs to compile for a new batch size.
    "new_sizes": [
        _keras(200, 64, step=step, has_new_sizes=True, layers=(GRU, FAST, UNCOMPILED))
        for step in ("fit", "predict")
    ],
    "default_memory": [
        _keras(200, 64, step="fit", has_new_sizes=first, layers=(GRU, FAST, UNCOMPILED))
        for first in (True, False)
    ],
    "lengths": [
        *(Case(length, 128) for length in LENGTHS[:-1]),
        # The cell would need 9 GiB.
        Case(LENGTHS[-1], 128, layers=(GRU, LSTM, FAST)),
        *(Case(2049, units) for units in UNITS if units != 128),
        # A model of characters.
        Case(150, 1000, batch=100, layers=(GRU, LSTM, FAST)),
    ],
    # The layers without fast weights.
    "plain_layers": [Case(513, 128, layers=(GRU, "LayerNormGRU", "LayerNormRNN", "Control"))],
    # Linear attention and the delta rules: updates under XLA, then `fit` with Keras's defaults.
    "linear": [
        *(Case(length, 128, layers=(GRU, *LINEAR)) for length in LENGTHS[2:]),
        _keras(2049, 16, step="fit", layers=(GRU, *LINEAR)),
    ],
    "chunks": [
        _chunk_sizes(length, units, CHUNK_SIZES) for units in UNITS for length in (513, 2049)
    ],
    "single_chunks": [
        _chunk_sizes(length, units, (length, 16, 32)) for units in UNITS for length in SHORT_LENGTHS
    ],
}


def make_layer(name: str, units: int, return_sequences: bool = False):
    """Returns the layer of a name in `Case.layers`."""
    kind, _, chunk_size = name.partition(" ")
    if kind == CELL:
        return keras.layers.RNN(fast_weights.FastWeightsCell(units))
    if name == UNCOMPILED:
        return fast_weights.FastWeights(units, jit_compile=False)
    if chunk_size:
        return fast_weights.FastWeights(units, chunk_size=int(chunk_size))
    library = keras.layers if kind in (GRU, LSTM) else fast_weights
    return getattr(library, kind)(units, return_sequences=return_sequences)


def compiled_updates(layer, case: Case) -> Callable[[int], object]:
    """Returns a function that makes n updates from one batch. Builds `layer`."""
    shape = (case.batch, case.length, FEATURES)
    inputs = tf.constant(np.random.default_rng(0).normal(size=shape).astype(np.float32))
    layer.build(shape)

    @tf.function(jit_compile=True)
    def updates(n):
        i = tf.constant(0)
        while i < n:
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(tf.square(layer(inputs) - 1.0))
            weights = layer.trainable_variables
            for weight, gradient in zip(weights, tape.gradient(loss, weights), strict=True):
                weight.assign_sub(1e-3 * gradient)
            i += 1
        return tf.reduce_sum(layer.trainable_variables[0])

    return lambda n: updates(tf.constant(n)).numpy()


def keras_steps(layer, case: Case) -> Callable[[int], object]:
    """Returns a function that runs n batches of `fit`, `evaluate` or `predict`."""
    rng = np.random.default_rng(0)
    length = case.length if case.num_lengths == 1 else None
    sequences = keras.Input((length, FEATURES))
    mask = keras.Input((length,), dtype="bool")
    outputs = keras.layers.Dense(1)(layer(sequences, mask=mask if case.masked else None))
    model = keras.Model([sequences, mask], outputs)
    model.compile("adam", "mse", jit_compile=case.xla)

    def batch(number):
        steps = case.length if length else case.length * (number + 1) // case.num_lengths
        size = case.batch + (number if case.has_new_sizes else 0)
        inputs = rng.normal(size=(size, steps, FEATURES)).astype("float32")
        num_steps = rng.integers(steps // 4, steps + 1, size=(size, 1))
        shape = (size, steps, 1) if case.return_sequences else (size, 1)
        return (inputs, np.arange(steps) < num_steps), np.zeros(shape, "float32")

    if case.has_new_sizes:
        numbers = itertools.count()

        def batches():
            return map(batch, numbers)
    else:
        batches = [batch(number) for number in range(case.num_lengths)].__iter__
    spec = (
        (tf.TensorSpec((None, length, FEATURES)), tf.TensorSpec((None, length), tf.bool)),
        tf.TensorSpec((None, length, 1) if case.return_sequences else (None, 1)),
    )
    data = tf.data.Dataset.from_generator(batches, output_signature=spec)
    if not case.has_new_sizes:
        data = data.cache().repeat()
    run = functools.partial(getattr(model, case.step), data, verbose=0)
    if case.step == "fit":
        return lambda n: run(steps_per_epoch=n * case.num_lengths, shuffle=False)
    return lambda n: run(steps=n)


def measure_times(case: Case) -> Record:
    """Returns the milliseconds of an update or a step of each layer in each round."""
    functions = {}
    for name in case.layers:
        layer = make_layer(name, case.units, case.return_sequences)
        repeat = (keras_steps if case.step else compiled_updates)(layer, case)
        repeat(1)  # compiles
        seconds = timed(repeat, 1)
        number = 1 if case.has_new_sizes else max(1, min(200, int(0.3 / seconds)))
        functions[name] = functools.partial(_mean_milliseconds, repeat, number)
    return {"rounds": alternate(functions)}


def _mean_milliseconds(repeat: Callable[[int], object], number: int) -> float:
    return 1e3 * timed(repeat, number) / number


def measure_memory(case: Case, name: str) -> float:
    """Returns the MiB that an update of a layer needs, with compilation for `has_new_sizes`."""
    update = (keras_steps if case.step else compiled_updates)(make_layer(name, case.units), case)
    if not case.has_new_sizes:
        update(1 if case.step else 0)  # compiles, where possible without the memory of an update
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    before = _held_bytes("VmRSS")
    update(1)
    return (_held_bytes("VmHWM") - before) / 2**20


def _held_bytes(field: str) -> int:
    """Returns the memory of this process: `VmRSS` now, `VmHWM` the peak since the last reset."""
    status = pathlib.Path("/proc/self/status").read_text()
    return 1024 * int(re.search(rf"{field}:\s+(\d+)", status)[1])


def in_process(function: Callable, *arguments):
    """Returns the result of a function in a process of its own."""
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, spawn) as pool:
        return pool.submit(function, *arguments).result()


def measure(case: Case) -> Record:
    """Returns the times of the layers, and, for tables that show it, their memory."""
    record = in_process(measure_times, case)
    names = ("lengths", "plain_layers", "default_memory", "linear")
    if any(case in CASES[name] for name in names):
        record["mib"] = {name: in_process(measure_memory, case, name) for name in case.layers}
    return record


ALL_CASES = [case for cases in CASES.values() for case in cases]
BENCHMARK = Measurement(__doc__, "sequence_length", ALL_CASES, measure=measure)


def _milliseconds(case: Case, name: str) -> str:
    """Returns three digits, or whole milliseconds."""
    time = median(BENCHMARK[case]["rounds"], name)
    return f"{time:,.0f}" if time >= 100 else f"{time:.3g}"


def _time_and_memory(case: Case, name: str) -> list[str]:
    if name not in case.layers:
        return ["-", "-"]
    return [_milliseconds(case, name), f"{BENCHMARK[case]['mib'][name]:,.0f}"]


def _ratio(case: Case, name: str, digits: int = 2) -> str:
    """Returns the time of a layer over that of `GRU`."""
    return f"{median(BENCHMARK[case]['rounds'], name, GRU):.{digits}f}"


@part("lengths")
def table_of_lengths() -> str:
    """Returns the time and the memory of an update by size."""
    names = (FAST, GRU, LSTM, CELL)
    rows = []
    for case in CASES["lengths"]:
        cells = [cell for name in names for cell in _time_and_memory(case, name)]
        rows.append([case.length, case.units, case.batch, *cells, _ratio(case, FAST)])
    heads = [text for name in names for text in (f"{name} ms", "MiB")]
    return table(["T", "H", "B", *heads, "FastWeights / GRU"], rows)


@part("plain_layers")
def table_of_plain_layers() -> str:
    """Returns the time and the memory of an update of the layers without fast weights."""
    (case,) = CASES["plain_layers"]
    rows = ([name, *_time_and_memory(case, name), _ratio(case, name)] for name in case.layers)
    return table(["layer", "ms", "MiB", "ms / GRU's"], rows)


def table_of_chunks(cases: list[Case], sizes: tuple) -> str:
    """Returns the milliseconds of an update by chunk size."""
    times = ([_milliseconds(case, name) for name in case.layers] for case in cases)
    rows = ([case.length, case.units, *row] for case, row in zip(cases, times, strict=True))
    return table(["T", "H", *(f"C = {size}" for size in sizes)], rows)


@part("keras")
def table_of_steps() -> str:
    """Returns the time of a batch of Keras's steps, with both layers under the same settings."""
    rows = []
    for case in CASES["keras"]:
        outputs = "every" if case.return_sequences else "last"
        settings = [case.length, case.batch, case.step, "yes" if case.masked else "no", outputs]
        times = [_milliseconds(case, name) for name in (GRU, FAST)]
        rows.append([*settings, "yes" if case.xla else "no", *times, _ratio(case, FAST)])
    heads = ["T", "B", "", "masks", "outputs", "XLA", "GRU ms", "FastWeights ms", "ratio"]
    return table(heads, rows)


@part("linear")
def table_of_linear_layers() -> str:
    """Returns the time and the memory of linear attention and the delta rules beside GRU's."""
    rows = []
    for case in CASES["linear"]:
        cells = [cell for name in case.layers for cell in _time_and_memory(case, name)]
        how = "in `fit`, Keras's defaults" if case.step else "with XLA"
        rows.append([case.length, how, *cells, *(_ratio(case, name) for name in LINEAR)])
    heads = [head for name in (GRU, *LINEAR) for head in (f"{name} ms", "MiB")]
    return table(["T", "update", *heads, *(f"{name} / GRU" for name in LINEAR)], rows)


@part("many_lengths")
def table_of_many_lengths() -> str:
    """Returns the time of an epoch of batches that all have different lengths."""
    (case,) = CASES["many_lengths"]
    rows = [[name, _milliseconds(case, name), _ratio(case, name)] for name in case.layers]
    return table(["layer", "ms", "ms / GRU's"], rows)


@part("default_memory")
def table_of_default_memory() -> str:
    """Returns the memory of an update in `fit` with Keras's defaults."""
    cases, rows = CASES["default_memory"], []
    for case in cases:
        memory = (f"{BENCHMARK[case]['mib'][name]:,.0f}" for name in case.layers)
        update = "first" if case.has_new_sizes else "later"
        rows.append([case.length, case.batch, update, *memory])
    return table(["T", "B", "update", *(f"{name} MiB" for name in cases[0].layers)], rows)


@part("new_sizes")
def table_of_new_sizes() -> str:
    """Returns the time of a batch of a size that the model has not seen."""
    rows = [
        [case.step, *(_milliseconds(case, name) for name in case.layers)]
        for case in CASES["new_sizes"]
    ]
    return table(["", *(f"{name} ms" for name in CASES["new_sizes"][0].layers)], rows)


def _default_ratio(masked: bool) -> str:
    """Returns the time of `fit` over GRU's, with Keras's defaults."""
    case = _keras(200, 64, step="fit", masked=masked)
    return _ratio(case, FAST, 1)


part("chunks")(lambda: table_of_chunks(CASES["chunks"], CHUNK_SIZES))
part("single_chunks")(lambda: table_of_chunks(CASES["single_chunks"], ("T", 16, 32)))
part("default_ratio")(lambda: _default_ratio(masked=False))
part("default_ratio_with_masks")(lambda: _default_ratio(masked=True))
part("character_memory")(lambda: f"{BENCHMARK[CASES['lengths'][-1]]['mib'][FAST]:.0f} MiB")


@BENCHMARK.figure("sequence_length.png", 9, 3.8)
def draw(figure) -> None:
    """Draws time per step and memory over T."""
    panels = time_axes, memory_axes = figure.subplots(1, 2)
    for name, color, look in (
        (FAST, "#0072B2", "o-"),
        (GRU, "#009E73", "s--"),
        (LSTM, "#E69F00", "^--"),
        (CELL, "#D55E00", "o:"),
    ):
        cases = [case for case in CASES["lengths"] if case.units == 128 and name in case.layers]
        lengths = [case.length for case in cases]
        times = [1e3 * median(BENCHMARK[case]["rounds"], name) / case.length for case in cases]
        memories = [BENCHMARK[case]["mib"][name] for case in cases]
        for axes, values in zip(panels, (times, memories), strict=True):
            axes.loglog(lengths, values, look, color=color, markersize=4, label=name)
    for axes, title, label, ticks in (
        (time_axes, "time", "update (µs per step)", (50, 100, 200, 400)),
        (memory_axes, "memory", "memory of an update (MiB)", (10, 100, 1000)),
    ):
        axes.set_title(f"{title}, H = 128, B = 16")
        axes.set_ylabel(label)
        axes.set_yticks(ticks, ticks)
        axes.set_xlabel("sequence length T")
        axes.set_xticks(LENGTHS, LENGTHS)
        axes.minorticks_off()
    time_axes.legend(frameon=False, fontsize="small")


if __name__ == "__main__":
    BENCHMARK.main()
