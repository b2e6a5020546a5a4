"""Arrays from `.npz` files that nobody vouches for."""

import io
import math
import zipfile

import numpy as np

# More than NumPy writes before the values of an array of a few dimensions.
HEADER_BYTES = 1_000


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
