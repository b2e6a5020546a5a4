"""Step time and peak memory of the two forms of the fast weights.

python -m benchmarks.memory_forms

Over sequence length T and units H, for the matrix and the attention form, with the
loop over time unrolled or not: one update from the gradients of a batch of random
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
import json
import pathlib
import re
import resource
import subprocess
import sys
import time

from matplotlib.figure import Figure

from benchmarks.runs import at_least_one
from fast_weights import files

LENGTHS, UNITS = (9, 33, 129, 513, 2049), (20, 50, 128, 256)
FORMS = ("matrix", "attention")
BATCH, FEATURES = 16, 32
DOCS = pathlib.Path(__file__).parent.parent / "docs"
MEMORY_LIMIT = 20 * 2**30


def compiled_updates(layer, length):
    """A program of n updates from one batch; also builds `layer`."""
    import numpy as np
    import tensorflow as tf

    inputs = np.random.default_rng(0).normal(size=(BATCH, length, FEATURES))
    inputs = tf.constant(inputs.astype(np.float32))
    layer.build(inputs.shape)

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
        return tf.reduce_sum(layer.cell.bias)

    return lambda n: updates(tf.constant(n)).numpy()


def held(field):
    """Bytes that this process holds: `VmRSS` now, `VmHWM` at most since the last reset."""
    status = pathlib.Path("/proc/self/status").read_text()
    return 1024 * int(re.search(rf"{field}:\s+(\d+)", status)[1])


def measure(length, units, form, unroll):
    """The record of one case."""
    from fast_weights import FastWeights

    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_LIMIT, MEMORY_LIMIT))
    start = time.perf_counter()
    run = compiled_updates(FastWeights(units, memory=form, unroll=unroll), length)
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


def read(path):
    """The records in a file; a line that is none is measured again."""
    records = []
    for line in path.read_text().splitlines() if path.exists() else []:
        with contextlib.suppress(ValueError):
            records.append(json.loads(line))
    return records


def collect(path, timeout):
    """Measures what is missing from the results and returns all of them."""
    records = read(path)
    done = {(r["length"], r["units"], r["form"], r["unroll"]): r for r in records}
    for case in all_cases():
        key = tuple(case.values())
        if key in done:
            continue
        shorter = [
            r for r in done.values()
            if "failed" in r and r["length"] < case["length"]
            and all(r[name] == case[name] for name in ("units", "form", "unroll"))
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
    """Time and peak memory over T, a column for each H; colour tells the form, line the loop."""
    figure = Figure(figsize=(11, 5.5), dpi=120, layout="constrained")
    axes = figure.subplots(2, len(UNITS), sharex=True, sharey="row")
    for column, units in enumerate(UNITS):
        axes[0, column].set_title(f"H = {units}")
        axes[1, column].set_xlabel("sequence length T")
        for form, color in zip(FORMS, ("#0072B2", "#D55E00"), strict=True):
            for unroll, style in ((False, "o-"), (True, "s--")):
                cases = [done[length, units, form, unroll] for length in LENGTHS]
                cases = [case for case in cases if "ms" in case]
                for row, field in enumerate(("ms", "mib")):
                    axes[row, column].loglog(
                        [case["length"] for case in cases],
                        [case[field] for case in cases],
                        style,
                        color=color,
                        markersize=4,
                        label=f"{form}, {'unrolled' if unroll else 'loop'}",
                    )
    for axis in axes.flat:
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
        axis.set_xticks(LENGTHS, LENGTHS)
        axis.minorticks_off()
    axes[0, 0].set_ylabel("update (ms)")
    axes[1, 0].set_ylabel("peak memory (MiB)")
    axes[0, 0].legend(frameon=False, fontsize="small")
    with files.replacing(path) as temporary:
        figure.savefig(temporary)


def table(done):
    """The rows of the page's table: milliseconds and MiB, and what they say of the form."""
    for unroll in (False, True):
        for length in LENGTHS:
            for units in UNITS:
                matrix, attention = (done[length, units, form, unroll] for form in FORMS)
                cells = [
                    f"{case['ms']:.3g} | {case['mib']:.0f}" if "ms" in case else "- | -"
                    for case in (matrix, attention)
                ]
                if all("ms" in case for case in (matrix, attention)):
                    ratio = f"{matrix['ms'] / attention['ms']:.2f}"
                else:
                    ratio = "-"
                loop = "unrolled" if unroll else "loop"
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
