# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Procedural wall-papers for rendered scenes: structure at every scale, no two places alike.

Everything is drawn from a random generator, so a seed names a texture and no picture is shipped.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from superpoint_ros.data import Array

_SMALLEST_MOTIF_PX = 10


def make_texture(
    size_hw: tuple[int, int], texels_per_metre: float, rng: np.random.Generator
) -> Array:
    """Draw one texture: cloudy ground, then motifs from large to small.

    Args:
        size_hw: (height, width), texels.
        texels_per_metre: Resolution; motifs are between 5 cm and 1.2 m wide.
        rng: Source of every choice.

    Returns:
        (height, width) uint8.
    """
    height, width = size_hw
    ground = rng.uniform(85.0, 175.0) + 26.0 * cloud_noise(size_hw, rng)
    canvas = np.clip(ground, 0, 255).astype(np.uint8)
    area_m2 = height * width / texels_per_metre**2
    count = int(np.clip(min(22.0 * area_m2, height * width / 250.0), 16, 1600))
    smallest = max(_SMALLEST_MOTIF_PX, 0.05 * texels_per_metre)
    largest = max(smallest + 1.0, min(1.2 * texels_per_metre, 0.6 * min(size_hw)))
    # Counts fall as 1 / size: structure at every scale, from near and from afar.
    sizes = 1.0 / rng.uniform(1.0 / largest, 1.0 / smallest, count)
    for size in np.sort(sizes)[::-1]:
        _paste_motif(canvas, int(size), rng)
    grain = rng.normal(0.0, 5.0, size_hw).astype(np.float32)
    noisy: Array = np.clip(canvas + cv2.GaussianBlur(grain, (3, 3), 0.8), 0, 255)
    return noisy.astype(np.uint8)


