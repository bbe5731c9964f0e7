# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Homographic Adaptation: labels for photos from a detector that never saw one (paper, Sec. 5).

The photo is warped many times, the detector looks at every view, and its heatmaps are warped back
and averaged where the photo was visible. The identity is always the first view.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from superpoint_ros.config import Config, ConfigError, from_mapping, option, to_mapping
from superpoint_ros.data import Array
from superpoint_ros.engines.torch_engine import uses_bf16
from superpoint_ros.evaluation.detector import measure_repeatability
from superpoint_ros.evaluation.hpatches import HomographyPair
from superpoint_ros.features.peaks import find_peaks
from superpoint_ros.files import replaced, write_json
from superpoint_ros.network.cells import CELL_SIZE, logits_to_heatmap, normalise_pixels, pixel_grid
from superpoint_ros.network.superpoint import SuperPoint, fold_batch_norm
from superpoint_ros.training.corner_votes import CornerConfig, vote
from superpoint_ros.training.datasets import (
    has_labels,
    label_path,
    list_photos,
    photo_crc,
    read_photo,
)
from superpoint_ros.training.distributed import process_count, process_rank, wait_for_all
from superpoint_ros.training.homographies import (
    HomographyConfig,
    sample_homography,
    warp_points_batch,
)
from superpoint_ros.training.progress import Progress

_LOG = logging.getLogger(__name__)
RECORD_NAME = "labels.json"
_FREE = ("batch_size", "precision", "max_photos")  # may change while photos are labelled


@dataclass(frozen=True)
class AdaptationConfig(Config):
    """How photos are labelled."""

    teacher: str = option(
        "network",
        "Who finds points in the views: the detector of the stage before, as in the paper, or a "
        "plain corner detector (milliseconds instead of a forward pass)",
        choices=("network", "corners"),
    )
    warps: int = option(100, "Views per photo, the identity included (paper: 100)", minimum=1)
    batch_size: int = option(8, "Views per forward pass", minimum=1)
    aggregation: str = option("mean", "How the views are joined", choices=("mean", "max"))
    homography: HomographyConfig = field(
        default_factory=lambda: HomographyConfig(
            perspective=0.2, scale=1.5, rotation_deg=60.0, translation=0.1
        )
    )
    erosion_px: int = option(
        5, "Detections nearer than this to the photo's edge are ignored, pixels", minimum=0
    )
    threshold: float = option(0.005, "Least aggregated probability of a label", minimum=0.0)
    nms_radius: int = option(3, "Labels are farther apart than this, pixels", minimum=1)
    max_keypoints: int = option(500, "Most labels per photo, best first", minimum=1)
    max_photos: int = option(0, "Label so many photos, picked at random; 0: all", minimum=0)
    seed: int = option(0, "Seed of the views", minimum=0)
    precision: str = option(
        "auto",
        "Arithmetic of the layers; auto: bf16 where it is faster",
        choices=("auto", "bf16", "fp32"),
    )
    corners: CornerConfig = field(default_factory=CornerConfig)


@torch.inference_mode()
def adapt(
    network: SuperPoint, image: Tensor, H_view_photo: Tensor, config: AdaptationConfig
) -> Tensor:
    """Aggregate the detector's heatmaps over views of one image.

    Args:
        network: In evaluation mode, on the image's device.
        image: (H, W) float32 in [0, 1], H and W multiples of 8.
        H_view_photo: (V, 3, 3) float32, pixels of the image to pixels of each view (of the image's
            size).
        config: Aggregation, erosion and batch size.

    Returns:
        (H, W) float32; 0 where no view saw the image.
    """
    height, width = image.shape
    size_hw = (height, width)
    device = image.device
    pixels = pixel_grid(size_hw, device).reshape(1, -1, 2)
    total = torch.zeros(size_hw, device=device)
    count = torch.zeros(size_hw, device=device)
    everywhere = torch.ones((1, 1, *size_hw), device=device)
    is_bf16 = uses_bf16(config.precision, device)
    for H_v_p in torch.split(H_view_photo, config.batch_size):
        views = len(H_v_p)
        to_photo = warp_points_batch(torch.linalg.inv(H_v_p), pixels.expand(views, -1, -1))
        source = torch.cat([image[None, None], everywhere], 1).expand(views, -1, -1, -1)
        seen = functional.grid_sample(
            source, _grid(to_photo, size_hw), padding_mode="zeros", align_corners=False
        )
        view = seen[:, :1].contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16, enabled=is_bf16):
            logits = network(view).logits
        is_seen = _erode(seen[:, 1:] > 0.999, config.erosion_px)
        heat = torch.stack([logits_to_heatmap(logits) * is_seen, is_seen], 1)
        to_view = warp_points_batch(H_v_p, pixels.expand(views, -1, -1))
        back = functional.grid_sample(
            heat, _grid(to_view, size_hw), padding_mode="zeros", align_corners=False
        )
        back[:, 1] = (back[:, 1] > 0.999).float()
        if config.aggregation == "max":
            total = torch.maximum(total, (back[:, 0] * back[:, 1]).amax(0))
        else:
            total += (back[:, 0] * back[:, 1]).sum(0)
        count += back[:, 1].sum(0)
    if config.aggregation == "max":
        return total
    return total / count.clamp(min=1.0)


