# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
import csv
import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from superpoint_ros.cli.main import main
from superpoint_ros.config import ConfigError
from superpoint_ros.data import Array, Features
from superpoint_ros.evaluation import homography
from superpoint_ros.evaluation.homography import (
    FeaturePair,
    PairResult,
    confidence_intervals,
    corner_error,
    estimate_by_ransac,
    evaluate_pair,
    evaluate_sets,
    measure_pair,
    summarise,
)
from superpoint_ros.evaluation.hpatches import HomographyPair, list_sets
from superpoint_ros.evaluation.pictures import choose_pairs
from superpoint_ros.evaluation.protocol import PROTOCOLS, Protocol, Setting, fit_image
from superpoint_ros.features.keypoints import KeypointConfig
from superpoint_ros.features.peers import make_peer
from superpoint_ros.geometry.homography import warp_points

H_B_A = np.array([[0.95, 0.08, 6.0], [-0.06, 1.02, 5.0], [1e-4, -5e-5, 1.0]])


def textured_pair() -> HomographyPair:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (30, 50), np.uint8)
    image = cv2.resize(coarse, (400, 240), interpolation=cv2.INTER_CUBIC)
    warped = cv2.warpPerspective(image, H_B_A, (380, 260), borderMode=cv2.BORDER_REFLECT)
    return HomographyPair("set/1-2", image, warped, H_B_A)


@pytest.mark.parametrize("is_mutual", [True, False])
@pytest.mark.parametrize("name", ["rootsift", "orb"])
def test_a_warped_texture_is_solved_and_measured_as_solved(name: str, is_mutual: bool) -> None:
    protocol = Protocol("test", Setting(max_keypoints=300), is_mutual=is_mutual)
    result = evaluate_pair(textured_pair(), make_peer(name, 300), protocol)
    assert result.corner_error_px < 1.5
    assert result.repeatability > 0.6
    assert result.localization_px < 1.5
    assert result.mma3 > (0.9 if is_mutual else 0.6)
    assert 0.3 < result.matching_score <= 1.0
    summary = summarise([result, result])
    assert summary["he3"] == 1.0
    assert summary["pairs"] == 2


# The dots, in pixels of image a; b is a portrait, turned and zoomed: no errors cancel.
SIZE_A_HW, SIZE_B_HW = (300, 500), (900, 700)
DOTS_A = np.array([[150.3, 80.6], [341.0, 95.2], [171.7, 240.1], [322.4, 190.8], [240.9, 140.5]])
ANGLE = np.deg2rad(70.0)
H_DOTS = np.array(
    [
        [1.5 * np.cos(ANGLE), -1.5 * np.sin(ANGLE), 440.0],
        [1.5 * np.sin(ANGLE), 1.5 * np.cos(ANGLE), 30.0],
        [1e-4, 5e-5, 1.0],
    ]
)


def draw_dots(points: Array, size_hw: tuple[int, int]) -> Array:
    """Gaussian dots around exact centres, each fainter than the one before."""
    y, x = np.mgrid[: size_hw[0], : size_hw[1]]
    image = np.zeros(size_hw)
    for index, (px, py) in enumerate(points):
        level = 250.0 - 40.0 * index
        image += level * np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * 5.0**2))
    return image.astype(np.uint8)


def find_dots(image: Array) -> Features:
    """Centres of mass, told apart by their mass."""
    count, labels = cv2.connectedComponents((image > 3).astype(np.uint8))
    found = []
    for label in range(1, count):
        y, x = np.nonzero(labels == label)
        mass = image[y, x].astype(float)
        found.append((mass.sum(), (x * mass).sum() / mass.sum(), (y * mass).sum() / mass.sum()))
    table = np.array(sorted(found, reverse=True), np.float32).reshape(-1, 3)
    scores = np.linspace(1.0, 0.5, len(table)).astype(np.float32)
    descriptors = np.eye(len(DOTS_A), dtype=np.float32)[: len(table)]
    return Features(table[:, 1:], scores, descriptors, (image.shape[0], image.shape[1]))


def write_ppm(path: Path, image: Array) -> None:
    assert cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_GRAY2BGR))


