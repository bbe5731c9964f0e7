# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The readout time of a rolling shutter, found from the images alone.

While its rows are read the camera goes on moving: a landmark seen s of an image's height below the
middle is seen s * readout later, from where the camera is by then. So every tracked frame measures
the readout time, by least squares with the pose as the other unknown. But a map that was made with
a wrong readout time is bent, and hides most of the error from the frames beside its keyframes:
what a frame measures then has the right sign and is too small. A map made with none can hide the
whole error. Hence the search: the odometry runs again and again, until its frames ask for no
change, and for opposite ones with more and with less. There the map is straight, whatever was
hidden elsewhere.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from superpoint_ros.config import change_settings
from superpoint_ros.data import Array, Observation, TrackingResult
from superpoint_ros.geometry import se3
from superpoint_ros.geometry.pnp import reprojection_residuals, robust_spread
from superpoint_ros.odometry.rolling_shutter import row_fractions
from superpoint_ros.odometry.visual_odometry import OdometryConfig, VisualOdometry

MAX_RUNS = 10
_MAX_STEP_S = 0.21  # frames farther apart do not tell how fast the camera was
_NEIGHBOURS = 5  # frames whose poses give the velocity of the middle one
_MIN_POINTS = 30  # of a frame; seven numbers come from them
# Frames that share a map err alike. What is left of this long a stretch counts as one error.
_STRETCH_S = 0.5
_MIN_STRETCHES = 8  # fewer do not tell how far they scatter
_FIRST_STEP = 0.01  # seconds; a bracket is sought in steps that double
_LIMIT = 0.1  # seconds, that of `rolling_shutter.readout`
# Seconds, least and most; between them half the standard deviation. The last step is still made.
_TOLERANCE = 2e-5, 5e-4
_CLEAR = 3.0  # standard deviations that a change asked for at zero is from none
_APART = 5.0  # standard deviations between runs that tell what share of an error is seen
# A whole map errs by more than its stretches scatter: so far in nine rendered recordings of 13 s
# with a readout time of 0 or 20 ms, root mean square (docs/benchmarks.md). Seconds, and a share.
_MAP_ERROR = 1e-4, 0.01
_MAX_SIGMA = 0.003  # seconds: an estimate worse than this is none
# Below this the velocity is mostly the noise of the poses: any readout time would do, and zero be
# taken for the best. It is some five times that noise.
_MIN_FLOW = np.radians(5.0)  # per second
_HUBER = 1.345  # standard deviations: 95 % as good as least squares if all errors are normal


@dataclass(frozen=True)
class ReadoutRun:
    """What the frames of one run of the odometry say about the readout time it was run with.

    Attributes:
        readout: That time, seconds.
        excess: By how much it should be longer, as far as the frames see it, seconds; NaN if
            hardly a frame had a say.
        sigma: Standard deviation of `excess`, from the scatter of the stretches; or infinite.
        num_stretches: Half seconds with frames that had a say.
        num_frames: These frames.
        flow: Root mean square speed at which their landmarks moved through the image, rad/s.
    """

    readout: float
    excess: float
    sigma: float
    num_stretches: int
    num_frames: int
    flow: float


@dataclass(frozen=True)
class ReadoutEstimate:
    """The readout time of a camera, or why it cannot be told.

    Attributes:
        readout: Seconds, negative: from the last row up; None: it cannot be told.
        sigma: Its standard deviation, seconds, from the scatter of the frames and `_MAP_ERROR`.
        reason: Why it cannot be told; empty if it can.
        runs: Of the odometry, in the order of the search.
    """

    readout: float | None
    sigma: float
    reason: str
    runs: tuple[ReadoutRun, ...]

    @property
    def is_global_shutter(self) -> bool:
        """Whether the readout time is no farther from zero than chance explains."""
        return self.readout is not None and abs(self.readout) < 3.0 * self.sigma


