"""`train`: data, model, `fit` and callbacks."""

import contextlib
import dataclasses
import logging
import math
import pathlib
from collections.abc import Sequence

import keras

from fast_weights.experiment import callbacks as ours
from fast_weights.experiment import checkpoint, dataset, results
from fast_weights.experiment.blocks import (
    BlockModel,
    evaluation_block,
    num_blocks,
    training_blocks,
)
from fast_weights.experiment.config import SUMMARY_EVERY, Config
from fast_weights.experiment.distribution import (
    Replicas,
    ReplicatedModel,
    connect,
    device_name,
)
from fast_weights.experiment.errors import UserError
from fast_weights.experiment.models import build_model
from fast_weights.experiment.results import EpochRecord
from fast_weights.experiment.run_dir import RunDirectory, check_same_run
from fast_weights.experiment.workers import failures

logger = logging.getLogger(__name__)


def train(
    config: Config,
    run_dir: RunDirectory | None = None,
    data_dir: str | pathlib.Path = "data",
    *,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    metrics: Sequence[keras.metrics.Metric] = (),
    progress: bool = False,
    restart: bool = False,
    summary_every: int = SUMMARY_EVERY,
    stop_at_accuracy: float = math.inf,
    distribution_strategy: str = "off",
    num_devices: int | None = None,
) -> list[EpochRecord]:
    """Trains a model up to `config.num_epochs`, from its last checkpoint if there is one.

    Args:
        config: the settings. To resume a run, all except `num_epochs` must be those of the
            run (`resolve_config` returns them).
        run_dir: the directory of checkpoints, results and TensorBoard events. Default: that of
            the model and the seed in `checkpoints/`.
        data_dir: the directory of the sequences, which are generated if they are missing.
        callbacks: Keras callbacks. At the end of an epoch, they are called before the checkpoint
            is saved. `on_train_batch_end` is called after each block of batches, about a tenth of
            an epoch. Checkpoints do not include the state of callbacks. With several workers,
            each worker calls the callbacks.
        metrics: Keras metrics of targets and logits, in addition to loss and accuracy. They appear
            in the logs of the callbacks. They cannot be used with several devices.
        progress: whether to print a table with a row for each epoch. Default `False`.
        restart: whether to move an earlier run in `run_dir` to `previous/` and start over.
        summary_every: number of epochs between two TensorBoard snapshots of the weights and
            the memory. Snapshots are also written before training and at the end.
        stop_at_accuracy: a fraction. Training ends after an epoch with at least this validation
            accuracy. Default: only `num_epochs` ends it.
        distribution_strategy: `"off"`, one device; `"mirrored"`, all GPUs of this machine or
            virtual devices of its CPU; `"multi_worker_mirrored"`, the workers of the cluster that
            `TF_CONFIG` or Slurm describes. Each batch is divided among the devices.
        num_devices: the number of virtual devices with `"mirrored"`. Default: all GPUs.

    Returns:
        The records of all epochs, including those before an interruption. A worker other than the
        chief writes no files and returns an empty list.

    Raises:
        OSError: if a file cannot be read or written.
        UserError: if a file is corrupt, if another process trains in `run_dir`, if the settings
            are not those of the run to resume, if its checkpoints are missing, if the loss or a
            weight is not finite, if Keras's backend is not TensorFlow, or if another worker
            cannot be reached or stops.
    """
    if keras.config.backend() != "tensorflow":
        raise UserError(
            "training needs Keras's TensorFlow backend. Set KERAS_BACKEND=tensorflow before Keras "
            "is imported; in a notebook, restart the kernel first. Received: the backend "
            f"{keras.config.backend()}"
        )
    checkpoint.check_float32()
    if metrics and distribution_strategy != "off":
        raise UserError(
            "`metrics` cannot be used with several devices. Omit it, or train on one device. "
            f"Received: distribution_strategy={distribution_strategy!r}"
        )
    run_dir = run_dir or RunDirectory("checkpoints", config.model_name, config.seed)
    splits = dataset.load_or_generate(data_dir, config)
    agreed = {**dataclasses.asdict(config), "stop_at_accuracy": stop_at_accuracy}
    replicas = connect(distribution_strategy, num_devices, agreed, splits)
    is_chief = replicas is None or replicas.is_chief
    with contextlib.ExitStack() as stack:
        if distribution_strategy == "multi_worker_mirrored":
            stack.enter_context(failures())
        model = _build(config, replicas, metrics)
        epoch, has_ended = 0, False
        if is_chief:
            stack.enter_context(run_dir.lock())
            if config.init_from and (restart or not run_dir.is_trained):
                checkpoint.initialize(model, config.init_from)
            run_dir.make_room(restart)
            epoch = _restore(run_dir, config, model)
            has_ended = epoch >= config.num_epochs or _has_reached(run_dir, stop_at_accuracy)
        if replicas:
            epoch, has_ended = replicas.follow_chief(model, epoch, has_ended)
        if not has_ended:
            test = [ours.EvaluateTest(evaluation_block(splits.test, config))]
            used = [*(test if config.num_test else ()), ours.CheckFinite(), *callbacks]
            used.append(ours.StopAtAccuracy(stop_at_accuracy))
            if is_chief:
                _write_settings(run_dir, config, epoch)
                logger.info("Training on %s", replicas or device_name())
                logger.info("Compiling; the first epoch takes a few seconds longer.")
                used += _writing_callbacks(run_dir, config, splits, summary_every, progress)
            model.fit(
                training_blocks(splits.training, config, epoch),
                validation_data=evaluation_block(splits.validation, config),
                steps_per_epoch=num_blocks(config),
                initial_epoch=epoch,
                epochs=config.num_epochs,
                shuffle=False,  # `training_blocks` does it
                callbacks=used,
                verbose=0,
            )
        return results.read(run_dir.results_path) if is_chief else []


