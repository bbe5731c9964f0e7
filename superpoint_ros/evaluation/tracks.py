# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Keypoints and tracks of some frames of a live run, so that they can be drawn afterwards.

Like `moments`, but without images: those are read from the recording when the frames to be shown
are known.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from superpoint_ros.data import Array
from superpoint_ros.drawing import draw_keypoints, draw_text, draw_tracks
from superpoint_ros.files import replaced

TRACKS_FILE = "tracks.npz"
_MAX_FRAMES = 256
_ENOUGH_MOTION_PX = 25.0


def _no_points() -> Array:
    return np.zeros((0, 2), np.float32)


@dataclass(frozen=True)
class Tracks:
    """Of one frame.

    Attributes:
        keypoints: (N, 2) float32, pixels.
        reference_pixels: (M, 2) float32, where the tracks were in the reference frame.
        pixels: (M, 2) float32, where they are.
        inliers: (M,) bool.
    """

    keypoints: Array
    reference_pixels: Array = field(default_factory=_no_points)
    pixels: Array = field(default_factory=_no_points)
    inliers: Array = field(default_factory=lambda: np.zeros(0, bool))

    def draw(self, image: Array, text: str) -> Array:
        """Draw keypoints, and tracks if there are any, over the image (H, W) of the frame."""
        if len(self.pixels):
            return draw_tracks(
                image, self.keypoints, self.reference_pixels, self.pixels, self.inliers, text
            )
        canvas = draw_keypoints(image, self.keypoints)
        draw_text(canvas, text)
        return canvas

    @property
    def worth(self) -> float:
        """How much a picture of them shows: many inliers that moved visibly."""
        if not self.inliers.any():
            return 0.0
        moved_px = np.linalg.norm(self.pixels - self.reference_pixels, axis=1)[self.inliers]
        return float(self.inliers.sum() * min(np.median(moved_px), _ENOUGH_MOTION_PX))


class TrackLog:
    """Keeps frames evenly spread over a run of any length, 256 at most."""

    def __init__(self) -> None:
        self.frames: dict[int, Tracks] = {}
        self._count, self._step = 0, 1

    def add_keypoints(self, stamp_ns: int, keypoints: Array) -> None:
        """Take the keypoints (N, 2) of the next frame."""
        if self._count % self._step == 0:
            self.frames[stamp_ns] = Tracks(keypoints)
        self._count += 1
        if len(self.frames) > _MAX_FRAMES:
            self._step *= 2
            self.frames = dict(list(self.frames.items())[::2])

    def add_matches(
        self, stamp_ns: int, reference_pixels: Array, pixels: Array, inliers: Array
    ) -> None:
        """Take the tracks of a frame whose keypoints came before; see `Tracks`."""
        if stamp_ns in self.frames:
            self.frames[stamp_ns] = dataclasses.replace(
                self.frames[stamp_ns],
                reference_pixels=reference_pixels,
                pixels=pixels,
                inliers=inliers,
            )

    def write(self, folder: Path) -> None:
        """Write the frames into a folder."""
        frames = list(self.frames.values())
        with replaced(folder / TRACKS_FILE) as temporary:
            np.savez_compressed(
                temporary,
                stamps_ns=np.array(list(self.frames), np.int64),
                num_keypoints=[len(frame.keypoints) for frame in frames],
                num_tracks=[len(frame.pixels) for frame in frames],
                keypoints=np.concatenate([_no_points(), *(f.keypoints for f in frames)]),
                reference_pixels=np.concatenate(
                    [_no_points(), *(f.reference_pixels for f in frames)]
                ),
                pixels=np.concatenate([_no_points(), *(f.pixels for f in frames)]),
                inliers=np.concatenate([np.zeros(0, bool), *(f.inliers for f in frames)]),
            )


def read_tracks(folder: Path | str) -> dict[int, Tracks]:
    """Return the frames of a run by their stamp; none if there is no file."""
    path = Path(folder) / TRACKS_FILE
    if not path.is_file():
        return {}
    with np.load(path) as file:
        ends = np.cumsum(file["num_keypoints"])[:-1], np.cumsum(file["num_tracks"])[:-1]
        parts = zip(
            file["stamps_ns"].tolist(),
            np.split(file["keypoints"], ends[0]),
            np.split(file["reference_pixels"], ends[1]),
            np.split(file["pixels"], ends[1]),
            np.split(file["inliers"], ends[1]),
            strict=False,  # split gives one empty part where there are no frames at all
        )
        return {stamp_ns: Tracks(*arrays) for stamp_ns, *arrays in parts}
