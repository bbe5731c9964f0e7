# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The observations of a recording, on disk: extracted once, gone through again and again."""

from __future__ import annotations

import contextlib
import dataclasses
import pickle
import tempfile
from collections.abc import Iterator

import numpy as np

from superpoint_ros.data import Features, Observation, TrackingResult, TrackingState
from superpoint_ros.files import named


class ObservationSpool:
    """Takes observations as an odometry does, and gives them back in order, as often as asked.

    What it holds lies in a temporary file without a name, so nothing is left behind however the
    process ends. Half a megabyte a frame of 1,000 keypoints: descriptors are
    kept as float16, in which those of the features message come.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="superpoint_spool_")  # noqa: SIM115
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Observation]:
        self._file.seek(0)
        for _ in range(self._count):
            observation: Observation = pickle.load(self._file)  # our own, of this process
            yield _with_descriptors(observation, np.float32)

    def track(self, observation: Observation) -> TrackingResult:
        """Append the next frame.

        Raises:
            OSError: The folder of temporary files is full; names it.
        """
        with named(tempfile.gettempdir()):
            pickle.dump(_with_descriptors(observation, np.float16), self._file, protocol=5)
            self._file.flush()
        self._count += 1
        return TrackingResult(observation.stamp_ns, TrackingState.INITIALIZING)

    def reset(self) -> None:
        """Do nothing: who goes through sees the stamps jump back."""

    def close(self) -> None:
        """Give the disk back."""
        with contextlib.suppress(OSError):  # it was full: said already
            self._file.close()


def _with_descriptors(observation: Observation, kind: type[np.floating]) -> Observation:
    features = observation.features
    return dataclasses.replace(
        observation,
        features=Features(
            features.keypoints,
            features.scores,
            features.descriptors.astype(kind),
            features.image_size_hw,
        ),
    )