def _build(config: Config, replicas: Replicas | None, metrics) -> BlockModel:
    """Returns the model to train."""
    model, num_groups = build_model(config), config.make_task().num_groups
    if replicas:
        return ReplicatedModel(model, num_groups, replicas)
    return BlockModel(model, num_groups, metrics)


def _writing_callbacks(run_dir, config, splits, summary_every, progress) -> list:
    """Returns the callbacks that write the files of a run and print the table."""
    records = ours.Records(run_dir.results_path)
    board = ours.TensorBoard(run_dir.path, config, splits.validation, records, summary_every)
    table = [ours.ProgressTable(records)] if progress else []
    # The checkpoint follows records and events: on resume, those newer than it are replaced.
    return [records, board, ours.Checkpoint(run_dir.path, config=config), *table]


def _restore(run_dir: RunDirectory, config: Config, model: keras.Model) -> int:
    """Restores the newest checkpoint. Returns its number of epochs, or 0 if there is none."""
    epoch = 0
    if run_dir.is_trained:
        check_same_run(run_dir, run_dir.read_config(), config)
        epoch = checkpoint.restore_newest(run_dir.path, model, config)
        run_dir.check_records(epoch)
    results.truncate(run_dir.results_path, epoch)
    if epoch > config.num_epochs:
        logger.info(
            "%s has completed %d epochs, more than num_epochs=%d: nothing changes",
            run_dir,
            epoch,
            config.num_epochs,
        )
    return epoch


def _has_reached(run_dir: RunDirectory, accuracy: float) -> bool:
    """Returns whether the last epoch of a run has at least this validation accuracy."""
    records = results.read(run_dir.results_path)
    return bool(records) and records[-1].val_accuracy >= accuracy


def _write_settings(run_dir: RunDirectory, config: Config, epoch: int) -> None:
    """Writes the settings of a run that has completed `epoch` epochs."""
    # A lower num_epochs ends this training early, but the planned number is kept.
    planned = run_dir.read_config().num_epochs if epoch else 0
    num_epochs = max(planned, config.num_epochs)
    run_dir.write_config(dataclasses.replace(config, num_epochs=num_epochs))
    if epoch:
        kept = "".join(f", {name}={value}" for name, value in config.changes().items())
        logger.info("Resuming after epoch %d from %s%s", epoch, run_dir, kept)
