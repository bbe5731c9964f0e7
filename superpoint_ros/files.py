# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Files appear whole or not at all."""

from __future__ import annotations

import errno
import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


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


def check_file(path: Path | str) -> None:
    """Complain at once, before hours of work, that a file cannot be written.

    Raises:
        OSError: It is a folder, or its folder cannot be written to.
    """
    if Path(path).is_dir():
        raise IsADirectoryError(errno.EISDIR, "is a folder: name a file", str(path))
    check_folder(Path(path).parent)


@contextmanager
def replaced(path: Path | str) -> Iterator[Path]:
    """Give a temporary path beside `path` that takes its place when the block ends well.

    Raises:
        OSError: The folder cannot be made or written to.
    """
    path = Path(path)
    check_file(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())  # on the disk before the old file goes
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path | str, text: str) -> None:
    """Write a text file atomically."""
    with replaced(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


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
