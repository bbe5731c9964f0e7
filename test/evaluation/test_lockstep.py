# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Lock-step on frames made by hand; and the real thing on a part of the RGB-D bag."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from superpoint_ros.data import Array, Features, Observation, TrackingResult, TrackingState
from superpoint_ros.evaluation.bag import BagError, BagReader, Frame
from superpoint_ros.evaluation.folders import make_camera_info
from superpoint_ros.evaluation.lockstep import (
    Lane,
    LaneGroup,
    LockstepRun,
    round_descriptors,
    run_lanes,
    run_odometry,
)
from superpoint_ros.evaluation.trajectory import evaluate_trajectory
from superpoint_ros.geometry.camera import CalibrationError
from superpoint_ros.odometry.observation import StereoConfig
from superpoint_ros.odometry.visual_odometry import OdometryConfig, VisualOdometry

SIZE_HW = (24, 40)


def frame(index: int, stamp_ns: int | None = None, **changes: Any) -> Frame:
    image = np.full(SIZE_HW, index, np.uint8)
    message = SimpleNamespace(format="png", data=cv2.imencode(".png", image)[1].ravel())
    info = make_camera_info(SIZE_HW, (30, 30, 20, 12))
    stamp = 1000 + index if stamp_ns is None else stamp_ns
    values = {"image": message, "camera_info": info, **changes}
    return Frame(index=index, stamp_ns=stamp, **values)


def extract(image: Array) -> Features:
    """One keypoint at (image value, 3), described by thirds, which f16 cannot hold."""
    descriptors = np.full((1, 3), 1.0 / np.sqrt(3.0), np.float32)
    keypoints = np.array([[image[0, 0], 3]], np.float32)
    return Features(keypoints, np.ones(1, np.float32), descriptors, image.shape[:2])


class Recorder:
    """An odometry that moves one metre a frame and remembers what it was given."""

    def __init__(self) -> None:
        self.observations: list[Observation] = []
        self.num_resets = 0

    def reset(self) -> None:
        self.num_resets += 1

    def track(self, observation: Observation) -> TrackingResult:
        self.observations.append(observation)
        T = np.eye(4)
        T[2, 3] = len(self.observations)
        return TrackingResult(
            observation.stamp_ns,
            TrackingState.TRACKING,
            T,
            map_id=self.num_resets,
            num_inliers=1,
            latency_ms={"pose": 1.0},
        )


def test_every_frame_goes_through_in_order() -> None:
    odometry = Recorder()
    run = run_odometry([frame(i) for i in range(3)], extract, odometry)
    assert [o.stamp_ns for o in odometry.observations] == [1000, 1001, 1002]
    assert [o.features.keypoints[0, 0] for o in odometry.observations] == [0, 1, 2]
    assert run.is_tracked == [True] * 3
    assert run.skipped == {}
    np.testing.assert_array_equal(run.trajectory().poses[:, 2, 3], [1, 2, 3])
    stages = {"decode", "network", "observe", "track", "track/pose", "total"}
    assert set(run.latency_ms) == stages
    assert run.latency_ms["track/pose"] == {"p50": 1.0, "p95": 1.0, "p99": 1.0}


@pytest.mark.parametrize("is_stereo", [False, True])
def test_a_second_image_that_cannot_be_read_is_named_by_its_own_topic(is_stereo: bool) -> None:
    broken = SimpleNamespace(format="png", data=np.zeros(5, np.uint8))
    info = make_camera_info(SIZE_HW, (30, 30, 20, 12))
    topics = {"topic": "/camera", "second_topic": "/second"}
    second = {"second": broken, "second_camera_info": info, "is_stereo": is_stereo, **topics}
    run = run_odometry([frame(0), frame(1, **second)], extract, Recorder())
    assert list(run.skipped) == [1]
    assert run.skipped[1].startswith("/second: ")


def test_bad_frames_are_named_and_skipped() -> None:
    broken = SimpleNamespace(format="png", data=np.zeros(5, np.uint8))
    frames = [
        frame(0),
        frame(1, image=broken, topic="/camera"),
        frame(2, error="/depth: no message within 20 ms"),
        frame(3, stamp_ns=1000),
        frame(4),
    ]
    odometry = Recorder()
    observed = []
    run = run_odometry(
        frames,
        extract,
        odometry,
        observer=lambda f, grey, observation, result: observed.append((f.index, result is None)),
    )
    # a stamp of 1000 after 1000 (the others between were never tracked) repeats it
    assert sorted(run.skipped) == [1, 2, 3]
    assert run.skipped[1].startswith("/camera: ")
    assert run.skipped[2] == "/depth: no message within 20 ms"
    assert "repeats" in run.skipped[3]
    assert run.is_tracked == [True, False, False, False, True]
    assert len(odometry.observations) == 2
    assert observed == [(0, False), (1, True), (2, True), (3, True), (4, False)]


