"""Queries a trained model: prints its prediction for a sequence, or its accuracy.

python test.py --model_name=RNN-LN-FW --sample='g5o8k1??g'
"""

import fast_weights.experiment.requirements  # noqa: F401  ends here if something is missing

# isort: split
import math
import sys

from absl import flags

from fast_weights.experiment import console
from fast_weights.experiment.dataset import load_or_generate
from fast_weights.experiment.errors import UserError

FLAGS = flags.FLAGS

console.define_config_flags("model_name", "seed", "network")
console.define_directory_flags()
flags.DEFINE_multi_string(
    "sample", [], "sequence to predict, such as g5o8k1??g; may be given several times"
)
flags.DEFINE_bool("probabilities", False, "also print the most likely answers to each query")
flags.DEFINE_bool("evaluate", False, "print the accuracy on the sequences of --split instead")
flags.DEFINE_enum("split", "validation", ["validation", "test"], "the sequences of --evaluate")


def main():
    """Prints the predictions or the accuracy that the flags ask for."""
    if FLAGS.evaluate and FLAGS.sample:
        raise UserError("--sample and --evaluate cannot be combined. Give one of them")
    run_dir = console.run_dir()
    # The flags are checked before TensorFlow takes seconds to load.
    found = run_dir.trained_or_bundled(console.network())
    config = found.read_config()
    if FLAGS.split == "test" and not config.num_test:
        raise UserError(
            f"{found} has no test sequences. Use --split=validation, or train with --num_test=20000"
        )
    task = config.make_task()
    samples = FLAGS.sample or [task.default_sample]
    for sample in samples:
        task.encode_sample(sample)
    with console.quiet_import():
        from fast_weights.experiment import evaluation
        from fast_weights.experiment.checkpoint import load_model

    model, config = load_model(run_dir, console.network())
    if FLAGS.evaluate:
        split = getattr(load_or_generate(FLAGS.data_dir, config), FLAGS.split)
        results = evaluation.evaluate(model, config, split)
        num_sequences = len(split.targets) // config.batch_size * config.batch_size
        name = FLAGS.split.capitalize()
        print(f"{name} accuracy: {results['accuracy']:.2%} of {num_sequences:,} sequences")
        for group in range(1, task.num_groups + 1):
            fraction = results[f"accuracy_{group}"]
            share = "no sequence" if math.isnan(fraction) else f"{fraction:.2%}"
            if task.group:
                print(f"  query of {task.group} {group}: {share}")
        return
    for sample in samples:
        _print_prediction(evaluation.predict_answers(model, task, sample), task, sample)
    while not FLAGS.sample and sys.stdin.isatty() and sys.stdout.isatty():
        try:
            sample = input("Another sequence, or Enter to end: ").strip()
            if not sample:
                return
            _print_prediction(evaluation.predict_answers(model, task, sample), task, sample)
        except EOFError:
            return
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)


def _print_prediction(answers, task, sample):
    """Prints the most likely answers to one sequence, and to each query if there are several."""
    predicted = task.separator.join(next(iter(likely)) for _, likely in answers)
    print(f"INPUT: {sample}\nPREDICTION: {predicted}")
    if len(answers) > 1 or FLAGS.probabilities:
        for query, likely in answers:
            shares = [f"{symbol} ({share:.1%})" for symbol, share in likely.items()]
            print(f"  {query}: {', '.join(shares)}")


if __name__ == "__main__":
    console.run(main)
