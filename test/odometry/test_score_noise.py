# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
import dataclasses

import numpy as np
import pytest

from superpoint_ros.config import from_mapping
from superpoint_ros.data import Observation
from superpoint_ros.geometry import se3
from superpoint_ros.odometry import OdometryConfig, VisualOdometry
from superpoint_ros.odometry.score_noise import ScoreNoise

from .conftest import PointWorld


def residuals_of(
    rng: np.random.Generator, scores: np.ndarray, common: float, of_score: float
) -> np.ndarray:
    """Draw residuals (N, 2) of the variance common + of_score / score, in pixels."""
    return rng.normal(size=(len(scores), 2)) * np.sqrt(common + of_score / scores)[:, None]


@pytest.mark.parametrize(
    ("common", "of_score"), [(0.0, 0.002), (0.05, 0.002), (0.5, 0.005), (1.0, 0.0)]
)
def test_the_sigma_of_every_score_is_found(common: float, of_score: float) -> None:
    rng = np.random.default_rng(3)
    noise = ScoreNoise()
    for _ in range(40):
        scores = rng.uniform(0.005, 0.1, 400)
        noise.learn(scores, residuals_of(rng, scores, common, of_score))
    scores = np.array([0.007, 0.02, 0.05, 0.1])
    sigma = noise.relative_sigma(scores)
    expected = np.sqrt(common + of_score / scores)
    np.testing.assert_allclose(sigma / sigma[1], expected / expected[1], rtol=0.1)


def test_before_anything_is_learnt_all_keypoints_are_alike(room: PointWorld) -> None:
    noise = ScoreNoise()
    np.testing.assert_array_equal(noise.relative_sigma(np.array([0.005, 0.9])), [1.0, 1.0])
    frame = room.observe(0, np.eye(4), with_depth=True)
    assert noise.weigh(frame) is frame


@pytest.mark.parametrize("case", ["the stronger err more", "one score", "few", "none"])
def test_what_does_not_tell_faint_from_strong_leaves_them_alike(case: str) -> None:
    rng = np.random.default_rng(4)
    scores = rng.uniform(0.005, 0.1, {"few": 30, "none": 0}.get(case, 400))
    if case == "one score":
        scores[:] = 0.5
    residuals = residuals_of(rng, scores, 0.0, 0.002)
    if case == "the stronger err more":
        residuals = residuals * scores[:, None]
    noise = ScoreNoise()
    for _ in range(3):
        noise.learn(scores, residuals)
    np.testing.assert_array_equal(noise.relative_sigma(np.array([0.005, 0.9])), [1.0, 1.0])


def test_a_score_of_nought_has_a_sigma_within_bounds() -> None:
    rng = np.random.default_rng(5)
    noise = ScoreNoise()
    scores = rng.uniform(0.005, 0.1, 400)
    noise.learn(scores, 1.0 / np.column_stack([scores, scores]))  # falls faster than is known
    assert noise.share == 1.0
    assert noise.relative_sigma(np.array([-1.0, 0.0, 1e-9, 1e9])).tolist() == [3.0, 3.0, 3.0, 0.3]


def test_what_was_learnt_is_forgotten_when_the_camera_changes() -> None:
    rng = np.random.default_rng(6)
    noise = ScoreNoise()
    for k in range(100):
        scores = rng.uniform(0.005, 0.1, 400)
        noise.learn(scores, residuals_of(rng, scores, 0.0 if k < 60 else 0.3, 0.002))
        if k == 59:
            assert noise.share > 0.85
    assert noise.share < 0.25  # 0.2 of the variance at the typical score


