# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from superpoint_ros.decode import decode_depth, decode_grey
from superpoint_ros.evaluation.bag import BagError, BagReader
from superpoint_ros.evaluation.folders import read_calibration
from superpoint_ros.geometry.camera import Camera
from superpoint_ros.geometry.se3 import pose_from_quaternion
from superpoint_ros.geometry.stereo import StereoPair


def write_image(path: Path, value: int, dtype: type = np.uint8) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((24, 40), value, dtype))


def test_plain_folder(tmp_path: Path) -> None:
    for i in range(3):
        write_image(tmp_path / "images" / f"{i:03}.png", 10 * i)
    (tmp_path / "times.txt").write_text("# s\n5.000000001\n5.1\n5.2\n")
    (tmp_path / "calib.yaml").write_text(
        "fx: 30\nfy: 31\ncx: 20\ncy: 12\nwidth: 40\nheight: 24\ndistortion: [0.1, 0, 0, 0, 0]\n"
    )
    (tmp_path / "poses.txt").write_text("5.0 0 0 0 0 0 0 1\n5.1 1 2 3 0 0 1 0\n")
    with BagReader(tmp_path) as reader:
        assert reader.sensor.sensor == "mono"
        frames = list(reader.frames())
        truth = reader.ground_truth()
    assert [frame.stamp_ns for frame in frames] == [5_000_000_001, 5_100_000_000, 5_200_000_000]
    assert [int(decode_grey(frame.image)[0, 0]) for frame in frames] == [0, 10, 20]
    assert frames[0].camera_info.d[0] == 0.1
    np.testing.assert_array_equal(truth.poses[1, :3], [[-1, 0, 0, 1], [0, -1, 0, 2], [0, 0, 1, 3]])


@pytest.mark.parametrize("pattern", ["left{}.png", "1700000000.{:02}5.png", "{:02}.jpg.png"])
def test_frames_are_in_the_order_of_their_numbers(pattern: str, tmp_path: Path) -> None:
    for i in range(12):
        name = pattern.format(i).replace("0.105", "0.1049999")  # a fraction of another length
        write_image(tmp_path / "images" / name, 10 * i)
    (tmp_path / "images" / "._left0.png").write_bytes(b"of macOS")
    (tmp_path / "calib.yaml").write_text("fx: 30\nfy: 31\ncx: 20\ncy: 12\nwidth: 40\nheight: 24\n")
    with BagReader(tmp_path) as reader:
        values = [int(decode_grey(frame.image)[0, 0]) for frame in reader.frames()]
    assert values == [10 * i for i in range(12)]


def test_tum_folder_pairs_by_stamp_and_knows_its_camera(tmp_path: Path) -> None:
    root = tmp_path / "rgbd_dataset_freiburg2_desk"
    for i in range(2):
        write_image(root / "rgb" / f"{i}.png", 50 + i)
        write_image(root / "depth" / f"{i}.png", 5000 * (i + 1), np.uint16)
    (root / "rgb.txt").write_text("# rgb\n1.0 rgb/0.png\n2.0 rgb/1.png\n")
    (root / "depth.txt").write_text("1.012 depth/0.png\n2.5 depth/1.png\n")
    (root / "groundtruth.txt").write_text("1.0 0 0 0 0 0 0 1\n")
    with BagReader(root) as reader:
        assert reader.sensor.sensor == "rgbd"
        assert reader.depth_units_per_metre == 5000.0
        first, second = reader.frames()
    assert first.gap_ns == 12_000_000
    assert decode_depth(first.second, 5000.0)[0, 0] == 1.0
    assert "+500.0 ms" in second.error
    assert first.camera_info.k[0] == 520.9


def test_kitti_folder_is_stereo_with_a_baseline(tmp_path: Path) -> None:
    for camera in (0, 1):
        for i in range(2):
            write_image(tmp_path / f"image_{camera}" / f"{i:06}.png", camera)
    (tmp_path / "times.txt").write_text("0.0\n1.0e-01\n")
    (tmp_path / "calib.txt").write_text(
        "P0: 718.8 0 607.2 0 0 718.8 185.2 0 0 0 1 0\n"
        "P1: 718.8 0 607.2 -386.1 0 718.8 185.2 0 0 0 1 0\n"
        "Tr: 1 0 0 0 0 1 0 0 0 0 1 0\n"
    )
    (tmp_path / "poses.txt").write_text("1 0 0 0 0 1 0 0 0 0 1 0\n1 0 0 0 0 1 0 0 0 0 1 0.8\n")
    with BagReader(tmp_path) as reader:
        assert reader.sensor.sensor == "stereo"
        frames = list(reader.frames())
        truth = reader.ground_truth()
    assert [frame.stamp_ns for frame in frames] == [0, 100_000_000]
    assert [int(decode_grey(f.second)[0, 0]) for f in frames] == [1, 1]
    assert frames[0].second_camera_info.p[3] == -386.1
    assert truth.poses[1, 2, 3] == 0.8


