"""Terminal input and output of the scripts: flags, one-line errors, progress.

Nothing here loads Keras or TensorFlow, so `--help` and an invalid flag are answered at once.
"""

import contextlib
import dataclasses
import difflib
import gc
import logging
import os
import pathlib
import re
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator

from absl import app, flags

from fast_weights.experiment import storage
from fast_weights.experiment.config import Config
from fast_weights.experiment.errors import UserError
from fast_weights.experiment.results import EpochRecord
from fast_weights.experiment.run_dir import RunDirectory

FLAGS = flags.FLAGS
logger = logging.getLogger(__name__)
# absl lists a flag under the module that defines it: here, the script that calls this module.
flags.disclaim_key_flags()
# Fits a terminal of 80 columns.
HEADER = (
    f"{'':9}  {'training':>16}  {'validation':>25} {'gradient':>8}\n"
    f"{'epoch':>9}  {'loss':>6}  {'accuracy':>8}  {'loss':>6}  {'accuracy':>8}  {'best':>7}"
    f"  {'norm':>7}  {'seconds':>7}  {'left':>6}"
)
# The console of Windows may show escape sequences as they are.
CLEAR_LINE = f"\r{'':79}\r" if os.name == "nt" else "\r\x1b[K"
# TensorFlow found a GPU that it cannot use. Error 303 means that there is no driver.
UNUSABLE_GPU = r"Cannot dlopen some GPU libraries|failed call to cuInit(?!.*(\(303\)|NO_DEVICE))"

# The scripts that defined flags in this process. absl knows a script by its path.
_scripts: set[str] = set()


def define_config_flags(*names: str) -> None:
    """Defines a flag for each setting of `Config`, or for the given ones.

    In a notebook, the flags of the script that ran before are removed first.
    """
    for script in _scripts:
        for flag in list(FLAGS.flags_by_module_dict().get(script, ())):
            delattr(FLAGS, flag.name)
    _scripts.add(sys.argv[0])
    for field in dataclasses.fields(Config):
        if names and field.name not in names:
            continue
        help, low, high = (field.metadata[name] for name in ("help", "low", "high"))
        bounds = {"lower_bound": low, "upper_bound": high}
        if field.metadata["choices"]:
            flags.DEFINE_enum(field.name, field.default, list(field.metadata["choices"]), help)
        elif field.type is bool:
            flags.DEFINE_bool(field.name, field.default, help)
        elif field.type in (int, int | None):
            flags.DEFINE_integer(field.name, field.default, help, **bounds)
        else:
            flags.DEFINE_float(field.name, field.default, help, **bounds)


def define_directory_flags() -> None:
    """Defines `--data_dir` and `--checkpoint_dir`."""
    help = "directory of the sequences, which are generated if they are missing"
    flags.DEFINE_string("data_dir", "data", help)
    flags.DEFINE_string("checkpoint_dir", "checkpoints", "directory with one directory per model")


def given_settings() -> dict:
    """Returns the settings that were given as flags, and always the model name and the seed."""
    names = [field.name for field in dataclasses.fields(Config)]
    given = {name: FLAGS[name].value for name in names if FLAGS[name].present}
    return {**given, "model_name": FLAGS.model_name, "seed": FLAGS.seed}


def run_dir() -> RunDirectory:
    """Returns the run directory that the flags name.

    Raises:
        UserError: if `--checkpoint_dir` is the directory of a run.
    """
    path = pathlib.Path(FLAGS.checkpoint_dir).absolute()
    if storage.exists(path / "config.json"):
        raise UserError(
            f"--checkpoint_dir must be a directory of runs, but {path} is a run. "
            f"Use --checkpoint_dir={path.parent}"
        )
    return RunDirectory(FLAGS.checkpoint_dir, FLAGS.model_name, FLAGS.seed)


def network() -> str | None:
    """Returns the value of `--network`, or `None` if it was not given."""
    return FLAGS.network if FLAGS["network"].present else None


