# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a step minimises: the terms of one batch's loss, and what a teacher adds to them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from superpoint_ros.engines.torch_engine import uses_bf16
from superpoint_ros.features.descriptors import sample_descriptors
from superpoint_ros.features.scales import mean_descriptors, mean_heatmap, shrunk_size
from superpoint_ros.network.cells import CELL_SIZE, cell_centres, logits_to_heatmap
from superpoint_ros.network.superpoint import DenseOutput, SuperPoint
from superpoint_ros.training.agreement import agreed_mass
from superpoint_ros.training.datasets import Batch, PhotoConfig, View
from superpoint_ros.training.detections import (
    Detections,
    detect_in_both,
    detected_correspondences,
)
from superpoint_ros.training.distributed import items_of_all, own_items
from superpoint_ros.training.homographies import warp_points_batch
from superpoint_ros.training.losses import (
    cell_cosines,
    contrastive_loss,
    damp_mass,
    detector_loss,
    detector_targets,
    hinge_loss,
    is_matched,
    localization_loss,
    photo_cosines,
    refine_points,
    similarity_loss,
)
from superpoint_ros.training.stage import TrainConfig


def compute_losses(
    network: SuperPoint, batch: Batch, config: TrainConfig, teacher: SuperPoint | None = None
) -> dict[str, Tensor]:
    """Return the terms of one batch's loss by name, weights included; their sum is minimised.

    Args:
        network: In training.
        batch: Of the stage's source.
        config: Of the stage.
        teacher: In evaluation mode; for `is_distilled`.
    """
    if batch.b is None:
        output = _run(network, batch.a.images, config.precision)
        targets_a = detector_targets(batch.a.mass)
        return {"detector": detector_loss(output.logits, targets_a, batch.a.is_valid)}
    assert batch.H_b_a is not None
    # One pass over all views: BatchNorm sees them together.
    views = [view for view in (batch.a, batch.b, batch.shapes) if view is not None]
    images = torch.cat([view.images for view in views])
    a, b, *rest = _split(_run(network, images, config.precision), views)
    masses = [view.mass for view in views]
    if config.is_joint and config.loss.unmatched_weight < 1.0:
        masses[:2] = _damp_unmatched(a, b, batch, config.loss.unmatched_weight)
    taught = None
    if teacher is not None:
        taught = _teach(teacher, images[: 2 * len(batch.a.images)], config)
        masses[:2] = _taught_masses(taught, batch, config.loss.agreed_share)
    targets = [detector_targets(mass) for mass in masses]
    detector = detector_loss(a.logits, targets[0], batch.a.is_valid)
    detector = (detector + detector_loss(b.logits, targets[1], batch.b.is_valid)) / 2.0
    terms = {"detector": config.loss.detector_weight * detector}
    if batch.shapes is not None:  # each drawing counts like a view of a photo
        share = config.shapes_per_step / (2 * config.batch_size)
        on_shapes = detector_loss(rest[0].logits, targets[2], batch.shapes.is_valid)
        terms["shapes"] = config.loss.detector_weight * share * on_shapes
    found = None
    if config.loss.detections:
        valid = (batch.a.is_valid, batch.b.is_valid)
        found = detect_in_both((a.logits, b.logits), valid, batch.H_b_a, config.loss.detections)
    if config.loss.localization_weight > 0:
        distance = _localization_term(a, b, batch, found)
        terms["localization"] = config.loss.localization_weight * distance
    if config.is_joint:
        descriptor = _descriptor_term(a, b, batch, config, found)
        terms["descriptor"] = config.loss.descriptor_weight * descriptor
    if taught is not None:
        similarity = _similarity_term((a, b), taught, batch, config.teacher_scales)
        terms["similarity"] = config.loss.similarity_weight * similarity
    return terms


def _split(output: DenseOutput, views: list[View]) -> list[DenseOutput]:
    """Return what belongs to each of the views that were put into one batch."""
    counts = [len(view.images) for view in views]
    return [
        DenseOutput(*parts)
        for parts in zip(*(torch.split(part, counts) for part in output), strict=True)
    ]


