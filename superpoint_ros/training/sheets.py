# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Contact sheets: what a stage sees, for people to look at before they wait for it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from superpoint_ros.data import Array
from superpoint_ros.training.datasets import Batch, LabelledPhotos, View

_ZOOM = 2
_RED, _GREEN = (0, 0, 255), (80, 220, 80)


def write_batch_sheet(path: Path, batch: Batch, rows: int = 4, columns: int = 4) -> None:
    """Draw a batch: targets in red, and green lines between the views' corresponding points.

    Args:
        path: Image file to write.
        batch: Of any stage.
        rows: Most rows.
        columns: Images per row (a pair takes two).
    """
    tiles: list[Array] = []
    for item in range(len(batch.names)):
        tile = _draw_view(batch.a, item)
        if batch.b is not None:
            tile = np.hstack([tile, _draw_view(batch.b, item)])
            _connect(tile, batch, item)
        tiles.append(tile)
    _write_tiles(path, tiles, rows, columns if batch.b is None else columns // 2)


def write_label_sheet(path: Path, photos: LabelledPhotos, rows: int = 3, columns: int = 4) -> None:
    """Draw photos with their pseudo-labels, evenly picked."""
    tiles = []
    for index in np.linspace(0, len(photos) - 1, min(rows * columns, len(photos))).astype(int):
        photo = photos[int(index)]
        tile = _enlarge(photo.image)
        for (x, y), weight in zip(photo.points, photo.weights, strict=True):
            _mark(tile, x, y, 1 if weight < 0.5 else 2)
        tiles.append(cv2.resize(tile, (336 * _ZOOM, 256 * _ZOOM)))
    _write_tiles(path, tiles, rows, columns)


def _draw_view(view: View, item: int) -> Array:
    tile = _enlarge((view.images[item, 0].numpy() * 255).astype(np.uint8))
    mass = view.mass[item].numpy()
    # A sub-pixel label lies on up to four pixels: mark the heaviest of them.
    is_label = (mass > 0.05) & (mass >= cv2.dilate(mass, np.ones((3, 3), np.uint8)))
    for y, x in np.argwhere(is_label):
        _mark(tile, x, y, 1)
    return tile


def _enlarge(image: Array) -> Array:
    big = cv2.resize(image, None, fx=_ZOOM, fy=_ZOOM, interpolation=cv2.INTER_NEAREST)
    return np.asarray(cv2.cvtColor(big, cv2.COLOR_GRAY2BGR))


def _mark(tile: Array, x: float, y: float, thickness: int) -> None:
    cv2.circle(tile, _to_tile(x, y), 3, _RED, thickness, cv2.LINE_AA)


def _to_tile(x: float, y: float) -> tuple[int, int]:
    return round((x + 0.5) * _ZOOM - 0.5), round((y + 0.5) * _ZOOM - 0.5)


def _connect(tile: Array, batch: Batch, item: int) -> None:
    assert batch.points_a is not None
    assert batch.points_b is not None
    assert batch.is_point is not None
    width = batch.a.images.shape[3]
    for index in np.flatnonzero(batch.is_point[item].numpy())[::12]:
        xa, ya = batch.points_a[item, index].tolist()
        xb, yb = batch.points_b[item, index].tolist()
        cv2.line(tile, _to_tile(xa, ya), _to_tile(xb + width, yb), _GREEN, 1, cv2.LINE_AA)


def _write_tiles(path: Path, tiles: list[Array], rows: int, columns: int) -> None:
    tiles = tiles[: rows * columns]
    blank = np.zeros_like(tiles[0])
    tiles += [blank] * (-len(tiles) % columns)
    lines = [np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)]
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.vstack(lines))