def run(main: Callable[[], None], on_interrupt: str = "Interrupted.") -> None:
    """Parses the flags, runs `main` and exits; in a notebook, it returns instead.

    A `UserError` is printed as one line, with exit status 2. Any other exception is a defect
    and keeps its traceback. Ctrl-C prints `on_interrupt`, with exit status 130.
    """
    in_notebook = _in_notebook()

    def wrapped(argv):
        _set_up_logging()
        if not in_notebook:
            _exit_on_interrupt(on_interrupt)
        for name in ("data_dir", "checkpoint_dir", "output_dir"):
            if name in FLAGS:  # a shell does not expand the ~ in --output_dir=~/figures
                FLAGS[name].value = os.path.expanduser(FLAGS[name].value)
        try:
            if len(argv) > 1:
                raise UserError(
                    f"every option is a flag, --name=value. Received: {' '.join(argv[1:])}"
                )
            main()
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        return 0

    try:
        app.run(wrapped, flags_parser=_parse)
    except KeyboardInterrupt:
        print(on_interrupt, file=sys.stderr)
        if not in_notebook:
            sys.exit(130)
    except SystemExit:  # IPython would print it as an error
        if not in_notebook:
            raise


def _in_notebook() -> bool:
    """Returns whether the script runs in IPython, with `%run`."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and ipython.get_ipython() is not None


def _parse(argv):
    """Parses the flags. Suggests a flag for one that does not exist, then exits with status 1."""
    try:
        return FLAGS(argv)
    except flags.UnrecognizedFlagError as error:
        similar = _similar_flags(error.flagname)
        hint = f". Did you mean {' or '.join(f'--{name}' for name in similar)}?" if similar else ""
        reason = f"there is no flag --{error.flagname}{hint}"
    except flags.Error as error:
        reason = str(error)
    end = "" if reason.endswith("?") else "."
    print(f"error: {reason}{end} To list all flags: --help", file=sys.stderr)
    sys.exit(1)


def _similar_flags(name: str) -> list[str]:
    """Returns the script's flags that resemble a name, such as `learning_rate` for `lr`."""
    known = [flag.name for flag in FLAGS.get_key_flags_for_module(sys.argv[0])]
    initials = ["".join(part[0] for part in flag.split("_")) for flag in known]
    found = [flag for flag, letters in zip(known, initials, strict=True) if name == letters]
    found += [flag for flag in known if name in flag.split("_")]
    return list(dict.fromkeys(found or difflib.get_close_matches(name, known, n=2)))


def _exit_on_interrupt(message: str) -> None:
    """Makes Ctrl-C print a message and end the process with status 130.

    Python's own handler raises `KeyboardInterrupt` in the code that is running. While TensorFlow
    loads and traces a model, this is often a callback, in which Python ignores exceptions: up to
    one Ctrl-C in eight was lost. Nothing needs to be cleaned up, because files are complete or
    absent and the system releases the lock. In a notebook, this handler would end the kernel.
    """
    # A shell that starts a script in the background makes it ignore Ctrl-C.
    is_default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not is_default:
        return
    stderr = os.dup(2)  # `quiet_import` redirects descriptor 2

    def end(number, frame):
        with contextlib.suppress(OSError):
            os.write(stderr, f"\n{message}\n".encode())
        os._exit(130)

    signal.signal(signal.SIGINT, end)


