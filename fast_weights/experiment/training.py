"""Training: the update, the compiled epoch and the loop over epochs.

A small recurrent network spends most of its time at the boundary between Python and the
runtime. Therefore, each call of the compiled program makes the updates of a whole chunk of an
epoch. Between chunks, Python shows the progress and can be interrupted.
"""

import contextlib
import dataclasses
import logging
import math
import pathlib
import time

import keras
import numpy as np
import tensorflow as tf

from fast_weights.experiment import checkpoint, dataset, results
from fast_weights.experiment.checkpoint import TrainingState
from fast_weights.experiment.config import SUMMARY_EVERY, Config
from fast_weights.experiment.errors import UserError, option
from fast_weights.experiment.results import EpochRecord
from fast_weights.experiment.run_dir import RunDirectory, check_same_run
from fast_weights.experiment.tasks import NO_ANSWER, Batches, Split, Splits, Task, batches
from fast_weights.experiment.tensorboard import TensorBoardWriter

logger = logging.getLogger(__name__)
# Progress is shown after each chunk of an epoch. Validation is the last chunk.
CHUNKS_PER_EPOCH = 10


def loss_and_gradients(model: keras.Model, tokens, targets, global_batch_size: int):
    """Computes the softmax cross-entropy of one batch and its gradients.

    Args:
        model: from tokens to logits.
        tokens: (B, T) int.
        targets: (B,) or (B, T) int, as in `Split`.
        global_batch_size: the number of sequences in one update: B, or the sum of B over
            replicas.

    Returns:
        The loss, a scalar, summed over B and divided by `global_batch_size`; the number of
        correct predictions, a scalar; and a list of gradients, one for each of
        `model.trainable_variables`. A sequence with several answers counts as their mean.
    """
    with tf.GradientTape() as tape:
        logits = model(tokens, training=True)
        loss = _summed_loss(logits, targets) / global_batch_size
    gradients = tape.gradient(loss, model.trainable_variables)
    # With S = 0 the gain and bias of layer normalization are not used and have no gradient.
    gradients = [
        tf.zeros_like(weight) if gradient is None else gradient
        for gradient, weight in zip(gradients, model.trainable_variables, strict=True)
    ]
    return loss, _sum_over_sequences(_is_correct(logits, targets), targets), gradients


def train_step(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    tokens,
    targets,
    global_batch_size: int,
    max_gradient_norm: float,
):
    """Updates the slow weights from one batch.

    Under a distribution strategy, call it through `strategy.run`. Gradients are summed over
    the replicas before they are clipped, so the update is the one that a single device makes
    from the global batch.

    Args:
        model: from tokens to logits.
        optimizer: built for the model's trainable variables.
        tokens: (B, T) int, of this replica.
        targets: (B,) or (B, T) int, of this replica.
        global_batch_size: the sum of B over the replicas.
        max_gradient_norm: the global norm that gradients are clipped to.

    Returns:
        Three scalars: this replica's share of the loss, its number of correct predictions,
        and the global norm of the complete gradients before clipping.
    """
    loss, num_correct, gradients = loss_and_gradients(model, tokens, targets, global_batch_size)
    replica = tf.distribute.get_replica_context()
    if replica.num_replicas_in_sync > 1:
        gradients = replica.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
    clipped, norm = tf.clip_by_global_norm(gradients, max_gradient_norm)
    # Keras's optimizer sums over the replicas once more.
    clipped = [gradient / replica.num_replicas_in_sync for gradient in clipped]
    optimizer.apply_gradients(zip(clipped, model.trainable_variables, strict=True))
    return loss, num_correct, norm


def _summed_loss(logits, targets):
    """Returns the cross-entropy summed over B, (); the mean over the answers of a sequence."""
    labels = targets if targets.shape.rank == 1 else tf.maximum(targets, 0)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    return _sum_over_sequences(losses, targets)


def _sum_over_sequences(values, targets):
    """Returns the sum over B of a value of each answer; the mean over the answers of a sequence."""
    if targets.shape.rank == 1:
        return tf.reduce_sum(values)
    is_answer = tf.cast(targets != NO_ANSWER, values.dtype)
    num_answers = tf.maximum(tf.reduce_sum(is_answer, axis=1), 1)
    return tf.reduce_sum(tf.reduce_sum(values * is_answer, axis=1) / num_answers)