def test_stamps_that_jump_back_reset() -> None:
    odometry = Recorder()
    run = run_odometry(
        [
            frame(0, 500_000_000),
            frame(1, 600_000_001),
            frame(2, 100_000_000),
            frame(3, 200_000_000),
        ],
        extract,
        odometry,
    )
    assert odometry.num_resets == 1
    assert run.map_ids == [0, 0, 1, 1]
    assert run.trajectory().stamps_ns.tolist() == run.stamps_ns


def test_a_late_frame_is_skipped_as_the_node_drops_it() -> None:
    odometry = Recorder()
    stamps = [600_000_000, 100_000_000, 570_000_000, 633_000_000]
    run = run_odometry([frame(i, stamp) for i, stamp in enumerate(stamps)], extract, odometry)
    assert odometry.num_resets == 0
    assert run.skipped == {
        1: "it is 500.0 ms older than a frame before it",
        2: "it is 30.0 ms older than a frame before it",
    }
    assert run.is_tracked == [True, False, False, True]


def test_descriptors_are_rounded_as_the_message_does() -> None:
    odometry = Recorder()
    run_odometry([frame(0)], extract, odometry)
    rounded = odometry.observations[0].features.descriptors
    exact = extract(np.zeros(SIZE_HW, np.uint8)).descriptors
    assert rounded.dtype == np.float32
    np.testing.assert_array_equal(rounded, exact.astype(np.float16).astype(np.float32))
    assert (rounded != exact).any()
    features = extract(np.zeros(SIZE_HW, np.uint8))
    assert round_descriptors(features, "f32") is features
    with pytest.raises(ValueError, match="'u7'"):
        run_odometry([frame(0)], extract, odometry, descriptor_type="u7")


def test_depth_is_looked_up_in_metres() -> None:
    depth = np.full(SIZE_HW, 10_000, np.uint16)
    message = SimpleNamespace(format="16UC1; png", data=cv2.imencode(".png", depth)[1].ravel())
    odometry = Recorder()
    run = run_odometry(
        [frame(7, second=message, gap_ns=3)], extract, odometry, depth_units_per_metre=5000.0
    )
    np.testing.assert_allclose(odometry.observations[0].depth, [2.0], rtol=1e-6)
    assert run.gaps_ns == [3]


def test_both_images_of_a_stereo_pair_go_through_in_one_batch() -> None:
    batches: list[int] = []

    def extract_batch(images: Sequence[Array]) -> list[Features]:
        batches.append(len(images))
        return [extract(image) for image in images]

    info = make_camera_info(SIZE_HW, (30, 30, 20, 12))
    P_right = np.array([[30.0, 0, 20, -3.0], [0, 30, 12, 0], [0, 0, 1, 0]])
    right_info = make_camera_info(SIZE_HW, (30, 30, 20, 12), P=P_right)
    # The left keypoint lies at x = 20, the right one at x = 14: 6 px are 0.5 m.
    pair = {
        "camera_info": info,
        "second": frame(14).image,
        "second_camera_info": right_info,
        "is_stereo": True,
    }
    odometry = Recorder()
    run = run_odometry(
        [frame(20, **pair, gap_ns=0)],
        extract,
        odometry,
        extract_batch=extract_batch,
    )
    assert batches == [2]
    np.testing.assert_allclose(odometry.observations[0].depth, [0.5])
    assert run.gaps_ns == [0]
    again = Recorder()
    run_odometry([frame(20, **pair)], extract, again)
    np.testing.assert_allclose(again.observations[0].depth, [0.5])


def test_lanes_share_one_pass_and_each_gets_its_own_frames() -> None:
    images: list[int] = []

    def extract_batch(batch: Sequence[Array]) -> list[Features]:
        images.extend(int(image[0, 0]) for image in batch)
        return [extract(image) for image in batch]

    every, third = Lane(Recorder()), Lane(Recorder(), keeps=lambda i: i % 3 == 0)
    darker = Lane(Recorder(), keeps=lambda i: i != 1)
    run_lanes(
        iter([frame(i) for i in range(5)]),
        [
            LaneGroup(extract_batch, [every, third]),
            LaneGroup(extract_batch, [darker], lambda image, position, camera: image + 10),
        ],
    )
    assert images == [0, 10, 1, 2, 12, 3, 13, 4, 14]  # shared where it can be, not made in vain
    stamps = [[o.stamp_ns for o in lane.odometry.observations] for lane in (every, third, darker)]
    assert stamps == [[1000, 1001, 1002, 1003, 1004], [1000, 1003], [1000, 1002, 1003, 1004]]
    assert darker.odometry.observations[1].features.keypoints[0, 0] == 12
    run = third.finish()
    assert run.stamps_ns == [1000, 1003]
    assert run.latencies_ms["network"].shape == (2,)
    totals = sum(run.latencies_ms[name] for name in ("decode", "network", "observe", "track"))
    np.testing.assert_allclose(run.latencies_ms["total"], totals, rtol=1e-5)
    assert run.wall_s >= 1e-3 * float(run.latencies_ms["total"].sum()) * 0.999


