# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Pairs by stamp, what is lost, and what is said about it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")

from builtin_interfaces.msg import Time

from superpoint_ros.ros.stamp_pairing import StampPairing

pytestmark = pytest.mark.ros


def message(stamp_ms):
    sec, ms = divmod(stamp_ms, 1000)
    stamp = Time(sec=sec, nanosec=ms * 1_000_000)
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


@pytest.mark.parametrize("offset_ms", [0, -5000])
def test_a_second_topic_that_stops_is_told(found, offset_ms):
    """Also where its clock is another: then nothing ever paired, and now nothing comes."""
    pairing = make_pairing(found)
    for index in range(10):
        pairing.add_first(message(10_000 + 100 * index))
        pairing.add_second(message(10_000 + 100 * index + offset_ms))
    trouble = pairing.trouble()
    assert trouble is None if offset_ms == 0 else "are -5.000 s apart" in trouble
    for index in range(10, 20):
        pairing.add_first(message(10_000 + 100 * index))
    assert "nothing has come" not in (pairing.trouble() or "")  # it may be late
    for index in range(20, 45):
        pairing.add_first(message(10_000 + 100 * index))
    assert pairing.trouble() == "nothing has come on /right for 4 s"  # 3.5 s
    for index in range(45, 400):
        pairing.add_first(message(10_000 + 100 * index))
    assert pairing.trouble() == "nothing has come on /right for 40 s"
    pairing.add_second(message(10_000 + 100 * 399 + offset_ms))
    assert "nothing has come" not in (pairing.trouble() or "")


def test_a_second_topic_that_came_but_once_is_told(found):
    pairing = make_pairing(found)
    pairing.add_second(message(9_900))
    for index in range(30):
        pairing.add_first(message(10_000 + 100 * index))
    assert pairing.trouble() == "nothing has come on /right for 3 s"


def test_a_short_queue_does_not_hide_what_is_wrong(found):
    pairing = make_pairing(found, queue_size=2)
    for index in range(4):
        pairing.add_first(message(100 * index))
        assert pairing.trouble() is None  # its partner may be on its way
    pairing.add_first(message(1100))
    assert pairing.trouble() == "nothing came on /right: switch it on"
    for index in range(4):
        pairing.add_second(message(100 * index + 1050))
    assert "do not pair" in pairing.trouble()


def test_a_negative_stamp_is_told_and_pairs_with_nothing(found):
    pairing = make_pairing(found)
    pairing.add_first(message(100))
    pairing.add_second(message(-2000))
    assert pairing.trouble() == (
        "stamps on /right are negative: correct the clock of what publishes it"
    )
    pairing.add_second(message(100))
    assert found == [(100, 100)]
    assert pairing.trouble() is None
    pairing.add_first(message(-2000))
    assert "/left" in pairing.trouble()
    assert pairing.count_lost() == 1


def test_features_that_come_late_are_told_what_helps(found):
    """The second topic's queue holds less than the first is late."""
    pairing = make_pairing(found)
    for index in range(100):
        pairing.add_second(message(1000 + 100 * index))
        if index >= 20:
            pairing.add_first(message(1000 + 100 * (index - 20) + 30))
    assert found == []
    trouble = pairing.trouble()
    assert trouble.startswith("/left and /right do not pair: newest stamps are +1.970 s apart")
    assert trouble.endswith("; if /left come that late, raise sync_queue_size to 30")


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
    for index in range(12):
        pairing.add_first(message(1200 + 100 * index))
    assert pairing.trouble() == "nothing has come on /right for 1 s"
