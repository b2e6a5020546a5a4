"""What the README claims about speed, runnable: `python -m benchmarks.<name>`."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
