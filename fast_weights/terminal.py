"""What the scripts share at the terminal: silence, one-line errors, progress.

Standard library only, so that `--help` and a bad flag need no TensorFlow.
"""

import contextlib
import functools
import logging
import os
import re
import select
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator

from fast_weights import files
from fast_weights.errors import UserError

# Fits a terminal of 80 columns.
COLUMNS = (
    f"{'':9}  {'training':>16}  {'validation':>25} {'gradient':>8}\n"
    f"{'epoch':>9}  {'loss':>6}  {'accuracy':>8}  {'loss':>6}  {'accuracy':>8}  {'best':>7}"
    f"  {'norm':>7}  {'seconds':>7}  {'left':>6}"
)
# Of what is said on one line: a path may be long.
MAX_LINE = 10_000
# Of a file of flags: a sample may be long.
MAX_FLAGFILE_BYTES = 10**7


@contextlib.contextmanager
def quiet_import() -> Iterator[None]:
    """Keeps what TensorFlow and Matplotlib say at their start off the terminal.

    TensorFlow's C++ code writes it to file descriptor 2 before any setting of its own
    is heard. If the import fails, what was held back is shown. What a person has set up for
    other programs, a backend of Keras or of Matplotlib or another precision, is not for these.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.update(KERAS_BACKEND="tensorflow", MPLBACKEND="agg")
    # Libraries log at INFO through absl, once it is there.
    logging.getLogger("absl").setLevel(logging.WARNING)
    sys.stderr.flush()
    saved = os.dup(2)
    with _anonymous_file() as held_back:
        os.dup2(held_back.fileno(), 2)
        try:
            yield
            if "keras" in sys.modules:
                sys.modules["keras"].config.set_floatx("float32")
        except BaseException:
            os.dup2(saved, 2)
            held_back.seek(0)
            sys.stderr.write(held_back.read().decode(errors="replace"))
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def _anonymous_file():
    """A file that nobody else sees; where there is room for none, one that keeps nothing."""
    try:
        return tempfile.TemporaryFile()
    except OSError:
        return open(os.devnull, "r+b")


def one_line_errors(main: Callable) -> Callable:
    """Makes a program's `main` end with a line, not a traceback, on a user's mistake.

    Exit status: 2 for a mistake, 130 for Ctrl-C, 141 if who reads the output went away.
    """

    @functools.wraps(main)
    def wrapped(argv):
        try:
            return main(argv)
        except UserError as error:
            complain(error)
            return 2
        except MemoryError:
            complain(
                "this takes more memory than there is. Take fewer sequences or units, or a "
                "smaller batch"
            )
            return 2
        except KeyboardInterrupt:
            print("\nStopped.", file=sys.stderr)
            return 130
        except BrokenPipeError:
            # Nothing more can be said, not even when Python flushes at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 141
        except OSError as error:  # such as a name that is too long
            complain(f"{error.strerror}: {error.filename or 'standard output'}")
            return 2

    return wrapped


def flags_parser(flags) -> Callable:
    """For `app.run`: reads the flags, and ends with one line where absl's error has several.

    Args:
        flags: the module `absl.flags`.
    """

    def parse(argv):
        mend_streams()
        try:
            _check_flagfile(argv)
            rest = flags.FLAGS(argv)
            if len(rest) > 1:
                raise UserError(f"expected only --flags. Received: {' '.join(rest[1:])}")
            for name in flags.FLAGS:
                value = flags.FLAGS[name].value
                if name.endswith("_dir") and flags.FLAGS[name].present and not value:
                    raise UserError(f"--{name} must name a folder. Received: --{name}=")
                if isinstance(value, str) and any("\ud800" <= c <= "\udfff" for c in value):
                    raise UserError(f"--{name} must be UTF-8. Received: --{name}={value}")
                if isinstance(value, str) and "\0" in value:
                    raise UserError(f"--{name} must be text. Received: --{name}={value}")
            return rest
        except UserError as error:
            complain(error)
        except UnicodeDecodeError:
            complain(f"--flagfile must name a text file. Received: {' '.join(argv[1:])}")
        except flags.Error as error:
            complain(_what_a_flag_must_be(flags.FLAGS, str(error)))
        except (ValueError, TypeError, AttributeError) as error:  # of flags that are absl's own
            complain(f"{error}. Received: {' '.join(argv[1:])}")
        sys.exit(2)

    return parse


def _check_flagfile(argv) -> None:
    """Raises a `UserError` if absl would wait for a file of flags, or fill the memory with it."""
    for flag, following in zip(argv, [*argv[1:], ""], strict=True):
        found = re.fullmatch(r"--?flagfile(?:=(.*))?", flag, re.DOTALL)
        if not found:
            continue
        path = following if found[1] is None else found[1]
        try:
            text = files.read_text(path, MAX_FLAGFILE_BYTES)
        except OSError as error:
            raise UserError(f"cannot read --flagfile={path}: {error.strerror}") from None
        except ValueError as error:
            raise UserError(f"--flagfile={path}: {error}") from None
        if any(re.match(r"\s*--?flagfile", line) for line in text.splitlines()):
            raise UserError(f"a file of flags cannot name another. Received: --flagfile={path}")


def _what_a_flag_must_be(known, error: str) -> str:
    """absl's error, with the flag's bounds where it is about a value."""
    found = re.match(r"flag --(\w+)=(.*?): ", error, re.DOTALL)
    if not found or found[1] not in known:
        return error
    flag = known[found[1]]
    kinds = {"int": "a whole number", "float": "a number", "bool": "true or false"}
    choices = getattr(flag.parser, "enum_values", ())
    kind = kinds.get(flag.flag_type()) or "one of " + ", ".join(choices)
    help = flag.help.split(">: ")[-1]  # absl puts an enumeration's values before it
    return f"--{flag.name} must be {kind} ({help}). Received: --{flag.name}={found[2]}"


def mend_streams() -> None:
    """Makes printing work wherever it goes: nowhere, or to what knows few characters.

    A closed descriptor would be given to the next file that is opened, and what is
    printed would be written into it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
            setattr(sys, name, open(number, "r+" if number else "r", closefd=False))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")


