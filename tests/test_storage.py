"""Files that are complete or absent, and archives that are checked when read."""

import errno
import io
import os
import pickle
import random
import stat
import sys

import numpy as np
import pytest

from fast_weights.experiment import dataset, storage
from fast_weights.experiment.config import Config
from fast_weights.experiment.errors import CorruptFileError
from fast_weights.experiment.run_dir import RunDirectory

RNG = np.random.default_rng(0)
ARRAYS = {
    "rnn.kernel": RNG.normal(size=(37, 5)).astype("float32"),
    "rnn.bias": np.zeros(5, "float32"),
    "optimizer.0": np.array(7),
    "tokens": RNG.integers(0, 37, (20, 9)).astype("uint8"),
    "settings": np.array('{"seed": 0}'),
}


def test_reader_finds_the_old_file_until_the_new_one_is_complete(tmp_path):
    """Catches a file that is overwritten in place, so that a crash leaves half of it."""
    path = tmp_path / "new" / "file.txt"
    storage.write_text(path, "old")
    with open(path) as reader:
        with storage.atomic_write(path) as file:
            file.write(b"new")
            assert path.read_text() == "old"
        assert path.read_text() == "new"
        assert reader.read() == "old"
    assert list(path.parent.iterdir()) == [path]
    assert os.path.basename(file.name).startswith(storage.PARTIAL_PREFIX)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_content_is_on_disk_before_the_name(tmp_path, monkeypatch):
    """Catches an empty file under its final name after a power failure."""
    calls, (fsync, replace) = [], (os.fsync, os.replace)

    def recorded_fsync(descriptor):
        calls.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    def recorded_replace(source, target):
        calls.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(os, "replace", recorded_replace)
    with storage.atomic_write(tmp_path / "file") as file:
        file.write(b"new")
    assert calls == [file.name, "rename", str(tmp_path)]


def test_directory_that_cannot_be_flushed(tmp_path, monkeypatch):
    """Catches a file that is written and reported as not written."""
    fsync = os.fsync

    def refuse_directories(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refuse_directories)
    storage.write_text(tmp_path / "file", "new")
    assert (tmp_path / "file").read_text() == "new"


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_failed_write_leaves_the_old_file(tmp_path, error):
    """Catches half a file in the place of a complete one, leftover files, and a lost name."""
    path = tmp_path / "file"
    path.write_text("old")

    def write():
        with storage.atomic_write(path) as file:
            file.write(b"half")
            raise error

    with pytest.raises(type(error)) as caught:
        write()
    assert isinstance(error, KeyboardInterrupt) or caught.value.filename == str(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def corrupted(content: bytes, seed: int) -> bytes:
    """Returns damaged content: cut off, or with wrong bits, bytes or blocks."""
    rng = random.Random(seed)
    damaged, position = bytearray(content), rng.randrange(len(content))
    match seed % 4:
        case 0:
            del damaged[position:]
        case 1:
            damaged[position] ^= 1 << rng.randrange(8)
        case 2:
            for _ in range(rng.choice([1, 2, 4, 8, 50])):
                damaged[rng.randrange(len(content))] = rng.randrange(256)
        case 3:  # a block that never reached the disk
            damaged[position : position + 512] = bytes(len(damaged[position : position + 512]))
    return bytes(damaged)


@pytest.mark.parametrize("number", [100, pytest.param(5_000, marks=pytest.mark.slow)])
def test_corrupt_archive_is_refused_or_read_correctly(tmp_path, number):
    """Catches other arrays than were written, and an unexpected error of zipfile or NumPy."""
    path = tmp_path / "file.npz"
    storage.write_arrays(path, ARRAYS)
    content, num_refused = path.read_bytes(), 0
    for seed in range(number):
        path.write_bytes(corrupted(content, seed))
        try:
            arrays = storage.read_arrays(path)
        except CorruptFileError:
            num_refused += 1
            continue
        # Damage can hide an array. Those who read the file look for each one by its name.
        for name, array in arrays.items():
            assert array.dtype == ARRAYS[name].dtype
            np.testing.assert_array_equal(array, ARRAYS[name])
    assert num_refused > number / 2


@pytest.mark.parametrize(
    ("intact", "offset", "damaged"),
    [
        (b"(5000,)", 0, b"((((((("),  # the shape of the array
        (b"PK\1\2", 10, b"\x0c"),  # the method of compression
    ],
)
def test_rare_damage_is_refused(tmp_path, intact, offset, damaged):
    """Catches errors of NumPy's parser and of decompression that random damage seldom causes."""
    archive, path = io.BytesIO(), tmp_path / "file.npz"
    np.savez(archive, a=np.zeros(5000))
    content = archive.getvalue()
    assert content.count(intact) == 1
    start = content.index(intact) + offset
    path.write_bytes(content[:start] + damaged + content[start + len(damaged) :])
    with pytest.raises(CorruptFileError):
        storage.read_arrays(path)


class RunsCode:
    """Creates a directory when it is unpickled."""

    def __init__(self, path):
        self._path = str(path)

    def __reduce__(self):
        return os.mkdir, (self._path,)


def test_no_file_can_run_code(tmp_path):
    """Catches a data file, a checkpoint or a configuration that is unpickled."""
    ran, config = tmp_path / "ran", Config(num_pairs=2)
    run_dir = RunDirectory(tmp_path, config.model_name)
    run_dir.path.mkdir()
    array = np.array([RunsCode(ran)], dtype=object)
    archive = io.BytesIO()
    np.savez(archive, settings=array, training_tokens=array, allow_pickle=True)
    contents = {"archive": archive.getvalue(), "pickle": pickle.dumps(RunsCode(ran))}
    for content in contents.values():
        dataset.data_path(tmp_path, config).write_bytes(content)
        with pytest.raises(CorruptFileError):
            dataset.load_or_generate(tmp_path, config)
        run_dir.checkpoint_path(1).write_bytes(content)
        with pytest.raises(CorruptFileError):
            storage.read_arrays(run_dir.checkpoint_path(1))
        run_dir.config_path.write_bytes(content)
        with pytest.raises(CorruptFileError):
            run_dir.read_config()
    assert not ran.exists()
    pickle.loads(contents["pickle"])
    assert ran.exists()  # so the files above would have run code
