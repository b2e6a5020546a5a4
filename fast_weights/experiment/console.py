"""Terminal input and output of the scripts: flags, one-line errors, Ctrl-C and the log.

This module loads neither Keras nor TensorFlow, so `--help` and an invalid flag take no time.
"""

import argparse
import contextlib
import dataclasses
import errno
import gc
import logging
import os
import pathlib
import runpy
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator

from absl import app, flags

from fast_weights.experiment import paper
from fast_weights.experiment.config import Config
from fast_weights.experiment.errors import UserError
from fast_weights.experiment.run_dir import RunDirectory

FLAGS = flags.FLAGS
logger = logging.getLogger(__name__)
# absl lists a flag under the module that defines it: here, the script that calls this module.
flags.disclaim_key_flags()
# File names can contain bytes that are not text, and some encodings lack characters.
ERRORS = "backslashreplace"
# The scripts that defined flags in this process. absl knows a script by its path.
_scripts: set[str] = set()


def define_config_flags(*names: str) -> None:
    """Defines a flag for each setting of `Config`, or for the given ones.

    In a notebook, the flags of the script that ran before are removed first. The files of
    `--plugin` are run before the flags are defined, so that they can add models and tasks.
    """
    for script in _scripts:
        for flag in list(FLAGS.flags_by_module_dict().get(script, ())):
            delattr(FLAGS, flag.name)
    _scripts.add(sys.argv[0])
    flags.DEFINE_multi_string("plugin", [], "Python file that adds entries to MODELS and TASKS")
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--plugin", "-plugin", action="append", default=[])
    for path in map(os.path.expanduser, parser.parse_known_args()[0].plugin):
        if not os.path.isfile(path):
            sys.exit(f"error: --plugin must be the name of a file. Received: {path}")
        with quiet_import():  # a plugin can import Keras
            runpy.run_path(path)
    for field in dataclasses.fields(Config):
        if names and field.name not in names:
            continue
        help, low, high = (field.metadata[name] for name in ("help", "low", "high"))
        if field.name in paper.SETTINGS and field.name != "network":
            help = f"{help}; {paper.SETTINGS[field.name]} with --network=paper"
        bounds = {"lower_bound": low, "upper_bound": high}
        if field.metadata["choices"]:
            flags.DEFINE_enum(field.name, field.default, list(field.metadata["choices"]), help)
        elif field.type is bool:
            flags.DEFINE_bool(field.name, field.default, help)
        elif field.type == str | None:
            flags.DEFINE_string(field.name, field.default, help)
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
    if (path / "config.json").exists():
        parent = path.parents[path.name.startswith("seed-")]
        advice = f"Use --checkpoint_dir={parent}"
        if path.name.startswith("previous"):
            advice = "Move it to DIRECTORY/MODEL_NAME, and use --checkpoint_dir=DIRECTORY"
        raise UserError(
            f"--checkpoint_dir must be a directory of runs, but {path} is a run. {advice}"
        )
    return RunDirectory(FLAGS.checkpoint_dir, FLAGS.model_name, FLAGS.seed)


def network() -> str | None:
    """Returns the value of `--network`, or `None` if it was not given."""
    return FLAGS.network if FLAGS["network"].present else None


def run(main: Callable[[], None], on_interrupt: str = "Interrupted.") -> None:
    """Parses the flags, runs `main` and exits; in a notebook, it returns instead.

    A `UserError`, or an `OSError` with the name of a file, is printed as one line, with exit
    status 2. If the program that reads the output ends, this one exits with status 141. Any other
    exception is a defect and keeps its traceback. Ctrl-C prints `on_interrupt`, with exit status
    130.
    """
    in_notebook = _in_notebook()

    def wrapped(argv):
        _set_up_logging()
        if not in_notebook:
            _exit_on_interrupt(on_interrupt)
        for name in ("data_dir", "checkpoint_dir", "output_dir", "init_from"):
            # A shell does not expand the ~ in --output_dir=~/figures.
            if name in FLAGS and FLAGS[name].value:
                FLAGS[name].value = os.path.expanduser(FLAGS[name].value)
        try:
            if len(argv) > 1:
                raise UserError(
                    f"every option is a flag, --name=value. Received: {' '.join(argv[1:])}"
                )
            main()
            sys.stdout.flush()
        except UserError as error:
            return _fail(str(error))
        except OSError as error:
            if error.filename is None and error.errno not in (errno.EPIPE, errno.ENOSPC):
                raise  # not an error of a file or of the output, so a defect
            _finish(sys.stdout)
            if error.errno == errno.EPIPE:  # the program that reads has ended, such as `head`
                return 141  # what a shell reports for SIGPIPE
            return _fail(f"{error.filename or 'standard output'}: {error.strerror}")
        finally:
            _finish(sys.stderr)
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


