"""Settings: defaults, bounds and the JSON form."""

import dataclasses

import pytest

from fast_weights.experiment.config import Config
from fast_weights.experiment.errors import CorruptFileError, UserError

FIELDS = dataclasses.fields(Config)


def other(number, field):
    """Returns a value of a setting that differs from its default and from all other values."""
    if field.metadata["choices"]:
        return list(field.metadata["choices"])[-1]
    if field.type is bool:
        return not field.default
    if field.type == str | None:
        return str(number)
    return number / 1000 if field.type is float else number


OTHERS = {field.name: other(number, field) for number, field in enumerate(FIELDS, start=100)}
# Sizes that go together.
OTHERS.update(num_pairs=12, sequence_length=50, vocabulary_size=26, warmup_steps=60)


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
    assert all(OTHERS[field.name] != field.default for field in FIELDS)
    config = Config(**OTHERS)
    assert Config.from_json(config.to_json()) == config
    assert Config.from_json('{"units": 4}') == Config(units=4)


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_bad_value_is_named(field):
    """Catches a missing lower bound or type, and an error that does not name the setting."""
    bad = [[], None if field.default is not None else 2.5]
    if field.metadata["choices"]:
        bad.append("other")
    elif field.metadata["low"] is not None:
        bad += [field.metadata["low"] - 1, True, "50"]
        bad += [float("nan")] if field.type is float else [2.5]
    for value in bad:
        with pytest.raises(UserError) as caught:
            Config(**{field.name: value})
        assert f"{field.name}={value!r}" in str(caught.value)


@pytest.mark.parametrize(
    "settings",
    [
        {"decay_rate": 1.01},
        {"fast_learning_rate": float("inf")},
        {"learning_rate": 0.0},
        {"max_gradient_norm": 0.0},
        {"num_pairs": 27},  # letters
        {"num_training": 127},  # less than one batch
        {"num_validation": 127},
        {"sequence_length": 9},  # of another task
        {"task": "multi-query-recall", "num_pairs": 33},  # half of the vocabulary
        {"task": "multi-query-recall", "vocabulary_size": 7},  # not even
        {"task": "multi-query-recall", "sequence_length": 13},  # not even
        {"task": "multi-query-recall", "sequence_length": 10},  # too short
        {"warmup_steps": 5},  # with a constant learning rate
        {"learning_rate_schedule": "cosine", "warmup_steps": 500_000},  # all updates
        {"num_test": 5},  # less than one batch
        {"model_name": "A-LSTM", "units": 15},  # two numbers make a complex one
    ],
    ids=str,
)
def test_settings_that_cannot_work_are_refused(settings):
    """Catches a missing bound, and a setting that is silently ignored or fails much later."""
    with pytest.raises(UserError):
        Config(**settings)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"unit": 3}', '{"units": 0}'])
def test_corrupt_json_is_refused(text):
    """Catches an error of the parser that would end a script with a traceback."""
    with pytest.raises(UserError) as caught:
        Config.from_json(text)
    assert isinstance(caught.value, CorruptFileError) == (text != '{"units": 0}')


def test_differences_leave_out_the_number_of_epochs():
    """Catches a resume that is refused because it trains longer, and a rate that jumps."""
    cosine = Config(learning_rate_schedule="cosine")
    assert cosine.differences(dataclasses.replace(cosine, num_epochs=3)) == ["num_epochs"]
    expected = [name for name in OTHERS if name != "num_epochs"]
    assert Config().differences(Config(**OTHERS)) == expected
