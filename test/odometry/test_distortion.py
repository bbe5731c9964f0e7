# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Wide lenses: what the raw image holds is searched, and noise is stretched with the image."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from superpoint_ros.config import from_mapping
from superpoint_ros.data import Array, Observation
from superpoint_ros.geometry import se3
from superpoint_ros.geometry.camera import Camera
from superpoint_ros.geometry.pnp import refine_pose
from superpoint_ros.geometry.triangulation import rays
from superpoint_ros.odometry import OdometryConfig, VisualOdometry
from superpoint_ros.odometry.local_map import LocalMap, LocalMapConfig
from superpoint_ros.odometry.observation import make_observation

from .conftest import PointWorld

BARREL = Camera(
    np.array([[390.0, 0, 320], [0, 391, 240], [0, 0, 1]]),
    np.array([-0.35, 0.12, 0.0, 0.0, -0.018]),
    image_size_hw=(480, 640),
)
FISHEYE = Camera(
    np.array([[200.0, 0, 322], [0, 201, 236], [0, 0, 1]]),
    np.array([0.0035, 0.0007, -0.002, 0.0002]),
    "equidistant",
    image_size_hw=(480, 640),
)
CAMERAS = pytest.mark.parametrize("camera", [BARREL, FISHEYE], ids=["barrel", "fisheye"])


def raw_pixels(rng: np.random.Generator, count: int, border: float = 0.0) -> Array:
    return rng.uniform([border, border], [639 - border, 479 - border], (count, 2))


def seen_by(camera: Camera, observation: Observation) -> Observation:
    """Return an observation of a pinhole camera as the raw image of a wide lens has it.

    The pinhole image is taken as the raw one: its pixels are where the lens puts its points, and
    the points lie where these pixels' rays lead.
    """
    features = observation.features
    return dataclasses.replace(
        make_observation(observation.stamp_ns, features, camera),
        depth=observation.depth,
        depth_sigma=observation.depth_sigma,
    )


@CAMERAS
def test_the_outline_holds_the_raw_image_and_no_more(camera: Camera, room: PointWorld) -> None:
    rng = np.random.default_rng(1)
    frame = seen_by(camera, room.observe(0, np.eye(4), with_depth=True))
    for raw, are_inside in (
        (raw_pixels(rng, 400, border=0.5), True),
        (np.column_stack([rng.uniform(0, 639, 60), np.full(60, -8.0)]), False),
        (np.column_stack([np.full(60, 647.0), rng.uniform(0, 479, 60)]), False),
    ):
        pixels = camera.undistort(raw)
        pixels = pixels[np.isfinite(pixels).all(axis=1)]
        directions = rays(pixels, camera.K)
        sixty_degrees = directions[:, 2] > 0.5 * np.linalg.norm(directions, axis=1)
        pixels, directions = pixels[sixty_degrees], directions[sixty_degrees]
        points = 2.0 * directions / directions[:, 2:]
        local_map = LocalMap(LocalMapConfig())
        local_map.add_landmarks(points, np.eye(len(points), 400), np.eye(4))
        seen = local_map.visible_from(np.eye(4), frame, 0.0)
        assert len(pixels) >= 20 or not are_inside  # a fisheye has no such ray beside its image
        assert len(seen.rows) == (len(pixels) if are_inside else 0)
        assert len(local_map.visible_from(np.eye(4), frame, 60.0).rows) == len(pixels)


def test_without_distortion_there_is_no_outline_and_no_stretch() -> None:
    camera = Camera(BARREL.K, image_size_hw=(480, 640))
    assert camera.outline((480, 640)) is None
    assert camera.pixel_scale(np.zeros((3, 2))) is None


@CAMERAS
def test_the_stretch_is_that_of_undistortion(camera: Camera) -> None:
    raw = raw_pixels(np.random.default_rng(2), 200, border=30.0)
    h = 0.01
    here, right, below = (camera.undistort(raw + step) for step in ([0, 0], [h, 0], [0, h]))
    a, b = (right - here) / h, (below - here) / h
    area = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
    found = camera.pixel_scale(here)
    assert found is not None
    good = np.isfinite(area) & (area < 16.0)  # beyond, a hundredth of a pixel is no small step
    np.testing.assert_allclose(found[good], np.sqrt(area[good]), rtol=1e-3)
    assert found[good].max() > 1.5


