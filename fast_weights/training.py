"""From a configuration to a trained model: the step, the epoch program, the loop.

The cost of a small recurrent network is the boundary between Python and the
runtime. So the step is a function of its own, and one compiled program takes
it through hundreds of batches; Python comes back between chunks, to show
progress and to be interruptible.
"""

import functools
import time
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from fast_weights import checkpoints, data, folders, results, summaries
from fast_weights.checkpoints import TrainingState
from fast_weights.config import SUMMARY_EVERY, Config
from fast_weights.errors import UserError
from fast_weights.results import Record

# A chunk is meant to last this long: short enough to stop at once on Ctrl-C.
CHUNK_SECONDS = 0.5
MIN_CHUNK = 16  # steps
# Of an epoch's time; the rest is validation. For the progress line alone.
TRAINING_SHARE = 0.9


def loss_and_gradients(model: keras.Model, tokens, targets, global_batch_size: int):
    """Softmax cross-entropy of one batch and its gradients.

    Args:
        model: from tokens to logits.
        tokens: (B, T) int.
        targets: (B,) int.
        global_batch_size: number of sequences that one update is made from; B, or
            the sum of B over replicas.

    Returns:
        The loss, a scalar, summed over B and divided by `global_batch_size`; the
        number of right answers, a scalar; the gradients, one for each of
        `model.trainable_variables`.
    """
    with tf.GradientTape() as tape:
        logits = model(tokens, training=True)
        loss = _summed_loss(logits, targets) / global_batch_size
    gradients = tape.gradient(loss, model.trainable_variables)
    # With S = 0 nothing reads layer normalization's gain and bias: no gradient is zero.
    gradients = [
        tf.zeros_like(weight) if gradient is None else gradient
        for gradient, weight in zip(gradients, model.trainable_variables, strict=True)
    ]
    return loss, _num_right(logits, targets), gradients


def train_step(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    tokens,
    targets,
    global_batch_size: int,
    max_gradient_norm: float,
):
    """One update of the slow weights from one batch.

    Under a distribution strategy call it through `strategy.run`: gradients are
    summed over the replicas before they are clipped, so that the update is the
    one that a single device would make of the global batch.

    Args:
        model: from tokens to logits.
        optimizer: built for the model's trainable variables.
        tokens: (B, T) int, this replica's.
        targets: (B,) int, this replica's.
        global_batch_size: sum of B over the replicas.
        max_gradient_norm: global norm that gradients are clipped to.

    Returns:
        Three scalars: this replica's share of the loss, its number of right
        answers, and the global norm of the complete gradients before clipping.
    """
    loss, num_right, gradients = loss_and_gradients(model, tokens, targets, global_batch_size)
    replica = tf.distribute.get_replica_context()
    if replica.num_replicas_in_sync > 1:
        gradients = replica.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
    clipped, norm = tf.clip_by_global_norm(gradients, max_gradient_norm)
    # Keras's optimizer sums over the replicas itself, once more.
    clipped = [gradient / replica.num_replicas_in_sync for gradient in clipped]
    optimizer.apply_gradients(zip(clipped, model.trainable_variables, strict=True))
    return loss, num_right, norm


def _summed_loss(logits, targets):
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=targets, logits=logits)
    return tf.reduce_sum(losses)


def _num_right(logits, targets):
    return tf.reduce_sum(_is_right(logits, targets))


def _num_right_by_pair(logits, tokens, targets):
    """Right answers to the sequences that ask for each pair, (K,)."""
    asked = tf.cast(tokens[:, :-3:2] == tokens[:, -1:], tf.float32)  # (B, K): letters differ
    return tf.linalg.matvec(asked, _is_right(logits, targets), transpose_a=True)


def _is_right(logits, targets):
    predictions = tf.argmax(logits, axis=-1, output_type=targets.dtype)
    return tf.cast(predictions == targets, tf.float32)


class EpochProgram:
    """The compiled loops over batches, for training and for evaluation.

    Both take batches (steps, B, T) and (steps, B), the range of steps to go
    through, and running totals, which they return with that range added. The
    range is an argument, so that chunks of any length share one compilation and
    add up to the same bits. (A loop over `tf.range` would not do: XLA wants its
    bounds at compile time, and compiles anew for each pair of them.)
    """

    def __init__(self, state: TrainingState, config: Config):
        self._state = state
        self._config = config

    @tf.function(jit_compile=True)
    def train(self, tokens, targets, start, stop, totals):
        """Updates the weights; totals are [loss, right answers, gradient norm], summed."""
        step = start
        while step < stop:
            totals += tf.stack(
                train_step(
                    self._state.model,
                    self._state.optimizer,
                    tokens[step],
                    targets[step],
                    self._config.batch_size,
                    self._config.max_gradient_norm,
                )
            )
            step += 1
        return totals

    @tf.function(jit_compile=True)
    def evaluate(self, tokens, targets, start, stop, totals):
        """Changes nothing; totals are [loss, right answers by the pair asked for], summed."""
        step = start
        while step < stop:
            logits = self._state.model(tokens[step], training=False)
            loss = _summed_loss(logits, targets[step]) / self._config.batch_size
            right = _num_right_by_pair(logits, tokens[step], targets[step])
            totals += tf.concat([loss[None], right], axis=0)
            step += 1
        return totals