def _fail(reason: str) -> int:
    """Prints an error, if standard error can be written, and returns the exit status 2."""
    with contextlib.suppress(OSError):
        print(f"error: {reason}", file=sys.stderr)
    return 2


def _finish(stream) -> None:
    """Flushes a stream. If that fails, discards the rest, which Python would report at exit."""
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _complete_streams() -> None:
    """Opens closed standard streams, and lets output escape what its encoding lacks."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
            setattr(sys, name, open(number, "w" if number else "r", errors=ERRORS))  # noqa: SIM115
        elif number and hasattr(getattr(sys, name), "reconfigure"):  # not in a notebook
            getattr(sys, name).reconfigure(errors=ERRORS)


def _in_notebook() -> bool:
    """Returns whether the script runs in IPython, with `%run`."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and ipython.get_ipython() is not None


def _parse(argv):
    """Parses the flags, or exits with status 1. For an unknown flag, absl suggests another."""
    _complete_streams()
    try:
        return FLAGS(argv)
    except (SystemExit, OSError):  # absl has printed the help, and would exit with status 1
        _finish(sys.stdout)
        sys.exit(0)
    except flags.Error as error:
        reason = str(error)
    for field in dataclasses.fields(Config):
        if f"flag '{field.name}'" in reason and field.name not in FLAGS:
            reason = (
                f"--{field.name} is a setting of train.py. This script uses the setting of the run"
            )
    end = "" if reason.endswith("?") else "."
    print(f"error: {reason}{end} To list all flags: --help", file=sys.stderr)
    sys.exit(1)


def _exit_on_interrupt(message: str) -> None:
    """Makes Ctrl-C print a message and end the process with status 130.

    Python's own handler raises `KeyboardInterrupt` in the code that is running. While TensorFlow
    loads and traces a model, this is often a callback, in which Python ignores exceptions: up to
    one Ctrl-C in eight was lost. Nothing needs to be cleaned up, because files are complete or
    absent and the system releases the lock. In a notebook, this handler would end the kernel.
    """
    # A shell that starts a script in the background makes it ignore Ctrl-C.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
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
def quiet_import(log_level: str = "2") -> Iterator[None]:
    """Hides the lines that TensorFlow prints when it is imported and looks for GPUs.

    TensorFlow's C++ code writes them to file descriptor 2 before it reads `TF_CPP_MIN_LOG_LEVEL`.
    If the import fails, the lines are shown. If the variable is 0 or 1, nothing is hidden.

    Args:
        log_level: the value for `TF_CPP_MIN_LOG_LEVEL` if it is not set. Default `"2"`: only
            errors.
    """
    # A notebook keeps the settings of a Keras that it has imported. `train` checks them.
    if "keras" not in sys.modules:
        _fix_environment()
    with _hidden_lines(log_level):
        yield


@contextlib.contextmanager
def _hidden_lines(log_level):
    """Hides what is written to file descriptor 2 in the block, unless an import fails."""
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", log_level) < "2":  # the user wants to see them
        yield
        return
    # Libraries that TensorFlow imports log at INFO, and so do its strategies.
    logging.getLogger("absl").setLevel(logging.WARNING)
    logging.getLogger("tensorflow").setLevel(logging.WARNING)
    gc.disable()  # the import takes a fifth less time without garbage collection
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as hidden:
        os.dup2(hidden.fileno(), 2)
        try:
            yield
            if "tensorflow" in sys.modules:
                sys.modules["tensorflow"].config.list_physical_devices()
        except ImportError:
            hidden.seek(0)
            os.write(stderr, hidden.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            gc.enable()


def _fix_environment() -> None:
    """Sets environment variables that could otherwise change the results of a run, or end it."""
    # Keras imports Matplotlib. Figures are files, so they need no other backend.
    os.environ["MPLBACKEND"] = "agg"
    # Keras then reads no keras.json, which could set another float type or end the import.
    os.environ["KERAS_HOME"] = os.devnull
    for name in ("KERAS_MAX_EPOCHS", "KERAS_MAX_STEPS_PER_EPOCH", "KERAS_NNX_ENABLED"):
        os.environ.pop(name, None)
    chosen = os.environ.get("KERAS_BACKEND") or "tensorflow"
    os.environ["KERAS_BACKEND"] = "tensorflow"
    if chosen != "tensorflow":
        logger.info(
            "The scripts use Keras's TensorFlow backend, not the one in KERAS_BACKEND, %s", chosen
        )


def format_duration(seconds: float) -> str:
    """Returns a readable duration: `42 s`, `7 min` or `1 h 05`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02}"
