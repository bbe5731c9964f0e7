# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a stage of the training is: its settings, as its YAML holds them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

from superpoint_ros.config import Config, ConfigError, option
from superpoint_ros.network.superpoint import HIDDEN_LAYERS, NetworkConfig
from superpoint_ros.training.augmentation import AugmentationConfig
from superpoint_ros.training.datasets import PhotoConfig
from superpoint_ros.training.shapes import ShapeConfig

DESCRIPTOR_LOSSES = ("contrastive", "hinge", "hinge_normalised")


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
        False,
        "Learn from a teacher, another network or the mean of this one: what it finds instead of "
        "labels, its similarities",
    )
    teacher_scales: tuple[float, ...] = option(
        (1.0,),
        "Distillation: sizes at which the teacher sees a view, as shares of its sides, the full "
        "one first; what it finds is averaged",
        minimum=0.1,
        maximum=1.0,
    )
    teacher_steps: int = option(
        500,
        "Distillation without another teacher: so many steps, about, of the network's own weights "
        "are averaged to be the teacher; 0: it stays what the stage began with",
        minimum=0,
    )
    kept_share: float = option(
        0.0,
        "Share that the weights which the stage began with have in its result, a mean; needs "
        "teacher_steps: 0",
        minimum=0.0,
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
        if self.kept_share and (self.teacher_steps or not self.is_distilled):
            raise ConfigError("kept_share: needs is_distilled: true and teacher_steps: 0")
        if self.teacher_scales[:1] != (1.0,):
            raise ConfigError("teacher_scales: must begin with 1.0, the view as it is")
        if self.is_distilled and self.loss.unmatched_weight != 1.0:
            raise ConfigError(
                "is_distilled: what the teacher finds replaces labels: leave "
                "loss.unmatched_weight at 1"
            )

    def with_schedule(self, share: float) -> TrainConfig:
        """Return the stage with this share of its steps, warming up, freezing and averaging alike.

        Args:
            share: Positive, finite.
        """
        return dataclasses.replace(
            self,
            steps=max(1, round(share * self.steps)),
            warmup_steps=round(share * self.warmup_steps),
            freeze_after=round(share * self.freeze_after),
            teacher_steps=max(1, round(share * self.teacher_steps)) if self.teacher_steps else 0,
        )


def learning_rate_at(step: int, config: TrainConfig) -> float:
    """Return the rate of a step: linear rise, plateau, linear fall to zero.

    A plateau, unlike a cosine, lets a run be cut short or prolonged before its decay begins.
    """
    rise = min(1.0, (step + 1) / max(config.warmup_steps, 1))
    decay_steps = max(1, round(config.steps * config.decay_share))
    fall = min(1.0, (config.steps - step) / decay_steps)
    return config.learning_rate * min(rise, fall)
