# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What reports say about this computer."""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from superpoint_ros.machine import describe_machine, find_commit, prepare_process


def test_the_machine_has_a_name_and_cores_and_the_commit_is_one_or_none() -> None:
    assert re.match(r"\S.*, \d+ cores?(, \S.*)?$", describe_machine())
    assert re.fullmatch(r"([0-9a-f]{40}(-dirty)?)?", find_commit())


def test_blas_has_one_thread_unless_the_user_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "4")
    prepare_process()
    assert os.environ["OPENBLAS_NUM_THREADS"] == "4"


@pytest.mark.parametrize(("setting", "stays"), [({}, True), ({"MALLOC_TOP_PAD_": "1"}, False)])
def test_freed_memory_stays_unless_the_user_says_otherwise(
    setting: dict[str, str], stays: bool
) -> None:
    """A thread's second block of 100 MB lies in the pages of the first: none has to be fetched."""
    if not hasattr(ctypes.CDLL(None), "mallopt"):
        pytest.skip("this C library has no mallopt")
    code = """
import resource, threading
from superpoint_ros.machine import prepare_process
prepare_process()
import numpy as np
def count_faults():
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
    np.ones(100_000_000, np.uint8)
    faults.append(resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before)
faults = []
def work():
    count_faults()
    count_faults()
thread = threading.Thread(target=work)
thread.start()
thread.join()
print(faults[1] < 0.1 * faults[0])
"""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")} | setting
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(stays)


@pytest.mark.parametrize(
    "module",
    [
        "superpoint_ros",
        *(
            pytest.param(f"superpoint_ros.ros.{node}", marks=pytest.mark.ros)
            for node in ("features_node", "tracker_node", "vo_node")
        ),
    ],
)
def test_programs_limit_blas_before_numpy_comes(module: str) -> None:
    code = f"""
import os, runpy, sys
class Watch:
    def find_spec(self, name, *others):
        if name == "numpy":
            print(os.environ["OPENBLAS_NUM_THREADS"], flush=True)
            os._exit(0)
sys.meta_path.insert(0, Watch())
sys.argv = ["superpoint", "view", "/nowhere"]
runpy.run_module("{module}", run_name="__main__", alter_sys=True)
"""
    environment = {k: v for k, v in os.environ.items() if k != "OPENBLAS_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["1"]


def test_the_commit_of_another_project_is_not_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An environment may lie in the checkout of whoever uses the package."""
    elsewhere = tmp_path / "venv" / "machine.py"
    elsewhere.parent.mkdir()
    elsewhere.write_text("")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "theirs"], check=True)
    monkeypatch.setattr("superpoint_ros.machine.__file__", str(elsewhere))
    assert find_commit() == ""
    subprocess.run([*git, "add", "venv/machine.py"], check=True)
    assert re.fullmatch(r"[0-9a-f]{40}-dirty", find_commit())
    subprocess.run([*git, "commit", "-q", "-m", "ours"], check=True)
    (tmp_path / "notes.txt").write_text("not of the code")
    commit = find_commit()
    assert re.fullmatch(r"[0-9a-f]{40}", commit)
    elsewhere.write_text("changed")
    assert find_commit() == f"{commit}-dirty"
