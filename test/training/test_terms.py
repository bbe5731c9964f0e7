# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Every term of the loss against what its docstring says, for views that differ in all they hold.

What the networks say is made up, so that each term can be written out beside it.
"""

import dataclasses
from typing import NamedTuple

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from superpoint_ros.features.descriptors import sample_descriptors
from superpoint_ros.features.scales import mean_descriptors, mean_heatmap
from superpoint_ros.network.cells import cell_centres, logits_to_heatmap
from superpoint_ros.network.superpoint import DenseOutput, SuperPoint
from superpoint_ros.training.agreement import agreed_mass
from superpoint_ros.training.datasets import Batch, PhotoConfig, View
from superpoint_ros.training.detections import detect_in_both, detected_correspondences
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
from superpoint_ros.training.objective import compute_losses
from superpoint_ros.training.stage import LossConfig, TrainConfig

SIZE_HW = (48, 80)
CELLS_HW = (6, 10)
POINTS = 12
SCALES = (1.0, 0.5)  # at which the teacher sees the views
LEVELS = 8  # images are of one grey level each, which tells them apart


class Known(SuperPoint):
    """Says of the image of grey level i / LEVELS what is written down at i.

    Of an image half as large it says what it says of every other cell.
    """

    def __init__(self, config: TrainConfig, said: DenseOutput):
        super().__init__(config.network)
        self.said = said

    def forward(self, images: Tensor) -> DenseOutput:
        index = (images[:, 0, 0, 0] * LEVELS).round().long()
        step = SIZE_HW[0] // images.shape[2]
        return DenseOutput(*(part[index, :, ::step, ::step] for part in self.said))


class Scene(NamedTuple):
    """Two photos in two views, three drawings, and what two networks say of them."""

    config: TrainConfig
    batch: Batch
    network: Known
    teacher: Known
    a: DenseOutput
    b: DenseOutput
    drawn: DenseOutput
    taught: DenseOutput  # of the views of a, then those of b

    def terms(self, *, is_taught: bool = False, **loss: object) -> dict[str, Tensor]:
        config = dataclasses.replace(
            self.config, loss=dataclasses.replace(self.config.loss, **loss)
        )
        return compute_losses(
            self.network, self.batch, config, self.teacher if is_taught else None
        )

    def sampled(self) -> tuple[Tensor, Tensor]:
        return self.sampled_at(self.batch.points_a, self.batch.points_b)

    def sampled_at(self, points_a: Tensor, points_b: Tensor) -> tuple[Tensor, Tensor]:
        return (
            sample_descriptors(self.a.dense_descriptors, points_a, SIZE_HW),
            sample_descriptors(self.b.dense_descriptors, points_b, SIZE_HW),
        )

    def on_views(self, mass_a: Tensor, mass_b: Tensor) -> Tensor:
        """Return the detector's loss, the mean over the two views."""
        of_a = detector_loss(self.a.logits, detector_targets(mass_a), self.batch.a.is_valid)
        of_b = detector_loss(self.b.logits, detector_targets(mass_b), self.batch.b.is_valid)
        return (of_a + of_b) / 2

    def heatmaps_of_teacher(self) -> tuple[Tensor, Tensor]:
        """Return the mean over its sizes, and the one at full size; a first, then b."""
        logits = self.taught.logits
        both = [logits_to_heatmap(logits), logits_to_heatmap(logits[..., ::2, ::2])]
        return mean_heatmap(both, SCALES, SIZE_HW), both[0]


