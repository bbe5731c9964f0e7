# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The readout time of a rolling shutter, found from the images alone.

While its rows are read the camera goes on moving: a landmark seen s of an image's height below the
middle is seen s * readout later, from where the camera is by then. So every tracked frame measures
the readout time, by least squares with the pose as the other unknown. But a map that was made with
a wrong readout time is bent, and hides most of the error from the frames beside its keyframes:
what a frame measures then has the right sign and is too small. Hence the search: the odometry runs
again and again, until its frames ask for no change. There the map is straight, whatever was hidden
elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from superpoint_ros.config import change_settings
from superpoint_ros.data import Array, Observation, TrackingResult
from superpoint_ros.geometry.pnp import reprojection_residuals, robust_spread
from superpoint_ros.odometry.rolling_shutter import row_fractions
from superpoint_ros.odometry.visual_odometry import OdometryConfig, VisualOdometry

MAX_RUNS = 10
_MAX_STEP_S = 0.21  # frames farther apart do not tell how fast the camera turned between them
_MIN_POINTS = 30  # of a frame; seven numbers come from them
# Frames that share a map err alike. What is left of this long a stretch counts as one error.
_BLOCK_S = 0.5
_MIN_BLOCKS = 8  # fewer do not tell how far they scatter
_FIRST_STEP = 0.01  # seconds; a bracket is sought in steps that double
_LIMIT = 0.1  # seconds, that of `rolling_shutter.readout`
_TOLERANCE = 2e-5  # seconds; or a tenth of the standard deviation
_MAX_SIGMA = 0.002  # seconds: an estimate worse than this is none
# Below this the velocity is mostly the noise of the poses: any readout time would do, and zero be
# taken for the best. It is some five times that noise.
_MIN_FLOW = np.radians(5.0)  # per second
_HUBER = 1.345  # standard deviations: 95 % as good as least squares if all errors are normal


@dataclass(frozen=True)
class ReadoutRun:
    """What the frames of one run of the odometry say about the readout time it was run with.

    Attributes:
        readout: That time, seconds.
        information: (B,) of each stretch of time, 1 / seconds^2.
        gradient: (B,) information times the change that the stretch asks for, 1 / seconds.
        num_frames: Frames that had a say.
        flow: Root mean square speed at which their landmarks moved through the image, rad/s.
    """

    readout: float
    information: Array
    gradient: Array
    num_frames: int
    flow: float

    @property
    def excess(self) -> float:
        """By how much the readout time should be longer, as far as the frames see it, seconds.

        NaN if no frame had a say.
        """
        if not len(self.gradient):
            return float("nan")
        return float(self.gradient.sum() / self.information.sum())

    @property
    def sigma(self) -> float:
        """Standard deviation of `excess`, from the scatter of the stretches; infinite if few."""
        count = len(self.gradient)
        if count < _MIN_BLOCKS:
            return float("inf")
        left = self.gradient - self.excess * self.information
        scatter = np.sqrt(np.square(left).sum() * count / (count - 1))
        return float(scatter / self.information.sum())


