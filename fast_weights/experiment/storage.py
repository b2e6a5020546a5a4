"""Files that are either complete or absent, and `.npz` files that are checked when read."""

import contextlib
import io
import os
import pathlib
import secrets
import zipfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from fast_weights.experiment.errors import CorruptFileError, UserError

# A file that is being written has this prefix until it is complete.
PARTIAL_PREFIX = "partial-"
# zipfile, zlib and NumPy raise these errors for the damaged archives of tests/test_storage.py.
_ARCHIVE_ERRORS = (
    EOFError,
    OSError,  # from bz2; `read_bytes` catches the errors of reading the file itself
    RuntimeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)


@contextlib.contextmanager
def atomic_write(path) -> Iterator[BinaryIO]:
    """Yields a temporary file to write to, and renames it to `path` at the end.

    At any moment, a reader finds either the old file or the new one.

    Args:
        path: the file. Its directory is created if it is missing.

    Raises:
        UserError: if the file cannot be written. The old file, if any, is unchanged.
    """
    path = pathlib.Path(path)
    # Machines that share a disk can have equal process numbers.
    temporary = path.with_name(f"{PARTIAL_PREFIX}{secrets.token_hex(8)}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            yield file
            # The content must be on disk before the name: a power failure in between would leave
            # an empty file under the name of a complete one. Windows flushes only files that are
            # open for writing, and renames only files that are closed.
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _flush_directory(path.parent)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _flush_directory(path) -> None:
    """Waits until the names of a directory's files are on disk, where the system can do so."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:  # Windows does not open directories
        return
    try:
        # Some network file systems refuse this. The renamed file is complete all the same.
        with contextlib.suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path, text: str) -> None:
    """Writes a UTF-8 file atomically.

    Raises:
        UserError: if the file cannot be written. The old file, if any, is unchanged.
    """
    with atomic_write(path) as file:
        file.write(text.encode())


def exists(path) -> bool:
    """Returns whether there is a file.

    Raises:
        UserError: if its directory cannot be searched.
    """
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    return True


def list_names(directory) -> list[str]:
    """Returns the names of the files in a directory, or an empty list if it does not exist.

    Raises:
        UserError: if the directory cannot be read.
    """
    try:
        return os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise UserError(f"cannot read {directory}: {error.strerror}") from error


def read_bytes(path) -> bytes:
    """Returns the content of a file.

    Raises:
        UserError: if the file cannot be read.
    """
    try:
        return pathlib.Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error


def write_arrays(path, arrays: dict[str, np.ndarray]) -> None:
    """Writes named arrays to an `.npz` file atomically.

    Raises:
        UserError: if the file cannot be written. The old file, if any, is unchanged.
    """
    with atomic_write(path) as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def read_arrays(path) -> dict[str, np.ndarray]:
    """Returns the named arrays of an `.npz` file. Pickled objects are refused.

    Raises:
        CorruptFileError: if the file is not an `.npz` file, or its checksums do not match.
        UserError: if the file cannot be read.
    """
    content = io.BytesIO(read_bytes(path))
    try:
        # Tests all checksums first: NumPy would parse a damaged header before zipfile reaches
        # the checksum at the end of the member.
        with zipfile.ZipFile(content) as archive:
            damaged = archive.testzip()
        if damaged is None:
            content.seek(0)
            with np.load(content, allow_pickle=False) as archive:
                return dict(archive)
    except _ARCHIVE_ERRORS as error:
        raise CorruptFileError(f"{path} is corrupt") from error
    raise CorruptFileError(f"{path} is corrupt")
