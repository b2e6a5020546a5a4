"""Measures whether the memory of a long training grows: resident size over 500 small epochs.

python -m benchmarks.resident_memory

Trains a small RNN-LN-FW in a temporary directory, with a TensorBoard snapshot every 10 epochs.
Needs Linux.
"""

import pathlib
import re
import tempfile

from fast_weights.experiment.console import quiet_import

with quiet_import():
    from fast_weights.experiment import Config, RunDirectory
    from fast_weights.experiment.training import Progress, train

NUM_EPOCHS = 500


def resident_megabytes() -> float:
    """Returns the resident size of this process."""
    status = pathlib.Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) / 1024


class SizePrinter(Progress):
    """Prints the size after every 50th epoch."""

    def end_epoch(self, record, best, seconds_left):
        if record.epoch % 50 == 0:
            print(f"epoch {record.epoch:3}: {resident_megabytes():.0f} MB", flush=True)


if __name__ == "__main__":
    config = Config(
        batch_size=32, units=20, num_epochs=NUM_EPOCHS, num_training=1_280, num_validation=320
    )
    with tempfile.TemporaryDirectory() as directory:
        run_dir = RunDirectory(directory, config.model_name)
        train(config, run_dir, directory, SizePrinter(), summary_every=10)