def write_dots(folder: Path) -> None:
    folder.mkdir(parents=True)
    write_ppm(folder / "1.ppm", draw_dots(DOTS_A, SIZE_A_HW))
    write_ppm(folder / "2.ppm", draw_dots(warp_points(H_DOTS, DOTS_A), SIZE_B_HW))
    np.savetxt(folder / "H_1_2", H_DOTS)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_known_points_survive_every_protocol(name: str, tmp_path: Path) -> None:
    """From files through resizing, cropping and the homography to the numbers, not square.

    Half a pixel forgotten in one of them has moved published numbers threefold.
    """
    write_dots(tmp_path / "v_dots")
    sizes = []

    def extract(image: Array) -> Features:
        sizes.append(image.shape)
        return find_dots(image)

    results, matches = evaluate_sets(
        list_sets(tmp_path), {"dots": lambda _: extract}, PROTOCOLS[name]
    )
    (result,) = results["dots"]
    assert (result.repeatability, result.matching_repeatability) == (1.0, 1.0)
    assert result.localization_px < 0.1
    assert result.matching_localization_px < 0.1
    assert result.corner_error_px < 0.5
    assert (result.matching_score, result.mma3, result.nn_map) == (1.0, 1.0, 1.0)
    assert matches["dots"][0].is_correct.all()
    expected = {
        "l640": [(384, 640), (640, 498)],
        "l640-ransac20": [(384, 640), (640, 498)],
        "l640-nms3": [(384, 640), (640, 498)],
        "native": [SIZE_A_HW, SIZE_B_HW],
        "paper-hpatches": 2 * [(480, 640)] + 2 * [(240, 320)],
    }
    assert sizes == expected.get(name, expected["paper-hpatches"])  # each image once per setting


def test_cropping_keeps_the_aspect_ratio_and_the_middle() -> None:
    image = draw_dots(DOTS_A, SIZE_A_HW)
    fitted, H = fit_image(image, PROTOCOLS["rpautrat-hpatches"].settings[1])
    assert fitted.shape == (240, 320)
    middle = (np.array([[500, 300]]) - 1) / 2
    np.testing.assert_allclose(warp_points(H, middle), [[159.5, 119.5]], atol=1e-9)
    assert H[0, 0] == pytest.approx(0.8)
    assert H[1, 1] == pytest.approx(0.8)


def test_points_the_other_image_does_not_see_go_before_the_limit() -> None:
    """300 points "detected in common": the best of the shared ones, not the shared of the best."""
    H_b_a = np.array([[1.0, 0, -40], [0, 1, 0], [0, 0, 1]])  # b begins 40 pixels further right
    keypoints = np.array([[10.0, 20], [20, 30], [50, 20], [60, 30], [70, 10]], np.float32)
    features = Features(
        keypoints, np.linspace(1, 0.5, 5, dtype=np.float32), np.eye(5, dtype=np.float32), (48, 80)
    )
    pair = HomographyPair("x", np.zeros((48, 80)), np.zeros((48, 80)), H_b_a)
    for candidates, kept in ((0, 5), (5, 2)):
        protocol = Protocol("t", Setting(max_keypoints=2, candidates=candidates))
        result = evaluate_pair(pair, lambda _: features, protocol)
        assert result.num_keypoints_a == kept


def hand_made(
    points: list[list[float]], descriptors: Array, size_hw: tuple[int, int] = (48, 80)
) -> Features:
    keypoints, scores = np.array(points, np.float32), np.linspace(1, 0.5, len(points))
    return Features(
        keypoints, scores.astype(np.float32), np.asarray(descriptors, np.float32), size_hw
    )


def test_points_are_shared_by_the_size_of_the_other_image() -> None:
    """The other one is a portrait, and begins 35 pixels above the first."""
    H_b_a = np.array([[1.0, 0, 0], [0, 1, 35], [0, 0, 1]])
    a = hand_made([[20, 20], [70, 5], [30, 44]], np.eye(3))  # x = 70 is beside b
    b = hand_made([[20, 55], [30, 20], [50, 82], [30, 85]], np.eye(4)[:, :3], (90, 60))
    protocol = Protocol("t", Setting(max_keypoints=9, candidates=9))
    result, matches = measure_pair("x", protocol, FeaturePair(a, b, H_b_a))
    np.testing.assert_array_equal(matches.keypoints_a, [[20, 20], [30, 44]])
    np.testing.assert_array_equal(matches.keypoints_b, [[20, 55], [50, 82]])
    assert (result.num_keypoints_a, result.num_keypoints_b) == (2, 2)