def _run(network: SuperPoint, images: Tensor, precision: str) -> DenseOutput:
    """Run the layers in the precision of the stage; all that comes after is float32.

    Pixels above all: in bfloat16 a coordinate beyond 128 has no fractions.
    """
    is_bf16 = uses_bf16(precision, images.device)
    with torch.autocast(images.device.type, torch.bfloat16, enabled=is_bf16):
        output: DenseOutput = network(images.contiguous(memory_format=torch.channels_last))
    return output


def _localization_term(
    a: DenseOutput, b: DenseOutput, batch: Batch, found: Detections | None
) -> Tensor:
    assert batch.H_b_a is not None
    if found is not None:
        return localization_loss(found.points_a, found.partners, batch.H_b_a, found.is_pair)
    assert batch.points_a is not None
    assert batch.points_b is not None
    assert batch.is_keypoint is not None
    refined_a = refine_points(a.logits, batch.points_a)
    refined_b = refine_points(b.logits, batch.points_b)
    return localization_loss(refined_a, refined_b, batch.H_b_a, batch.is_keypoint)


class _Taught(NamedTuple):
    """What a teacher sees in both views of every pair, those of a first.

    Attributes:
        heatmap: (2 B, H, W) probabilities, averaged over its sizes.
        finest: (2 B, H, W) at full size.
        dense_descriptors: (2 B, D, Hc, Wc) of each size.
    """

    heatmap: Tensor
    finest: Tensor
    dense_descriptors: list[Tensor]


@torch.no_grad()
def _teach(teacher: SuperPoint, images: Tensor, config: TrainConfig) -> _Taught:
    size_hw = (images.shape[2], images.shape[3])
    outputs = []
    for scale in config.teacher_scales:
        small = functional.interpolate(images, shrunk_size(size_hw, scale), mode="area")
        outputs.append(_run(teacher, small, config.precision))
    heatmaps = [logits_to_heatmap(output.logits) for output in outputs]
    heatmap = mean_heatmap(heatmaps, config.teacher_scales, size_hw)
    return _Taught(heatmap, heatmaps[0], [output.dense_descriptors for output in outputs])


@torch.no_grad()
def _taught_masses(taught: _Taught, batch: Batch, agreed_share: float) -> list[Tensor]:
    """Return both views' keypoint mass as the detector should find it, (B, H, W) each."""
    assert batch.b is not None
    assert batch.H_b_a is not None
    heatmap_a, heatmap_b = taught.heatmap.chunk(2)
    if not agreed_share:
        return [heatmap_a, heatmap_b]
    finest_a, finest_b = taught.finest.chunk(2)
    agreed = agreed_mass((heatmap_a, heatmap_b), (finest_a, finest_b), batch.H_b_a)
    labels = (batch.a.mass, batch.b.mass)
    return [
        (1.0 - agreed_share) * label + agreed_share * mass
        for label, mass in zip(labels, agreed, strict=True)
    ]


def _similarity_term(
    ours: tuple[DenseOutput, DenseOutput],
    taught: _Taught,
    batch: Batch,
    scales: tuple[float, ...],
) -> Tensor:
    """Compare both networks' similarities of all points of view a with all points of view b."""
    assert batch.points_a is not None
    assert batch.points_b is not None
    assert batch.is_point is not None
    size_hw = (batch.a.images.shape[2], batch.a.images.shape[3])
    points = (batch.points_a, batch.points_b)
    of_teacher = zip(*(dense.chunk(2) for dense in taught.dense_descriptors), strict=True)
    a, b = (
        sample_descriptors(output.dense_descriptors, at, size_hw)
        for output, at in zip(ours, points, strict=True)
    )
    their_a, their_b = (
        mean_descriptors(dense, scales, at, size_hw)
        for dense, at in zip(of_teacher, points, strict=True)
    )
    similarity = a @ b.transpose(1, 2)
    return similarity_loss(similarity, their_a @ their_b.transpose(1, 2), batch.is_point)


