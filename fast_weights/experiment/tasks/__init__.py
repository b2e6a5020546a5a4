"""The tasks: `TASKS` maps the name of each task to its class.

This package needs only NumPy.
"""

import dataclasses
from typing import TYPE_CHECKING

from fast_weights.experiment.errors import UserError, option
from fast_weights.experiment.tasks.associative_retrieval import AssociativeRetrieval
from fast_weights.experiment.tasks.base import NO_ANSWER, Split, Splits, Task, batches
from fast_weights.experiment.tasks.multi_query_recall import MultiQueryRecall

if TYPE_CHECKING:
    from fast_weights.experiment.config import Config

__all__ = ["NO_ANSWER", "TASKS", "Split", "Splits", "Task", "batches", "make_task"]

TASKS = {
    "associative-retrieval": AssociativeRetrieval,
    "multi-query-recall": MultiQueryRecall,
}


def make_task(config: "Config") -> Task:
    """Returns the task of a configuration.

    Raises:
        UserError: if a setting belongs to another task, or is invalid for this one.
    """
    task = TASKS[config.task]
    defaults = {field.name: field.default for field in dataclasses.fields(config)}
    for name in {name for other in TASKS.values() for name in other.settings}:
        value = getattr(config, name)
        if name not in task.settings and value != defaults[name]:
            owners = [one for one, other in TASKS.items() if name in other.settings]
            raise UserError(
                f"`{name}` applies only to {', '.join(owners)}. Omit it, or choose another "
                f"{option('task')}. Received: {name}={value}, task={config.task}"
            )
    return task(config)
