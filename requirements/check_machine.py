# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Say in one line why the pip environment cannot be made here, before pip says it in fifty."""

import ctypes
import platform
import shutil
import sys
import sysconfig
from pathlib import Path

OLDEST, NEWEST = (3, 10), (3, 13)
# What OpenCV's wheel links against and does not bring (its window toolkit does), and whose it is.
LIBRARIES = {"libGL.so.1": "libgl1", "libgthread-2.0.so.0": "libglib2.0-0"}


def find_obstacle():
    """Return what is wrong with this machine and its cure; None if nothing is."""
    version = "{}.{}".format(*sys.version_info)
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        return (
            f"Python {version} will not do, name one of 3.10 to 3.13: make env PYTHON=python3.11"
        )
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return (
            f"PyPI's ROS 2 wheels are for Linux on x86_64, this is {platform.system()} on "
            f"{platform.machine()}: install ROS 2 and use colcon (docs/install.md)"
        )
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        return f"Python lacks venv: sudo apt install python{version}-venv (or python3-venv)"
    if not (shutil.which("c++") or shutil.which("g++")):
        return "there is no C++ compiler for the messages: sudo apt install g++"
    if not (Path(sysconfig.get_paths()["include"]) / "Python.h").is_file():
        return (
            "there is no Python.h to compile the messages with: "
            f"sudo apt install python{version}-dev (or python3-dev)"
        )
    missing = [name for name in LIBRARIES if not can_load(name)]
    if missing:
        packages = " ".join(LIBRARIES[name] for name in missing)
        return f"OpenCV's wheel lacks {' and '.join(missing)}: sudo apt install {packages}"
    return None


def can_load(library):
    """Whether the loader finds a shared library."""
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


if __name__ == "__main__":
    obstacle = find_obstacle()
    sys.exit(obstacle and f"superpoint: {obstacle}")
