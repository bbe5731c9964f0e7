# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A run through the nodes, read back from what `ros/bag_player.py` wrote down.

The events become the same `RunRecord` that a lock-step run gives, so both are judged alike. On top
come the figures that only a live run has: what was lost on the way, and the speed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from superpoint_ros.data import Array, TrackingState
from superpoint_ros.evaluation.lockstep import LockstepRun
from superpoint_ros.evaluation.moments import Moment
from superpoint_ros.evaluation.summary import RunRecord
from superpoint_ros.evaluation.tracks import Tracks
from superpoint_ros.geometry.se3 import pose_from_quaternion
from superpoint_ros.profiling import LatencyLog

EVENTS_FILE = "events.jsonl"


class ReplayError(ValueError):
    """A replay that left nothing to judge; the message says what is missing."""


@dataclass
class Replay:
    """What came back from the nodes.

    Attributes:
        published_ns: Stamps of the frames that went out, in order.
        unusable: Stamp -> why a frame did not go out.
        gaps_ns: Gaps between the stamps of image and depth (or right image).
        features_ns: Stamps of the features messages that came back.
        states: Stamp -> state of the tracker after this frame.
        map_ids: Stamp -> map of the frame.
        counts: Stamp -> keypoints, inliers and landmarks.
        poses: Stamp -> pose (4, 4) of `child_frame` in the odom frame.
        child_frame: Frame whose poses these are.
        latency_ms: Stage -> p50, p95, p99; `total` is from image sent to status received.
        model_id: Name of the network.
        weights_sha256: Of its weights file.
        counters: Of the tracker at the end: frames_received, frames_tracked, frames_dropped.
        wall_s: From the first frame sent to the last answer.
        bag_s: The same in the time of the recording.
        is_complete: Whether the player reached its end.
        was_interrupted: Whether somebody stopped it.
    """

    published_ns: list[int] = field(default_factory=list)
    unusable: dict[int, str] = field(default_factory=dict)
    gaps_ns: list[int] = field(default_factory=list)
    features_ns: list[int] = field(default_factory=list)
    states: dict[int, TrackingState] = field(default_factory=dict)
    map_ids: dict[int, int] = field(default_factory=dict)
    counts: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    poses: dict[int, Array] = field(default_factory=dict)
    child_frame: str = ""
    latency_ms: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    model_id: str = ""
    weights_sha256: str = ""
    counters: dict[str, int] = field(default_factory=dict)
    wall_s: float = 0.0
    bag_s: float = 0.0
    is_complete: bool = False
    was_interrupted: bool = False

    def to_run(self) -> LockstepRun:
        """Return the frames as a lock-step run has them."""
        run = LockstepRun(
            stamps_ns=sorted([*self.published_ns, *self.unusable]),
            gaps_ns=self.gaps_ns,
            latency_ms=self.latency_ms,
            wall_s=self.wall_s,
        )
        state, map_id = TrackingState.INITIALIZING, 0
        for i, stamp_ns in enumerate(run.stamps_ns):
            is_repeat = i > 0 and stamp_ns == run.stamps_ns[i - 1]
            state = self.states.get(stamp_ns, state)
            map_id = self.map_ids.get(stamp_ns, map_id)
            keypoints, inliers, landmarks = self.counts.get(stamp_ns, (0, 0, 0))
            run.states.append(state)
            run.map_ids.append(map_id)
            run.poses.append(None if is_repeat else self.poses.get(stamp_ns))
            run.num_keypoints.append(keypoints)
            run.num_inliers.append(inliers)
            run.num_landmarks.append(landmarks)
            if stamp_ns in self.unusable:
                run.skipped[i] = self.unusable[stamp_ns]
            elif is_repeat:
                run.skipped[i] = f"the stamp {stamp_ns} ns repeats that of the frame before"
        return run

    def to_record(self, sensor: str) -> RunRecord:
        """Return what `summarize` judges."""
        run = self.to_run()
        is_answered = [stamp_ns in self.states for stamp_ns in run.stamps_ns]
        return RunRecord(
            sensor=sensor,
            stamps_ns=run.stamps_ns,
            trajectory=run.trajectory(),
            wall_s=self.wall_s,
            latency_ms=self.latency_ms,
            skipped=run.skipped,
            gaps_ns=self.gaps_ns,
            model_id=self.model_id,
            weights_sha256=self.weights_sha256,
            is_tracked=[a and b for a, b in zip(is_answered, run.is_tracked, strict=True)],
            unanswered=[i for i, answered in enumerate(is_answered) if not answered],
        )

    def transport(self) -> dict[str, Any]:
        """Return the figures of a live run, JSON-ready.

        `features_lost` are frames whose features came back but which the tracker never answered;
        `images_dropped` never became features: at a fixed rate the node takes the newest image.
        """
        with_features, with_status = set(self.features_ns), set(self.states)
        published = set(self.published_ns)
        return {
            "images_sent": len(self.published_ns),
            "images_dropped": len(published - with_features - with_status),
            "features_received": len(with_features),
            "features_lost": len(published & with_features - with_status),
            "status_received": len(with_status),
            "rate_factor": self.bag_s / self.wall_s if self.wall_s > 0.0 else 0.0,
            "tracker": self.counters,
            "child_frame": self.child_frame,
        }