@pytest.mark.parametrize(
    ("cameras", "sensor", "first"),
    [((0, 2), "mono", 0), ((0, 2, 3), "stereo", 2), ((0, 1, 2, 3), "stereo", 0)],
)
def test_kitti_folder_pairs_grey_with_grey_and_colour_with_colour(
    tmp_path: Path, cameras: tuple[int, ...], sensor: str, first: int
) -> None:
    for camera in cameras:
        write_image(tmp_path / f"image_{camera}" / "000000.png", camera)
    (tmp_path / "times.txt").write_text("0.0\n")
    rows = [f"P{i}: 700 0 600 {-100 * i} 0 700 180 0 0 0 1 0\n" for i in range(4)]
    (tmp_path / "calib.txt").write_text("".join(rows))
    with BagReader(tmp_path) as reader:
        assert reader.sensor.sensor == sensor
        frame = next(reader.frames())
    assert int(decode_grey(frame.image)[0, 0]) == first
    if sensor == "stereo":
        assert int(decode_grey(frame.second)[0, 0]) == first + 1


def test_euroc_folder_moves_the_truth_into_the_camera(tmp_path: Path) -> None:
    mav = tmp_path / "mav0"
    write_image(mav / "cam0" / "data" / "1000.png", 7)
    (mav / "cam0" / "data.csv").write_text("#timestamp [ns],filename\n1000,1000.png\r\n")
    (mav / "cam0" / "sensor.yaml").write_text(
        "T_BS:\n  rows: 4\n  cols: 4\n"
        "  data: [0, -1, 0, 0.5, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]\n"
        "resolution: [40, 24]\nintrinsics: [30, 31, 20, 12]\n"
        "distortion_coefficients: [-0.28, 0.07, 0.0002, 0.00002]\n"
    )
    truth_folder = mav / "state_groundtruth_estimate0"
    truth_folder.mkdir()
    # t, p, q (w first), v, biases; a half turn about z
    (truth_folder / "data.csv").write_text(
        "#t,...\n1000, 4, 5, 6, 0, 0, 0, 1, 0,0,0,0,0,0,0,0,0\n"
        "2000, 4, 5, 6, 0, 0, 0, 0, 0,0,0,0,0,0,0,0,0\n"
        "3000, nan, 5, 6, 0, 0, 0, 1, 0,0,0,0,0,0,0,0,0\n"
    )
    with BagReader(tmp_path) as reader:
        assert reader.sensor.sensor == "mono"
        frame = next(reader.frames())
        truth = reader.ground_truth()
        assert reader.ground_truth_note.startswith("2 poses of /ground_truth/pose were left out")
    assert frame.camera_info.height == 24
    assert truth.stamps_ns.tolist() == [1000]
    np.testing.assert_allclose(truth.poses[0, :3, 3], [3.5, 5, 6], atol=1e-12)


def write_euroc_camera(mav: Path, settings: str) -> None:
    write_image(mav / "cam0" / "data" / "1000.png", 7)
    (mav / "cam0" / "data.csv").write_text("1000,1000.png\n")
    (mav / "cam0" / "sensor.yaml").write_text(
        "T_BS:\n  data: [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]\n"
        "resolution: [40, 24]\nintrinsics: [30, 31, 20, 12]\n"
        f"distortion_coefficients: [0.1, 0.2, 0.3, 0.4]\n{settings}"
    )


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("radial-tangential", "plumb_bob"),
        ("radtan", "plumb_bob"),
        ("equidistant", "equidistant"),
    ],
)
def test_euroc_folder_names_the_distortion_model(tmp_path: Path, name: str, model: str) -> None:
    write_euroc_camera(tmp_path / "mav0", f"distortion_model: {name}\n")
    with BagReader(tmp_path) as reader:
        assert next(reader.frames()).camera_info.distortion_model == model


