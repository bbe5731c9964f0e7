# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Two real processes (torchrun, gloo) against one."""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from superpoint_ros.config import ConfigError
from superpoint_ros.training.checkpoint import load_checkpoint
from superpoint_ros.training.datasets import LabelledPhotos, label_path
from superpoint_ros.training.distributed import joined_processes
from superpoint_ros.training.trainer import train

SCRIPT = Path(__file__).with_name("in_processes.py")
sys.path.insert(0, str(SCRIPT.parent))
from in_processes import CONFIG, LOSSES, make_gradients, poisoned_source


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos with labels, and what two processes made of them."""
    folder = tmp_path_factory.mktemp("processes")
    (folder / "images").mkdir()
    (folder / "labels").mkdir()
    rng = np.random.default_rng(0)
    for index in range(5):
        path = folder / "images" / f"p{index}.png"
        coarse = rng.integers(0, 255, (10, 16), np.uint8)
        cv2.imwrite(str(path), cv2.resize(coarse, (128, 80), interpolation=cv2.INTER_CUBIC))
        count = 10 + 15 * index  # so that the processes' valid points differ in number
        np.savez(
            label_path(folder / "labels", folder / "images", path),
            keypoints=rng.uniform(5, 75, (count, 2)).astype(np.float32),
            scores=np.linspace(1, 0.1, count, dtype=np.float32),
        )
    command = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    answer = subprocess.run(
        [sys.executable, *command, str(SCRIPT), str(folder)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert answer.returncode == 0, answer.stderr[-4000:]
    return folder


@pytest.fixture(scope="module")
def photos(folder: Path) -> LabelledPhotos:
    return LabelledPhotos(folder / "images", folder / "labels", CONFIG.photos)


@pytest.mark.parametrize("loss", LOSSES)
def test_two_processes_give_the_gradients_of_one(
    folder: Path, photos: LabelledPhotos, loss: str
) -> None:
    two = torch.load(folder / f"{loss}.pt")
    one = make_gradients(photos, LOSSES[loss])
    assert two.keys() == one.keys()
    assert any("running_var" in key for key in one)
    for key, value in one.items():
        # A bias before BatchNorm changes nothing: its gradient is rounding.
        tolerance = 1e-4 * max(float(value.abs().max()), 1.0)
        torch.testing.assert_close(two[key], value, atol=tolerance, rtol=0)


def test_one_process_goes_on_where_two_stopped_on_the_same_curve(
    folder: Path, photos: LabelledPhotos
) -> None:
    assert load_checkpoint(folder / "two" / "last.pt").skipped_steps == [1]  # one's was not finite
    whole = train(CONFIG, poisoned_source(photos, rank=0), folder / "one")
    parts = train(CONFIG, poisoned_source(photos, rank=0), folder / "two")
    assert parts.skipped_steps == whole.skipped_steps == [1]
    assert [row["step"] for row in parts.history] == [1, 2, 3, 4, 5, 6]
    for ours, expected in zip(parts.history, whole.history, strict=True):
        assert ours == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("rank", [0, 1])
def test_no_thread_of_the_group_outlives_it(folder: Path, rank: int) -> None:
    # One that does can abort a process that ends: "terminate called without an active exception".
    names = (folder / f"threads_{rank}.txt").read_text(encoding="utf-8").split("\n")
    assert "gloo" not in " ".join(names)


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(ConfigError, match=r"cuda:2.*2 devices"), joined_processes("cuda"):
        pass
