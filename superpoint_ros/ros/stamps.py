# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What is wrong with the stamps of a camera, in one sentence."""

from __future__ import annotations

from collections import deque

from superpoint_ros.pairing import JUMP_BACK_NS

_WINDOW = 30  # images
_MIN_BACKWARDS = 3  # of the window; one or two may be late by themselves
# Far more than any camera, network or busy computer delays an image.
_MAX_OFFSET_NS = 10_000_000_000


class StampWatch:
    """Watches the stamps of one topic against each other and against the node's clock."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._newest_ns: int | None = None
        self._did_rise: deque[bool] = deque(maxlen=_WINDOW)
        self._largest_step_ns = 0  # backwards, ever
        self._offset_ns = 0

    def add(self, stamp_ns: int, now_ns: int) -> None:
        """Take a stamp; `now_ns` is the node's time, 0 if its clock does not run."""
        newest, self._newest_ns = self._newest_ns, stamp_ns
        self._offset_ns = now_ns - stamp_ns if now_ns else 0
        if newest is None or newest - stamp_ns > JUMP_BACK_NS:  # a bag that starts again
            self._did_rise.clear()
            return
        self._did_rise.append(stamp_ns > newest)
        if stamp_ns <= newest:
            self._newest_ns = newest
            self._largest_step_ns = max(self._largest_step_ns, newest - stamp_ns)

    def trouble(self) -> str | None:
        """Return what is wrong; None if all is well."""
        newest_ns, offset_s = self._newest_ns, self._offset_ns / 1e9
        num_bad = len(self._did_rise) - sum(self._did_rise)
        step_s = self._largest_step_ns / 1e9
        if newest_ns is None:
            return None
        if newest_ns == 0:
            return f"images on {self._topic} have no stamp: the driver has to set header.stamp"
        if num_bad >= _MIN_BACKWARDS:
            how = f"go back by up to {step_s:.3f} s" if step_s else "repeat"
            return f"stamps on {self._topic} {how}: do two publishers share the topic?"
        if abs(offset_s) * 1e9 > _MAX_OFFSET_NS:
            side = "behind" if offset_s > 0.0 else "ahead of"
            return (
                f"stamps on {self._topic} are {_span(abs(offset_s))} {side} the node's clock: "
                "play a recording with --clock and set use_sim_time, or set the camera's clock"
            )
        return None


def _span(seconds: float) -> str:
    """Return a time span in a unit that suits it, coarse enough to stay the same for a while."""
    for name, length in (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2.0 * length:
            return f"{seconds / length:.0f} {name}"
    return f"{seconds:.0f} s"
