"""Measures the time and memory of an update of `FastWeights` and of Keras's layers.

python -m benchmarks.sequence_length

An update is a forward pass, a backward pass and a subtraction from the weights, for a batch of
random sequences of 32 features and a loss of the last output. `FastWeights`, Keras's `GRU` and
`LSTM`, and `keras.layers.RNN(FastWeightsCell)`, which computes A at every step, take turns in one
process, so that changes in the speed of the machine affect all of them. Each layer's memory is
measured in a separate process: the peak memory of the process during the update (Linux's VmHWM,
which is reset after compilation) minus its memory before the update.

Also measures other chunk sizes; `default_chunk_size` is based on them. Writes one JSON line for
each case to `docs/results/sequence_length.jsonl`, skips cases that the file already contains, and
draws `docs/sequence_length.png`.
"""

import argparse
import ctypes
import dataclasses
import json
import pathlib
import re
import statistics
import subprocess
import sys
import time

from benchmarks import tables
from benchmarks.runs import RESULTS_DIR, ROOT, run_main
from fast_weights.experiment import storage
from fast_weights.experiment.errors import UserError

FEATURES = 32
LENGTHS = (9, 33, 129, 513, 2049, 8193)
UNITS = (50, 128, 256)
CHUNK_SIZES = (8, 12, 16, 24, 32, 48, 64)
# Around the length up to which a sequence is a single chunk.
SHORT_LENGTHS = (33, 65, 129, 257)
RESULTS = RESULTS_DIR / "sequence_length.jsonl"
FAST, GRU, LSTM, CELL = "FastWeights", "GRU", "LSTM", "FastWeightsCell"
ROUNDS = 5
LOOKS = {
    FAST: ("#0072B2", "o-"),
    GRU: ("#009E73", "s--"),
    LSTM: ("#E69F00", "^--"),
    CELL: ("#D55E00", "o:"),
}
TIMES = (50, 100, 200, 400)
CHUNK_COLORS = ("#56B4E9", "#56B4E9", "#0072B2", "#0072B2", "#CC79A7", "#CC79A7")


@dataclasses.dataclass(frozen=True)
class Case:
    """Layers that are measured side by side.

    Attributes:
        length: T.
        units: H.
        batch: B.
        layers: their names: Keras's, `CELL`, `FAST`, or `FAST` and a chunk size, as in
            `"FastWeights 16"`.
        masked: whether sequences have T/4 to T steps, and padding after them.
        xla: whether XLA compiles the update.
    """

    length: int
    units: int
    batch: int = 16
    layers: tuple[str, ...] = (GRU, LSTM, FAST, CELL)
    masked: bool = False
    xla: bool = True


# A classifier of text, as an engineer would train it; without XLA, which is Keras's default on
# CPUs, and with it.
CLASSIFIER = [Case(200, 128, batch=64, masked=True, xla=xla) for xla in (False, True)]
# At T = 8193, the cell would need 9 GiB.
SIZES = [
    *(Case(length, 128) for length in LENGTHS[:-1]),
    Case(LENGTHS[-1], 128, layers=(GRU, LSTM, FAST)),
    *(Case(2049, units) for units in UNITS if units != 128),
]
# A model of characters.
CHARACTERS = Case(150, 1000, batch=100, layers=(GRU, LSTM, FAST))
# The layers without fast weights.
PLAIN = [Case(513, 128, layers=(GRU, "LayerNormGRU", "LayerNormRNN", "Control"))]
CHUNKS = [
    Case(length, units, layers=tuple(f"{FAST} {size}" for size in CHUNK_SIZES))
    for units in UNITS
    for length in (513, 2049)
]
SINGLE_CHUNKS = [
    Case(length, units, layers=tuple(f"{FAST} {size}" for size in (length, 16, 32)))
    for units in UNITS
    for length in SHORT_LENGTHS
]


def make_layer(name, units):
    """Returns the layer of a name in `Case.layers`."""
    import keras

    import fast_weights

    kind, _, chunk_size = name.partition(" ")
    if kind == CELL:
        return keras.layers.RNN(fast_weights.FastWeightsCell(units))
    if chunk_size:
        return fast_weights.FastWeights(units, chunk_size=int(chunk_size))
    return getattr(keras.layers if kind in (GRU, LSTM) else fast_weights, kind)(units)


