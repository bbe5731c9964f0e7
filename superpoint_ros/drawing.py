# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Pictures of keypoints, matches and tracks; every function returns a new BGR image."""

from __future__ import annotations

import cv2
import numpy as np

from superpoint_ros.data import Array, Features, TrackingResult

# BGR. Colour-blind people tell this green from this red: one is bluish, the other near orange.
GREEN = (150, 210, 30)
RED = (30, 80, 240)
YELLOW = (40, 210, 240)
# OpenCV draws at 1/16 pixel: coordinates are integers with four fractional bits.
_SHIFT = 4


def to_colour(image: Array) -> Array:
    """Return a copy (H, W, 3) uint8 BGR of a uint8 image (H, W), (H, W, 3) BGR or BGRA."""
    if image.ndim == 2 or image.shape[2] == 1:
        colour: Array = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_GRAY2BGR)
        return colour
    if image.shape[2] == 4:
        colour = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_BGRA2BGR)
        return colour
    return np.array(image, order="C")


def draw_keypoints(
    image: Array,
    keypoints: Array,
    scores: Array | None = None,
    colour: tuple[int, int, int] = GREEN,
) -> Array:
    """Draw a circle per keypoint; with scores, weak ones red and strong ones in `colour`.

    Args:
        image: uint8 grey or BGR.
        keypoints: (N, 2), (x, y) in pixels.
        scores: (N,); ranked, not taken at face value.
        colour: BGR.

    Returns:
        (H, W, 3) uint8 BGR.
    """
    canvas = to_colour(image)
    radius = _line_size(canvas) + 2
    ranks = np.ones(len(keypoints))
    if scores is not None and len(keypoints) > 1:
        ranks = np.argsort(np.argsort(scores)) / (len(keypoints) - 1)
    for point, rank in zip(_fixed_point(keypoints), ranks, strict=True):
        shade = _blend(RED, colour, float(rank))
        cv2.circle(canvas, point, radius << _SHIFT, shade, 1, cv2.LINE_AA, _SHIFT)
    return canvas


def side_by_side(image_a: Array, image_b: Array) -> Array:
    """Return two uint8 images beside each other, (max(H_a, H_b), W_a + W_b, 3) BGR."""
    a, b = to_colour(image_a), to_colour(image_b)
    height = max(a.shape[0], b.shape[0])
    canvas = np.zeros((height, a.shape[1] + b.shape[1], 3), dtype=np.uint8)
    canvas[: a.shape[0], : a.shape[1]] = a
    canvas[: b.shape[0], a.shape[1] :] = b
    return canvas


def draw_matches(
    image_a: Array,
    image_b: Array,
    keypoints_a: Array,
    keypoints_b: Array,
    matches: Array,
    inliers: Array | None = None,
) -> Array:
    """Draw two images side by side with a line per match.

    Args:
        image_a: uint8 grey or BGR; on the left.
        image_b: Likewise; on the right.
        keypoints_a: (N_a, 2), (x, y) in pixels.
        keypoints_b: (N_b, 2).
        matches: (M, 2) indices.
        inliers: (M,) bool: green if true, red and beneath if not; None: all green.

    Returns:
        (max(H_a, H_b), W_a + W_b, 3) uint8 BGR.
    """
    canvas = side_by_side(image_a, image_b)
    offset = np.array([image_a.shape[1], 0.0])
    _draw_segments(
        canvas, keypoints_a[matches[:, 0]], keypoints_b[matches[:, 1]] + offset, inliers
    )
    return canvas


def draw_tracks(
    image: Array,
    keypoints: Array,
    previous_pixels: Array,
    current_pixels: Array,
    inliers: Array | None = None,
    text: str = "",
) -> Array:
    """Draw keypoints as dots, and a line from where each track was to where it is.

    Args:
        image: uint8 grey or BGR.
        keypoints: (N, 2), all keypoints of this image, pixels.
        previous_pixels: (M, 2), tracks in the reference image.
        current_pixels: (M, 2), the same in this image.
        inliers: (M,) bool: green if true, red if not; None: all green.
        text: One line for the top-left corner.

    Returns:
        (H, W, 3) uint8 BGR.
    """
    canvas = to_colour(image)
    for point in _fixed_point(keypoints):
        cv2.circle(canvas, point, 1 << _SHIFT, YELLOW, -1, cv2.LINE_AA, _SHIFT)
    _draw_segments(canvas, previous_pixels, current_pixels, inliers)
    if text:
        draw_text(canvas, text)
    return canvas


def draw_result(image: Array, features: Features, result: TrackingResult) -> Array:
    """Draw what the odometry made of a frame: tracks from its reference, state and inliers.

    Args:
        image: uint8 grey or BGR.
        features: Of this image.
        result: Of this image.

    Returns:
        (H, W, 3) uint8 BGR.
    """
    text = f"{result.state.name}  {len(features)} keypoints  {result.num_inliers} inliers"
    matches = result.matches
    if matches is None:
        canvas = draw_keypoints(image, features.keypoints, features.scores)
        draw_text(canvas, text)
        return canvas
    return draw_tracks(
        image,
        features.keypoints,
        matches.reference_keypoints[matches.indices[:, 0]],
        features.keypoints[matches.indices[:, 1]],
        matches.inliers,
        text,
    )


def draw_text(canvas: Array, text: str) -> None:
    """Write one line into the top-left corner of `canvas`, in place, legible on any ground."""
    scale = max(0.4, canvas.shape[0] / 960.0)
    origin = (round(8 * scale) + 2, round(28 * scale) + 2)
    thickness = max(1, round(2 * scale))
    # An outline of shifted copies: in OpenCV 5 thicker letters are wider and would not coincide.
    black = [((0, 0, 0), dx, dy) for dx in (-1, 0, 1) for dy in (-1, 0, 1)]
    for colour, dx, dy in [*black, ((255, 255, 255), 0, 0)]:
        corner = (origin[0] + dx, origin[1] + dy)
        cv2.putText(
            canvas, text, corner, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, thickness, cv2.LINE_AA
        )


def _draw_segments(canvas: Array, start: Array, end: Array, inliers: Array | None) -> None:
    good = np.ones(len(start), dtype=bool) if inliers is None else np.asarray(inliers, dtype=bool)
    width = _line_size(canvas)
    for wanted, colour in ((False, RED), (True, GREEN)):
        chosen = good == wanted
        pairs = zip(_fixed_point(start[chosen]), _fixed_point(end[chosen]), strict=True)
        for first, last in pairs:
            cv2.line(canvas, first, last, colour, width, cv2.LINE_AA, _SHIFT)
            cv2.circle(canvas, last, (width + 1) << _SHIFT, colour, -1, cv2.LINE_AA, _SHIFT)


def _line_size(canvas: Array) -> int:
    return max(1, round(float(max(canvas.shape[:2])) / 1280.0))


def _fixed_point(points: Array) -> list[tuple[int, int]]:
    """Return points as OpenCV's fixed-point integers; what is not finite or far off is clipped."""
    finite = np.nan_to_num(np.asarray(points, dtype=np.float64), nan=-1e4, posinf=1e4, neginf=-1e4)
    fixed = np.rint(np.clip(finite, -1e4, 1e5) * (1 << _SHIFT)).astype(int)
    return [(int(x), int(y)) for x, y in fixed.reshape(-1, 2)]


def _blend(
    first: tuple[int, int, int], second: tuple[int, int, int], share: float
) -> tuple[int, int, int]:
    b, g, r = (round(p + (q - p) * share) for p, q in zip(first, second, strict=True))
    return b, g, r
