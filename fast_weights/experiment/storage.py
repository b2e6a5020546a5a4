"""Files that are either complete or absent, and `.npz` files that are checked when read."""

import contextlib
import io
import os
import pathlib
import zipfile
import zlib
from collections.abc import Iterator

import numpy as np

from fast_weights.experiment.errors import CorruptFileError, UserError

# A file that is being written has this prefix until it is complete.
PARTIAL_PREFIX = "partial-"
# The errors of zipfile, zlib and NumPy on the damaged archives of tests/test_storage.py.
_ARCHIVE_ERRORS = (
    EOFError,
    NotImplementedError,
    OSError,  # from bz2; `read_bytes` catches the errors of reading the file itself
    RuntimeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)


@contextlib.contextmanager
def atomic_write(path) -> Iterator[pathlib.Path]:
    """Yields a temporary path to write to, and renames that file to `path` at the end.

    Whatever happens meanwhile, a reader finds the old file or the new one. The temporary name
    keeps the suffix of `path`, from which libraries derive the format.

    Args:
        path: the file. Its directory is created if it is missing.

    Raises:
        UserError: if the file cannot be written. The old file, if any, is unchanged.
    """
    path = pathlib.Path(path)
    temporary = path.with_name(f"{PARTIAL_PREFIX}{os.getpid()}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        # The content must be on disk before the name: a power failure in between would leave
        # an empty file under the name of a complete one.
        _flush(temporary)
        os.replace(temporary, path)
        _flush(path.parent)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _flush(path) -> None:
    """Waits until a file, or the list of a directory's files, is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path, text: str) -> None:
    """Writes a UTF-8 file atomically.

    Raises:
        UserError: if the file cannot be written. The old file, if any, is unchanged.
    """
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


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
    """Returns the names of the files in a directory; an empty list if it does not exist.

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
    with atomic_write(path) as temporary:
        np.savez_compressed(temporary, **arrays)


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
