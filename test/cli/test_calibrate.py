# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from superpoint_ros.cli import calibrate
from superpoint_ros.cli.evaluate_bag import make_configs
from superpoint_ros.cli.main import main
from superpoint_ros.odometry.readout import ReadoutEstimate, estimate_readout


@pytest.fixture
def folder(tmp_path: Path, rng: np.random.Generator) -> Path:
    """An image folder of three frames."""
    path = tmp_path / "sequence"
    (path / "images").mkdir(parents=True)
    for i in range(3):
        image = rng.integers(0, 256, (48, 80), dtype=np.uint8)
        cv2.imwrite(str(path / "images" / f"{i}.png"), image)
    (path / "calib.yaml").write_text("fx: 60\nfy: 60\ncx: 40\ncy: 24\nwidth: 80\nheight: 48\n")
    return path


def test_a_recording_that_cannot_tell(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "out.json"
    assert main(["calibrate", str(folder), "--weights", "small", "--json", str(path)]) == 1
    captured = capsys.readouterr()
    assert captured.out.startswith("readout time: cannot tell: too little was tracked")
    assert captured.err == ""  # no progress bar in a pipe
    values = json.loads(path.read_text())
    assert (values["frames"], values["readout"], values["sigma"]) == (3, None, None)
    assert values["is_global_shutter"] is None
    assert values["reason"].startswith("too little was tracked")
    assert [run["frames"] for run in values["runs"]] == [0]


def test_every_frame_gets_there_or_as_many_as_asked(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def watch(observations, config, on_run):
        seen.append(([o.stamp_ns for o in observations], config.mode))
        return estimate_readout(observations, config, on_run)

    monkeypatch.setattr("superpoint_ros.odometry.readout.estimate_readout", watch)
    for options in ([], ["--max-frames", "2"]):
        main(["calibrate", str(folder), "--weights", "small", *options])
    assert [len(stamps) for stamps, _ in seen] == [3, 2]
    assert seen[0] == (sorted(seen[0][0]), "mono")


def test_what_is_printed_can_be_used(capsys: pytest.CaptureFixture[str]) -> None:
    calibrate._print(ReadoutEstimate(-0.01234, 0.0004, "", ()))
    text = capsys.readouterr().out
    assert text.startswith("readout time: -12.34 ms +- 0.40 ")
    assignment = re.search(r"--set (\S+)", text)
    assert assignment is not None
    _, odometry = make_configs([assignment[1]], "rgbd")
    assert odometry.rolling_shutter.readout == -0.0123
    assert "odometry.rolling_shutter.readout: -0.0123" in text


def test_a_global_shutter_is_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    calibrate._print(ReadoutEstimate(0.0003, 0.0002, "", ()))
    text = capsys.readouterr().out
    assert "no rolling shutter to be seen" in text
    assert "--set" not in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--max-frames", "-1"], "--max-frames: must be at least 0"),
        (["--slop", "nan"], "--slop: must be at least 0"),
        (["--depth-units-per-metre", "-5"], "--depth-units-per-metre: must be positive"),
        (["--sensor", "homography"], "--sensor homography: "),
        (["--sensor", "rgbd"], "no depth image"),
        (["--set", "nonsense=1"], "unknown setting"),
        (["--weights", "absent.safetensors"], "absent.safetensors"),
    ],
)
def test_mistakes_end_in_one_line_and_exit_code_2(
    folder: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert main(["calibrate", str(folder), *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