@torch.no_grad()
def _damp_unmatched(
    a: DenseOutput, b: DenseOutput, batch: Batch, weight: float
) -> tuple[Tensor, Tensor]:
    """Return both views' keypoint mass, less of it where descriptors are not told apart."""
    assert batch.b is not None
    assert batch.points_a is not None
    assert batch.points_b is not None
    assert batch.is_point is not None
    assert batch.is_keypoint is not None
    size_hw = (batch.a.images.shape[2], batch.a.images.shape[3])
    of_a = sample_descriptors(a.dense_descriptors, batch.points_a, size_hw)
    of_b = sample_descriptors(b.dense_descriptors, batch.points_b, size_hw)
    matched_a = is_matched(of_a, of_b, batch.points_b, batch.is_point)
    matched_b = is_matched(of_b, of_a, batch.points_a, batch.is_point)
    is_damped = batch.is_keypoint & ~(matched_a & matched_b)
    return (
        damp_mass(batch.a.mass, batch.points_a, is_damped, weight),
        damp_mass(batch.b.mass, batch.points_b, is_damped, weight),
    )


def _descriptor_term(
    a: DenseOutput, b: DenseOutput, batch: Batch, config: TrainConfig, found: Detections | None
) -> Tensor:
    assert batch.b is not None
    assert batch.H_b_a is not None
    loss = config.loss
    height, width = batch.a.images.shape[2:]
    if loss.descriptor == "contrastive":
        return _contrastive_term(a, b, batch, config, found)
    centres = cell_centres((height, width), device=batch.a.images.device)
    flat = centres.reshape(1, -1, 2).expand(len(batch.H_b_a), -1, -1)
    mapped = warp_points_batch(batch.H_b_a, flat)
    mapped = mapped.reshape(-1, height // CELL_SIZE, width // CELL_SIZE, 2)
    return hinge_loss(
        a.dense_descriptors,
        b.dense_descriptors,
        mapped,
        centres,
        batch.b.is_valid,
        loss.lambda_d,
        loss.positive_margin,
        loss.negative_margin,
        loss.descriptor == "hinge_normalised",
    )


def _contrastive_term(
    a: DenseOutput, b: DenseOutput, batch: Batch, config: TrainConfig, found: Detections | None
) -> Tensor:
    assert batch.b is not None
    loss = config.loss
    size_hw = (batch.a.images.shape[2], batch.a.images.shape[3])
    points_a, points_b, is_point = _points_to_tell_apart(batch, config.photos, found)
    of_a = sample_descriptors(a.dense_descriptors, points_a, size_hw)
    of_b = sample_descriptors(b.dense_descriptors, points_b, size_hw)
    others_a, others_b = [], []
    if loss.cell_negatives:
        others_a.append(cell_cosines(of_b, a.dense_descriptors, points_a, batch.a.is_valid))
        others_b.append(cell_cosines(of_a, b.dense_descriptors, points_b, batch.b.is_valid))
    if loss.photo_negatives:
        photos = own_items(config.batch_size)
        is_there = items_of_all(is_point.float(), config.batch_size) > 0
        all_a, all_b = (items_of_all(of, config.batch_size) for of in (of_a, of_b))
        others_a.append(photo_cosines(of_b, all_a, is_there, photos))
        others_b.append(photo_cosines(of_a, all_b, is_there, photos))
    return contrastive_loss(
        of_a,
        of_b,
        points_b,
        is_point,
        loss.temperature,
        loss.safe_radius_px,
        torch.cat(others_a, 2) if others_a else None,
        torch.cat(others_b, 2) if others_b else None,
    )


@torch.no_grad()
def _points_to_tell_apart(
    batch: Batch, config: PhotoConfig, found: Detections | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return (B, N, 2) pixels in either view and (B, N) bool, which of them are points."""
    assert batch.points_a is not None
    assert batch.points_b is not None
    assert batch.is_point is not None
    assert batch.is_keypoint is not None
    if found is None:
        return batch.points_a, batch.points_b, batch.is_point
    detected_a, detected_b, is_detected = detected_correspondences(found)
    # Beside them so many of the evenly spread points as there would be beside labels.
    count = round(config.points * (1.0 - config.keypoint_share))
    is_spread = batch.is_point & ~batch.is_keypoint
    first = torch.argsort((~is_spread).int(), dim=1, stable=True)[:, :count]
    pixels = first[..., None].expand(-1, -1, 2)
    return (
        torch.cat([detected_a, batch.points_a.gather(1, pixels)], 1),
        torch.cat([detected_b, batch.points_b.gather(1, pixels)], 1),
        torch.cat([is_detected, is_spread.gather(1, first)], 1),
    )
