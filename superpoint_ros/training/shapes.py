# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Synthetic Shapes: drawings whose corners are known exactly (SuperPoint, Sec. 4.1).

Everything is drawn on a canvas `_SUPERSAMPLING` times as large and then averaged down, so corners
lie anywhere between pixels. A corner is reported only if it can be seen: the eigenvalues of the
gradient matrix of the clean drawing decide, which drops covered and faint corners by the smaller
one, nearly straight ones by the ratio of both. What was drawn and dropped is doubtful: no corner
to learn, and no mistake to find.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from superpoint_ros.config import Config, ConfigError, option
from superpoint_ros.data import Array

_SUPERSAMPLING = 4
_SHIFT = 4  # fractional bits of OpenCV's drawing coordinates

KINDS = (
    "lines",
    "polygon",
    "polygons",
    "star",
    "checkerboard",
    "stripes",
    "cube",
    "ellipses",
    "noise",
)


@dataclass(frozen=True)
class ShapeConfig(Config):
    """What is drawn."""

    height: int = option(120, "Height of a drawing, pixels", minimum=48)
    width: int = option(160, "Width of a drawing, pixels", minimum=48)
    kinds: tuple[str, ...] = option(KINDS, "Kinds of shapes, drawn equally often", choices=())
    min_contrast: float = option(25.0, "Least step between neighbouring areas, grey levels")
    min_eigenvalue: float = option(
        0.0003, "Corners with a smaller gradient eigenvalue are not reported (image in [0, 1])"
    )
    min_eigenvalue_ratio: float = option(
        0.02,
        "Corners at which the smaller eigenvalue is a smaller share of the larger are not "
        "reported: bends of less than about 20 degrees",
    )
    max_blur_px: float = option(1.2, "Largest Gaussian blur of the drawing, pixels", minimum=0.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        unknown = sorted(set(self.kinds) - set(KINDS))
        if unknown or not self.kinds:
            wrong = f"no such shapes: {', '.join(unknown)}" if unknown else "none"
            raise ConfigError(f"kinds: {wrong}; there are {', '.join(KINDS)}")


class Drawing(NamedTuple):
    """A drawing and the truth about it.

    Attributes:
        image: (H, W) uint8.
        corners: (N, 2) float32, (x, y) pixels, those that can be seen.
        doubtful: (M, 2) float32, drawn inside the image but covered, faint or nearly straight.
    """

    image: Array
    corners: Array
    doubtful: Array


class Canvas:
    """A supersampled grey image and the corners drawn on it.

    Coordinates are pixels of the final image, (x, y), centre of the top-left pixel at (0, 0).
    """

    def __init__(self, size_hw: tuple[int, int], rng: np.random.Generator, contrast: float):
        self.size_hw = size_hw
        self.rng = rng
        self.contrast = contrast
        self.corners: list[Array] = []
        self.pixels = self._draw_background()

    def _draw_background(self) -> Array:
        """Return smooth blobs or a plain grey, supersampled, uint8."""
        height, width = self.size_hw
        size_wh = (width * _SUPERSAMPLING, height * _SUPERSAMPLING)
        level = self.rng.uniform(0, 255)
        spread = self.rng.choice([0.0, 10.0, 40.0])
        coarse = level + spread * self.rng.standard_normal((5, 7))
        coarse = np.clip(coarse, 0, 255).astype(np.float32)
        fine = cv2.resize(coarse, size_wh, interpolation=cv2.INTER_CUBIC)
        return np.asarray(np.clip(fine, 0, 255).astype(np.uint8))

    def colour_against(self, *neighbours: float) -> float:
        """Return a grey level at least `contrast` away from every neighbour (if that can be)."""
        for _ in range(20):
            level = float(self.rng.uniform(0, 255))
            if all(abs(level - other) >= self.contrast for other in neighbours):
                return level
        mean = float(np.mean(neighbours)) if neighbours else 0.0
        return 255.0 if mean < 128 else 0.0

    def level_at(self, points: Array) -> float:
        """Return the mean grey level around `points` (N, 2)."""
        big = self._to_big(points)
        x = np.clip(big[:, 0], 0, self.pixels.shape[1] - 1).astype(int)
        y = np.clip(big[:, 1], 0, self.pixels.shape[0] - 1).astype(int)
        return float(self.pixels[y, x].mean())

    def fill(self, points: Array, level: float, is_corner: bool = True) -> None:
        """Fill the polygon `points` (N, 2); its vertices are corners."""
        big = np.round(self._to_big(points) * 2**_SHIFT).astype(np.int32)
        cv2.fillPoly(self.pixels, [big], level, cv2.LINE_8, _SHIFT)
        if is_corner:
            self.corners.append(np.asarray(points, dtype=np.float64))

    def line(self, start: Array, end: Array, thickness_px: float, level: float) -> None:
        """Draw a segment as a thin rectangle; its end points are corners."""
        along = (end - start) / max(float(np.linalg.norm(end - start)), 1e-6)
        side = np.array([-along[1], along[0]]) * thickness_px / 2
        self.fill(np.stack([start + side, end + side, end - side, start - side]), level, False)
        self.corners.append(np.stack([start, end]))

    def ellipse(self, centre: Array, axes: Array, angle_deg: float, level: float) -> None:
        """Draw a filled ellipse: no corners."""
        big_centre = self._to_big(centre[None])[0]
        cv2.ellipse(
            self.pixels,
            tuple(np.round(big_centre).astype(int).tolist()),
            tuple(np.round(axes * _SUPERSAMPLING).astype(int).tolist()),
            angle_deg,
            0,
            360,
            level,
            -1,
        )

    def finish(self, blur_px: float, config: ShapeConfig) -> Drawing:
        """Average down and tell the corners that can be seen from those that can not."""
        height, width = self.size_hw
        image = cv2.resize(self.pixels, (width, height), interpolation=cv2.INTER_AREA)
        if blur_px > 0.2:
            image = cv2.GaussianBlur(image, (0, 0), blur_px)
        corners = np.concatenate([np.zeros((0, 2)), *self.corners])
        inside = (corners > -0.5).all(1) & (corners < np.array([width, height]) - 0.5).all(1)
        corners = corners[inside]
        seen = _is_visible(image, corners, config)
        return Drawing(image, corners[seen].astype(np.float32), corners[~seen].astype(np.float32))

    @staticmethod
    def _to_big(points: Array) -> Array:
        return (np.asarray(points) + 0.5) * _SUPERSAMPLING - 0.5


def _is_visible(image: Array, corners: Array, config: ShapeConfig) -> Array:
    """Return (N,) bool: at which points the image is cornered, at most one per 2 pixels."""
    height, width = image.shape
    is_kept = np.zeros(len(corners), bool)
    eigenvalues = cv2.cornerEigenValsAndVecs(image.astype(np.float32) / 255.0, 5, ksize=3)
    low, high = eigenvalues[..., :2].min(-1), eigenvalues[..., :2].max(-1)
    for index, (x, y) in enumerate(np.round(corners).astype(int)):
        if not (1 <= x < width - 1 and 1 <= y < height - 1):
            continue
        window = (slice(y - 1, y + 2), slice(x - 1, x + 2))
        best = int(low[window].argmax())
        strength = float(low[window].flat[best])
        least = max(config.min_eigenvalue, config.min_eigenvalue_ratio * high[window].flat[best])
        others = np.abs(corners[is_kept] - corners[index]).max(axis=1)
        is_kept[index] = strength >= least and (others >= 2.0).all()
    return is_kept


def draw_shape(rng: np.random.Generator, config: ShapeConfig, kind: str | None = None) -> Drawing:
    """Draw one shape, without noise but for the kind "noise".

    Args:
        rng: Source of randomness.
        config: Size and limits.
        kind: One of `KINDS`; None picks one of `config.kinds`.
    """
    kind = kind or str(rng.choice(config.kinds))
    canvas = Canvas((config.height, config.width), rng, config.min_contrast)
    _DRAWERS[kind](canvas)
    return canvas.finish(float(rng.uniform(0, config.max_blur_px)), config)


def _random_point(canvas: Canvas, margin: float = 0.02) -> Array:
    height, width = canvas.size_hw
    span = np.array([width, height], dtype=np.float64)
    point: Array = span * canvas.rng.uniform(margin, 1 - margin, 2)
    return point


def _random_polygon(canvas: Canvas, centre: Array, radius: float) -> Array:
    """Return a star-convex polygon with 3 to 6 vertices, (N, 2)."""
    count = int(canvas.rng.integers(3, 7))
    angles = 2 * np.pi * (np.arange(count) + canvas.rng.uniform(-0.35, 0.35, count)) / count
    angles += canvas.rng.uniform(0, 2 * np.pi)
    radii = radius * canvas.rng.uniform(0.5, 1.0, count)
    ring: Array = centre + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)
    return ring


