"""Measures the time of an update on JAX, on the CPU and on the GPU of one machine.

KERAS_BACKEND=jax python -m benchmarks.devices

Updates, inputs and layers are those of `benchmarks.sequence_length`. The layers take turns, and so
do the devices. Needs JAX with a GPU. Writes one JSON line for each case and device to
`docs/results/devices.jsonl`.
"""

import json
import os
import statistics

from benchmarks.runs import RESULTS_DIR, run_main
from benchmarks.sequence_length import CELL, FAST, FEATURES, GRU, Case, make_layer, timed
from benchmarks.tables import table
from fast_weights.experiment import storage
from fast_weights.experiment.errors import UserError

RESULTS = RESULTS_DIR / "devices.jsonl"
CASES = [
    Case(9, 50, batch=128, layers=(GRU, FAST, CELL)),
    Case(513, 128, layers=(GRU, FAST, CELL)),
    Case(2049, 128, layers=(GRU, FAST, CELL)),
    Case(513, 256, batch=32, layers=(GRU, FAST, CELL)),
    Case(2049, 128, layers=tuple(f"{FAST} {size}" for size in (16, 32, 64, 128, 256))),
]
ROUNDS = 5


def compiled_updates(layer, case, device):
    """Returns a function that makes n updates from one batch on a device of JAX. Builds `layer`."""
    import jax
    import numpy as np

    rng = np.random.default_rng(0)
    shape = (case.batch, case.length, FEATURES)
    inputs = jax.device_put(rng.normal(size=shape).astype(np.float32), device)
    layer.build(shape)
    values = [variable.value for variable in layer.trainable_variables]
    weights = jax.device_put(values, device)
    # A recurrent layer of Keras has the state of a random generator.
    constants = [jax.device_put(one.value, device) for one in layer.non_trainable_variables]

    def loss(weights):
        outputs, _ = layer.stateless_call(weights, constants, inputs)
        return jax.numpy.mean((outputs - 1.0) ** 2)

    @jax.jit
    def update(weights):
        gradients = jax.grad(loss)(weights)
        return [w - 1e-3 * g for w, g in zip(weights, gradients, strict=True)]

    def updates(n):
        state = weights
        for _ in range(n):
            state = update(state)
        jax.block_until_ready(state)

    return updates


def measure(case, devices):
    """Returns the milliseconds of an update in each round, by device and layer."""
    updates, steps, compile_s = {}, {}, {}
    for device in devices:
        for name in case.layers:
            key = device.platform, name
            updates[key] = compiled_updates(make_layer(name, case.units), case, device)
            compile_s[key] = timed(updates[key], 1)
            steps[key] = max(1, min(200, int(0.3 / timed(updates[key], 1))))
    rounds = [
        {key: 1e3 * timed(update, steps[key]) / steps[key] for key, update in updates.items()}
        for _ in range(ROUNDS)
    ]
    return [
        {
            "device": describe(device),
            "length": case.length,
            "units": case.units,
            "batch": case.batch,
            "ms": {
                name: statistics.median(one[device.platform, name] for one in rounds)
                for name in case.layers
            },
            "compile_s": {name: compile_s[device.platform, name] for name in case.layers},
        }
        for device in devices
    ]


def table_of_devices():
    """Returns a table of the time of an update on each device."""
    lines = RESULTS.read_text(encoding="utf-8").splitlines()
    rows = []
    for record in map(json.loads, lines):
        milliseconds = record["ms"]
        if GRU not in milliseconds:
            continue
        size = [record["length"], record["units"], record["batch"], record["device"]]
        times = [
            f"{milliseconds[name]:,.{0 if milliseconds[name] > 100 else 2}f} ms"
            for name in (GRU, FAST, CELL)
        ]
        rows.append([*size, *times, f"{milliseconds[FAST] / milliseconds[GRU]:.2f}"])
    names = [f"`{GRU}`", f"`{FAST}`", f"`RNN({CELL})`", f"`{FAST}` / `{GRU}`"]
    return table(["T", "H", "B", "device", *names], rows)


def describe(device):
    """Returns the name of a device of JAX."""
    return f"CPU, {os.cpu_count()} cores" if device.platform == "cpu" else device.device_kind


def main():
    """Measures all cases."""
    import jax

    try:
        devices = [jax.devices("gpu")[0], jax.devices("cpu")[0]]
    except RuntimeError:
        raise UserError("JAX finds no GPU; pip install 'jax[cuda13]' brings one") from None
    records = []
    for case in CASES:
        records += measure(case, devices)
        print(json.dumps(records[-2:]), flush=True)
        storage.write_text(RESULTS, "".join(f"{json.dumps(record)}\n" for record in records))


if __name__ == "__main__":
    run_main(main)
