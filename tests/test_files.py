"""Files that are whole or not there."""

import os

import pytest

from fast_weights import files


def test_who_reads_meanwhile_has_the_old_file(tmp_path):
    """A file that is written over in its place, of which a reader, or a crash, finds half."""
    path = tmp_path / "file"
    path.write_text("old")
    with open(path) as reader:
        with files.replacing(path) as temporary:
            temporary.write_text("new")
            assert path.read_text() == "old"
        assert path.read_text() == "new"
        assert reader.read() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_its_content_is_on_disk_before_its_name(tmp_path, monkeypatch):
    """A name that reaches the disk before what it names does: an empty file after a power cut."""
    done, (fsync, replace) = [], (os.fsync, os.replace)

    def synced(descriptor):
        done.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    def replaced(source, target):
        done.append("renamed")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    with files.replacing(tmp_path / "file") as temporary:
        temporary.write_text("new")
    assert done == [str(temporary), "renamed", str(tmp_path)]


def fail_half_way(path):
    with files.replacing(path) as temporary:
        temporary.write_text("half")
        raise OSError("No space left on device")


def test_a_failure_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(OSError, match="No space"):
        fail_half_way(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
