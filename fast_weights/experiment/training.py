"""Training: the loop over epochs, and what it writes.

Between the calls of the compiled program, Python shows the progress and can be interrupted.
"""

import contextlib
import dataclasses
import logging
import math
import pathlib
import time
from collections.abc import Iterable, Iterator

import keras
import numpy as np
import tensorflow as tf

from fast_weights.experiment import checkpoint, dataset, results
from fast_weights.experiment.checkpoint import TrainingState
from fast_weights.experiment.config import SUMMARY_EVERY, Config
from fast_weights.experiment.distribution import Replicas, connect, reported_failures
from fast_weights.experiment.errors import UserError, option
from fast_weights.experiment.program import (
    EpochProgram,
    Evaluation,
    ReplicatedProgram,
    bounds,
    to_tensors,
)
from fast_weights.experiment.results import EpochRecord
from fast_weights.experiment.run_dir import RunDirectory, check_same_run
from fast_weights.experiment.tasks import Batches, Splits, batches
from fast_weights.experiment.tensorboard import TensorBoardWriter

logger = logging.getLogger(__name__)
# Progress is shown after each chunk of an epoch. Validation is the last chunk.
CHUNKS_PER_EPOCH = 10


class Progress:
    """Receives the progress of `train`. This base class ignores it."""

    def update(self, epoch: int, fraction: float) -> None:
        """Called when a fraction of an epoch is done. Epochs count from 1."""

    def end_epoch(self, record: EpochRecord, best: float, seconds_left: float | None) -> None:
        """Called after an epoch.

        Args:
            record: the results of the epoch.
            best: the best validation accuracy so far.
            seconds_left: an estimate; `None` after the first epoch, which compiles.
        """


def train(
    config: Config,
    run_dir: RunDirectory | None = None,
    data_dir: str | pathlib.Path = "data",
    progress: Progress | None = None,
    restart: bool = False,
    summary_every: int = SUMMARY_EVERY,
    stop_at_accuracy: float = math.inf,
    distribution_strategy: str = "off",
    num_devices: int | None = None,
) -> list[EpochRecord] | None:
    """Trains a model up to `config.num_epochs`, from its last checkpoint if there is one.

    Args:
        config: the settings. To resume a run, all except `num_epochs` must be those of the
            run (`resolve_config` returns them).
        run_dir: the directory of checkpoints, results and TensorBoard events. Default: that of
            the model and the seed in `checkpoints/`.
        data_dir: the directory of the sequences, which are generated if they are missing.
        progress: receives the progress of the training. Default `None`: no reports.
        restart: whether to move an earlier run in `run_dir` to `previous/` and start over.
        summary_every: number of epochs between two TensorBoard snapshots of the weights and
            the memory. There are also one before training and one at the end.
        stop_at_accuracy: training ends after an epoch with at least this validation accuracy, a
            fraction. Default: never.
        distribution_strategy: `"off"`, one device; `"mirrored"`, all GPUs of this machine or
            virtual devices of its CPU; `"multi_worker_mirrored"`, the workers of the cluster that
            `TF_CONFIG` or Slurm describes. Each batch is divided among the devices.
        num_devices: the number of virtual devices with `"mirrored"`. Default: all GPUs.

    Returns:
        The records of all epochs, including those before an interruption. A worker other than the
        chief writes no files and returns `None`.

    Raises:
        UserError: if a file cannot be read or written or is corrupt, if another process
            trains in `run_dir`, if the settings are not those of the run to resume, if its
            checkpoints are missing, if the loss or a weight is not finite, if Keras has
            another backend than TensorFlow, or if another worker cannot be reached or stops.
    """
    if keras.config.backend() != "tensorflow":
        raise UserError(
            "training needs Keras's TensorFlow backend. Set KERAS_BACKEND=tensorflow before Keras "
            "is imported; in a notebook, restart the kernel first. Received: the backend "
            f"{keras.config.backend()}"
        )
    if run_dir is None:
        run_dir = RunDirectory("checkpoints", config.model_name, config.seed)
    replicas = connect(distribution_strategy, num_devices, config, stop_at_accuracy)
    splits = dataset.load_or_generate(data_dir, config)
    has_workers = distribution_strategy == "multi_worker_mirrored"
    failures = reported_failures if has_workers else contextlib.nullcontext
    if replicas:
        with failures():
            replicas.check_same_sequences(splits)
    if replicas and not replicas.is_chief:
        with failures():
            _follow_chief(config, splits, replicas, stop_at_accuracy)
        return None
    with run_dir.lock(), failures():
        _make_room(run_dir, restart)
        state, planned = _new_or_restored(run_dir, config)
        records = results.read(run_dir.results_path)
        has_reached = bool(records) and records[-1].val_accuracy >= stop_at_accuracy
        if not _agree_on_start(state, replicas, has_reached):
            if state.epoch:
                logger.info("Resuming after epoch %d from %s", state.epoch, run_dir)
            logger.info("Training on %s", replicas or device_name())
            # A lower num_epochs ends this training early, but the planned number is kept.
            planned = max(planned, config.num_epochs)
            run_dir.write_config(dataclasses.replace(config, num_epochs=planned))
            board = TensorBoardWriter(
                run_dir, config, state.model, splits.validation, summary_every
            )
            program = ReplicatedProgram(state, replicas) if replicas else EpochProgram(state)
            progress = progress or Progress()
            with contextlib.closing(board):
                board.write_start(state.epoch)
                epochs = _epochs(state, splits, program, progress)
                _write_epochs(epochs, state, run_dir, progress, board, stop_at_accuracy)
        return results.read(run_dir.results_path)


