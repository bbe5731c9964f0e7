# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Which frames of a run are kept as pictures, and which of them are shown."""

from __future__ import annotations

from types import SimpleNamespace

import cv2
import numpy as np

from superpoint_ros.data import Features, TrackingResult, TrackingState
from superpoint_ros.evaluation.moments import MomentTaker, choose_moments, compress

LOST, TRACKING = TrackingState.LOST, TrackingState.TRACKING


def watch(states: list[TrackingState], inliers: list[int]) -> MomentTaker:
    """Show frames of 24x40 pixels to a taker; the stamp is the index."""
    taker = MomentTaker()
    grey = np.full((24, 40), 128, np.uint8)
    features = Features(
        np.array([[10.0, 7.0]], np.float32),
        np.ones(1, np.float32),
        np.ones((1, 4), np.float32),
        (24, 40),
    )
    for i, (state, count) in enumerate(zip(states, inliers, strict=True)):
        observation = SimpleNamespace(stamp_ns=i, features=features)
        taker(None, grey, observation, TrackingResult(i, state, num_inliers=count))
    return taker


def test_a_long_run_keeps_few_frames_evenly_spread_and_every_turn() -> None:
    states = [LOST if 701 <= i < 711 else TRACKING for i in range(1500)]
    stamps = [moment.stamp_ns for moment in watch(states, [9] * 1500).moments]
    assert 128 <= len(stamps) <= 260
    assert {0, 701, 711} <= set(stamps)
    assert max(np.diff([*stamps, 1500])) <= 8
    assert stamps == sorted(stamps)


def test_the_moments_of_interest_are_chosen_once_each_and_in_order() -> None:
    states = [TRACKING] * 20
    states[10:13] = [LOST] * 3
    inliers = [50] * 20
    inliers[4], inliers[10:13] = 5, [0] * 3
    moments = watch(states, inliers).moments
    # The largest error is at 15.
    errors = SimpleNamespace(
        stamps_ns=np.arange(20), errors_m=np.where(np.arange(20) == 15, 0.3, 0.1)
    )
    chosen = {m.stamp_ns: m.title for m in choose_moments(moments, errors)}
    assert chosen == {
        0: "first frame, first pose",
        4: "fewest inliers",
        8: "half way",
        10: "lost",
        13: "found again",
        15: "largest error",
        19: "last pose",
    }
    without_truth = choose_moments(moments, None)
    assert "largest error" not in {moment.title for moment in without_truth}
    assert choose_moments([], None) == []


def test_a_large_picture_becomes_a_small_jpeg_of_the_same_shape() -> None:
    picture = np.zeros((720, 1280, 3), np.uint8)
    picture[:360] = (0, 0, 255)
    data, size_wh = compress(picture)
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert decoded.shape == (360, 640, 3)
    assert size_wh == (640, 360)
    np.testing.assert_allclose(decoded[90, 320], (0, 0, 255), atol=4)
