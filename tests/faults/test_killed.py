"""SIGKILL at any moment: what comes out in the end is what an untroubled run leaves."""

import random
import time

import pytest
from harm import AS_USERS_DO, TINY, board, model_folder, read_until, records, run, start, tensors

from fast_weights import folders

# So that no machine is fast enough to end the training before the last kill.
EPOCHS_A_KILL = 50


def wait(folder, seconds):
    """Sleeps; less, if meanwhile the training does `EPOCHS_A_KILL` epochs."""
    start, end = epochs_done(folder), time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0 and epochs_done(folder) < start + EPOCHS_A_KILL:
        time.sleep(min(left, 0.01))


def epochs_done(folder):
    path = next(iter(folders.all_checkpoints(folder)), None)
    return int(path.stem.removeprefix("ckpt-")) if path else 0


def at_random_from_the_start(process, folder, rng):
    """While TensorFlow loads, the folder is put in order, or XLA compiles."""
    wait(folder, rng.uniform(0, 10))


def at_random_in_an_epoch(process, folder, rng):
    read_until(process, "%")
    wait(folder, rng.uniform(0, 0.3))


def at_the_instant_of_saving(process, folder, rng):
    """After a few epochs, as a checkpoint, a line of results or an event file is written."""
    read_until(process, "%")
    wait(folder, rng.uniform(0, 0.2))
    sign = rng.choice(["partial-*", "ckpt-*", "results.jsonl", "*tfevents*"])

    def look():
        found = sorted(folder.glob(sign))
        return [(path, path.stat().st_size) for path in found if path.exists()]

    before, end = look(), time.monotonic() + 5
    try:
        while look() == before and time.monotonic() < end:
            pass
    except FileNotFoundError:  # deleted between two calls: as good an instant
        pass
    time.sleep(rng.choice([0, 0, 0.0005, 0.002]))


MOMENTS = (at_the_instant_of_saving, at_random_in_an_epoch, at_random_from_the_start)


@pytest.mark.parametrize(
    ("flags", "num_kills", "num_epochs"),
    [
        (("--shuffle", "--summary_every=20"), 2, 60),
        pytest.param(("--summary_every=40",), 50, 3_000, marks=pytest.mark.slow),
        pytest.param(("--shuffle", "--summary_every=40"), 50, 3_000, marks=pytest.mark.slow),
    ],
    ids=lambda value: str(value),
)
def test_a_run_killed_again_and_again_ends_as_an_untroubled_one(
    tmp_path, flags, num_kills, num_epochs
):
    """A half-written file that is taken for whole, a doubled epoch, an order drawn anew."""
    rng = random.Random(num_kills + len(flags))
    flags = (*TINY, *flags, f"--num_epochs={num_epochs}")
    env = AS_USERS_DO if num_kills > 2 else None
    folder = model_folder(tmp_path / "killed")
    for number in range(num_kills):
        process = start(tmp_path / "killed", *flags, env=env)
        MOMENTS[number % len(MOMENTS)](process, folder, rng)
        assert process.poll() is None, process.stderr.read()
        process.kill()
        process.communicate()
        assert process.returncode == -9
    # Rows of all epochs would fill the pipe of a process that nobody reads.
    done = run(tmp_path / "killed", "--quiet", *flags, env=env)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    done = run(tmp_path / "whole", "--quiet", *flags, env=env)
    assert done.returncode == 0, done.stderr
    whole = model_folder(tmp_path / "whole")
    assert tensors(folder) == tensors(whole)
    assert records(folder) == records(whole)
    assert [record.epoch for record in records(folder)] == list(range(num_epochs))
    found, expected = board(folder), board(whole)
    assert found.keys() == expected.keys()
    for key, points in expected.items():
        # The graph holds names that TensorFlow counts up.
        assert found[key] == points or key == (".", "graph"), key
    names = {path.name for path in folder.iterdir() if "tfevents" not in path.name}
    assert names == {path.name for path in whole.iterdir() if "tfevents" not in path.name}
