"""The parts of the pages that the bundled weights of RNN-LN-FW give."""

import contextlib
import functools
import io
import os
import pathlib
import re
import tempfile

import keras
import numpy as np

from benchmarks.runs import ROOT
from benchmarks.tables import part, table
from fast_weights import trace_memory
from fast_weights.experiment import dataset
from fast_weights.experiment.checkpoint import load_model
from fast_weights.experiment.config import Config
from fast_weights.experiment.evaluation import evaluate, mean_attention
from fast_weights.experiment.models import build_model, layer_inputs
from fast_weights.experiment.run_dir import PRETRAINED_DIR, RunDirectory

TASK = Config().make_task()
SAMPLE = TASK.default_sample


@functools.cache
def _bundled():
    """Returns RNN-LN-FW with the bundled weights, and its configuration."""
    return load_model(RunDirectory(PRETRAINED_DIR / "blog", "RNN-LN-FW"))


@part("norms")
def _norms():
    """Returns the norm of the vector written at each symbol."""
    trained, config = _bundled()
    rows = []
    for name, model in {"trained": trained, "untrained": build_model(config)}.items():
        symbols, _ = layer_inputs(model, TASK, TASK.encode_sample(SAMPLE)[None])
        written = trace_memory(model.get_layer("rnn"), symbols).written
        norms = np.linalg.norm(written[0], axis=-1)
        rows.append([name, *(f"{norm:.2f}" for norm in norms)])
    return table(["norm of v", *SAMPLE], rows)


def printed_by(page: str, text: str) -> str:
    """Returns what the Python block of a page that contains a text prints, as a block."""
    content = (ROOT / "docs" / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", content, re.DOTALL | re.MULTILINE)
    (block,) = (block for block in blocks if text in block)
    stream, here = io.StringIO(), pathlib.Path.cwd()
    with tempfile.TemporaryDirectory() as directory, contextlib.redirect_stdout(stream):
        os.chdir(directory)  # without checkpoints, so that the block uses the bundled weights
        try:
            exec(block, {"keras": keras})
        finally:
            os.chdir(here)
    return f"```\n{stream.getvalue()}```"


part("attention")(lambda: printed_by("examples.md", "trace_memory(trained"))
part("int8")(lambda: printed_by("export.md", '"int8.tflite"'))


@part("attention_by_pair")
def _attention_by_pair():
    """Returns how much the query reads of its pair's digit, mean over the validation set."""
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


@part("bundled_accuracy")
def _bundled_accuracy():
    model, config = _bundled()
    accuracy = evaluate(model, config, dataset.generate(config).validation)["accuracy"]
    return f"{accuracy:.3%}"
