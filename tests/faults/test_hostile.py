"""Files made to do harm: to run code, to fill the memory, to crash the program."""

import io
import json
import os
import pickle
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
import tensorflow as tf
from assertions import assert_refused
from harm import ROOT, run
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

from fast_weights import arrays, checkpoints, data, folders, results, shipped, summaries
from fast_weights.config import Config
from fast_weights.errors import UserError

SIZES = (2, 7, 5, 3)
ABOUT = json.dumps(
    {"version": 1, "num_pairs": 2, "num_training": 7, "num_validation": 5, "seed": 3}
)
TERABYTE = 10**12


class RunsCode:
    """Makes a folder when it is unpickled."""

    def __init__(self, path):
        self._path = str(path)

    def __reduce__(self):
        return os.mkdir, (self._path,)


@pytest.fixture
def little_memory():
    """Fails a test that takes more than 10 MB at any moment."""
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10e6, f"{peak / 1e6:.0f} MB"


def npy(shape, dtype="|u1", values=b""):
    """An array's file that claims a shape."""
    stream = io.BytesIO()
    header = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue() + values


def archive(path, **members):
    """An `.npz` file of ready-made members; those of the task where none is given."""
    about = io.BytesIO()
    np.save(about, np.array(ABOUT))
    whole = {
        "about": about.getvalue(),
        "training_tokens": npy((7, 7), values=bytes(49)),
        "training_targets": npy((7,), values=bytes(7)),
        "validation_tokens": npy((5, 7), values=bytes(35)),
        "validation_targets": npy((5,), values=bytes(5)),
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in {**whole, **members}.items():
            file.writestr(f"{name}.npy", content)
    return path


def test_what_the_archives_below_are_spoilt_from_is_taken(tmp_path):
    training, _ = data.load(archive(tmp_path / "data.npz"), *SIZES)
    assert training.tokens.shape == (7, 7)


@pytest.mark.parametrize(
    "members",
    [
        {"training_tokens": npy((TERABYTE,))},
        {"training_tokens": npy((7, 7), dtype="<U250000000000")},
        {"about": npy((), dtype="<U250000000000")},
        {"about": npy((10**6,) * 9)},
        # 100 MB of zeros in 100 KB.
        {"training_tokens": npy((7, 7), values=bytes(10**8))},
        {"about": bytes(10**8)},
    ],
    ids=["shape", "type", "about", "product", "bomb", "about-bomb"],
)
def test_a_small_file_cannot_claim_much_memory(tmp_path, members, request):
    path = archive(tmp_path / "data.npz", **members)
    weights = archive(tmp_path / "weights.npz", config=members.get("about", b""), **members)
    assert path.stat().st_size < 200_000
    request.getfixturevalue("little_memory")
    with pytest.raises(UserError, match="delete the file"):
        data.load(path, *SIZES)
    with pytest.raises(UserError, match="holds no weights of this project"):
        shipped.load(weights)


@pytest.mark.parametrize("claim", [10, 2**32 - 2])
def test_an_archive_that_lies_about_its_member(tmp_path, claim, little_memory):
    """A size in the archive's directory that is not the member's: its content counts."""
    path = archive(tmp_path / "data.npz")
    content = path.read_bytes()
    size = struct.pack("<I", len(npy((7, 7))) + 49)
    assert content.count(size) == 2
    path.write_bytes(content.replace(size, struct.pack("<I", claim)))
    if claim > 10:
        assert data.load(path, *SIZES)[0].tokens.shape == (7, 7)
    else:
        with pytest.raises(UserError, match="delete the file"):
            data.load(path, *SIZES)


def test_no_file_can_run_code(tmp_path):
    marker = tmp_path / "ran"
    evil = np.array([RunsCode(marker)], dtype=object)
    stream = io.BytesIO()
    np.save(stream, evil, allow_pickle=True)
    path = archive(tmp_path / "data.npz", about=stream.getvalue())
    with pytest.raises(UserError):
        data.load(path, *SIZES)
    path = archive(tmp_path / "data.npz", training_tokens=stream.getvalue())
    with pytest.raises(UserError):
        data.load(path, *SIZES)
    with pytest.raises(UserError):
        shipped.load(archive(tmp_path / "weights.npz", config=stream.getvalue()))
    for path in (tmp_path / "data.npz", tmp_path / folders.CONFIG_NAME):
        path.write_bytes(pickle.dumps(RunsCode(marker)))
    with pytest.raises(UserError):
        data.load(tmp_path / "data.npz", *SIZES)
    with pytest.raises(UserError):
        folders.load_config(tmp_path)
    assert not marker.exists()
    # What is harmless above would have done it.
    np.load(io.BytesIO(stream.getvalue()), allow_pickle=True)
    assert marker.exists()


@pytest.mark.parametrize("name", [folders.CONFIG_NAME, results.FILE_NAME])
def test_a_text_of_a_terabyte_and_one_that_never_comes(tmp_path, name, little_memory):
    """A file of holes, a pipe that nobody writes to, a device without an end."""
    path = tmp_path / name

    def read():
        return (
            folders.load_config(tmp_path) if name == folders.CONFIG_NAME else results.read(tmp_path)
        )

    with open(path, "wb") as file:
        file.truncate(TERABYTE)
    with pytest.raises(UserError, match="at most"):
        read()
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(UserError, match="expected a regular file"):
        read()
    path.unlink()
    path.symlink_to("/dev/zero")
    with pytest.raises(UserError, match="expected a regular file"):
        read()


@pytest.mark.parametrize(
    "make",
    [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero")],
    ids=["pipe", "folder", "device"],
)
def test_an_archive_that_is_no_file(tiny_config, tmp_path, make):
    """A wait without end for who writes to a pipe."""
    names = ("data.npz", "shipped/RNN-LN-FW.npz", "RNN-LN-FW/ckpt-1.npz")
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        make(tmp_path / name)
    with pytest.raises(UserError, match="delete the file"):
        data.load(tmp_path / "data.npz", *SIZES)
    with pytest.raises(UserError, match="holds no weights of this project"):
        shipped.load(tmp_path / "shipped/RNN-LN-FW.npz")
    with pytest.raises(UserError, match=r"config\.json"):
        folders.load_config(tmp_path / "RNN-LN-FW")
    with pytest.raises(UserError, match="is broken"):
        checkpoints.new_state(tiny_config).restore(tmp_path / "RNN-LN-FW")


@pytest.mark.parametrize(
    "shape", [(TERABYTE,), (10**6, 10**6), (2**62, 2**62), (-1, 5), ()], ids=str
)
def test_a_checkpoint_cannot_claim_much_memory(tiny_config, tmp_path, shape, request):
    """TensorFlow's reader ends the process on some of these."""
    state = checkpoints.new_state(tiny_config)
    state.save(tmp_path)
    path = tmp_path / "ckpt-0.npz"
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    assert state.restore(tmp_path)
    members["rnn.kernel.npy"] = npy(shape, dtype="<f4")
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    request.getfixturevalue("little_memory")
    with pytest.raises(UserError, match="is broken, of another model"):
        state.restore(tmp_path)


@pytest.mark.parametrize("size", [0, 10**9, TERABYTE, 2**63, 2**64 - 1])
@pytest.mark.parametrize("length", [200, TERABYTE])
def test_an_event_cannot_claim_much_memory(tmp_path, size, length, little_memory):
    """TensorFlow's reader ends the process on some of these; of holes, a file can be as long."""
    path = tmp_path / "a.tfevents.b"
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(tf.compat.v1.Event(step=1).SerializeToString())
    whole = path.read_bytes()
    with open(path, "ab") as file:
        header = struct.pack("<Q", size)
        file.write(header + struct.pack("<I", masked_crc32c(header)))
        file.truncate(length)
    summaries.truncate(tmp_path, 1)
    assert path.read_bytes() == whole


def test_events_that_never_come(tmp_path):
    os.mkfifo(tmp_path / "a.tfevents.b")
    summaries.truncate(tmp_path, 1)
    assert (tmp_path / "a.tfevents.b").read_bytes() == b""


@pytest.mark.parametrize("epoch", [-1, TERABYTE])
def test_epochs_without_number(tiny_config, tmp_path, epoch, little_memory):
    """A list of all the epochs that are said to be done; an axis that has no room for others."""
    state = checkpoints.new_state(tiny_config)
    state.epoch = epoch
    state.save(tmp_path)
    (tmp_path / f"ckpt-{epoch}.npz").rename(tmp_path / "ckpt-7.npz")
    with pytest.raises(UserError, match="is broken, of another model"):
        state.restore(tmp_path)
    results.append(tmp_path, results.Record(epoch, 1.0, 0.5, 1.0, 0.5, 1.0, 1.0))
    assert results.read(tmp_path) == []


def test_a_directory_cannot_claim_much_memory(tmp_path, little_memory):
    """A file of holes whose last bytes say that all of it is a list of members."""
    path = tmp_path / "data.npz"
    with open(path, "wb") as file:
        file.truncate(2**31)
        file.seek(0, os.SEEK_END)
        file.write(b"PK\5\6" + struct.pack("<4H2IH", 0, 0, 9, 9, 2**31, 0, 0))
    with pytest.raises(UserError, match="delete the file"):
        data.load(path, *SIZES)


def test_no_model_is_built_of_weights_that_are_not_there(tmp_path, monkeypatch):
    """Gigabytes for a small file that says that it has 10,000 units."""
    large = Config(units=10_000, num_pairs=26)
    for module in ("checkpoints", "shipped"):
        monkeypatch.setattr(f"fast_weights.{module}.build_model", lambda *_: pytest.fail("built"))
    folder = tmp_path / "RNN-LN-FW"
    folders.save_config(folder, large)
    arrays.save(folder / "ckpt-1.npz", {"config": np.array(large.to_json())})
    for train in (
        checkpoints.resume_or_new,
        lambda *_: checkpoints.load_model(tmp_path, "RNN-LN-FW"),
    ):
        with pytest.raises(UserError, match="is broken, of another model"):
            train(folder, large)
    with pytest.raises(UserError, match="holds no weights of this project"):
        shipped.load(folder / "ckpt-1.npz")


@pytest.mark.parametrize("make", ["link", "pipe"])
def test_a_lock_that_is_no_file(tmp_path, make):
    """Another's file that is written over; a wait without end."""
    (tmp_path / "precious").write_text("another's")
    lock = tmp_path / "run/lock"
    lock.parent.mkdir()
    if make == "link":
        lock.symlink_to(tmp_path / "precious")
    else:
        os.mkfifo(lock)
    with pytest.raises(UserError, match="run/lock"), folders.locked(lock.parent):
        pass
    assert (tmp_path / "precious").read_text() == "another's"


def test_links_and_folders_in_the_place_of_events_and_leftovers(tmp_path):
    """Another's folder that is emptied; one that stays in the way for good."""
    run, others = tmp_path / "run", tmp_path / "others"
    others.mkdir()
    (others / "a.tfevents.b").write_bytes(b"another's")
    (run / "partial-7").mkdir(parents=True)
    (run / "training").symlink_to(others)
    with folders.locked(run):
        summaries.truncate(run, 0)
    assert [path.name for path in run.iterdir()] == ["lock"]
    assert (others / "a.tfevents.b").read_bytes() == b"another's"


def test_a_configuration_cannot_claim_much_memory():
    values = json.loads(Config().to_json())
    with pytest.raises(UserError, match="checksum"):
        Config.from_json(json.dumps({**values, "units": 10**9}))
    del values["checksum"]
    with pytest.raises(UserError, match="`units` must be from 1 to 10000"):
        Config.from_json(json.dumps({**values, "version": 2, "units": 10**9}))


@pytest.mark.parametrize(
    "sample", ["\x1b[2J\x1b[1;1H??g", "g5o8k1??g\n", "\u202eg5o8k1??g", "א5ב8ג1??א"]
)
def test_a_sample_cannot_move_the_cursor(sample):
    with pytest.raises(UserError) as caught:
        data.encode_sample(sample, 3)
    assert str(caught.value).isprintable()
    assert str(caught.value).isascii()


def test_a_sample_of_a_million_characters(tmp_path):
    """More than a command line takes: absl reads flags from a file."""
    (tmp_path / "flags").write_text(f"--sample={'g5' * 500_000}\n")
    (tmp_path / "checkpoint_dir").symlink_to(ROOT / "checkpoints")
    done = run(
        tmp_path, f"--flagfile={tmp_path / 'flags'}", "--model_name=CONTROL", script="test.py"
    )
    done.stderr = "".join(
        line for line in done.stderr.splitlines(keepends=True) if not line.startswith("note: ")
    )
    assert_refused(done, "(9 symbols)", "of 1000000 symbols")
    assert len(done.stderr) < 300
