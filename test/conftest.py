# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Fixtures of every test: a seeded generator, the development data, a calm torch."""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def full_disk() -> Iterator[None]:
    """A disk that has room for 4 KiB a file."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))  # fails as a full disk does
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    path = REPOSITORY.parent / "shared" / "data"
    if not path.is_dir():
        pytest.skip(f"development data absent: {path}")
    return path


def pytest_configure(config: pytest.Config) -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "2")  # children of the tests inherit it
    # On a busy machine two threads that spin for each other make a test ten times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # A shell that runs the tests in the background has them, and their children, ignore Ctrl-C.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Nodes take longest, file by file. Begun first, they leave no worker of pytest-xdist alone.
    items.sort(key=lambda item: item.path.parent.name != "ros")


@pytest.fixture(autouse=True)
def _two_torch_threads() -> None:
    # Commands under test may change it, and float32 sums depend on it (1.5e-5 px on a keypoint
    # between one thread and two): whoever compares poses bit by bit needs it fixed.
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(2)


@pytest.fixture
def cuda() -> str:
    """The CUDA device, or a visible skip."""
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here; run by hand: pytest -m gpu")
    return "cuda"