def test_matches_that_are_not_mutual_count_both_ways() -> None:
    H_b_a = np.array([[1.0, 0, 20], [0, 1, 0], [0, 0, 1]])
    # Three points of a choose the first of b, which lies 1, 2 and 2.5 px off and chooses one back.
    # The other pair is the most alike of all, and 20 px off.
    a = hand_made(
        [[10, 10], [11, 10], [11.5, 10], [30, 40]],
        np.array([[0.96, 0.28], [0.8, 0.6], [12 / 13, 5 / 13], [0.0, 1.0]]),
    )
    b = hand_made([[29, 10], [70, 40]], np.eye(2))
    protocol = Protocol("t", Setting(max_keypoints=9), is_mutual=False)
    result, matches = measure_pair("x", protocol, FeaturePair(a, b, H_b_a))
    assert matches.is_correct.tolist() == [True, True, True, False]
    assert result.mma3 == pytest.approx(3 / 4)
    assert result.match_error_px == pytest.approx(2.0)  # the median
    assert result.matching_score == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert result.nn_map == pytest.approx((3 / 4 + 1 / 2) / 2)  # wrong, right, right, right
    protocol = dataclasses.replace(protocol, is_mutual=True)
    result, matches = measure_pair("x", protocol, FeaturePair(a, b, H_b_a))
    assert matches.matches.tolist() == [[0, 0], [3, 1]]
    assert result.matching_score == pytest.approx((1 / 4 + 1 / 2) / 2)
    assert result.nn_map == pytest.approx(3 / 4)  # from a to b alone


def test_the_detector_has_a_limit_of_its_own_on_shared_points() -> None:
    H_b_a = np.array([[2.0, 0, -110], [0, 2, -30], [0, 0, 1]])
    # The best of either image is not in the other; of the next two, the first are a pair.
    a = hand_made([[50, 20], [60, 20], [60, 45]], np.eye(3))
    b = hand_made([[48, 70], [12, 10], [10, 64]], np.eye(3), (90, 60))
    features = FeaturePair(a, b, H_b_a)
    protocol = Protocol("t", Setting(3), detection=Setting(max_keypoints=1, candidates=3))
    result = measure_pair("x", protocol, features, features)[0]
    assert (result.repeatability, result.localization_px) == (1.0, pytest.approx(2.0))
    assert result.matching_repeatability == 0.5
    assert (result.num_keypoints_a, result.num_keypoints_b) == (3, 3)


def test_corner_error_by_hand() -> None:
    shifted = np.array([[1.0, 0, 3], [0, 1, 4], [0, 0, 1]])
    assert corner_error(shifted, np.eye(3), (48, 80)) == pytest.approx(5.0)
    assert corner_error(None, np.eye(3), (48, 80)) == float("inf")
    # Zoomed around (0, 0): the centres of the corner pixels move as far as they lie from there.
    zoomed = corner_error(np.diag([2.0, 2.0, 1.0]), np.eye(3), (48, 80))
    assert zoomed == pytest.approx((0.0 + 79.0 + np.hypot(79.0, 47.0) + 47.0) / 4.0)
    behind = np.array([[1.0, 0, 0], [0, 1, 0], [-1.0 / 60.0, 0, 1]])  # the right half
    assert corner_error(behind, np.eye(3), (48, 80)) == float("inf")