@dataclass(frozen=True)
class ReadoutEstimate:
    """The readout time of a camera, or why it cannot be told.

    Attributes:
        readout: Seconds, negative: from the last row up; None: it cannot be told.
        sigma: Its standard deviation, seconds, as far as the scatter of the frames shows it.
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
    if len(near.gradient) < _MIN_BLOCKS:
        return give_up(
            f"too little was tracked: {_BLOCK_S * len(near.gradient):.1f} s, of which "
            f"{_BLOCK_S * _MIN_BLOCKS:.0f} are needed"
        )
    if near.flow < _MIN_FLOW:
        return give_up(
            f"the camera hardly moved: the image at {np.degrees(near.flow):.1f} degrees a second, "
            f"{np.degrees(_MIN_FLOW):.0f} are needed"
        )
    # A bent map makes this smaller than it is for the readout time, never larger.
    if near.sigma > _MAX_SIGMA:
        return give_up(_too_uncertain(near, near.sigma))
    step = float(np.copysign(_FIRST_STEP, near.excess))
    while True:
        far = measure(float(np.clip(near.readout + step, -_LIMIT, _LIMIT)))
        if len(far.gradient) < _MIN_BLOCKS:
            return give_up(
                f"with {far.readout:g} s the odometry is lost, with less it asks for more"
            )
        if far.excess * near.excess <= 0.0:
            break
        if abs(far.readout) >= _LIMIT:
            return give_up(f"no readout time up to {_LIMIT:g} s fits what the frames saw")
        near, step = far, 2.0 * step
    while True:
        slope = (far.excess - near.excess) / (far.readout - near.readout)
        best = min(near, far, key=lambda run: abs(run.excess))
        readout, sigma = best.readout - best.excess / slope, best.sigma / abs(slope)
        if abs(readout - best.readout) < max(_TOLERANCE, 0.1 * sigma) or len(runs) == MAX_RUNS:
            break
        middle = measure(readout)
        if middle.excess * near.excess > 0.0:
            near = middle
        else:
            far = middle
    if sigma > _MAX_SIGMA:
        return give_up(_too_uncertain(best, sigma))
    return ReadoutEstimate(readout, sigma, "", tuple(runs))


def _too_uncertain(run: ReadoutRun, sigma: float) -> str:
    return (
        f"uncertain to {1e3 * sigma:.1f} ms: the image moved at {np.degrees(run.flow):.0f} "
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
    """A frame whose velocity is half known: that since the frame before.

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
        self._last: _Sighting | None = None
        self._last_ns = 0
        self._sums: dict[int, Array] = {}  # stretch -> information, gradient, squared flow
        self._num_frames = 0

    def take(
        self, observation: Observation, result: TrackingResult, odometry: VisualOdometry
    ) -> None:
        """Take a frame just tracked, and measure the one before: its velocity is now known."""
        last, now = self._last, _sighting(observation, result, odometry, self._last_ns)
        self._last, self._last_ns = now, observation.stamp_ns
        if last is None or now is None or last.map_id != now.map_id:
            return
        # The velocity at the frame: that of a parabola through the three poses.
        whole = last.seconds + now.seconds
        twist = (last.twist * now.seconds + now.twist * last.seconds) / whole
        measured = _measure(last, twist, self._readout)
        if measured is None:
            return
        stretch = int(1e-9 * last.stamp_ns / _BLOCK_S)
        self._sums[stretch] = self._sums.get(stretch, np.zeros(3)) + measured
        self._num_frames += 1

    def finish(self) -> ReadoutRun:
        """Return the sums."""
        sums = np.array(list(self._sums.values())).reshape(-1, 3)
        flow = float(np.sqrt(sums[:, 2].sum() / max(self._num_frames, 1)))
        return ReadoutRun(self._readout, sums[:, 0], sums[:, 1], self._num_frames, flow)


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


def _measure(sighting: _Sighting, twist: Array, readout: float) -> Array | None:
    """Return information and gradient of the readout time, and the mean squared flow. (3,).

    The pose is left free. A pixel at row s was seen from T_world_cam @ exp(s * readout * twist),
    to first order.

    Args:
        sighting: A frame.
        twist: (6,) its velocity, per second, axes of the camera.
        readout: To linearise at, seconds.

    Returns:
        1 / seconds^2, 1 / seconds, rad^2 / s^2: robust, by the frame's own noise. None if the
        pose is not determined.
    """
    residuals, J = reprojection_residuals(
        sighting.points_world, sighting.pixels, sighting.K, sighting.T_world_cam
    )
    flow = J @ twist  # against the motion of the pixels, per second
    J_readout = sighting.rows[:, None] * flow
    residuals = residuals + readout * J_readout
    sigma = max(robust_spread(residuals), 1e-3)
    weights = np.minimum(1.0, _HUBER * sigma / np.maximum(np.abs(residuals), 1e-12)) / sigma**2
    weighted = (J * weights[:, :, None]).reshape(-1, 6)
    both = np.column_stack([J_readout.ravel(), -residuals.ravel()])
    cross = weighted.T @ both
    try:
        explained = np.linalg.solve(weighted.T @ J.reshape(-1, 6), cross)
    except np.linalg.LinAlgError:
        return None
    whole = (both * weights.ravel()[:, None]).T @ both - cross.T @ explained
    focal = sighting.K[[0, 1], [0, 1]]
    return np.array([*whole[0], np.square(flow / focal).sum(axis=1).mean()])