@CAMERAS
def test_the_pose_is_as_sure_as_its_error_is_small(camera: Camera) -> None:
    """NEES of many draws of half a pixel of noise in the raw image; 6 is right."""
    rng = np.random.default_rng(3)
    raw = raw_pixels(rng, 400, border=4.0)
    pixels = camera.undistort(raw)
    directions = rays(pixels, camera.K) / rays(pixels, camera.K)[:, 2:]
    # Up to 70 degrees off the axis.
    good = np.isfinite(pixels).all(axis=1) & (np.linalg.norm(directions, axis=1) < 3.0)
    raw, points = raw[good], (directions * rng.uniform(2, 5, (400, 1)))[good]
    nees = {True: [], False: []}
    for _ in range(60):
        noisy = camera.undistort(raw + rng.normal(0, 0.5, raw.shape))
        with_ray = np.isfinite(noisy).all(axis=1)
        noisy, half = noisy[with_ray], np.full(2, 0.5)
        for is_scaled, found in nees.items():
            scale = camera.pixel_scale(noisy) if is_scaled else None
            pose = refine_pose(
                points[with_ray], noisy, camera.K, np.eye(4), pixel_scale=scale, noise_scale=half
            )
            assert pose is not None
            error = se3.log(pose.T_world_cam)
            found.append(error @ np.linalg.solve(0.25 * pose.covariance, error))
    assert 4.5 < np.mean(nees[True]) < 9.0
    assert np.mean(nees[False]) > 1.3 * np.mean(nees[True])


@CAMERAS
def test_a_wide_lens_needs_no_more_keyframes_than_the_way_does(
    camera: Camera, room: PointWorld
) -> None:
    """Landmarks at the border were made, counted and never searched for: a keyframe each time."""
    odometry = VisualOdometry(from_mapping(OdometryConfig, {"mode": "rgbd"}))
    num_keyframes, errors = 0, []
    for k in range(22):
        T_world_cam = se3.exp(k * np.array([0.008, 0.002, 0.018, 0.001, 0.006, -0.001]))
        result = odometry.track(observe(room, camera, k, T_world_cam))
        num_keyframes += result.is_keyframe
        assert result.T_world_cam is not None
        errors.append(np.linalg.norm(result.T_world_cam[:3, 3] - T_world_cam[:3, 3]))
    odometry.close()
    assert num_keyframes <= 7  # 11 without the outline
    assert max(errors) < 0.02


def observe(world: PointWorld, camera: Camera, index: int, T_world_cam: Array) -> Observation:
    """Return what the lens sees, up to 70 degrees off its axis: all of it, with depth."""
    points = se3.transform_points(se3.inverse(T_world_cam), world.points)
    ahead = points[:, 2] > 0.4 * np.linalg.norm(points, axis=1)
    rows = np.flatnonzero(ahead)
    pinhole = points[rows] / points[rows, 2:] @ camera.K.T
    raw = camera.distort(pinhole[:, :2])
    back = camera.undistort(raw)
    with np.errstate(invalid="ignore"):
        seen = ((raw > 4) & (raw < [635, 475])).all(axis=1)
        seen &= np.abs(back - pinhole[:, :2]).max(axis=1) < 1e-3  # not beyond the fold
    rows, raw = rows[seen], raw[seen]
    chosen = world.rng.permutation(len(rows))[:600]
    rows = rows[chosen]
    keypoints = raw[chosen] + world.rng.normal(0, 0.5, (len(rows), 2))
    descriptors = world.descriptors[rows] + world.rng.normal(0, 0.3 / 8, (len(rows), 64))
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    template = world.observe(index, np.eye(4), with_depth=True)
    features = dataclasses.replace(
        template.features,
        keypoints=keypoints.astype(np.float32),
        scores=np.ones(len(rows), np.float32),
        descriptors=descriptors.astype(np.float32),
    )
    observation = make_observation(template.stamp_ns, features, camera)
    depth = points[rows, 2] + world.rng.normal(0, 0.003, len(rows))
    return dataclasses.replace(observation, depth=depth, depth_sigma=np.full(len(rows), 0.003))
