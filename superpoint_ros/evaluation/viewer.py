# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A run as it goes along in the Rerun viewer, or in a file for it (rerun.io)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from superpoint_ros.config import ConfigError
from superpoint_ros.data import Array, Observation, TrackingResult, TrackingState
from superpoint_ros.odometry.visual_odometry import VisualOdometry

_TIMELINE = "time"
_ESTIMATE_COLOUR, _INLIER_COLOUR, _OUTLIER_COLOUR = (209, 73, 91), (60, 200, 90), (230, 120, 40)
_LANDMARK_COLOUR = (150, 150, 150)


class RerunViewer:
    """Observes a run: image with keypoints and tracks, camera, path, local map, figures."""

    def __init__(self, odometry: VisualOdometry, title: str, file: Path | str = "") -> None:
        """Open the viewer's window, or a file instead.

        Args:
            odometry: Whose local map is shown.
            title: Of the recording.
            file: Path ending in .rrd, written as the run goes along; empty: a window.

        Raises:
            ConfigError: rerun-sdk is not installed, or its viewer does not start.
        """
        self._rr = _import_rerun()
        self._stream = self._rr.RecordingStream("superpoint_ros", recording_id=title)
        try:
            if file:
                self._stream.save(str(file))
            else:
                self._stream.spawn()
        except RuntimeError as error:
            raise ConfigError(f"--viewer rerun: {error}") from None
        self._log("world", self._rr.ViewCoordinates.RDF, static=True)
        self._path: list[Array] = []
        self._map_id = 0
        self._odometry = odometry

    def __call__(
        self,
        frame: Any,
        grey: Array | None,
        observation: Observation | None,
        result: TrackingResult | None,
    ) -> None:
        """Show the next frame."""
        if grey is None or observation is None or result is None:
            return
        rr = self._rr
        self._stream.set_time(_TIMELINE, timestamp=np.datetime64(observation.stamp_ns, "ns"))
        self._show_image(grey, observation, result)
        for name, value in (
            ("state", int(result.state)),
            ("inliers", result.num_inliers),
            ("landmarks", result.num_landmarks),
            *((f"latency_ms/{stage}", value) for stage, value in result.latency_ms.items()),
        ):
            self._log(f"figures/{name}", rr.Scalars(float(value)))
        if result.T_world_cam is None:
            return
        if result.map_id != self._map_id:
            self._path, self._map_id = [], result.map_id
        self._log(
            "world/camera",
            rr.Transform3D(
                translation=result.T_world_cam[:3, 3], mat3x3=result.T_world_cam[:3, :3]
            ),
            rr.Pinhole(
                image_from_camera=observation.K,
                resolution=observation.features.image_size_hw[::-1],
            ),
        )
        if result.is_keyframe:  # the path is logged whole: at every frame it would fill the disk
            self._path.append(result.T_world_cam[:3, 3].astype(np.float32))
            self._log("world/path", rr.LineStrips3D([self._path], colors=_ESTIMATE_COLOUR))
            points = self._odometry.landmarks().points_world
            self._log("world/landmarks", rr.Points3D(points, colors=_LANDMARK_COLOUR))

    def close(self) -> None:
        """Write what is left."""
        self._stream.flush()
        self._stream.disconnect()

    def _show_image(self, grey: Array, observation: Observation, result: TrackingResult) -> None:
        rr = self._rr
        self._log("image", rr.Image(grey, color_model="L").compress(jpeg_quality=75))
        keypoints = observation.features.keypoints
        is_lost = result.state is not TrackingState.TRACKING
        self._log(
            "image/keypoints",
            rr.Points2D(keypoints, colors=_OUTLIER_COLOUR if is_lost else _LANDMARK_COLOUR),
        )
        if result.matches is None:
            return
        of_reference, of_frame = result.matches.indices[result.matches.inliers].T
        tracks = np.stack(
            [result.matches.reference_keypoints[of_reference], keypoints[of_frame]], axis=1
        )
        self._log("image/tracks", rr.LineStrips2D(list(tracks), colors=_INLIER_COLOUR))

    def _log(self, path: str, *what: Any, static: bool = False) -> None:
        self._stream.log(path, *what, static=static)


def _import_rerun() -> Any:
    try:
        import rerun
    except ImportError:
        raise ConfigError(
            "--viewer rerun: rerun-sdk is not installed: pip install rerun-sdk (170 MB)"
        ) from None
    return rerun
