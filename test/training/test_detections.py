# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from superpoint_ros.training.detections import detect_in_both, detected_correspondences
from superpoint_ros.training.losses import detector_targets, localization_loss


def heat_at(*points: tuple[int, int]) -> torch.Tensor:
    """Return the logits (1, 65, 8, 12) of a detector that is sure of these pixels (x, y)."""
    logits = torch.full((1, 65, 8, 12), -12.0)
    logits[:, 64] = 0.0
    for x, y in points:
        logits[0, y % 8 * 8 + x % 8, y // 8, x // 8] = 12.0
    return logits


def test_detections_correspond_to_each_other_or_to_where_they_should_be() -> None:
    shift = torch.tensor([[[1.0, 0.0, 10.0], [0.0, 1.0, 4.0], [0.0, 0.0, 1.0]]])
    # Found again 2 px beside; not found; outside b.
    a = heat_at((20, 20), (40, 30), (88, 20))
    b = heat_at((32, 24), (60, 50), (8, 20))  # the latter two only here, the last beyond a
    valid = torch.ones(1, 8, 12, dtype=torch.bool)
    found = detect_in_both((a, b), (valid, valid), shift, 10)
    points_a, points_b, is_point = detected_correspondences(found)
    assert points_a.shape == (1, 20, 2)
    pairs = torch.cat([points_a[is_point], points_b[is_point]], 1).round().int().tolist()
    assert sorted(pairs) == [[20, 20, 32, 24], [40, 30, 50, 34], [50, 46, 60, 50]]
    # What the photo does not show is nothing's counterpart.
    hidden = valid.clone()
    hidden[0, 3, 4] = False  # the cell of (32, 24)
    pairs = detected_correspondences(detect_in_both((a, b), (valid, hidden), shift, 10))
    assert sorted(pairs[0][pairs[2]][:, 0].round().int().tolist()) == [20, 40, 50]


def test_a_step_down_the_localization_loss_draws_detections_together() -> None:
    identity, valid = torch.eye(3)[None], torch.ones(1, 4, 6, dtype=torch.bool)
    mass = torch.zeros(2, 32, 48)
    mass[:, 12, 12], mass[:, 12, 13] = torch.tensor([0.7, 0.3]), torch.tensor([0.3, 0.7])
    mass[1, 25, 40] = 1.0  # only in b
    logits = (detector_targets(mass) + 1e-6).log()
    a, b = (half.requires_grad_() for half in logits.split(1))

    def distance() -> torch.Tensor:
        found = detect_in_both((a, b), (valid, valid), identity, 10)
        assert int(found.is_pair.sum()) == 1
        return localization_loss(found.points_a, found.partners, identity, found.is_pair)

    before = distance()
    assert float(before.detach()) == pytest.approx(0.4, abs=0.01)
    before.backward()
    with torch.no_grad():
        for logits in (a, b):
            assert logits.grad is not None
            logits -= 0.5 * logits.grad
    assert 0.0 < float(distance().detach()) < float(before.detach()) - 0.01
    # A keypoint without a counterpart is left alone.
    assert b.grad is not None
    assert float(b.grad[0, :, 3, 5].abs().max()) == 0.0
