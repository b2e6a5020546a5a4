"""Fills the generated parts of README.md and docs/*.md.

python -m benchmarks.fill_pages

A part stands between `<!-- generated: NAME -->` and `<!-- end generated -->`, on lines of its
own or within a line. Its text comes from the records in `docs/results` and from the bundled
weights. `tests/test_generated.py` fails if a page is out of date.
"""

import functools
import io
import json
import pathlib
import re
import tempfile

import numpy as np

from benchmarks import (
    ablations,
    beyond_paper,
    classifier,
    devices,
    distributed_speed,
    harder_than_paper,
    long_sequences,
    recall,
    recurrences,
    reproduce_blog,
    reproduce_paper,
    sequence_length,
    tables,
)
from benchmarks.runs import RESULTS_DIR, ROOT, run_main
from benchmarks.tables import table
from fast_weights.experiment import dataset, storage
from fast_weights.experiment.config import Config
from fast_weights.experiment.console import ProgressTable
from fast_weights.experiment.errors import UserError
from fast_weights.experiment.models import BLOG_MODELS, MODELS, layer_inputs
from fast_weights.experiment.run_dir import PRETRAINED_DIR, RunDirectory

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
START, END = "<!-- generated: ", "<!-- end generated -->"
PART = re.compile(rf"({START}(\S+) -->)(.*?)({END})", re.DOTALL)
# Read off the blog's plots.
PUBLISHED = {
    "RNN-LN-FW": "99% at about 130, 100% from about 150",
    "GRU-LN": "43% until about 150, 93% at 1000",
    "RNN-LN": "leaves 43% at about 40, 90% at 1000",
    "CONTROL": "48% at 1000",
}
TASK = Config().make_task()
SAMPLE = TASK.default_sample
SHOWN_EPOCHS = (1, 2, 3, 5)


def fill(page: str) -> str:
    """Returns the text of a page with its generated parts.

    Raises:
        UserError: if a part has an unknown name or no end.
    """
    if not len(PART.findall(page)) == page.count(START) == page.count(END):
        raise UserError(f"a generated part must start with {START}NAME --> and end with {END}")
    return PART.sub(_fill_part, page)


def _fill_part(match: re.Match) -> str:
    start, name, old, end = match.groups()
    if name not in GENERATED:
        raise UserError(f"a generated part must be one of {', '.join(GENERATED)}. Received: {name}")
    new = GENERATED[name]()
    return f"{start}\n{new}\n{end}" if old.startswith("\n") else f"{start}{new}{end}"


@functools.cache
def _blog():
    return reproduce_blog.records_by_model(reproduce_blog.saved_runs())


def _models(columns, published):
    """Returns a table of the models; the last column is read off the blog's plots."""
    rows = (
        [name, len(seeds), *tables.cells(seeds, columns), published.get(name, "-")]
        for name, seeds in _blog().items()
    )
    return table(["model", "seeds", *columns, "blog post"], rows)


def _results():
    published = {name: f"{MODELS[name].published:.0%}" for name in BLOG_MODELS}
    return _models(["epoch of 99%", "accuracy at 1000"], published)


def _accuracy():
    columns = ["epoch of 45%", "epoch of 99%", "epoch of 99.9%"]
    return _models([*columns, "accuracy at 150", "accuracy at 500", "accuracy at 1000"], PUBLISHED)


def _losses():
    columns = ["loss at 150", "loss at 500", "loss at 1000", "minutes per run"]
    rows = ([name, *tables.cells(seeds, columns)] for name, seeds in _blog().items())
    return table(["model", *columns], rows)


def _progress():
    """Returns lines that `train.py` printed for RNN-LN-FW with seed 0."""
    records, stream = _blog()["RNN-LN-FW"][0], io.StringIO()
    printer = ProgressTable(len(records), stream)
    for epoch, record in enumerate(records, start=1):
        recent = [one.seconds for one in records[1:epoch][-9:]]
        seconds_left = float(np.median(recent)) * (len(records) - epoch) if recent else None
        printer.end_epoch(record, tables.best(records[:epoch]).val_accuracy, seconds_left)
    lines = stream.getvalue().splitlines()  # two lines of headings, then one line per epoch
    shown = [*lines[:4], "..."]
    for accuracy in (0.99, 0.999):
        shown += [lines[1 + tables.first_epoch(records, accuracy)], "..."]
    return "\n".join(["```", *shown, "```"])