def _draw_lines(canvas: Canvas) -> None:
    drawn: list[tuple[Array, Array]] = []
    for _ in range(int(canvas.rng.integers(1, 10))):
        start, end = _random_point(canvas), _random_point(canvas)
        is_short = np.linalg.norm(end - start) < 0.15 * min(canvas.size_hw)
        if is_short or any(_cross(start, end, *other) for other in drawn):
            continue
        level = canvas.colour_against(canvas.level_at(np.linspace(start, end, 8)))
        canvas.line(start, end, float(canvas.rng.uniform(1.0, 4.0)), level)
        drawn.append((start, end))


def _cross(a: Array, b: Array, c: Array, d: Array) -> bool:
    """Whether segments ab and cd (each a little prolonged) cross."""
    a, b = a + 0.06 * (a - b), b + 0.06 * (b - a)
    c, d = c + 0.06 * (c - d), d + 0.06 * (d - c)

    def side(p: Array, q: Array, r: Array) -> bool:
        return bool((q[0] - p[0]) * (r[1] - p[1]) > (q[1] - p[1]) * (r[0] - p[0]))

    return side(a, b, c) != side(a, b, d) and side(c, d, a) != side(c, d, b)


def _draw_polygon(canvas: Canvas) -> None:
    size = min(canvas.size_hw)
    centre = _random_point(canvas, 0.25)
    polygon = _random_polygon(canvas, centre, size * float(canvas.rng.uniform(0.15, 0.6)))
    canvas.fill(polygon, canvas.colour_against(canvas.level_at(polygon)))


