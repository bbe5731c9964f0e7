# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The readout time of points whose every row is seen from where the camera is by then."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from superpoint_ros.config import from_mapping
from superpoint_ros.data import Observation
from superpoint_ros.geometry import se3
from superpoint_ros.geometry.triangulation import project
from superpoint_ros.odometry import OdometryConfig, readout
from superpoint_ros.odometry.readout import (
    ReadoutRun,
    _measure,
    _Sighting,
    _solve,
    _velocity,
    estimate_readout,
)

from .conftest import FRAME_NS, SIZE_HW, K, PointWorld

EVERY = 2  # 15 frames a second
ROWS = np.linspace(-0.6, 0.6, 25)  # at which poses are computed; between them it is linear


def shaken(time_s: float) -> np.ndarray:
    """Return T_world_cam of a camera that is shaken about a point 20 cm behind it."""
    yaw = 0.22 * np.sin(2 * np.pi * 0.7 * time_s)
    pitch = 0.16 * np.sin(2 * np.pi * 0.6 * time_s + 1.0)
    T = se3.exp(np.array([0.1 * time_s, 0.0, 0.0, pitch, yaw, 0.4 * pitch]))
    T[:3, 3] += 0.2 * T[:3, 2]
    return np.asarray(T)


def still(time_s: float) -> np.ndarray:
    return np.eye(4)


