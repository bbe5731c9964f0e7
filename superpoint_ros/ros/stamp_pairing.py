# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Two topics joined by their stamps: what message_filters pairs, and why it does not."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any

from superpoint_ros.pairing import JUMP_BACK_NS
from superpoint_ros.ros.compat import (
    ApproximateTimeSynchronizer,
    SimpleFilter,
    TimeSynchronizer,
    drop_stamps_after,
    stamps_of,
)
from superpoint_ros.ros.conversions import stamp_to_ns

_MIN_WAITING = 5  # fewer may still find their partner
_SILENCE_NS = 1_000_000_000  # of the second topic, by the stamps of the first


class StampPairing:
    """Calls back with the messages of two topics whose stamps lie within a slop.

    Args:
        on_pair: Called with (first, second), on the thread that brought the later of them.
        slop: Largest gap, seconds; 0: the stamps have to be equal.
        queue_size: Messages of each topic that may wait.
        names: What to call the two topics in `trouble`.
        hint: What to do when nothing comes on the second.
    """

    def __init__(
        self,
        on_pair: Callable[[Any, Any], None],
        slop: float,
        queue_size: int,
        names: tuple[str, str],
        hint: str = "",
    ) -> None:
        self._on_pair = on_pair
        self._slop = slop
        self._names = names
        self._hint = hint
        self._queue_size = queue_size
        self._sources = (SimpleFilter(), SimpleFilter())
        self._synchronizer: Any = (
            ApproximateTimeSynchronizer(list(self._sources), queue_size, slop)
            if slop > 0.0
            else TimeSynchronizer(list(self._sources), queue_size)
        )
        self._synchronizer.registerCallback(self._take_pair)
        self._min_waiting = min(_MIN_WAITING, queue_size)
        self._newest_ns: list[int | None] = [None, None]
        self._silent_since_ns: int | None = None  # newest of the first when the second last came
        self._is_negative = [False, False]  # whether the newest stamp is
        self._num_given = 0  # of the first topic, given to the synchroniser and not come back
        # Never held while calling the synchroniser: that calls back with its own lock held.
        self._lock = threading.Lock()

    def add_first(self, message: Any) -> None:
        """Take a message of the first topic, or what has the header of one."""
        self._add(0, message)
        with self._lock:
            self._num_given += 1

    def add_second(self, message: Any) -> None:
        """Take a message of the second topic."""
        self._add(1, message)

    def count_lost(self) -> int:
        """Return how many of the first topic went without a partner since the last call."""
        num_waiting = len(stamps_of(self._synchronizer)[0])
        with self._lock:
            num_lost = max(self._num_given - num_waiting, 0)
            self._num_given -= num_lost
        return num_lost

    def trouble(self) -> str | None:
        """Return why nothing pairs, with the gap as measured; None if all is well."""
        first_ns, second_ns = stamps_of(self._synchronizer)
        for name, is_negative in zip(self._names, self._is_negative, strict=True):
            if is_negative:
                return f"stamps on {name} are negative: correct the clock of what publishes it"
        with self._lock:
            newest_first, newest_second = self._newest_ns
            since = self._silent_since_ns
        if len(first_ns) < self._min_waiting or newest_first is None or since is None:
            return None
        first, second = self._names
        silence_ns = newest_first - since
        if newest_second is None:
            has_waited = silence_ns > _SILENCE_NS or len(first_ns) >= _MIN_WAITING
            return f"nothing came on {second}{self._hint}" if has_waited else None
        if silence_ns > _SILENCE_NS:
            # One digit: a sentence that is another every second would fill the log.
            seconds = float(f"{silence_ns / 1e9:.1g}")
            return f"nothing has come on {second} for {seconds:.0f} s"
        if len(second_ns) < self._min_waiting:
            return None
        nearest = min((b - a for a in first_ns for b in second_ns), key=abs)
        sentence = (
            f"{first} and {second} do not pair: newest stamps are "
            f"{(newest_second - newest_first) / 1e9:+.3f} s apart, the nearest "
            f"{nearest / 1e9:+.3f} s, sync_slop is {self._slop} s"
        )
        span_ns = max(second_ns) - min(second_ns)
        if min(second_ns) > newest_first and span_ns and len(second_ns) >= self._queue_size:
            # What the first belongs to has gone already, unless their clocks differ.
            late_ns = newest_second - newest_first
            needed = math.ceil(1.5 * late_ns * (len(second_ns) - 1) / span_ns)
            sentence += f"; if {first} come that late, raise sync_queue_size to {needed}"
        return sentence

    def _add(self, index: int, message: Any) -> None:
        stamp_ns = stamp_to_ns(message.header.stamp)
        with self._lock:
            self._is_negative[index] = stamp_ns < 0
            if stamp_ns < 0:  # message_filters raises on it
                return
            newest, self._newest_ns[index] = self._newest_ns[index], stamp_ns
            has_jumped = newest is not None and newest - stamp_ns > JUMP_BACK_NS
            if index == 1 or has_jumped or self._silent_since_ns is None:
                self._silent_since_ns = self._newest_ns[0]
        if newest is not None and has_jumped:
            # What waits from before the jump would find no partner, and keep the new ones out.
            drop_stamps_after(self._synchronizer, (stamp_ns + newest) // 2)
        self._sources[index].signalMessage(message)

    def _take_pair(self, first: Any, second: Any) -> None:
        with self._lock:
            self._num_given -= 1
        self._on_pair(first, second)
