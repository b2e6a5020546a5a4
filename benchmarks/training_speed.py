"""Measures the speed of `train.py`, and of its training steps beside Keras's `GRUCell`.

python -m benchmarks.training_speed

- epoch: an epoch of RNN-LN-FW by `train`, with validation, records, checkpoint and TensorBoard.
- steps: an epoch of the blog's models and of Keras's `GRUCell`, unrolled and in a loop.

Writes `docs/results/training_speed.jsonl`.
"""

import dataclasses
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable

import keras

from benchmarks.study import Measurement, alternate, median, timed
from benchmarks.tables import Record, part, table
from fast_weights.experiment import dataset
from fast_weights.experiment.blocks import BlockModel, num_blocks, training_blocks
from fast_weights.experiment.config import SUMMARY_EVERY, Config
from fast_weights.experiment.models import BLOG_MODELS, build_layer, build_model
from fast_weights.experiment.run_dir import RunDirectory
from fast_weights.experiment.training import train

GRU = "Keras's `GRUCell`"
NUM_EPOCHS = 13


@dataclasses.dataclass(frozen=True)
class Case:
    """One of the measurements above."""

    name: str


def measure_epoch(config: Config) -> Record:
    """Measures epochs of `train` with all files, half of them with a TensorBoard snapshot."""
    starts = []
    timer = keras.callbacks.LambdaCallback(lambda *_: starts.append(time.perf_counter()))
    with tempfile.TemporaryDirectory() as directory:
        run_dir = RunDirectory(f"{directory}/train", config.model_name)
        config = dataclasses.replace(config, num_epochs=NUM_EPOCHS)
        train(config, run_dir, directory, callbacks=[timer], summary_every=2)
    seconds = [end - start for start, end in itertools.pairwise(starts)]
    # The first epoch compiles, and every second one has a snapshot.
    epoch = statistics.median(seconds[2::2])
    return {"epoch_s": epoch, "snapshot_s": statistics.median(seconds[1::2]) - epoch}


def epoch_in_blocks(config: Config, layer=None) -> Callable[[], float]:
    """Returns a function that trains a model for an epoch as `train` does, and returns seconds."""
    model = BlockModel(build_model(config, layer), config.make_task().num_groups)
    blocks = training_blocks(dataset.generate(config).training, config)
    arguments = {"steps_per_epoch": num_blocks(config), "shuffle": False, "verbose": 0}
    return lambda: timed(lambda: model.fit(blocks, **arguments))


def measure_steps(config: Config) -> Record:
    """Measures training steps by layer, unrolled and in a loop, in the program of `train`.

    Returns:
        Milliseconds of an unrolled step, the same relative to `GRU`, and the time in a loop
        relative to unrolled.
    """
    functions, names = {}, [*BLOG_MODELS, GRU]
    for name in names:
        for unroll in (True, False):
            if name == GRU:
                layer = keras.layers.RNN(keras.layers.GRUCell(config.units), unroll=unroll)
            else:
                layer = build_layer(dataclasses.replace(config, model_name=name))
                layer = type(layer).from_config({**layer.get_config(), "unroll": unroll})
            functions[name, unroll] = epoch_in_blocks(config, layer)
    for function in functions.values():
        function()  # compiles
    rounds, steps = alternate(functions), config.num_training // config.batch_size
    return {
        "step_ms": {name: 1e3 * median(rounds, (name, True)) / steps for name in names},
        "relative_to_gru": {name: median(rounds, (name, True), (GRU, True)) for name in names},
        "loop_over_unrolled": {name: median(rounds, (name, False), (name, True)) for name in names},
    }


EPOCH, STEPS = Case("epoch"), Case("steps")
MEASURE = {EPOCH: measure_epoch, STEPS: measure_steps}
BENCHMARK = Measurement(
    __doc__, "training_speed", [*MEASURE], measure=lambda case: MEASURE[case](Config())
)


@part("speed_steps")
def table_of_steps() -> str:
    """Returns the time of a training step of each layer, relative to Keras's GRU, and in a loop."""
    record, keys = BENCHMARK[STEPS], ("relative_to_gru", "loop_over_unrolled")
    rows = (
        [name, f"{time:.2f} ms", *(f"{record[key][name]:.2f}" for key in keys)]
        for name, time in record["step_ms"].items()
    )
    return table(["layer", "time", "relative to Keras's `GRUCell`", "loop / unrolled"], rows)


@part("snapshot_share")
def snapshot_share() -> str:
    """Returns the share of the time of training that TensorBoard snapshots take."""
    record = BENCHMARK[EPOCH]
    snapshot = record["snapshot_s"]
    return f"{snapshot / (snapshot + SUMMARY_EVERY * record['epoch_s']):.1%}"


part("epoch_time")(lambda: f"{BENCHMARK[EPOCH]['epoch_s']:.2f} s")


if __name__ == "__main__":
    BENCHMARK.main()
