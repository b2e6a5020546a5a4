"""Bounds and the JSON form of a configuration."""

import dataclasses
import json

import pytest

from fast_weights import files
from fast_weights.config import Config
from fast_weights.errors import UserError


def test_defaults_are_the_originals():
    config = Config()
    assert (config.num_epochs, config.batch_size, config.units) == (1000, 128, 50)
    assert (config.decay_rate, config.fast_learning_rate, config.inner_steps) == (0.95, 0.5, 1)
    assert (config.learning_rate, config.max_gradient_norm) == (1e-4, 5.0)
    assert (config.num_training, config.num_validation) == (64_000, 32_000)
    assert (config.num_pairs, config.sequence_length, config.shuffle) == (3, 9, False)


def test_json_keeps_every_setting():
    """A setting that is dropped on its way to disk and back."""
    config = Config(
        model_name="GRU-LN",
        num_epochs=2,
        batch_size=3,
        units=4,
        inner_steps=5,
        decay_rate=0.6,
        fast_learning_rate=0.7,
        epsilon=0.8,
        recurrence="paper",
        gates="standard",
        learning_rate=0.9,
        max_gradient_norm=1.1,
        num_pairs=12,
        num_training=13,
        num_validation=14,
        seed=15,
        shuffle=True,
    )
    defaults = dataclasses.asdict(Config())
    assert all(defaults[name] != value for name, value in dataclasses.asdict(config).items())
    assert Config.from_json(config.to_json()) == config


def test_earlier_formats_are_read():
    """Checkpoints of theirs that are refused: the first knew one recurrence, none a checksum."""
    values = json.loads(Config(units=7).to_json())
    del values["recurrence"], values["checksum"]
    assert Config.from_json(json.dumps({**values, "version": 1})) == Config(units=7)
    second = {**values, "version": 2, "recurrence": "paper"}
    assert Config.from_json(json.dumps(second)) == Config(units=7, recurrence="paper")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model_name", "LSTM"),
        ("num_epochs", 0),
        ("batch_size", -1),
        ("units", 0),
        ("units", 2.5),
        ("units", True),
        ("inner_steps", -1),
        ("recurrence", "blog"),
        ("decay_rate", 1.01),
        ("decay_rate", float("nan")),
        ("fast_learning_rate", -0.1),
        ("fast_learning_rate", float("inf")),
        ("epsilon", -1e-9),
        ("gates", "both"),
        ("learning_rate", 0.0),
        ("max_gradient_norm", 0.0),
        ("num_pairs", 27),
        ("num_training", 127),
        ("seed", -1),
        ("shuffle", "yes"),
    ],
)
def test_bad_values_are_named(name, value):
    with pytest.raises(UserError) as caught:
        Config(**{name: value})
    assert f"`{name}` must be" in str(caught.value)
    assert f"Received: {name}={value!r}" in str(caught.value)


def newer(config):
    """What a version to come may write."""
    values = {**json.loads(config.to_json()), "version": 99}
    del values["checksum"]
    return json.dumps({**values, "checksum": files.checksum(values)})


FIRST = {
    "version": 1,
    **{name: value for name, value in dataclasses.asdict(Config()).items() if name != "recurrence"},
}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not a configuration in JSON"),
        ("[]", "expected a JSON object"),
        ("{}", "version=None"),
        (json.dumps({"version": 4}), "newer ones. Received: version=4"),
        (newer(Config()), "newer ones. Received: version=99"),
        (newer(Config()).replace("50", "51"), "checksum"),
        (json.dumps({"version": "3"}), "version='3'"),
        (json.dumps({"version": 3}), "checksum"),
        ("[" * 100_000, "too deeply nested"),
        (json.dumps({**FIRST, "units": 10**400}), "`units` must be from 1 to 10000"),
        (json.dumps({**FIRST, "epsilon": 10**400}), "`epsilon` must be of type float"),
        (json.dumps({**FIRST, "units": "5" * 5_000}), "..."),
        (json.dumps({**FIRST, "units": "50"}), "Received: units='50'"),
        (json.dumps({"version": 1, "unit": 3}), "unknown settings: ['unit']"),
        (Config().to_json().replace("50", "51"), "does not agree with its checksum"),
    ],
)
def test_bad_json_is_refused(text, words):
    with pytest.raises(UserError) as caught:
        Config.from_json(text)
    assert words in str(caught.value)