@pytest.fixture
def scene(joint_stage: TrainConfig) -> Scene:
    """Return what differs from item to item and from view to view."""
    config = dataclasses.replace(
        joint_stage,
        batch_size=2,
        shapes_per_step=3,
        teacher_scales=SCALES,
        photos=PhotoConfig(height=48, width=80, points=POINTS, keypoint_share=0.8),
        loss=LossConfig(
            detector_weight=2.0,
            localization_weight=3.0,
            descriptor_weight=5.0,
            similarity_weight=7.0,
            temperature=0.2,
        ),
    )
    generator = torch.Generator().manual_seed(1)

    def view(levels: list[int]) -> View:
        images = torch.tensor(levels)[:, None, None, None] / LEVELS
        mass = 0.04 * torch.rand((len(levels), *SIZE_HW), generator=generator)
        is_valid = torch.rand((len(levels), *CELLS_HW), generator=generator) > 0.3
        return View(images.expand(-1, -1, *SIZE_HW), mass, is_valid)

    H_b_a = torch.tensor(
        [
            [[1.1, 0.1, -6.0], [-0.05, 0.9, 5.0], [0.0005, 0.0003, 1.0]],
            [[0.9, -0.15, 8.0], [0.1, 1.05, -6.0], [0.0, 0.0004, 1.0]],
        ]
    )

    def said(size: int) -> DenseOutput:
        """Descriptors of b are those of a where H_b_a puts them, and some noise."""
        logits = 2.0 * torch.randn((7, 65, *CELLS_HW), generator=generator)
        dense = torch.randn((7, size, *CELLS_HW), generator=generator)
        there = cell_centres(SIZE_HW).reshape(1, -1, 2).expand(2, -1, -1)
        there = warp_points_batch(torch.linalg.inv(H_b_a), there)
        of_a = sample_descriptors(dense[:2], there, SIZE_HW).transpose(1, 2)
        dense[2:4] = of_a.reshape(2, size, *CELLS_HW) + 0.2 * dense[2:4]
        return DenseOutput(logits, functional.normalize(dense, dim=1))

    ours, theirs = said(6), said(9)
    corner, extent = torch.tensor([10.0, 8.0]), torch.tensor([60.0, 32.0])
    points_a = corner + extent * torch.rand((2, POINTS, 2), generator=generator)
    index = torch.arange(POINTS)
    batch = Batch(
        names=("p0", "p1"),
        a=view([0, 1]),
        b=view([2, 3]),
        H_b_a=H_b_a,
        points_a=points_a,
        points_b=warp_points_batch(H_b_a, points_a),
        is_point=torch.stack([index < 11, index < 9]),
        is_keypoint=torch.stack([index < 6, index < 5]),
        shapes=view([4, 5, 6]),
    )
    return Scene(
        config,
        batch,
        network=Known(config, ours),
        teacher=Known(config, theirs),
        a=DenseOutput(*(part[:2] for part in ours)),
        b=DenseOutput(*(part[2:4] for part in ours)),
        drawn=DenseOutput(*(part[4:] for part in ours)),
        taught=DenseOutput(*(part[:4] for part in theirs)),
    )


def test_terms_are_positive_and_in_proportion_to_their_weights(scene: Scene) -> None:
    weights = ("detector_weight", "localization_weight", "descriptor_weight", "similarity_weight")
    terms = scene.terms(is_taught=True)
    doubled = scene.terms(
        is_taught=True, **{name: 2.0 * getattr(scene.config.loss, name) for name in weights}
    )
    assert sorted(terms) == ["descriptor", "detector", "localization", "shapes", "similarity"]
    for name, term in terms.items():
        assert float(term) > 0.01
        assert float(doubled[name]) == pytest.approx(2.0 * float(term), rel=1e-6)


def test_detector_learns_each_view_from_its_own_labels(scene: Scene) -> None:
    batch, terms = scene.batch, scene.terms()
    expected = 2.0 * scene.on_views(batch.a.mass, batch.b.mass)
    torch.testing.assert_close(terms["detector"], expected)
    # Three drawings beside four views.
    targets = detector_targets(batch.shapes.mass)
    drawn = detector_loss(scene.drawn.logits, targets, batch.shapes.is_valid)
    torch.testing.assert_close(terms["shapes"], 2.0 * 0.75 * drawn)


def test_labels_must_be_matched_both_ways_to_count_whole(scene: Scene) -> None:
    batch = scene.batch
    of_a, of_b = scene.sampled()
    there = is_matched(of_a, of_b, batch.points_b, batch.is_point)
    back = is_matched(of_b, of_a, batch.points_a, batch.is_point)
    for kind in (there & back, there & ~back, ~there & back):
        assert (kind & batch.is_keypoint).any()
    is_damped = batch.is_keypoint & ~(there & back)
    expected = 2.0 * scene.on_views(
        damp_mass(batch.a.mass, batch.points_a, is_damped, 0.25),
        damp_mass(batch.b.mass, batch.points_b, is_damped, 0.25),
    )
    torch.testing.assert_close(scene.terms(unmatched_weight=0.25)["detector"], expected)


def test_localization_compares_where_each_view_puts_the_labels(scene: Scene) -> None:
    batch = scene.batch
    in_a = refine_points(scene.a.logits, batch.points_a)
    in_b = refine_points(scene.b.logits, batch.points_b)
    expected = 3.0 * localization_loss(in_a, in_b, batch.H_b_a, batch.is_keypoint)
    torch.testing.assert_close(scene.terms()["localization"], expected)


