# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Batches for the trainer: drawn shapes, and warped pairs of photos with pseudo-labels.

A batch is a pure function of (seed, step): a run that is killed and resumed sees the same data.
`Prefetcher` makes the next batches on a thread while the network trains (OpenCV and NumPy release
the interpreter lock in all that is heavy here).
"""

from __future__ import annotations

import collections
import dataclasses
import logging
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from superpoint_ros.config import Config, ConfigError, option
from superpoint_ros.data import Array
from superpoint_ros.files import lies_in
from superpoint_ros.geometry.homography import unit_homography, warp_points
from superpoint_ros.image import fit_longer_side, resize
from superpoint_ros.network.cells import CELL_SIZE
from superpoint_ros.training.augmentation import AugmentationConfig, augment
from superpoint_ros.training.distributed import own_items
from superpoint_ros.training.homographies import (
    HomographyConfig,
    is_inside,
    sample_homography,
    valid_mask,
    warp_image,
)
from superpoint_ros.training.shapes import ShapeConfig, draw_shape

_LOG = logging.getLogger(__name__)
_LONGEST_SIDE_PX = 640  # of a photo: views of a larger one would show hardly any of its labels
_NEARLY_BLACK = 32
_READ_FLAGS = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION  # as recordings are read
_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".pgm", ".ppm", ".webp")
# What np.load raises for files that are empty, cut off or overwritten.
_DAMAGE = (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)
_VALIDATION_SHARE = 20  # one photo in this many is kept for validation, by the hash of its name


class View(NamedTuple):
    """A batch of images with what the detector should say.

    Attributes:
        images: (B, 1, H, W) float32 in [0, 1].
        mass: (B, H, W) float32, keypoint mass per pixel (`losses.detector_targets`).
        is_valid: (B, H/8, W/8) bool, cells that count.
    """

    images: Tensor
    mass: Tensor
    is_valid: Tensor


class Batch(NamedTuple):
    """One step's data. Detector stages have only `a`.

    Attributes:
        names: What each item was made from, for messages.
        a: First view.
        b: Second view of the same photos.
        H_b_a: (B, 3, 3) float32 pixels of a to pixels of b.
        points_a: (B, N, 2) corresponding points in a, pixels; keypoints first, then random ones.
        points_b: (B, N, 2) the same in b.
        is_point: (B, N) bool; False is padding.
        is_keypoint: (B, N) bool; the points that carry a label.
        shapes: Drawings for the detector, of the views' size; any number of them.
    """

    names: tuple[str, ...]
    a: View
    b: View | None = None
    H_b_a: Tensor | None = None
    points_a: Tensor | None = None
    points_b: Tensor | None = None
    is_point: Tensor | None = None
    is_keypoint: Tensor | None = None
    shapes: View | None = None


BatchSource = Callable[[int], Batch]


@dataclass(frozen=True)
class PhotoConfig(Config):
    """Warped views of photos."""

    height: int = option(192, "Height of a view, pixels", minimum=32)
    width: int = option(256, "Width of a view, pixels", minimum=32)
    view_a: HomographyConfig = field(
        default_factory=lambda: HomographyConfig(
            perspective=0.1, scale=1.25, rotation_deg=20.0, translation=0.1
        )
    )
    view_b: HomographyConfig = field(
        default_factory=lambda: HomographyConfig(
            perspective=0.2, scale=1.7, rotation_deg=40.0, translation=0.12
        )
    )
    near_share: float = option(
        0.0,
        "Share of the pairs in which the second view is near the first, as the next image of a "
        "camera that moves",
        minimum=0.0,
        maximum=1.0,
    )
    view_near: HomographyConfig = field(
        default_factory=lambda: HomographyConfig(
            perspective=0.06, scale=1.15, rotation_deg=8.0, translation=0.06
        )
    )
    near_noise: float = option(
        1.0,
        "In such pairs, the augmentation's probability times this: neighbouring images differ "
        "less, and where they do, keypoints move",
        minimum=0.0,
        maximum=1.0,
    )
    min_score: float = option(0.0, "Least score of a label that is used", minimum=0.0)
    full_score: float = option(
        0.0, "Labels with a smaller score count in proportion; 0: all count whole", minimum=0.0
    )
    max_labels: int = option(400, "Most labels per photo, best first", minimum=1)
    nms_radius_px: float = option(
        0.0,
        "In a view, labels nearer than this to a better one are dropped, pixels: a view that "
        "shrinks the photo crowds them",
        minimum=0.0,
    )
    points: int = option(256, "Correspondences per pair for the descriptor loss", minimum=8)
    keypoint_share: float = option(
        0.7, "Largest share of the correspondences that are keypoints", minimum=0.0, maximum=1.0
    )
    jitter_px: float = option(
        0.0,
        "Correspondences are off by this (standard deviation), as detections are, pixels",
        minimum=0.0,
    )
    wander: float = option(
        0.0,
        "Both views of a photo move together by up to this share of it: without, its margins are "
        "seldom seen",
        minimum=0.0,
        maximum=0.5,
    )


def splat(
    points: Array, size_hw: tuple[int, int], is_subpixel: bool, weights: Array | None = None
) -> Array:
    """Lay keypoints on the pixel grid.

    Args:
        points: (N, 2), (x, y) pixels; those outside are ignored.
        size_hw: (height, width).
        is_subpixel: Share each keypoint among its four neighbours by bilinear weights, so that
            the mean of the target is the keypoint itself; else it goes to the nearest pixel, as
            in the paper.
        weights: (N,) mass of each keypoint; None: 1.

    Returns:
        (H, W) float32, the sum of what lies on each pixel.
    """
    height, width = size_hw
    mass = np.zeros((height, width), np.float32)
    if not is_subpixel:
        points = np.rint(points)
    low = np.floor(points).astype(int)
    share = points - low
    for dx in (0, 1):
        for dy in (0, 1):
            x, y = low[:, 0] + dx, low[:, 1] + dy
            weight = np.abs(1 - dx - share[:, 0]) * np.abs(1 - dy - share[:, 1])
            weight = weight if weights is None else weight * weights
            inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
            np.add.at(mass, (y[inside], x[inside]), weight[inside])
    return mass


def shape_batches(
    shapes: ShapeConfig,
    augmentation: AugmentationConfig,
    batch_size: int,
    seed: int,
    is_subpixel: bool,
) -> BatchSource:
    """Return the source of drawn shapes: of each batch what this process makes."""
    items = own_items(batch_size)

    def make(step: int) -> Batch:
        size_hw = (shapes.height // CELL_SIZE * CELL_SIZE, shapes.width // CELL_SIZE * CELL_SIZE)
        # A process may have no share in a few drawings.
        images = np.zeros((len(items), *size_hw), np.uint8)
        masses = np.zeros((len(items), *size_hw), np.float32)
        for place, item in enumerate(items):
            rng = np.random.default_rng([seed, step, item])
            drawing = draw_shape(rng, shapes)
            image = drawing.image[: size_hw[0], : size_hw[1]]
            images[place] = augment(image, rng, augmentation)
            masses[place] = splat(drawing.corners, size_hw, is_subpixel)
        cells = (len(items), size_hw[0] // CELL_SIZE, size_hw[1] // CELL_SIZE)
        view = View(
            _to_images(images), torch.from_numpy(masses), torch.ones(cells, dtype=torch.bool)
        )
        return Batch(names=("shape",) * len(items), a=view)

    return make


def list_photos(folder: Path | str, split: str = "train") -> list[Path]:
    """Return the photos of a folder (and its subfolders) in a fixed order.

    Args:
        folder: Where to look.
        split: "train", "validation" (one in 20, chosen by the name's hash) or "all".

    Raises:
        ConfigError: There is no such folder, or no photo in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ConfigError(f"{folder}: is not a folder of photos")
    paths = sorted(path for path in _walk(folder) if path.suffix.lower() in _IMAGE_SUFFIXES)
    if not paths:
        raise ConfigError(f"{folder}: holds no photos ({', '.join(_IMAGE_SUFFIXES)})")
    if split == "all":
        return paths
    is_wanted = split == "validation"
    return [path for path in paths if is_validation(path.name) == is_wanted]


def _walk(folder: Path) -> Iterator[Path]:
    """Yield what a folder and its subfolders hold, linked ones too, each once."""
    seen = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # a link to a folder above
            folders.clear()
            continue
        seen.add(real)
        yield from (Path(place, name) for name in names)


def check_apart(images: Path | str, out: Path | str) -> None:
    """Refuse a folder of results among the photos, which would become photos, too.

    Raises:
        ConfigError: It is there.
    """
    if lies_in(out, images):
        raise ConfigError(
            f"--out {out}: lies in --images {images}: what is written there would "
            "be taken for photos; choose another folder"
        )


def is_validation(name: str) -> bool:
    """Whether the photo of this name is kept for validation."""
    return zlib.crc32(os.fsencode(name)) % _VALIDATION_SHARE == 0


def label_path(labels: Path, images: Path, photo: Path) -> Path:
    """Return where the labels of a photo are kept: the photo's path below `images`, plus .npz."""
    inside = photo.relative_to(images)
    return labels / inside.with_name(inside.name + ".npz")


def photo_crc(path: Path) -> int:
    """Return what tells a photo's file from another one of its name; 0 if it cannot be read."""
    try:
        return zlib.crc32(path.read_bytes())
    except OSError:
        return 0


def has_labels(label: Path, photo: Path) -> bool:
    """Return whether there are labels, and of this very photo.

    Damaged ones count, and so do those of older versions, which did not note the photo.
    """
    try:
        with np.load(label) as data:
            return _is_of(data, photo)
    except FileNotFoundError:
        return False
    except _DAMAGE:
        return True


def _is_of(labels: Mapping[str, Array], photo: Path) -> bool:
    return "photo_crc" not in labels or int(labels["photo_crc"]) == photo_crc(photo)


def read_photo(path: Path) -> Array | None:
    """Return a photo as (H, W) uint8; None, and a warning that names it, if it is broken.

    One with a side beyond 640 pixels is shrunk to that.
    """
    try:
        data = np.fromfile(path, np.uint8)
        image = cv2.imdecode(data, _READ_FLAGS) if len(data) else None
    except (OSError, cv2.error) as error:
        _LOG.warning("%s: skipped, cannot be read (%s)", path, error)
        return None
    if image is not None and max(image.shape) > _LONGEST_SIDE_PX:
        height, width = image.shape
        image = resize(image, fit_longer_side((height, width), _LONGEST_SIDE_PX))
    if image is None or min(image.shape) < 2 * CELL_SIZE:
        _LOG.warning("%s: skipped, not a readable photo, or too narrow", path)
        return None
    if image.max() < _NEARLY_BLACK:
        _LOG.warning("%s: is nearly black; does it hold 16 bits of which fewer are used?", path)
    return np.asarray(image)


class LabelledPhoto(NamedTuple):
    """A photo and its pseudo-labels.

    Attributes:
        name: File name.
        image: (H, W) uint8.
        points: (N, 2) pixels, best first.
        weights: (N,) in (0, 1], how much each counts.
    """

    name: str
    image: Array
    points: Array
    weights: Array


class LabelledPhotos:
    """Photos with pseudo-labels, read once and kept as uint8.

    Attributes:
        skipped: Names of the photos that could not be read, or whose labels could not; those
            without labels are left out.
    """

    def __init__(self, images: Path, labels: Path, config: PhotoConfig, split: str = "train"):
        self.skipped: list[str] = []
        self._items: list[LabelledPhoto] = []
        for path in list_photos(images, split):
            label = label_path(labels, images, path)
            if not label.is_file():
                continue
            read = _read_labels(label, path, config)
            photo = None if read is None else read_photo(path)
            if read is None or photo is None:
                self.skipped.append(path.name)
                continue
            if (read[0] > np.array(photo.shape[::-1])).any():
                raise ConfigError(
                    f"{label}: has labels beyond {path.name}, which was larger when it was "
                    f"labelled: remove {labels}"
                )
            self._items.append(LabelledPhoto(path.name, photo, *read))
        if not self._items:
            which = "" if split == "all" else f" (those to {split}: one in 20 is for validation)"
            raise ConfigError(f"{labels}: holds no labels of the photos in {images}{which}")

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> LabelledPhoto:
        return self._items[index]


def _read_labels(path: Path, photo: Path, config: PhotoConfig) -> tuple[Array, Array] | None:
    """Return points (N, 2) and weights (N,); None, and a warning, if they are damaged.

    Raises:
        ConfigError: They are of another photo.
    """
    try:
        with np.load(path) as data:
            keypoints, scores = data["keypoints"], data["scores"]
            is_of_photo = _is_of(data, photo)
    except _DAMAGE as error:
        _LOG.warning("%s: skipped, damaged labels (%s)", path, error)
        return None
    if not is_of_photo:
        raise ConfigError(
            f"{path}: has the labels of another photo of the name {photo.name}: "
            "label the photos again (train pseudo-labels, or relabel)"
        )
    keep = scores >= config.min_score
    points = keypoints[keep][: config.max_labels].astype(np.float64)
    weights = np.ones(len(points))
    if config.full_score > 0:
        weights = np.minimum(scores[keep][: config.max_labels] / config.full_score, 1.0)
    return points, weights


def photo_batches(
    photos: LabelledPhotos,
    config: PhotoConfig,
    augmentation: AugmentationConfig,
    batch_size: int,
    seed: int,
    is_subpixel: bool,
) -> BatchSource:
    """Return the source of warped pairs of photos: of each batch what this process makes.

    Both views are warped: JPEG blocks are 8x8 like the network's cells and would be learnt.
    """
    size_hw = (config.height // CELL_SIZE * CELL_SIZE, config.width // CELL_SIZE * CELL_SIZE)
    items = own_items(batch_size)

    def make(step: int) -> Batch:
        pairs = []
        for item in items:
            rng = np.random.default_rng([seed, step, item])
            # Every photo once per epoch, in a new order each time.
            position = step * batch_size + item
            epoch, place = divmod(position, len(photos))
            order = np.random.default_rng([seed, epoch]).permutation(len(photos))
            photo = photos[int(order[place])]
            pairs.append(_make_pair(photo, size_hw, config, augmentation, rng, is_subpixel))
        return Batch(
            names=tuple(pair.name for pair in pairs),
            a=_to_view([pair.a for pair in pairs]),
            b=_to_view([pair.b for pair in pairs]),
            H_b_a=_stack([pair.H_b_a for pair in pairs]),
            points_a=_stack([pair.points_a for pair in pairs]),
            points_b=_stack([pair.points_b for pair in pairs]),
            is_point=torch.from_numpy(np.stack([pair.is_point for pair in pairs])),
            is_keypoint=torch.from_numpy(np.stack([pair.is_keypoint for pair in pairs])),
        )

    return make


class _ViewItem(NamedTuple):
    image: Array
    mass: Array
    is_valid: Array


class _Pair(NamedTuple):
    name: str
    a: _ViewItem
    b: _ViewItem
    H_b_a: Array
    points_a: Array
    points_b: Array
    is_point: Array
    is_keypoint: Array


def _make_pair(
    photo: LabelledPhoto,
    size_hw: tuple[int, int],
    config: PhotoConfig,
    augmentation: AugmentationConfig,
    rng: np.random.Generator,
    is_subpixel: bool,
) -> _Pair:
    labels = photo.points
    source_hw = (photo.image.shape[0], photo.image.shape[1])
    H_a_p = sample_homography(rng, source_hw, size_hw, config.view_a)
    if config.near_share > 0 and rng.random() < config.near_share:
        H_b_p = sample_homography(rng, size_hw, size_hw, config.view_near) @ H_a_p
        probability = config.near_noise * augmentation.probability
        augmentation = dataclasses.replace(augmentation, probability=probability)
    else:
        H_b_p = sample_homography(rng, source_hw, size_hw, config.view_b)
    if rng.random() < 0.5:  # either view may be the difficult one
        H_a_p, H_b_p = H_b_p, H_a_p
    shift = np.eye(3)
    shift[:2, 2] = rng.uniform(-1, 1, 2) * config.wander * source_hw[::-1]
    H_a_p, H_b_p = H_a_p @ shift, H_b_p @ shift
    H_b_a = H_b_p @ np.linalg.inv(H_a_p)
    # Keypoints seen in both views, then evenly spread points seen in both.
    count = config.points
    seen = _seen_in_both(labels, H_a_p, H_b_p, size_hw)
    keypoints = labels[rng.permutation(np.flatnonzero(seen))[: int(count * config.keypoint_share)]]
    spread = rng.uniform(0, 1, (3 * count, 2)) * (np.array(source_hw[::-1]) - 1.0)
    spread = spread[_seen_in_both(spread, H_a_p, H_b_p, size_hw)][: count - len(keypoints)]
    points = np.concatenate([keypoints, spread])
    padded = np.zeros((2, count, 2), np.float32)
    padded[0, : len(points)] = warp_points(H_a_p, points)
    padded[1, : len(points)] = warp_points(H_b_p, points)
    padded += rng.normal(0.0, config.jitter_px, padded.shape)
    index = np.arange(count)
    return _Pair(
        name=photo.name,
        a=_make_view(photo, H_a_p, size_hw, config, augmentation, rng, is_subpixel),
        b=_make_view(photo, H_b_p, size_hw, config, augmentation, rng, is_subpixel),
        H_b_a=unit_homography(H_b_a).astype(np.float32),
        points_a=padded[0],
        points_b=padded[1],
        is_point=index < len(points),
        is_keypoint=index < len(keypoints),
    )


def _seen_in_both(points: Array, H_a_p: Array, H_b_p: Array, size_hw: tuple[int, int]) -> Array:
    border = 3.0
    seen_a = is_inside(warp_points(H_a_p, points), size_hw, border)
    return seen_a & is_inside(warp_points(H_b_p, points), size_hw, border)


def _make_view(
    photo: LabelledPhoto,
    H_v_p: Array,
    size_hw: tuple[int, int],
    config: PhotoConfig,
    augmentation: AugmentationConfig,
    rng: np.random.Generator,
    is_subpixel: bool,
) -> _ViewItem:
    image = augment(warp_image(photo.image, H_v_p, size_hw), rng, augmentation)
    points = warp_points(H_v_p, photo.points)
    inside = is_inside(points, size_hw)
    points, weights = points[inside], photo.weights[inside]
    if config.nms_radius_px > 0:
        kept = _is_best_around(points, config.nms_radius_px)
        points, weights = points[kept], weights[kept]
    mass = splat(points, size_hw, is_subpixel, weights)
    seen = valid_mask(H_v_p, (photo.image.shape[0], photo.image.shape[1]), size_hw)
    # The edge of the photo is no place for labels: the adaptation eroded it too.
    seen = cv2.erode(seen.astype(np.uint8), np.ones((9, 9), np.uint8), borderValue=1)
    cells = seen.reshape(size_hw[0] // CELL_SIZE, CELL_SIZE, size_hw[1] // CELL_SIZE, CELL_SIZE)
    return _ViewItem(image, mass, cells.min((1, 3)) > 0)


def _is_best_around(points: Array, radius: float) -> Array:
    """Return (N,) bool: which points have none before them within the radius."""
    distance = np.abs(points[:, None] - points[None]).max(2)
    return np.asarray(~np.tril(distance < radius, -1).any(1))


def _to_view(items: list[_ViewItem]) -> View:
    is_valid = torch.from_numpy(np.stack([item.is_valid for item in items]))
    return View(
        _to_images(np.stack([item.image for item in items])),
        _stack([item.mass for item in items]),
        is_valid,
    )


def _to_images(images: Array) -> Tensor:
    return torch.from_numpy(images)[:, None].float() / 255.0


def _stack(arrays: list[Array]) -> Tensor:
    return torch.from_numpy(np.stack(arrays))


class Prefetcher:
    """Makes batches ahead of the training on background threads, in order."""

    def __init__(self, source: BatchSource, threads: int = 1, ahead: int = 4):
        self._source = source
        self._threads = threads
        self._ahead = ahead

    def batches(self, first_step: int, end_step: int) -> Iterator[Batch]:
        """Yield the batches of the steps [first_step, end_step)."""
        with ThreadPoolExecutor(self._threads) as pool:
            waiting: collections.deque[Future[Batch]] = collections.deque()
            upcoming = iter(range(first_step, end_step))
            try:
                for step in upcoming:
                    waiting.append(pool.submit(self._source, step))
                    if len(waiting) > self._ahead:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()
