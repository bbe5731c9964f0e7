# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from superpoint_ros.geometry.homography import warp_points
from superpoint_ros.training.homographies import (
    HomographyConfig,
    is_inside,
    sample_homography,
    valid_mask,
    warp_image,
)

NEUTRAL = {"perspective": 0.0, "scale": 1.0, "rotation_deg": 0.0, "translation": 0.0}


def sample(size_hw=(48, 80), view_hw=(48, 80), seed=0, **ranges):
    config = HomographyConfig(**{**NEUTRAL, **ranges})
    return sample_homography(np.random.default_rng(seed), size_hw, view_hw, config)


def test_neutral_view_is_the_identity_and_shows_the_middle_of_a_larger_image() -> None:
    np.testing.assert_allclose(sample(), np.eye(3), atol=1e-5)
    H = sample(size_hw=(60, 120), view_hw=(40, 80))
    np.testing.assert_allclose(warp_points(H, np.array([[20.0, 10.0]])), [[0.0, 0.0]], atol=1e-4)


def test_each_range_is_kept_and_used_both_ways() -> None:
    scales, angles, shifts = [], [], []
    for seed in range(300):
        H = sample(seed=seed, scale=2.0)
        scales.append(np.log2(np.sqrt(np.linalg.det(H[:2, :2]))))
        H = sample(seed=seed, rotation_deg=40.0)
        angles.append(np.rad2deg(np.arctan2(H[1, 0], H[0, 0])))
        H = sample(seed=seed, translation=0.2)
        shifts.append(H[:2, 2] / [80, 48])
    for values, limit in ((scales, 1.0), (angles, 40.0), (np.ravel(shifts), 0.2)):
        assert np.abs(values).max() <= limit * 1.001
        assert np.max(values) > 0.9 * limit
        assert np.min(values) < -0.9 * limit
        assert abs(np.mean(values)) < 0.12 * limit


def test_translation_is_a_share_of_the_image_that_is_looked_at() -> None:
    shifts = [
        sample(size_hw=(60, 160), view_hw=(40, 80), seed=seed, translation=0.2)[:2, 2]
        for seed in range(200)
    ]
    moved = np.abs(np.array(shifts) - [-40, -10]).max(0)  # beside the middle
    np.testing.assert_allclose(moved, [0.2 * 160, 0.2 * 60], rtol=0.05)


def test_perspective_moves_corners_by_at_most_its_share() -> None:
    corners = np.array([[-0.5, -0.5], [79.5, -0.5], [79.5, 47.5], [-0.5, 47.5]])
    moved = []
    for seed in range(200):
        H = sample(seed=seed, perspective=0.2)
        moved.append(np.abs(warp_points(np.linalg.inv(H), corners) - corners) / [80, 48])
    assert np.max(moved) <= 0.1 + 1e-4  # half of 0.2 either way
    assert np.max(moved) > 0.09


def test_keep_inside_shows_nothing_beyond_the_image() -> None:
    for seed in range(100):
        H = sample(
            seed=seed,
            perspective=0.2,
            scale=1.8,
            rotation_deg=90.0,
            translation=0.5,
            keep_inside=True,
        )
        corners = np.array([[-0.5, -0.5], [79.5, -0.5], [79.5, 47.5], [-0.5, 47.5]])
        source = warp_points(np.linalg.inv(H), corners)
        assert is_inside(source, (48, 80), border=-0.501).all()


@pytest.mark.parametrize("seed", range(8))
def test_a_blob_lands_where_the_homography_takes_its_centre(seed: int) -> None:
    """The bug that moved published numbers threefold: points and pixels warped differently."""
    H = sample(
        size_hw=(96, 160),
        view_hw=(80, 144),
        seed=seed,
        perspective=0.15,
        scale=1.4,
        rotation_deg=30,
        translation=0.05,
    )
    centre = np.array([84.3, 50.8])
    y, x = np.mgrid[:96, :160]
    image = 250.0 * np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2 * 2.0**2))
    view = warp_image(image.astype(np.uint8), H, (80, 144)).astype(float)
    expected = warp_points(H, centre[None])[0]
    assert is_inside(expected[None], (80, 144), border=10).all()
    y, x = np.mgrid[:80, :144]
    found = np.array([(x * view).sum(), (y * view).sum()]) / view.sum()
    np.testing.assert_allclose(found, expected, atol=0.25)


def test_a_view_that_shrinks_makes_up_no_pattern() -> None:
    stripes = np.tile(np.array([0, 250], np.uint8), (120, 80))  # one pixel each
    view = warp_image(stripes, np.diag([0.3, 0.3, 1.0]), (36, 48))
    np.testing.assert_allclose(view, 125, atol=3)


def test_a_view_at_the_images_own_scale_is_not_smoothed() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (48, 80), np.uint8)
    np.testing.assert_array_equal(warp_image(noise, np.eye(3), (48, 80)), noise)


def test_valid_mask_marks_what_the_image_covers() -> None:
    H = np.array([[1.0, 0, 10], [0, 1, -5], [0, 0, 1]])
    mask = valid_mask(H, (48, 80), (48, 80))
    assert mask[:43, 10:].all()
    assert not mask[43:].any()
    assert not mask[:, :10].any()