def _new_or_restored(run_dir: RunDirectory, config: Config) -> tuple[TrainingState, int]:
    """Returns the state to train from, and the number of epochs that the run was planned for."""
    state, planned = checkpoint.new_state(config), 0
    if run_dir.is_trained:
        stored = run_dir.read_config()
        planned = stored.num_epochs
        check_same_run(run_dir, stored, config)
        state.restore(run_dir)
        _check_records(run_dir, state.epoch)
    results.truncate(run_dir.results_path, state.epoch)
    if state.epoch > config.num_epochs:
        logger.info(
            "%s has completed %d epochs, more than num_epochs=%d: nothing changes",
            run_dir,
            state.epoch,
            config.num_epochs,
        )
    return state, planned


def _check_records(run_dir: RunDirectory, epoch: int) -> None:
    """Raises a `UserError` if more records follow the checkpoint than an interruption can leave."""
    last = max((record.epoch for record in results.read(run_dir.results_path)), default=0)
    # The newest checkpoint can be corrupt, and one more epoch can have a record only.
    if last > epoch + checkpoint.MAX_TO_KEEP:
        raise UserError(
            f"{run_dir} has results up to epoch {last}, but its newest checkpoint is of epoch "
            f"{epoch}. Restore a newer checkpoint, or start over with {option('restart', True)}, "
            "which moves the files of the run to previous/"
        )


def device_name() -> str:
    """Returns the name of the device that TensorFlow trains on: the first GPU, or the CPU."""
    gpus = tf.config.get_visible_devices("GPU")
    if not gpus:
        return "CPU (TensorFlow uses no GPU)"
    details = tf.config.experimental.get_device_details(gpus[0])
    return f"GPU ({details.get('device_name', gpus[0].name)})"


def _make_room(run_dir: RunDirectory, restart: bool) -> None:
    """Sets an earlier run aside, if a restart was asked for, so that nothing mixes with its files.

    Raises:
        UserError: without `restart`, if there are results of more than one epoch but no checkpoint.
    """
    is_trained = run_dir.is_trained
    num_records = 0 if is_trained else len(results.read(run_dir.results_path))
    # A run that was killed in its first epoch can have a record, but no checkpoint.
    is_lost = num_records > 1
    if restart and (is_trained or is_lost):
        logger.info("The earlier run is now in %s", run_dir.set_aside())
    elif is_lost:
        raise UserError(
            f"{run_dir} has the results of {num_records} epochs, but no checkpoint to resume from. "
            f"Restore a checkpoint, or start over with {option('restart', True)}, which moves the "
            "results to previous/"
        )
    elif not is_trained:
        run_dir.clear()


