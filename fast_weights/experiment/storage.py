"""Files that are either complete or absent, and `.npz` files that are checked when read.

An `OSError` from these functions names the file. The scripts print it as one line.
"""

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

from fast_weights.experiment.errors import CorruptFileError

# A file that is being written has this prefix until it is complete.
PARTIAL_PREFIX = "partial-"
# zipfile, zlib and NumPy raise these errors for the damaged archives of tests/test_storage.py.
_ARCHIVE_ERRORS = (
    EOFError,
    OSError,  # from bz2; the file itself has been read before
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
        OSError: if the file cannot be written. The old file, if any, is unchanged.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Machines that share a disk can have equal process numbers.
    temporary = path.with_name(f"{PARTIAL_PREFIX}{secrets.token_hex(8)}{path.suffix}")
    try:
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
        # A full disk is reported without a name, other errors with the temporary one.
        raise type(error)(error.errno, error.strerror, str(path)) from error
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
        # Some network file systems reject this. The renamed file is complete anyway.
        with contextlib.suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path, text: str) -> None:
    """Writes a UTF-8 file atomically."""
    with atomic_write(path) as file:
        file.write(text.encode())


def read_text(path) -> str:
    """Returns the content of a UTF-8 file. Replaces bytes that cannot be decoded."""
    return pathlib.Path(path).read_text(encoding="utf-8", errors="replace")


def delete(path, skip_open_file: bool = False) -> None:
    """Deletes a file. With `skip_open_file`, skips one that Windows does not delete."""
    try:
        os.unlink(path)
    except PermissionError:
        if not skip_open_file:
            raise


def write_arrays(path, arrays: dict[str, np.ndarray]) -> None:
    """Writes named arrays to an `.npz` file atomically."""
    with atomic_write(path) as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def read_arrays(path) -> dict[str, np.ndarray]:
    """Returns the named arrays of an `.npz` file. Pickled objects are rejected.

    Raises:
        CorruptFileError: if the file is not an `.npz` file, or its checksums do not match.
    """
    content = io.BytesIO(pathlib.Path(path).read_bytes())
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
