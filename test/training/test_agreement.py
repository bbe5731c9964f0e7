# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch
from torch import Tensor

from superpoint_ros.training.agreement import agreed_mass, lay_mass

SIZE_HW = (64, 96)


def heatmap(*points: tuple[float, float, float]) -> Tensor:
    """Probabilities of (x, y, mass), (1, H, W)."""
    mass, xy = torch.tensor([[p[2] for p in points]]), torch.tensor([[p[:2] for p in points]])
    return lay_mass(mass, xy, SIZE_HW)


def around(mass: Tensor, x: float, y: float, radius: int = 3) -> tuple[float, float, float]:
    """Mass and its mean x and y in a window."""
    left, top = round(x) - radius, round(y) - radius
    window = mass[0, top : top + 2 * radius + 1, left : left + 2 * radius + 1]
    ys, xs = torch.meshgrid(torch.arange(len(window)), torch.arange(len(window)), indexing="ij")
    total = float(window.sum())
    return (
        total,
        left + float((window * xs).sum()) / total,
        top + float((window * ys).sum()) / total,
    )


def test_what_both_views_find_counts_halfway_and_less_the_farther_apart() -> None:
    # b shows a moved by (6, 2); it finds the first point 0.4 pixels to the right of it.
    a = heatmap((30.0, 20.0, 0.81), (60.0, 30.0, 0.5), (91.0, 40.0, 0.6))
    b = heatmap((36.4, 22.0, 0.49), (40.0, 50.0, 0.4))
    H_b_a = torch.tensor([[[1.0, 0.0, 6.0], [0.0, 1.0, 2.0], [0.0, 0.0, 1.0]]])
    in_a, in_b = agreed_mass((a, b), (a, b), H_b_a, power=1.0, sigma_px=1.5, alone=0.3)
    apart = 0.4**2 / (0.4**2 + 0.6**2)  # both heatmaps in one: the nearer pixel counts more
    fade = math.exp(-(apart**2) / (2 * 1.5**2))
    assert around(in_a, 30, 20) == pytest.approx((fade * 0.63, 30.0 + apart / 2, 20.0), abs=1e-3)
    assert around(in_b, 36, 22) == pytest.approx((fade * 0.63, 36.0 + apart / 2, 22.0), abs=1e-3)
    # Found by one view only: little, in both.
    assert around(in_a, 60, 30) == pytest.approx((0.3 * 0.5, 60.0, 30.0), abs=1e-3)
    assert around(in_b, 66, 32) == pytest.approx((0.3 * 0.5, 66.0, 32.0), abs=1e-3)
    assert around(in_a, 34, 48) == pytest.approx((0.3 * 0.4, 34.0, 48.0), abs=1e-3)
    # b cannot show the last point of a: nothing is known against it.
    assert around(in_a, 90, 40, radius=2)[0] == pytest.approx(0.6, abs=1e-3)


def test_points_more_than_three_pixels_apart_do_not_agree() -> None:
    a, b = heatmap((30.0, 20.0, 1.0)), heatmap((34.0, 20.0, 1.0))
    in_a, _ = agreed_mass((a, b), (a, b), torch.eye(3)[None], alone=0.0)
    assert float(in_a.sum()) == 0.0
    # In a view half as large they are two pixels apart.
    b = heatmap((17.0, 10.0, 1.0))
    in_a, _ = agreed_mass((a, b), (a, b), torch.diag(torch.tensor([0.5, 0.5, 1.0]))[None])
    assert around(in_a, 32, 20)[1] == pytest.approx(32.0, abs=1e-3)


def test_faint_points_gain_by_the_power_and_lie_where_the_finest_view_has_them() -> None:
    coarse, fine = heatmap((30.0, 20.0, 0.12), (31.0, 20.0, 0.08)), heatmap((31.0, 20.0, 0.2))
    in_a, _ = agreed_mass((coarse, coarse), (fine, fine), torch.eye(3)[None], power=0.5)
    mass, x, _ = around(in_a, 30, 20)
    assert mass == pytest.approx(math.sqrt(0.2), abs=1e-3)
    assert x == pytest.approx(31.0, abs=1e-3)


def test_nothing_found_is_no_target() -> None:
    nothing = torch.zeros(2, *SIZE_HW)
    H_b_a = torch.eye(3).expand(2, 3, 3)
    for mass in agreed_mass((nothing, nothing), (nothing, nothing), H_b_a):
        assert mass.shape == (2, *SIZE_HW)
        assert float(mass.sum()) == 0.0