def _epochs(
    state: TrainingState, splits: Splits, program: EpochProgram, progress: Progress
) -> Iterator[tuple[EpochRecord, np.ndarray]]:
    """Trains and yields the record and the accuracies by group after each remaining epoch."""
    config, task = state.config, state.config.make_task()
    training_batches = to_tensors(batches(splits.training, config.batch_size))
    validation = Evaluation(program, task, splits.validation, config.batch_size)
    test = Evaluation(program, task, splits.test, config.batch_size) if config.num_test else None
    logger.info("Compiling; the first epoch takes a few seconds longer.")
    for epoch in range(state.epoch + 1, config.num_epochs + 1):
        start = time.perf_counter()
        if config.shuffle:
            order = epoch_order(config.seed, epoch, config.num_training)
            training_batches = to_tensors(batches(splits.training, config.batch_size, order))
        totals = tf.zeros(3)
        for chunk, limits in enumerate(_chunks(training_batches), start=1):
            totals = program.train(*training_batches, *limits, totals)
            totals.numpy()  # waits for the result
            progress.update(epoch, chunk / CHUNKS_PER_EPOCH)
        loss, num_correct, gradient_norm = totals.numpy()
        steps = len(training_batches.targets)
        val_loss, val_accuracy, by_group = validation.run()
        test_loss, test_accuracy, _ = test.run() if test else (None, None, None)
        record = EpochRecord(
            epoch,
            float(loss / steps),
            float(num_correct / (steps * config.batch_size)),
            val_loss,
            val_accuracy,
            float(gradient_norm / steps),
            round(time.perf_counter() - start, 3),
            test_loss,
            test_accuracy,
        )
        _check_finite(record, state.model)
        state.epoch = epoch
        yield record, by_group


def _write_epochs(
    epochs: Iterable[tuple[EpochRecord, np.ndarray]],
    state: TrainingState,
    run_dir: RunDirectory,
    progress: Progress,
    board: TensorBoardWriter,
    stop_at_accuracy: float,
) -> None:
    """Writes the results of every epoch, until the last."""
    records, seconds = results.read(run_dir.results_path), []
    num_epochs = state.config.num_epochs
    for record, by_group in epochs:
        records.append(record)
        seconds.append(record.seconds)
        # The checkpoint comes last: on resume, records newer than it are discarded.
        results.append(run_dir.results_path, record)
        is_last = record.epoch == num_epochs or record.val_accuracy >= stop_at_accuracy
        board.write_epoch(records, by_group, is_last)
        state.save(run_dir)
        # The first epoch compiles, so only the later ones predict the time of an epoch.
        recent = seconds[1:][-9:]
        left = float(np.median(recent)) * (num_epochs - record.epoch) if recent else None
        progress.end_epoch(record, max(one.val_accuracy for one in records), left)
        if is_last:
            break


def _follow_chief(
    config: Config, splits: Splits, replicas: Replicas, stop_at_accuracy: float
) -> None:
    """Trains as a worker that writes nothing."""
    state = checkpoint.new_state(config)
    if not _agree_on_start(state, replicas, has_reached=False):
        program = ReplicatedProgram(state, replicas)
        for record, _ in _epochs(state, splits, program, Progress()):
            if record.val_accuracy >= stop_at_accuracy:
                break


def _agree_on_start(state: TrainingState, replicas: Replicas | None, has_reached: bool) -> bool:
    """Gives all workers the chief's state. Returns whether the training has already ended.

    Args:
        state: of this worker.
        replicas: of the training.
        has_reached: whether this worker knows that the run has reached the accuracy to stop at.
    """
    if replicas:
        chiefs = replicas.gather(np.array([state.epoch, has_reached], "float64"))[0]
        state.epoch, has_reached = int(chiefs[0]), bool(chiefs[1])
        replicas.copy_from_chief(state.variables().values())
    return state.epoch >= state.config.num_epochs or has_reached


def _check_finite(record: EpochRecord, model: keras.Model) -> None:
    """Raises a `UserError` if the results of an epoch, or the weights after it, are not finite."""
    measured = [value for value in dataclasses.astuple(record) if value is not None]
    values = [measured, *(weight.numpy() for weight in model.weights)]
    if all(np.isfinite(value).all() for value in values):
        return
    kept = f"The checkpoint of epoch {record.epoch - 1} is kept. " if record.epoch > 1 else ""
    raise UserError(
        f"training diverged in epoch {record.epoch}: the loss or a weight is not finite. {kept}"
        f"Train again ({option('restart', True)}) with a lower {option('learning_rate')} or "
        f"{option('fast_learning_rate')}"
    )


def _chunks(batches: Batches):
    """Yields the bounds of the chunks of training in an epoch."""
    steps = len(batches.targets)
    num_chunks = min(CHUNKS_PER_EPOCH - 1, steps)
    for chunk in range(num_chunks):
        yield bounds(chunk * steps // num_chunks, (chunk + 1) * steps // num_chunks)


def epoch_order(seed: int, epoch: int, num_sequences: int) -> np.ndarray:
    """Returns the order of the training sequences in an epoch, a permutation."""
    return np.random.default_rng([seed, epoch]).permutation(num_sequences)
