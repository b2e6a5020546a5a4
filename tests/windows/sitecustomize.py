"""Gives a Python process on Linux some rules of Windows. Python imports this module first."""

import errno
import fcntl
import os
import pathlib
import signal
import sys

FORBIDDEN = set('<>:"|?*')


def hook(event, args):
    """Refuses a system call as Windows would."""
    if event == "open" and isinstance(args[0], str):
        path, mode, flags = args  # of `os.open` if there is no mode
        if flags & os.O_ACCMODE != os.O_RDONLY and FORBIDDEN & set(path):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
        # Linux makes a nameless temporary file through its directory.
        if mode is None and flags & os.O_TMPFILE != os.O_TMPFILE and os.path.isdir(path):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
    if event in ("os.rename", "os.remove"):
        changed = {os.path.realpath(path) for path in args if isinstance(path, str | pathlib.Path)}
        for path in changed & open_files():
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)


def open_files():
    """Returns the paths of the files that this process has open."""
    found = set()
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            found.add(os.readlink(f"/proc/self/fd/{descriptor}"))
        except FileNotFoundError:  # that of the list itself
            continue
    return found


def fsync(descriptor):
    """Refuses a file that is open only for reading."""
    if get_flags(descriptor, fcntl_getfl) & os.O_ACCMODE == os.O_RDONLY:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    flush(descriptor)


flush, os.fsync = os.fsync, fsync
get_flags, fcntl_getfl = fcntl.fcntl, fcntl.F_GETFL
sys.addaudithook(hook)
sys.modules["fcntl"] = None
del signal.pthread_sigmask