def _seeds():
    columns = ["epoch of 45%", "epoch of 99%", "accuracy at 400", "accuracy at 1000"]
    runs = {run.name: run.records() for run in reproduce_blog.saved_runs()}
    return tables.table_of_runs("run", runs, *columns, "best accuracy", "epoch of best")


def _variants():
    runs = {}
    for default, variant in ablations.VARIANTS:
        epochs = variant.config.num_epochs
        for run in (default, variant):
            name = pathlib.PurePath(run.name).name
            runs[f"{name}, {epochs} epochs"] = run.records()[:epochs]
    columns = ["epoch of 45%", "epoch of 99%", "final accuracy", "best accuracy"]
    return tables.table_of_runs("run", runs, *columns, "training accuracy")


def _over_the_batch_at_150():
    runs = [variant for _, variant in ablations.VARIANTS if variant.variant == "--over_the_batch"]
    accuracies = [run.records()[149].val_accuracy for run in runs]
    return f"{min(accuracies):.2%} to {max(accuracies):.2%}"


def _ablations():
    runs = {}
    for label, run in ablations.ABLATIONS.items():
        label = "defaults" if run is ablations.DEFAULTS else label
        epochs = run.config.num_epochs
        label += f", {epochs} epochs" if epochs > ablations.NUM_EPOCHS else ""
        runs[label] = run.records()
    columns = ["epoch of 99%", "accuracy at 200", "loss at 200", "best accuracy"]
    return tables.table_of_runs("RNN-LN-FW", runs, *columns)


def _gates():
    runs = {"original": ablations.ORIGINAL_GATES, "standard": ablations.STANDARD_GATES}
    records = {name: run.records() for name, run in runs.items()}
    columns = ["training accuracy", "final accuracy", "best accuracy"]
    return tables.table_of_runs("gates", records, *columns)


def _recurrences():
    columns = ["epoch of 99%", "epoch of 99.9%", "accuracy at 200", "loss at 200"]
    records = recurrences.read_records()
    rows = []
    for setting in recurrences.SETTINGS:
        keys = [(*setting, seed) for seed in recurrences.SEEDS]
        of_seeds = [tables.cells([records[key]], columns) for key in keys]
        rows.append([*setting, *map(", ".join, zip(*of_seeds, strict=True))])
    return table(["recurrence", "learning rate", *columns], rows)


@functools.cache
def _lengths():
    return sequence_length.read_records()


def _classifier_ratio(xla):
    """Returns the time of `FastWeights` over that of Keras's GRU."""
    (case,) = (case for case in sequence_length.CLASSIFIER if case.xla == xla)
    record = _lengths()[case]
    return f"{sequence_length.ratio(record, sequence_length.FAST, sequence_length.GRU):.1f}"


def _character_memory():
    record = _lengths()[sequence_length.CHARACTERS]
    return f"{record['mib'][sequence_length.FAST]:.0f} MiB"


def _long_sequences():
    columns = ["accuracy at 200", "best accuracy", "epoch of best", "training accuracy"]
    return tables.table_of_runs("model", long_sequences.read_records(), *columns)