def test_the_corners_that_are_mapped_are_those_of_the_first_image(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(homography, "estimate_by_ransac", lambda *_: np.diag([2.0, 2.0, 1.0]))
    points = [[20.0, 20], [30, 40], [50, 10]]
    features = FeaturePair(
        hand_made(points, np.eye(3)), hand_made(points, np.eye(3), (90, 60)), np.eye(3)
    )
    result = measure_pair("x", Protocol("t", Setting(9)), features)[0]
    assert result.corner_error_px == pytest.approx((79.0 + np.hypot(79.0, 47.0) + 47.0) / 4.0)


def test_an_error_just_as_large_as_the_limit_is_within_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shift = np.array([[1.0, 0, 3], [0, 1, 4], [0, 0, 1]])  # 5 pixels
    monkeypatch.setattr(homography, "estimate_by_ransac", lambda *_: shift)
    a = hand_made([[20, 20], [30, 40], [50, 10]], np.eye(3))
    b = hand_made([[23, 20], [33, 40], [53, 10]], np.eye(3))
    features = FeaturePair(a, b, np.eye(3))
    result = measure_pair("x", Protocol("t", Setting(9)), features)[0]
    assert (result.mma3, result.he3, result.he5) == (1.0, 0.0, 1.0)


def test_protocol_l640_is_what_its_name_says() -> None:
    protocol = PROTOCOLS["l640"]
    assert (protocol.matching.longer_side_px, protocol.max_keypoints) == (640, 1000)
    assert (protocol.max_distance_px, protocol.ransac_px) == (3.0, 3.0)
    assert protocol.matching.nms_radius == 4
    assert PROTOCOLS["l640-nms3"].matching.nms_radius == KeypointConfig().nms_radius


def result_of(pair: str, corner_error_px: float, repeatability: float = 0.5) -> PairResult:
    shares = (float(corner_error_px <= limit) for limit in (1, 3, 5))
    return PairResult(pair, corner_error_px, *shares, repeatability, *[0.5] * 7, 9, 9, 9)


def test_pairs_without_a_number_are_left_out_of_its_mean() -> None:
    results = [result_of("a/1-2", 1.0, 0.2), result_of("a/1-3", 1.0, 0.4)]
    results.append(dataclasses.replace(results[0], repeatability=np.nan, mma3=0.8))
    means = summarise(results)
    assert means["repeatability"] == pytest.approx(0.3)
    assert means["mma3"] == pytest.approx(0.6)


def test_ransac_takes_for_one_what_lies_within_its_limit() -> None:
    a = np.random.default_rng(3).uniform([0, 0], [80, 48], (60, 2))
    b = a + np.where(np.arange(60) % 3 == 0, 4.0, 0.0)[:, None]
    errors = []
    for limit_px in (1.0, 12.0):
        protocol = dataclasses.replace(PROTOCOLS["native"], ransac_px=limit_px)
        H = estimate_by_ransac(a, b, protocol)
        errors.append(corner_error(H, np.eye(3), (48, 80)))
    assert errors[0] < 1e-6
    assert errors[1] > 0.5


def test_the_corner_error_of_many_pairs_is_their_median() -> None:
    results = [result_of("a/1-2", 1.0), result_of("a/1-3", 2.0), result_of("a/1-4", 9.0)]
    assert summarise(results)["corner_error_median_px"] == 2.0


def test_several_runs_of_ransac_see_the_matches_in_other_orders(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pair, seen = textured_pair(), []

    def estimate(pixels_a: Array, pixels_b: Array, protocol: Protocol) -> Array:
        seen.append(np.hstack([pixels_a, pixels_b]))
        shift = np.eye(3)
        shift[0, 2] = (0.0, 2.0, 4.0, 6.0)[len(seen) - 1]
        return shift @ pair.H_b_a

    monkeypatch.setattr(homography, "estimate_by_ransac", estimate)
    protocol = dataclasses.replace(PROTOCOLS["native"], ransac_runs=4)
    result = evaluate_pair(pair, make_peer("orb", 300), protocol)
    assert (result.corner_error_px, result.he1, result.he3, result.he5) == (0.0, 0.25, 0.5, 0.75)
    for other in seen[1:]:
        assert sum(np.array_equal(other, order) for order in seen) == 1
        assert sorted(map(tuple, other)) == sorted(map(tuple, seen[0]))


def test_interval_is_over_sets_not_pairs() -> None:
    """Ten pairs of one scene tell no more about other scenes than one pair does."""
    good = [result_of(f"a/1-{k}", 0.5) for k in range(2, 12)]
    bad = [result_of(f"b/1-{k}", 9.0) for k in range(2, 12)]
    low, high = confidence_intervals([*good, *bad])["he3"]
    assert (low, high) == (0.0, 1.0)
    many = [result_of(f"{k}/1-2", 0.5 if k % 2 else 9.0) for k in range(100)]
    low, high = confidence_intervals(many)["he3"]
    assert (0.5 - low, high - 0.5) == pytest.approx((0.098, 0.098), abs=0.012)  # 1.96 * 0.05


def test_what_only_detects_has_no_matching_numbers() -> None:
    protocol = Protocol("test", Setting(max_keypoints=300))
    result = evaluate_pair(textured_pair(), make_peer("harris", 300), protocol)
    assert result.repeatability > 0.5
    summary = summarise([result])
    assert np.isnan([summary["he3"], summary["mma3"], summary["matching_score"]]).all()
    assert set(confidence_intervals([result])) == {"repeatability", "localization_px"}


def test_best_and_worst_pairs_are_chosen_once() -> None:
    results = [result_of("a/1-2", 3.0), result_of("a/1-3", 0.2), result_of("a/1-4", np.inf)]
    assert choose_pairs(results, 1) == [("best-1", 1), ("worst-1", 2)]
    assert choose_pairs(results, 2) == [("best-1", 1), ("best-2", 0), ("worst-1", 2)]


def write_set(folder: Path, others: tuple[int, ...] = (2,)) -> None:
    pair = textured_pair()
    folder.mkdir(parents=True)
    write_ppm(folder / "1.ppm", pair.image_a)
    for other in others:
        write_ppm(folder / f"{other}.ppm", pair.image_b)
        np.savetxt(folder / f"H_1_{other}", H_B_A)


def test_reader_names_what_is_wrong(tmp_path: Path) -> None:
    write_set(tmp_path / "i_wall", (2, 3))
    assert list_sets(tmp_path)[0].pair_names == ("i_wall/1-2", "i_wall/1-3")
    (tmp_path / "i_wall" / "2.ppm").unlink()
    with pytest.raises(ConfigError, match=r"i_wall: has no image 2"):
        list_sets(tmp_path)
    (tmp_path / "i_wall" / "H_1_2").write_text("1 2 3")
    write_set(tmp_path / "v_a")
    with pytest.raises(ConfigError, match=r"has no image 2"):
        list_sets(tmp_path)
    (tmp_path / "i_wall" / "2.ppm").write_text("no image")
    with pytest.raises(ConfigError, match="H_1_2"):
        list_sets(tmp_path)
    with pytest.raises(ConfigError, match="is not a folder"):
        list_sets(tmp_path / "absent")


def test_any_multiple_of_a_homography_is_the_same(tmp_path: Path) -> None:
    write_set(tmp_path / "v_a", (2, 3))
    np.savetxt(tmp_path / "v_a" / "H_1_3", -2.0 * H_B_A)
    (found,) = list_sets(tmp_path)
    for H_b_a in found.homographies:
        np.testing.assert_allclose(H_b_a, H_B_A / H_B_A[2, 2], rtol=1e-12)


def test_command_reports_groups_pairs_and_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder in the layout of HPatches through the whole command."""
    for name in ("i_wall", "v_wall"):
        write_set(tmp_path / "sets" / name)
    report, pairs, pictures = tmp_path / "r.json", tmp_path / "p.csv", tmp_path / "pictures"
    argv = ["evaluate", "homography", str(tmp_path / "sets"), "--protocol", "native"]
    argv += ["--baselines", "orb,fast", "--json", str(report), "--pairs", str(pairs)]
    argv += ["--pictures", str(pictures), "--scales", "1", "0.5"]
    assert main(argv) == 0
    printed = capsys.readouterr().out
    assert "(2 pairs of 2 sets, native)" in printed
    assert printed.count("  illumination") == 3
    methods = json.loads(report.read_text())["methods"]
    assert list(methods) == ["superpoint", "orb", "fast"]
    row = methods["orb"]
    for key in ("he1", "he3", "he5", "repeatability", "localization_px", "matching_score"):
        assert isinstance(row[key], float)
        assert len(row["interval_95"][key]) == 2
    assert {"mma3", "nn_map", "illumination", "viewpoint"} <= set(row)
    assert (row["pairs"], row["viewpoint"]["pairs"]) == (2, 1)
    assert len(row["per_pair"]) == 2
    assert methods["fast"]["he3"] is None
    assert methods["superpoint"]["he3"] == 1.0
    assert methods["superpoint"]["scales"] == "1 0.5"
    with pairs.open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 6
    assert rows[0]["method"] == "superpoint"
    assert float(rows[0]["corner_error_px"]) < 3
    picture = cv2.imread(str(pictures / "orb_best-1_i_wall_1-2_matches.jpg"))
    assert picture.shape == (260, 780, 3)
    assert len(list(pictures.glob("fast_*_keypoints.jpg"))) == 2
    assert not list(pictures.glob("fast_*_matches.jpg"))
    index = (pictures / "index.html").read_text()
    assert index.count("<img") == 4 + 4 + 2
    assert ", i_wall/1-2: repeatability" in index


def test_a_wrong_protocol_or_baseline_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_set(tmp_path / "wall")
    assert main(["evaluate", "homography", str(tmp_path), "--protocol", "l64"]) == 2
    assert "known: l640, l640-ransac20, l640-nms3, native" in capsys.readouterr().err
    assert main(["evaluate", "homography", str(tmp_path), "--baselines", "surf"]) == 2
    assert "'surf': known: rootsift" in capsys.readouterr().err