def _is_correct(logits, targets):
    """Returns 1 for a correct prediction, else 0, in the shape of the targets."""
    predictions = tf.argmax(logits, axis=-1, output_type=targets.dtype)
    return tf.cast(predictions == targets, tf.float32)


class EpochProgram:
    """The compiled loops over batches, for training and for evaluation.

    Both loops take batches, the range of steps to run, and running totals. They return the
    totals with that range added. Start and stop are tensors, so chunks of any length share one
    compilation and give bit-identical totals. XLA would compile a loop over `tf.range` again for
    each pair of bounds, because it needs them at compile time.
    """

    def __init__(self, state: TrainingState):
        self._model = state.model
        self._optimizer = state.optimizer
        self._config = state.config

    @tf.function(jit_compile=True)
    def train(self, tokens, targets, start, stop, totals):
        """Updates the weights. Totals are [loss, correct predictions, gradient norm], (3,)."""
        step = start
        while step < stop:
            totals += tf.stack(
                train_step(
                    self._model,
                    self._optimizer,
                    tokens[step],
                    targets[step],
                    self._config.batch_size,
                    self._config.max_gradient_norm,
                )
            )
            step += 1
        return totals

    @tf.function(jit_compile=True)
    def evaluate(self, tokens, targets, groups, start, stop, totals):
        """Evaluates without an update.

        Args:
            tokens, targets: as for `train`.
            groups: the group of each answer, in the shape of the targets.
            start, stop: the range of steps.
            totals: [loss, correct predictions, correct predictions of each group], (2 + G,).
        """
        num_groups = totals.shape[0] - 2
        step = start
        while step < stop:
            logits = self._model(tokens[step], training=False)
            loss = _summed_loss(logits, targets[step]) / self._config.batch_size
            is_correct = _is_correct(logits, targets[step])
            correct = _sum_over_sequences(is_correct, targets[step])
            in_group = tf.one_hot(groups[step], num_groups)
            of_groups = tf.reduce_sum(
                in_group * is_correct[..., None], axis=range(targets.shape.rank - 1)
            )
            totals += tf.concat([[loss, correct], of_groups], axis=0)
            step += 1
        return totals


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
) -> list[EpochRecord]:
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

    Returns:
        The records of all epochs, including those before an interruption.

    Raises:
        UserError: if a file cannot be read or written or is corrupt, if another process
            trains in `run_dir`, if the settings are not those of the run to resume, if its
            checkpoints are missing, if the loss or a weight is not finite, or if Keras has
            another backend than TensorFlow.
    """
    if keras.config.backend() != "tensorflow":
        raise UserError(
            "training needs Keras's TensorFlow backend. Set KERAS_BACKEND=tensorflow before Keras "
            "is imported; in a notebook, restart the kernel first. Received: the backend "
            f"{keras.config.backend()}"
        )
    if run_dir is None:
        run_dir = RunDirectory("checkpoints", config.model_name, config.seed)
    splits = dataset.load_or_generate(data_dir, config)
    with run_dir.lock():
        _make_room(run_dir, restart)
        state, planned = _new_or_restored(run_dir, config)
        records = results.read(run_dir.results_path)
        reached = bool(records) and records[-1].val_accuracy >= stop_at_accuracy
        if state.epoch < config.num_epochs and not reached:
            if state.epoch:
                logger.info("Resuming after epoch %d from %s", state.epoch, run_dir)
            logger.info("Training on %s", device_name())
            # A lower num_epochs ends this training early, but the planned number is kept.
            planned = max(planned, config.num_epochs)
            run_dir.write_config(dataclasses.replace(config, num_epochs=planned))
            board = TensorBoardWriter(
                run_dir, config, state.model, splits.validation, summary_every
            )
            with contextlib.closing(board):
                board.write_start(state.epoch)
                _train_epochs(
                    state, run_dir, splits, progress or Progress(), board, stop_at_accuracy
                )
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


def _train_epochs(
    state: TrainingState,
    run_dir: RunDirectory,
    splits: Splits,
    progress: Progress,
    board: TensorBoardWriter,
    stop_at_accuracy: float,
) -> None:
    """Runs the remaining epochs: train, validate, record, save."""
    config, program, task = state.config, EpochProgram(state), state.config.make_task()
    training_batches = to_tensors(batches(splits.training, config.batch_size))
    validation = Evaluation(program, task, splits.validation, config.batch_size)
    test = Evaluation(program, task, splits.test, config.batch_size) if config.num_test else None
    records, seconds = results.read(run_dir.results_path), []
    logger.info("Compiling; the first epoch takes a few seconds longer.")
    for epoch in range(state.epoch + 1, config.num_epochs + 1):
        start = time.perf_counter()
        if config.shuffle:
            order = epoch_order(config.seed, epoch, config.num_training)
            training_batches = to_tensors(batches(splits.training, config.batch_size, order))
        totals = tf.zeros(3)
        for chunk, bounds in enumerate(_chunks(training_batches), start=1):
            totals = program.train(*training_batches, *bounds, totals)
            totals.numpy()  # waits for the result
            progress.update(epoch, chunk / CHUNKS_PER_EPOCH)
        loss, num_correct, gradient_norm = totals.numpy()
        steps = len(training_batches.targets)
        val_loss, val_accuracy, by_group = validation.run()
        test_loss, test_accuracy, _ = test.run() if test else (None, None, None)
        seconds.append(time.perf_counter() - start)
        record = EpochRecord(
            epoch,
            float(loss / steps),
            float(num_correct / (steps * config.batch_size)),
            val_loss,
            val_accuracy,
            float(gradient_norm / steps),
            round(seconds[-1], 3),
            test_loss,
            test_accuracy,
        )
        _check_finite(record, state.model)
        records.append(record)
        # The checkpoint comes last: on resume, records newer than it are discarded.
        results.append(run_dir.results_path, record)
        is_last = epoch == config.num_epochs or record.val_accuracy >= stop_at_accuracy
        board.write_epoch(records, by_group, is_last)
        state.epoch = epoch
        state.save(run_dir)
        # The first epoch compiles, so only the later ones predict the time of an epoch.
        recent = seconds[1:][-9:]
        left = float(np.median(recent)) * (config.num_epochs - epoch) if recent else None
        progress.end_epoch(record, max(one.val_accuracy for one in records), left)
        if is_last:
            break


def _chunks(batches: Batches):
    """Yields the bounds of the chunks of training in an epoch."""
    steps = len(batches.targets)
    num_chunks = min(CHUNKS_PER_EPOCH - 1, steps)
    for chunk in range(num_chunks):
        yield _bounds(chunk * steps // num_chunks, (chunk + 1) * steps // num_chunks)


def _bounds(start: int, stop: int):
    return tf.constant(start), tf.constant(stop)


def epoch_order(seed: int, epoch: int, num_sequences: int) -> np.ndarray:
    """Returns the order of the training sequences in an epoch, a permutation."""
    return np.random.default_rng([seed, epoch]).permutation(num_sequences)


def to_tensors(batches: Batches) -> Batches:
    """Returns batches as tensors."""
    return Batches(tf.constant(batches.tokens), tf.constant(batches.targets))


class Evaluation:
    """The results of a model on the full batches of a split.

    Args:
        program: of the model.
        task: of the split.
        split: N sequences.
        batch_size: B.
    """

    def __init__(self, program: EpochProgram, task: Task, split: Split, batch_size: int):
        cut = batches(split, batch_size)
        groups = batches(Split(split.tokens, task.groups(split)), batch_size).targets
        is_answer = cut.targets != NO_ANSWER
        self._group_sizes = np.bincount(groups[is_answer], minlength=task.num_groups)
        self._arguments = (*to_tensors(cut), tf.constant(groups), *_bounds(0, len(groups)))
        self._program = program
        self._steps, self._batch_size = len(groups), batch_size

    def run(self) -> tuple[float, float, np.ndarray]:
        """Returns loss, accuracy, and the accuracy of each group; NaN for one without answers."""
        totals = self._program.evaluate(*self._arguments, tf.zeros(2 + len(self._group_sizes)))
        loss, correct, *of_groups = totals.numpy()
        with np.errstate(invalid="ignore"):
            by_group = of_groups / self._group_sizes
        return (
            float(loss / self._steps),
            float(correct / (self._steps * self._batch_size)),
            by_group,
        )


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
