# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
import dataclasses
import re
import tempfile
from contextlib import closing

import numpy as np
import pytest

from superpoint_ros.data import Features, Observation
from superpoint_ros.evaluation.lockstep import round_descriptors
from superpoint_ros.evaluation.spool import ObservationSpool


def observation(index: int, rng: np.random.Generator) -> Observation:
    count = 5 + index
    features = Features(
        rng.uniform(0, 40, (count, 2)).astype(np.float32),
        np.linspace(1, 0, count, dtype=np.float32),
        rng.normal(size=(count, 8)).astype(np.float32),
        (24, 40),
    )
    depth = np.where(rng.random(count) < 0.5, np.nan, 2.0)
    return Observation(
        1000 + index,
        round_descriptors(features, "f16"),
        features.keypoints + 0.25,
        depth,
        np.diag([30.0, 31.0, 1.0]),
        0.01 * depth,
    )


def test_what_went_in_comes_out_as_often_as_asked(rng: np.random.Generator) -> None:
    frames = [observation(i, rng) for i in range(3)]
    with closing(ObservationSpool()) as spool:
        for frame in frames:
            assert spool.track(frame).T_world_cam is None
        assert len(spool) == 3
        for _ in range(2):
            for given, kept in zip(frames, spool, strict=True):
                for field in dataclasses.fields(Observation):
                    if field.name != "features":
                        a, b = getattr(given, field.name), getattr(kept, field.name)
                        np.testing.assert_array_equal(a, b)
                for name in ("keypoints", "scores", "descriptors"):
                    a, b = getattr(given.features, name), getattr(kept.features, name)
                    np.testing.assert_array_equal(a, b)
                    assert b.dtype == np.float32
                assert kept.features.image_size_hw == (24, 40)


def test_an_empty_spool_gives_nothing() -> None:
    with closing(ObservationSpool()) as spool:
        assert list(spool) == []


@pytest.mark.usefixtures("full_disk")
def test_a_full_folder_of_temporary_files_is_named(rng: np.random.Generator) -> None:
    large = observation(1000, rng)
    full = pytest.raises(OSError, match=re.escape(tempfile.gettempdir()))
    with closing(ObservationSpool()) as spool, full:
        spool.track(large)
