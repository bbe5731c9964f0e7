# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""All that is run along one recording, in one pass of reading: features, seeds, conditions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from superpoint_ros.config import change_settings, to_mapping
from superpoint_ros.data import Array, Observation, TrackingResult
from superpoint_ros.evaluation.bag import BagReader, Frame
from superpoint_ros.evaluation.baselines import (
    FeatureSource,
    config_for,
    feature_maker,
    remembers_images,
)
from superpoint_ros.evaluation.conditions import Condition, make_curve
from superpoint_ros.evaluation.consistency import make_pieces
from superpoint_ros.evaluation.lockstep import Lane, LaneGroup, Observer, run_lanes
from superpoint_ros.evaluation.map_points import MapRecorder
from superpoint_ros.evaluation.moments import MomentTaker
from superpoint_ros.evaluation.results import BagResult, Row
from superpoint_ros.evaluation.summary import RunRecord, summarize
from superpoint_ros.evaluation.trajectory import Trajectory
from superpoint_ros.features.extractor import Extractor, ExtractorConfig
from superpoint_ros.odometry.visual_odometry import OdometryConfig, VisualOdometry


@dataclass(frozen=True)
class RunPlan:
    """What is run along a recording.

    Attributes:
        features: Of `baselines.FEATURE_KINDS`, each once.
        curves: Of `conditions.CURVE_KINDS`.
        seeds: Of RANSAC; the first is that of the curves, too.
        every: Every so manieth image is used.
        max_frames: Stop after so many; 0: all.
        depth_units_per_metre: Unit of 16-bit depth; 0: what the recording says.
        descriptor_type: "f16" or "f32", see `LaneGroup`.
        pieces: Parts of equal length that are run as recordings of their own; 0: none.
        keep_pictures: Whether to draw frames as the runs on the recording as it is go along.
    """

    features: tuple[str, ...] = ("superpoint",)
    curves: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0,)
    every: int = 1
    max_frames: int = 0
    depth_units_per_metre: float = 0.0
    descriptor_type: str = "f16"
    pieces: int = 0
    keep_pictures: bool = False


@dataclass(frozen=True)
class RunConfig:
    """The settings of all runs.

    Attributes:
        extractor: Of SuperPoint; the others take its number of keypoints.
        odometry: With thresholds for SuperPoint; see `baselines`.
        network: Makes SuperPoint's features; None if they are not asked for.
    """

    extractor: ExtractorConfig
    odometry: OdometryConfig
    network: Extractor | None


@dataclass(frozen=True)
class _Run:
    """One lane and what watches it."""

    kind: str
    condition: Condition
    seed: int
    source: FeatureSource
    odometry: VisualOdometry
    lane: Lane
    pictures: MomentTaker | None
    map_recorder: MapRecorder | None


def run_recording(
    reader: BagReader,
    plan: RunPlan,
    config: RunConfig,
    name: str,
    truth: Trajectory | None = None,
    truth_name: str = "",
    *,
    on_frame: Callable[[], None] = lambda: None,
    watch: Callable[[VisualOdometry], Observer] | None = None,
) -> tuple[Row, ...]:
    """Run the plan and judge every run; one row per kind of features.

    Args:
        reader: The recording.
        plan: What to run.
        config: Settings; `config.odometry.mode` is the sensor.
        name: Of the recording, short.
        truth: Poses of the same camera; None if there are none.
        truth_name: Topic or file of the truth.
        on_frame: Called after each frame.
        watch: Makes what watches the first kind of features with the first seed.

    Raises:
        BagError, CalibrationError: The recording cannot be run.
    """
    runs: list[_Run] = []
    groups: list[LaneGroup] = []
    for kind in plan.features:
        make_source = feature_maker(kind, config.extractor, config.network)
        pieces = make_pieces(reader.path, num_frames(reader, plan), plan.pieces)
        for conditions in _sharing(kind, plan, pieces):
            source = make_source()
            members = [
                _make_run(kind, condition, seed, source, plan, config, watch)
                for condition in conditions
                for seed in (plan.seeds if condition.kind == "recorded" else plan.seeds[:1])
            ]
            watch = None  # the first group has the run that is watched
            runs += members
            groups.append(
                LaneGroup(
                    source.extract_batch,
                    [run.lane for run in members],
                    conditions[0].change_image,
                    plan.descriptor_type,
                    config.odometry.depth,
                    members[0].odometry.config.stereo,
                )
            )
    try:
        run_lanes(
            reader.frames(every=plan.every, max_frames=plan.max_frames),
            groups,
            depth_units_per_metre=plan.depth_units_per_metre or reader.depth_units_per_metre,
            on_frame=on_frame,
        )
    finally:
        for run in runs:
            run.odometry.close()
    results = [(run, _judge(run, truth, truth_name, reader)) for run in runs]
    return tuple(
        _make_row(
            str(reader.path), name, config, [pair for pair in results if pair[0].kind == kind]
        )
        for kind in plan.features
    )


