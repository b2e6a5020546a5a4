"""The settings of a run: defaults, bounds, help texts and their JSON form.

`Config` is the one place that knows a setting. `train.py` makes its flags from
the fields below, `checkpoints` stores them beside the weights, and nothing
downstream asks for a setting again.
"""

import dataclasses
import json
import math
from typing import Any

from fast_weights import files
from fast_weights.errors import MismatchError, UserError

MODEL_NAMES = ("RNN-LN-FW", "RNN-LN", "CONTROL", "GRU-LN")
RECURRENCES = ("original", "paper")
GATES = ("original", "standard")
MAX_EPOCHS = 10**6
# Epochs between two looks of TensorBoard, which cost 2 to 3 % of the time then
# (`python -m benchmarks.training_speed`).
SUMMARY_EVERY = 50
# Format 2 had no checksum; format 1 besides knew one recurrence.
FORMAT_VERSION = 3


def _setting(default: Any, help: str, *, low=None, high=math.inf, above=None, choices=None):
    """A dataclass field that carries its help text and its bounds.

    A number has `high` and either `low`, inclusive, or `above`, exclusive; `choices`
    lists the only values of a word. The upper bounds lie far beyond what is of use, and
    below what no machine can hold.
    """
    if choices:
        bound = "one of " + ", ".join(choices)
    elif isinstance(default, bool):
        bound = ""
    elif above is not None:
        bound = f"greater than {above} and at most {high}"
    else:
        bound = f"from {low} to {high}"
    metadata = {
        "help": help,
        "low": -math.inf if low is None else low,
        "high": high,
        "above": -math.inf if above is None else above,
        "choices": choices,
        "bound": bound,
    }
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that decides what a run computes.

    The defaults are the original's; `python train.py --help` says what each setting is, with
    its bounds. Paths are not settings: the same configuration in another folder is the same
    run.

    Raises:
        UserError: if a value is of the wrong type or out of its bounds.

    Example:

    >>> Config(model_name="GRU-LN", units=20).sequence_length
    9
    """

    model_name: str = _setting("RNN-LN-FW", "which of the four models", choices=MODEL_NAMES)
    num_epochs: int = _setting(1000, "passes over the training sequences", low=1, high=MAX_EPOCHS)
    batch_size: int = _setting(128, "sequences a step", low=1, high=10**6)
    units: int = _setting(50, "H, hidden size", low=1, high=10**4)
    inner_steps: int = _setting(1, "S, steps of the inner loop (RNN-LN-FW)", low=0, high=100)
    decay_rate: float = _setting(
        0.95, "lambda, share of the fast weights kept at each step (RNN-LN-FW)", low=0, high=1
    )
    fast_learning_rate: float = _setting(
        0.5, "eta, strength of a write to the fast weights (RNN-LN-FW)", low=0, high=1000
    )
    epsilon: float = _setting(1e-5, "added to layer normalization's variance", low=0, high=1)
    recurrence: str = _setting(
        "original", "what is written to the fast weights (RNN-LN-FW)", choices=RECURRENCES
    )
    gates: str = _setting("original", "GRU-LN's update gate", choices=GATES)
    learning_rate: float = _setting(1e-4, "Adam's learning rate", above=0, high=10)
    max_gradient_norm: float = _setting(
        5.0, "global norm that gradients are clipped to", above=0, high=10**6
    )
    num_pairs: int = _setting(3, "K, key-value pairs in a sequence", low=1, high=26)
    num_training: int = _setting(64_000, "training sequences", low=1, high=10**7)
    num_validation: int = _setting(32_000, "validation sequences", low=1, high=10**7)
    seed: int = _setting(0, "decides data, initial weights and order", low=0, high=2**32 - 1)
    shuffle: bool = _setting(False, "draw a new order of the training sequences each epoch")

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            # A whole number is a fine value for a float setting.
            if field.type is float and type(value) is int and abs(value) < 2**53:
                object.__setattr__(self, field.name, float(value))
        check_settings(dataclasses.asdict(self))

    @property
    def sequence_length(self) -> int:
        """T = 2K + 3: the pairs, two question marks, the query."""
        return 2 * self.num_pairs + 3

    def to_json(self) -> str:
        """The settings, the format version and a checksum as a JSON object."""
        values = {"version": FORMAT_VERSION, **dataclasses.asdict(self)}
        return json.dumps({**values, "checksum": files.checksum(values)}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Config":
        """Reads what `to_json` wrote.

        Raises:
            MismatchError: if it is of a newer version.
            UserError: if the text is not such an object, or is not what was written.
        """
        try:
            values = files.parse_json(text)
        except ValueError as error:
            raise UserError(f"not a configuration in JSON: {error}") from None
        if not isinstance(values, dict):
            raise UserError(f"expected a JSON object. Received: {type(values).__name__}")
        version = values.get("version")
        if type(version) is not int or version < 1:
            raise UserError(
                f"expected a format of 1 or more. Received: version={_excerpt(version)}"
            )
        is_newer = version > FORMAT_VERSION
        checksum = values.pop("checksum", None)
        # A newer version may have none, as the first two had.
        is_signed = version == FORMAT_VERSION or checksum is not None
        if is_signed and checksum != files.checksum(values):
            raise UserError("it does not agree with its checksum: it was edited, or is broken")
        if is_newer:
            raise MismatchError(
                f"expected configuration format 1 to {FORMAT_VERSION}; a newer version of this "
                f"project reads newer ones. Received: version={_excerpt(version)}"
            )
        if version == 1:
            values["recurrence"] = "original"
        del values["version"]
        names = {field.name for field in dataclasses.fields(cls)}
        if values.keys() != names:
            raise UserError(
                f"missing settings: {_excerpt(sorted(names - values.keys()))}; "
                f"unknown settings: {_excerpt(sorted(values.keys() - names))}"
            )
        return cls(**values)


def check_settings(settings: dict[str, Any]) -> None:
    """Raises a `UserError` unless each value, of some settings or all, is one that it may have."""
    for field in dataclasses.fields(Config):
        if field.name in settings:
            _check(field, settings[field.name])
    batch_size = settings.get("batch_size", 1)
    for name in ("num_training", "num_validation"):
        if settings.get(name, batch_size) < batch_size:
            raise UserError(
                f"`{name}` must be at least `batch_size`, or no batch is whole. "
                f"Received: {name}={settings[name]}, batch_size={batch_size}"
            )


def _check(field: dataclasses.Field, value: Any) -> None:
    """Raises a `UserError` unless `value` is of the field's type and within its bounds."""
    name, limits = field.name, field.metadata
    if type(value) is not field.type:
        bound = f", {limits['bound']}" if limits["bound"] else ""
        raise UserError(
            f"`{name}` must be of type {field.type.__name__}{bound}. "
            f"Received: {name}={_excerpt(value)}"
        )
    if limits["choices"]:
        good = value in limits["choices"]
    elif field.type is bool:
        good = True
    else:
        good = limits["low"] <= value <= limits["high"] and limits["above"] < value
    if not good:
        raise UserError(f"`{name}` must be {limits['bound']}. Received: {name}={_excerpt(value)}")


def _excerpt(value: Any) -> str:
    """The value as Python writes it, cut where it is long."""
    text = ascii(value)
    return text if len(text) <= 100 else text[:100] + "..."