def _grid(points: Tensor, size_hw: tuple[int, int]) -> Tensor:
    return normalise_pixels(points, size_hw).reshape(len(points), *size_hw, 2)


def _erode(mask: Tensor, radius: int) -> Tensor:
    """Erode (V, 1, H, W) bool by a disc; the view's own edge counts as outside. (V, H, W)."""
    steps = torch.arange(-radius, radius + 1, device=mask.device)
    disc = (steps[:, None] ** 2 + steps[None] ** 2 <= radius**2).float()[None, None]
    hidden = functional.pad((~mask).float(), (radius,) * 4, value=1.0)
    eroded: Tensor = functional.conv2d(hidden, disc).squeeze(1) < 0.5
    return eroded.float()


class Labelling(NamedTuple):
    """What `label_photos` did.

    Attributes:
        total: How many photos have labels now.
        new: How many this process labelled.
        wall_time_s: How long that took.
    """

    total: int
    new: int
    wall_time_s: float

    def __str__(self) -> str:
        """Return it in words, with the time that 1,000 photos take."""
        text = f"{self.total} photos have labels"
        if not self.new:
            return text
        per_thousand_min = self.wall_time_s / self.new * 1000.0 / 60.0
        return f"{text}, {self.new} new ones in {self.wall_time_s:.0f} s: " + (
            f"{per_thousand_min:.1f} min per 1,000"
        )


def label_photos(
    network: SuperPoint | None,
    images: Path,
    folder: Path,
    config: AdaptationConfig,
    device: str = "cpu",
    split: str = "train",
    network_sha256: str = "",
) -> Labelling:
    """Label the photos of a folder; those that have labels already are skipped.

    A photo that is another than the one labelled under its name is labelled anew.

    Several processes share the photos. How they are labelled is kept in `labels.json`, so that one
    folder holds labels of one kind.

    Args:
        network: Any detector, with or without BatchNorm; the teacher `corners` needs none.
        images: Folder of photos.
        folder: Gets one .npz per photo: keypoints (N, 2) pixels, scores (N,).
        config: How.
        device: Of torch.
        split: Which photos, see `list_photos`.
        network_sha256: Of the file that the network comes from, for `labels.json`.

    Raises:
        ConfigError: The teacher is the network, and there is none; or the folder has labels by
            other settings, or another network's and photos are missing (broken ones do not count).
        OSError: The labels cannot be written; those that are there stay.
    """
    if network is None and config.teacher == "network":
        raise ConfigError("teacher: network: there is none")
    started = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    if network is not None:
        network = fold_batch_norm(network).to(device)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    paths = list_photos(images, split)
    order = np.random.default_rng(config.seed).permutation(len(paths))
    chosen = [paths[i] for i in order[: config.max_photos or len(paths)]]
    unlabelled = {p for p in chosen if not has_labels(label_path(folder, images, p), p)}
    _keep_record(folder, config, network_sha256, unlabelled)
    # By place in the list, not among the missing: others may be writing theirs already.
    own = chosen[process_rank() :: process_count()]
    missing = [path for path in own if path in unlabelled]
    progress = Progress(folder.name, len(own), len(own) - len(missing))
    new = 0
    for index, path in enumerate(missing):
        photo = read_photo(path)
        if photo is None:
            continue
        keypoints, scores = _label(network, photo, path.name, config, device)
        _save_labels(label_path(folder, images, path), keypoints, scores, photo_crc(path))
        done = len(own) - len(missing) + index + 1
        progress.show(done, {"labels": float(len(keypoints))})
        new += 1
    wall_time_s = time.monotonic() - started
    wait_for_all()
    total = sum(label_path(folder, images, path).is_file() for path in chosen)
    return Labelling(total, new, wall_time_s)


