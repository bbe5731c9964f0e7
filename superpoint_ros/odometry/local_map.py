# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Landmarks and keyframes around the camera: bounded, culled, adjusted together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from superpoint_ros.config import Config, option
from superpoint_ros.data import Array, Features, Observation
from superpoint_ros.geometry import se3
from superpoint_ros.geometry.bundle_adjustment import (
    BundleProblem,
    BundleResult,
    BundleSamples,
    follow_points,
)
from superpoint_ros.geometry.triangulation import project
from superpoint_ros.odometry.keyframes import NO_LANDMARK, Keyframe, common_landmarks
from superpoint_ros.odometry.uncertainty import SAMPLES, NoiseModel, shift_points

# Landmarks made since the oldest one in the map was: hours in one room. A table of more is slower
# than a search, and would grow for ever.
_MAX_TABLE = 1 << 20
# Cameras of a mono window that are less apart, as a share of the distance of what they see, do not
# tell its depth: adjusting them would let that wander.
_LEAST_BASELINE = 0.02


@dataclass(frozen=True)
class LocalMapConfig(Config):
    """How much the map remembers."""

    max_keyframes: int = option(40, "Most keyframes kept.", minimum=3, maximum=1000)
    max_landmarks: int = option(20000, "Most landmarks kept.", minimum=100, maximum=1000000)
    min_found_ratio: float = option(
        0.2,
        "A landmark is dropped when it is matched in fewer than this share of the frames that "
        "should see it.",
        minimum=0.0,
        maximum=1.0,
    )
    probation_keyframes: int = option(
        2,
        "A landmark that fewer than two keyframes see is dropped after so many keyframes.",
        minimum=1,
        maximum=100,
    )


@dataclass(frozen=True)
class VisibleLandmarks:
    """Landmarks that a camera pose should see.

    Attributes:
        rows: (V,) rows in the map's arrays.
        pixels: (V, 2) predicted undistorted pixels.
    """

    rows: Array
    pixels: Array


@dataclass(frozen=True)
class BundleWindow:
    """A bundle problem and the way back into the map (which may have changed meanwhile).

    Attributes:
        problem: The arrays.
        keyframe_indices: `Keyframe.index` of each camera.
        landmark_ids: Id of each point.
        keypoint_index: (M,) keypoint of each observation within its keyframe.
    """

    problem: BundleProblem
    keyframe_indices: list[int]
    landmark_ids: Array
    keypoint_index: Array


