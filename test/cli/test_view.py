# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import io
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from rich.table import Table

from superpoint_ros.cli._recording import plain_console
from superpoint_ros.cli.main import main
from superpoint_ros.cli.view import _print_topics
from superpoint_ros.network.superpoint import NetworkConfig, SuperPoint
from superpoint_ros.network.weights import ModelCard, save_weights


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


def test_a_recording_that_cannot_be_used_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "0.png").write_text("no picture")
    (tmp_path / "calib.yaml").write_text("fx: 0\nfy: 0\ncx: 0\ncy: 0\nwidth: 80\nheight: 48\n")
    weights = tmp_path / "tiny.safetensors"
    network = SuperPoint(NetworkConfig(encoder_channels=(8, 8, 16, 16), head_channels=16))
    save_weights(weights, network, ModelCard(name="tiny"))
    out = ["--out", str(tmp_path / "out"), "--weights", str(weights)]
    assert main(["view", str(tmp_path), *out]) == 2
    captured = capsys.readouterr()
    assert "note: camera_info of frame 'camera': K has focal lengths 0, 0" in captured.out
    assert (
        "no frame could be drawn: /camera/image_raw/compressed: compressed image of format 'png'"
        in captured.err
    )
    assert len(captured.err.splitlines()) == 1
    assert main(["replay", str(tmp_path), "--out", str(tmp_path / "replayed")]) == 2
    assert "K has focal lengths 0, 0" in capsys.readouterr().err


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


def test_names_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    console = plain_console()
    table = Table("[b]:car:", title="run[lab] :car:")
    table.add_row("[red]")
    console.print(table)
    console.print("[i]")
    text = capsys.readouterr().out
    for name in ("run[lab] :car:", "[b]:car:", "[red]", "[i]"):
        assert name in text


def test_a_pipe_that_closes_is_for_main(monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Closed())
    with pytest.raises(BrokenPipeError):
        plain_console().print("text")


def test_long_names_are_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"/front/{'very_' * 40}long/{end}" for end in ("image", "depth")]
    reader = SimpleNamespace(
        path=tmp_path, topics=[SimpleNamespace(name=n, msgtype="t/msg/T", count=1) for n in names]
    )
    _print_topics(reader, plain_console())
    others = re.compile(r"t/msg/T|\b1\b")
    text = "".join(re.findall(r"[\w/]+", others.sub("", capsys.readouterr().out)))
    assert all(name in text for name in names)
