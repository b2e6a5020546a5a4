"""Asks a trained model: prints its prediction for a sequence, or its accuracy.

python test.py --model_name=RNN-LN-FW --sample=g5o8k1??g
"""

import math

from absl import app, flags

from fast_weights import terminal
from fast_weights.config import MODEL_NAMES, check_settings
from fast_weights.errors import UserError

FLAGS = flags.FLAGS

flags.DEFINE_enum("model_name", "RNN-LN-FW", MODEL_NAMES, "which of the four models")
flags.DEFINE_integer("seed", 0, "that the model was trained with")
flags.DEFINE_multi_string(
    "sample", [], "sequence to ask about, such as g5o8k1??g; may be given several times"
)
flags.DEFINE_bool("evaluate", False, "print accuracy on the validation sequences instead")
flags.DEFINE_string("data_dir", "data", "folder of the sequences; they are made where missing")
flags.DEFINE_string("checkpoint_dir", "checkpoints", "folder of the models' folders")


@terminal.one_line_errors
def main(argv):
    """Flags -> model -> predictions."""
    del argv
    terminal.stop_at_once()
    check_settings({"seed": FLAGS.seed})
    if FLAGS.evaluate and FLAGS.sample:
        raise UserError("expected --sample or --evaluate. Received: both")
    from fast_weights import data, folders

    where = (FLAGS.checkpoint_dir, FLAGS.model_name, FLAGS.seed)
    # All samples before the first answer, and before TensorFlow takes its seconds to load.
    num_pairs = folders.find_config(*where, say=lambda line: None).num_pairs
    samples = FLAGS.sample or [data.default_sample(num_pairs)]
    for sample in samples:
        data.encode_sample(sample, num_pairs)
    with terminal.quiet_import():
        from fast_weights import checkpoints, sampling

    model, config = checkpoints.load_model(*where, terminal.note)
    if FLAGS.evaluate:
        _, validation = data.load_or_make(
            FLAGS.data_dir,
            config.num_pairs,
            config.num_training,
            config.num_validation,
            config.seed,
        )
        accuracy, by_pair = sampling.accuracy_by_pair(model, validation)
        print(f"Validation accuracy: {accuracy:.2%} of {config.num_validation:,} sequences")
        for number, pair_accuracy in enumerate(by_pair, start=1):
            share = "no sequence" if math.isnan(pair_accuracy) else f"{pair_accuracy:.2%}"
            print(f"  asked for pair {number}: {share}")
        return 0
    for sample in samples:
        prediction = sampling.predict_text(model, sample, num_pairs)
        print(f"INPUT: {sample}\nPREDICTION: {prediction}")
    return 0


if __name__ == "__main__":
    app.run(main, flags_parser=terminal.flags_parser(flags))
