# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""One training loop for every stage: detector on shapes, detector on photos, joint SuperPoint."""

from __future__ import annotations

import dataclasses
import json
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from superpoint_ros.config import Config, ConfigError, from_mapping, option, to_mapping
from superpoint_ros.engines.torch_engine import uses_bf16
from superpoint_ros.features.descriptors import sample_descriptors
from superpoint_ros.features.scales import mean_descriptors, mean_heatmap, shrunk_size
from superpoint_ros.files import sole_use, write_text
from superpoint_ros.network.cells import CELL_SIZE, cell_centres, logits_to_heatmap
from superpoint_ros.network.superpoint import (
    HIDDEN_LAYERS,
    DenseOutput,
    NetworkConfig,
    SuperPoint,
    fold_batch_norm,
)
from superpoint_ros.training.agreement import agreed_mass, detected_mass
from superpoint_ros.training.augmentation import AugmentationConfig
from superpoint_ros.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from superpoint_ros.training.datasets import (
    Batch,
    BatchSource,
    LabelledPhotos,
    PhotoConfig,
    Prefetcher,
    View,
    photo_batches,
    shape_batches,
)
from superpoint_ros.training.distributed import (
    items_of_all,
    join_batch_norms,
    own_items,
    process_count,
    process_rank,
    sum_gradients,
    sum_over_processes,
    wait_for_all,
)
from superpoint_ros.training.losses import (
    Detections,
    cell_cosines,
    contrastive_loss,
    damp_mass,
    detect_in_both,
    detected_correspondences,
    detector_loss,
    detector_targets,
    hinge_loss,
    is_matched,
    localization_loss,
    photo_cosines,
    refine_points,
    similarity_loss,
    warp_points_batch,
)
from superpoint_ros.training.optimizer import Optimizer
from superpoint_ros.training.shapes import ShapeConfig

_LOG = logging.getLogger(__name__)
_MAX_SKIPPED_IN_A_ROW = 20
CHECKPOINT_NAME = "last.pt"
DESCRIPTOR_LOSSES = ("contrastive", "hinge", "hinge_normalised")


class DivergenceError(RuntimeError):
    """Training that has come apart; the message says what to change."""


@dataclass(frozen=True)
class LossConfig(Config):
    """What is minimised."""

    is_subpixel: bool = option(
        True, "Labels keep their sub-pixel position; false: nearest pixel, as in the paper"
    )
    descriptor: str = option(
        "contrastive",
        "Descriptor loss: ours, the paper's, or the paper's with each term normalised",
        choices=DESCRIPTOR_LOSSES,
    )
    descriptor_weight: float = option(1.0, "Weight of the descriptor loss", minimum=0.0)
    detector_weight: float = option(3.0, "Weight of the detector's cross-entropy", minimum=0.0)
    localization_weight: float = option(
        0.03, "Weight of the distance between both views' refined keypoints", minimum=0.0
    )
    similarity_weight: float = option(
        1.0, "Distillation: weight of the teacher's similarities of descriptors", minimum=0.0
    )
    temperature: float = option(0.07, "Temperature of the contrastive loss", minimum=0.001)
    safe_radius_px: float = option(
        8.0, "Points nearer than this are no negatives, pixels", minimum=0.0
    )
    cell_negatives: bool = option(
        False,
        "Contrastive: every cell of the other view is a negative, too, also where the view shows "
        "what this one does not",
    )
    photo_negatives: bool = option(
        False,
        "Contrastive: the points of the batch's other photos are negatives, too",
    )
    detections: int = option(
        0,
        "So many keypoints that the detector finds in each view are told apart (contrastive) and "
        "drawn together, matched as they will be, in place of labels; 0: labels",
        minimum=0,
    )
    unmatched_weight: float = option(
        1.0,
        "What a label counts whose descriptor the other view cannot tell from others",
        minimum=0.0,
        maximum=1.0,
    )
    other_view_weight: float = option(
        0.0,
        "Share of a view's targets that is what the detector finds in the other view, in place of "
        "labels: labels of the next round, made on the way",
        minimum=0.0,
        maximum=1.0,
    )
    agreed_share: float = option(
        0.0,
        "Distillation: share of a view's targets that is what the teacher finds in both views, "
        "where both put it; the rest are labels. 0: the teacher's probability of every pixel",
        minimum=0.0,
        maximum=1.0,
    )
    lambda_d: float = option(250.0, "Hinge: weight of corresponding cells", minimum=0.0)
    positive_margin: float = option(1.0, "Hinge: margin of corresponding cells")
    negative_margin: float = option(0.2, "Hinge: margin of other cells")