class LocalMap:
    """Keyframes in order of time, and landmarks as parallel arrays in ascending order of id."""

    def __init__(self, config: LocalMapConfig, noise: NoiseModel | None = None) -> None:
        self._config = config
        self.noise = noise or NoiseModel(is_stereo=False)
        self.keyframes: list[Keyframe] = []
        self.ids = np.empty(0, np.int64)
        self.points = np.empty((0, 3))
        self.point_samples = np.empty((0, 3, SAMPLES), np.float32)  # errors, world frame
        self.point_covariance = np.empty((0, 3, 3))  # the same if the keyframes are right
        self.descriptors = np.empty((0, 0), np.float32)
        self._view_direction = np.empty((0, 3))  # landmark -> camera of its descriptor, unit
        self._view_distance = np.empty(0)
        self._visible_count = np.empty(0, np.int64)
        self._found_count = np.empty(0, np.int64)
        self._born = np.empty(0, np.int64)  # index of the keyframe that made it
        self._lasting = np.empty((0, 2, SAMPLES), np.float32)  # of the newest keyframe's noise
        self._next_id = 0
        self._next_keyframe = 0

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def next_id(self) -> int:
        """Id of the landmark that comes next."""
        return self._next_id

    def add_keyframe(
        self, observation: Observation, T_world_cam: Array, landmark_ids: Array
    ) -> Keyframe:
        """Append a keyframe; its landmarks take the look (descriptor) they have in it.

        Its pose counts as exact until `error_samples` are set.
        """
        self._lasting = self._continue_noise(landmark_ids)
        keyframe = Keyframe(
            self._next_keyframe,
            observation,
            np.array(T_world_cam, np.float64),
            np.array(landmark_ids, np.int64),
            int((landmark_ids != NO_LANDMARK).sum()),
            np.zeros((6, SAMPLES)),
            self.noise.draw(self._lasting),
        )
        self._next_keyframe += 1
        self.keyframes.append(keyframe)
        seen = np.flatnonzero(keyframe.landmark_ids != NO_LANDMARK)
        if len(seen):
            rows = self.rows_of(keyframe.landmark_ids[seen])
            self._look_from(rows, observation.features.descriptors[seen], T_world_cam)
        return keyframe

    def add_landmarks(self, points_world: Array, descriptors: Array, T_world_cam: Array) -> Array:
        """Append landmarks seen from `T_world_cam`; return their ids (N,)."""
        count = len(points_world)
        ids = np.arange(self._next_id, self._next_id + count, dtype=np.int64)
        self._next_id += count
        rows = np.arange(len(self.ids), len(self.ids) + count)
        self.ids = np.concatenate([self.ids, ids])
        self.points = np.concatenate([self.points, points_world])
        exact = np.zeros((count, 3, SAMPLES), np.float32)
        self.point_samples = np.concatenate([self.point_samples, exact])
        self.point_covariance = np.concatenate([self.point_covariance, np.zeros((count, 3, 3))])
        old = self.descriptors.reshape(len(self.descriptors), descriptors.shape[1])
        self.descriptors = np.concatenate([old, descriptors])
        self._view_direction = np.concatenate([self._view_direction, np.zeros((count, 3))])
        self._view_distance = np.concatenate([self._view_distance, np.ones(count)])
        self._visible_count = np.concatenate([self._visible_count, np.ones(count, np.int64)])
        self._found_count = np.concatenate([self._found_count, np.ones(count, np.int64)])
        born = max(self._next_keyframe - 1, 0)
        self._born = np.concatenate([self._born, np.full(count, born)])
        self._look_from(rows, descriptors, T_world_cam)
        return ids

    def rows_of(self, ids: Array) -> Array:
        """Return the rows (N,) of ids that are in the map."""
        return np.searchsorted(self.ids, ids)

    def point_covariance_of(self, rows: Array) -> Array | None:
        """Return the covariance (N, 3, 3) that landmarks have of their own; None: next to nothing.

        What neighbours have in common is none: they cannot move each for itself. On TUM's Kinect
        that freedom cost a fifth of the RPE.
        """
        return None if self.noise.is_depth_common else self.point_covariance[rows]

    def contains(self, ids: Array) -> Array:
        """Return (N,) bool: which ids are (still) in the map."""
        if not len(self.ids):
            return np.zeros(len(ids), bool)
        rows = np.minimum(self.rows_of(ids), len(self.ids) - 1)
        return np.asarray(self.ids[rows] == ids)

    def visible_from(
        self, T_world_cam: Array, observation: Observation, margin_px: float
    ) -> VisibleLandmarks:
        """Select the landmarks in front of the camera, in its image, seen from a like view.

        Args:
            T_world_cam: Where the camera is thought to be. (4, 4).
            observation: Has its intrinsics, and the size and outline of its image.
            margin_px: How far outside the image they may lie, pixels.
        """
        if not len(self.ids):
            return VisibleLandmarks(np.empty(0, np.int64), np.empty((0, 2)))
        offset = self.points - T_world_cam[:3, 3]
        points_cam = offset @ T_world_cam[:3, :3]
        pixels = project(points_cam, observation.K)
        distance = np.linalg.norm(offset, axis=1)
        cosine = -(offset * self._view_direction).sum(axis=1) / np.maximum(distance, 1e-9)
        scale = distance / self._view_distance
        with np.errstate(invalid="ignore"):
            inside = (
                (points_cam[:, 2] > 0.01)
                & _is_inside(pixels, observation, margin_px)
                & (cosine > 0.5)  # within 60 degrees of where it was last seen from
                & (scale > 0.4)
                & (scale < 2.5)  # the descriptor bears scale changes of about two
            )
        rows = np.flatnonzero(inside)
        return VisibleLandmarks(rows, pixels[rows])

    def features_of(self, rows: Array, pixels: Array, image_size_hw: tuple[int, int]) -> Features:
        """Return landmarks as if they were keypoints, for the matcher."""
        return Features(
            keypoints=pixels.astype(np.float32),
            scores=np.ones(len(rows), np.float32),
            descriptors=self.descriptors[rows],
            image_size_hw=image_size_hw,
        )

    def count_sightings(self, visible_rows: Array, found_rows: Array) -> None:
        """Book who should have been seen in a frame and who was."""
        self._visible_count[visible_rows] += 1
        self._found_count[found_rows] += 1

    def most_reliable(self, rows: Array, count: int) -> Array:
        """Return the indices into `rows` of the landmarks found most often of late."""
        # Newer landmarks were seen from nearer to here: the order of ids breaks the ties.
        ratio = self._found_count[rows] / np.maximum(self._visible_count[rows], 1)
        return np.lexsort((-self.ids[rows], -np.round(ratio, 1)))[:count]

    def covisible_keyframes(self, landmark_ids: Array) -> list[tuple[int, Keyframe]]:
        """Return (number of shared landmarks, keyframe), most shared first, newest on a tie."""
        are_shared = self._membership(landmark_ids)
        counted = [
            (int(are_shared(keyframe.landmark_ids).sum()), keyframe) for keyframe in self.keyframes
        ]
        counted.sort(key=lambda pair: (-pair[0], -pair[1].index))
        return [pair for pair in counted if pair[0] > 0]

    def cull(self) -> None:
        """Drop landmarks that are not found again, the surplus of keyframes, and orphans."""
        self._drop_surplus_keyframes()
        observers = self._observer_counts()
        last = self._next_keyframe - 1
        on_probation = last - self._born < self._config.probation_keyframes
        ratio = self._found_count / np.maximum(self._visible_count, 1)
        keep = (observers > 0) & (on_probation | (observers >= 2))
        keep &= (self._visible_count < 8) | (ratio >= self._config.min_found_ratio)
        surplus = int(keep.sum()) - self._config.max_landmarks
        if surplus > 0:
            keep[np.flatnonzero(keep)[:surplus]] = False  # the oldest
        self._keep(keep)

    def follow_new_landmarks(self, first_id: int, pixel_sigma: float) -> None:
        """Sample the errors of landmarks made since `first_id` from the keyframes that saw them.

        Args:
            first_id: Id of the oldest of them.
            pixel_sigma: Standard deviation of a keypoint, pixels.
        """
        if first_id == self._next_id:
            return
        cameras = [k for k in self.keyframes if (k.landmark_ids >= first_id).any()]
        all_fixed = np.ones(len(cameras), bool)
        window = self._window(cameras, all_fixed, lambda ids: ids >= first_id, 1)
        rows = self.rows_of(window.landmark_ids)
        self.point_samples[rows], self.point_covariance[rows] = follow_points(
            window.problem, pixel_sigma
        )

    def bundle_window(
        self, newest: Keyframe, size: int, max_fixed: int, is_metric: bool
    ) -> BundleWindow | None:
        """Collect the keyframes that share most with `newest`, their landmarks, and anchors.

        Args:
            newest: Centre of the window.
            size: Most free keyframes.
            max_fixed: Most keyframes outside the window that see its landmarks and stay put.
            is_metric: Whether depth fixes the scale; else two keyframes anchor, once there are
                enough of them.
        """
        covisible = [keyframe for _, keyframe in self.covisible_keyframes(newest.landmark_ids)]
        free = covisible[:size]
        if len(free) < 2:
            return None
        ids = np.unique(np.concatenate([keyframe.landmark_ids for keyframe in free]))
        ids = ids[ids != NO_LANDMARK]
        free_indices = {keyframe.index for keyframe in free}
        are_free = self._membership(ids)
        shared = [
            (int(are_free(keyframe.landmark_ids).sum()), keyframe)
            for keyframe in self.keyframes
            if keyframe.index not in free_indices
        ]
        shared.sort(key=lambda pair: (-pair[0], -pair[1].index))
        fixed = [keyframe for count, keyframe in shared[:max_fixed] if count >= 3]
        cameras = sorted(free + fixed, key=lambda keyframe: keyframe.index)
        is_fixed = np.array([keyframe.index not in free_indices for keyframe in cameras])
        if not is_fixed.any():
            # The first camera with a pose. Of mono that is the second: the first may yet move.
            is_fixed[0 if is_metric else 1] = True
        elif not is_metric and is_fixed.sum() == 1:
            is_fixed[np.flatnonzero(~is_fixed)[0]] = True  # or the scale would come loose
        if is_fixed.all():
            return None

        # A point that one camera sees says nothing about the cameras.
        window = self._window(cameras, is_fixed, are_free, 2)
        if len(window.landmark_ids) < 10 or not (is_metric or _has_baseline(window.problem)):
            return None
        return window

    def first_window(self) -> BundleWindow:
        """Collect what the only two keyframes share; the first is fixed."""
        return self._window(self.keyframes, np.array([True, False]), self._membership(self.ids), 2)

    def scale_samples(self, ratio: float) -> None:
        """Make all errors larger by a ratio."""
        for keyframe in self.keyframes:
            keyframe.error_samples = keyframe.error_samples * ratio
        self.point_samples *= np.float32(ratio)
        self.point_covariance *= ratio**2

    def shift_samples(self, camera: Keyframe, xi: Array) -> None:
        """Move the whole map by `xi` (6, S) of one keyframe, in the samples alone."""
        for keyframe in self.keyframes:
            Ad = se3.adjoint(se3.inverse(keyframe.T_world_cam) @ camera.T_world_cam)
            keyframe.error_samples = keyframe.error_samples + Ad @ xi
        self.point_samples += shift_points(camera.T_world_cam, xi, self.points)

    def apply(self, window: BundleWindow, result: BundleResult) -> None:
        """Write an optimum back to whatever of the window is still here; cut outlier links."""
        by_index = {keyframe.index: keyframe for keyframe in self.keyframes}
        for i, index in enumerate(window.keyframe_indices):
            keyframe = by_index.get(index)
            if keyframe is None:
                continue
            keyframe.T_world_cam = result.T_world_cam[i]
            if result.camera_samples is not None:
                keyframe.error_samples = result.camera_samples[i]
            bad = (window.problem.camera_index == i) & ~result.is_inlier
            keypoints = window.keypoint_index[bad]
            ids = window.landmark_ids[window.problem.point_index[bad]]
            still = keyframe.landmark_ids[keypoints] == ids
            keyframe.landmark_ids[keypoints[still]] = NO_LANDMARK
        present = self.contains(window.landmark_ids)
        rows = self.rows_of(window.landmark_ids[present])
        self.points[rows] = result.points_world[present]
        if result.point_samples is not None:
            self.point_samples[rows] = result.point_samples[present]
        if result.point_covariance is not None:
            self.point_covariance[rows] = result.point_covariance[present]

    def _window(
        self,
        cameras: list[Keyframe],
        is_fixed: Array,
        are_wanted: Callable[[Array], Array],
        min_views: int,
    ) -> BundleWindow:
        """Collect what some keyframes saw of the wanted landmarks that enough of them see."""
        camera_index, keypoint_index = [], []
        for i, keyframe in enumerate(cameras):
            keypoints = np.flatnonzero(are_wanted(keyframe.landmark_ids))
            camera_index.append(np.full(len(keypoints), i))
            keypoint_index.append(keypoints)
        cameras_of = np.concatenate(camera_index)
        keypoints_of = np.concatenate(keypoint_index)
        ids_of = np.concatenate(
            [k.landmark_ids[rows] for k, rows in zip(cameras, keypoint_index, strict=True)]
        )
        ids, counts = np.unique(ids_of, return_counts=True)
        ids = ids[counts >= min_views]
        chosen = np.isin(ids_of, ids)
        cameras_of, keypoints_of, ids_of = (
            cameras_of[chosen],
            keypoints_of[chosen],
            ids_of[chosen],
        )
        pixels = np.concatenate([k.observation.pixels for k in cameras])
        depths = np.concatenate([k.observation.depth for k in cameras])
        sigmas = np.concatenate([k.observation.depth_sigma for k in cameras])
        scales = np.concatenate([k.observation.stretch for k in cameras])
        starts = np.cumsum([0] + [len(k.observation.depth) for k in cameras])[:-1]
        flat = starts[cameras_of] + keypoints_of
        problem = BundleProblem(
            T_world_cam=np.stack([k.T_world_cam for k in cameras]),
            K=np.stack([k.observation.K for k in cameras]),
            is_fixed=is_fixed,
            points_world=self.points[self.rows_of(ids)],
            camera_index=cameras_of,
            point_index=np.searchsorted(ids, ids_of),
            pixels=pixels[flat],
            depth=depths[flat],
            depth_sigma=sigmas[flat],
            noise_scale=self.noise.scale.copy(),
            depth_follows_x=self.noise.depth_follows_x,
            pixel_scale=scales[flat],
            samples=BundleSamples(
                np.stack([k.error_samples for k in cameras]),
                np.concatenate([k.noise[i] for k, i in zip(cameras, keypoint_index, strict=True)])[
                    chosen
                ]
                * self.noise.sigma[:, None].astype(np.float32),
            ),
        )
        return BundleWindow(problem, [k.index for k in cameras], ids, keypoints_of)

    def _continue_noise(self, landmark_ids: Array) -> Array:
        """Return what lasts (N, 2, S) of the noise of the next keyframe."""
        rows, before = np.empty(0, np.intp), self._lasting
        if self.keyframes:
            of_before, rows = common_landmarks(self.keyframes[-1].landmark_ids, landmark_ids)
            before = self._lasting[of_before]
        return self.noise.draw_lasting(len(landmark_ids), rows, before)

    def _membership(self, ids: Array) -> Callable[[Array], Array]:
        """Return a fast `isin(., ids)` for ids of landmarks in the map and `NO_LANDMARK`."""
        base = int(self.ids[0]) if len(self.ids) else 0
        if self._next_id - base > _MAX_TABLE:
            members = np.unique(ids[ids != NO_LANDMARK])
            return lambda candidates: np.isin(candidates, members)
        table = np.zeros(self._next_id - base + 1, bool)
        table[np.maximum(ids - base, -1)] = True
        table[-1] = False  # where NO_LANDMARK points

        def is_member(candidates: Array) -> Array:
            return np.asarray(table[np.maximum(candidates - base, -1)])

        return is_member

    def _look_from(self, rows: Array, descriptors: Array, T_world_cam: Array) -> None:
        offset = T_world_cam[:3, 3] - self.points[rows]
        distance = np.maximum(np.linalg.norm(offset, axis=1), 1e-9)
        self._view_direction[rows] = offset / distance[:, None]
        self._view_distance[rows] = distance
        self.descriptors[rows] = descriptors

    def _drop_surplus_keyframes(self) -> None:
        while len(self.keyframes) > self._config.max_keyframes:
            # The newest five stay; of the rest goes the one that shares least with the present.
            are_present = self._membership(self.keyframes[-1].landmark_ids)
            shares = [are_present(k.landmark_ids).sum() for k in self.keyframes[:-5]]
            del self.keyframes[int(np.argmin(shares)) if shares else 0]

    def _observer_counts(self) -> Array:
        counts = np.zeros(len(self.ids), np.int64)
        for keyframe in self.keyframes:
            seen = keyframe.landmark_ids[keyframe.landmark_ids != NO_LANDMARK]
            counts[self.rows_of(seen)] += 1
        return counts

    def _keep(self, keep: Array) -> None:
        if keep.all():
            return
        are_gone = self._membership(self.ids[~keep])
        for keyframe in self.keyframes:
            keyframe.landmark_ids[are_gone(keyframe.landmark_ids)] = NO_LANDMARK
        self.ids, self.points = self.ids[keep], self.points[keep]
        self.point_samples = self.point_samples[keep]
        self.point_covariance = self.point_covariance[keep]
        self.descriptors = self.descriptors[keep]
        self._view_direction = self._view_direction[keep]
        self._view_distance = self._view_distance[keep]
        self._visible_count = self._visible_count[keep]
        self._found_count = self._found_count[keep]
        self._born = self._born[keep]


def _has_baseline(problem: BundleProblem) -> bool:
    centres = problem.T_world_cam[:, :3, 3]
    ways = np.linalg.norm(centres - centres[-1], axis=1)
    ranges = np.linalg.norm(problem.points_world - centres[-1], axis=1)
    return bool(ways.max() > _LEAST_BASELINE * np.median(ranges))


def _is_inside(pixels: Array, observation: Observation, margin_px: float) -> Array:
    """Return (N,) bool: which pixels of the pinhole image lie in the raw one, or nearly."""
    if observation.outline is None:
        height, width = observation.features.image_size_hw
        low, high = -margin_px, np.array([width - 1, height - 1]) + margin_px
        return np.asarray(((pixels > low) & (pixels < high)).all(axis=1))
    centre = observation.K[:2, 2]
    border, towards = observation.outline - centre, pixels - centre
    reach = np.interp(
        np.arctan2(towards[:, 1], towards[:, 0]),
        np.arctan2(border[:, 1], border[:, 0]),
        np.hypot(border[:, 0], border[:, 1]),
        period=2.0 * np.pi,
    )
    return np.asarray(np.hypot(towards[:, 0], towards[:, 1]) < reach + margin_px)
