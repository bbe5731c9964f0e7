# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What `superpoint evaluate bag` found out: runs, the rows made of them, and their JSON.

A run is one odometry with one kind of features, one seed and one condition along one recording.
A row is what the table shows: a recording and a kind of features, with the run on the recording as
it is (its figures are the row's), the same run with other seeds, and the points of the curves.

The JSON is `Evaluation.to_mapping()`: "results" (one mapping per row, with the keys of
`summary.summarize` and those below), "failed" (recordings that could not be run) and "version".
With one row and no failure its keys also stand at the top, where `superpoint replay` has them.

    bag, name, features       the path as given, its short name, "superpoint", "orb" ...
    seed, config              of the run; every setting of extractor and odometry
    runs                      with several seeds: see `spread`
    curves                    {"drops": [point, ...], "exposure": [point, ...]}; see `curve_point`
    pieces                    with `--pieces`: see `consistency.describe_pieces`
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import superpoint_ros
from superpoint_ros.evaluation.conditions import Condition
from superpoint_ros.evaluation.consistency import describe_pieces
from superpoint_ros.evaluation.lockstep import LockstepRun
from superpoint_ros.evaluation.map_points import MapPoints
from superpoint_ros.evaluation.moments import Moment
from superpoint_ros.evaluation.summary import Summary
from superpoint_ros.evaluation.trajectory import Trajectory

_SPREAD_KEYS = ("coverage", "ate_rmse_m", "rpe_trans_m", "rpe_rot_deg")
_POINT_KEYS = (
    *("frames", "tracked", "coverage", "ate_rmse_m", "rpe_trans_m", "rpe_rot_deg", "scale"),
    *("kitti_t_err_percent", "kitti_r_err_deg_per_100m", "fps"),
)


@dataclass(frozen=True)
class BagResult:
    """One odometry along one recording.

    Attributes:
        condition: What was done to the recording.
        seed: Of the random samples.
        run: Per frame: stamp, state, pose, map, keypoints, inliers, latencies.
        summary: The figures, and estimate against truth: `summary.errors` has the associated
            stamps, aligned and true poses and the error of each; None without ground truth.
        truth: All poses of the ground truth; None if there is none.
        pictures: Annotated frames to choose from, in order of time; see `moments`.
        landmarks: The map; None where it was not kept.
    """

    condition: Condition
    seed: int
    run: LockstepRun
    summary: Summary
    truth: Trajectory | None = None
    pictures: tuple[Moment, ...] = ()
    landmarks: MapPoints | None = None


@dataclass(frozen=True)
class Row:
    """One recording with one kind of features.

    Attributes:
        bag: Path as given.
        name: Short, and of its own among the recordings of the evaluation.
        features: One of `baselines.FEATURE_KINDS`.
        config: Every setting of extractor and odometry.
        recorded: The run on the recording as it is, with the first seed.
        repeats: The same with other seeds.
        curves: Kind -> runs under its conditions, in order of their value.
        pieces: Runs on parts of the recording, in order.
    """

    bag: str
    name: str
    features: str
    config: Mapping[str, Any]
    recorded: BagResult
    repeats: tuple[BagResult, ...] = ()
    curves: Mapping[str, tuple[BagResult, ...]] = field(default_factory=dict)
    pieces: tuple[BagResult, ...] = ()

    def to_mapping(self) -> dict[str, Any]:
        """Return the row, JSON-ready."""
        values: dict[str, Any] = {"bag": self.bag, "name": self.name, "features": self.features}
        values |= {"seed": self.recorded.seed, **self.recorded.summary.values}
        if self.repeats:
            values["runs"] = spread((self.recorded, *self.repeats))
        if self.curves:
            values["curves"] = {
                kind: [curve_point(result) for result in results]
                for kind, results in self.curves.items()
            }
        if self.pieces:
            values["pieces"] = describe_pieces(
                [piece.condition.name for piece in self.pieces],
                [piece.summary for piece in self.pieces],
            )
        return {**values, "config": self.config}


@dataclass(frozen=True)
class Failure:
    """A recording that could not be run.

    Attributes:
        bag: Path as given.
        error: One sentence.
    """

    bag: str
    error: str


@dataclass(frozen=True)
class Evaluation:
    """All that one call measured.

    Attributes:
        rows: In order of recordings, then of features.
        failures: Recordings without rows.
    """

    rows: tuple[Row, ...]
    failures: tuple[Failure, ...] = ()

    def to_mapping(self) -> dict[str, Any]:
        """Return everything, JSON-ready; see the module's docstring."""
        results = [row.to_mapping() for row in self.rows]
        top = results[0] if len(results) == 1 and not self.failures else {}
        return {
            **top,
            "version": superpoint_ros.__version__,
            "results": results,
            "failed": [{"bag": failure.bag, "error": failure.error} for failure in self.failures],
        }


def curve_point(result: BagResult) -> dict[str, Any]:
    """Return one point of a curve: its condition and the figures that matter there."""
    values = result.summary.values
    return {
        "name": result.condition.name,
        "value": result.condition.value,
        **{key: values[key] for key in _POINT_KEYS},
        "lost_intervals": len(values["lost_intervals"]),
        "maps": len(values["maps"]),
    }


def spread(results: Sequence[BagResult]) -> dict[str, Any]:
    """Return how far runs with different seeds lie apart.

    Returns:
        "count", "seeds", "identical" (whether all poses are the same, bit by bit) and, for every
        figure, "values" in order of the seeds, "mean", "std", "min" and "max"; null where a run
        has no such figure.
    """
    poses = [result.run.trajectory() for result in results]
    summary: dict[str, Any] = {
        "count": len(results),
        "seeds": [result.seed for result in results],
        "identical": all(
            np.array_equal(poses[0].stamps_ns, other.stamps_ns)
            and np.array_equal(poses[0].poses, other.poses)
            for other in poses[1:]
        ),
    }
    for key in _SPREAD_KEYS:
        values = [result.summary.values[key] for result in results]
        known = None if None in values else np.array(values)
        summary[key] = {"values": values} | {
            name: None if known is None else float(getattr(known, name)())
            for name in ("mean", "std", "min", "max")
        }
    return summary
