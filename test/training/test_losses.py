# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch
from torch.nn import functional

from superpoint_ros.network.cells import cell_centres
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


def literal_hinge(dense_a, dense_b, centres_b_of_a, centres_b, valid, lambda_d, m_p, m_n):
    """The paper's Eq. 4 to 6, one pair of cells at a time, float64."""
    total, count, parts = 0.0, 0, {True: [], False: []}
    batch, _, rows, columns = dense_a.shape
    for n in range(batch):
        for i in range(rows):
            for j in range(columns):
                for k in range(rows):
                    for m in range(columns):
                        if not valid[n, k, m]:
                            continue
                        distance = math.dist(
                            centres_b_of_a[n, i, j].tolist(), centres_b[k, m].tolist()
                        )
                        dot = float(dense_a[n, :, i, j] @ dense_b[n, :, k, m])
                        is_pair = distance <= 8.0
                        positive, negative = max(0.0, m_p - dot), max(0.0, dot - m_n)
                        total += lambda_d * positive if is_pair else negative
                        parts[is_pair].append(positive if is_pair else negative)
                        count += 1
    normalised = sum(sum(part) / max(len(part), 1) for part in parts.values())
    return total / count, normalised


@pytest.mark.parametrize("is_normalised", [False, True])
def test_hinge_equals_the_literal_sum_over_all_pairs(is_normalised: bool) -> None:
    generator = torch.Generator().manual_seed(1)
    shape = (2, 5, 3, 4)  # 24 x 32 pixels
    dense_a = functional.normalize(torch.randn(shape, generator=generator), dim=1).double()
    dense_b = functional.normalize(torch.randn(shape, generator=generator), dim=1).double()
    centres = cell_centres((24, 32))
    H = torch.tensor([[[1.1, 0.1, -3.0], [-0.1, 0.9, 4.0], [0.001, 0.0, 1.0]]]).expand(2, -1, -1)
    mapped = warp_points_batch(H, centres.reshape(1, -1, 2).expand(2, -1, -1))
    mapped = mapped.reshape(2, 3, 4, 2)
    valid = torch.rand((2, 3, 4), generator=generator) > 0.3
    expected = literal_hinge(dense_a, dense_b, mapped, centres, valid, 250.0, 1.0, 0.2)
    actual = hinge_loss(
        dense_a, dense_b, mapped, centres, valid, 250.0, 1.0, 0.2, is_normalised=is_normalised
    )
    assert float(actual) == pytest.approx(expected[int(is_normalised)], rel=1e-5)


def test_detector_loss_is_log_65_without_knowledge_and_counts_valid_cells_only() -> None:
    mass = torch.zeros(1, 16, 24)
    mass[0, 9, 18] = 1.0
    targets = detector_targets(mass)
    assert targets.shape == (1, 65, 2, 3)
    assert int(targets[0, :, 1, 2].argmax()) == 8 * 1 + 2
    assert bool((targets[0, 64] == torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]])).all())
    valid = torch.ones(1, 2, 3, dtype=torch.bool)
    logits = torch.zeros(1, 65, 2, 3)
    assert float(detector_loss(logits, targets, valid)) == pytest.approx(math.log(65))
    logits[0, 64, 0] = 50.0  # right for the first row of cells
    valid[0, 1] = False
    assert float(detector_loss(logits, targets, valid)) == pytest.approx(0.0, abs=1e-4)
    assert float(detector_loss(logits, targets, torch.zeros_like(valid))) == 0.0


def test_targets_of_a_crowded_cell_still_sum_to_one() -> None:
    mass = torch.zeros(1, 8, 16)
    mass[0, 1, 1] = mass[0, 5, 6] = 1.0
    targets = detector_targets(mass)
    torch.testing.assert_close(targets.sum(1), torch.ones(1, 1, 2))
    assert float(targets[0, 8 * 5 + 6, 0, 0]) == pytest.approx(0.5)