def read_replay(folder: Path | str) -> Replay:
    """Read the events of a run.

    Raises:
        ReplayError: There are none, or no frame went out.
    """
    path = Path(folder) / EVENTS_FILE
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ReplayError(f"{path}: cannot be read ({error.strerror})") from None
    replay, log = Replay(), LatencyLog(max_frames=len(lines))
    sent_s: dict[int, float] = {}
    for line in lines:
        try:
            event = json.loads(line)
        except json.JSONDecodeError:  # the last line of a player that was killed
            continue
        _take(replay, log, sent_s, event)
    if not replay.published_ns:
        raise ReplayError(f"{path}: no frame went out")
    replay.latency_ms = log.summary()
    return replay


def moments_of(replay: Replay, tracks: Mapping[int, Tracks]) -> list[Moment]:
    """Return the frames that can be drawn, in order of time, as moments without a picture."""
    return [
        Moment(
            stamp_ns,
            replay.states[stamp_ns],
            len(tracks[stamp_ns].keypoints),
            replay.counts[stamp_ns][1],
            b"",
            (0, 0),
        )
        for stamp_ns in sorted(tracks)
        if stamp_ns in replay.states
    ]


def _take(replay: Replay, log: LatencyLog, sent_s: dict[int, float], event: Any) -> None:
    """Add one event to the replay."""
    kind, stamp_ns = event["event"], event.get("stamp_ns", 0)
    if kind == "image":
        replay.published_ns.append(stamp_ns)
        sent_s[stamp_ns] = event["time_s"]
        if event["gap_ns"] is not None:
            replay.gaps_ns.append(event["gap_ns"])
    elif kind == "unusable":
        replay.unusable[stamp_ns] = event["reason"]
    elif kind == "features":
        replay.features_ns.append(stamp_ns)
        replay.model_id, replay.weights_sha256 = event["model_id"], event["weights_sha256"]
        log.add({"features": event["latency_ms"]})
    elif kind == "status":
        replay.states[stamp_ns] = TrackingState(event["state"])
        replay.map_ids[stamp_ns] = event["map_id"]
        replay.counts[stamp_ns] = (
            event["num_keypoints"],
            event["num_inliers"],
            event["num_landmarks"],
        )
        replay.counters = {
            name: event[name] for name in ("frames_received", "frames_tracked", "frames_dropped")
        }
        # The tracker repeats the latency of the features node, which has been counted above.
        stages = {k: v for k, v in event["latency_ms"].items() if k != "features"}
        log.add({f"track/{name}": value for name, value in stages.items()})
        if stamp_ns in sent_s:
            log.add({"total": 1e3 * (event["time_s"] - sent_s[stamp_ns])})
    elif kind == "odometry":
        replay.child_frame = event["child_frame"]
        replay.poses[stamp_ns] = pose_from_quaternion(
            np.array(event["position"]), np.array(event["quaternion_xyzw"])
        )
    elif kind == "end":
        replay.wall_s, replay.bag_s = event["wall_s"], event["bag_s"]
        replay.is_complete = True
        replay.was_interrupted = event["interrupted"]