def estimate_readout(
    observations: Iterable[Observation],
    config: OdometryConfig,
    on_run: Callable[[ReadoutRun], None] = lambda run: None,
) -> ReadoutEstimate:
    """Find the readout time with which the odometry's frames ask for no other.

    Args:
        observations: Of a recording; gone through up to `MAX_RUNS` times, so no generator.
        config: Of the odometry; its readout time does not matter.
        on_run: Called after each run.
    """
    runs: list[ReadoutRun] = []

    def measure(readout: float) -> ReadoutRun:
        runs.append(_run(observations, config, readout))
        on_run(runs[-1])
        return runs[-1]

    def give_up(reason: str) -> ReadoutEstimate:
        return ReadoutEstimate(None, float("inf"), reason, tuple(runs))

    near = measure(0.0)
    if near.num_frames and near.flow < _MIN_FLOW:
        return give_up(
            f"the camera hardly moved: the image at {np.degrees(near.flow):.1f} degrees a second, "
            f"{np.degrees(_MIN_FLOW):.0f} are needed"
        )
    if near.num_stretches < _MIN_STRETCHES:
        return give_up(
            f"too little was tracked: {_STRETCH_S * near.num_stretches:.1f} s, of which "
            f"{_STRETCH_S * _MIN_STRETCHES:.0f} are needed"
        )
    if near.sigma > 2.0 * _MAX_SIGMA:  # by half too large where zero is wrong
        return give_up(_too_uncertain(near, near.sigma))
    step = float(np.copysign(_FIRST_STEP, near.excess))
    far = measure(step)
    is_clear = abs(near.excess) > _CLEAR * near.sigma
    if not is_clear:  # zero is right, or hides all: ask both sides
        near = measure(-step)
        if near.num_stretches >= _MIN_STRETCHES and near.excess * near.readout > 0.0:
            near, far, step = far, near, -step
    while far.num_stretches >= _MIN_STRETCHES and far.excess * step > 0.0:
        if abs(far.readout) >= _LIMIT:
            return give_up(f"no readout time up to {_LIMIT:g} s fits what the frames saw")
        step *= 2.0
        near, far = far, measure(float(np.clip(far.readout + step, -_LIMIT, _LIMIT)))
    for run in (near, far):
        if run.num_stretches < _MIN_STRETCHES:
            return give_up(_too_lost(run))
    while True:
        slope = (far.excess - near.excess) / (far.readout - near.readout)
        best = min(near, far, key=lambda run: abs(run.excess))
        readout = best.readout - best.excess / slope
        sigma = best.sigma / _visible_share(best, runs if is_clear else runs[1:])
        step = abs(readout - best.readout)
        if step < np.clip(0.5 * sigma, *_TOLERANCE) or len(runs) == MAX_RUNS:
            break
        middle = measure(readout)
        if middle.num_stretches < _MIN_STRETCHES:
            return give_up(_too_lost(middle))
        if middle.excess * near.excess > 0.0:
            near = middle
        else:
            far = middle
    least, share = _MAP_ERROR
    sigma = float(np.linalg.norm([sigma, least, share * readout]))
    if sigma > _MAX_SIGMA:
        return give_up(_too_uncertain(best, sigma))
    return ReadoutEstimate(readout, sigma, "", tuple(runs))


def _visible_share(best: ReadoutRun, runs: list[ReadoutRun]) -> float:
    """Return the share of a readout time's error that frames see, by two runs well apart.

    The bracket of the search may be so narrow that its slope is that of the noise.
    """
    by_distance = sorted(
        (run for run in runs if run.readout != best.readout),
        key=lambda run: abs(run.readout - best.readout),
    )
    far = [run for run in by_distance if abs(run.readout - best.readout) > _APART * best.sigma]
    other = far[0] if far else by_distance[-1]
    share = (best.excess - other.excess) / (other.readout - best.readout)
    return float(np.clip(share, 1e-3, 1.0))  # they never see more than there is


def _too_lost(run: ReadoutRun) -> str:
    return f"with a readout time of {run.readout:.4f} s the odometry tracks too little"


def _too_uncertain(run: ReadoutRun, sigma: float) -> str:
    error = f"{1e3 * sigma:.1f}" if sigma < _LIMIT else f"more than {1e3 * _LIMIT:.0f}"
    return (
        f"uncertain to {error} ms: the image moved at {np.degrees(run.flow):.0f} "
        f"degrees a second in {run.num_frames} frames"
    )


