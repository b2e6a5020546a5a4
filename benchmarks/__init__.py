"""Commands that reproduce the results and measure the speed: `python -m benchmarks.<name>`."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
