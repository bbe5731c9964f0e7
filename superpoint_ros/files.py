# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Files appear whole or not at all; what is asked of their names and places."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

_WORD = Fraction(-1)  # what is no number in a name comes before what is


def check_folder(path: Path | str) -> None:
    """Complain at once, before hours of work, that nothing can be written into a folder.

    Raises:
        OSError: It, or the nearest folder above that exists, is a file or write-protected.
    """
    present = Path(path).absolute()
    while not present.exists():
        present = present.parent
    if not present.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "is a file, not a folder", str(present))
    if not os.access(present, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, "is a folder that cannot be written to", str(present))


def lies_in(path: Path | str, folder: Path | str) -> bool:
    """Whether a path is a folder or lies in it, links followed."""
    return Path(path).resolve().is_relative_to(Path(folder).resolve())


def natural_order(path: Path) -> tuple[list[tuple[Fraction, str]], str]:
    """Sort by the numbers in a name, which may be seconds with a fraction, then by the name."""
    words = re.findall(r"[0-9]+(?:\.[0-9]+)?|[^0-9]+", path.stem)
    keys = [(Fraction(word), "") if word[0] in "0123456789" else (_WORD, word) for word in words]
    return keys, path.name


def check_file(path: Path | str) -> None:
    """Complain at once, before hours of work, that a file cannot be written.

    Raises:
        OSError: It is a folder, or its folder cannot be written to; or a pipe that cannot be, or
            a file that the shell has open and that would be lost by being replaced.
    """
    if Path(path).is_dir():
        raise IsADirectoryError(errno.EISDIR, "is a folder: name a file", str(path))
    if str(path) == "-":
        raise OSError(errno.EINVAL, "is no file: for standard output name /dev/stdout", "-")
    if _is_open_file(Path(path)):
        text = "leads to a file that is open: name that file itself, or write through | cat"
        raise OSError(errno.EINVAL, text, str(path))
    if not _is_stream(Path(path)):
        check_folder(_target(Path(path)).parent)
    elif not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, "cannot be written to", str(path))


@contextlib.contextmanager
def sole_use(folder: Path | str) -> Iterator[None]:
    """Make a folder and keep others who ask for its sole use out of it until the block ends.

    Where a file system has no locks nobody is kept out.

    Raises:
        BlockingIOError: Another process has it.
        OSError: The folder cannot be made.
    """
    check_folder(folder)
    Path(folder).mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        text = "is in use by another process: wait for it, or choose another folder"
        raise BlockingIOError(errno.EWOULDBLOCK, text, str(folder)) from None
    except OSError:  # no locks here
        pass
    try:
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def replaced(path: Path | str) -> Iterator[Path]:
    """Give a temporary path beside `path` that takes its place when the block ends well.

    The temporary has one name, so what a killed process left is overwritten by the next one; who
    writes the same file at the same time waits. A link stays: the file that it leads to is
    replaced. A pipe or a device has no old content to keep: it is given itself.

    Raises:
        OSError: The folder cannot be made or written to.
    """
    check_file(path)
    if _is_stream(Path(path)):
        with named(path):
            yield Path(path)
        return
    suffix, path = Path(path).suffix, _target(Path(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}-part{suffix}")
    handle = _open_alone(temporary)
    try:
        with named(path):
            yield temporary
            with temporary.open("rb") as stream:
                os.fsync(stream.fileno())  # on the disk before the old file goes
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(handle)


@contextlib.contextmanager
def named(path: Path | str) -> Iterator[None]:
    """Let errors of writing, such as a full disk, name the file."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = str(path)
        raise


def _is_stream(path: Path) -> bool:
    """Whether it is there, but neither a file nor a folder: a pipe or a device."""
    return path.exists() and not path.is_file() and not path.is_dir()


def _is_open_file(path: Path) -> bool:
    """Whether it is a handle of this process, such as /dev/stdout, of a plain file."""
    absolute = path.absolute()
    folder = absolute.parent.resolve()
    is_handle = str(absolute) in ("/dev/stdout", "/dev/stderr") or (
        folder.parent.parent == Path("/proc") and folder.name == "fd"
    )
    return is_handle and path.is_file()


def _target(path: Path) -> Path:
    """Return the path itself, or what it leads to if it is a symbolic link."""
    return path.resolve() if path.is_symlink() else path


def _open_alone(path: Path) -> int:
    """Return a locked, empty file of this name; the lock ends with the handle or the process."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)  # less what the umask takes
        with contextlib.suppress(OSError):  # some network file systems have no locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        # Who had the lock before may have moved the file to its place, or removed it.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), path.stat()):
                os.truncate(handle, 0)
                return handle
        os.close(handle)


def write_text(path: Path | str, text: str) -> None:
    """Write a text file atomically; the bytes of a file's name that is no UTF-8 as `\\udce9`."""
    with replaced(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path | str, values: Mapping[str, Any]) -> None:
    """Write JSON atomically; what is not finite becomes null, as JSON has no NaN."""
    write_text(path, json.dumps(_finite(values), indent=2) + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
