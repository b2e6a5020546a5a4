"""A page where one types a sequence and watches the memory, in one file that makes no request."""

import base64
import json
import pathlib
import re

import keras
import numpy as np

from fast_weights.experiment.config import Config
from fast_weights.experiment.models import layer_inputs
from fast_weights.experiment.plots import style

SOURCES = pathlib.Path(__file__).parent / "explore"
# The scripts in the order in which the page runs them: each one uses those before it.
SCRIPTS = (
    *("network", "sequences", "state", "draw", "guess", "writing", "cell"),
    *("reading", "answer", "experiments", "background", "networks", "page"),
)
MAX_BYTES = 170_000  # of the networks
# The arguments of the cell, by their names in JavaScript.
SETTINGS = {
    "innerSteps": "inner_steps",
    "decayRate": "decay_rate",
    "fastLearningRate": "fast_learning_rate",
    "epsilon": "epsilon",
    "recurrence": "recurrence",
    "normalization": "normalization",
}


def network_data(model: keras.Model, config: Config, label: str) -> dict:
    """Returns a network as the page reads it: its settings, and its weights as base64 float32.

    Args:
        model: an RNN-LN-FW, from tokens to logits, for associative retrieval.
        config: its settings.
        label: what the page calls it, such as `"trained"`.
    """
    task, layer = config.make_task(), model.get_layer("rnn")
    # The input of a step depends only on its symbol, so the layers before A become one table.
    symbols, _ = layer_inputs(model, task, np.arange(len(task.vocabulary))[None])
    names = [one.name for one in model.layers]
    return {
        "label": label,
        "units": config.units,
        "settings": {name: getattr(config, field) for name, field in SETTINGS.items()},
        "numPairs": config.num_pairs,
        "inputs": _encode(layer.cell.project(symbols)[0]),
        "recurrentKernel": _encode(layer.cell.recurrent_kernel),
        "gamma": _encode(layer.cell.gamma),
        "beta": _encode(layer.cell.beta),
        "head": [
            {
                "kernel": _encode(dense.kernel),
                "bias": _encode(dense.bias),
                "relu": dense.activation is keras.activations.relu,
            }
            for dense in model.layers[names.index("rnn") + 1 :]
        ],
    }


def _encode(weights) -> str:
    """Returns weights as base64 of little-endian float32. Without normalization, there are none."""
    values = () if weights is None else keras.ops.convert_to_numpy(weights)
    return base64.b64encode(np.asarray(values, "<f4").tobytes()).decode()


def write_page(
    networks: list[dict], sample: str, caption: str, path: str | pathlib.Path
) -> pathlib.Path:
    """Writes the page. Returns the path of the file.

    Args:
        networks: the results of `network_data`. The first one is the network of the page; the last
            part compares it with the others, of which it has one if they are large.
        sample: the sequence that the page starts with.
        caption: of the first one, such as `"RNN-LN-FW, seed 0"`.
        path: of the file to write. Its directory is created if it is missing.
    """
    # The bundled network for comparison is left out where the page would load slowly with it.
    if sum(len(json.dumps(one)) for one in networks) > MAX_BYTES:
        networks = networks[:2]
    data = {"sample": sample, "caption": caption, "networks": networks}
    parts = {
        "STYLE": _shorten(_read("style.css")),
        # "</" would end the script.
        "DATA": json.dumps(data, ensure_ascii=False).replace("</", "<\\/"),
        "SCRIPT": "\n".join(_as_script(_read(f"{name}.js")) for name in SCRIPTS),
    }
    page = re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _shorten(_read("page.html")))
    return style.write(path, lambda file, format: file.write(page.encode()))


def _read(name: str) -> str:
    """Returns the text of a source file."""
    return (SOURCES / name).read_text(encoding="utf-8")


def _as_script(module: str) -> str:
    """Returns a module without `import` and `export`: a page without requests has one script."""
    module = re.sub(r"^import [^;]*;\n", "", module, flags=re.MULTILINE)
    return _shorten(re.sub(r"^export ", "", module, flags=re.MULTILINE))


def _shorten(source: str) -> str:
    """Returns a source without indentation and without lines that are comments."""
    lines = map(str.strip, source.splitlines())
    return "\n".join(line for line in lines if line and not re.match(r"//|/\*.*\*/$", line))
