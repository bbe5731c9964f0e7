# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from superpoint_ros.data import Features, Observation


def make_features(count: int) -> Features:
    return Features(
        keypoints=np.stack([np.arange(count), 10 + np.arange(count)], axis=1).astype(np.float32),
        scores=np.linspace(1, 0, count, dtype=np.float32),
        descriptors=np.eye(count, 4, dtype=np.float32),
        image_size_hw=(48, 80),
    )


def test_take_by_indices_and_by_mask():
    features = make_features(4)
    picked = features.take(np.array([2, 0]))
    assert picked.keypoints.tolist() == [[2, 12], [0, 10]]
    assert len(features.take(features.scores > 0.5)) == 2
    assert len(features.take(np.zeros(0, dtype=int))) == 0


def test_lengths_that_differ_are_refused():
    features = make_features(4)
    with pytest.raises(ValueError, match=r"keypoints \(4, 2\) and scores \(3,\)"):
        Features(features.keypoints, features.scores[:3], features.descriptors, (48, 80))
    with pytest.raises(ValueError, match=r"descriptors \(3, 4\) must be \(4, D\)"):
        Features(features.keypoints, features.scores, features.descriptors[:3], (48, 80))
    with pytest.raises(ValueError, match=r"depth \(3,\)"):
        Observation(0, features, np.zeros((4, 2)), np.zeros(3), np.eye(3), np.zeros(4))
