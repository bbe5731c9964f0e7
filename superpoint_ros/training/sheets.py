# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Contact sheets: what a stage sees, for people to look at before they wait for it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from torch import Tensor

from superpoint_ros.data import Array
from superpoint_ros.drawing import draw_matches
from superpoint_ros.features.extractor import extractor_from_network
from superpoint_ros.geometry.homography import warp_points
from superpoint_ros.image import write_image
from superpoint_ros.matching import match
from superpoint_ros.network.superpoint import SuperPoint
from superpoint_ros.training.datasets import Batch, LabelledPhotos, View
from superpoint_ros.training.distributed import process_rank

_ZOOM = 2
_MATCHED_KEYPOINTS = 150
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


def write_match_sheet(
    path: Path, network: SuperPoint, batch: Batch, rows: int = 4, columns: int = 2
) -> None:
    """Draw what a network matches between the two views of pairs: green if right within 3 px."""
    assert batch.b is not None
    assert batch.H_b_a is not None
    extract = extractor_from_network(network, _MATCHED_KEYPOINTS, "cpu")
    tiles = []
    for item in range(min(len(batch.names), rows * columns)):
        images = [_to_grey(view.images[item]) for view in (batch.a, batch.b)]
        a, b = extract.extract_batch(images)
        matches = match(a, b)
        mapped = warp_points(batch.H_b_a[item].double().numpy(), a.keypoints[matches[:, 0]])
        errors = np.linalg.norm(mapped - b.keypoints[matches[:, 1]], axis=1)
        big = [_enlarge(image) for image in images]
        at_a, at_b = ((f.keypoints + 0.5) * _ZOOM - 0.5 for f in (a, b))
        tiles.append(draw_matches(big[0], big[1], at_a, at_b, matches, errors <= 3.0))
    _write_tiles(path, tiles, rows, columns)


def _draw_view(view: View, item: int) -> Array:
    tile = _enlarge(_to_grey(view.images[item]))
    mass = view.mass[item].numpy()
    # A sub-pixel label lies on up to four pixels: mark the heaviest of them.
    is_label = (mass > 0.05) & (mass >= cv2.dilate(mass, np.ones((3, 3), np.uint8)))
    for y, x in np.argwhere(is_label):
        _mark(tile, x, y, 1)
    return tile


def _to_grey(image: Tensor) -> Array:
    """Return (H, W) uint8 of (1, H, W) in [0, 1]."""
    return np.asarray((image[0].numpy() * 255).astype(np.uint8))


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
    if process_rank() != 0:
        return
    tiles = tiles[: rows * columns]
    blank = np.zeros_like(tiles[0])
    tiles += [blank] * (-len(tiles) % columns)
    lines = [np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)]
    write_image(path, np.vstack(lines))