def _keep_record(
    folder: Path, config: AdaptationConfig, network_sha256: str, unlabelled: set[Path]
) -> None:
    """Write how photos are labelled before the first is, and refuse to go on in another way."""
    path = folder / RECORD_NAME
    has_labels = any(folder.rglob("*.npz"))
    if has_labels and path.is_file():  # there was no record in older versions
        record = json.loads(path.read_text(encoding="utf-8"))
        # Settings that are younger than the record had their default's effect.
        before = to_mapping(from_mapping(AdaptationConfig, record["config"], str(path)))
        now = to_mapping(config)
        changed = [key for key in now if key not in _FREE and before[key] != now[key]]
        is_another = record["network_sha256"] != network_sha256
        # A broken photo never has labels.
        if is_another and any(read_photo(photo) is not None for photo in unlabelled):
            changed.append("the network")
        if changed:
            raise ConfigError(
                f"{folder}: has labels made with another config ({', '.join(changed)}); remove "
                "it, or choose another --out"
            )
    wait_for_all()  # all have looked before one writes
    if process_rank() == 0 and not has_labels:
        write_json(path, {"config": to_mapping(config), "network_sha256": network_sha256})


def _label(
    network: SuperPoint | None, photo: Array, name: str, config: AdaptationConfig, device: str
) -> tuple[Array, Array]:
    height = photo.shape[0] // CELL_SIZE * CELL_SIZE
    width = photo.shape[1] // CELL_SIZE * CELL_SIZE
    rng = np.random.default_rng([config.seed, *os.fsencode(name)])
    if config.teacher == "corners":
        heatmap = vote(
            photo, rng, config.warps, config.homography, config.erosion_px, config.corners
        )
        return find_peaks(heatmap, config.threshold, config.nms_radius, config.max_keypoints)
    assert network is not None
    views = [np.eye(3)]
    views += [
        sample_homography(rng, (height, width), (height, width), config.homography)
        for _ in range(config.warps - 1)
    ]
    image = torch.from_numpy(photo[:height, :width]).float().to(device) / 255.0
    H_view_photo = torch.from_numpy(np.stack(views)).float().to(device)
    heatmap = adapt(network, image, H_view_photo, config).cpu().numpy()
    return find_peaks(heatmap, config.threshold, config.nms_radius, config.max_keypoints)


def _save_labels(path: Path, keypoints: Array, scores: Array, crc: int) -> None:
    with replaced(path) as temporary, temporary.open("wb") as stream:
        np.savez(
            stream,
            keypoints=keypoints.astype(np.float32),
            scores=scores.astype(np.float32),
            photo_crc=np.uint32(crc),
        )


def measure_adaptation(
    network: SuperPoint,
    pairs: Sequence[HomographyPair],
    views: int,
    config: AdaptationConfig,
    max_keypoints: int = 300,
    device: str = "cpu",
) -> float:
    """Return how repeatable labels from so many views are, the mean over pairs (paper, Fig. 6).

    Args:
        network: In evaluation mode, without BatchNorm.
        pairs: Images with their homographies.
        views: Per image; 1 is the detector itself.
        config: Teacher, ranges and thresholds; its `warps` and `max_keypoints` do not count.
        max_keypoints: Of either image, best first.
        device: Of torch.
    """
    config = dataclasses.replace(config, warps=views, max_keypoints=max_keypoints)
    values = []
    for pair in pairs:
        points = [
            _label(network, image, f"{pair.name}/{side}", config, device)[0]
            for side, image in (("a", pair.image_a), ("b", pair.image_b))
        ]
        sizes = [(image.shape[0], image.shape[1]) for image in (pair.image_a, pair.image_b)]
        found = measure_repeatability(points[0], points[1], pair.H_b_a, sizes[0], sizes[1])
        values.append(found.repeatability)
    return float(np.mean(values))
