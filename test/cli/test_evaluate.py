# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from superpoint_ros.cli import evaluate, evaluate_bag
from superpoint_ros.cli.main import main
from superpoint_ros.config import ConfigError
from superpoint_ros.evaluation.bag_writer import write_bag
from superpoint_ros.evaluation.synthetic import SequenceConfig, SyntheticCameraConfig


@pytest.fixture
def wall(tmp_path: Path) -> Path:
    """TUM's layout: an RGB-D camera that slides along a textured wall 2 m away, 10 frames."""
    path = tmp_path / "wall"
    for name in ("rgb", "depth"):
        (path / name).mkdir(parents=True)
    coarse = np.random.default_rng(5).integers(0, 255, (60, 90), np.uint8)
    texture = cv2.resize(coarse, (540, 360), interpolation=cv2.INTER_CUBIC)
    lists = {"rgb": "", "depth": "", "groundtruth": ""}
    for i in range(10):
        stamp, shift_px = f"{1000 + 0.1 * i:.3f}", 4.0 * i
        M = np.array([[1.0, 0, -50 - shift_px], [0, 1, -40 - 0.5 * shift_px]])
        cv2.imwrite(str(path / f"rgb/{i}.png"), cv2.warpAffine(texture, M, (240, 180)))
        cv2.imwrite(str(path / f"depth/{i}.png"), np.full((180, 240), 10_000, np.uint16))
        lists["rgb"] += f"{stamp} rgb/{i}.png\n"
        lists["depth"] += f"{stamp} depth/{i}.png\n"
        x = shift_px * 2.0 / 200.0
        lists["groundtruth"] += f"{stamp} {x} {0.5 * x} 0 0 0 0 1\n"
    for name, text in lists.items():
        (path / f"{name}.txt").write_text(text)
    (path / "calib.yaml").write_text(
        "fx: 200\nfy: 200\ncx: 120\ncy: 89.5\nwidth: 240\nheight: 180\n"
    )
    return path


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
    assert kinds["bag"].startswith("Run the odometry over recordings")


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
        ("mode=stereo", "--set mode=stereo: is --sensor stereo"),
        ("odometry.mode=stereo", "is --sensor stereo"),
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


def test_names_are_short_different_and_can_be_written() -> None:
    bags = ["a/run.mcap", "b/run.mcap", "caf\u00e9.bag", os.fsdecode(b"caf\xe9.mcap")]
    assert evaluate_bag._names(bags) == ["run", "run-2", "caf\u00e9", "caf\\udce9"]


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


def without_times(values: dict) -> dict:
    """Drop what differs between runs: wall times."""
    timed = ("fps", "wall_s", "latency_ms")
    return {
        key: [without_times(v) for v in value]
        if key == "results" or key in ("drops", "exposure")
        else without_times(value)
        if isinstance(value, dict)
        else value
        for key, value in values.items()
        if key not in timed
    }


