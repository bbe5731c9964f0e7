# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Features on pairs of images with a known homography: all the paper's metrics at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from superpoint_ros.data import Array, Features
from superpoint_ros.evaluation.descriptor import (
    is_seen_by_other,
    match_errors,
    matching_score,
    nearest_neighbour_ap,
)
from superpoint_ros.evaluation.detector import measure_repeatability
from superpoint_ros.evaluation.hpatches import HomographyPair, ImageSet, read_grey, set_of
from superpoint_ros.evaluation.protocol import Protocol, Setting, fit_image
from superpoint_ros.geometry.homography import warp_points
from superpoint_ros.matching import MatchConfig, match

Extract = Callable[[Array], Features]  # grey uint8 (H, W) -> Features
MakeExtract = Callable[[Setting], Extract]

HEADLINES = (
    "he1",
    "he3",
    "he5",
    "repeatability",
    "localization_px",
    "matching_score",
    "mma3",
    "nn_map",
)
_BOOTSTRAP_DRAWS = 2000


@dataclass(frozen=True)
class PairResult:
    """One method on one pair; NaN where it has no such number, as a detector has no matches.

    Attributes:
        pair: Name.
        corner_error_px: Mean error of the four corners under the estimate of the first run of
            RANSAC; infinite if none.
        he1: Share of the runs in which it is at most 1 pixel.
        he3: And 3 pixels.
        he5: And 5 pixels.
        repeatability: Share of shared keypoints with a counterpart.
        localization_px: Mean distance of the counterparts; NaN if none.
        matching_repeatability: The first of the two for the keypoints that are matched, where the
            protocol measures the detector at another size.
        matching_localization_px: The second of the two.
        matching_score: Correct matches over shared keypoints.
        mma3: Share of the matches within 3 pixels (protocol's limit); 0 without matches.
        match_error_px: Median distance from the truth of the matches within that limit.
        nn_map: Average precision of nearest neighbours.
        num_keypoints_a: Of image a, to match.
        num_keypoints_b: Of image b.
        num_matches: As the protocol matches.
    """

    pair: str
    corner_error_px: float
    he1: float
    he3: float
    he5: float
    repeatability: float
    localization_px: float
    matching_repeatability: float
    matching_localization_px: float
    matching_score: float
    mma3: float
    match_error_px: float
    nn_map: float
    num_keypoints_a: int
    num_keypoints_b: int
    num_matches: int


class PairMatches(NamedTuple):
    """What a picture of a pair needs; pixels of the images as the protocol sizes them.

    Attributes:
        keypoints_a: (N, 2).
        keypoints_b: (M, 2).
        matches: (K, 2) indices.
        is_correct: (K,) bool, within the protocol's distance of the truth.
    """

    keypoints_a: Array
    keypoints_b: Array
    matches: Array
    is_correct: Array


class FeaturePair(NamedTuple):
    """The features of two images in one setting, and the homography between those images."""

    a: Features
    b: Features
    H_b_a: Array


def estimate_by_ransac(pixels_a: Array, pixels_b: Array, protocol: Protocol) -> Array | None:
    """Return OpenCV's RANSAC homography H_b_a, None if there is none; the same on every call."""
    if len(pixels_a) < 4:
        return None
    cv2.setRNGSeed(0)
    H, _ = cv2.findHomography(
        pixels_a.astype(np.float64),
        pixels_b.astype(np.float64),
        cv2.RANSAC,
        protocol.ransac_px,
        maxIters=protocol.ransac_iterations,
        confidence=protocol.ransac_confidence,
    )
    return None if H is None else np.asarray(H)


def corner_error(H_estimate: Array | None, H_true: Array, size_hw: tuple[int, int]) -> float:
    """Return the mean distance of the mapped image corners, pixels; infinite without estimate."""
    if H_estimate is None:
        return float("inf")
    height, width = size_hw
    corners = np.array([[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]], float)
    distance = np.linalg.norm(
        warp_points(H_estimate, corners) - warp_points(H_true, corners), axis=1
    )
    return float(np.nan_to_num(distance, nan=np.inf).mean())


def evaluate_pair(pair: HomographyPair, extract: Extract, protocol: Protocol) -> PairResult:
    """Measure one method on one pair as it is: neither resized nor extracted a second time."""
    features = FeaturePair(extract(pair.image_a), extract(pair.image_b), pair.H_b_a)
    return measure_pair(pair.name, protocol, features)[0]