def test_both_keypoints_of_a_disparity_have_a_share_in_its_noise(room: PointWorld) -> None:
    rng = np.random.default_rng(7)
    noise = ScoreNoise()
    scores = rng.uniform(0.005, 0.1, 400)
    noise.learn(scores, residuals_of(rng, scores, 0.0, 0.002))
    frame = room.observe(0, np.eye(4), with_depth=True)
    count = len(frame.features)
    right = np.where(np.isfinite(frame.depth), 0.02, np.nan).astype(np.float32)
    frame = dataclasses.replace(frame, pixel_scale=np.full(count, 2.0))
    left = noise.relative_sigma(frame.features.scores)

    rgbd = noise.weigh(frame)
    np.testing.assert_allclose(rgbd.stretch, 2.0 * left)
    np.testing.assert_array_equal(rgbd.depth_sigma, frame.depth_sigma)

    stereo = noise.weigh(dataclasses.replace(frame, right_scores=right))
    np.testing.assert_allclose(stereo.stretch, 2.0 * left)
    of_right = float(noise.relative_sigma(np.array([0.02]))[0])
    expected = frame.depth_sigma * np.sqrt((left**2 + of_right**2) / 2.0)
    np.testing.assert_allclose(stereo.depth_sigma, expected, rtol=1e-6)
    assert np.isnan(stereo.depth_sigma[np.isnan(frame.depth)]).all()


def faint_and_strong(world: PointWorld, index: int, T_world_cam: np.ndarray) -> Observation:
    """See the world without noise, then add noise that falls with the score."""
    world = dataclasses.replace(world, noise_px=0.0)
    frame = world.observe(index, T_world_cam, with_depth=index == 0)
    rng = np.random.default_rng(100 + index)
    scores = np.sort(rng.uniform(0.004, 0.1, len(frame.features)))[::-1].astype(np.float32)
    noise = rng.normal(size=frame.pixels.shape) * np.sqrt(0.002 / scores)[:, None]
    features = dataclasses.replace(
        frame.features,
        keypoints=(frame.features.keypoints + noise).astype(np.float32),
        scores=scores,
    )
    return dataclasses.replace(frame, pixels=frame.pixels + noise, features=features)


def test_the_odometry_errs_less_when_it_knows_who_errs(
    room: PointWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    poses = [se3.exp(k * np.array([0.008, 0.002, 0.018, 0.001, 0.006, -0.001])) for k in range(60)]
    frames = [faint_and_strong(room, k, T) for k, T in enumerate(poses)]

    def rms_mm() -> float:
        odometry = VisualOdometry(from_mapping(OdometryConfig, {"mode": "rgbd"}))
        found = [odometry.track(frame).T_world_cam for frame in frames]
        odometry.close()
        motions = [
            (se3.inverse(a) @ b)[:3, 3] - (se3.inverse(x) @ y)[:3, 3]
            for a, b, x, y in zip(found[:-1], found[1:], poses[:-1], poses[1:], strict=True)
        ]
        return float(1e3 * np.sqrt(np.square(motions[5:]).sum(axis=1).mean()))

    knowing = rms_mm()
    monkeypatch.setattr(ScoreNoise, "weigh", lambda _, observation: observation)
    # 1.91 and 2.03 mm: most of it is what the first depths err, which no weight mends.
    assert knowing < 0.97 * rms_mm()


def test_residuals_are_learnt_in_pixels_of_the_raw_image(
    room: PointWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where undistortion stretches the image, noise is larger for another reason."""
    seen: list[np.ndarray] = []

    def learn(self: ScoreNoise, scores: np.ndarray, residuals: np.ndarray) -> None:
        assert len(scores) == len(residuals)
        self.share = 0.5  # so that what is weighed differs from what was raw
        seen.append(residuals[np.argsort(scores)])

    monkeypatch.setattr(ScoreNoise, "learn", learn)
    for stretch in (1.0, 4.0):
        odometry = VisualOdometry(from_mapping(OdometryConfig, {"mode": "rgbd"}))
        world = dataclasses.replace(room, rng=np.random.default_rng(8))
        for k in range(3):
            T_world_cam = se3.exp(k * np.array([0.01, 0.0, 0.01, 0.0, 0.0, 0.0]))
            frame = world.observe(k, T_world_cam, with_depth=True)
            scale = np.full(len(frame.features), stretch)
            odometry.track(dataclasses.replace(frame, pixel_scale=scale))
        odometry.close()

    def rms(residuals: np.ndarray) -> float:
        return float(np.sqrt(np.mean(np.square(residuals))))

    assert rms(seen[3]) == pytest.approx(rms(seen[1]) / 4.0, rel=0.1)
    faint, strong = np.array_split(seen[1], 2)  # this world's noise is alike for both
    assert rms(faint) == pytest.approx(rms(strong), rel=0.2)
