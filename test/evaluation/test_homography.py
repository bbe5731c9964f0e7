# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from superpoint_ros.cli import evaluate_homography
from superpoint_ros.config import ConfigError
from superpoint_ros.evaluation.homography import (
    BASELINES,
    PROTOCOLS,
    Protocol,
    corner_error,
    evaluate_pair,
    resize_pair,
    summarise,
)
from superpoint_ros.evaluation.hpatches import HomographyPair, read_pairs
from superpoint_ros.geometry.homography import warp_points

H_B_A = np.array([[0.95, 0.08, 6.0], [-0.06, 1.02, 5.0], [1e-4, -5e-5, 1.0]])


def textured_pair() -> HomographyPair:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (30, 50), np.uint8)
    image = cv2.resize(coarse, (400, 240), interpolation=cv2.INTER_CUBIC)
    warped = cv2.warpPerspective(image, H_B_A, (380, 260), borderMode=cv2.BORDER_REFLECT)
    return HomographyPair("set/1-2", image, warped, H_B_A)


@pytest.mark.parametrize("name", BASELINES)
def test_a_warped_texture_is_solved_and_measured_as_solved(name: str) -> None:
    protocol = Protocol("test", longer_side_px=0, max_keypoints=300)
    result = evaluate_pair(textured_pair(), BASELINES[name](300), protocol)
    assert result.corner_error_px < 1.5
    assert result.repeatability > 0.6
    assert result.localization_px < 1.5
    assert result.mma3 > 0.9
    assert 0.0 < result.matching_score <= 1.0
    summary = summarise([result, result])
    assert summary["he3"] == 1.0
    assert summary["pairs"] == 2


def test_resizing_carries_the_homography_along_on_a_non_square_image() -> None:
    """A known point goes through resize and homography in either order."""
    small = resize_pair(textured_pair(), 200)
    assert small.image_a.shape == (120, 200)
    assert small.image_b.shape == (137, 200)
    points = np.array([[100.0, 50.0], [333.0, 201.0]])
    mapped = warp_points(H_B_A, points)
    points_small = (points + 0.5) * 0.5 - 0.5
    expected = (mapped + 0.5) * np.array([200 / 380, 137 / 260]) - 0.5
    np.testing.assert_allclose(warp_points(small.H_b_a, points_small), expected, atol=1e-9)


def test_corner_error_by_hand() -> None:
    shifted = np.array([[1.0, 0, 3], [0, 1, 4], [0, 0, 1]])
    assert corner_error(shifted, np.eye(3), (48, 80)) == pytest.approx(5.0)
    assert corner_error(None, np.eye(3), (48, 80)) == float("inf")


def test_protocol_l640_is_what_its_name_says() -> None:
    protocol = PROTOCOLS["l640"]
    assert (protocol.longer_side_px, protocol.max_keypoints) == (640, 1000)
    assert (protocol.max_distance_px, protocol.ransac_px) == (3.0, 3.0)


def write_set(folder: Path) -> None:
    pair = textured_pair()
    folder.mkdir(parents=True)
    cv2.imwrite(str(folder / "1.png"), pair.image_a)
    cv2.imwrite(str(folder / "2.png"), pair.image_b)
    np.savetxt(folder / "H_1_2", H_B_A)


def test_reader_names_what_is_wrong(tmp_path: Path) -> None:
    write_set(tmp_path / "wall")
    assert [pair.name for pair in read_pairs(tmp_path)] == ["wall/1-2"]
    (tmp_path / "wall" / "2.png").unlink()
    with pytest.raises(ConfigError, match=r"wall: has no image 2"):
        read_pairs(tmp_path)
    (tmp_path / "wall" / "H_1_2").write_text("1 2 3")
    with pytest.raises(ConfigError, match="H_1_2"):
        read_pairs(tmp_path)
    with pytest.raises(ConfigError, match="is not a folder"):
        read_pairs(tmp_path / "absent")


def test_command_writes_the_keys_of_the_design(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import argparse

    write_set(tmp_path / "sets" / "wall")
    parser = argparse.ArgumentParser()
    evaluate_homography.add_arguments(parser)
    out = tmp_path / "report.json"
    args = parser.parse_args([str(tmp_path / "sets"), "--baselines", "orb", "--json", str(out)])
    monkeypatch.setattr(
        evaluate_homography, "_methods", lambda *_: {"orb": (BASELINES["orb"](500), {})}
    )
    assert evaluate_homography.run(args) == 0
    row = json.loads(out.read_text())["methods"]["orb"]
    for key in ("he1", "he3", "he5", "repeatability", "localization_px", "matching_score"):
        assert isinstance(row[key], float)
    assert row["pairs"] == 1
    assert {"mma3", "nn_map", "per_pair"} <= set(row)