def measure_pair(
    name: str, protocol: Protocol, matching: FeaturePair, detection: FeaturePair | None = None
) -> tuple[PairResult, PairMatches]:
    """Measure the features of one method on one pair.

    Args:
        name: Of the pair.
        protocol: Says how.
        matching: Features in the setting for matching.
        detection: Features in the setting for detection, where the protocol has one.
    """
    limit = protocol.max_distance_px
    matching = _keep_shared(matching, protocol.matching)
    of_matching = _measure_repeatability(matching, limit)
    if protocol.detection is None or detection is None:
        of_detector = of_matching
    else:
        of_detector = _measure_repeatability(_keep_shared(detection, protocol.detection), limit)
    a, b, H_b_a = matching
    result = PairResult(
        pair=name,
        corner_error_px=np.nan,
        he1=np.nan,
        he3=np.nan,
        he5=np.nan,
        repeatability=of_detector[0],
        localization_px=of_detector[1],
        matching_repeatability=of_matching[0],
        matching_localization_px=of_matching[1],
        matching_score=np.nan,
        mma3=np.nan,
        match_error_px=np.nan,
        nn_map=np.nan,
        num_keypoints_a=len(a),
        num_keypoints_b=len(b),
        num_matches=0,
    )
    if not a.descriptors.shape[1]:
        nothing = np.zeros((0, 2), np.int64)
        return result, PairMatches(a.keypoints, b.keypoints, nothing, np.zeros(0, bool))
    matches = match(a, b, MatchConfig(mutual=protocol.is_mutual))
    distances = match_errors(matches, a, b, H_b_a)
    is_correct = distances <= limit
    num_correct = num_correct_back = int(is_correct.sum())
    if not protocol.is_mutual:
        back = match(b, a, MatchConfig(mutual=False))[:, ::-1]
        num_correct_back = int((match_errors(back, a, b, H_b_a) <= limit).sum())
    errors = _estimate_errors(matching, matches, protocol)
    he1, he3, he5 = (float((errors <= limit_px).mean()) for limit_px in (1.0, 3.0, 5.0))
    result = dataclasses.replace(
        result,
        corner_error_px=float(errors[0]),
        he1=he1,
        he3=he3,
        he5=he5,
        matching_score=matching_score((num_correct, num_correct_back), a, b, H_b_a),
        mma3=float(is_correct.mean()) if len(matches) else 0.0,
        match_error_px=float(np.median(distances[is_correct])) if num_correct else np.nan,
        nn_map=nearest_neighbour_ap(a, b, H_b_a, limit, is_symmetric=not protocol.is_mutual),
        num_matches=len(matches),
    )
    return result, PairMatches(a.keypoints, b.keypoints, matches, is_correct)


def _estimate_errors(features: FeaturePair, matches: Array, protocol: Protocol) -> Array:
    """Return the corner error of every run of RANSAC, (R,) pixels."""
    a, b, H_b_a = features
    pixels_a, pixels_b = a.keypoints[matches[:, 0]], b.keypoints[matches[:, 1]]
    errors = []
    for run in range(protocol.ransac_runs):
        order = np.random.default_rng(run).permutation(len(matches)) if run else slice(None)
        H = estimate_by_ransac(pixels_a[order], pixels_b[order], protocol)
        errors.append(corner_error(H, H_b_a, a.image_size_hw))
    return np.array(errors)


def _measure_repeatability(features: FeaturePair, limit_px: float) -> tuple[float, float]:
    """Return repeatability and localisation error."""
    a, b, H_b_a = features
    repeated = measure_repeatability(
        a.keypoints, b.keypoints, H_b_a, a.image_size_hw, b.image_size_hw, limit_px
    )
    return repeated.repeatability, repeated.localization_px


def _keep_shared(features: FeaturePair, setting: Setting) -> FeaturePair:
    """Drop the candidates that the other image does not see, then all but the best."""
    if not setting.candidates:
        return features
    a, b, H_b_a = features
    seen_a = np.flatnonzero(is_seen_by_other(a, b.image_size_hw, H_b_a))
    seen_b = np.flatnonzero(is_seen_by_other(b, a.image_size_hw, np.linalg.inv(H_b_a)))
    limit = setting.max_keypoints
    return FeaturePair(a.take(seen_a[:limit]), b.take(seen_b[:limit]), H_b_a)


