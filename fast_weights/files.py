"""Files that are whole or not there, and that tell when they are not what was written.

Standard library only: what a bad flag needs.
"""

import contextlib
import errno
import json
import os
import pathlib
import shutil
import stat
import zlib
from collections.abc import Iterator

# Begins the names of files that are not whole yet.
PARTIAL = "partial-"


@contextlib.contextmanager
def replacing(path) -> Iterator[pathlib.Path]:
    """Gives a name beside `path` to write to, and puts that file in the place of `path`.

    Whoever reads `path`, and whatever happens meanwhile, finds the old file or the new one.
    The name is the process's own, so that two that write the same file do not write into each
    other, and ends as that of `path` does, by which libraries know what to write.

    Args:
        path: the file; its folder is made where it is missing.

    Raises:
        OSError: if the file cannot be written; then `path` is as it was.
    """
    path = pathlib.Path(path)
    temporary = path.with_name(f"{PARTIAL}{os.getpid()}{path.suffix}")
    try:
        make_folder(path.parent)
        yield temporary
        sync(temporary)
        os.replace(temporary, path)
        sync(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def make_folder(path) -> None:
    """Makes a folder, and those above it, where it is missing.

    Raises:
        OSError: if it cannot be made; `NotADirectoryError`, which names it, if it is a file.
    """
    try:
        pathlib.Path(path).mkdir(parents=True, exist_ok=True)
    except FileExistsError:  # "File exists" would be said of what was to be written in it
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path)) from None


def remove(path) -> None:
    """Deletes a file, a link (not what it leads to), or a folder with all that is in it."""
    path = pathlib.Path(path)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def sync(path) -> None:
    """Waits until a file, or a folder's list of files, is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_text(path, max_bytes: int) -> str:
    """The text of a file; bytes that are no UTF-8 come as U+FFFD.

    Raises:
        ValueError: if it is longer than `max_bytes`, before that takes any memory, or
            has no end to speak of.
        OSError: if it cannot be read.
    """
    check_regular(path)
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > max_bytes:
            raise ValueError(f"expected at most {max_bytes:,} bytes")
        # So many: Python makes room for all that it is told to read.
        return file.read(size).decode(errors="replace")


def check_regular(path) -> None:
    """Ends where a pipe would keep whoever opens it waiting.

    Raises:
        ValueError: if the path is a folder, a pipe, a device.
        OSError: if there is nothing.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise ValueError("expected a regular file")


def parse_json(text: str):
    """`json.loads` with one type of error.

    Raises:
        ValueError: if the text is no JSON, or nested beyond reason.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("too deeply nested") from None


def checksum(values: dict) -> str:
    """CRC-32 of a JSON object's content, 8 hexadecimal digits."""
    return f"{zlib.crc32(json.dumps(values, sort_keys=True).encode()):08x}"
