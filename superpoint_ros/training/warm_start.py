# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Finished weights that a stage starts from, in place of the stage before, or learns from."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from superpoint_ros.config import ConfigError
from superpoint_ros.data import Array
from superpoint_ros.files import replaced
from superpoint_ros.network.cells import CELL_SIZE
from superpoint_ros.network.superpoint import SuperPoint, unfold_batch_norm
from superpoint_ros.network.weights import file_sha256, find_weights, load_weights
from superpoint_ros.training.checkpoint import CHECKPOINT_NAME, load_checkpoint
from superpoint_ros.training.datasets import LabelledPhotos
from superpoint_ros.training.distributed import process_rank, wait_for_all

START_NAME = "start.safetensors"
TEACHER_NAME = "teacher.safetensors"
_STATISTICS_OF = 16  # photos
_LARGEST_PART_PX = 512  # of a photo's sides: 16 such parts take 3 GB, whole ones of 12 MP 150


def load_start(weights: str, folder: Path) -> SuperPoint | None:
    """Return the network that a stage starts from; None: from the stage before.

    Its file is copied into the stage's folder, where a run that is resumed, and the export's model
    card, find it.

    Args:
        weights: As for `find_weights`; empty: the copy, if there is one.
        folder: Of the stage.

    Raises:
        WeightsError: Missing or damaged.
        ConfigError: The stage has begun, and not from these weights.
    """
    copy = folder / START_NAME
    has_begun = (folder / CHECKPOINT_NAME).is_file()
    if copy.is_file() and (has_begun or not weights):
        return _load_copy(copy, weights, "started from")
    if not weights:
        return None
    if has_begun:
        raise ConfigError(
            f"{folder}: has begun without --from: leave it out, or choose another --out"
        )
    return _load_and_copy(find_weights(weights), copy)


def load_teacher(weights: str, folder: Path, default: str = "") -> SuperPoint | None:
    """Return the network that a stage learns from; None: the running mean of its own.

    Its file is copied into the stage's folder, where a run that is resumed, and the export's model
    card, find it. A stage that has begun and kept no copy, as older versions did, takes the
    teacher it is given.

    Args:
        weights: As for `find_weights`; empty: the copy, if there is one, else the default.
        folder: Of the stage.
        default: As for `find_weights`; empty: there is none.

    Raises:
        WeightsError: Missing or damaged.
        ConfigError: The stage has begun, and not with this teacher.
    """
    copy, checkpoint = folder / TEACHER_NAME, folder / CHECKPOINT_NAME
    if copy.is_file() and (checkpoint.is_file() or not weights):
        return _load_copy(copy, weights, "learns from")
    state = load_checkpoint(checkpoint)
    if state is not None and state.mean and weights:
        raise ConfigError(
            f"{folder}: has begun without --teacher: leave it out, or choose another --out"
        )
    if not (weights or default):
        return None
    return _load_and_copy(find_weights(weights or default), copy)


def _load_copy(copy: Path, weights: str, does: str) -> SuperPoint:
    """Return the network of a stage's copy; weights that are named must be the same."""
    network, card = load_weights(copy)
    if weights and file_sha256(find_weights(weights)) != card.sha256:
        raise ConfigError(f"{copy.parent}: {does} other weights; choose another --out")
    return network


def _load_and_copy(source: Path, copy: Path) -> SuperPoint:
    network, _ = load_weights(source)
    wait_for_all()  # none looks for the copy any more
    if process_rank() == 0:
        with replaced(copy) as temporary:
            shutil.copyfile(source, temporary)
    wait_for_all()
    return network


def unfold_by_photos(
    network: SuperPoint, photos: LabelledPhotos, view_hw: tuple[int, int]
) -> SuperPoint:
    """Give folded weights BatchNorm again, by the statistics of some of the photos.

    Args:
        network: With or without BatchNorm; stays as it is.
        photos: What it will be trained on; their upper left parts, of the least size, are used.
        view_hw: Height and width of the training's views; smaller photos are left out, unless all
            are.

    Returns:
        The network that `unfold_batch_norm` makes.
    """
    images = [photos[index].image for index in range(len(photos))]
    images = [i for i in images if i.shape[0] >= view_hw[0] and i.shape[1] >= view_hw[1]] or images
    places = np.linspace(0, len(images) - 1, min(_STATISTICS_OF, len(images))).astype(int)
    return unfold_batch_norm(network, _to_batch([images[int(i)] for i in places]))


def _to_batch(images: list[Array]) -> Tensor:
    """Return what images of several sizes have in common as (B, 1, H, W) in [0, 1]."""
    largest = _LARGEST_PART_PX
    height, width = (min(largest, *(image.shape[axis] for image in images)) for axis in (0, 1))
    height, width = height // CELL_SIZE * CELL_SIZE, width // CELL_SIZE * CELL_SIZE
    return torch.from_numpy(np.stack([i[:height, :width] for i in images]))[:, None].float() / 255
