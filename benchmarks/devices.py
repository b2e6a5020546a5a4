"""Measures the time of an update on JAX, on the CPU and on the GPU of one machine.

KERAS_BACKEND=jax python -m benchmarks.devices

Updates, inputs and layers are those of `benchmarks.sequence_length`. The layers of a case take
turns. Needs JAX with a GPU. Writes `docs/results/devices.jsonl`.
"""

import dataclasses
import os

from benchmarks import sequence_length
from benchmarks.sequence_length import CELL, FAST, FEATURES, GRU, make_layer
from benchmarks.study import Measurement, median, time_updates
from benchmarks.tables import Record, part, table
from fast_weights.experiment.errors import UserError


@dataclasses.dataclass(frozen=True)
class Case(sequence_length.Case):
    """Layers that are measured side by side on a device of JAX, `"gpu"` or `"cpu"`."""

    layers: tuple[str, ...] = (GRU, FAST, CELL)
    platform: str = "gpu"


CHUNK_SIZES = (16, 32, 64, 128, 256)
CASES = [
    dataclasses.replace(case, platform=platform)
    for case in (
        Case(9, 50, batch=128),
        Case(513, 128),
        Case(2049, 128),
        Case(513, 256, batch=32),
        Case(2049, 128, layers=tuple(f"{FAST} {size}" for size in CHUNK_SIZES)),
    )
    for platform in ("gpu", "cpu")
]


def compiled_updates(layer, case: Case, device):
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


def measure(case: Case) -> Record:
    """Returns the name of the device, and the times of the layers."""
    import jax

    try:
        device = jax.devices(case.platform)[0]
    except RuntimeError:
        raise UserError("JAX finds no GPU; pip install 'jax[cuda13]' brings one") from None
    times = time_updates(
        {name: compiled_updates(make_layer(name, case.units), case, device) for name in case.layers}
    )
    return {
        "device": f"CPU, {os.cpu_count()} cores" if case.platform == "cpu" else device.device_kind,
        "ms": {name: median(times["rounds"], name) for name in case.layers},
        "compile_s": times["compile_s"],
    }


BENCHMARK = Measurement(__doc__, "devices", cases=CASES, measure=measure)


@part("devices")
def table_of_devices() -> str:
    """Returns the time of an update on each device."""
    rows = []
    for case in CASES:
        if GRU not in case.layers:
            continue
        record, times = BENCHMARK[case], []
        for name in case.layers:
            time = record["ms"][name]
            times.append(f"{time:,.{0 if time > 100 else 2}f} ms")
        ratio = f"{record['ms'][FAST] / record['ms'][GRU]:.2f}"
        rows.append([case.length, case.units, case.batch, record["device"], *times, ratio])
    names = [f"`{GRU}`", f"`{FAST}`", f"`RNN({CELL})`", f"`{FAST}` / `{GRU}`"]
    return table(["T", "H", "B", "device", *names], rows)


if __name__ == "__main__":
    BENCHMARK.main()