def test_contrastive_loss_of_orthogonal_descriptors_is_known() -> None:
    count, temperature = 4, 0.5
    descriptors = torch.eye(count)[None]
    points = torch.arange(count)[None, :, None] * torch.tensor([100.0, 0.0])
    valid = torch.ones(1, count, dtype=torch.bool)
    expected = math.log(1 + (count - 1) * math.exp(-1 / temperature))
    loss = contrastive_loss(descriptors, descriptors, points, valid, temperature, 8.0)
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    # All within the safe radius: no negatives are left.
    near = contrastive_loss(descriptors, descriptors, points * 0.001, valid, temperature, 8.0)
    assert float(near) == pytest.approx(0.0, abs=1e-6)
    # Padding changes nothing.
    valid[0, 3] = False
    fewer = math.log(1 + (count - 2) * math.exp(-1 / temperature))
    padded = contrastive_loss(descriptors, descriptors, points, valid, temperature, 8.0)
    assert float(padded) == pytest.approx(fewer, rel=1e-5)


def test_contrastive_loss_tells_points_apart_both_ways() -> None:
    # The first point of a looks like both of b, the second like none: ways differ in what is hard.
    of_a, of_b = torch.eye(2)[None], torch.tensor([[[1.0, 0.0], [0.8, 0.6]]])
    points = torch.tensor([[[0.0, 0.0], [100.0, 0.0]]])
    valid = torch.ones(1, 2, dtype=torch.bool)
    temperature = 0.5

    def entropy(right: float, wrong: float) -> float:
        return math.log(1.0 + math.exp((wrong - right) / temperature))

    # Cosines with the points of b: 1 and 0.8 of a's first, 0 and 0.6 of its second.
    forward = entropy(1.0, 0.8) + entropy(0.6, 0.0)
    backward = entropy(1.0, 0.0) + entropy(0.6, 0.8)
    loss = contrastive_loss(of_a, of_b, points, valid, temperature, 8.0)
    assert float(loss) == pytest.approx((forward + backward) / 4.0, rel=1e-5)


def test_contrastive_loss_counts_what_else_is_in_the_other_view() -> None:
    count, temperature = 4, 0.5
    descriptors = torch.eye(count)[None]
    points = torch.arange(count)[None, :, None] * torch.tensor([100.0, 0.0])
    valid = torch.ones(1, count, dtype=torch.bool)
    near, nothing = torch.full((1, count, 3), 0.8), torch.full((1, count, 5), -1e4)
    others = math.exp(-1 / temperature) * (count - 1)
    forward = math.log(1 + others + 3 * math.exp(-0.2 / temperature))
    loss = contrastive_loss(
        descriptors, descriptors, points, valid, temperature, 8.0, others_a=nothing, others_b=near
    )
    assert float(loss) == pytest.approx((forward + math.log(1 + others)) / 2, rel=1e-5)


def test_cosines_with_cells_leave_out_the_point_itself_and_what_is_not_valid() -> None:
    generator = torch.Generator().manual_seed(2)
    dense = functional.normalize(torch.randn((2, 6, 3, 4), generator=generator), dim=1)
    descriptors = functional.normalize(torch.randn((2, 2, 6), generator=generator), dim=2)
    points = torch.tensor([[[3.5, 3.5], [15.5, 11.0]], [[-50.0, 0.0], [27.5, 19.5]]])
    is_valid = torch.ones(2, 3, 4, dtype=torch.bool)
    is_valid[0, 2, 1] = False
    cosines = cell_cosines(descriptors, dense, points, is_valid)
    for n in range(2):
        for i in range(2):
            for row in range(3):
                for column in range(4):
                    centre = (8 * column + 3.5, 8 * row + 3.5)
                    is_near = math.dist(centre, points[n, i].tolist()) < 8.0
                    expected = float(descriptors[n, i] @ dense[n, :, row, column])
                    if is_near or not is_valid[n, row, column]:
                        expected = -1e4
                    value = float(cosines[n, i, 4 * row + column])
                    assert value == pytest.approx(expected, abs=1e-5)
    # A cell's neighbours, 8 pixels away, are others; two cells share (15.5, 11).
    assert (cosines < -1).sum(2).tolist() == [[2, 3], [0, 1]]


def test_cosines_with_other_photos_leave_out_the_photo_itself_and_what_is_not_valid() -> None:
    torch.manual_seed(0)
    of_all = functional.normalize(torch.randn(3, 5, 8), dim=2)
    own = functional.normalize(torch.randn(2, 4, 8), dim=2)
    is_valid = torch.ones(3, 5, dtype=torch.bool)
    is_valid[2, 1] = False
    photos = range(0, 3, 2)  # the first of two processes has photos 0 and 2 of 3
    cosines = photo_cosines(own, of_all, is_valid, photos)
    assert cosines.shape == (2, 4, 15)
    for place, photo in enumerate(photos):
        for point in range(4):
            for other in range(3):
                for theirs in range(5):
                    cosine = float(own[place, point] @ of_all[other, theirs])
                    counts = other != photo and bool(is_valid[other, theirs])
                    expected = cosine if counts else -1.0e4
                    found = float(cosines[place, point, 5 * other + theirs])
                    assert found == pytest.approx(expected, abs=1e-6)


