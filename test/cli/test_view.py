# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from superpoint_ros.cli.main import main


def test_a_folder_is_described(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "images").mkdir()
    for i in range(3):
        cv2.imwrite(str(tmp_path / "images" / f"{i}.png"), np.zeros((48, 80), np.uint8))
    (tmp_path / "calib.yaml").write_text("fx: 60\nfy: 60\ncx: 40\ncy: 24\nwidth: 80\nheight: 48\n")
    assert main(["view", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "sensor: mono" in text
    assert "image: /camera/image_raw/compressed" in text
    assert "frames: 3 in 0.20 s, 10.0 Hz" in text
    assert main(["view", str(tmp_path), "--sensor", "stereo"]) == 2
    assert main(["view", str(tmp_path), "--frames", "0"]) == 2


@pytest.mark.dataset
def test_pictures_hold_image_and_depth(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = shared_data / "bags" / "tum_fr1_rpy_rgbd"
    weights = shared_data / "weights" / "first.safetensors"
    arguments = ["--weights", str(weights), "--frames", "1", "--longer-side", "160"]
    assert main(["view", str(bag), "--out", str(tmp_path), *arguments]) == 0
    assert "stamp gap of pairs at most 0.00 ms" in capsys.readouterr().out
    (path,) = tmp_path.iterdir()
    picture = cv2.imread(str(path))
    assert picture.shape == (480, 1280, 3)
    assert picture[:, 640:].std() > 10  # depth has structure
