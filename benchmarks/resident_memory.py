"""Does a long training keep more and more memory? Resident size over 500 small epochs.

python -m benchmarks.resident_memory

A small RNN-LN-FW through `training.train`, with TensorBoard's look at every 10th epoch,
in a folder of its own that is deleted. Linux alone tells the size this way.
"""

import argparse
import pathlib
import re
import tempfile

from fast_weights import terminal

with terminal.quiet_import():
    from fast_weights import training
    from fast_weights.config import Config

NUM_EPOCHS = 500
EVERY = 50


def resident_megabytes() -> float:
    """Of this process, now."""
    status = pathlib.Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) / 1024


class Watcher(training.Reporter):
    """Notes the size after every 50th epoch."""

    def __init__(self):
        self.sizes = {}

    def epoch(self, record, best, seconds_left):
        if (record.epoch + 1) % EVERY == 0:
            self.sizes[record.epoch + 1] = resident_megabytes()
            print(f"epoch {record.epoch + 1:4}  {self.sizes[record.epoch + 1]:7.1f} MB", flush=True)


def main():
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    config = Config(
        batch_size=32, units=20, num_epochs=NUM_EPOCHS, num_training=1_280, num_validation=320
    )
    watcher = Watcher()
    with tempfile.TemporaryDirectory() as folder:
        training.train(config, folder, f"{folder}/run", watcher, summary_every=10)
    first, last = watcher.sizes[2 * EVERY], watcher.sizes[NUM_EPOCHS]
    print(f"from epoch {2 * EVERY} to {NUM_EPOCHS}: {last - first:+.1f} MB of {first:.0f} MB")


if __name__ == "__main__":
    main()