@pytest.mark.parametrize("is_rectified", [False, True])
def test_rectified_images_are_not_undistorted_again(is_rectified: bool) -> None:
    info = make_camera_info(SIZE_HW, (30, 30, 20, 12), (-0.3, 0.1, 0.0, 0.0, 0.0))
    odometry = Recorder()
    run_odometry([frame(20, camera_info=info, is_rectified=is_rectified)], extract, odometry)
    (observation,) = odometry.observations
    moved_px = np.abs(observation.pixels - observation.features.keypoints).max()
    assert (moved_px == 0.0) == is_rectified


def test_calibration_of_another_image_size_is_refused() -> None:
    info = make_camera_info((480, 640), (500, 500, 320, 240))
    with pytest.raises(BagError, match=r"640x480 images, but the image is 40x24"):
        run_odometry([frame(0, camera_info=info)], extract, Recorder())


def test_depth_of_another_size_is_refused_with_its_cure() -> None:
    depth = SimpleNamespace(
        format="png", data=cv2.imencode(".png", np.ones((20, 30), np.uint16))[1].ravel()
    )
    with pytest.raises(BagError, match=r"depth is 30x20, but the image is 40x24: .* aligned"):
        run_odometry([frame(0, second=depth)], extract, Recorder())


def test_one_frame_of_another_size_is_skipped_and_named() -> None:
    other = make_camera_info((480, 640), (500, 500, 320, 240))
    run = run_odometry([frame(0), frame(1, camera_info=other), frame(2)], extract, Recorder())
    assert list(run.skipped) == [1]
    assert "640x480 images, but the image is 40x24" in run.skipped[1]


def test_depth_with_a_calibration_of_its_own_is_no_right_image() -> None:
    depth = cv2.imencode(".png", np.full(SIZE_HW, 2000, np.uint16))[1].ravel()
    message = SimpleNamespace(format="png", data=depth)
    info = make_camera_info(SIZE_HW, (30, 30, 20, 12))
    odometry = Recorder()
    run_odometry([frame(7, second=message, second_camera_info=info)], extract, odometry)
    np.testing.assert_allclose(odometry.observations[0].depth, [2.0], rtol=1e-6)


@pytest.mark.slow
@pytest.mark.dataset
def test_real_bag_tracks_every_frame_and_repeats_itself(shared_data: Path) -> None:
    load_extractor: Callable[..., Any] = pytest.importorskip(
        "superpoint_ros.features"
    ).load_extractor
    odometry_module = pytest.importorskip("superpoint_ros.odometry.visual_odometry")
    weights = shared_data / "weights" / "first.safetensors"
    extractor = load_extractor(
        weights=str(weights), device="cpu", max_keypoints=300, longer_side_px=320
    )
    features: dict[bytes, Features] = {}

    def extract_once(image: Array) -> Features:
        key = image.tobytes()
        if key not in features:
            features[key] = extractor(image)
        return features[key]

    def run(num_frames: int) -> LockstepRun:
        odometry = odometry_module.VisualOdometry(odometry_module.OdometryConfig(mode="rgbd"))
        with BagReader(shared_data / "bags" / "tum_fr1_rpy_rgbd") as reader:
            return run_odometry(
                reader.frames(max_frames=num_frames),
                extract_once,
                odometry,
                depth_units_per_metre=5000.0,
            )

    first, again = run(40), run(20)
    assert first.is_tracked == [True] * 40
    np.testing.assert_array_equal(again.trajectory().poses, first.trajectory().poses[:20])
    with BagReader(shared_data / "bags" / "tum_fr1_rpy_rgbd") as reader:
        errors = evaluate_trajectory(first.trajectory(), reader.ground_truth(), with_scale=False)
    assert errors.ate_rmse_m < 0.05


@pytest.mark.slow
@pytest.mark.dataset
def test_a_stereo_camera_that_stands_still_stays_where_it_is(shared_data: Path) -> None:
    load_extractor = pytest.importorskip("superpoint_ros.features").load_extractor
    extractor = load_extractor(
        weights=str(shared_data / "weights" / "first.safetensors"),
        device="cpu",
        max_keypoints=400,
        longer_side_px=376,
    )
    # T_BS of both cameras as published with the recording, inv(T_BS0) T_BS1.
    T_left_right = (
        *(0.11007414, -0.00015661, 0.00088938),
        *(0.00704531, -0.00017985, 0.00115733, 0.99997449),
    )
    config = OdometryConfig(mode="stereo", stereo=StereoConfig(T_left_right=T_left_right))
    with BagReader(shared_data / "bags" / "euroc_v101_static_stereo") as reader:
        with pytest.raises(CalibrationError, match=r"right/camera_info: .* baseline is unknown"):
            reader.check_calibration(needs_baseline=True)
        run = run_odometry(
            reader.frames(max_frames=10),
            extractor,
            VisualOdometry(config),
            stereo_config=config.stereo,
            extract_batch=extractor.extract_batch,
        )
    assert run.is_tracked == [True] * 10
    positions = run.trajectory().poses[:, :3, 3]
    assert np.linalg.norm(positions - positions[0], axis=1).max() < 0.01
