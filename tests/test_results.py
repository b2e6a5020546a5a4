"""Records on disk."""

import pytest

from fast_weights import results
from fast_weights.errors import UserError


def record(epoch):
    return results.Record(epoch, 1.5, 0.25, 1.25, 0.5, 3.75, 0.125)


def test_read_gives_what_was_appended(tmp_path):
    assert results.read(tmp_path) == []
    for epoch in range(3):
        results.append(tmp_path, record(epoch))
    assert results.read(tmp_path) == [record(0), record(1), record(2)]


def test_truncate_drops_later_epochs_and_a_torn_line(tmp_path):
    """A doubled epoch after a resume; a half-written line that stays in the way."""
    for epoch in range(3):
        results.append(tmp_path, record(epoch))
    path = tmp_path / results.FILE_NAME
    path.write_text(path.read_text() + '{"epoch": 3, "train_')
    results.truncate(tmp_path, 2)
    assert results.read(tmp_path) == [record(0), record(1)]


def test_a_broken_line_is_named(tmp_path):
    results.append(tmp_path, record(0))
    path = tmp_path / results.FILE_NAME
    path.write_text(path.read_text() + '{"epoch": 1}\n')
    with pytest.raises(UserError, match="line 2: expected"):
        results.read(tmp_path)
