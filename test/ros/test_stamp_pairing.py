# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Pairs by stamp, what is lost, and what is said about it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")

from superpoint_ros.ros.stamp_pairing import StampPairing

pytestmark = pytest.mark.ros


def message(stamp_ms):
    sec, ms = divmod(stamp_ms, 1000)
    stamp = SimpleNamespace(sec=sec, nanosec=ms * 1_000_000)
    return SimpleNamespace(header=SimpleNamespace(stamp=stamp), stamp_ms=stamp_ms)


@pytest.fixture
def found():
    return []


def make_pairing(found, slop=0.02, queue_size=8):
    return StampPairing(
        lambda first, second: found.append((first.stamp_ms, second.stamp_ms)),
        slop,
        queue_size,
        ("/left", "/right"),
        hint=": switch it on",
    )


def test_stamps_within_the_slop_pair_in_either_order(found):
    pairing = make_pairing(found)
    pairing.add_first(message(100))
    pairing.add_second(message(115))
    pairing.add_second(message(190))
    pairing.add_first(message(200))
    assert found == [(100, 115), (200, 190)]
    assert pairing.count_lost() == 0
    assert pairing.trouble() is None


def test_without_slop_stamps_have_to_be_equal(found):
    pairing = make_pairing(found, slop=0.0)
    pairing.add_first(message(100))
    pairing.add_second(message(101))
    pairing.add_second(message(200))
    pairing.add_first(message(200))
    assert found == [(200, 200)]


def test_the_gap_is_measured_and_the_lost_are_counted(found):
    pairing = make_pairing(found)
    for index in range(4):
        pairing.add_first(message(100 * index))
    assert pairing.trouble() is None  # they may still find their partner
    for index in range(4, 12):
        pairing.add_first(message(100 * index))
    assert pairing.trouble() == "nothing came on /right: switch it on"
    for index in range(12):
        pairing.add_second(message(100 * index + 430))
    assert found == []
    assert pairing.trouble() == (
        "/left and /right do not pair: newest stamps are +0.430 s apart, the nearest +0.030 s, "
        "sync_slop is 0.02 s"
    )
    assert pairing.count_lost() == 4  # of twelve, eight wait
    assert pairing.count_lost() == 0


def test_time_that_jumps_back_starts_anew(found):
    pairing = make_pairing(found)
    for index in range(12):
        pairing.add_first(message(10_000 + 100 * index))
        pairing.add_second(message(10_050 + 100 * index))
    pairing.add_first(message(1000))
    pairing.add_second(message(1000))
    assert found == [(1000, 1000)]
    pairing.add_second(message(1100))
    pairing.add_first(message(1100))
    assert found == [(1000, 1000), (1100, 1100)]
    assert pairing.trouble() is None
