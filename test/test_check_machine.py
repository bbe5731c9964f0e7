# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What `make env` says of a machine before pip does."""

from __future__ import annotations

import importlib.util
import platform
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "requirements" / "check_machine.py"


@pytest.fixture
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location(SCRIPT.stem, SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def whole(script: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The script on a machine that has everything."""
    monkeypatch.setattr(script, "NEWEST", sys.version_info[:2])
    monkeypatch.setattr(script, "can_load", lambda library: True)
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(sysconfig, "get_paths", lambda: {"include": str(tmp_path)})
    (tmp_path / "Python.h").touch()
    for name in ("ensurepip", "venv"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    return script


def test_a_machine_that_has_everything_is_left_alone(whole: ModuleType) -> None:
    assert whole.find_obstacle() is None


def test_missing_headers_are_named_with_their_package(whole: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "Python.h").unlink()
    version = "{}.{}".format(*sys.version_info)
    assert whole.find_obstacle().endswith(f"apt install python{version}-dev (or python3-dev)")


def test_missing_libraries_are_named_with_their_packages(
    whole: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whole, "can_load", lambda library: library != "libGL.so.1")
    assert whole.find_obstacle().endswith("lacks libGL.so.1: sudo apt install libgl1")
    monkeypatch.setattr(whole, "can_load", lambda library: False)
    assert whole.find_obstacle().endswith("sudo apt install libgl1 libglib2.0-0")


def test_a_library_can_be_loaded_or_not(script: ModuleType) -> None:
    assert script.can_load("libc.so.6")
    assert not script.can_load("libno_such_library.so.7")


def test_make_refuses_a_folder_with_a_space_in_its_path(tmp_path: Path) -> None:
    folder = tmp_path / "my robot"
    folder.mkdir()
    shutil.copy(SCRIPT.parents[1] / "Makefile", folder)
    made = subprocess.run(["make", "help"], cwd=folder, capture_output=True, text=True)
    assert made.returncode != 0
    assert f"a space in its path: rename or move {folder}" in made.stderr
