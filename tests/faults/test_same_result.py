"""One seed, one result: whatever hash seed, number of threads and cores a process has."""

import os

import pytest
from harm import AS_USERS_DO, model_folder, records, run, tensors

from fast_weights.config import MODEL_NAMES

ONE_THREAD = {
    "PYTHONHASHSEED": "1",
    "OMP_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
}


@pytest.mark.slow
@pytest.mark.parametrize("model_name", MODEL_NAMES)
def test_two_runs_on_one_machine_are_the_same_to_the_bit(tmp_path, model_name):
    """An order that hangs on a set, a sum that hangs on how many threads share it."""
    # The original's sizes: small matrices are never shared between threads.
    flags = (f"--model_name={model_name}", "--num_epochs=1", "--num_training=12800", "--shuffle")
    left = []
    for name, env, options in (
        ("one", ONE_THREAD, {"preexec_fn": lambda: os.sched_setaffinity(0, {0})}),
        ("many", {"PYTHONHASHSEED": "2", "TF_NUM_INTRAOP_THREADS": "7"}, {}),
    ):
        done = run(tmp_path / name, *flags, env={**AS_USERS_DO, **env}, **options)
        assert done.returncode == 0, done.stderr
        folder = model_folder(tmp_path / name, model_name)
        left.append((tensors(folder), records(folder)))
    assert left[0] == left[1]
