# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from superpoint_ros.cli import evaluate, evaluate_bag
from superpoint_ros.cli.main import main
from superpoint_ros.config import ConfigError


@pytest.fixture
def folder(tmp_path: Path, rng: np.random.Generator) -> Path:
    """An image folder of three frames without ground truth."""
    path = tmp_path / "sequence"
    (path / "images").mkdir(parents=True)
    for i in range(3):
        image = rng.integers(0, 256, (48, 80), dtype=np.uint8)
        cv2.imwrite(str(path / "images" / f"{i}.png"), image)
    (path / "calib.yaml").write_text("fx: 60\nfy: 60\ncx: 40\ncy: 24\nwidth: 80\nheight: 48\n")
    return path


def test_kinds_are_found_without_importing() -> None:
    kinds = evaluate.find_kinds()
    assert kinds["bag"].startswith("Run the odometry over a recording")


def test_settings_reach_the_config_that_knows_them() -> None:
    extractor, odometry = evaluate_bag.make_configs(
        [
            "keypoints.nms_radius=3",
            "max_lost_frames=7",
            "odometry.bundle.enabled=false",
            "depth.maximum=5",
        ],
        "rgbd",
        weights="w.safetensors",
        max_keypoints=123,
    )
    assert extractor.keypoints.nms_radius == 3
    assert extractor.keypoints.max_keypoints == 123
    assert extractor.weights == "w.safetensors"
    assert (odometry.mode, odometry.max_lost_frames) == ("rgbd", 7)
    assert odometry.bundle.enabled is False
    assert odometry.depth.maximum == 5.0


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("keypoints.nms_radius", "expected KEY=VALUE"),
        ("nonsense=1", "nonsense: unknown setting; known: "),
        ("keypoints.nms_radius=many", "keypoints.nms_radius: expected int"),
        ("keypoints.nms_radius=-1", "below the minimum"),
        ("max_lost_frames=[", "is no value"),
    ],
)
def test_bad_settings_are_named(assignment: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        evaluate_bag.make_configs([assignment], "mono")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--image", "/other"], "no messages on '/other': pass another --image TOPIC"),
        (["--sensor", "rgbd"], "no depth image"),
        (["--every", "0"], "--every: must be at least 1"),
        (["--ground-truth", "absent.txt"], "absent.txt: cannot be read"),
        (["--set", "nonsense=1"], "unknown setting"),
        (["--weights", "absent.safetensors"], "absent.safetensors"),
    ],
)
def test_mistakes_end_in_one_line_and_exit_code_2(
    folder: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert main(["evaluate", "bag", str(folder), *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_absent_recording_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "bag", "/no/such.mcap"]) == 2
    assert "/no/such.mcap: no such file" in capsys.readouterr().err


def test_help_tells_the_options(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", "bag", "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for option in ("--ground-truth", "--depth-units-per-metre", "--every", "--runs", "--set"):
        assert option in text


@pytest.mark.dataset
def test_a_run_writes_json_report_and_trajectories(
    shared_data: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = shared_data / "weights" / "first.safetensors"
    arguments = ["--weights", str(weights), "--runs", "2", "--json", str(tmp_path / "a.json")]
    arguments += ["--out", str(tmp_path / "out"), "--kitti", str(tmp_path / "kitti.txt")]
    assert main(["evaluate", "bag", str(folder), *arguments]) == 0
    values = json.loads((tmp_path / "a.json").read_text())
    assert (values["sensor"], values["frames"], values["ate_rmse_m"]) == ("mono", 3, None)
    assert values["runs"]["identical"] is True
    assert values["weights_sha256"].startswith("4a6630107ed1")
    assert values["config"]["odometry"]["mode"] == "mono"
    assert (tmp_path / "out" / "trajectory.png").is_file()
    assert (tmp_path / "kitti.txt").is_file()
    captured = capsys.readouterr()
    assert "no ground truth" in captured.out
    assert captured.err == ""  # no progress bar in a pipe


@pytest.mark.slow
@pytest.mark.dataset
def test_kitti_excerpt_runs_in_mono(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = shared_data / "weights" / "first.safetensors"
    sequence = shared_data / "sequences" / "kitti_excerpt1_mono"
    arguments = ["--weights", str(weights), "--max-frames", "12", "--max-keypoints", "600"]
    arguments += ["--json", str(tmp_path / "a.json"), "--set", "longer_side_px=800"]
    assert main(["evaluate", "bag", str(sequence), *arguments]) == 0
    values = json.loads((tmp_path / "a.json").read_text())
    assert (values["alignment"], values["ground_truth"]) == ("sim3", "/ground_truth/pose")
    assert values["tracked"] >= 9
    assert values["ate_rmse_m"] < 0.5


@pytest.mark.parametrize("value", ["nan", "inf", "-1"])
@pytest.mark.parametrize(
    ("command", "option"),
    [
        ("evaluate bag", "--slop"),
        ("evaluate bag", "--depth-units-per-metre"),
        ("view", "--depth-units-per-metre"),
        ("replay", "--depth-units-per-metre"),
        ("replay", "--rate"),
    ],
)
def test_numbers_that_are_none_are_named(
    command: str, option: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command.split(), "no_such.mcap", f"{option}={value}"]) == 2
    assert capsys.readouterr().err.startswith(f"superpoint: {option}: must be ")
