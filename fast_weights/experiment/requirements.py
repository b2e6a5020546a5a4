"""Stops a script that cannot run here, before it imports anything else.

The scripts import this module first, for its effect. Python 3.7 and later must be able to run it.
"""

import sys

from fast_weights.experiment.versions import PACKAGES, not_installed, outside_bounds

if sys.version_info < (3, 10):  # noqa: UP036
    version = ".".join(map(str, sys.version_info[:2]))
    sys.exit(f"error: Python 3.10 or later is needed. Received: Python {version}, {sys.executable}")
problem = not_installed(PACKAGES) or outside_bounds()
if problem:
    sys.exit(
        f"error: {problem} for {sys.executable}. Activate the virtual environment "
        "(source .venv/bin/activate) or run: pip install -r requirements.txt"
    )
