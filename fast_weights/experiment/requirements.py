"""Stops a script that cannot run here, before it imports anything else.

The scripts import this module first, for its effect. Python 3.8 and later must be able to run it.
"""

import importlib.util
import signal
import sys
import warnings

PACKAGES = ("absl", "filelock", "keras", "matplotlib", "numpy", "tensorboard", "tensorflow")

if "IPython" not in sys.modules:
    # During an import, Python's own handler would print a traceback. `console.run` replaces this.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    # With PYTHONWARNINGS=error, imports of other packages would fail.
    warnings.filters = [one for one in warnings.filters if one[0] != "error"]
if sys.version_info < (3, 10):  # noqa: UP036
    version = ".".join(map(str, sys.version_info[:2]))
    sys.exit(f"error: Python 3.10 or later is needed. Received: Python {version}, {sys.executable}")
missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
if missing:
    sys.exit(
        f"error: {', '.join(missing)} cannot be found by {sys.executable}. Activate the virtual "
        "environment (source .venv/bin/activate) or run: pip install -r requirements.txt"
    )
