"""No room for another byte: a line, nothing lost, and on it goes once there is room."""

import contextlib
import functools
import resource
import subprocess

import numpy as np
import pytest
from assertions import assert_refused
from harm import TINY, records, run, tensors

from fast_weights import checkpoints, figures, training
from fast_weights.errors import UserError


@contextlib.contextmanager
def room_for(size):
    """No file of this process may be larger than `size` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture(scope="module")
def whole(tiny, tmp_path_factory):
    """Four untroubled epochs."""
    folder = tmp_path_factory.mktemp("whole")
    training.train(tiny(num_epochs=4), folder, folder)
    return folder


# Bytes that do for the configuration; for a checkpoint as well; for one epoch's pictures.
@pytest.mark.parametrize(
    ("size", "some_epochs"),
    [
        pytest.param(600, False, marks=pytest.mark.slow),
        pytest.param(8_000, False, marks=pytest.mark.slow),
        (130_000, True),
    ],
)
def test_a_full_disk_costs_the_epoch_in_progress(tiny, whole, tmp_path, size, some_epochs):
    """A traceback; a checkpoint that is gone with the attempt to replace it."""
    train = functools.partial(training.train, data_dir=tmp_path / "data")
    folder = tmp_path / "full/RNN-LN-FW"
    train(tiny(num_epochs=2), folder=folder)
    before = tensors(folder)
    with (
        pytest.raises(UserError, match=rf"cannot write to {folder}: .*File too large\."),
        room_for(size),
    ):
        train(tiny(num_epochs=4), folder=folder, summary_every=1)
    assert (tensors(folder) != before) == some_epochs
    said = []
    checkpoints.load_model(tmp_path / "full", "RNN-LN-FW", say=said.append)
    (line,) = said
    assert "of its 4 epochs so far" in line
    train(tiny(num_epochs=4), folder=folder)
    assert tensors(folder) == tensors(whole)
    assert records(folder) == records(whole)
    assert not list(folder.rglob("partial-*"))


@pytest.mark.slow
def test_no_room_for_the_data(tmp_path):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))

    done = run(tmp_path, *TINY, preexec_fn=limit)
    assert_refused(done, "cannot write data to", "File too large")
    assert list((tmp_path / "data_dir").iterdir()) == []


def test_no_room_for_a_figure_leaves_the_old_one(tmp_path):
    """A picture that was there, and half of another in its place."""
    weights = np.eye(4), np.ones((37, 4))
    path = figures.plot_weights(weights, weights, tmp_path)
    before = path.read_bytes()
    with room_for(500), pytest.raises(UserError, match=f"cannot write {path}: File too large"):
        figures.plot_weights(weights, weights, tmp_path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_no_room_for_what_is_printed(tmp_path):
    """The folder that the checkpoints lie in, which has room, named in its place."""
    with open("/dev/full", "w") as full:
        streams = {"capture_output": False, "stdout": full, "stderr": subprocess.PIPE}
        done = run(tmp_path, *TINY, "--num_epochs=1", **streams)
    assert_refused(done, "cannot write to standard output: No space left on device")
