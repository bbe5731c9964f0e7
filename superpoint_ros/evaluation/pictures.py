# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Pictures of detections and matches on image pairs with a known homography."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from superpoint_ros.data import Array
from superpoint_ros.drawing import GREEN, RED, YELLOW, draw_keypoints, draw_matches, side_by_side
from superpoint_ros.evaluation import page
from superpoint_ros.evaluation.detector import is_visible, nearest_distances
from superpoint_ros.evaluation.homography import PairMatches, PairResult
from superpoint_ros.evaluation.hpatches import ImageSet, read_grey
from superpoint_ros.evaluation.protocol import Protocol, fit_image
from superpoint_ros.files import write_text
from superpoint_ros.geometry.homography import warp_points
from superpoint_ros.image import read_image, write_image

_LINES = 250  # matches drawn at most; more hide the images


class PairPicture(NamedTuple):
    """One file.

    Attributes:
        path: Of the picture.
        caption: What it shows, with the pair's numbers.
    """

    path: Path
    caption: str


def choose_pairs(results: Sequence[PairResult], count: int = 2) -> list[tuple[str, int]]:
    """Return ("best-1" ... "worst-1" ..., index) of the pairs worth a look, each pair once.

    Ranked by the error of the homography, then by the share of correct matches; what only detects
    by its repeatability.
    """

    def badness(index: int) -> tuple[float, float]:
        result = results[index]
        if np.isnan(result.corner_error_px):
            return (-result.repeatability, 0.0)
        return (result.corner_error_px, -result.mma3)

    order = sorted(range(len(results)), key=badness)
    best = order[:count]
    worst = [index for index in order[::-1][:count] if index not in best]
    return [
        *((f"best-{rank + 1}", index) for rank, index in enumerate(best)),
        *((f"worst-{rank + 1}", index) for rank, index in enumerate(worst)),
    ]


def write_pictures(
    folder: Path | str,
    method: str,
    sets: Sequence[ImageSet],
    protocol: Protocol,
    results: Sequence[PairResult],
    matches: Sequence[PairMatches],
) -> list[PairPicture]:
    """Draw the best and the worst pairs of a method.

    Args:
        folder: Where "METHOD_best-1_SET_1-2_matches.jpg" and "..._keypoints.jpg" go.
        method: Its name.
        sets: Those that were measured.
        protocol: The one that was measured with; the images have its size for matching.
        results: Of this method, in the order of the pairs.
        matches: Likewise.

    Raises:
        OSError: They cannot be written.
    """
    pairs = [(image_set, k) for image_set in sets for k in range(len(image_set.homographies))]
    pictures = []
    for rank, index in choose_pairs(results):
        image_set, k = pairs[index]
        image_a, S_a = fit_image(read_grey(image_set.paths[0]), protocol.matching)
        image_b, S_b = fit_image(read_grey(image_set.paths[k + 1]), protocol.matching)
        H_b_a = S_b @ image_set.homographies[k] @ np.linalg.inv(S_a)
        result, found = results[index], matches[index]
        what = f"{rank}, {result.pair}"
        stem = f"{method}_{rank}_{result.pair.replace('/', '_')}"
        drawn = draw_detections(image_a, image_b, found, H_b_a, protocol.max_distance_px)
        path = Path(folder) / f"{stem}_keypoints.jpg"
        write_image(path, drawn)
        pictures.append(
            PairPicture(path, f"{what}: repeatability {result.matching_repeatability:.3f}")
        )
        if np.isnan(result.corner_error_px):
            continue
        path = Path(folder) / f"{stem}_matches.jpg"
        some = np.unique(np.linspace(0, len(found.matches), _LINES, endpoint=False, dtype=int))
        some = some[: len(found.matches)]
        drawn = draw_matches(
            image_a,
            image_b,
            found.keypoints_a,
            found.keypoints_b,
            found.matches[some],
            found.is_correct[some],
        )
        write_image(path, drawn)
        pictures.append(
            PairPicture(
                path,
                f"{what}: {found.is_correct.sum()} of {len(found.matches)} matches right, "
                f"corners off by {result.corner_error_px:.2f} px",
            )
        )
    return pictures


def write_index(
    path: Path | str,
    title: str,
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    pictures: Mapping[str, Sequence[PairPicture]],
) -> None:
    """Write one self-contained HTML page of the results and all pictures.

    Args:
        path: Of the page.
        title: Says what was measured, and how.
        headings: Of the table.
        rows: Cells, the name of the row first.
        pictures: Method -> its pictures.
    """
    body = [page.element("h1", title), page.table("Means over all pairs", headings, rows)]
    for method, of_method in pictures.items():
        body.append(page.element("h2", method))
        body += [_figure(picture) for picture in of_method]
    write_text(path, page.render_page(title, page.element("main", *body)))


def _figure(picture: PairPicture) -> page.Markup:
    image = read_image(picture.path)
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()
    size_wh = (image.shape[1], image.shape[0])
    return page.figure(page.jpeg(data, picture.caption, size_wh), picture.caption)


def draw_detections(
    image_a: Array, image_b: Array, found: PairMatches, H_b_a: Array, max_distance_px: float
) -> Array:
    """Draw the keypoints of two images side by side.

    Args:
        image_a: (H, W) uint8.
        image_b: (H', W') uint8.
        found: Their keypoints.
        H_b_a: (3, 3).
        max_distance_px: Counterparts are at most so far apart, pixels of b.

    Returns:
        (max(H, H'), W + W', 3) uint8 BGR: green has a counterpart, red has none, yellow lies where
        the other image does not see.
    """
    mapped_a = warp_points(H_b_a, found.keypoints_a)
    mapped_b = warp_points(np.linalg.inv(H_b_a), found.keypoints_b)
    seen_a = is_visible(mapped_a, (image_b.shape[0], image_b.shape[1]))
    seen_b = is_visible(mapped_b, (image_a.shape[0], image_a.shape[1]))
    in_b, of_b = mapped_a[seen_a], found.keypoints_b[seen_b]
    halves = []
    for image, keypoints, seen, distances in (
        (image_a, found.keypoints_a, seen_a, nearest_distances(in_b, of_b)),
        (image_b, found.keypoints_b, seen_b, nearest_distances(of_b, in_b)),
    ):
        half = draw_keypoints(image, keypoints[~seen], colour=YELLOW)
        half = draw_keypoints(half, keypoints[seen][distances > max_distance_px], colour=RED)
        halves.append(
            draw_keypoints(half, keypoints[seen][distances <= max_distance_px], colour=GREEN)
        )
    return side_by_side(*halves)