class Chunks:
    """Runs a compiled loop in chunks of about `CHUNK_SECONDS`, reporting after each."""

    def __init__(self, loop, num_totals: int):
        self._loop = loop
        self._num_totals = num_totals
        self._size = MIN_CHUNK

    def run(
        self,
        batches: data.Split,
        report: Callable[[float], None] = lambda fraction: None,
        share: tuple[float, float] = (0, 1),
    ) -> np.ndarray:
        """Goes through all batches.

        Args:
            batches: tensors (steps, B, T) and (steps, B).
            report: called with the fraction of the epoch that is done.
            share: fractions of the epoch that are done before and after this run.

        Returns:
            Totals over the batches.
        """
        steps = batches.targets.shape[0]
        totals = tf.zeros(self._num_totals)
        start = 0
        while start < steps:
            stop = min(start + self._size, steps)
            began = time.perf_counter()
            totals = self._loop(*batches, tf.constant(start), tf.constant(stop), totals)
            totals.numpy()  # waits for the result
            seconds = time.perf_counter() - began
            if seconds > CHUNK_SECONDS:
                self._size = max(MIN_CHUNK, self._size // 2)
            elif seconds < CHUNK_SECONDS / 2:
                self._size *= 2
            start = stop
            report(share[0] + (share[1] - share[0]) * stop / steps)
        return totals.numpy()


class Reporter:
    """What `train` tells as it goes; this one keeps silent."""

    def say(self, line: str) -> None:
        """Something worth a line."""

    def warn(self, line: str) -> None:
        """Something is broken, and training goes on all the same."""

    def progress(self, epoch: int, fraction: float) -> None:
        """`fraction` of an epoch's work is done."""

    def epoch(self, record: Record, best: float, seconds_left: float | None) -> None:
        """An epoch is done; `best` validation accuracy so far, `seconds_left` if one can tell."""


def train(
    config: Config,
    data_dir,
    folder,
    reporter: Reporter | None = None,
    restart: bool = False,
    summary_every: int = SUMMARY_EVERY,
) -> list[Record]:
    """Trains a model, from its checkpoint where the folder has one, to `config.num_epochs`.

    Args:
        config: the settings; where there is a checkpoint, its own but for
            `num_epochs` (see `folders.settle_config`).
        data_dir: where the sequences lie, or are made.
        folder: where checkpoints, results and TensorBoard runs go.
        reporter: told of every chunk and epoch.
        restart: whether to delete what the folder has of an earlier run.
        summary_every: epochs between two looks at the weights and the probe in
            TensorBoard; there is one before training and one at its end too.

    Returns:
        The results of all epochs, those before a stop included.

    Raises:
        UserError: if a file cannot be read or written, or is broken.
    """
    reporter = reporter or Reporter()
    training, validation = data.load_or_make(
        data_dir,
        config.num_pairs,
        config.num_training,
        config.num_validation,
        config.seed,
        say=reporter.say,
    )
    with folders.locked(folder):
        if restart:
            folders.clear(folder)
        # Before anything is written: what cannot be gone on with stays as it is.
        state = checkpoints.resume_or_new(folder, config, reporter.warn)
        if state.epoch:
            reporter.say(f"Going on after {state.epoch} epochs from {folder}")
        try:
            folders.save_config(folder, config)
            results.truncate(folder, state.epoch, reporter.warn)
            summaries.truncate(folder, state.epoch, reporter.warn)
            board = summaries.Summaries(folder, config, state.model, validation)
            board.describe()
            if state.epoch == 0:
                board.look(0, with_probe=True)
            splits = training, validation
            _train_epochs(config, state, folder, splits, reporter, board, summary_every)
            board.close()
        except BrokenPipeError:  # who reads the output went away
            raise
        except (OSError, tf.errors.OpError) as error:
            raise _as_user_error(error, folder, restart) from error
        return results.read(folder)


def _as_user_error(error: OSError | tf.errors.OpError, folder, restart: bool) -> UserError:
    """What to say of a training that could not go on."""
    if isinstance(error, tf.errors.ResourceExhaustedError) and "OOM" in str(error):
        return UserError(
            "training takes more memory than there is. Take a smaller --batch_size or fewer --units"
        )
    if isinstance(error, OSError) and error.strerror:
        reason = error.strerror
    else:
        reason = str(error).splitlines()[0].rsplit("; ", maxsplit=1)[-1]
    command = "the same command without --restart" if restart else "the same command"
    return UserError(
        f"cannot write to {folder}: {reason}. What was done before is kept; once that is mended, "
        f"{command} goes on"
    )


def _train_epochs(config, state, folder, splits, reporter, board, summary_every) -> None:
    """Each epoch: train, validate, then its record, its summaries and its checkpoint."""
    program = EpochProgram(state, config)
    train_chunks = Chunks(program.train, 3)
    evaluate_chunks = Chunks(program.evaluate, 1 + config.num_pairs)
    training, validation = splits
    validation_batches = _to_tensors(data.batches(validation, config.batch_size))
    training_batches = _to_tensors(data.batches(training, config.batch_size))
    asked = data.asked_pair(validation_batches.tokens.numpy().reshape(-1, config.sequence_length))
    num_asked = np.bincount(asked, minlength=config.num_pairs)
    records, seconds = results.read(folder), []
    if state.epoch < config.num_epochs:
        reporter.say("Compiling; the first epoch takes some seconds longer.")
    for epoch in range(state.epoch, config.num_epochs):
        start = time.perf_counter()
        if config.shuffle:
            order = epoch_order(config.seed, epoch, len(training.targets))
            training_batches = _to_tensors(data.batches(training, config.batch_size, order))
        report = functools.partial(reporter.progress, epoch)
        train_totals = train_chunks.run(training_batches, report, (0, TRAINING_SHARE))
        valid_totals = evaluate_chunks.run(validation_batches, report, (TRAINING_SHARE, 1))
        seconds.append(time.perf_counter() - start)
        gradient_norm = float(train_totals[2] / len(training_batches.targets))
        norms = [*(one.gradient_norm for one in records), gradient_norm]
        _check_numbers(epoch, state, (*train_totals, *valid_totals), norms)
        record = Record(
            epoch,
            *_means(train_totals[:2], training_batches),
            *_means((valid_totals[0], valid_totals[1:].sum()), validation_batches),
            gradient_norm=gradient_norm,
            seconds=round(seconds[-1], 3),
        )
        # In this order: what is there without its checkpoint is cut on resuming.
        results.append(folder, record)
        records.append(record)
        with np.errstate(invalid="ignore"):
            board.write(record, valid_totals[1:] / num_asked, records)
        looks, rest = divmod(epoch + 1, summary_every)
        if rest == 0 or epoch + 1 == config.num_epochs:
            # Ever fewer pictures: TensorBoard shows ten, and picks them by chance from more.
            is_late = rest == 0 and looks & (looks - 1) and epoch + 1 < config.num_epochs
            board.look(epoch + 1, with_probe=not is_late)
        state.epoch = epoch + 1
        state.save(folder)
        # The first epoch compiles; only the later ones tell how long one takes.
        recent = seconds[1:][-9:]
        left = float(np.median(recent)) * (config.num_epochs - epoch - 1) if recent else None
        reporter.epoch(record, max(one.valid_accuracy for one in records), left)


def _check_numbers(epoch: int, state: TrainingState, totals, norms: list[float]) -> None:
    """Raises a `UserError` if the totals of an epoch or the weights after it are no numbers."""
    weights = [weight.numpy() for weight in state.model.weights]
    if np.isfinite(totals).all() and all(np.isfinite(weight).all() for weight in weights):
        return
    last_norms = ", ".join(f"{norm:.3g}" for norm in norms[-5:])
    kept = f"The checkpoint of epoch {epoch} is kept" if epoch else "There is no checkpoint yet"
    raise UserError(
        f"training diverged in epoch {epoch + 1}: the loss or a weight is no finite number any "
        f"more (gradient norms of the last epochs: {last_norms}). {kept}. Train anew (--restart) "
        "with a lower --learning_rate or --fast_learning_rate"
    )


def epoch_order(seed: int, epoch: int, num_sequences: int) -> np.ndarray:
    """The order of the training sequences in an epoch: a permutation, (num_sequences,)."""
    return np.random.default_rng([seed, epoch]).permutation(num_sequences)


def _to_tensors(batches: data.Split) -> data.Split:
    return data.Split(tf.constant(batches.tokens), tf.constant(batches.targets))


def _means(totals, batches: data.Split) -> tuple[float, float]:
    """Mean loss and accuracy from their totals over batches."""
    steps, batch_size = batches.targets.shape
    return float(totals[0] / steps), float(totals[1] / (steps * batch_size))