def cloud_noise(size_hw: tuple[int, int], rng: np.random.Generator, octaves: int = 6) -> Array:
    """Return smooth noise of several scales, (height, width) float32, about [-1, 1]."""
    height, width = size_hw
    total = np.zeros(size_hw, np.float32)
    for octave in range(octaves):
        cells = 3 * 2**octave
        rows = min(height, max(2, cells * height // max(size_hw)))
        columns = min(width, max(2, cells * width // max(size_hw)))
        coarse = rng.uniform(-1.0, 1.0, (rows, columns)).astype(np.float32)
        fine = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        total += fine / np.float32(1.5**octave)
    return total / np.float32(1.6)


def _paste_motif(canvas: Array, size_px: int, rng: np.random.Generator) -> None:
    """Draw one motif about `size_px` wide, turned at random, somewhere on the canvas."""
    height, width = canvas.shape
    draw = _MOTIFS[rng.integers(len(_MOTIFS))]
    dark, light = sorted(rng.uniform(10.0, 245.0, 2))
    if light - dark < 60.0:
        dark, light = max(5.0, dark - 40.0), min(250.0, light + 40.0)
    motif, mask = draw(size_px, rng)
    shade = dark + (light - dark) * motif
    angle_deg = 0.0 if rng.random() < 0.4 else rng.uniform(-180.0, 180.0)
    rows, columns = motif.shape
    side = int(np.ceil(np.hypot(rows, columns))) + 2
    turn = cv2.getRotationMatrix2D(((columns - 1) / 2, (rows - 1) / 2), angle_deg, 1.0)
    turn[:, 2] += (side - 1) / 2 - np.array([(columns - 1) / 2, (rows - 1) / 2])
    shade = cv2.warpAffine(
        shade.astype(np.float32), turn, (side, side), borderMode=cv2.BORDER_REPLICATE
    )
    mask = cv2.warpAffine(mask.astype(np.float32), turn, (side, side))
    top, left = (int(v) for v in rng.integers(-side // 2, (height - side // 2, width - side // 2)))
    rows_to = slice(max(top, 0), min(top + side, height))
    columns_to = slice(max(left, 0), min(left + side, width))
    if rows_to.start >= rows_to.stop or columns_to.start >= columns_to.stop:
        return
    source = (
        slice(rows_to.start - top, rows_to.stop - top),
        slice(columns_to.start - left, columns_to.stop - left),
    )
    under = canvas[rows_to, columns_to].astype(np.float32)
    blend = under + mask[source] * (shade[source] - under)
    canvas[rows_to, columns_to] = np.clip(blend + 0.5, 0, 255).astype(np.uint8)


def _draw_checkers(size_px: int, rng: np.random.Generator) -> tuple[Array, Array]:
    cells = int(rng.integers(2, max(3, min(8, size_px // 5)) + 1))
    board = np.indices((cells, cells)).sum(axis=0) % 2
    motif = cv2.resize(
        board.astype(np.float32), (size_px, size_px), interpolation=cv2.INTER_NEAREST
    )
    return motif, np.ones_like(motif)


def _draw_stripes(size_px: int, rng: np.random.Generator) -> tuple[Array, Array]:
    edges = rng.random(max(3, size_px // 6)) < 0.5
    row = cv2.resize(edges[None].astype(np.float32), (size_px, 1), interpolation=cv2.INTER_NEAREST)
    motif = np.repeat(row, max(4, int(size_px * rng.uniform(0.3, 0.9))), axis=0)
    return motif, np.ones_like(motif)


def _draw_polygon(size_px: int, rng: np.random.Generator) -> tuple[Array, Array]:
    corners = int(rng.integers(3, 8))
    angles = np.sort(rng.uniform(0.0, 2.0 * np.pi, corners))
    radii = rng.uniform(0.25, 0.5, corners) * size_px
    points = size_px / 2 + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    mask = np.zeros((size_px, size_px), np.uint8)
    cv2.fillPoly(mask, [np.round(points * 16).astype(np.int32)], 255, cv2.LINE_AA, shift=4)
    motif = np.full((size_px, size_px), float(rng.integers(2)), np.float32)
    return motif, mask.astype(np.float32) / 255.0


def _draw_ellipse(size_px: int, rng: np.random.Generator) -> tuple[Array, Array]:
    mask = np.zeros((size_px, size_px), np.uint8)
    motif = np.zeros((size_px, size_px), np.uint8)
    centre = (size_px // 2, size_px // 2)
    axes = (int(0.45 * size_px), max(2, int(rng.uniform(0.2, 0.45) * size_px)))
    cv2.ellipse(mask, centre, axes, 0, 0, 360, 255, -1, cv2.LINE_AA)
    inner = (axes[0] // 2, axes[1] // 2)
    cv2.ellipse(motif, centre, inner, 0, 0, 360, 255, -1, cv2.LINE_AA)
    return motif.astype(np.float32) / 255.0, mask.astype(np.float32) / 255.0


def _draw_writing(size_px: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Lines of made-up 5 x 7 letters on a label."""
    lines = int(rng.integers(1, 5))
    letters = int(rng.integers(4, 12))
    page = np.ones((lines * 9 + 2, letters * 6 + 2), np.float32)
    for line in range(lines):
        for letter in range(letters):
            if rng.random() < 0.12:
                continue
            glyph = np.ones((7, 5), np.float32)
            half = rng.random((7, 3)) < 0.45
            glyph[:, :3][half] = 0.0
            glyph[:, 3:] = glyph[:, 1::-1] if rng.random() < 0.5 else 1.0
            row, column = 2 + 9 * line, 2 + 6 * letter
            page[row : row + 7, column : column + 5] = glyph
    scale = size_px / page.shape[1]
    size_wh = (size_px, max(4, int(page.shape[0] * scale)))
    interpolation = cv2.INTER_NEAREST if scale >= 1.0 else cv2.INTER_AREA
    motif = cv2.resize(page, size_wh, interpolation=interpolation)
    return motif, np.ones_like(motif)


def _draw_speckle(size_px: int, rng: np.random.Generator) -> tuple[Array, Array]:
    cells = max(3, size_px // int(rng.integers(3, 9)))
    blocks = rng.random((cells, cells)).astype(np.float32)
    motif = cv2.resize(blocks, (size_px, size_px), interpolation=cv2.INTER_NEAREST)
    return motif, np.ones_like(motif)


def _draw_star(size_px: int, rng: np.random.Generator) -> tuple[Array, Array]:
    mask = np.zeros((size_px, size_px), np.uint8)
    centre = (size_px // 2, size_px // 2)
    for angle in rng.uniform(0.0, 2.0 * np.pi, int(rng.integers(3, 7))):
        tip = (
            int(size_px / 2 * (1 + 0.95 * np.cos(angle))),
            int(size_px / 2 * (1 + 0.95 * np.sin(angle))),
        )
        cv2.line(mask, centre, tip, 255, max(1, size_px // 14), cv2.LINE_AA)
    motif = np.full((size_px, size_px), float(rng.integers(2)), np.float32)
    return motif, mask.astype(np.float32) / 255.0


def _draw_frame(size_px: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """A picture on the wall: a border around clouds."""
    rows = max(8, int(size_px * rng.uniform(0.6, 1.0)))
    motif = np.clip(0.5 + 0.5 * cloud_noise((rows, size_px), rng, 4), 0.0, 1.0)
    border = max(2, size_px // 12)
    edge = np.ones_like(motif, dtype=bool)
    edge[border:-border, border:-border] = False
    motif[edge] = float(rng.integers(2))
    return motif, np.ones_like(motif)


_MOTIFS: tuple[Callable[[int, np.random.Generator], tuple[Array, Array]], ...] = (
    _draw_checkers,
    _draw_stripes,
    _draw_polygon,
    _draw_polygon,
    _draw_ellipse,
    _draw_writing,
    _draw_writing,
    _draw_speckle,
    _draw_star,
    _draw_frame,
)
