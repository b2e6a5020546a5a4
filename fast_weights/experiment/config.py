"""The settings of a run: defaults, bounds, help texts and their JSON form.

`Config` defines every setting. The scripts make their flags from its fields, and a run
directory keeps it in `config.json`.
"""

import dataclasses
import json
from typing import Any

from fast_weights import defaults
from fast_weights.experiment import paper
from fast_weights.experiment.errors import CorruptFileError, UserError, option
from fast_weights.experiment.models import MODELS
from fast_weights.experiment.tasks import TASKS, Task, make_task

NETWORKS = ("blog", "paper")
# Ways to share a batch among devices. Not a setting: a run can change from one to another.
STRATEGIES = ("off", "mirrored", "multi_worker_mirrored")
# Epochs between two TensorBoard snapshots. At 50, they take 1% to 3% of the time
# (`python -m benchmarks.training_speed`).
SUMMARY_EVERY = 50


def _setting(default: Any, help: str, *, low=None, high=None, choices=None):
    """Returns a dataclass field that carries its help text and its bounds, which are inclusive.

    Args:
        default: the default of the field.
        help: the text for `--help`.
        low, high: the bounds of a number.
        choices: the values of a string.
    """
    metadata = {"help": help, "low": low, "high": high, "choices": choices}
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class Config:
    """Every setting that decides what a run computes.

    The defaults are the original's. `with_defaults` gives those of the network in use. In a clone,
    `python train.py --help` lists each setting with its bounds. Directories are not settings: the
    same configuration in another directory is the same run.

    Raises:
        UserError: if a value has the wrong type or is out of bounds.

    Example:

    >>> Config(model_name="GRU-LN", num_pairs=4).make_task().length
    11
    """

    model_name: str = _setting("RNN-LN-FW", "name of the model", choices=MODELS)
    task: str = _setting("associative-retrieval", "name of the task", choices=TASKS)
    num_epochs: int = _setting(1000, "passes over the training sequences", low=1)
    batch_size: int = _setting(128, "sequences per update", low=1)
    units: int = _setting(50, "H, hidden size", low=1)
    inner_steps: int = _setting(
        defaults.INNER_STEPS, "S, steps of the inner loop (RNN-LN-FW)", low=0
    )
    decay_rate: float = _setting(
        defaults.DECAY_RATE,
        "lambda, share of the fast weights kept at each step (RNN-LN-FW)",
        low=0,
        high=1,
    )
    fast_learning_rate: float = _setting(
        defaults.FAST_LEARNING_RATE,
        "eta, strength of a write to the fast weights (RNN-LN-FW)",
        low=0,
        high=1e6,
    )
    epsilon: float = _setting(
        defaults.EPSILON, "added to the variance in layer normalization", low=0, high=1
    )
    recurrence: str = _setting(
        defaults.RECURRENCES[0],
        "RNN-LN-FW as in the blog's code or in the paper",
        choices=defaults.RECURRENCES,
    )
    normalization: str = _setting(
        defaults.NORMALIZATIONS[0],
        "normalization of RNN-LN-FW: over the units of each example (layer), over the batch as in "
        "the blog's listing (batch), or none",
        choices=defaults.NORMALIZATIONS,
    )
    gates: str = _setting(defaults.GATES[0], "update gate of GRU-LN", choices=defaults.GATES)
    learning_rate: float = _setting(1e-4, "learning rate of Adam", low=1e-10, high=10)
    max_gradient_norm: float = _setting(
        5.0, "global norm that gradients are clipped to", low=1e-10, high=1e10
    )
    num_pairs: int = _setting(3, "K, key-value pairs in a sequence", low=1)
    sequence_length: int | None = _setting(
        None, "T, symbols in a sequence (multi-query-recall); default: four per pair", low=1
    )
    vocabulary_size: int | None = _setting(
        None, "V, keys and values in all (multi-query-recall); default: 64", low=2, high=2**16
    )
    num_training: int = _setting(64_000, "training sequences", low=1)
    num_validation: int = _setting(32_000, "validation sequences", low=1)
    seed: int = _setting(
        0,
        "seed of the initial weights and of shuffling, and of the sequences unless --data_seed is "
        "given",
        low=0,
        high=2**32 - 1,
    )
    data_seed: int | None = _setting(
        None, "seed of the sequences; default: the value of --seed", low=0, high=2**32 - 1
    )
    shuffle: bool = _setting(False, "shuffle the training sequences in every epoch")
    network: str = _setting(
        "blog",
        "layers around the recurrent one: blog (none but the logits) or paper (an embedding, and "
        "100 ReLUs before and after)",
        choices=NETWORKS,
    )
    learning_rate_schedule: str = _setting(
        "constant",
        "constant, or cosine: down to 0 at the end of the run",
        choices=("constant", "cosine"),
    )
    warmup_steps: int = _setting(
        0, "updates in which the learning rate rises from 0 (cosine)", low=0
    )
    weight_decay: float = _setting(
        0.0,
        "AdamW's weight decay, except of biases and gains",
        low=0,
        high=1e3,
    )
    num_test: int = _setting(0, "test sequences", low=0)
    init_from: str | None = _setting(
        None, "directory of another run; training starts with its newest weights"
    )

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type is float and type(value) is int:
                value = float(value)
                object.__setattr__(self, field.name, value)
            _check(field, value)
        for name in ("num_training", "num_validation", "num_test"):
            size = getattr(self, name)
            if size < self.batch_size and not (name == "num_test" and size == 0):
                raise UserError(
                    f"`{name}` must be at least `batch_size`, so that there is one full batch. "
                    f"Received: {name}={size}, batch_size={self.batch_size}"
                )
        if self.model_name == "A-LSTM" and self.units % 2:
            raise UserError(
                "`units` must be even for A-LSTM, because two numbers make a complex one. "
                f"Received: units={self.units}"
            )
        self._check_schedule()
        self.make_task()

    def _check_schedule(self) -> None:
        """Raises a `UserError` if the warm-up does not fit the schedule or the run."""
        if self.warmup_steps and self.learning_rate_schedule == "constant":
            raise UserError(
                f"`warmup_steps` applies only to {option('learning_rate_schedule', 'cosine')}. "
                f"Omit it, or choose that schedule. Received: warmup_steps={self.warmup_steps}"
            )
        if self.learning_rate_schedule == "cosine" and self.warmup_steps >= self.num_updates:
            raise UserError(
                f"`warmup_steps` must be less than the {self.num_updates:,} updates of the run. "
                f"Lower it, or train for more epochs. Received: warmup_steps={self.warmup_steps}"
            )

    @classmethod
    def with_defaults(cls, **settings: Any) -> "Config":
        """Returns a configuration whose other settings are the defaults of its network.

        Raises:
            TypeError: if a setting is unknown.
            UserError: if a value has the wrong type or is out of bounds.

        Example:

        >>> Config.with_defaults(network="paper", units=20).num_test
        20000
        """
        defaults = _defaults_of(settings.get("network", "blog"))
        if settings.get("learning_rate_schedule") == "constant":
            defaults["warmup_steps"] = 0
        return cls(**{**defaults, **settings})

    @property
    def num_updates(self) -> int:
        """The number of updates of the whole run."""
        return self.num_epochs * (self.num_training // self.batch_size)

    def make_task(self) -> Task:
        """Returns the task, which defines the vocabulary and the length of the sequences.

        Raises:
            UserError: if a setting belongs to another task, or is invalid for this one.
        """
        return make_task(self)

    def to_json(self) -> str:
        """Returns the settings as a JSON object."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Config":
        """Returns the configuration that `to_json` wrote. A missing setting gets its default.

        Raises:
            CorruptFileError: if the text is not a JSON object of known settings.
            UserError: if a value has the wrong type or is out of bounds.
        """
        try:
            return cls(**json.loads(text))
        except UserError:
            raise
        except (TypeError, ValueError) as error:
            raise CorruptFileError(f"expected settings as a JSON object: {error}") from None

    def changes(self) -> dict[str, Any]:
        """Returns the settings that differ from the defaults of the network, and the network.

        The model, the seed and the number of epochs are left out.
        """
        found = {} if self.network == "blog" else {"network": self.network}
        for name, value in _defaults_of(self.network).items():
            if name not in ("model_name", "seed", "num_epochs") and getattr(self, name) != value:
                found.setdefault(name, getattr(self, name))
        return found

    def differences(self, other: "Config") -> list[str]:
        """Returns the names of the settings that differ and change what an epoch computes.

        `num_epochs` is one of them only if the learning rate depends on it.
        """
        ignored = "num_epochs" if self.learning_rate_schedule == "constant" else ""
        return [
            field.name
            for field in dataclasses.fields(self)
            if field.name != ignored and getattr(self, field.name) != getattr(other, field.name)
        ]


def _defaults_of(network: str) -> dict[str, Any]:
    """Returns the default of every setting with a network."""
    defaults = {field.name: field.default for field in dataclasses.fields(Config)}
    return defaults | (paper.SETTINGS if network == "paper" else {"network": network})


def _check(field: dataclasses.Field, value: Any) -> None:
    """Raises a `UserError` unless `value` has the field's type and is within its bounds."""
    low, high, choices = (field.metadata[name] for name in ("low", "high", "choices"))
    kind: Any = field.type
    if not isinstance(value, kind) or (type(value) is bool and kind is not bool):
        expected = f"of type {getattr(kind, '__name__', kind)}"
    elif value is None:
        return
    elif choices and value not in choices:
        expected = f"one of {', '.join(choices)}"
    elif (low is not None and not value >= low) or (high is not None and not value <= high):
        expected = f"at least {low}" if high is None else f"from {low} to {high}"
    else:
        return
    raise UserError(f"`{field.name}` must be {expected}. Received: {field.name}={value!r:.80}")
