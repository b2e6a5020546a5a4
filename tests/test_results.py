"""Records on disk."""

import dataclasses
import os

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


@pytest.mark.parametrize("line", ['{"epoch": 1}', "", "null", "[1]", "\x00"])
def test_a_broken_line_is_skipped_and_named(tmp_path, line):
    said = []
    results.append(tmp_path, record(0))
    path = tmp_path / results.FILE_NAME
    path.write_text(path.read_text() + line + "\n")
    results.append(tmp_path, record(2))
    assert results.read(tmp_path, said.append) == [record(0), record(2)]
    assert len(said) == 1
    assert "line 2 is no record" in said[0]


def test_a_file_of_broken_lines_is_told_in_a_few(tmp_path):
    """A line for each of a million."""
    said = []
    (tmp_path / results.FILE_NAME).write_text("\n" * 1_000)
    results.append(tmp_path, record(0))
    assert results.read(tmp_path, said.append) == [record(0)]
    assert len(said) == results.MAX_NAMED + 1
    assert said[-1].endswith(": 995 more lines are none and are skipped")


def test_a_second_record_of_an_epoch_is_skipped_and_named(tmp_path):
    """Epochs that count twice in a file that was put together by hand."""
    for epoch in (0, 1):
        results.append(tmp_path, record(epoch))
    path, said = tmp_path / results.FILE_NAME, []
    path.write_text(2 * path.read_text())
    assert results.read(tmp_path, said.append) == [record(0), record(1)]
    assert "line 3 is a second record of epoch 0 and is skipped" in said[0]
    results.truncate(tmp_path, 2, said.append)
    assert len(path.read_text().splitlines()) == 2


def test_a_file_of_something_else_is_refused(tmp_path):
    """Minutes over millions of lines."""
    (tmp_path / results.FILE_NAME).write_text("\n" * 20_000_000)
    with pytest.raises(UserError, match="more than 10,000 of its lines are none"):
        results.read(tmp_path, lambda line: None)


def test_a_record_is_on_disk_when_append_returns(tmp_path, monkeypatch):
    """A checkpoint that outlives a power cut, and its epoch's record that does not."""
    synced = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.fstat(file).st_size))
    results.append(tmp_path, record(0))
    assert synced == [(tmp_path / results.FILE_NAME).stat().st_size]


def test_words_where_numbers_belong_are_no_record(tmp_path):
    """A record whose values only fail when they are drawn."""
    results.append(tmp_path, dataclasses.replace(record(0), train_loss="low"))
    results.append(tmp_path, dataclasses.replace(record(1), epoch=1.5))
    results.append(tmp_path, dataclasses.replace(record(2), valid_loss=1.7e308))
    results.append(tmp_path, dataclasses.replace(record(3), gradient_norm=float("nan")))
    results.append(tmp_path, dataclasses.replace(record(4), gradient_norm=-1.0))
    assert results.read(tmp_path, lambda line: None) == []


def test_seeds_are_the_folder_and_its_seed_folders(tmp_path):
    for name, epoch in ((".", 0), ("seed-1", 1), ("seed-2", 2), ("training", 3)):
        (tmp_path / name).mkdir(exist_ok=True)
        results.append(tmp_path / name, record(epoch))
    (tmp_path / "seed-3").mkdir()
    assert results.read_seeds(tmp_path) == [[record(0)], [record(1)], [record(2)]]
