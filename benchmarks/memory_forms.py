"""Measures step time and peak memory of the two forms of the fast weights.

python -m benchmarks.memory_forms

A step is one update from the gradients of a batch of random sequences, under XLA. Measures the
matrix and the attention form over sequence length T and units H: with the loop over time
unrolled or not, and unrolled with a mask, where the attention form's memory has its full size
from the start. Each case has its own process. Writes one JSON line per case to
`docs/results/memory_forms.jsonl`, skips cases that are in the file, and draws
`docs/memory_forms.png`. `fast_weights.layers.faster_form` follows these measurements.

Peak memory is the most that the process holds during a step, less what it holds before
(Linux's VmHWM, reset in between, so compilation does not count).
"""

import argparse
import ctypes
import itertools
import json
import pathlib
import re
import resource
import subprocess
import sys
import time

from benchmarks import tables
from benchmarks.runs import RESULTS_DIR, ROOT, run_main
from fast_weights.experiment import storage

LENGTHS, UNITS = (9, 33, 129, 513, 2049), (20, 50, 128, 256)
FORMS = ("matrix", "attention")
# A mask matters only in unrolled loops, and longer ones do not compile.
MASKED_LENGTHS = (9, 33)
BATCH, FEATURES = 16, 32
RESULTS = RESULTS_DIR / "memory_forms.jsonl"
MEMORY_LIMIT = 20 * 2**30
TIMEOUT = 120


def compiled_updates(layer, length, masked):
    """Returns a function that makes n updates from one batch. Builds `layer`.

    With a mask, sequence b of the batch has b mod T steps fewer than the longest.
    """
    import numpy as np
    import tensorflow as tf

    inputs = np.random.default_rng(0).normal(size=(BATCH, length, FEATURES))
    inputs = tf.constant(inputs.astype(np.float32))
    layer.build(inputs.shape)
    num_masked = np.arange(BATCH) % length
    is_kept = np.arange(length)[::-1] >= num_masked[:, None]
    mask = tf.constant(is_kept) if masked else None

    @tf.function(jit_compile=True)
    def updates(n):
        i = tf.constant(0)
        while i < n:
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(tf.square(layer(inputs, mask=mask) - 1.0))
            weights = layer.trainable_variables
            for weight, gradient in zip(weights, tape.gradient(loss, weights), strict=True):
                weight.assign_sub(1e-3 * gradient)
            i += 1
        return tf.reduce_sum(layer.cell.bias)

    return lambda n: updates(tf.constant(n)).numpy()


def held_bytes(field):
    """Returns the memory of this process: `VmRSS` now, `VmHWM` the peak since the last reset."""
    status = pathlib.Path("/proc/self/status").read_text()
    return 1024 * int(re.search(rf"{field}:\s+(\d+)", status)[1])


def measure(length, units, form, unroll, masked=False):
    """Returns the record of one case."""
    from fast_weights import FastWeights

    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_LIMIT, MEMORY_LIMIT))
    start = time.perf_counter()
    run = compiled_updates(FastWeights(units, memory=form, unroll=unroll), length, masked)
    run(0)  # compiles, without the memory of a step
    compiled = time.perf_counter() - start
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    before = held_bytes("VmRSS")
    start = time.perf_counter()
    run(1)
    steps = max(1, min(200, int(0.3 / (time.perf_counter() - start))))
    memory = held_bytes("VmHWM") - before
    times = []
    for _ in range(5):
        start = time.perf_counter()
        run(steps)
        times.append((time.perf_counter() - start) / steps)
    return {"ms": 1e3 * min(times), "mib": memory / 2**20, "compile_s": compiled}


def measure_in_process(case):
    """Returns the record of a case from its own process, or the reason why it failed."""
    command = [sys.executable, "-m", "benchmarks.memory_forms", "--case", json.dumps(case)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, cwd=ROOT)
    except subprocess.TimeoutExpired:
        return {"failed": f"no step within {TIMEOUT} s"}
    if done.returncode:
        memory = re.search("bad_alloc|[Oo]ut of memory|RESOURCE_EXHAUSTED", done.stderr)
        limit = f"more than {MEMORY_LIMIT // 2**30} GiB"
        return {"failed": limit if memory or done.returncode < 0 else done.stderr[-300:]}
    return json.loads(done.stdout)


def all_cases():
    """Yields every case, the two forms next to each other, short sequences first."""
    kinds = [(False, False, LENGTHS), (True, False, LENGTHS), (True, True, MASKED_LENGTHS)]
    for unroll, masked, lengths in kinds:
        for length, units, form in itertools.product(lengths, UNITS, FORMS):
            case = {"length": length, "units": units, "form": form, "unroll": unroll}
            yield {**case, "masked": True} if masked else case


def read_records():
    """Returns the records by case."""
    lines = RESULTS.read_text(encoding="utf-8").splitlines() if RESULTS.exists() else []
    return {key_of(record): record for record in map(json.loads, lines)}


def key_of(case):
    """Returns a key of a case: length, units, form and kind of loop."""
    kind = "masked" if case.get("masked") else "unrolled" if case["unroll"] else "loop"
    return case["length"], case["units"], case["form"], kind