def complain(error) -> None:
    """Says on standard error, in one line, what went wrong."""
    print(f"error: {one_line(str(error))}", file=sys.stderr)


def one_line(text: str) -> str:
    """The text with what would move the cursor, or cannot be seen, as Python writes it."""
    text = text if len(text) <= MAX_LINE else f"{text[:MAX_LINE]}..."
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def stop_at_once(how_to_go_on: str = "") -> None:
    """Makes Ctrl-C and SIGTERM end the process within a moment, whatever it is doing.

    A thread waits for them: Python's own handlers run between two instructions, and
    compiling takes seconds. Nothing needs tidying up, as no file is ever half written.
    Call it before other threads start, which would take the signals otherwise.

    Args:
        how_to_go_on: what is said after "Stopped.".

    Exit status: 130 for SIGINT, 143 for SIGTERM.
    """
    signals = {signal.SIGINT, signal.SIGTERM}
    if not hasattr(signal, "pthread_sigmask"):  # Windows: at the next instruction
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    terminal = os.dup(2)  # `quiet_import` puts a file in its place

    def wait():
        number = signal.sigwait(signals)
        try:
            # A pipe that is full, as a pager's may be, would keep the process waiting.
            room = select.poll()
            room.register(terminal, select.POLLOUT)
            if room.poll(500):
                os.write(terminal, f"\nStopped. {how_to_go_on}".rstrip().encode() + b"\n")
        finally:  # nobody may read it any more, and no last word may keep the process
            os._exit(128 + number)

    threading.Thread(target=wait, daemon=True).start()


def note(line: str) -> None:
    """Says on standard error what a person may want to know."""
    print(f"note: {one_line(line)}", file=sys.stderr)


def warn(line: str) -> None:
    """Says on standard error what a person should know and need not act on."""
    print(f"warning: {one_line(line)}", file=sys.stderr)


class Quiet:
    """Reports of training what is broken, and nothing else."""

    def say(self, line: str) -> None:
        """Nothing."""

    def warn(self, line: str) -> None:
        """Prints a line on standard error."""
        warn(line)

    def progress(self, epoch: int, fraction: float) -> None:
        """Nothing."""

    def epoch(self, record, best: float, seconds_left: float | None) -> None:
        """Nothing."""


class ProgressTable(Quiet):
    """Reports training as a table, with a live line for the epoch under way on a terminal."""

    def __init__(self, num_epochs: int, stream=None):
        self._num_epochs = num_epochs
        self._so_far = ""
        self._stream = stream or sys.stdout
        self._is_live = self._stream.isatty()
        self._has_header = False

    def say(self, line: str) -> None:
        """Prints a line of its own."""
        self._print(one_line(line))

    def progress(self, epoch: int, fraction: float) -> None:
        """Shows on a terminal how much of the epoch under way is done."""
        if self._is_live:
            bar = "#" * round(30 * fraction)
            line = f"{self._label(epoch)}  [{bar:<30}] {fraction:4.0%}{self._so_far}"
            self._write(f"\r\x1b[K{line}")

    def epoch(self, record, best: float, seconds_left: float | None) -> None:
        """Prints an epoch's row, with the best validation accuracy so far."""
        if not self._has_header:
            self._print(COLUMNS)
            self._has_header = True
        left = "?" if seconds_left is None else duration(seconds_left)
        self._so_far = f"  best {best:.2%}, {left} left"
        self._print(
            f"{self._label(record.epoch)}  {record.train_loss:6.4f}  {record.train_accuracy:8.2%}"
            f"  {record.valid_loss:6.4f}  {record.valid_accuracy:8.2%}  {best:7.2%}"
            f"  {record.gradient_norm:7.3f}  {record.seconds:7.2f}  {left:>6}"
        )

    def _label(self, epoch: int) -> str:
        return f"{f'{epoch + 1}/{self._num_epochs}':>9}"

    def _print(self, line: str) -> None:
        clear = "\r\x1b[K" if self._is_live else ""
        self._write(f"{clear}{line}\n")

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except BrokenPipeError:  # who reads the output went away
            raise
        except OSError as error:  # of the output, not of the training's files
            raise UserError(f"cannot write to standard output: {error.strerror}") from None


def duration(seconds: float) -> str:
    """Seconds as a person reads them: `42 s`, `7 min`, `1 h 05`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02}"
