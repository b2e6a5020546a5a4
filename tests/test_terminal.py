"""What a person sees while a model trains."""

import io

from fast_weights import terminal
from fast_weights.results import Record

EPOCH_139 = ["139/1000", "0.0327", "99.54%", "0.0418", "99.01%", "99.05%", "3.376", "3.06", "?"]
CLEAR = "\r\x1b[K"


class Terminal(io.StringIO):
    """A stream that says that somebody looks at it."""

    def isatty(self):
        return True


def rows_of(stream):
    """A table of two epochs of 1000, and some progress in the third."""
    table = terminal.ProgressTable(1000, stream)
    table.say("Going on after 138 epochs")
    table.epoch(Record(138, 0.0327, 0.9954, 0.0418, 0.9901, 3.376, 3.06), 0.9905, None)
    table.epoch(Record(139, 12.5, 1.0, 0.0417, 0.9, 123.4567, 120.5), 1.0, 2600)
    table.progress(140, 0.5)
    return stream.getvalue()


def test_a_table_in_a_file():
    """A number under another's head, a row that is not there until the next comes."""
    text = rows_of(io.StringIO())
    assert not {"\x1b", "\r"} & set(text)
    said, _, heads, first, second = text.splitlines()
    assert said == "Going on after 138 epochs"
    assert first.split() == EPOCH_139
    assert second.split()[-5:] == ["100.00%", "123.457", "120.50", "43", "min"]
    assert len(heads) == len(first) <= 80


def test_a_live_line_on_a_terminal():
    """No sign of life in an epoch that takes minutes; half a line left over from it."""
    *lines, live = rows_of(Terminal()).split("\n")
    assert all(line.startswith(CLEAR) for line in [lines[0], *lines[3:], live])
    live = live.removeprefix(CLEAR)
    assert live == f" 141/1000  [{'#' * 15:<30}]  50%  best 100.00%, 43 min left"
    assert len(live) <= 80


def test_durations():
    """Hours in seconds."""
    seconds = {42: "42 s", 100: "2 min", 2600: "43 min", 6000: "1 h 40", 86_400: "24 h 00"}
    assert {one: terminal.duration(one) for one in seconds} == seconds
