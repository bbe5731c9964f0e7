# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Thresholds of two kinds of descriptors refuse the same share of right matches."""

import numpy as np
import pytest

from superpoint_ros.evaluation.equal_cosines import equal_cosines, main
from superpoint_ros.image import write_image


def test_as_many_lie_below():
    ours, others = np.linspace(0.0, 1.0, 1001), np.linspace(0.5, 1.0, 501)
    assert equal_cosines(ours, others, (0.2, 0.8)) == pytest.approx([0.6, 0.9], abs=1e-3)


def test_a_folder_of_photos_gives_the_table(tmp_path, capsys):
    blocks = np.random.default_rng(0).integers(0, 256, (12, 16), np.uint8)
    image = np.kron(blocks, np.ones((16, 16), np.uint8))
    write_image(tmp_path / "a.png", image)
    write_image(tmp_path / "b.png", image[:, ::-1])
    main([str(tmp_path), "--weights", "small"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines[1:]] == ["superpoint", "rootsift", "orb"]
    assert all("right matches" in line for line in lines[1:])
