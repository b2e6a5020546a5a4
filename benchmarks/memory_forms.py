"""Step time and peak memory of the two forms of the fast weights.

python -m benchmarks.memory_forms

Over sequence length T and units H, for the matrix and the attention form, with the
loop over time unrolled or not, and unrolled with a mask, with which the attention form's
memory has its full size from the start: one update from the gradients of a batch of random
sequences, under XLA. Each case has a process of its own, the two forms one after the
other. Writes one JSON line a case to `--results` as it goes, and skips the cases that
are there; then prints the table of `docs/memory_forms.md` and draws its figure. What
`fast_weights.layers.faster_form` chooses was decided from this.

Peak memory is what the process holds at most during a step, less what it holds before
it (Linux's VmHWM, reset in between, so that compiling does not count).
"""

import argparse
import contextlib
import ctypes
import itertools
import json
import pathlib
import re
import resource
import subprocess
import sys
import time

from matplotlib.figure import Figure

from benchmarks.runs import at_least_one
from fast_weights import files, vanishing_length
from fast_weights.layers.fast_weights import LOOP_CROSSOVER

LENGTHS, UNITS = (9, 33, 129, 513, 2049), (20, 50, 128, 256)
FORMS = ("matrix", "attention")
# That a mask changes anything only concerns what is unrolled; longer ones do not compile.
MASKED_LENGTHS = (9, 33)
BATCH, FEATURES = 16, 32
DOCS = pathlib.Path(__file__).parent.parent / "docs"
MEMORY_LIMIT = 20 * 2**30


def compiled_updates(layer, length, masked):
    """A program of n updates from one batch; also builds `layer`.

    With a mask each sequence of the batch has one step less than the one before it.
    """
    import numpy as np
    import tensorflow as tf

    inputs = np.random.default_rng(0).normal(size=(BATCH, length, FEATURES))
    inputs = tf.constant(inputs.astype(np.float32))
    layer.build(inputs.shape)
    steps_left_out = np.arange(BATCH) % length
    whole = np.arange(length)[::-1] >= steps_left_out[:, None]
    mask = tf.constant(whole) if masked else None

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


def held(field):
    """Bytes that this process holds: `VmRSS` now, `VmHWM` at most since the last reset."""
    status = pathlib.Path("/proc/self/status").read_text()
    return 1024 * int(re.search(rf"{field}:\s+(\d+)", status)[1])


def measure(length, units, form, unroll, masked=False):
    """The record of one case."""
    from fast_weights import FastWeights

    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_LIMIT, MEMORY_LIMIT))
    start = time.perf_counter()
    run = compiled_updates(FastWeights(units, memory=form, unroll=unroll), length, masked)
    run(0)  # compiles, and touches none of its memory
    compiled = time.perf_counter() - start
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    before = held("VmRSS")
    start = time.perf_counter()
    run(1)
    steps = max(1, min(200, int(0.3 / (time.perf_counter() - start))))
    memory = held("VmHWM") - before
    times = []
    for _ in range(5):
        start = time.perf_counter()
        run(steps)
        times.append((time.perf_counter() - start) / steps)
    return {"ms": 1e3 * min(times), "mib": memory / 2**20, "compile_s": compiled}


def in_a_process(case, timeout):
    """The record of a case from a process of its own, or why there is none."""
    command = [sys.executable, "-m", "benchmarks.memory_forms", "--case", json.dumps(case)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout, cwd=DOCS.parent
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"no step within {timeout} s"}
    if done.returncode:
        memory = re.search("bad_alloc|[Oo]ut of memory|RESOURCE_EXHAUSTED", done.stderr)
        limit = f"more than {MEMORY_LIMIT // 2**30} GiB"
        return {"failed": limit if memory or done.returncode < 0 else done.stderr[-300:]}
    return json.loads(done.stdout)


def all_cases():
    """Every case, the two forms next to each other, short ones first."""
    for unroll in (False, True):
        for length in LENGTHS:
            for units in UNITS:
                for form in FORMS:
                    yield {"length": length, "units": units, "form": form, "unroll": unroll}
    for length in MASKED_LENGTHS:
        for units in UNITS:
            for form in FORMS:
                case = {"length": length, "units": units, "form": form, "unroll": True}
                yield {**case, "masked": True}