def _draw_polygons(canvas: Canvas) -> None:
    size = min(canvas.size_hw)
    placed: list[tuple[Array, float]] = []
    for _ in range(30):
        centre = _random_point(canvas, 0.05)
        radius = size * float(canvas.rng.uniform(0.06, 0.28))
        if any(np.linalg.norm(centre - c) < radius + r + 3 for c, r in placed):
            continue
        polygon = _random_polygon(canvas, centre, radius)
        canvas.fill(polygon, canvas.colour_against(canvas.level_at(polygon)))
        placed.append((centre, radius))


def _draw_star(canvas: Canvas) -> None:
    size = min(canvas.size_hw)
    centre = _random_point(canvas, 0.2)
    rays = int(canvas.rng.integers(3, 7))
    thickness = float(canvas.rng.uniform(1.0, 4.0))
    angles = 2 * np.pi * (np.arange(rays) + canvas.rng.uniform(-0.3, 0.3, rays)) / rays
    angles += canvas.rng.uniform(0, 2 * np.pi)
    level = canvas.colour_against(canvas.level_at(centre[None]))
    for angle in angles:
        length = size * canvas.rng.uniform(0.12, 0.55)
        end = centre + length * np.array([np.cos(angle), np.sin(angle)])
        canvas.line(centre, end, thickness, level)


def _tilted_frame(canvas: Canvas, low: float, high: float) -> Array:
    """Return a random homography from the unit square to a tilted quadrilateral, (3, 3)."""
    height, width = canvas.size_hw
    extent = min(height, width) * canvas.rng.uniform(low, high)
    aspect = canvas.rng.uniform(0.6, 1.6)
    angle = canvas.rng.uniform(0, 2 * np.pi)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    square = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], dtype=np.float64)
    corners = (square - 0.5) * extent * np.array([aspect, 1.0])
    corners += canvas.rng.uniform(-0.13, 0.13, (4, 2)) * extent
    corners = corners @ rotation.T + _random_point(canvas, 0.3)
    frame: Array = cv2.getPerspectiveTransform(
        square.astype(np.float32), corners.astype(np.float32)
    )
    return frame


def _apply(H: Array, points: Array) -> Array:
    mapped: Array = np.concatenate([points, np.ones((len(points), 1))], 1) @ H.T
    return mapped[:, :2] / mapped[:, 2:]