@pytest.mark.parametrize("has_photos", [False, True])
@pytest.mark.parametrize("has_cells", [False, True])
def test_points_are_told_from_what_else_is_in_the_other_view(
    scene: Scene, has_cells: bool, has_photos: bool
) -> None:
    batch = scene.batch
    of_a, of_b = scene.sampled()
    in_a, in_b = [torch.full((2, POINTS, 1), -1e4)], [torch.full((2, POINTS, 1), -1e4)]
    if has_cells:
        dense_a, dense_b = scene.a.dense_descriptors, scene.b.dense_descriptors
        in_a.append(cell_cosines(of_b, dense_a, batch.points_a, batch.a.is_valid))
        in_b.append(cell_cosines(of_a, dense_b, batch.points_b, batch.b.is_valid))
    if has_photos:
        in_a.append(photo_cosines(of_b, of_a, batch.is_point, range(2)))
        in_b.append(photo_cosines(of_a, of_b, batch.is_point, range(2)))
    expected = 5.0 * contrastive_loss(
        of_a,
        of_b,
        batch.points_b,
        batch.is_point,
        0.2,
        8.0,
        torch.cat(in_a, 2),
        torch.cat(in_b, 2),
    )
    terms = scene.terms(cell_negatives=has_cells, photo_negatives=has_photos)
    torch.testing.assert_close(terms["descriptor"], expected)


def test_detections_are_told_apart_beside_points_that_are_no_labels(scene: Scene) -> None:
    batch = scene.batch
    valid = (batch.a.is_valid, batch.b.is_valid)
    found = detect_in_both((scene.a.logits, scene.b.logits), valid, batch.H_b_a, 20)
    assert found.is_pair.any()
    pixels_a, pixels_b, is_detected = detected_correspondences(found)
    # A fifth of twelve points: the first two after six labels, and after five.
    spread = torch.tensor([[6, 7], [5, 6]])
    item = torch.arange(2)[:, None]
    points_a = torch.cat([pixels_a, batch.points_a[item, spread]], 1)
    points_b = torch.cat([pixels_b, batch.points_b[item, spread]], 1)
    is_point = torch.cat([is_detected, torch.ones(2, 2, dtype=torch.bool)], 1)
    of_a, of_b = scene.sampled_at(points_a, points_b)
    terms = scene.terms(detections=20)
    expected = 5.0 * contrastive_loss(of_a, of_b, points_b, is_point, 0.2, 8.0)
    torch.testing.assert_close(terms["descriptor"], expected)
    distance = localization_loss(found.points_a, found.partners, batch.H_b_a, found.is_pair)
    torch.testing.assert_close(terms["localization"], 3.0 * distance)


@pytest.mark.parametrize("kind", ["hinge", "hinge_normalised"])
def test_hinge_compares_cells_where_the_homography_puts_them(scene: Scene, kind: str) -> None:
    batch, centres = scene.batch, cell_centres(SIZE_HW)
    there = warp_points_batch(batch.H_b_a, centres.reshape(1, -1, 2).expand(2, -1, -1))
    expected = 5.0 * hinge_loss(
        scene.a.dense_descriptors,
        scene.b.dense_descriptors,
        there.reshape(2, *CELLS_HW, 2),
        centres,
        batch.b.is_valid,
        lambda_d=9.0,
        positive_margin=0.9,
        negative_margin=0.1,
        is_normalised=kind == "hinge_normalised",
    )
    terms = scene.terms(descriptor=kind, lambda_d=9.0, positive_margin=0.9, negative_margin=0.1)
    torch.testing.assert_close(terms["descriptor"], expected)


def test_a_teacher_gives_each_view_its_heatmap_and_its_similarities(scene: Scene) -> None:
    batch, terms = scene.batch, scene.terms(is_taught=True)
    heatmap_a, heatmap_b = scene.heatmaps_of_teacher()[0].chunk(2)
    torch.testing.assert_close(terms["detector"], 2.0 * scene.on_views(heatmap_a, heatmap_b))
    of_a, of_b = scene.sampled()
    dense = scene.taught.dense_descriptors
    points = torch.cat([batch.points_a, batch.points_b])
    theirs = mean_descriptors((dense, dense[..., ::2, ::2]), SCALES, points, SIZE_HW)
    their_a, their_b = theirs.chunk(2)
    similarities = of_a @ of_b.transpose(1, 2), their_a @ their_b.transpose(1, 2)
    expected = 7.0 * similarity_loss(*similarities, batch.is_point)
    torch.testing.assert_close(terms["similarity"], expected)


def test_a_share_of_the_targets_is_what_a_teacher_finds_in_both_views(scene: Scene) -> None:
    batch = scene.batch
    heatmap, finest = (each.chunk(2) for each in scene.heatmaps_of_teacher())
    agreed_a, agreed_b = agreed_mass(heatmap, finest, batch.H_b_a)
    expected = 2.0 * scene.on_views(
        0.3 * batch.a.mass + 0.7 * agreed_a, 0.3 * batch.b.mass + 0.7 * agreed_b
    )
    terms = scene.terms(is_taught=True, agreed_share=0.7)
    torch.testing.assert_close(terms["detector"], expected)