def read(path):
    """The records in a file; a line that is none is measured again."""
    records = []
    for line in path.read_text().splitlines() if path.exists() else []:
        with contextlib.suppress(ValueError):
            records.append(json.loads(line))
    return records


def key_of(case):
    """What tells a case from the others."""
    kind = "masked" if case.get("masked") else "unrolled" if case["unroll"] else "loop"
    return case["length"], case["units"], case["form"], kind


def collect(path, timeout):
    """Measures what is missing from the results and returns all of them."""
    records = read(path)
    done = {key_of(record): record for record in records}
    for case in all_cases():
        key = key_of(case)
        if key in done:
            continue
        shorter = [
            r for r in done.values()
            if "failed" in r and r["length"] < case["length"]
            and key_of(r)[1:] == key_of(case)[1:]
        ]  # fmt: skip
        if shorter:
            record = {"failed": f"not tried: T = {shorter[0]['length']} failed already"}
        else:
            record = in_a_process(case, timeout)
        done[key] = {**case, **record}
        with files.replacing(path) as temporary:
            temporary.write_text("".join(f"{json.dumps(one)}\n" for one in done.values()))
        print(json.dumps(done[key]), flush=True)
    return done


def draw(done, path):
    """Time and peak memory over T, a column for each H; then where the forms cross."""
    figure = Figure(figsize=(11, 8), dpi=120, layout="constrained")
    upper, lower = figure.subfigures(2, 1, height_ratios=[2, 1])
    axes = upper.subplots(2, len(UNITS), sharex=True, sharey="row")
    for column, units in enumerate(UNITS):
        axes[0, column].set_title(f"H = {units}")
        axes[1, column].set_xlabel("sequence length T")
        for form, color in zip(FORMS, ("#0072B2", "#D55E00"), strict=True):
            for kind, style in (("loop", "o-"), ("unrolled", "s--")):
                cases = [done[length, units, form, kind] for length in LENGTHS]
                cases = [case for case in cases if "ms" in case]
                for row, field in enumerate(("ms", "mib")):
                    axes[row, column].loglog(
                        [case["length"] for case in cases],
                        [case[field] for case in cases],
                        style,
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
        axis.spines[["top", "right"]].set_visible(False)
    with files.replacing(path) as temporary:
        figure.savefig(temporary)


def draw_crossover(axes, done):
    """Matrix form's time over attention form's, by vectors kept for each unit; the rule."""
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
    """The matrix form's time over the attention form's; `None` where one has none."""
    cases = [done.get((length, units, form, kind), {}) for form in FORMS]
    return cases[0]["ms"] / cases[1]["ms"] if all("ms" in case for case in cases) else None


def table(done):
    """The rows of the page's table: milliseconds and MiB, and the ratio; of what was tried."""
    lengths = {"loop": LENGTHS, "unrolled": LENGTHS, "masked": MASKED_LENGTHS}
    for kind, of_kind in lengths.items():
        loop = "unrolled, masked" if kind == "masked" else kind
        for length, units in itertools.product(of_kind, UNITS):
            cases = [done[length, units, form, kind] for form in FORMS]
            if all("not tried" in case.get("failed", "") for case in cases):
                continue
            cells = [
                f"{case['ms']:.3g} | {case['mib']:.0f}" if "ms" in case else "- | -"
                for case in cases
            ]
            ratio = ratio_of(done, length, units, kind)
            ratio = f"{ratio:.2f}" if ratio else "-"
            yield f"| {loop} | {length} | {units} | {' | '.join(cells)} | {ratio} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", help="measure one case, as JSON, in this process")
    parser.add_argument("--results", type=pathlib.Path, default=DOCS / "results/memory_forms.jsonl")
    parser.add_argument("--timeout", type=at_least_one, default=120, help="seconds for a case")
    flags = parser.parse_args()
    if flags.case:
        print(json.dumps(measure(**json.loads(flags.case))))
        return
    done = collect(flags.results, flags.timeout)
    draw(done, DOCS / "memory_forms.png")
    print(*table(done), sep="\n")


if __name__ == "__main__":
    main()