def test_a_point_is_matched_if_the_nearest_descriptor_lies_near_the_right_place() -> None:
    of_b = torch.eye(4)[None]
    points_b = torch.tensor([[[10.0, 10.0], [12.0, 10.0], [50.0, 10.0], [90.0, 10.0]]])
    is_valid = torch.tensor([[True, True, True, False]])
    # 0 finds its neighbour 2 pixels away, 1 itself, 2 a place 38 pixels off; 3 is padding.
    of_a = torch.eye(4)[None, [1, 1, 1, 3]]
    assert is_matched(of_a, of_b, points_b, is_valid).tolist() == [[True, True, False, False]]
    # What is nearest by far is padding: it does not count.
    of_a = functional.normalize(torch.eye(4)[None] + 5.0 * torch.eye(4)[3], dim=2)
    assert is_matched(of_a, of_b, points_b, is_valid).tolist() == [[True, True, True, False]]


def test_damped_keypoints_keep_a_share_of_their_mass_and_others_all() -> None:
    mass = torch.zeros(1, 16, 16)
    mass[0, 4, 4], mass[0, 4, 5] = 0.6, 0.4
    mass[0, 0, 15] = 1.0
    mass[0, 10, 10] = 1.0
    points = torch.tensor([[[4.4, 4.0], [15.2, -0.3], [10.0, 10.0]]])
    left = damp_mass(mass, points, torch.tensor([[True, True, False]]), 0.25)
    expected = mass.clone()
    expected[0, 4, 4], expected[0, 4, 5], expected[0, 0, 15] = 0.15, 0.1, 0.25
    torch.testing.assert_close(left, expected)
    # Two damped points whose windows overlap damp once.
    twice = damp_mass(mass, points[:, [0, 0]], torch.ones(1, 2, dtype=torch.bool), 0.25)
    assert float(twice[0, 4, 4]) == pytest.approx(0.15)


def test_refinement_finds_a_sub_pixel_target_and_its_distance_to_the_other_view() -> None:
    mass = torch.zeros(1, 16, 32)
    mass[0, 9, 20], mass[0, 9, 21] = 0.7, 0.3
    logits = (detector_targets(mass) + 1e-9).log()
    refined = refine_points(logits, torch.tensor([[[20.0, 9.0]]]))
    torch.testing.assert_close(refined, torch.tensor([[[20.3, 9.0]]]), atol=1e-3, rtol=0)
    H = torch.tensor([[[1.0, 0, 2.0], [0, 1.0, 1.0], [0, 0, 1.0]]])
    other = torch.tensor([[[22.3, 11.0]]])
    loss = localization_loss(refined, other, H, torch.ones(1, 1, dtype=torch.bool))
    assert float(loss) == pytest.approx(1.0, abs=2e-3)


def test_localization_leaves_out_distances_beyond_the_limit() -> None:
    in_a = torch.zeros(1, 3, 2)
    in_b = torch.tensor([[[2.0, 0.0], [3.0, 4.0], [0.0, 1.0]]])  # 2 px, 5 px; the last is padding
    H, valid = torch.eye(3)[None], torch.tensor([[True, True, False]])
    loss = localization_loss(in_a, in_b, H, valid, limit_px=3.0)
    assert float(loss) == pytest.approx(2.0, abs=1e-3)
    loss = localization_loss(in_a, in_b, H, valid, limit_px=6.0)
    assert float(loss) == pytest.approx(3.5, abs=1e-3)


def test_similarities_are_compared_where_both_points_are_valid() -> None:
    ours = torch.tensor([[[1.0, 0.5, 9.0], [0.0, 1.0, 9.0], [9.0, 9.0, 9.0]]])
    theirs = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 0.5, 0.0], [0.0, 0.0, 0.0]]])
    is_valid = torch.tensor([[True, True, False]])
    assert float(similarity_loss(ours, theirs, is_valid)) == pytest.approx(0.5 / 2)
    assert float(similarity_loss(ours, theirs, torch.zeros_like(is_valid))) == 0.0