def test_an_unknown_distortion_model_is_refused(tmp_path: Path) -> None:
    write_euroc_camera(tmp_path / "mav0", "distortion_model: fov\n")
    with pytest.raises(BagError, match=r"cam0/sensor.yaml: distortion_model 'fov'"):
        BagReader(tmp_path)


def test_unreadable_image_and_wrong_counts_are_named(tmp_path: Path) -> None:
    for i in range(2):
        write_image(tmp_path / "images" / f"{i}.png", 1)
    (tmp_path / "calib.yaml").write_text("fx: 30\nfy: 30\ncx: 20\ncy: 12\nwidth: 40\nheight: 24\n")
    with BagReader(tmp_path) as reader:
        (tmp_path / "images" / "1.png").unlink()
        frames = list(reader.frames())
    assert [bool(frame.error) for frame in frames] == [False, True]
    assert "1.png: cannot be read" in frames[1].error
    (tmp_path / "times.txt").write_text("0\n1\n2\n")
    with pytest.raises(BagError, match="1 images, but 3 times"):
        BagReader(tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("mav0/cam0/data.csv", "#t\n1000,1000.png\n2000\n", "data.csv, line 3: not enough values"),
        ("mav0/cam0/data.csv", "t,file\n1000,1000.png\n", "data.csv, line 1: invalid literal"),
        ("mav0/cam0/data.csv", "#t\n", "data.csv: holds nothing but comments"),
        ("mav0/cam0/sensor.yaml", "T_BS: {data: [1, 0]}", "sensor.yaml: cannot reshape"),
        ("mav0/cam0/sensor.yaml", "just words", "sensor.yaml: is malformed"),
        ("mav0/cam0/sensor.yaml", "a: [", "sensor.yaml: while parsing"),
        ("rgb.txt", "0.1 rgb/1.png\n0.2\n", "rgb.txt, line 2: not enough values"),
        ("rgb.txt", "soon rgb/1.png\n", "rgb.txt, line 1: could not convert"),
        (
            "calib.txt",
            "P0: 1 0 0 0 0 1 0 0 0 0 1 0\n",
            r"calib.txt: is malformed \(KeyError\('P2'",
        ),
    ],
)
def test_a_malformed_file_is_named(tmp_path: Path, name: str, text: str, complaint: str) -> None:
    if name.startswith("mav0"):
        write_euroc_camera(tmp_path / "mav0", "")
    write_image(tmp_path / "image_2" / "0.png", 7)
    (tmp_path / "times.txt").write_text("0.0\n")
    (tmp_path / name).write_text(text)
    with pytest.raises(BagError, match=complaint):
        BagReader(tmp_path)


def test_camera_calibration_file(tmp_path: Path) -> None:
    path = tmp_path / "camera.yaml"
    path.write_text(
        "image_width: 640\nimage_height: 480\ndistortion_model: rational_polynomial\n"
        "camera_matrix: {rows: 3, cols: 3, data: [500, 0, 320, 0, 501, 240, 0, 0, 1]}\n"
        "distortion_coefficients: {rows: 1, cols: 8, data: [1, 2, 3, 4, 5, 6, 7, 8]}\n"
    )
    info = read_calibration(path)
    assert (info.height, info.width, info.distortion_model) == (480, 640, "rational_polynomial")
    assert info.k.tolist() == [500, 0, 320, 0, 501, 240, 0, 0, 1]
    assert info.d.tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    for text in ("a: 1", "[", "just words"):
        path.write_text(text)
        with pytest.raises(BagError, match=r"camera.yaml: is no calibration file"):
            read_calibration(path)
    with pytest.raises(BagError, match="cannot be read"):
        read_calibration(tmp_path / "absent.yaml")


PLAIN_CALIBRATION = "fx: 30\nfy: 30\ncx: 20\ncy: 12\nwidth: 40\nheight: 24\n"


@pytest.mark.parametrize("layout", ["plain", "tum"])
def test_stamps_in_nanoseconds_are_named(layout: str, tmp_path: Path) -> None:
    write_image(tmp_path / "images" / "0.png", 1)
    name, row = ("times.txt", "") if layout == "plain" else ("rgb.txt", " images/0.png")
    (tmp_path / name).write_text(f"1403636579763555584{row}\n")
    with pytest.raises(
        BagError, match=rf"{name}, line 1: a stamp of 1403636579763555584 s: are these na"
    ):
        BagReader(tmp_path)