def num_frames(reader: BagReader, plan: RunPlan) -> int:
    """Return how many frames `run_recording` will take."""
    count = -(-reader.num_images // plan.every)
    return min(count, plan.max_frames) if plan.max_frames else count


def _sharing(kind: str, plan: RunPlan, pieces: tuple[Condition, ...]) -> list[list[Condition]]:
    """Return the conditions, together where they share the features of a frame."""
    drops = make_curve("drops", plan.seeds[0]) if "drops" in plan.curves else ()
    exposures = make_curve("exposure", plan.seeds[0]) if "exposure" in plan.curves else ()
    if remembers_images(kind):
        return [[condition] for condition in (Condition(), *drops, *pieces, *exposures)]
    return [[Condition(), *drops, *pieces], *([condition] for condition in exposures)]


def _make_run(
    kind: str,
    condition: Condition,
    seed: int,
    source: FeatureSource,
    plan: RunPlan,
    config: RunConfig,
    watch: Callable[[VisualOdometry], Observer] | None,
) -> _Run:
    seeded = change_settings(config.odometry, "seed", lambda value: seed)
    odometry = VisualOdometry(config_for(kind, seeded))
    is_first = condition.kind == "recorded" and seed == plan.seeds[0]
    map_recorder = MapRecorder(odometry) if is_first else None
    pictures = MomentTaker() if is_first and plan.keep_pictures else None
    watchers = (map_recorder, pictures, watch(odometry) if watch and is_first else None)
    lane = Lane(odometry, keeps=condition.keeps, observer=_all_of(filter(None, watchers)))
    return _Run(kind, condition, seed, source, odometry, lane, pictures, map_recorder)


def _all_of(observers: Iterable[Observer]) -> Observer:
    chosen = list(observers)

    def observe(
        frame: Frame,
        grey: Array | None,
        observation: Observation | None,
        result: TrackingResult | None,
    ) -> None:
        for observer in chosen:
            observer(frame, grey, observation, result)

    return observe


def _judge(run: _Run, truth: Trajectory | None, truth_name: str, reader: BagReader) -> BagResult:
    lockstep = run.lane.finish()
    record = RunRecord(
        sensor=run.odometry.config.mode,
        stamps_ns=lockstep.stamps_ns,
        trajectory=lockstep.trajectory(),
        wall_s=lockstep.wall_s,
        latency_ms=lockstep.latency_ms,
        skipped=lockstep.skipped,
        gaps_ns=lockstep.gaps_ns,
        model_id=run.source.model_id,
        weights_sha256=run.source.weights_sha256,
        is_tracked=lockstep.is_tracked,
    )
    summary = summarize(record, truth, truth_name)
    summary.values["notes"] += reader.notes
    candidates = reader.ground_truth_candidates()
    if truth is None and candidates:
        summary.values["notes"].append(
            f"--ground-truth TOPIC would compare with one of: {', '.join(candidates)}"
        )
    return BagResult(
        run.condition,
        run.seed,
        lockstep,
        summary,
        truth,
        tuple(run.pictures.moments) if run.pictures else (),
        run.map_recorder.landmarks if run.map_recorder else None,
    )


def _make_row(
    bag: str, name: str, config: RunConfig, results: list[tuple[_Run, BagResult]]
) -> Row:
    run, recorded = results[0]
    rest = [result for _, result in results[1:]]
    curves: dict[str, tuple[BagResult, ...]] = {}
    for result in rest:
        kind = result.condition.kind
        if kind not in ("recorded", "pieces"):
            curves[kind] = (*curves.get(kind, ()), result)
    settings: dict[str, Any] = {"odometry": to_mapping(run.odometry.config)}
    if run.kind == "superpoint":
        settings["extractor"] = to_mapping(config.extractor)
    else:
        settings["extractor"] = {
            "keypoints": {"max_keypoints": config.extractor.keypoints.max_keypoints}
        }
    return Row(
        bag,
        name,
        run.kind,
        settings,
        recorded,
        tuple(result for result in rest if result.condition.kind == "recorded"),
        curves,
        tuple(result for result in rest if result.condition.kind == "pieces"),
    )
