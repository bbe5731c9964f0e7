# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np

from superpoint_ros.features.peaks import suppress_close


def test_the_better_of_two_close_keypoints_stays() -> None:
    keypoints = np.array([[10.0, 20], [13, 20], [10, 26], [2, 0]])
    kept = suppress_close(keypoints, np.array([0.5, 0.9, 0.3, 0.1]), radius=4)
    assert kept.tolist() == [1, 2, 3]
    assert suppress_close(np.zeros((0, 2)), np.zeros(0), 4).tolist() == []
