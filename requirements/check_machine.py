# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Say in one line why the pip environment cannot be made here, before pip says it in fifty."""

import platform
import shutil
import sys

OLDEST, NEWEST = (3, 10), (3, 13)


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
    return None


if __name__ == "__main__":
    obstacle = find_obstacle()
    sys.exit(obstacle and f"superpoint: {obstacle}")
