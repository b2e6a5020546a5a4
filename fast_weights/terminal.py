"""What the scripts share at the terminal: silence, one-line errors, progress.

Standard library only, so that `--help` and a bad flag need no TensorFlow.
"""

import contextlib
import functools
import logging
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator

from fast_weights.errors import UserError

COLUMNS = (
    f"{'epoch':>11}  {'train loss':>10}  {'accuracy':>8}  {'valid loss':>10}  {'accuracy':>8}"
    f"  {'best':>7}  {'grad norm':>9}  {'seconds':>7}  {'left':>8}"
)

STOPPED = "\nStopped. Whole epochs are kept; the same command goes on."


@contextlib.contextmanager
def quiet_import() -> Iterator[None]:
    """Keeps TensorFlow's start-up lines off the terminal while it is imported.

    Its C++ code writes them to file descriptor 2 before any setting of its own
    is heard. If the import fails, what was held back is shown.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # TensorFlow's Python code logs each checkpoint through absl.
    logging.getLogger("absl").setLevel(logging.WARNING)
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as held_back:
        os.dup2(held_back.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(saved, 2)
            held_back.seek(0)
            sys.stderr.write(held_back.read().decode(errors="replace"))
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def one_line_errors(main: Callable) -> Callable:
    """Makes a script's `main` end with a line, not a traceback, on a user's mistake.

    Exit status: 2 for a mistake, 130 for Ctrl-C, 141 if who reads the output went away.
    """

    @functools.wraps(main)
    def wrapped(argv):
        try:
            if len(argv) > 1:
                raise UserError(f"expected only --flags. Received: {' '.join(argv[1:])}")
            return main(argv)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print(STOPPED, file=sys.stderr)
            return 130
        except BrokenPipeError:
            # Nothing more can be said, not even when Python flushes at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 141

    return wrapped


def stop_at_once() -> None:
    """Makes Ctrl-C and SIGTERM end the process within a moment, whatever it is doing.

    A thread waits for them: Python's own handlers run between two instructions, and
    compiling takes seconds. Nothing needs tidying up, as no file is ever half written.
    Call it before other threads start, which would take the signals otherwise.

    Exit status: 130 for SIGINT, 143 for SIGTERM.
    """
    signals = {signal.SIGINT, signal.SIGTERM}
    if not hasattr(signal, "pthread_sigmask"):  # Windows: at the next instruction
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)

    def wait():
        number = signal.sigwait(signals)
        print(STOPPED, file=sys.stderr, flush=True)
        os._exit(128 + number)

    threading.Thread(target=wait, daemon=True).start()


def note(line: str) -> None:
    """Says on standard error what a person may want to know."""
    print(f"note: {line}", file=sys.stderr)


def warn(line: str) -> None:
    """Says on standard error what a person should know and need not act on."""
    print(f"warning: {line}", file=sys.stderr)


class ProgressTable:
    """Reports training as a table, with a live line for the epoch under way on a terminal."""

    def __init__(self, num_epochs: int, stream=None):
        self._num_epochs = num_epochs
        self._so_far = ""
        self._stream = stream or sys.stdout
        self._is_live = self._stream.isatty()
        self._has_header = False

    def say(self, line: str) -> None:
        """Prints a line of its own."""
        self._print(line)

    def progress(self, epoch: int, fraction: float) -> None:
        """Shows on a terminal how much of the epoch under way is done."""
        if self._is_live:
            bar = "#" * round(30 * fraction)
            line = f"{self._label(epoch)}  [{bar:<30}] {fraction:4.0%}{self._so_far}"
            self._stream.write(f"\r\x1b[K{line}")
            self._stream.flush()

    def epoch(self, record, best: float, seconds_left: float | None) -> None:
        """Prints an epoch's row, with the best validation accuracy so far."""
        if not self._has_header:
            self._print(COLUMNS)
            self._has_header = True
        left = "?" if seconds_left is None else duration(seconds_left)
        self._so_far = f"  best {best:.2%}, {left} left"
        self._print(
            f"{self._label(record.epoch)}  {record.train_loss:10.4f}  {record.train_accuracy:8.2%}"
            f"  {record.valid_loss:10.4f}  {record.valid_accuracy:8.2%}  {best:7.2%}"
            f"  {record.gradient_norm:9.3f}  {record.seconds:7.2f}  {left:>8}"
        )

    def _label(self, epoch: int) -> str:
        return f"{f'{epoch + 1}/{self._num_epochs}':>11}"

    def _print(self, line: str) -> None:
        clear = "\r\x1b[K" if self._is_live else ""
        self._stream.write(f"{clear}{line}\n")
        self._stream.flush()


def duration(seconds: float) -> str:
    """Seconds as a person reads them: `42 s`, `7 min`, `1 h 05`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02}"
