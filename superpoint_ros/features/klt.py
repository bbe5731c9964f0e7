# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Shi-Tomasi corners tracked by pyramidal Lucas-Kanade, in the place of features.

KLT has no descriptor: two corners belong together because the one was followed into the other. So
every track has a random unit vector of its own for a descriptor. That of the same track has cosine
1, that of any other about 0 (standard deviation 0.09), and every matcher finds exactly what was
followed. What was lost comes back as a new track: KLT cannot recognise a place, here as elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from superpoint_ros.data import Array, Features
from superpoint_ros.features.peaks import find_peaks, suppress_close
from superpoint_ros.image import to_grey

_DIM = 128
_WINDOW_PX = 21
_LEVELS = 4  # with the window: motions of about 100 pixels
_MAX_RETURN_PX = 0.7  # there and back again
_MERGED_PX = 1
_MIN_RESPONSE = 1e-6  # of the smaller eigenvalue, as the detector "shi-tomasi"


class KltExtractor:
    """Follows corners from image to image, so the images must be those of one camera, in order.

    Attributes:
        max_keypoints: Most tracks at a time; 0: no limit.
        nms_radius: A new corner is farther from every track and other corner, pixels.
    """

    model_id = "klt"
    weights_sha256 = ""  # there are none
    descriptor_dim = _DIM

    def __init__(self, max_keypoints: int = 1000, nms_radius: int = 4) -> None:
        self.max_keypoints = max_keypoints
        self.nms_radius = nms_radius
        self._rng = np.random.default_rng(0)
        self._last: Array | None = None  # image
        self._points = np.empty((0, 2), np.float32)
        self._descriptors = np.empty((0, _DIM), np.float32)

    def __call__(self, image: Array) -> Features:
        """Follow the corners into the next image and fill up with new ones.

        Args:
            image: uint8, any size; (H, W) grey, (H, W, 3) BGR or (H, W, 4) BGRA.

        Raises:
            ImageError: The image is empty, or of another type or shape.
        """
        grey = to_grey(image)
        if self._last is None or self._last.shape != grey.shape:
            kept = np.zeros(len(self._points), bool)  # the first image, or another camera
        else:
            self._points, kept = _follow(self._last, grey, self._points)
        self._points, self._descriptors = self._points[kept], self._descriptors[kept]
        # Of tracks that have run into each other the older one stays; they are in order of age.
        ages = -np.arange(len(self._points))
        apart = np.sort(suppress_close(self._points, ages, _MERGED_PX))
        self._points, self._descriptors = self._points[apart], self._descriptors[apart]
        self._last = grey
        response = cv2.cornerMinEigenVal(grey.astype(np.float32) / 255.0, 3, ksize=3)
        self._fill_up(response)
        columns, rows = np.rint(self._points).astype(int).T
        scores = response[rows, columns]
        order = np.argsort(-scores, kind="stable")
        best = max(float(scores.max(initial=0.0)), 1e-12)
        return Features(
            self._points[order],
            np.clip(scores[order] / best, 0.0, 1.0),
            self._descriptors[order],
            (grey.shape[0], grey.shape[1]),
        )

    def extract_batch(self, images: Sequence[Array]) -> list[Features]:
        """Follow the corners into the first image, and from there into each other one.

        Args:
            images: Of one moment: left, or left and right.

        Returns:
            Features of each; what one image shares with the first has the same descriptor.
        """
        if not images:
            return []
        first = self(images[0])
        return [first, *(self._follow_into(to_grey(image), first) for image in images[1:])]

    def _follow_into(self, other: Array, first: Features) -> Features:
        assert self._last is not None  # `first` has been found in it
        if other.shape != self._last.shape:
            return first.take(np.zeros(0, np.int64))
        points, kept = _follow(self._last, other, first.keypoints)
        there = first.take(kept)
        return Features(points[kept], there.scores, there.descriptors, there.image_size_hw)

    def _fill_up(self, response: Array) -> None:
        free = np.array(response)
        for x, y in np.rint(self._points).astype(int):
            r = self.nms_radius
            free[max(y - r, 0) : y + r + 1, max(x - r, 0) : x + r + 1] = 0.0
        wanted = self.max_keypoints - len(self._points)
        if self.max_keypoints and wanted <= 0:
            return
        found, _ = find_peaks(free, _MIN_RESPONSE, self.nms_radius, max(wanted, 0))
        fresh = self._rng.standard_normal((len(found), _DIM)).astype(np.float32)
        fresh /= np.linalg.norm(fresh, axis=1, keepdims=True)
        self._points = np.concatenate([self._points, found.astype(np.float32)])
        self._descriptors = np.concatenate([self._descriptors, fresh])


def _follow(image_a: Array, image_b: Array, points_a: Array) -> tuple[Array, Array]:
    """Return where the points (N, 2) of a are in b, and which were found, also on the way back."""
    if not len(points_a):
        return points_a, np.zeros(0, bool)

    def flow(source: Array, target: Array, points: Array) -> tuple[Array, Array]:
        moved, is_found, _ = cv2.calcOpticalFlowPyrLK(
            source,
            target,
            points.reshape(-1, 1, 2),
            None,  # no first guess
            winSize=(_WINDOW_PX, _WINDOW_PX),
            maxLevel=_LEVELS,
        )
        return moved.reshape(-1, 2), is_found.ravel() == 1

    points_b, is_found = flow(image_a, image_b, np.ascontiguousarray(points_a, np.float32))
    back, is_back = flow(image_b, image_a, points_b)
    height, width = image_b.shape
    kept = is_found & is_back & (np.linalg.norm(back - points_a, axis=1) < _MAX_RETURN_PX)
    kept &= (points_b >= 0.0).all(axis=1) & (points_b[:, 0] <= width - 1)
    kept &= points_b[:, 1] <= height - 1
    return points_b, kept
