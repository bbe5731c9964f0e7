# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
import dataclasses
from collections.abc import Callable

import pytest
import torch

from superpoint_ros.config import ConfigError
from superpoint_ros.network.superpoint import SuperPoint
from superpoint_ros.training.datasets import LabelledPhotos
from superpoint_ros.training.objective import compute_losses
from superpoint_ros.training.stage import LossConfig, TrainConfig
from superpoint_ros.training.trainer import make_source

TermsWith = Callable[..., dict[str, float]]


def test_a_teacher_shows_where_both_views_agree_at_several_sizes(
    photos: LabelledPhotos, joint_stage: TrainConfig
) -> None:
    config = dataclasses.replace(
        joint_stage,
        is_distilled=True,
        teacher_scales=(1.0, 0.5),
        loss=LossConfig(agreed_share=0.9),
    )
    torch.manual_seed(1)
    teacher, network = (SuperPoint(joint_stage.network).eval() for _ in range(2))
    batch = make_source(config, photos)(0)
    terms = compute_losses(network, batch, config, teacher)
    a = batch.a._replace(mass=torch.zeros_like(batch.a.mass))
    unlabelled = compute_losses(network, batch._replace(a=a), config, teacher)
    assert not torch.equal(terms["detector"], unlabelled["detector"])  # a tenth is labels
    one_size = dataclasses.replace(config, teacher_scales=(1.0,))
    alone = compute_losses(network, batch, one_size, teacher)
    for name in ("detector", "similarity"):
        assert not torch.equal(terms[name], alone[name])
    # At one size a teacher has no similarities to teach itself.
    itself = compute_losses(teacher, batch, one_size, teacher)
    assert itself["similarity"].item() < 1e-9
    for scales in ((), (0.5, 1.0)):
        with pytest.raises(ConfigError, match="teacher_scales"):
            dataclasses.replace(config, teacher_scales=scales)


@pytest.fixture
def terms_with(photos: LabelledPhotos, joint_stage: TrainConfig) -> TermsWith:
    """Return the terms of the same batch and the same untrained network with other settings."""
    batch = make_source(joint_stage, photos)(0)

    def compute(
        *, precision: str = "fp32", is_training: bool = False, **loss: float
    ) -> dict[str, float]:
        config = dataclasses.replace(joint_stage, precision=precision, loss=LossConfig(**loss))
        torch.manual_seed(0)
        network = SuperPoint(joint_stage.network).train(is_training)
        terms = compute_losses(network, batch, config)
        return {name: float(term.detach()) for name, term in terms.items()}

    return compute


def test_labels_that_are_not_matched_count_less(terms_with: TermsWith) -> None:
    whole, damped = (terms_with(unmatched_weight=w, is_training=True) for w in (1.0, 0.0))
    # An untrained network matches next to nothing: the targets lose keypoints, only they do.
    assert damped["detector"] != pytest.approx(whole["detector"], rel=1e-4)
    assert damped["descriptor"] == pytest.approx(whole["descriptor"], rel=1e-4)


def test_cells_of_the_other_view_are_more_to_be_told_from(terms_with: TermsWith) -> None:
    few, many = terms_with(), terms_with(cell_negatives=True)
    assert many["descriptor"] > few["descriptor"] + 0.01
    assert many["detector"] == few["detector"]


def test_other_photos_of_the_batch_are_more_to_be_told_from(terms_with: TermsWith) -> None:
    few, many = terms_with(), terms_with(photo_negatives=True)
    assert many["descriptor"] > few["descriptor"] + 0.01
    assert many["detector"] == few["detector"]


def test_detections_take_the_place_of_labels_but_for_the_detector(terms_with: TermsWith) -> None:
    labels, detections = terms_with(), terms_with(detections=20)
    for name in ("descriptor", "localization"):
        assert detections[name] != pytest.approx(labels[name], rel=1e-3)
    assert detections["detector"] == labels["detector"]


def test_pixels_stay_float32_when_the_layers_are_not(terms_with: TermsWith) -> None:
    # What is left of the difference is the layers'; in bfloat16 pixels are off by up to a half.
    exact, fast = (terms_with(precision=each)["localization"] for each in ("fp32", "bf16"))
    assert fast == pytest.approx(exact, rel=0.02)


def test_detector_stage_has_one_term(stage: TrainConfig) -> None:
    network = SuperPoint(stage.network)
    terms = compute_losses(network, make_source(stage, None)(0), stage)
    assert list(terms) == ["detector"]
