"""Settings: defaults, bounds and the JSON form."""

import dataclasses

import pytest

from fast_weights.experiment.config import Config
from fast_weights.experiment.errors import CorruptFileError, UserError

# A value of each setting that differs from its default and from all other values.
OTHERS = {
    "model_name": "GRU-LN",
    "task": "multi-query-recall",
    "num_epochs": 2,
    "batch_size": 3,
    "units": 4,
    "inner_steps": 5,
    "decay_rate": 0.6,
    "fast_learning_rate": 0.7,
    "epsilon": 0.8,
    "recurrence": "paper",
    "normalization": "batch",
    "gates": "standard",
    "learning_rate": 0.9,
    "max_gradient_norm": 1.1,
    "num_pairs": 12,
    "sequence_length": 50,
    "vocabulary_size": 26,
    "num_training": 13,
    "num_validation": 14,
    "seed": 15,
    "data_seed": 16,
    "shuffle": True,
    "network": "paper",
    "learning_rate_schedule": "cosine",
    "warmup_steps": 1,
    "weight_decay": 0.25,
    "num_test": 17,
}


def test_defaults_are_those_of_the_original():
    """Catches a default that makes a run differ from the original."""
    config = Config()
    assert (config.num_epochs, config.batch_size, config.units) == (1000, 128, 50)
    assert (config.decay_rate, config.fast_learning_rate, config.inner_steps) == (0.95, 0.5, 1)
    assert (config.learning_rate, config.max_gradient_norm) == (1e-4, 5.0)
    assert (config.num_training, config.num_validation) == (64_000, 32_000)
    assert (config.task, config.num_pairs, config.shuffle) == ("associative-retrieval", 3, False)
    assert config.make_task().length == 9


def test_json_keeps_every_setting():
    """Catches a setting that is lost on the way to disk and back."""
    defaults = dataclasses.asdict(Config())
    assert defaults.keys() == OTHERS.keys()
    assert all(defaults[name] != value for name, value in OTHERS.items())
    config = Config(**OTHERS)
    assert Config.from_json(config.to_json()) == config
    assert Config.from_json('{"units": 4}') == Config(units=4)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model_name", "RNN"),
        ("task", "recall"),
        ("num_epochs", 0),
        ("batch_size", -1),
        ("units", 0),
        ("units", 2.5),
        ("units", True),
        ("units", "50"),
        ("inner_steps", -1),
        ("recurrence", "blog"),
        ("decay_rate", 1.01),
        ("decay_rate", float("nan")),
        ("fast_learning_rate", -0.1),
        ("fast_learning_rate", float("inf")),
        ("epsilon", -1e-9),
        ("epsilon", None),
        ("gates", "both"),
        ("learning_rate", 0.0),
        ("max_gradient_norm", 0.0),
        ("num_pairs", 0),
        ("num_pairs", 27),
        ("num_training", 127),  # less than one batch
        ("num_validation", 127),
        ("seed", -1),
        ("data_seed", -1),
        ("data_seed", True),
        ("sequence_length", 9),  # of another task
        ("vocabulary_size", 64),
        ("shuffle", "yes"),
    ],
)
def test_bad_value_is_named(name, value):
    """Catches a missing bound, and an error that does not say which setting is wrong."""
    with pytest.raises(UserError) as caught:
        Config(**{name: value})
    assert f"{name}={value!r}" in str(caught.value)


@pytest.mark.parametrize(
    "settings",
    [
        {"warmup_steps": 5},  # with a constant learning rate
        {"learning_rate_schedule": "cosine", "warmup_steps": 500_000},  # all updates
        {"num_test": 5},  # less than one batch
        {"model_name": "A-LSTM", "units": 15},  # two numbers make a complex one
    ],
    ids=str,
)
def test_settings_that_do_not_go_together_are_refused(settings):
    """Catches a setting that is silently ignored, or that fails after the compilation."""
    with pytest.raises(UserError):
        Config(**settings)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"unit": 3}', '{"units": 0}'])
def test_corrupt_json_is_refused(text):
    """Catches an error of the parser that would end a script with a traceback."""
    with pytest.raises(UserError) as caught:
        Config.from_json(text)
    assert isinstance(caught.value, CorruptFileError) == (text != '{"units": 0}')


def test_differences_leave_out_the_number_of_epochs():
    """Catches a resume that is refused because it trains longer."""
    expected = [name for name in OTHERS if name != "num_epochs"]
    assert Config().differences(Config(**OTHERS)) == expected
