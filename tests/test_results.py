"""The records of epochs on disk."""

import dataclasses
import json
import os

import pytest

from fast_weights.experiment import results


def record(epoch):
    return results.EpochRecord(epoch, 1.5, 0.25, 1.25, 0.5, 3.75, 0.125)


@pytest.fixture
def path(tmp_path):
    """A file with the records of three epochs."""
    for epoch in (1, 2, 3):
        results.append(tmp_path / "results.jsonl", record(epoch))
    return tmp_path / "results.jsonl"


def test_records_are_read_as_appended(path):
    """Catches a field that is lost, and a record that replaces the one before it."""
    assert results.read(path) == [record(1), record(2), record(3)]
    first = json.loads(path.read_text().splitlines()[0])
    assert results.EpochRecord(**first) == record(1)
    assert None not in first.values()
    assert results.read(path.parent / "missing") == []


def test_truncate_discards_later_epochs_and_incomplete_lines(path):
    """Catches an epoch that is recorded twice after a resume, and half a line that stays."""
    path.write_text(path.read_text() + '{"epoch": 4, "train_')
    results.truncate(path, 2)
    results.append(path, record(3))
    assert results.read(path) == [record(1), record(2), record(3)]
    assert len(path.read_text().splitlines()) == 3


@pytest.mark.parametrize(
    "line",
    [
        '{"epoch": 2}',
        "",
        "[1]",
        "\x00\ufffd",
        json.dumps({**dataclasses.asdict(record(2)), "train_loss": "low"}),
    ],
)
def test_corrupt_line_is_skipped_with_a_warning(path, caplog, line):
    """Catches results that are lost to one line, and a line that is skipped silently."""
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], line, lines[2], ""]))
    assert results.read(path) == [record(1), record(3)]
    (warning,) = caplog.records
    assert str(path) in warning.getMessage()
    assert "line 2" in warning.getMessage()


def test_record_is_on_disk_when_append_returns(path, monkeypatch):
    """Catches a checkpoint that survives a power failure without the record of its epoch."""
    synced = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.fstat(file).st_size))
    results.append(path, record(4))
    assert synced == [path.stat().st_size]


def test_unreadable_file_is_not_taken_for_an_empty_one(tmp_path):
    """Catches a missing permission that makes a run look as if it had no results."""
    for call in (results.read, lambda path: results.append(path, record(1))):
        with pytest.raises(IsADirectoryError) as caught:
            call(tmp_path)
        assert caught.value.filename == str(tmp_path)