def collect():
    """Measures the cases that are missing from the results."""
    done = read_records()
    for case in all_cases():
        key = key_of(case)
        if key in done:
            continue
        shorter = [
            record["length"] for other, record in done.items()
            if "failed" in record and other[1:] == key[1:] and other[0] < key[0]
        ]  # fmt: skip
        if shorter:
            record = {"failed": f"not tried: T = {shorter[0]} failed already"}
        else:
            record = measure_in_process(case)
        done[key] = {**case, **record}
        storage.write_text(RESULTS, "".join(f"{json.dumps(one)}\n" for one in done.values()))
        print(json.dumps(done[key]), flush=True)


def draw():
    """Draws time and peak memory over T, a column for each H, and the ratio of the times."""
    from fast_weights.experiment.plots import style  # loads Matplotlib

    done = read_records()
    figure = style.new_figure(11, 8)
    upper, lower = figure.subfigures(2, 1, height_ratios=[2, 1])
    axes = upper.subplots(2, len(UNITS), sharex=True, sharey="row")
    for column, units in enumerate(UNITS):
        axes[0, column].set_title(f"H = {units}")
        axes[1, column].set_xlabel("sequence length T")
        for form, color in zip(FORMS, ("#0072B2", "#D55E00"), strict=True):
            for kind, linestyle in (("loop", "o-"), ("unrolled", "s--")):
                cases = [done[length, units, form, kind] for length in LENGTHS]
                cases = [case for case in cases if "ms" in case]
                for row, field in enumerate(("ms", "mib")):
                    axes[row, column].loglog(
                        [case["length"] for case in cases],
                        [case[field] for case in cases],
                        linestyle,
                        color=color,
                        markersize=4,
                        label=f"{form}, {kind}",
                    )
    for axis in axes.flat:
        axis.set_xticks(LENGTHS, LENGTHS)
        axis.minorticks_off()
    axes[0, 0].set_ylabel("update (ms)")
    axes[1, 0].set_ylabel("peak memory (MiB)")
    axes[0, 0].legend(frameon=False, fontsize="small")
    draw_crossover(lower.subplots(), done)
    for axis in figure.axes:
        axis.grid(alpha=0.3)
        style.remove_frame(axis)
    return style.write(ROOT / "docs", "memory_forms.png", figure.savefig)


def draw_crossover(axes, done):
    """Draws the ratio of the times over the vectors kept per unit, and the rule."""
    from fast_weights import vanishing_length
    from fast_weights.layers.fast_weights import LOOP_CROSSOVER

    looks = {"loop": ("#009E73", "o"), "unrolled": ("#CC79A7", "s"), "masked": ("#E69F00", "^")}
    for kind, (color, marker) in looks.items():
        points = [
            (min(length, vanishing_length(0.95)) / units, ratio_of(done, length, units, kind))
            for length in LENGTHS
            for units in UNITS
        ]
        label = "unrolled, masked" if kind == "masked" else kind
        x, y = zip(*(point for point in points if point[1]), strict=True)
        axes.loglog(x, y, marker, color=color, label=label)
    axes.axhline(1, color="black", linewidth=0.8)
    axes.axvline(LOOP_CROSSOVER, color="black", linestyle=":", label="the rule, in a loop")
    axes.set_xlabel("vectors that the attention form keeps, for each unit: M / H")
    axes.set_ylabel("matrix / attention")
    axes.legend(frameon=False, fontsize="small")


def ratio_of(done, length, units, kind):
    """Returns the matrix form's time over the attention form's; `None` if one failed."""
    cases = [done.get((length, units, form, kind), {}) for form in FORMS]
    return cases[0]["ms"] / cases[1]["ms"] if all("ms" in case for case in cases) else None


def table(done):
    """Returns milliseconds, MiB and the ratio of the times in Markdown, of the cases tried."""
    rows = []
    lengths = {"loop": LENGTHS, "unrolled": LENGTHS, "masked": MASKED_LENGTHS}
    for kind, of_kind in lengths.items():
        for length, units in itertools.product(of_kind, UNITS):
            cases = [done[length, units, form, kind] for form in FORMS]
            if all("not tried" in case.get("failed", "") for case in cases):
                continue
            row = ["unrolled, masked" if kind == "masked" else kind, length, units]
            for case in cases:
                row += [f"{case['ms']:.3g}", f"{case['mib']:.0f}"] if "ms" in case else ["-"] * 2
            ratio = ratio_of(done, length, units, kind)
            rows.append([*row, f"{ratio:.2f}" if ratio else "-"])
    forms = ["matrix ms", "MiB", "attention ms", "MiB"]
    return tables.table(["loop over time", "T", "H", *forms, "matrix / attention ms"], rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", help="measure one case, as JSON, in this process")
    flags = parser.parse_args()
    if flags.case:
        print(json.dumps(measure(**json.loads(flags.case))))
        return
    collect()
    print(f"Wrote {draw()}. To update the pages: python -m benchmarks.fill_pages")


if __name__ == "__main__":
    run_main(main)
