"""Arrays to `.npz` files, and from ones that nobody vouches for.

Each array has a checksum, the archive's CRC. No size that a file claims is believed.
"""

import contextlib
import io
import math
import os
import zipfile
from collections.abc import Iterator

import numpy as np

from fast_weights import files

# The member that holds a configuration's JSON.
CONFIG = "config"
MAX_CONFIG_BYTES = 100_000
# Of each half of an archive's directory; that of a checkpoint has some 5,000.
MAX_DIRECTORY_BYTES = 100_000
# More than NumPy writes before the values of an array of a few dimensions.
HEADER_BYTES = 1_000


def save(path, arrays: dict) -> None:
    """Writes named arrays; a reader never sees half of them.

    Raises:
        OSError: if the file cannot be written; then `path` is as it was.
    """
    with files.replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)


class _BoundedFile(io.FileIO):
    """A file of which at most `limit` bytes are read at a time (`None`: as many as asked for)."""

    limit = MAX_DIRECTORY_BYTES

    def read(self, size=-1):
        left = os.fstat(self.fileno()).st_size - self.tell()
        if self.limit is not None and (left if size < 0 else size) > self.limit:
            raise ValueError(f"a directory of more than {self.limit:,} bytes")
        return super().read(size)


@contextlib.contextmanager
def open_archive(path) -> Iterator[zipfile.ZipFile]:
    """Opens an `.npz` file to read from.

    Raises:
        OSError: with its `filename`, if it cannot be opened.
        Exception: of half a dozen types from three libraries, if it is no such file.
    """
    files.check_regular(path)
    with _BoundedFile(path) as file, zipfile.ZipFile(file) as archive:
        file.limit = None  # members have bounds of their own
        yield archive


def read(archive: zipfile.ZipFile, name: str, max_bytes: int) -> np.ndarray:
    """An array of an `.npz` file, checked against the archive's CRC.

    Args:
        archive: the file.
        name: the array's.
        max_bytes: size of its values. More is refused before it takes any memory.

    Raises:
        Exception: of half a dozen types from three libraries, depending on what is wrong.
    """
    member = archive.getinfo(f"{name}.npy")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{name}: unknown compression")
    with archive.open(member) as file:
        # As many as there may be and no more, whatever the archive says of its member.
        content = io.BytesIO(file.read(max_bytes + HEADER_BYTES))
        if file.read(1):
            raise ValueError(f"{name}: more than {max_bytes:,} bytes")
    if np.lib.format.read_magic(content) != (1, 0):
        raise ValueError(f"{name}: unknown version")
    shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(content)
    values = content.read()
    # A pickle, or a shape that the values do not fill.
    if dtype.hasobject or is_fortran or math.prod(shape) * dtype.itemsize != len(values):
        raise ValueError(f"{name}: not the values of an array")
    return np.frombuffer(values, dtype).reshape(shape)


def read_like(archive: zipfile.ZipFile, variables: dict) -> dict[str, np.ndarray]:
    """The values of Keras variables, by name, none of another shape or type, all finite.

    Raises:
        Exception: as `read`.
    """
    values = {}
    for name, variable in variables.items():
        shape, dtype = tuple(variable.shape), np.dtype(variable.dtype)
        values[name] = read(archive, name, math.prod(shape) * dtype.itemsize)
        if values[name].shape != shape or values[name].dtype != dtype:
            raise ValueError(f"{name}: another shape or type")
        if not np.isfinite(values[name]).all():
            raise ValueError(f"{name}: no finite number")
    return values


def check_units(archive: zipfile.ZipFile, units: int) -> None:
    """Ends before a model is built that is as large as a configuration claims and no weights are.

    Raises:
        ValueError: if W_h has not so many rows; besides, as `read`.
    """
    name = "rnn.recurrent_kernel"
    # A GRU with the standard gates has the most columns, 3 H.
    rows = read(archive, name, 3 * units**2 * np.dtype(np.float32).itemsize).shape[0]
    if rows != units:
        raise ValueError(f"{name}: {rows} rows")


def read_config(archive: zipfile.ZipFile) -> str:
    """The JSON of the configuration in it.

    Raises:
        Exception: as `read`.
    """
    return str(read(archive, CONFIG, MAX_CONFIG_BYTES))
