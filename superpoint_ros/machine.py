# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The machine we run on: threads for its cores, memory; its name and the commit, for reports."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
from pathlib import Path

# <malloc.h>
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8
_MOST = 2**31 - 1


def prepare_process() -> None:
    """Set what makes this process fast, before NumPy is imported and threads start.

    One thread for BLAS: the odometry multiplies small matrices. OpenBLAS shares each among threads
    that wait for the next one by spinning: where other processes want the cores too, a frame took
    six times the CPU time and four times as long. Torch has threads of its own.

    Freed memory stays: a hidden layer of a VGA image has 39 MB in bfloat16, 79 MB in float32.
    glibc asks the kernel for each block of that size anew, and a fifth of the network's CPU time
    and more went into the faults of its pages. Now all blocks come from one heap (those of other
    threads end at 64 MB), and what it has grown to stays with the process.

    What the user has set (OPENBLAS_NUM_THREADS, MALLOC_...) stays, too.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none
    if mallopt is not None and not any(name.startswith("MALLOC_") for name in os.environ):
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, _MOST)


def describe_machine() -> str:
    """Return the processor and its cores that we may use, and the GPU if PyTorch sees one."""
    import torch  # only those who write a report pay for it

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    words = f"{processor_name()}, {cores} {'core' if cores == 1 else 'cores'}"
    return f"{words}, {torch.cuda.get_device_name()}" if torch.cuda.is_available() else words


def processor_name() -> str:
    """Return the name of the CPU."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def find_commit() -> str:
    """Return the commit of the source checkout, "" outside one.

    "-dirty" follows it where the code or the configs beside it are not as committed.

    An environment inside another project's repository is none: that does not track our files.
    """
    here = Path(__file__)
    try:
        _ask_git(here.parent, "ls-files", "--error-unmatch", here.name)
        commit = _ask_git(here.parent, "rev-parse", "HEAD")
        changed = _ask_git(here.parent, "status", "--porcelain", "-uno", "--", ".", "../config")
    except (OSError, subprocess.CalledProcessError):
        return ""
    return f"{commit}-dirty" if changed else commit


def _ask_git(folder: Path, *command: str) -> str:
    answer = subprocess.run(
        ["git", *command], cwd=folder, capture_output=True, text=True, check=True
    )
    return answer.stdout.strip()