def compiled_updates(layer, case):
    """Returns a function that makes n updates from one batch. Builds `layer`."""
    import numpy as np
    import tensorflow as tf

    rng = np.random.default_rng(0)
    shape = (case.batch, case.length, FEATURES)
    inputs = tf.constant(rng.normal(size=shape).astype(np.float32))
    layer.build(shape)
    num_steps = rng.integers(case.length // 4, case.length + 1, size=case.batch)
    mask = tf.constant(np.arange(case.length) < num_steps[:, None]) if case.masked else None

    @tf.function(jit_compile=case.xla)
    def updates(n):
        i = tf.constant(0)
        while i < n:
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(tf.square(layer(inputs, mask=mask) - 1.0))
            weights = layer.trainable_variables
            for weight, gradient in zip(weights, tape.gradient(loss, weights), strict=True):
                weight.assign_sub(1e-3 * gradient)
            i += 1
        return tf.reduce_sum(layer.trainable_variables[0])

    return lambda n: updates(tf.constant(n)).numpy()


def measure_times(case):
    """Returns seconds of compilation and milliseconds of an update, by layer."""
    updates, seconds, steps = {}, {}, {}
    for name in case.layers:
        updates[name] = compiled_updates(make_layer(name, case.units), case)
        seconds[name] = timed(updates[name], 0)
        timed(updates[name], 1)
        steps[name] = max(1, min(200, int(0.3 / timed(updates[name], 1))))
    rounds = [
        {name: 1e3 * timed(updates[name], steps[name]) / steps[name] for name in case.layers}
        for _ in range(ROUNDS)
    ]
    return {"compile_s": seconds, "rounds": rounds}


def timed(function, argument):
    """Returns the seconds that a call takes."""
    start = time.perf_counter()
    function(argument)
    return time.perf_counter() - start


def measure_memory(case):
    """Returns the MiB that an update of the only layer of a case needs."""
    update = compiled_updates(make_layer(case.layers[0], case.units), case)
    update(0)  # compiles, without the memory of an update
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    before = held_bytes("VmRSS")
    update(1)
    return (held_bytes("VmHWM") - before) / 2**20


def held_bytes(field):
    """Returns the memory of this process: `VmRSS` now, `VmHWM` the peak since the last reset."""
    status = pathlib.Path("/proc/self/status").read_text()
    return 1024 * int(re.search(rf"{field}:\s+(\d+)", status)[1])


def in_process(function, case):
    """Returns the result of `measure_times` or `measure_memory` in a process of its own."""
    arguments = [function.__name__, json.dumps(dataclasses.asdict(case))]
    command = [sys.executable, "-m", "benchmarks.sequence_length", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        raise UserError(f"{' '.join(arguments)} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout)


def read_records():
    """Returns the records by case."""
    lines = RESULTS.read_text(encoding="utf-8").splitlines() if RESULTS.exists() else []
    records = map(json.loads, lines)
    return {case_of(record): record for record in records}


def case_of(record):
    """Returns the case of a record."""
    case = {field.name: record[field.name] for field in dataclasses.fields(Case)}
    return Case(**{**case, "layers": tuple(case["layers"])})


def collect():
    """Measures the cases that are missing from the results."""
    done = read_records()
    cases = [*CLASSIFIER, *SIZES, CHARACTERS, *PLAIN, *CHUNKS, *SINGLE_CHUNKS]
    for number, case in enumerate(cases, 1):
        if case in done:
            continue
        print(f"{number} of {len(cases)}: {case}", flush=True)
        record = {**dataclasses.asdict(case), **in_process(measure_times, case)}
        if case not in [*CHUNKS, *SINGLE_CHUNKS]:
            record["mib"] = {
                name: in_process(measure_memory, dataclasses.replace(case, layers=(name,)))
                for name in case.layers
            }
        done[case] = record
        storage.write_text(RESULTS, "".join(f"{json.dumps(one)}\n" for one in done.values()))


def median_ms(record, name):
    """Returns the milliseconds of an update."""
    return statistics.median(one[name] for one in record["rounds"])


def ratio(record, name, other):
    """Returns the time of a layer over that of another, as the median over the rounds."""
    return statistics.median(one[name] / one[other] for one in record["rounds"])


def draw():
    """Draws time per step and memory over T, and time over the chunk size."""
    from fast_weights.experiment.plots import style  # loads Matplotlib

    done = read_records()
    figure = style.new_figure(11, 3.8)
    time_axes, memory_axes, chunk_axes = figure.subplots(1, 3)
    for name, (color, linestyle) in LOOKS.items():
        cases = [case for case in SIZES if case.units == 128 and name in case.layers]
        lengths = [case.length for case in cases]
        times = [1e3 * median_ms(done[case], name) / case.length for case in cases]
        memories = [done[case]["mib"][name] for case in cases]
        for axes, values in ((time_axes, times), (memory_axes, memories)):
            axes.loglog(lengths, values, linestyle, color=color, markersize=4, label=name)
    time_axes.set_title("time, H = 128, B = 16")
    time_axes.set_ylabel("update (µs per step)")
    memory_axes.set_title("memory, H = 128, B = 16")
    memory_axes.set_ylabel("memory of an update (MiB)")
    for axes in (time_axes, memory_axes):
        axes.set_xlabel("sequence length T")
        axes.set_xticks(LENGTHS, LENGTHS)
    time_axes.set_yticks(TIMES, TIMES)
    time_axes.legend(frameon=False, fontsize="small")
    for case, color in zip(CHUNKS, CHUNK_COLORS, strict=True):
        times = [median_ms(done[case], name) for name in case.layers]
        relative = [one / min(times) for one in times]
        label = f"H = {case.units}, T = {case.length}"
        linestyle = "o-" if case.length == 2049 else "s--"
        chunk_axes.plot(CHUNK_SIZES, relative, linestyle, color=color, markersize=4, label=label)
    chunk_axes.set_title("chunk size")
    chunk_axes.set_xlabel("chunk size C")
    chunk_axes.set_xscale("log")
    chunk_axes.set_xticks(CHUNK_SIZES, CHUNK_SIZES)
    chunk_axes.set_ylabel("time / shortest time")
    chunk_axes.legend(frameon=False, fontsize="small")
    for axes in figure.axes:
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        style.remove_frame(axes)
    return style.write(ROOT / "docs/sequence_length.png", figure.savefig)


def table_of_lengths(done):
    """Returns milliseconds, MiB and the time relative to `GRU`, by size, in Markdown."""
    rows = []
    for case in [*SIZES, CHARACTERS]:
        record = done[case]
        row = [case.length, case.units, case.batch]
        for name in (FAST, GRU, LSTM, CELL):
            missing = name not in case.layers
            row += ["-", "-"] if missing else _time_and_memory(record, name)
        rows.append([*row, f"{ratio(record, FAST, GRU):.2f}"])
    heads = [text for name in (FAST, GRU, LSTM, CELL) for text in (f"{name} ms", "MiB")]
    return tables.table(["T", "H", "B", *heads, "FastWeights / GRU"], rows)


def _time_and_memory(record, name):
    return [_milliseconds(record, name), f"{record['mib'][name]:,.0f}"]


def _milliseconds(record, name):
    """Returns three digits, or whole milliseconds."""
    time = median_ms(record, name)
    return f"{time:,.0f}" if time >= 100 else f"{time:.3g}"


def table_of_layers(done, cases):
    """Returns milliseconds, MiB and times relative to `GRU` of each layer in Markdown."""
    rows = []
    for case in cases:
        record = done[case]
        for name in case.layers:
            xla, relative = "yes" if case.xla else "no", f"{ratio(record, name, GRU):.2f}"
            rows.append([xla, name, *_time_and_memory(record, name), relative])
    return tables.table(["XLA", "layer", "ms", "MiB", "ms / GRU's"], rows)


def table_of_chunks(done):
    """Returns the milliseconds of an update by chunk size in Markdown."""
    rows = [
        [case.length, case.units, *(_milliseconds(done[case], name) for name in case.layers)]
        for case in CHUNKS
    ]
    return tables.table(["T", "H", *(f"C = {size}" for size in CHUNK_SIZES)], rows)


def table_of_single_chunks(done):
    """Returns the milliseconds of an update in one chunk and in several, in Markdown."""
    rows = [
        [case.length, case.units, *(_milliseconds(done[case], name) for name in case.layers)]
        for case in SINGLE_CHUNKS
    ]
    return tables.table(["T", "H", "C = T", "C = 16", "C = 32"], rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("measurement", nargs="*", help=argparse.SUPPRESS)
    measurement = parser.parse_args().measurement
    if measurement:
        functions = {function.__name__: function for function in (measure_times, measure_memory)}
        print(json.dumps(functions[measurement[0]](case_of(json.loads(measurement[1])))))
        return
    collect()
    print(f"Wrote {draw()}. To update the pages: python -m benchmarks.fill_pages")


if __name__ == "__main__":
    run_main(main)