def _run(
    observations: Iterable[Observation], config: OdometryConfig, readout: float
) -> ReadoutRun:
    odometry = VisualOdometry(change_settings(config, "readout", lambda value: readout))
    meter = _Meter(readout)
    last_ns: int | None = None
    try:
        for observation in observations:
            if last_ns is not None and observation.stamp_ns <= last_ns:
                odometry.reset()
            last_ns = observation.stamp_ns
            result = odometry.track(observation)
            meter.take(observation, result, odometry)
    finally:
        odometry.close()
    return meter.finish()


@dataclass(frozen=True)
class _Sighting:
    """A frame whose velocity is not known yet.

    Attributes:
        stamp_ns: Of the frame.
        map_id: Of its map.
        seconds: Since the frame before.
        twist: (6,) mean velocity since then, per second, axes of the camera.
        T_world_cam: (4, 4).
        points_world: (M, 3) what it saw.
        pixels: (M, 2) where, undistorted but as the rolling shutter saw it.
        rows: (M,) of the raw keypoints, from -0.5 to 0.5.
        K: (3, 3).
    """

    stamp_ns: int
    map_id: int
    seconds: float
    twist: Array
    T_world_cam: Array
    points_world: Array
    pixels: Array
    rows: Array
    K: Array


class _Meter:
    """Sums up what the frames of a run say."""

    def __init__(self, readout: float) -> None:
        self._readout = readout
        self._latest: deque[_Sighting] = deque(maxlen=_NEIGHBOURS)
        self._last_ns = 0
        self._sums: dict[int, Array] = {}  # stretch -> system of `_measure`
        self._squared_flow = 0.0
        self._num_frames = 0

    def take(
        self, observation: Observation, result: TrackingResult, odometry: VisualOdometry
    ) -> None:
        """Take a frame just tracked, and measure one before, whose velocity is now known."""
        now = _sighting(observation, result, odometry, self._last_ns)
        self._last_ns = observation.stamp_ns
        if now is None or (self._latest and self._latest[-1].map_id != now.map_id):
            self._latest.clear()
        if now is None:
            return
        self._latest.append(now)
        if len(self._latest) < _NEIGHBOURS:
            return
        middle = self._latest[_NEIGHBOURS // 2]
        measured = _measure(middle, _velocity(list(self._latest)), self._readout)
        if measured is None:
            return
        stretch = int(1e-9 * middle.stamp_ns / _STRETCH_S)
        self._sums[stretch] = self._sums.get(stretch, 0.0) + measured.system
        self._squared_flow += measured.squared_flow
        self._num_frames += 1

    def finish(self) -> ReadoutRun:
        """Return what the frames say together."""
        count = len(self._sums)
        excess, sigma = float("nan"), float("inf")
        if count >= _MIN_STRETCHES:
            excess, sigma = _solve(np.array(list(self._sums.values())))
        flow = float(np.sqrt(self._squared_flow / max(self._num_frames, 1)))
        return ReadoutRun(self._readout, excess, sigma, count, self._num_frames, flow)


def _solve(systems: Array) -> tuple[float, float]:
    """Return the change of the readout time and its standard deviation, seconds.

    A lens that is calibrated a little wrong looks like a motion while reading that is always the
    same: of a car that drives straight on, ahead. So one constant twist (over the whole readout)
    is estimated beside the readout time, and only what comes and goes with the velocity counts.

    Args:
        systems: (B, 7, 8) normal equations of the stretches; the last column is the right side.
    """
    whole = systems.sum(axis=0)
    inverse = np.linalg.pinv(whole[1:, 1:7], hermitian=True)
    # What the constant twist cannot explain of the readout time.
    share = np.concatenate([[1.0], -inverse @ whole[1:, 0]])
    information = float(share @ whole[:, 0])
    if information <= 0.0:
        return float("nan"), float("inf")
    excess = float(share @ whole[:, 7]) / information
    twist = inverse @ (whole[1:, 7] - whole[1:, 0] * excess)
    left = (systems[:, :, 7] - systems[:, :, :7] @ [excess, *twist]) @ share
    count = len(systems)
    scatter = np.square(left).sum() * count / (count - 7)  # seven numbers were fitted
    return excess, float(np.sqrt(scatter) / information)


def _sighting(
    observation: Observation,
    result: TrackingResult,
    odometry: VisualOdometry,
    last_ns: int,
) -> _Sighting | None:
    seen = odometry.sightings()
    seconds = 1e-9 * (observation.stamp_ns - last_ns)
    if seen is None or result.T_world_cam is None or result.twist is None:
        return None
    if len(seen.keypoints) < _MIN_POINTS or seconds > _MAX_STEP_S:
        return None
    return _Sighting(
        observation.stamp_ns,
        result.map_id,
        seconds,
        result.twist,
        result.T_world_cam,
        seen.points_world,
        observation.pixels[seen.keypoints],
        row_fractions(observation)[seen.keypoints],
        observation.K,
    )


def _velocity(frames: list[_Sighting]) -> Array:
    """Return the twist (6,) of the middle frame: that of the polynomial through all poses.

    A parabola through three would read a shake of 1 Hz, seen 15 times a second, 3 % too slow.
    """
    middle = len(frames) // 2
    times, motions = [], []
    for step in (-1, 1):
        T_middle_now, time_s = np.eye(4), 0.0
        for i in range(1, middle + 1):
            later = frames[middle + step * i + (step < 0)]
            T_middle_now = T_middle_now @ se3.exp(step * later.seconds * later.twist)
            time_s += step * later.seconds
            times.append(time_s)
            motions.append(se3.log(T_middle_now))
    weights = []  # derivatives, at the middle, of Lagrange's polynomials
    for i, time_s in enumerate(times):
        others = np.array(times[:i] + times[i + 1 :])
        weights.append(np.prod(others / (others - time_s)) / time_s)
    return np.asarray(np.array(weights) @ np.array(motions))


@dataclass(frozen=True)
class _Measured:
    """Of one frame.

    Attributes:
        system: (7, 8) normal equations of the readout time (seconds) and of a twist over the whole
            readout (metres, radians); the right side last. Robust, by the frame's own noise.
        squared_flow: Mean over the landmarks, rad^2 / s^2.
    """

    system: Array
    squared_flow: float


def _measure(sighting: _Sighting, twist: Array, readout: float) -> _Measured | None:
    """Linearise what a frame saw by readout time and constant twist, with the pose left free.

    A pixel at row s was seen from T_world_cam @ exp(s * readout * twist), to first order.

    Args:
        sighting: The frame.
        twist: (6,) its velocity, per second, axes of the camera.
        readout: To linearise at, seconds.

    Returns:
        None if the pose is not determined.
    """
    residuals, J = reprojection_residuals(
        sighting.points_world, sighting.pixels, sighting.K, sighting.T_world_cam
    )
    flow = J @ twist  # against the motion of the pixels, per second
    by_row = sighting.rows[:, None, None] * np.concatenate([flow[:, :, None], J], axis=2)
    residuals = residuals + readout * by_row[:, :, 0]
    sigma = max(robust_spread(residuals), 1e-3)
    weights = np.minimum(1.0, _HUBER * sigma / np.maximum(np.abs(residuals), 1e-12)) / sigma**2
    columns = np.concatenate([by_row, -residuals[:, :, None]], axis=2).reshape(-1, 8)
    of_pose = J.reshape(-1, 6)
    weighted = of_pose * weights.reshape(-1, 1)
    cross = weighted.T @ columns
    try:
        explained = np.linalg.solve(weighted.T @ of_pose, cross)
    except np.linalg.LinAlgError:
        return None
    system = (columns * weights.reshape(-1, 1)).T @ columns - cross.T @ explained
    squared_flow = np.square(flow / sighting.K[[0, 1], [0, 1]]).sum(axis=1).mean()
    return _Measured(system[:7], float(squared_flow))