def evaluate_sets(
    sets: Sequence[ImageSet],
    methods: Mapping[str, MakeExtract],
    protocol: Protocol,
    on_progress: Callable[[int, str], None] = lambda *_: None,
) -> tuple[dict[str, list[PairResult]], dict[str, list[PairMatches]]]:
    """Measure every method on every pair; each image is read, sized and extracted once.

    Args:
        sets: From `list_sets`.
        methods: Name -> what makes an extractor for a setting.
        protocol: Says how.
        on_progress: Called with the number of sets done and the method at work.

    Returns:
        Per method the results and the matches, both in the order of the pairs.

    Raises:
        ConfigError: An unreadable image; names it.
    """
    extractors = {
        name: [make(setting) for setting in protocol.settings] for name, make in methods.items()
    }
    results: dict[str, list[PairResult]] = {name: [] for name in methods}
    matches: dict[str, list[PairMatches]] = {name: [] for name in methods}
    for done, image_set in enumerate(sets):
        images = [read_grey(path) for path in image_set.paths]
        fitted = [[fit_image(image, setting) for image in images] for setting in protocol.settings]
        for name, of_settings in extractors.items():
            on_progress(done, name)
            # Setting -> image -> features and the matrix that sized the image.
            features = [
                [(extract(image), H) for image, H in sized]
                for extract, sized in zip(of_settings, fitted, strict=True)
            ]
            for index, H_b_a in enumerate(image_set.homographies):
                pairs = [
                    FeaturePair(a, b, S_b @ H_b_a @ np.linalg.inv(S_a))
                    for (a, S_a), (b, S_b) in ((row[0], row[index + 1]) for row in features)
                ]
                measured = measure_pair(image_set.pair_names[index], protocol, *pairs)
                results[name].append(measured[0])
                matches[name].append(measured[1])
    return results, matches


def summarise(results: Sequence[PairResult]) -> dict[str, float]:
    """Return the means over the pairs.

    Pairs without a number are left out of its mean; NaN if none has one. The matching_* means are
    there if the protocol measures the detector apart. Of the corner error, which may be infinite,
    it is the median over the pairs, `corner_error_median_px`.

    Raises:
        ValueError: There are no results.
    """
    columns = _columns(results)
    means = {
        name: float(np.nanmean(column)) if np.isfinite(column).any() else np.nan
        for name, column in columns.items()
    }
    errors = np.array([result.corner_error_px for result in results])
    median = float(np.nan if np.isnan(errors).all() else np.nanmedian(errors))
    return {**means, "corner_error_median_px": median, "pairs": len(results)}


def confidence_intervals(
    results: Sequence[PairResult], share: float = 0.95
) -> dict[str, tuple[float, float]]:
    """Return the bootstrap interval of every headline metric that there is.

    Whole sets are drawn with replacement, since the pairs of a set share an image and a scene;
    with few sets the interval is rough, and it knows nothing of scenes unlike these.

    Args:
        results: Of one method.
        share: Of the draws that lie inside.
    """
    columns = _columns(results)
    names = [set_of(result.pair) for result in results]
    index_of_set = np.unique(names, return_inverse=True)[1]
    num_sets = int(index_of_set.max()) + 1
    draws = np.random.default_rng(0).integers(0, num_sets, (_BOOTSTRAP_DRAWS, num_sets))
    tail = 50.0 * (1.0 - share)
    intervals = {}
    for name in HEADLINES:
        column = columns[name]
        is_there = np.isfinite(column)
        sums = np.bincount(index_of_set, np.where(is_there, column, 0.0), num_sets)
        counts = np.bincount(index_of_set, is_there, num_sets)
        drawn = counts[draws].sum(axis=1)
        means = sums[draws].sum(axis=1)[drawn > 0] / drawn[drawn > 0]
        if len(means):
            low, high = np.percentile(means, [tail, 100.0 - tail])
            intervals[name] = (float(low), float(high))
    return intervals


def _columns(results: Sequence[PairResult]) -> dict[str, Array]:
    """Return metric -> one number per pair, (N,) float64."""
    if not results:
        raise ValueError("no pairs were measured")
    columns = {
        field.name: np.array([getattr(result, field.name) for result in results], float)
        for field in dataclasses.fields(PairResult)
        if field.name != "pair" and not field.name.startswith("num_")
    }
    del columns["corner_error_px"]
    if np.array_equal(columns["repeatability"], columns["matching_repeatability"]):
        del columns["matching_repeatability"], columns["matching_localization_px"]
    return columns
