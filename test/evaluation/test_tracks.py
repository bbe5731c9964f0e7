# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Tracks of a live run survive the way through their file, and there are never too many."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from superpoint_ros.evaluation.tracks import TrackLog, read_tracks


def points(*rows: tuple[float, float]) -> np.ndarray:
    return np.array(rows, np.float32).reshape(-1, 2)


def test_frames_with_many_few_and_no_tracks_come_back_as_they_went(tmp_path: Path) -> None:
    log = TrackLog()
    log.add_keypoints(10, points((1, 2), (3, 4), (5, 6)))
    log.add_keypoints(20, points())
    log.add_keypoints(30, points((7, 8)))
    log.add_matches(10, points((0, 0), (1, 1)), points((3, 4), (1, 2)), np.array([True, False]))
    log.add_matches(30, points((9, 9)), points((7, 8)), np.array([True]))
    log.add_matches(40, points((9, 9)), points((7, 8)), np.array([True]))  # of no such frame
    log.write(tmp_path)
    frames = read_tracks(tmp_path)
    assert list(frames) == [10, 20, 30]
    np.testing.assert_array_equal(frames[10].keypoints, [[1, 2], [3, 4], [5, 6]])
    np.testing.assert_array_equal(frames[10].pixels, [[3, 4], [1, 2]])
    np.testing.assert_array_equal(frames[10].inliers, [True, False])
    assert [len(frames[20].keypoints), len(frames[20].pixels)] == [0, 0]
    np.testing.assert_array_equal(frames[30].reference_pixels, [[9, 9]])
    assert frames[10].worth == 5.0  # one inlier, which moved by (3, 4)
    assert frames[20].worth == 0.0
    for frame in frames.values():
        assert frame.draw(np.zeros((12, 20), np.uint8), "x").shape == (12, 20, 3)


def test_a_long_run_keeps_few_frames_and_no_run_keeps_none(tmp_path: Path) -> None:
    log = TrackLog()
    for stamp_ns in range(3000):
        log.add_keypoints(stamp_ns, points((1, 1)))
    stamps = list(log.frames)
    assert 128 <= len(stamps) <= 256
    assert set(np.diff(stamps)) == {16}
    TrackLog().write(tmp_path)
    assert read_tracks(tmp_path) == {}
    assert read_tracks(tmp_path / "absent") == {}