def _draw_checkerboard(canvas: Canvas) -> None:
    rows, columns = canvas.rng.integers(3, 8, 2)
    frame = _tilted_frame(canvas, 0.5, 1.4)
    xs = np.cumsum(np.r_[0, canvas.rng.uniform(0.85, 1.15, columns)])
    ys = np.cumsum(np.r_[0, canvas.rng.uniform(0.85, 1.15, rows)])
    grid = np.stack(np.meshgrid(xs / xs[-1], ys / ys[-1]), -1)
    vertices = _apply(frame, grid.reshape(-1, 2)).reshape(rows + 1, columns + 1, 2)
    background = canvas.level_at(vertices.reshape(-1, 2))
    levels = [canvas.colour_against(background)]
    levels.append(canvas.colour_against(levels[0]))
    jitter = float(canvas.rng.choice([0.0, 8.0]))
    for row in range(rows):
        for column in range(columns):
            cell = vertices[[row, row, row + 1, row + 1], [column, column + 1, column + 1, column]]
            level = levels[(row + column) % 2] + canvas.rng.uniform(-jitter, jitter)
            canvas.fill(cell, float(np.clip(level, 0, 255)), False)
    canvas.corners.append(vertices.reshape(-1, 2))


def _draw_stripes(canvas: Canvas) -> None:
    count = int(canvas.rng.integers(3, 10))
    frame = _tilted_frame(canvas, 0.5, 1.4)
    xs = np.cumsum(np.r_[0, canvas.rng.uniform(0.5, 1.5, count)])
    xs = xs / xs[-1]
    top = _apply(frame, np.stack([xs, np.zeros_like(xs)], 1))
    bottom = _apply(frame, np.stack([xs, np.ones_like(xs)], 1))
    background = canvas.level_at(np.concatenate([top, bottom]))
    previous = background
    for i in range(count):
        previous = canvas.colour_against(previous, background)
        canvas.fill(np.stack([top[i], top[i + 1], bottom[i + 1], bottom[i]]), previous, False)
    canvas.corners += [top, bottom]


def _draw_cube(canvas: Canvas) -> None:
    """Draw the three visible faces of a box: seven corners."""
    size = min(canvas.size_hw)
    lengths = size * canvas.rng.uniform(0.2, 0.6, 3)
    yaw, pitch = canvas.rng.uniform(0.25, 1.3), canvas.rng.uniform(0.3, 1.1)
    roll = canvas.rng.uniform(0, 2 * np.pi)
    axes = np.array(
        [
            [np.cos(yaw), np.sin(yaw) * np.sin(pitch)],
            [-np.sin(yaw), np.cos(yaw) * np.sin(pitch)],
            [0.0, -np.cos(pitch)],
        ]
    )
    rotation = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
    x, y, z = (axes * lengths[:, None]) @ rotation.T
    near = _random_point(canvas, 0.3)  # the vertex where the three visible faces meet
    faces = [(-x, -y), (-x, -z), (-y, -z)]
    background = canvas.level_at(near + np.stack([-x, -y, -z]))
    levels: list[float] = []
    for u, v in faces:
        levels.append(canvas.colour_against(background, *levels))
        canvas.fill(near + np.stack([0 * u, u, u + v, v]), levels[-1], False)
    offsets = np.stack([0 * x, -x, -y, -z, -x - y, -x - z, -y - z])
    canvas.corners.append(near + offsets)


def _draw_ellipses(canvas: Canvas) -> None:
    size = min(canvas.size_hw)
    placed: list[tuple[Array, float]] = []
    for _ in range(25):
        centre = _random_point(canvas, 0.05)
        axes = size * canvas.rng.uniform(0.05, 0.25, 2)
        radius = float(axes.max())
        if any(np.linalg.norm(centre - c) < radius + r + 2 for c, r in placed):
            continue
        level = canvas.colour_against(canvas.level_at(centre[None]))
        canvas.ellipse(centre, axes, float(canvas.rng.uniform(0, 180)), level)
        placed.append((centre, radius))


def _draw_noise(canvas: Canvas) -> None:
    """Replace the image by noise: nothing in it is a corner."""
    coarse = int(canvas.rng.integers(1, 4)) * _SUPERSAMPLING
    height, width = canvas.pixels.shape
    noise = canvas.rng.integers(0, 256, (height // coarse + 1, width // coarse + 1), np.uint8)
    canvas.pixels = cv2.resize(noise, (width, height), interpolation=cv2.INTER_LINEAR)


_DRAWERS: dict[str, Callable[[Canvas], None]] = {
    "lines": _draw_lines,
    "polygon": _draw_polygon,
    "polygons": _draw_polygons,
    "star": _draw_star,
    "checkerboard": _draw_checkerboard,
    "stripes": _draw_stripes,
    "cube": _draw_cube,
    "ellipses": _draw_ellipses,
    "noise": _draw_noise,
}
