# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from superpoint_ros.pairing import NearestPairing, Pair


def pair_all(firsts: list[int], seconds: list[int], slop: int = 20) -> list[Pair[int, int]]:
    """Feed both streams in order of their stamps, as a bag does."""
    pairing: NearestPairing[int, int] = NearestPairing(slop)
    pairs = []
    for stamp, is_second in sorted([(s, False) for s in firsts] + [(s, True) for s in seconds]):
        add = pairing.add_second if is_second else pairing.add_first
        pairs += add(stamp, stamp)
    return pairs + pairing.flush()


def test_equal_stamps_pair_at_once_in_either_order() -> None:
    for order in ("add_first", "add_second"), ("add_second", "add_first"):
        pairing: NearestPairing[str, str] = NearestPairing(20)
        assert getattr(pairing, order[0])(100, order[0]) == []
        pairs = getattr(pairing, order[1])(100, order[1])
        assert pairs == [Pair(100, "add_first", "add_second", 0)]


def test_nearest_within_the_slop_wins_and_is_used_once() -> None:
    # 98 is nearer to 100 than 115; 115 is then left for 120; 150 has only 171, 21 away.
    assert pair_all([100, 120, 150], [85, 98, 115, 171]) == [
        Pair(100, 100, 98, -2),
        Pair(120, 120, 115, -5),
        Pair(150, 150, None, 21),
    ]


def test_waits_for_a_nearer_one_that_comes_later() -> None:
    pairing: NearestPairing[str, int] = NearestPairing(20)
    assert pairing.add_second(85, 85) == []
    assert pairing.add_first(100, "image") == []  # 85 would do, but 105 may come
    assert pairing.add_second(105, 105) == []  # and 101 cannot, but the rule needs no foresight
    assert pairing.add_second(125, 125) == [Pair(100, "image", 105, 5)]


def test_the_gap_must_be_below_the_slop_as_in_message_filters() -> None:
    assert pair_all([100], [119])[0].second == 119
    assert pair_all([100], [120]) == [Pair(100, 100, None, 20)]
    assert pair_all([100], [100], slop=0)[0].second == 100


def test_of_two_equally_near_the_earlier_wins() -> None:
    assert pair_all([100], [90, 110]) == [Pair(100, 100, 90, -10)]


def test_without_any_partner_every_image_still_leaves() -> None:
    assert pair_all([1, 2, 3], []) == [Pair(i, i, None, None) for i in (1, 2, 3)]


def test_memory_is_bounded_when_one_stream_stays_away() -> None:
    pairing: NearestPairing[int, int] = NearestPairing(20, capacity=4)
    left = [pair for stamp in range(0, 1000, 100) for pair in pairing.add_first(stamp, stamp)]
    assert [pair.first for pair in left] == [0, 100, 200, 300, 400, 500]
    for stamp in range(0, 1000, 100):
        pairing.add_second(stamp + 5000, stamp)
    assert len(pairing._second) <= 4


@pytest.mark.parametrize("is_second_first", [False, True])
@pytest.mark.parametrize("gap_ns", [0, 5_000_000])
@pytest.mark.parametrize("num_seconds", [100, 99])  # the run before ends with an image alone
def test_a_run_that_begins_again_pairs_as_the_first(
    num_seconds: int, gap_ns: int, is_second_first: bool
) -> None:
    pairing: NearestPairing[tuple[int, int], tuple[int, int]] = NearestPairing()
    pairs = []
    for run in range(2):
        for i in range(100):
            stamp_ns, name = i * 33_000_000, (run, i)
            if not is_second_first:
                pairs += pairing.add_first(stamp_ns, name)
            if i < num_seconds:
                pairs += pairing.add_second(stamp_ns + gap_ns, name)
            if is_second_first:
                pairs += pairing.add_first(stamp_ns, name)
    pairs += pairing.flush()
    names = [(run, i) for run in range(2) for i in range(100)]
    assert [pair.first for pair in pairs] == names
    assert [pair.second for pair in pairs] == [n if n[1] < num_seconds else None for n in names]


@given(st.lists(st.integers(0, 2000), unique=True), st.lists(st.integers(0, 2000), unique=True))
def test_every_image_once_in_order_partners_at_most_once(
    firsts: list[int], seconds: list[int]
) -> None:
    pairs = pair_all(firsts, seconds)
    assert [pair.first for pair in pairs] == sorted(firsts)
    partners = [pair.second for pair in pairs if pair.second is not None]
    assert len(set(partners)) == len(partners)
    for pair in pairs:
        if pair.second is not None:
            assert pair.gap_ns == pair.second - pair.first
            assert abs(pair.gap_ns) < 20
        if pair.first in seconds:
            # an equal stamp is taken unless the image before had a claim on it
            assert pair.gap_ns is not None