def _token_classifier():
    """Returns validation accuracies, as the range over seeds, and mean effects of a token."""
    done, rows = classifier.read_records(), []
    for setting, seeds in classifier.SETTINGS.items():
        records = [done[setting, seed] for seed in range(seeds)]
        arguments = ", ".join(f"`{name}={value!r}`" for name, value in setting.arguments)
        row = [setting.layer, f"±{setting.embedding:g}", arguments or "defaults", seeds]
        for epoch in SHOWN_EPOCHS:
            values = [record["val_accuracy"][epoch - 1] for record in records]
            low, high = f"{min(values):.1%}", f"{max(values):.1%}"
            row.append(low if low == high else f"{low} to {high}")
        effects = np.mean([record["effects"] for record in records], axis=0)
        rows.append([*row, *(f"{effect:.2%}" for effect in effects)])
    heads = [f"epoch {epoch}" for epoch in SHOWN_EPOCHS]
    heads += [f"effect at age {age}" for age in classifier.AGES]
    return table(["layer", "embeddings", "arguments", "seeds", *heads], rows)


@functools.cache
def _speed():
    return json.loads((RESULTS_DIR / "training_speed.json").read_text(encoding="utf-8"))


def _speed_of_steps():
    times = _speed()["step_ms"]
    times = {name: times[name] for name in times if name in BLOG_MODELS or name not in MODELS}
    return table(times, [[f"{time:.2f} ms" for time in times.values()]])


@functools.cache
def _bundled():
    """Returns RNN-LN-FW with the bundled weights, and its configuration."""
    from fast_weights.experiment.checkpoint import load_model  # loads TensorFlow

    return load_model(RunDirectory(PRETRAINED_DIR / "blog", "RNN-LN-FW"))


def _trace(model):
    """Returns the trace of the memory over `SAMPLE`."""
    from fast_weights import trace_memory

    symbols, _ = layer_inputs(model, TASK, TASK.encode_sample(SAMPLE)[None])
    return trace_memory(model.get_layer("rnn"), symbols)


def _norms():
    """Returns the norm of the vector written at each symbol."""
    from fast_weights.experiment.checkpoint import new_state

    trained, config = _bundled()
    rows = []
    for name, model in {"trained": trained, "untrained": new_state(config).model}.items():
        norms = np.linalg.norm(_trace(model).written[0], axis=-1)
        rows.append([name, *(f"{norm:.2f}" for norm in norms)])
    return table(["norm of v", *SAMPLE], rows)


def _attention():
    """Returns how much the query reads of each symbol's vector, as `docs/examples.md` prints it."""
    attention = np.asarray(_trace(_bundled()[0]).attention)[0, -1, 0]
    lines = [f"{symbol} {weight:8.2f}" for symbol, weight in zip(SAMPLE, attention, strict=True)]
    return "\n".join(["```", *lines, "```"])


def _attention_by_pair():
    """Returns how much the query reads of its pair's digit, mean over the validation set."""
    from fast_weights.experiment.evaluation import mean_attention

    model, config = _bundled()
    validation = dataset.generate(config).validation
    rows = []
    for pair, attention in enumerate(mean_attention(model, TASK, validation)[:, -1]):
        digit = 2 * pair + 1
        age = TASK.length - 1 - digit
        decay = config.decay_rate**age
        overlap = attention[digit] / (config.fast_learning_rate * decay)
        share = attention[digit] / np.abs(attention).sum()
        rows.append([pair + 1, age, f"{decay:.2f}", f"{overlap:.2f}", f"{share:.0%}"])
    heads = ["queried pair", "age of its digit", "λ^age", "v · h", "share of attention"]
    return table(heads, rows)


def _bundled_accuracy():
    from fast_weights.experiment.evaluation import accuracy_by_group

    model, config = _bundled()
    accuracy, _ = accuracy_by_group(model, TASK, dataset.generate(config)[1])
    return f"{accuracy:.3%}"


