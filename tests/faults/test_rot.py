"""Files cut short, or with other bytes than were written: refused, or right all the same."""

import random
import shutil
import struct

import pytest
from event_files import events

from fast_weights import checkpoints, data, folders, results, shipped, summaries, training
from fast_weights.errors import UserError

# Of each file: bytes that are wrong, and places where it ends.
MANY = [60, pytest.param(3_000, marks=pytest.mark.slow)]


@pytest.fixture(scope="module")
def trained(tiny, tmp_path_factory):
    """Four epochs of a tiny model, its data and its shipped weights."""
    folder = tmp_path_factory.mktemp("trained")
    config = tiny(num_epochs=4, num_training=40)
    training.train(config, folder, folder / "run", summary_every=100)
    shipped.save(folder / "shipped.npz", checkpoints.new_state(config).model, config)
    return folder


@pytest.fixture(scope="module")
def state(tiny):
    return checkpoints.new_state(tiny(num_epochs=4, num_training=40))


def spoilt(whole: bytes, number: int):
    """So many versions of a file, each with something wrong, the same each time."""
    for k in range(number):
        rng = random.Random(k)
        wrong = bytearray(whole)
        place = rng.randrange(len(whole))
        match k % 4:
            case 0:
                wrong = wrong[: k * len(whole) // number]
            case 1:
                wrong[place] ^= 1 << rng.randrange(8)
            case 2:
                for _ in range(rng.choice([2, 4, 8, 50])):
                    wrong[rng.randrange(len(whole))] = rng.randrange(256)
            case 3:
                # A block that never reached the disk.
                wrong[place : place + 512] = bytes(len(wrong[place : place + 512]))
        yield bytes(wrong)


def each_spoilt(path, number, read):
    """What `read()` gives for each spoilt version of the file; a `UserError` is its line."""
    whole = path.read_bytes()
    try:
        for wrong in spoilt(whole, number):
            path.write_bytes(wrong)
            try:
                outcome = read()
            except UserError as error:
                outcome = str(error)
                assert outcome.isprintable()
            yield wrong == whole, outcome
    finally:
        path.write_bytes(whole)


def as_bytes(arrays):
    return [array.tobytes() for array in arrays]


@pytest.mark.parametrize("number", MANY)
def test_data(trained, number):
    def read():
        return [as_bytes(split) for split in data.load(path, 2, 40, 40, 0)]

    path = data.data_path(trained, 2, 0)
    expected, lines = read(), 0
    for same, outcome in each_spoilt(path, number, read):
        # A byte of the archive that says nothing does no harm.
        assert outcome == expected or "delete the file to have it made anew" in outcome
        lines += not same and outcome != expected
    assert lines > number / 2


def test_a_place_before_the_file(trained):
    """An error of the system that reads as if the file could not be opened."""
    path = data.data_path(trained, 2, 0)
    whole = path.read_bytes()
    try:
        # Where the archive's directory begins, in its last record.
        path.write_bytes(whole[:-6] + struct.pack("<I", 2**31) + whole[-2:])
        with pytest.raises(UserError, match="delete the file to have it made anew"):
            data.load(path, 2, 40, 40, 0)
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize("number", [40, pytest.param(1_000, marks=pytest.mark.slow)])
def test_shipped_weights(trained, number):
    def read():
        return as_bytes(weight.numpy() for weight in shipped.load(path)[0].weights)

    path = trained / "shipped.npz"
    expected, lines = read(), 0
    for _, outcome in each_spoilt(path, number, read):
        assert outcome == expected or "Get it anew (git checkout" in outcome
        lines += outcome != expected
    assert lines > number / 2


@pytest.mark.parametrize("number", MANY)
def test_configuration(trained, number):
    """A setting that is another; a run that cannot go on although its checkpoint knows."""

    def read():
        said.clear()
        return folders.load_config(trained / "run", said.append)

    said = []
    expected, lines = read(), 0
    path = trained / "run/config.json"
    for _, outcome in each_spoilt(path, number, read):
        assert outcome == expected
        lines += len(said)
    assert lines > number / 2
    assert "config.json: " in said[0]
    assert "taking the copy in ckpt-4.npz" in said[0]


def test_a_rotten_configuration_and_no_checkpoint_that_knows(trained, tmp_path):
    shutil.copytree(trained / "run", tmp_path / "run")
    for name in ("config.json", "ckpt-3.npz", "ckpt-4.npz"):
        (tmp_path / "run" / name).write_bytes(b"rot")
    with pytest.raises(UserError, match="Put it back, or train with --restart"):
        folders.load_config(tmp_path / "run", pytest.fail)


@pytest.mark.parametrize("number", MANY)
def test_a_rotten_checkpoint_goes_back_to_the_one_before(trained, state, number):
    """Half of one epoch and half of another; an error that none thought of."""
    variables = [*state.model.weights, *state.optimizer.variables]

    def read():
        said.clear()
        state.restore(trained / "run", said.append)
        return [state.epoch, *as_bytes(variable.numpy() for variable in variables)]

    said = []
    path = trained / "run/ckpt-4.npz"
    whole = path.read_bytes()
    newest = read()
    path.write_bytes(b"")
    before = read()
    assert "ckpt-4.npz is broken; going back to the checkpoint before it" in said[0]
    path.write_bytes(whole)
    assert newest != before
    lines = 0
    for _, outcome in each_spoilt(path, number, read):
        assert outcome == (before if said else newest)
        lines += len(said)
    assert lines > number / 2


def test_two_rotten_checkpoints_are_refused(trained, state, tmp_path):
    shutil.copytree(trained / "run", tmp_path / "run")
    for number in (3, 4):
        (tmp_path / f"run/ckpt-{number}.npz").write_bytes(b"rot")
    with pytest.raises(UserError, match="Train with --restart to begin anew"):
        state.restore(tmp_path / "run")


@pytest.mark.parametrize("number", MANY)
def test_results(trained, number):
    """A number that is another, an epoch that is gone and none is told."""

    def read():
        said.clear()
        found = results.read(trained / "run", said.append)
        results.truncate(trained / "run", 4, said.append)
        assert results.read(trained / "run", pytest.fail) == found
        return found

    said = []
    path = trained / "run" / results.FILE_NAME
    expected, missed = read(), 0
    assert said == []
    for _, outcome in each_spoilt(path, number, read):
        assert [record for record in expected if record in outcome] == outcome
        assert bool(said) >= (outcome != expected)
        missed += outcome != expected
    assert missed > number / 2


@pytest.mark.parametrize("number", [20, pytest.param(1_000, marks=pytest.mark.slow)])
def test_events(trained, number):
    """A rotten event that TensorBoard stumbles on for good; epochs that are gone in silence."""
    run = trained / "run"

    def read():
        said.clear()
        summaries.truncate(run, 4, said.append)
        return events(run)

    said = []
    (path,) = (run / "validation").glob("*tfevents*")
    expected = read()
    lost = 0
    for _, outcome in each_spoilt(path, number, read):
        for key, points in outcome.items():
            assert [one for one in expected[key] if one in points] == points
        assert len(said) <= 1
        whole_epochs = len(outcome.get(("validation", "loss"), []))
        assert bool(said) == (whole_epochs < 4)
        lost += whole_epochs < 4
    assert lost > number / 2


def test_a_resume_on_rotten_results_and_events_says_so_and_goes_on(tiny, trained, tmp_path):
    """A run that is lost to a file that it could do without."""
    shutil.copytree(trained / "run", tmp_path / "run")
    for path in (tmp_path / "run").rglob("*tfevents*"):
        path.write_bytes(path.read_bytes()[:200])
    results_path = tmp_path / "run" / results.FILE_NAME
    lines = results_path.read_text().splitlines()
    results_path.write_text("\n".join([lines[0], lines[1].replace("1", "2"), *lines[2:], ""]))

    class Listener(training.Reporter):
        def __init__(self):
            self.said = []

        def warn(self, line):
            self.said.append(line)

    listener = Listener()
    config = tiny(num_epochs=5, num_training=40)
    records = training.train(config, trained, tmp_path / "run", listener)
    assert [record.epoch for record in records] == [0, 2, 3, 4]
    told = "\n".join(listener.said)
    assert "line 2 is no record of an epoch and is skipped" in told
    assert "lacks 1 of the 4 epochs" in told
    assert "TensorBoard lacks 4 of the 4 epochs of" in told
