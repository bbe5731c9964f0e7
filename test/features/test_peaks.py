# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np

from superpoint_ros.features.peaks import find_peaks, suppress_close


def test_the_better_of_two_close_keypoints_stays() -> None:
    keypoints = np.array([[10.0, 20], [13, 20], [10, 26], [2, 0]])
    kept = suppress_close(keypoints, np.array([0.5, 0.9, 0.3, 0.1]), radius=4)
    assert kept.tolist() == [1, 2, 3]
    assert suppress_close(np.zeros((0, 2)), np.zeros(0), 4).tolist() == []


def test_survivors_are_farther_apart_than_the_radius_in_whole_pixels() -> None:
    # From the right, the left, below and above: at the radius each goes, one pixel on it stays.
    middle, steps = np.array([30.0, 20.0]), np.array([[1, 0], [-1, 0], [0, 1], [0, -1]])
    for distance, count in ((4.0, 1), (4.6, 5)):  # 4.6 is nearest to 5 pixels
        keypoints = np.concatenate([middle[None], middle + distance * steps])
        assert len(suppress_close(keypoints, np.array([0.9, *[0.5] * 4]), radius=4)) == count
    first = suppress_close(np.array([[2.0, 1], [0, 0], [9, 9]]), np.array([0.9, 0.5, 0.4]), 4)
    assert first.tolist() == [0, 2]  # beside the corner of the image


def blobs(*places: tuple[float, float, float], size_hw: tuple[int, int] = (48, 80)) -> np.ndarray:
    """Gaussians at (x, y, height), wider than high."""
    y, x = np.mgrid[: size_hw[0], : size_hw[1]]
    image = np.zeros(size_hw)
    for px, py, height in places:
        image += height * np.exp(-((x - px) ** 2) / (2 * 1.6**2) - (y - py) ** 2 / (2 * 1.1**2))
    return image.astype(np.float32)


def test_a_gaussian_between_pixels_is_found_where_it_is() -> None:
    places = [(20.3, 10.7, 0.5), (60.8, 30.1, 0.9), (40.0, 40.45, 0.7)]
    points, values = find_peaks(blobs(*places), 0.2, radius=3, limit=0)
    by_height = np.array(sorted(places, key=lambda place: -place[2]))
    np.testing.assert_allclose(points, by_height[:, :2], atol=1e-3)  # the best first
    assert (np.diff(values) < 0).all()
    best, _ = find_peaks(blobs(*places), 0.2, radius=3, limit=1)
    np.testing.assert_allclose(best, by_height[:1, :2], atol=1e-3)
    high, _ = find_peaks(blobs(*places), 0.6, radius=3, limit=0)
    assert len(high) == 2


def test_peaks_keep_four_pixels_from_every_edge() -> None:
    inside = [(4, 20), (75, 20), (40, 4), (40, 43)]
    outside = [(3, 20), (76, 20), (40, 3), (40, 44)]
    for places, count in ((inside, 4), (outside, 0)):
        image = np.zeros((48, 80), np.float32)
        for x, y in places:
            image[y, x] = 0.9
        assert len(find_peaks(image, 0.2, radius=2, limit=0)[0]) == count


def test_the_lower_of_two_peaks_goes_within_the_radius_alone() -> None:
    for step in ((5, 0), (0, 5)):
        image = blobs((30, 20, 0.9), (30 + step[0], 20 + step[1], 0.8))
        assert len(find_peaks(image, 0.2, radius=5, limit=0)[0]) == 1
        assert len(find_peaks(image, 0.2, radius=4, limit=0)[0]) == 2