def _int8():
    """Returns the accuracy and the size of exported models, as `docs/export.md` prints them."""
    import tensorflow as tf

    model, config = _bundled()
    validation = dataset.generate(config).validation
    tokens = validation.tokens.astype("int32")
    lines = []
    for name, optimizations in {"float32": [], "int8": [tf.lite.Optimize.DEFAULT]}.items():
        with tempfile.TemporaryDirectory() as directory:
            path = pathlib.Path(directory) / "model.tflite"
            model.export(path, format="litert", verbose=False, optimizations=optimizations)
            content = path.read_bytes()
        interpreter = tf.lite.Interpreter(model_content=content)
        (place,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
        interpreter.resize_tensor_input(place["index"], tokens.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(place["index"], tokens)
        interpreter.invoke()
        answers = interpreter.get_tensor(result["index"]).argmax(axis=-1)
        accuracy = (answers == validation.targets).mean()
        lines.append(f"{name:7} {accuracy:.3%} {len(content) / 1000:.0f} kB")
    return "\n".join(["```", *lines, "```"])


def _long_irnn():
    records = reproduce_paper.read_records()
    return f"{reproduce_paper.test_error(records[reproduce_paper.long_run(records).name]):.0f}%"


GENERATED = {
    "results": _results,
    "progress": _progress,
    "accuracy": _accuracy,
    "losses": _losses,
    "seeds": _seeds,
    "variants": _variants,
    "over_the_batch_at_150": _over_the_batch_at_150,
    "ablations": _ablations,
    "gates": _gates,
    "recurrences": _recurrences,
    "lengths": lambda: sequence_length.table_of_lengths(_lengths()),
    "classifier": lambda: sequence_length.table_of_layers(_lengths(), sequence_length.CLASSIFIER),
    "plain_layers": lambda: sequence_length.table_of_layers(_lengths(), sequence_length.PLAIN),
    "chunks": lambda: sequence_length.table_of_chunks(_lengths()),
    "single_chunks": lambda: sequence_length.table_of_single_chunks(_lengths()),
    "classifier_ratio": lambda: _classifier_ratio(xla=True),
    "classifier_ratio_without_xla": lambda: _classifier_ratio(xla=False),
    "character_memory": _character_memory,
    "paper": lambda: reproduce_paper.table_of_errors(reproduce_paper.read_records()),
    "paper_means": lambda: reproduce_paper.table_of_means(reproduce_paper.read_records()),
    "distributed_speed": distributed_speed.table_of_speed,
    "distributed_sums": distributed_speed.table_of_sums,
    "distributed_expectations": distributed_speed.table_of_expectations,
    "paper_hours": lambda: f"{reproduce_paper.hours(reproduce_paper.read_records()):.0f}",
    "paper_long_irnn": _long_irnn,
    "paper_tuning": lambda: reproduce_paper.table_of_tuning(reproduce_paper.read_records()),
    "paper_limits": lambda: harder_than_paper.table_of_limits(reproduce_paper.read_records()),
    "paper_parts": lambda: harder_than_paper.table_of_parts(reproduce_paper.read_records()),
    "paper_weight_decay": lambda: beyond_paper.table_of_weight_decay(
        reproduce_paper.read_records()
    ),
    "paper_variants": lambda: beyond_paper.table_of_variants(reproduce_paper.read_records()),
    "devices": devices.table_of_devices,
    "token_classifier": _token_classifier,
    "long_sequences": _long_sequences,
    "recall_equal_units": lambda: recall.table_of(recall.read_records(), recall.SIZES[0]),
    "recall_equal_parameters": lambda: recall.table_of(recall.read_records(), recall.SIZES[1]),
    "speed": _speed_of_steps,
    "speed_steps": lambda: tables.speed_steps(_speed()),
    "speed_fit": lambda: tables.speed_fit(_speed()),
    "speed_training": lambda: tables.speed_training(_speed()),
    "epoch_time": lambda: f"{_speed()['epoch_s']:.2f} s",
    "speed_ratio": lambda: f"{_speed()['ratio']:.1f}",
    "speed_lowest_ratio": lambda: f"{_speed()['lowest_ratio']:.1f}",
    "snapshot_share": lambda: tables.snapshot_share(_speed()),
    "norms": _norms,
    "attention": _attention,
    "attention_by_pair": _attention_by_pair,
    "bundled_accuracy": _bundled_accuracy,
    "int8": _int8,
}


def main():
    for path in PAGES:
        page = path.read_text(encoding="utf-8")
        filled = fill(page)
        if filled != page:
            storage.write_text(path, filled)
            print(f"Wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    run_main(main)