def _set_up_logging() -> None:
    """Prints the package's log on standard error, as `note: …` and `warning: …`."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter())
    logger = logging.getLogger("fast_weights")
    logger.handlers[:] = [handler]  # in a notebook, in place of an earlier script's handler
    logger.setLevel(logging.INFO)
    logger.propagate = False  # absl's handler would print each line again


class _Formatter(logging.Formatter):
    """Writes the level in lower case, and INFO as a note."""

    def format(self, record):
        kind = "note" if record.levelno == logging.INFO else record.levelname.lower()
        return f"{kind}: {record.getMessage()}"


@contextlib.contextmanager
def quiet_import() -> Iterator[None]:
    """Hides the lines that TensorFlow prints when it is imported and looks for GPUs.

    Its C++ code writes them to file descriptor 2 before it reads `TF_CPP_MIN_LOG_LEVEL`. If
    the import fails, they are shown. If TensorFlow found a GPU that it cannot use, its warnings
    are shown. With `TF_CPP_MIN_LOG_LEVEL=0`, nothing is hidden.
    """
    _select_tensorflow()
    # TensorFlow reads the level once. Above 1, it would not say that it cannot use a GPU.
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1") == "0":
        with _deferred_interrupt():
            yield
        return
    # Libraries that TensorFlow imports log at INFO, and so do its strategies.
    logging.getLogger("absl").setLevel(logging.WARNING)
    logging.getLogger("tensorflow").setLevel(logging.WARNING)
    gc.disable()  # the import takes a fifth less time without garbage collection
    sys.stderr.flush()
    stderr = os.dup(2)
    with _deferred_interrupt(), tempfile.TemporaryFile() as hidden:
        os.dup2(hidden.fileno(), 2)
        try:
            yield
            if "tensorflow" in sys.modules:
                sys.modules["tensorflow"].config.list_physical_devices()
        except ImportError:
            os.dup2(stderr, 2)
            sys.stderr.write(_content(hidden))
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            gc.enable()
        sys.stderr.write(_gpu_warnings(_content(hidden)))


def _select_tensorflow() -> None:
    """Makes TensorFlow the backend of Keras, unless Keras is already imported, as in a notebook."""
    if "keras" in sys.modules:
        return
    chosen = os.environ.get("KERAS_BACKEND") or "tensorflow"
    os.environ["KERAS_BACKEND"] = "tensorflow"
    if chosen != "tensorflow":
        logger.info(
            "The scripts use Keras's TensorFlow backend, not the one in KERAS_BACKEND, %s", chosen
        )


@contextlib.contextmanager
def _deferred_interrupt() -> Iterator[None]:
    """In a notebook, delays a `KeyboardInterrupt` to the end of the block.

    If an import of TensorFlow was interrupted, a second one can end the process.
    """
    if not _in_notebook():
        yield
        return
    received = []
    previous = signal.signal(signal.SIGINT, lambda *args: received.append(args))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
    if received:
        raise KeyboardInterrupt


def _content(file) -> str:
    """Returns the text of a file that is open for reading and writing."""
    file.seek(0)
    return file.read().decode(errors="replace")


def _gpu_warnings(log: str) -> str:
    """Returns TensorFlow's warnings if it found a GPU that it cannot use, or else nothing."""
    if not re.search(UNUSABLE_GPU, log):
        return ""
    # A message starts with its level and the date, such as W1126, and can have more lines.
    messages = re.split(r"^(?=[IWEF]\d{4} |WARNING: All log)", log, flags=re.MULTILINE)
    return "".join(message for message in messages if re.match(r"[WEF]\d", message))


class ProgressTable:
    """Prints training as a table, with a live line for the current epoch on a terminal.

    It is a `training.Progress`, which this module does not import because that loads
    TensorFlow.
    """

    def __init__(self, num_epochs: int, stream=None):
        self._num_epochs = num_epochs
        self._stream = stream or sys.stdout
        self._is_live = self._stream.isatty()
        self._so_far = ""

    def update(self, epoch: int, fraction: float) -> None:
        """Shows the progress of the current epoch on a terminal."""
        if self._is_live:
            bar = "#" * round(30 * fraction)
            self._write(
                f"{CLEAR_LINE}{self._label(epoch)}  [{bar:<30}] {fraction:4.0%}{self._so_far}"
            )

    def end_epoch(self, record: EpochRecord, best: float, seconds_left: float | None) -> None:
        """Prints the row of an epoch, with the best validation accuracy so far."""
        clear = CLEAR_LINE if self._is_live else ""
        if not self._so_far:
            self._write(f"{clear}{HEADER}\n")
        left = "?" if seconds_left is None else format_duration(seconds_left)
        self._so_far = f"  best {best:.2%}, {left} left"
        self._write(
            f"{clear}{self._label(record.epoch)}  {record.train_loss:6.4f}"
            f"  {record.train_accuracy:8.2%}  {record.val_loss:6.4f}  {record.val_accuracy:8.2%}"
            f"  {best:7.2%}  {record.gradient_norm:7.3f}  {record.seconds:7.2f}  {left:>6}\n"
        )

    def _label(self, epoch: int) -> str:
        return f"{f'{epoch}/{self._num_epochs}':>9}"

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def format_duration(seconds: float) -> str:
    """Returns a readable duration: `42 s`, `7 min` or `1 h 05`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02}"
