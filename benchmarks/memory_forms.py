"""Which form of the fast weights trains faster, by sequence length T and units H.

python -m benchmarks.memory_forms

Times the training program with the matrix form and with the attention form,
alternating, and prints milliseconds a step and their ratio. This is what
`fast_weights.models.faster_form` was decided from.
"""

import argparse

from benchmarks import timing
from fast_weights import models
from fast_weights.config import Config


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num_pairs", type=int, nargs="+", default=[3, 9, 26])
    parser.add_argument("--units", type=int, nargs="+", default=[20, 50, 100])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    flags = parser.parse_args()
    print(f"{'T':>4} {'H':>4} {'matrix ms':>10} {'attention ms':>13} {'matrix/attention':>17}")
    for num_pairs in flags.num_pairs:
        for units in flags.units:
            config = Config(num_pairs=num_pairs, units=units)
            batches = timing.training_batches(config, flags.steps * config.batch_size)
            runs = {
                form: timing.compiled_steps(models.build_cell(config, form), config, batches)
                for form in ("matrix", "attention")
            }
            rounds = [
                {form: run(flags.steps) for form, run in runs.items()} for _ in range(flags.rounds)
            ]
            matrix, attention = (
                1e3 * min(times[form] for times in rounds) for form in ("matrix", "attention")
            )
            print(
                f"{config.sequence_length:4} {units:4} {matrix:10.2f} {attention:13.2f} "
                f"{matrix / attention:17.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
