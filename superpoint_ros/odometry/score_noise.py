# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How the noise of a keypoint falls with its score, learnt from residuals while tracking."""

from __future__ import annotations

import dataclasses

import numpy as np

from superpoint_ros.data import Array, Observation
from superpoint_ros.geometry.pnp import robust_spread

_LEAST_SCORE = 2e-3  # below any threshold of ours: of fainter ones all are taken for as faint
_LEAST_HALF = 20  # residuals of faint keypoints, and of strong ones, that tell them apart
_MEMORY = 20  # frames
_BOUNDS = 0.3, 3.0  # of a keypoint's sigma in units of the typical one


class ScoreNoise:
    """The variance of a keypoint: one part that all have, and one that goes as 1 / score.

    A faint corner is found less exactly than a strong one. What else there is, of calibration,
    shutter or blur, is alike for both. Which share of the variance falls with the score depends on
    camera and detector: the residuals of the fainter half of the keypoints, and of the stronger
    half, say it. Where they are equal, or the stronger err more, all count alike.

    Attributes:
        share: Of the variance of a typical keypoint, how much goes as 1 / score; from 0 to 1.
    """

    def __init__(self) -> None:
        self.share = 0.0
        # Means over the last frames, of the fainter half and of the stronger one.
        self._variance, self._inverse_score = np.zeros(2), np.ones(2)
        self._count = 0

    def relative_sigma(self, scores: Array) -> Array:
        """Return the standard deviation (N,) of keypoints in units of that of a typical one."""
        typical = float(self._inverse_score.mean())
        variance = 1.0 + self.share * (_inverse(scores) / typical - 1.0)
        return np.asarray(np.clip(np.sqrt(np.maximum(variance, 0.0)), *_BOUNDS))

    def weigh(self, observation: Observation) -> Observation:
        """Return the observation with the noise of its keypoints as learnt.

        Both keypoints of a disparity have their share in its noise.
        """
        if self.share == 0.0:
            return observation
        relative = self.relative_sigma(observation.features.scores)
        depth_sigma = observation.depth_sigma
        if observation.right_scores is not None:
            of_right = self.relative_sigma(observation.right_scores)
            depth_sigma = depth_sigma * np.sqrt((relative**2 + of_right**2) / 2.0)
        return dataclasses.replace(
            observation, pixel_scale=observation.stretch * relative, depth_sigma=depth_sigma
        )

    def learn(self, scores: Array, residuals: Array) -> None:
        """Take the residuals (N, 2) of a frame's keypoints, raw pixels, and their scores (N,)."""
        inverse = _inverse(scores)
        is_faint = inverse > np.median(inverse) if len(inverse) else np.empty(0, bool)
        halves = is_faint, ~is_faint
        if min(half.sum() for half in halves) < _LEAST_HALF:
            return
        self._count += 1
        rate = max(1.0 / self._count, 1.0 / _MEMORY)
        variance = np.array([robust_spread(residuals[half]) ** 2 for half in halves])
        self._variance += rate * (variance - self._variance)
        self._inverse_score += rate * (
            np.array([inverse[half].mean() for half in halves]) - self._inverse_score
        )
        (faint, strong), (of_faint, of_strong) = self._variance, self._inverse_score
        per_inverse_score = (faint - strong) / (of_faint - of_strong)
        of_score = per_inverse_score * float(self._inverse_score.mean())
        common = max(strong - per_inverse_score * of_strong, 0.0)
        self.share = of_score / (of_score + common) if of_score > 0.0 else 0.0


def _inverse(scores: Array) -> Array:
    return np.asarray(1.0 / np.maximum(np.asarray(scores, np.float64), _LEAST_SCORE))
