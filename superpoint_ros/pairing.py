# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Which depth (or right) image belongs to which image: the nearest stamp within a slop, used once.

Pure Python. Live topics go through message_filters, which is as strict (a gap must be below the
slop) and finds the same pairs, because features come after the depth images around them.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Generic, TypeVar

A = TypeVar("A")
B = TypeVar("B")

DEFAULT_SLOP_NS = 20_000_000  # 0.02 s
# Stamps that go back by more than this are a new run (a looping bag); by less, a late frame.
JUMP_BACK_NS = 500_000_000
_CAPACITY = 64  # messages that wait for their partner: bounds the memory of a one-sided bag


@dataclass(frozen=True)
class Pair(Generic[A, B]):
    """One image and what was found for it.

    Attributes:
        stamp_ns: Stamp of the image.
        first: The image.
        second: Its partner; None if no stamp was within the slop.
        gap_ns: Stamp of the nearest candidate minus that of the image, also when it was too far;
            None if there was no candidate at all.
    """

    stamp_ns: int
    first: A
    second: B | None
    gap_ns: int | None


class NearestPairing(Generic[A, B]):
    """Pairs two streams that come in stamp order each, but late by any amount to each other.

    An image waits until no nearer partner can come. Every image leaves exactly once, in order,
    with or without a partner; every partner is used at most once; of two equally near ones the
    earlier wins. Where a stream goes back by more than `JUMP_BACK_NS` another run begins, and what
    waits of the one before has nothing to wait for.
    """

    def __init__(self, slop_ns: int = DEFAULT_SLOP_NS, capacity: int = _CAPACITY) -> None:
        self._slop_ns = slop_ns
        self._capacity = capacity
        self._first: deque[tuple[int, A]] = deque()
        self._second: deque[tuple[int, B]] = deque()
        self._newest_first_ns: int | None = None
        self._newest_second_ns: int | None = None

    def add_first(self, stamp_ns: int, item: A) -> list[Pair[A, B]]:
        """Add an image; return the pairs that are now certain."""
        pairs = self._end_run_before(stamp_ns, self._newest_first_ns)
        self._first.append((stamp_ns, item))
        self._newest_first_ns = stamp_ns
        return pairs + self._settle()

    def add_second(self, stamp_ns: int, item: B) -> list[Pair[A, B]]:
        """Add a possible partner; return the pairs that are now certain."""
        pairs = self._end_run_before(stamp_ns, self._newest_second_ns)
        self._second.append((stamp_ns, item))
        self._newest_second_ns = stamp_ns
        if len(self._second) > self._capacity:
            self._second.popleft()
        return pairs + self._settle()

    def flush(self) -> list[Pair[A, B]]:
        """Return the pairs of all images that still wait: nothing more will come."""
        return [self._take() for _ in range(len(self._first))]

    def _end_run_before(self, stamp_ns: int, newest_ns: int | None) -> list[Pair[A, B]]:
        """Return the pairs of the run before, and forget it, if a stream has begun another."""
        if newest_ns is None or newest_ns - stamp_ns <= JUMP_BACK_NS:
            return []
        # The other stream may have jumped before: what is of the new run stays.
        last_ns = stamp_ns + JUMP_BACK_NS
        pairs = []
        while self._first and self._first[0][0] > last_ns:
            pairs.append(self._take())
        self._second = deque(waiting for waiting in self._second if waiting[0] <= last_ns)
        if self._newest_second_ns is not None and self._newest_second_ns > last_ns:
            self._newest_second_ns = None
        return pairs

    def _settle(self) -> list[Pair[A, B]]:
        pairs = []
        while self._first and (self._is_certain() or len(self._first) > self._capacity):
            pairs.append(self._take())
        return pairs

    def _is_certain(self) -> bool:
        stamp_ns = self._first[0][0]
        if any(second_ns == stamp_ns for second_ns, _ in self._second):
            return True
        newest = self._newest_second_ns
        return newest is not None and newest >= stamp_ns + self._slop_ns

    def _take(self) -> Pair[A, B]:
        stamp_ns, item = self._first.popleft()
        if not self._second:
            return Pair(stamp_ns, item, None, None)
        best = min(range(len(self._second)), key=lambda i: abs(self._second[i][0] - stamp_ns))
        gap_ns = self._second[best][0] - stamp_ns
        if gap_ns and abs(gap_ns) >= self._slop_ns:
            return Pair(stamp_ns, item, None, gap_ns)
        partner = self._second[best][1]
        del self._second[best]
        # Images come in order: what lies before this one's slop has no taker any more. The
        # newest stays, so that a gap can be named.
        while len(self._second) > 1 and self._second[0][0] < stamp_ns - self._slop_ns:
            self._second.popleft()
        return Pair(stamp_ns, item, partner, gap_ns)