def test_several_recordings_features_seeds_and_curves(
    wall: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bags = [str(wall), str(tmp_path / "absent.mcap"), str(wall)]
    arguments = ["--features", "klt,orb", "--runs", "2", "--max-keypoints", "200"]
    arguments += ["--set", "depth.sigma_relative=0.0"]  # rendered depth is exact
    arguments += ["--curves", "drops,exposure", "--out", str(tmp_path / "out"), "--json"]
    assert main(["evaluate", "bag", *bags, *arguments, str(tmp_path / "a.json")]) == 1
    captured = capsys.readouterr()
    assert "superpoint: failed: " in captured.err
    assert "absent.mcap: no such file" in captured.err
    for part in ("wall-2", "klt", "every 5th", "gain 1/16", "2 seeds: ATE", "failed"):
        assert part in captured.out
    values = json.loads((tmp_path / "a.json").read_text())
    assert [failure["bag"] for failure in values["failed"]] == [bags[1]]
    rows = values["results"]
    assert [(row["name"], row["features"]) for row in rows] == [
        (name, features) for name in ("wall", "wall-2") for features in ("klt", "orb")
    ]
    for row in rows:
        assert (row["sensor"], row["frames"], row["coverage"]) == ("rgbd", 10, 1.0)
        assert row["ate_rmse_m"] < 0.02  # of 0.4 m
        assert row["kitti_t_err_percent"] is None  # a path of 0.4 m
        assert (row["runs"]["seeds"], row["runs"]["coverage"]["min"]) == ([0, 1], 1.0)
        points = {p["name"]: p for curve in row["curves"].values() for p in curve}
        assert points["every 3rd"]["frames"] == 4
        assert points["gain 1/4"]["coverage"] == 1.0
        folder = tmp_path / "out" / f"{row['name']}_{row['features']}"
        assert {p.suffix for p in folder.iterdir()} == {".tum", ".txt", ".png", ".ply"}
    assert "wall-2" in (tmp_path / "out" / "report.html").read_text()
    # The second reading of the same recording: the same seeds, the same poses, bit by bit.
    for first, second in zip(rows[:2], rows[2:], strict=True):
        assert without_times(first) == {**without_times(second), "name": "wall"}
        for name in ("trajectory.tum", "map.ply"):
            texts = [
                (tmp_path / "out" / f"{row['name']}_{row['features']}" / name).read_bytes()
                for row in (first, second)
            ]
            assert texts[0] == texts[1]
    # Other seeds do differ: RANSAC draws otherwise.
    assert not all(row["runs"]["identical"] for row in rows)


def test_pieces_are_runs_of_their_own(
    wall: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--features", "orb", "--max-keypoints", "200", "--pieces", "2", "--json"]
    assert main(["evaluate", "bag", str(wall), *arguments, str(tmp_path / "a.json")]) == 0
    assert "6 is right; the mean of 2 lies between 2.2 and 11.7" in capsys.readouterr().out
    values = json.loads((tmp_path / "a.json").read_text())
    assert (values["frames"], values["coverage"]) == (10, 1.0)
    assert values["pieces"]["names"] == ["frames 0 to 4", "frames 5 to 9"]
    assert values["pieces"]["tracked"] == [5, 5]
    # The first piece is a run of the first frames alone.
    arguments = [*arguments[:4], "--max-frames", "5", "--json"]
    assert main(["evaluate", "bag", str(wall), *arguments, str(tmp_path / "b.json")]) == 0
    first = json.loads((tmp_path / "b.json").read_text())
    assert (first["frames"], first["coverage"]) == (5, 1.0)
    assert values["pieces"]["nees"]["values"][0] == pytest.approx(first["nees"])
    assert values["pieces"]["nees"]["values"][1] != pytest.approx(first["nees"])


def test_a_recording_too_short_for_the_pieces_does_not_stop_the_others(
    wall: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--features", "orb", "--ground-truth", "none", "--pieces", "2", "--json"]
    bags = [str(wall), str(folder)]
    assert main(["evaluate", "bag", *bags, *arguments, str(tmp_path / "a.json")]) == 1
    captured = capsys.readouterr()
    assert f"failed: {folder}: --pieces 2: of 3 frames that is 1 a piece" in captured.err
    assert "note: wall, orb: no ground truth" in captured.out
    values = json.loads((tmp_path / "a.json").read_text())
    assert [row["name"] for row in values["results"]] == ["wall"]


@pytest.mark.slow
def test_the_covariance_of_a_rendered_room_is_as_large_as_the_errors(tmp_path: Path) -> None:
    """DESIGN.md section 3, with real features: half of the covariance would leave the bounds."""
    camera = SyntheticCameraConfig(width=320, height=240, fx=262.0, fy=261.0)
    room = tmp_path / "room.mcap"
    write_bag(room, SequenceConfig(camera=camera, sensor="stereo", frames=144))
    arguments = ["--weights", "small", "--max-keypoints", "400", "--pieces", "12"]
    report = tmp_path / "a.json"
    assert main(["evaluate", "bag", str(room), *arguments, "--json", str(report)]) == 0
    pieces = json.loads(report.read_text())["pieces"]
    assert (pieces["count"], pieces["right"]) == (12, 6)
    low, high = pieces["bounds"]
    assert low < pieces["nees_at_end"]["mean"] < high


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--features", "surf"], "--features surf: known: superpoint, rootsift, orb, klt"),
        (["--features", "orb,orb"], "name each of superpoint, rootsift, orb, klt, aliked-t16"),
        (["--curves", "fog"], "--curves fog: known: drops, exposure"),
        (["--seed", "-1"], "--seed: must be at least 0"),
        (["--ground-truth", "a.txt", "another.mcap"], "one file cannot be the truth of several"),
        (["--rrd", "a.rrd", "another.mcap"], "--rrd a.rrd: holds one recording only"),
        (["--seed", "0", "--truth-sigma", "0", "-1"], "--truth-sigma: must not be negative"),
        (["--seed", "0", "--truth-sigma", "nan", "0"], "--truth-sigma: must not be negative"),
    ],
)
def test_bad_plans_are_named_before_the_work(
    capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert main(["evaluate", "bag", *options[2:], "no_such.mcap", *options[:2]]) == 2
    assert message in capsys.readouterr().err


def test_a_truth_that_errs_leaves_the_odometry_more_room(wall: Path, tmp_path: Path) -> None:
    nees = []
    for sigma in ("0", "1"):
        path = tmp_path / f"{sigma}.json"
        arguments = ["evaluate", "bag", str(wall), "--features", "orb", "--json", str(path)]
        assert main([*arguments, "--truth-sigma", sigma, sigma]) == 0
        nees.append(json.loads(path.read_text())["nees"])
    assert 0.0 < nees[1] < 0.1 * nees[0]


def test_only_what_has_nees_is_told_how_the_truth_errs(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["replay", "no_such.mcap", "--truth-sigma", "0.1", "0.1"])
    assert "--truth-sigma" in capsys.readouterr().err


def test_a_missing_viewer_is_named(wall: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if importlib.util.find_spec("rerun"):
        pytest.skip("rerun-sdk is installed")
    arguments = ["evaluate", "bag", str(wall), "--features", "orb", "--viewer", "rerun"]
    assert main(arguments) == 2
    assert "pip install rerun-sdk" in capsys.readouterr().err


def test_the_viewer_records_a_run(wall: Path, tmp_path: Path) -> None:
    pytest.importorskip("rerun", reason="pip install rerun-sdk")
    path = tmp_path / "a.rrd"
    assert main(["evaluate", "bag", str(wall), "--features", "orb", "--rrd", str(path)]) == 0
    data = path.read_bytes()
    for entity in ("image/keypoints", "image/tracks", "world/camera", "world/landmarks"):
        assert data.count(entity.encode()) > 1


@pytest.mark.dataset
def test_a_run_writes_json_report_and_trajectories(
    shared_data: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = shared_data / "weights" / "first.safetensors"
    arguments = ["--weights", str(weights), "--runs", "2", "--json", str(tmp_path / "a.json")]
    arguments += ["--out", str(tmp_path / "out")]
    assert main(["evaluate", "bag", str(folder), *arguments]) == 0
    values = json.loads((tmp_path / "a.json").read_text())
    assert (values["sensor"], values["frames"], values["ate_rmse_m"]) == ("mono", 3, None)
    assert values["runs"]["identical"] is True  # no pose at all
    assert values["results"][0]["frames"] == 3
    assert values["weights_sha256"].startswith("4a6630107ed1")
    assert values["config"]["odometry"]["mode"] == "mono"
    assert (tmp_path / "out" / "trajectory.png").is_file()
    assert (tmp_path / "out" / "trajectory_kitti.txt").is_file()
    captured = capsys.readouterr()
    assert "no ground truth" in captured.out
    assert captured.err == ""  # no progress bar in a pipe


@pytest.mark.slow
@pytest.mark.dataset
def test_kitti_excerpt_runs_in_mono(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sequence = shared_data / "sequences" / "kitti_excerpt1_mono"
    arguments = ["--max-frames", "16", "--max-keypoints", "600"]
    arguments += ["--json", str(tmp_path / "a.json"), "--set", "longer_side_px=800"]
    assert main(["evaluate", "bag", str(sequence), *arguments]) == 0
    values = json.loads((tmp_path / "a.json").read_text())
    assert (values["alignment"], values["ground_truth"]) == ("sim3", "/ground_truth/pose")
    assert values["tracked"] >= 10
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
