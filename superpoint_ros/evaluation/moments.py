# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Pictures of a run: which moments a person wants to see, and how they are kept until then.

Which moment was the worst is only known at the end, when the images are gone. So every frame is
drawn and kept as a small JPEG, and when there are too many every second one goes: a run of any
length keeps at least 128 evenly spread frames in a few megabytes. Frames at which tracking was
lost or found again are kept besides.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from superpoint_ros.data import Array, Observation, TrackingResult, TrackingState
from superpoint_ros.drawing import draw_result
from superpoint_ros.evaluation.trajectory import TrajectoryErrors

_MAX_KEPT = 256
_MAX_TURNS = 12  # moments of being lost or found that are kept
_MAX_SIDE_PX, _JPEG_QUALITY = 640, 72


@dataclass(frozen=True)
class Moment:
    """A drawn frame.

    Attributes:
        stamp_ns: Of the image.
        state: Of the odometry after it.
        num_keypoints: In the image.
        num_inliers: That the pose explains.
        jpeg: The picture.
        size_wh: Its width and height, pixels.
        title: Why it is shown; empty until it is chosen.
    """

    stamp_ns: int
    state: TrackingState
    num_keypoints: int
    num_inliers: int
    jpeg: bytes
    size_wh: tuple[int, int]
    title: str = ""


class MomentTaker:
    """Observes a run; `moments` are the frames it kept, in order."""

    def __init__(self) -> None:
        self._kept: dict[int, Moment] = {}  # by stamp
        self._turns: dict[int, Moment] = {}
        self._count, self._step = 0, 1
        self._last_state: TrackingState | None = None

    def __call__(
        self,
        frame: Any,
        grey: Array | None,
        observation: Observation | None,
        result: TrackingResult | None,
    ) -> None:
        """Take the next frame."""
        if grey is None or observation is None or result is None:
            return
        is_turn = (
            self._last_state is not None
            and (self._last_state == TrackingState.LOST) != (result.state == TrackingState.LOST)
            and len(self._turns) < _MAX_TURNS
        )
        self._last_state = result.state
        is_due = self._count % self._step == 0
        self._count += 1
        if not (is_due or is_turn):
            return
        moment = take_moment(grey, observation, result)
        if is_turn:
            self._turns[moment.stamp_ns] = moment
        if is_due:
            self._kept[moment.stamp_ns] = moment
        if len(self._kept) > _MAX_KEPT:
            self._step *= 2
            self._kept = dict(list(self._kept.items())[::2])

    @property
    def moments(self) -> list[Moment]:
        """The kept frames, in order of time."""
        both = {**self._kept, **self._turns}
        return [both[stamp_ns] for stamp_ns in sorted(both)]


def take_moment(grey: Array, observation: Observation, result: TrackingResult) -> Moment:
    """Draw a frame and compress it."""
    picture = draw_result(grey, observation.features, result)
    return Moment(
        observation.stamp_ns,
        result.state,
        len(observation.features),
        result.num_inliers,
        *compress(picture),
    )


def compress(picture: Array) -> tuple[bytes, tuple[int, int]]:
    """Return a BGR picture as JPEG of at most 640 pixels a side, and its width and height."""
    height, width = picture.shape[:2]
    scale = min(1.0, _MAX_SIDE_PX / max(height, width))
    size_wh = max(1, round(width * scale)), max(1, round(height * scale))
    if scale < 1.0:
        picture = cv2.resize(picture, size_wh, interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return data.tobytes(), size_wh


def choose_moments(moments: Sequence[Moment], errors: TrajectoryErrors | None) -> list[Moment]:
    """Choose what a person wants to see: start, middle, weakest, worst, lost and found, end.

    Args:
        moments: In order of time.
        errors: Against the ground truth; None: not known.

    Returns:
        At most nine, in order of time, each once, with titles.
    """
    tracked = [m for m in moments if m.state == TrackingState.TRACKING]
    chosen: dict[int, tuple[Moment, list[str]]] = {}

    def choose(moment: Moment, title: str) -> None:
        chosen.setdefault(moment.stamp_ns, (moment, []))[1].append(title)

    if moments:
        choose(moments[0], "first frame")
    if tracked:
        choose(tracked[0], "first pose")
        choose(tracked[len(tracked) // 2], "half way")
        choose(min(tracked[1:] or tracked, key=lambda m: m.num_inliers), "fewest inliers")
        choose(tracked[-1], "last pose")
    if tracked and errors is not None:
        worst_ns = int(errors.stamps_ns[int(np.argmax(errors.errors_m))])
        choose(min(tracked, key=lambda m: abs(m.stamp_ns - worst_ns)), "largest error")
    turns = 0
    for i in range(1, len(moments)):
        was_lost, is_lost = (m.state == TrackingState.LOST for m in moments[i - 1 : i + 1])
        if was_lost != is_lost and turns < 4:
            turns += 1
            choose(moments[i], "lost" if is_lost else "found again")
    return [
        dataclasses.replace(moment, title=", ".join(titles))
        for _, (moment, titles) in sorted(chosen.items())
    ]