def record(
    world: PointWorld,
    count: int,
    readout: float,
    pose_at: Callable[[float], np.ndarray] = shaken,
    with_depth: bool = True,
) -> list[Observation]:
    """Return what a rolling shutter sees: depth and pixel of each point at its own row's time."""
    world = dataclasses.replace(world, points=world.points[::3], dropout=0.1, clutter=20)
    observations = []
    for index in range(0, count * EVERY, EVERY):
        time_s = index * FRAME_NS * 1e-9
        T_world_cam = pose_at(time_s)
        seen = [
            se3.transform_points(se3.inverse(pose_at(time_s + row * readout)), world.points)
            for row in ROWS
        ]
        by_row = np.array(seen)
        at_row = by_row[len(ROWS) // 2]
        for _ in range(4):  # the row at which a point is read depends on where it is seen
            row = project(at_row, K)[:, 1] / (SIZE_HW[0] - 1.0) - 0.5
            position = (np.nan_to_num(row).clip(-0.599, 0.599) - ROWS[0]) / (ROWS[1] - ROWS[0])
            low, points = position.astype(int), np.arange(len(at_row))
            share = (position - low)[:, None]
            at_row = (1.0 - share) * by_row[low, points] + share * by_row[low + 1, points]
        apparent = dataclasses.replace(world, points=se3.transform_points(T_world_cam, at_row))
        observations.append(apparent.observe(index, T_world_cam, with_depth))
    return observations


def sighting(time_s: float, seconds: float, readout: float, rng: np.random.Generator) -> _Sighting:
    """Return what a shaken camera sees of some points, by a lens that is a little wrong.

    It was tracked to a millimetre or two.
    """
    T = shaken(time_s)
    twist = se3.log(se3.inverse(shaken(time_s - seconds)) @ T) / seconds
    points = rng.uniform([-1.5, -1.2, 2.0], [1.5, 1.2, 5.0], (40, 3))
    pixels, h = project(points, K), 1e-3
    now = se3.log(se3.inverse(shaken(time_s - h)) @ shaken(time_s + h)) / (2.0 * h)
    lens = np.array([0.002, 0.0, -0.004, 0.001, 0.0015, 0.0])  # over the whole readout
    for _ in range(5):
        rows = pixels[:, 1] / (SIZE_HW[0] - 1.0) - 0.5
        moved = [
            se3.transform_points(se3.exp(-row * (readout * now + lens)), point[None])[0]
            for row, point in zip(rows, points, strict=True)
        ]
        pixels = project(np.array(moved), K)
    T_tracked = T @ se3.exp(rng.normal(0, 1, 6) * np.repeat([2e-3, 1e-3], 3))
    return _Sighting(
        *(round(1e9 * time_s), 0, seconds, twist, T_tracked),
        se3.transform_points(T, points), pixels, rows, K,
    )  # fmt: skip


def test_the_velocity_of_a_frame_is_that_of_the_moment() -> None:
    """From frames at uneven times; by three of them it would be 3 % too small."""
    rng = np.random.default_rng(0)
    for middle in (0.4, 1.1, 2.7):
        times = middle + np.array([-0.15, -0.07, 0.0, 0.06, 0.14])
        steps = np.diff(times, prepend=times[0] - 0.07)
        frames = [sighting(t, step, 0.0, rng) for t, step in zip(times, steps, strict=True)]
        expected = se3.log(se3.inverse(shaken(middle - 1e-4)) @ shaken(middle + 1e-4)) / 2e-4
        error = np.linalg.norm(_velocity(frames) - expected) / np.linalg.norm(expected)
        assert error < 5e-3


@pytest.mark.parametrize("readout", [0.0, 0.02, 0.03])
def test_frames_say_what_a_readout_time_lacks_whatever_the_lens_does(readout: float) -> None:
    rng, systems = np.random.default_rng(1), []
    for time_s in np.linspace(0.0, 3.0, 12):
        now = se3.log(se3.inverse(shaken(time_s - 1e-3)) @ shaken(time_s + 1e-3)) / 2e-3
        measured = _measure(sighting(time_s, 0.03, 0.02, rng), now, readout)
        assert measured is not None
        systems.append(measured.system)
    excess, sigma = _solve(np.array(systems))
    assert excess == pytest.approx(0.02 - readout, abs=3e-4)
    assert sigma < 3e-4


def test_the_flow_of_a_turning_camera_is_its_angular_speed() -> None:
    points = np.array([[0.0, 0.0, 3.0], [0.02, -0.01, 2.0]] * 20)
    ahead = _Sighting(
        0, 0, 0.03, np.zeros(6), np.eye(4), points, project(points, K), np.zeros(40), K
    )
    for axis in (3, 4):
        twist = np.zeros(6)
        twist[axis] = 0.7
        measured = _measure(ahead, twist, 0.0)
        assert measured is not None
        assert measured.squared_flow == pytest.approx(0.7**2, rel=1e-3)


def config(mode: str = "rgbd") -> OdometryConfig:
    return from_mapping(OdometryConfig, {"mode": mode})


@pytest.mark.parametrize("true", [0.02, -0.012])
def test_a_rolling_shutter_is_found(room: PointWorld, true: float) -> None:
    found = estimate_readout(record(room, 64, true), config())
    assert found.readout is not None, found.reason
    assert abs(found.readout - true) < 4e-4  # 2 and 3 %
    assert abs(found.readout - true) < 3.0 * found.sigma
    assert found.sigma < 1e-3
    assert not found.is_global_shutter
    assert found.runs[0].readout == 0.0


@pytest.mark.parametrize("at_zero", [1e-4, -1e-4])
@pytest.mark.parametrize("true", [0.02, 0.005, 0.0, -0.012, -0.08])
def test_what_a_map_made_without_readout_time_hides_is_found(
    monkeypatch: pytest.MonkeyPatch, true: float, at_zero: float
) -> None:
    def run(observations: object, config: OdometryConfig, tried: float) -> ReadoutRun:
        hidden = np.exp(-np.square(tried / 0.002))
        excess = 0.9 * (1.0 - hidden) * (true - tried) + hidden * at_zero
        return ReadoutRun(tried, excess, 5e-5 + 7e-4 * hidden, 27, 195, 0.9)

    monkeypatch.setattr(readout, "_run", run)
    found = estimate_readout([], config())
    assert found.readout == pytest.approx(true, abs=1e-3 if true == 0.0 else 5e-5)
    assert found.is_global_shutter == (true == 0.0)
    # A map errs by a hundredth and a tenth of a millisecond, which its frames do not show.
    assert np.hypot(1e-4, 0.01 * true) < found.sigma < np.hypot(1e-3, 0.01 * true)


def test_a_global_shutter_is_found_and_again_the_same(room: PointWorld) -> None:
    observations = record(room, 64, 0.0)
    found = estimate_readout(observations, config())
    assert found.readout is not None, found.reason
    assert abs(found.readout) < 2e-4
    assert found.is_global_shutter
    again = estimate_readout(observations, config())
    assert (again.readout, again.sigma) == (found.readout, found.sigma)


def test_a_camera_that_stands_still_cannot_tell(room: PointWorld) -> None:
    found = estimate_readout(record(room, 64, 0.02, still), config())
    assert found.readout is None
    assert not found.is_global_shutter
    assert found.reason.startswith("the camera hardly moved: ")


def test_a_camera_that_turns_steadily_cannot_tell(room: PointWorld) -> None:
    # A lens calibrated a little wrong would look just like its rolling shutter.
    def turning(time_s: float) -> np.ndarray:
        return np.asarray(se3.exp(np.array([0.0, 0.0, 0.0, 0.0, 0.6 * time_s, 0.0])))

    found = estimate_readout(record(room, 64, 0.02, turning), config())
    assert found.readout is None
    assert "uncertain to " in found.reason


def test_a_short_recording_cannot_tell(room: PointWorld) -> None:
    found = estimate_readout(record(room, 12, 0.02), config())
    assert found.readout is None
    assert found.reason == "too little was tracked: 1.0 s, of which 4 are needed"
    assert len(found.runs) == 1


def test_nothing_tracked_cannot_tell(room: PointWorld) -> None:
    found = estimate_readout(record(room, 3, 0.0, with_depth=False), config())
    assert found.readout is None
    assert found.reason.startswith("too little was tracked: 0.0 s")
