"""Whether there is room for the matrix form: the memory of the machine, and what A takes of it."""

import contextlib
import math
import os
import pathlib

# A of the step before, what is added to it, and A of this step, at one time.
MATRICES_A_STEP = 3
CONTAINER_LIMITS = (
    pathlib.Path("/sys/fs/cgroup/memory.max"),
    pathlib.Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def check_room(units: int, batch_size: int | None, dtype: str) -> None:
    """Refuses, before anything is allocated, an A that cannot fit.

    Args:
        units: H.
        batch_size: B; where it is not known, room for one sequence is asked for.
        dtype: of A.

    Raises:
        ValueError: if a step needs more memory than there is.
    """
    batch_size = batch_size if isinstance(batch_size, int) else 1
    itemsize = 8 if dtype == "float64" else 4
    size, room = batch_size * units**2 * itemsize, machine_memory()
    if MATRICES_A_STEP * size > room:
        raise ValueError(
            "the matrix form keeps A for every sequence: batch_size·units²·"
            f"{itemsize} bytes = {size / 2**30:,.1f} GiB, a step needs {MATRICES_A_STEP} times "
            f"as much, and there are {room / 2**30:,.1f} GiB. Use the attention form "
            '(`FastWeightsAttentionCell`, `memory="attention"`), fewer `units` or a smaller '
            f"batch. Received: units={units}, batch_size={batch_size}"
        )


def machine_memory() -> float:
    """Bytes of memory that this process may have; infinite where nothing says how many."""
    found = [math.inf]
    with contextlib.suppress(AttributeError, ValueError, OSError):
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for limit in CONTAINER_LIMITS:
        with contextlib.suppress(ValueError, OSError):  # "max" is no number
            found.append(int(limit.read_text(encoding="ascii")))
    return min(found)