def test_lists_may_be_in_any_order(tmp_path: Path) -> None:
    order = [3, 0, 1, 5, 4, 2]
    for i in order:
        write_image(tmp_path / "rgb" / f"{i}.png", i)
        write_image(tmp_path / "depth" / f"{i}.png", 1000 + i, np.uint16)
    (tmp_path / "rgb.txt").write_text("".join(f"10.{i}00 rgb/{i}.png\n" for i in order))
    depth = "".join(f"10.{i}05 depth/{i}.png\n" for i in range(6))
    (tmp_path / "depth.txt").write_text(depth, encoding="utf-8-sig")  # a byte-order mark first
    (tmp_path / "calib.yaml").write_text(PLAIN_CALIBRATION)
    with BagReader(tmp_path) as reader:
        frames = list(reader.frames())
    assert [(frame.error, frame.gap_ns) for frame in frames] == [("", 5_000_000)] * 6
    assert [int(decode_grey(frame.image)[0, 0]) for frame in frames] == list(range(6))


def test_euroc_folder_knows_how_its_cameras_stand(tmp_path: Path) -> None:
    T_body_cam = {
        "cam0": [
            *(0.0148655429818, -0.999880929698, 0.00414029679422, -0.0216401454975),
            *(0.999557249008, 0.0149672133247, 0.025715529948, -0.064676986768),
            *(-0.0257744366974, 0.00375618835797, 0.999660727178, 0.00981073058949),
            *(0.0, 0.0, 0.0, 1.0),
        ],
        "cam1": [
            *(0.0125552670891, -0.999755099723, 0.0182237714554, -0.0198435579556),
            *(0.999598781151, 0.0130119051815, 0.0251588363115, 0.0453689425024),
            *(-0.0253898008918, 0.0179005838253, 0.999517347078, 0.00786212447038),
            *(0.0, 0.0, 0.0, 1.0),
        ],
    }
    for name, T in T_body_cam.items():
        folder = tmp_path / "mav0" / name
        write_image(folder / "data" / "1000.png", 7)
        (folder / "data.csv").write_text("1000,1000.png\n")
        (folder / "sensor.yaml").write_text(
            f"T_BS:\n  data: {T}\nresolution: [40, 24]\nintrinsics: [30, 31, 20, 12]\n"
            "distortion_coefficients: [-0.28, 0.07, 0.0002, 0.00002]\n"
        )
    with BagReader(tmp_path) as reader:
        reader.check_calibration(needs_baseline=True)
        frame = next(reader.frames())
    infos = (frame.camera_info, frame.second_camera_info)
    left, right = (Camera.from_message(info) for info in infos)
    pair = StereoPair.from_cameras(left, right)
    # docs/evaluation.md has the pose for the bags of the same camera.
    T_left_right = pose_from_quaternion(
        np.array([0.11007414, -0.00015661, 0.00088938]),
        np.array([0.00704531, -0.00017985, 0.00115733, 0.99997449]),
    )
    expected = StereoPair.from_extrinsics(left, right, T_left_right)
    assert pair.baseline == pytest.approx(expected.baseline, abs=1e-6)
    np.testing.assert_allclose(pair.R_rect_left, expected.R_rect_left, atol=1e-5)
    np.testing.assert_allclose(pair.R_rect_right, expected.R_rect_right, atol=1e-5)


def test_kitti_truth_is_that_of_the_camera_in_use(tmp_path: Path) -> None:
    for camera in (2, 3):
        for i in range(2):
            write_image(tmp_path / f"image_{camera}" / f"{i:06}.png", camera)
    (tmp_path / "times.txt").write_text("0.0\n0.1\n")
    rows = [f"P{i}: 700 0 600 0 0 700 180 0 0 0 1 0\n" for i in range(2)]
    # Camera 2 is 6 cm left of camera 0 and 4 mm behind it: x' = K (x + t), t = (0.06, 0, 0.004).
    rows.append("P2: 700 0 600 44.4 0 700 180 0.72 0 0 1 0.004\n")
    rows.append("P3: 700 0 600 -333.6 0 700 180 0.72 0 0 1 0.004\n")
    (tmp_path / "calib.txt").write_text("".join(rows))
    # Camera 0 turns to the right on the spot.
    (tmp_path / "poses.txt").write_text("1 0 0 0 0 1 0 0 0 0 1 0\n0 0 1 0 0 1 0 0 -1 0 0 0\n")
    with BagReader(tmp_path) as reader:
        truth = reader.ground_truth()
    np.testing.assert_allclose(
        truth.poses[:, :3, 3], [[-0.06, 0, -0.004], [-0.004, 0, 0.06]], atol=1e-12
    )
