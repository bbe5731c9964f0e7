# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Refuse large files: pre-commit names the files, this names those that are too large."""

import sys
from pathlib import Path

LIMIT_KB = 500


def find_large_files(names):
    """Return (name, kB) of the files above the limit."""
    sizes = [(name, Path(name).stat().st_size / 1000) for name in names]
    return [(name, size_kb) for name, size_kb in sizes if size_kb > LIMIT_KB]


if __name__ == "__main__":
    large = find_large_files(sys.argv[1:])
    for name, size_kb in large:
        print(f"{name}: {size_kb:.0f} kB, the limit is {LIMIT_KB} kB")
    sys.exit(bool(large))
