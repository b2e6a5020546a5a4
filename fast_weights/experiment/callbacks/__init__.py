"""Keras callbacks for `fit`, each of use alone."""

from fast_weights.experiment.callbacks.checkpoint import Checkpoint
from fast_weights.experiment.callbacks.checks import CheckFinite, StopAtAccuracy
from fast_weights.experiment.callbacks.evaluate_test import EvaluateTest
from fast_weights.experiment.callbacks.progress import ProgressTable
from fast_weights.experiment.callbacks.records import Records
from fast_weights.experiment.callbacks.tensorboard import TensorBoard

__all__ = [
    "CheckFinite",
    "Checkpoint",
    "EvaluateTest",
    "ProgressTable",
    "Records",
    "StopAtAccuracy",
    "TensorBoard",
]
