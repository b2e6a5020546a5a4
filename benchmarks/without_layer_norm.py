"""`train.py` with layer normalization taken out of the fast weights: does it converge?

python -m benchmarks.without_layer_norm --num_epochs=200 --checkpoint_dir=DIR
"""

import runpy
from unittest import mock

import fast_weights.cells.fast_weights as cell
from benchmarks.runs import ROOT

if __name__ == "__main__":
    with mock.patch.object(cell, "layer_normalize", lambda inputs, *_: inputs):
        runpy.run_path(str(ROOT / "train.py"), run_name="__main__")