@dataclass(frozen=True)
class TrainConfig(Config):
    """One stage of the training."""

    source: str = option("shapes", "What to train on", choices=("shapes", "photos"))
    is_joint: bool = option(False, "Train descriptors too (needs photos)")
    is_distilled: bool = option(
        False, "Learn from a teacher: what it finds instead of labels, its similarities"
    )
    teacher_scales: tuple[float, ...] = option(
        (1.0,),
        "Distillation: sizes at which the teacher sees a view, as shares of its sides, the full "
        "one first; what it finds is averaged",
        minimum=0.1,
        maximum=1.0,
    )
    steps: int = option(1000, "Optimiser steps", minimum=1)
    batch_size: int = option(16, "Images, or pairs of photos, per step", minimum=1)
    shapes_per_step: int = option(
        0, "With photos: drawn shapes of their size that the detector sees beside them", minimum=0
    )
    optimizer: str = option(
        "adamw",
        "AdamW, or Muon for the convolutions' kernels and AdamW for the rest",
        choices=("adamw", "muon"),
    )
    learning_rate: float = option(1.0e-3, "Peak learning rate", minimum=0.0)
    warmup_steps: int = option(100, "Steps of rising learning rate", minimum=0)
    decay_share: float = option(
        0.4,
        "Share of the steps, at the end, in which the rate falls to 0",
        minimum=0.0,
        maximum=1.0,
    )
    weight_decay: float = option(1.0e-5, "Decoupled weight decay", minimum=0.0)
    gradient_clip: float = option(5.0, "Largest gradient norm", minimum=0.0)
    seed: int = option(0, "Seed of weights and data", minimum=0)
    precision: str = option(
        "auto",
        "Arithmetic of the layers (losses: fp32); auto: bf16 where it is faster",
        choices=("auto", "bf16", "fp32"),
    )
    loader_threads: int = option(1, "Threads that make batches", minimum=1)
    log_every: int = option(25, "Steps between rows of the history", minimum=1)
    checkpoint_every_s: float = option(60.0, "Seconds between checkpoints", minimum=0.0)
    frozen_layers: tuple[str, ...] = option(
        (), "Layers (1a, 1b, ...) that stop learning after freeze_after steps"
    )
    freeze_after: int = option(
        0,
        "Steps after which they do: full-resolution layers take most of a CPU's time and change "
        "least",
        minimum=0,
    )
    network: NetworkConfig = field(default_factory=lambda: NetworkConfig(batch_norm=True))
    shapes: ShapeConfig = field(default_factory=ShapeConfig)
    photos: PhotoConfig = field(default_factory=PhotoConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    loss: LossConfig = field(default_factory=LossConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        unknown = sorted(set(self.frozen_layers) - set(HIDDEN_LAYERS))
        if unknown:
            raise ConfigError(f"frozen_layers: no such layers: {', '.join(unknown)}")
        if self.is_joint and self.source != "photos":
            raise ConfigError("is_joint: descriptors need source: photos")
        if self.is_distilled and not self.is_joint:
            raise ConfigError("is_distilled: needs is_joint: true")
        if self.teacher_scales[:1] != (1.0,):
            raise ConfigError("teacher_scales: must begin with 1.0, the view as it is")
        heeds_labels = self.loss.unmatched_weight != 1.0 or self.loss.other_view_weight != 0.0
        if self.is_distilled and heeds_labels:
            raise ConfigError(
                "is_distilled: what the teacher finds replaces labels: leave "
                "loss.unmatched_weight at 1 and loss.other_view_weight at 0"
            )

    def with_schedule(self, share: float) -> TrainConfig:
        """Return the stage with this share of its steps, and of those that count from its start.

        Args:
            share: Positive, finite.
        """
        return dataclasses.replace(
            self,
            steps=max(1, round(share * self.steps)),
            warmup_steps=round(share * self.warmup_steps),
            freeze_after=round(share * self.freeze_after),
        )


def make_source(config: TrainConfig, photos: LabelledPhotos | None) -> BatchSource:
    """Return what makes the batches of a stage.

    Raises:
        ConfigError: The stage needs photos and there are none, or more processes than items.
    """
    if config.batch_size < process_count():
        raise ConfigError(f"batch_size: {config.batch_size} for {process_count()} processes")
    is_subpixel = config.loss.is_subpixel
    if config.source == "shapes":
        return shape_batches(
            config.shapes, config.augmentation, config.batch_size, config.seed, is_subpixel
        )
    if photos is None:
        raise ConfigError("source: photos needs --images and labels")
    pairs = photo_batches(
        photos, config.photos, config.augmentation, config.batch_size, config.seed, is_subpixel
    )
    if not config.shapes_per_step:
        return pairs
    height, width = config.photos.height, config.photos.width
    drawings = shape_batches(
        dataclasses.replace(config.shapes, height=height, width=width),
        config.augmentation,
        config.shapes_per_step,
        config.seed,
        is_subpixel,
    )
    return lambda step: pairs(step)._replace(shapes=drawings(step).a)


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
    if config.loss.other_view_weight > 0.0:
        share, H_a_b = config.loss.other_view_weight, torch.linalg.inv(batch.H_b_a)
        masses[0] = _mix_in_detections(masses[0], b, H_a_b, share)
        masses[1] = _mix_in_detections(masses[1], a, batch.H_b_a, share)
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
    refined_a = refine_points(a.logits, batch.points_a)[0]
    refined_b = refine_points(b.logits, batch.points_b)[0]
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


@torch.no_grad()
def _mix_in_detections(
    mass: Tensor, other: DenseOutput, H_this_other: Tensor, share: float
) -> Tensor:
    """Return a view's keypoint mass, a share of it replaced by what the other view detects."""
    detected, is_seen = detected_mass(other.logits, H_this_other)
    return torch.where(is_seen, (1.0 - share) * mass + share * detected, mass)


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


def learning_rate_at(step: int, config: TrainConfig) -> float:
    """Return the rate of a step: linear rise, plateau, linear fall to zero.

    A plateau, unlike a cosine, lets a run be cut short or prolonged before its decay begins.
    """
    rise = min(1.0, (step + 1) / max(config.warmup_steps, 1))
    decay_steps = max(1, round(config.steps * config.decay_share))
    fall = min(1.0, (config.steps - step) / decay_steps)
    return config.learning_rate * min(rise, fall)


def train(
    config: TrainConfig,
    source: BatchSource,
    folder: Path,
    initial: dict[str, Any] | None = None,
    device: str = "cpu",
    stop_after: int | None = None,
    teacher: SuperPoint | None = None,
) -> Checkpoint:
    """Train one stage, or go on where `folder` left off.

    Args:
        config: Of the stage.
        source: Batches by step.
        folder: Gets `last.pt`, `history.json` and TensorBoard's events.
        initial: State dict to start from; absent keys and other shapes start fresh.
        device: Of torch.
        stop_after: Stop when so many steps are done in all, as a killed run would (tests).
        teacher: Whom `is_distilled` learns from.

    Returns:
        The last checkpoint.

    Raises:
        ConfigError: `folder` holds a run with another config, or of another length whose rate has
            begun to fall, or the teacher is missing.
        DivergenceError: Too many losses in a row were not finite.
        OSError: Another training is at work in `folder`, or nothing can be written there.
    """
    with ExitStack() as stack:
        if process_rank() == 0:  # the others belong to it
            stack.enter_context(sole_use(folder))
        return _train_alone(config, source, folder, initial, device, stop_after, teacher)


def _train_alone(
    config: TrainConfig,
    source: BatchSource,
    folder: Path,
    initial: dict[str, Any] | None,
    device: str,
    stop_after: int | None,
    teacher: SuperPoint | None,
) -> Checkpoint:
    if config.is_distilled:
        if teacher is None:
            raise ConfigError("is_distilled: there is no teacher")
        teacher = fold_batch_norm(teacher).to(device).requires_grad_(False)
        teacher.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    torch.manual_seed(config.seed)
    network = SuperPoint(config.network).to(device).train()
    join_batch_norms(network)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = Optimizer(
        network, config.learning_rate, config.weight_decay, config.optimizer == "muon"
    )
    path = folder / CHECKPOINT_NAME
    state = load_checkpoint(path)
    if state is not None:
        _check_same_config(state, config, path)
        network.load_state_dict(state.network)
        optimizer.load_state_dict(state.optimizer)
        _LOG.info("%s: resumed at step %d of %d", folder.name, state.step, config.steps)
    else:
        state = Checkpoint(config=to_mapping(config))
        if initial is not None:
            _load_initial(network, initial)
    if state.is_finished and state.step >= config.steps:
        return state
    state.is_finished = False  # or it has become longer
    state.config = to_mapping(config)
    end = min(config.steps, stop_after or config.steps)
    progress = Progress(folder.name, config.steps, state.step)
    sums: dict[str, float] = {}
    summed = skipped_in_a_row = 0
    started = saved = time.monotonic()
    wall_time_before = state.wall_time_s
    with _writer(folder) as writer:
        for batch in Prefetcher(source, config.loader_threads).batches(state.step, end):
            optimizer.set_learning_rate(learning_rate_at(state.step, config))
            if state.step >= config.freeze_after:
                _freeze(network, config.frozen_layers)
            network.zero_grad(set_to_none=True)
            batch = _to_device(batch, device)
            statistics = [buffer.clone() for buffer in network.buffers()]
            terms = compute_losses(network, batch, config, teacher)
            loss = torch.stack(list(terms.values())).sum()
            is_finite = bool(torch.isfinite(sum_over_processes(loss.detach())))
            if is_finite:
                loss.backward()  # type: ignore[no-untyped-call]
                sum_gradients(network.parameters())
                norm = torch.nn.utils.clip_grad_norm_(network.parameters(), config.gradient_clip)
                is_finite = bool(torch.isfinite(norm))
            if is_finite:
                optimizer.step()
                skipped_in_a_row = 0
                summed += 1
                for name, term in terms.items():
                    sums[name] = sums.get(name, 0.0) + float(term.detach())
            else:
                for buffer, before in zip(network.buffers(), statistics, strict=True):
                    buffer.copy_(before)  # what is not finite would stay in BatchNorm for ever
                skipped_in_a_row += 1
                state.skipped_steps.append(state.step)
                _LOG.warning(
                    "step %d skipped: its loss is not finite (%s)",
                    state.step,
                    ", ".join(batch.names),
                )
                if skipped_in_a_row >= _MAX_SKIPPED_IN_A_ROW:
                    raise DivergenceError(
                        f"{folder.name}: {skipped_in_a_row} losses in a row are not finite; "
                        "lower learning_rate"
                    )
            state.step += 1
            state.wall_time_s = wall_time_before + time.monotonic() - started
            if state.step % config.log_every == 0 or state.step == config.steps:
                row = {name: _total(v, device) / max(summed, 1) for name, v in sums.items()}
                state.history.append({"step": float(state.step), **row})
                sums, summed = {}, 0
                progress.show(state.step, row)
                for name, value in row.items():
                    if writer is not None:
                        writer.add_scalar(name, value, state.step)
                is_due = time.monotonic() - saved >= config.checkpoint_every_s
                if is_due and state.step < config.steps:
                    _save(path, state, network, optimizer)
                    saved = time.monotonic()
    state.is_finished = state.step >= config.steps
    _save(path, state, network, optimizer)
    wait_for_all()  # the next stage reads the file
    return state


def _total(value: float, device: str) -> float:
    """Return the sum of what each process has."""
    return float(sum_over_processes(torch.tensor(value, dtype=torch.float64, device=device)))


def _freeze(network: SuperPoint, layers: tuple[str, ...]) -> None:
    """Stop the learning of layers, their BatchNorm statistics included."""
    for name in layers:
        getattr(network, "conv" + name).requires_grad_(False)
        getattr(network, "bn" + name).requires_grad_(False).eval()


def _save(path: Path, state: Checkpoint, network: SuperPoint, optimizer: Optimizer) -> None:
    """Write the checkpoint and the history beside it.

    Only on a row's boundary, so that a resumed run averages the same steps into the same rows.
    """
    state.network, state.optimizer = network.state_dict(), optimizer.state_dict()
    if process_rank() != 0:
        return
    save_checkpoint(path, state)
    rows = {"history": state.history, "skipped_steps": state.skipped_steps}
    write_text(path.with_name("history.json"), json.dumps(rows))


def _check_same_config(state: Checkpoint, config: TrainConfig, path: Path) -> None:
    """Refuse to mix two trainings; what changes no result, and the length, may differ."""
    free = {"steps", "decay_share", "checkpoint_every_s", "loader_threads", "log_every"}
    # Settings that are younger than the checkpoint had their default's effect.
    old = from_mapping(TrainConfig, state.config, str(path))
    before, now = to_mapping(old), to_mapping(config)
    changed = sorted(key for key in now if key not in free and before[key] != now[key])
    if changed:
        is_schedule = set(changed) <= {"warmup_steps", "freeze_after"}
        wanted = "give the --schedule that it began with, or " if is_schedule else ""
        raise ConfigError(
            f"{path}: made with another config ({', '.join(changed)}); "
            f"{wanted}choose another --out"
        )
    if state.step >= config.steps:  # nothing is left to do
        return
    # A rate that has begun to fall must not rise again: no run of the new length would have done
    # these steps, and what the fall has settled would be undone.
    has_fallen = config.warmup_steps <= state.step and (
        learning_rate_at(state.step - 1, old) < config.learning_rate
    )
    if has_fallen and learning_rate_at(state.step, config) > learning_rate_at(state.step, old):
        raise ConfigError(
            f"{path}: {state.step} steps of {old.steps} are done and the learning rate has begun "
            f"to fall, so it cannot go on to {config.steps}: set steps: {old.steps} and "
            f"decay_share: {old.decay_share}, or choose another --out"
        )


def _load_initial(network: SuperPoint, initial: dict[str, Any]) -> None:
    own = network.state_dict()
    fitting = {k: v for k, v in initial.items() if k in own and own[k].shape == v.shape}
    network.load_state_dict({**own, **fitting})


def _to_device(batch: Batch, device: str) -> Batch:
    if device == "cpu":
        return batch

    def move(value: Any) -> Any:
        if isinstance(value, View):
            return View(*(tensor.to(device) for tensor in value))
        return value.to(device) if isinstance(value, Tensor) else value

    return Batch(*(move(value) for value in batch))


@contextmanager
def _writer(folder: Path) -> Iterator[Any]:
    """Yield a TensorBoard writer, or None where TensorBoard is not installed."""
    if process_rank() != 0:
        yield None
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        yield None
        return
    writer = SummaryWriter(str(folder))
    try:
        yield writer
    finally:
        writer.close()


class Progress:
    """Steps, losses and the time left: a bar on a terminal, a line a minute elsewhere."""

    def __init__(self, name: str, total: int, done: int = 0):
        self._name, self._total, self._first = name, total, done
        self._started = time.monotonic()
        self._shown = 0.0

    def show(self, done: int, values: dict[str, float] | None = None) -> None:
        """Show that `done` units of all are finished."""
        if process_rank() != 0:
            return
        now = time.monotonic()
        is_terminal = sys.stderr.isatty()
        is_last = done >= self._total
        if not is_last and now - self._shown < (0.2 if is_terminal else 60.0):
            return
        self._shown = now
        rate = (done - self._first) / max(now - self._started, 1e-6)
        left = (self._total - done) / max(rate, 1e-6)
        text = ", ".join(f"{name} {value:.4f}" for name, value in (values or {}).items())
        line = (
            f"{self._name}: {done}/{self._total} ({done / self._total:.0%}), {rate:.2f}/s, "
            f"{left / 60:.0f} min left, {text}"
        )
        end = "\n" if is_last or not is_terminal else ""
        print(f"\r{line:<100}" if is_terminal else line, end=end, file=sys.stderr, flush=True)
