# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Features on pairs of images with a known homography: all the paper's metrics at once.

Protocols have names, since the same weights have been published with .684, .77 and .833 for one
metric. `l640`: grey, longer side 640 pixels, at most 1000 points, mutual nearest neighbours,
RANSAC at 3 pixels; all distances in pixels of the resized images.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from superpoint_ros.data import Array, Features
from superpoint_ros.evaluation.descriptor import match_errors, matching_score, nearest_neighbour_ap
from superpoint_ros.evaluation.detector import measure_repeatability
from superpoint_ros.evaluation.hpatches import HomographyPair
from superpoint_ros.geometry.homography import warp_points
from superpoint_ros.image import fit_longer_side, resize, scale_matrix
from superpoint_ros.matching import match

Extract = Callable[[Array], Features]  # grey uint8 (H, W) -> Features


@dataclass(frozen=True)
class Protocol:
    """How pairs are measured.

    Attributes:
        name: As given on the command line.
        longer_side_px: Images are resized to it; 0: as they are.
        max_keypoints: Per image.
        max_distance_px: Of repeated points and of correct matches.
        ransac_px: Inlier limit of the estimated homography.
    """

    name: str
    longer_side_px: int
    max_keypoints: int
    max_distance_px: float = 3.0
    ransac_px: float = 3.0


PROTOCOLS = {
    "l640": Protocol("l640", longer_side_px=640, max_keypoints=1000),
    "native": Protocol("native", longer_side_px=0, max_keypoints=1000),
}


@dataclass(frozen=True)
class PairResult:
    """One method on one pair.

    Attributes:
        pair: Name.
        corner_error_px: Mean error of the four corners under the estimate; infinite if none.
        repeatability: Share of shared keypoints with a counterpart.
        localization_px: Mean distance of the counterparts; NaN if none.
        matching_score: Correct matches over shared keypoints.
        mma3: Share of the matches within 3 pixels (protocol's limit); 0 without matches.
        nn_map: Average precision of one-way nearest neighbours.
        num_keypoints_a: Of image a.
        num_keypoints_b: Of image b.
        num_matches: Mutual nearest neighbours.
    """

    pair: str
    corner_error_px: float
    repeatability: float
    localization_px: float
    matching_score: float
    mma3: float
    nn_map: float
    num_keypoints_a: int
    num_keypoints_b: int
    num_matches: int


def resize_pair(pair: HomographyPair, longer_side_px: int) -> HomographyPair:
    """Resize both images and carry the homography along (pixel centres at integers)."""
    if not longer_side_px:
        return pair
    image_a, S_a = _resize(pair.image_a, longer_side_px)
    image_b, S_b = _resize(pair.image_b, longer_side_px)
    return HomographyPair(pair.name, image_a, image_b, S_b @ pair.H_b_a @ np.linalg.inv(S_a))


def _resize(image: Array, longer_side_px: int) -> tuple[Array, Array]:
    """Return the resized image and S (3, 3), its pixels from the original's."""
    old_hw = (image.shape[0], image.shape[1])
    new_hw = fit_longer_side(old_hw, longer_side_px)
    return resize(image, new_hw), scale_matrix(old_hw, new_hw)


def estimate_by_ransac(pixels_a: Array, pixels_b: Array, threshold_px: float) -> Array | None:
    """Return OpenCV's RANSAC homography H_b_a, None if there is none; the same on every call."""
    if len(pixels_a) < 4:
        return None
    cv2.setRNGSeed(0)
    H, _ = cv2.findHomography(
        pixels_a.astype(np.float64),
        pixels_b.astype(np.float64),
        cv2.RANSAC,
        threshold_px,
        maxIters=10000,
        confidence=0.9999,
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
    """Measure one method on one pair that has the protocol's size already."""
    features_a, features_b = extract(pair.image_a), extract(pair.image_b)
    matches = match(features_a, features_b)
    errors = match_errors(matches, features_a, features_b, pair.H_b_a)
    H = estimate_by_ransac(
        features_a.keypoints[matches[:, 0]],
        features_b.keypoints[matches[:, 1]],
        protocol.ransac_px,
    )
    repeated = measure_repeatability(
        features_a.keypoints,
        features_b.keypoints,
        pair.H_b_a,
        features_a.image_size_hw,
        features_b.image_size_hw,
        protocol.max_distance_px,
    )
    limit = protocol.max_distance_px
    return PairResult(
        pair=pair.name,
        corner_error_px=corner_error(H, pair.H_b_a, features_a.image_size_hw),
        repeatability=repeated.repeatability,
        localization_px=repeated.localization_px,
        matching_score=matching_score(errors, features_a, features_b, pair.H_b_a, limit),
        mma3=float((errors <= limit).mean()) if len(errors) else 0.0,
        nn_map=nearest_neighbour_ap(features_a, features_b, pair.H_b_a, limit),
        num_keypoints_a=len(features_a),
        num_keypoints_b=len(features_b),
        num_matches=len(matches),
    )


def summarise(results: list[PairResult]) -> dict[str, float]:
    """Return the means over the pairs; homography estimation as the share of pairs within 1, 3, 5.

    Raises:
        ValueError: There are no results.
    """
    if not results:
        raise ValueError("no pairs were measured")
    columns = {
        field.name: np.array([getattr(result, field.name) for result in results])
        for field in dataclasses.fields(PairResult)
        if field.name != "pair"
    }
    summary = {
        f"he{limit}": float((columns["corner_error_px"] <= limit).mean()) for limit in (1, 3, 5)
    }
    localization = columns["localization_px"]
    has_any = np.isfinite(localization)
    summary["localization_px"] = float(localization[has_any].mean()) if has_any.any() else np.nan
    for name in ("repeatability", "matching_score", "mma3", "nn_map"):
        summary[name] = float(columns[name].mean())
    summary["pairs"] = len(results)
    return summary


def make_sift(max_keypoints: int) -> Extract:
    """Return OpenCV's SIFT with RootSIFT descriptors."""
    detector = cv2.SIFT.create(nfeatures=max_keypoints)

    def extract(image: Array) -> Features:
        points, descriptors = detector.detectAndCompute(image, None)
        if descriptors is not None:
            descriptors = np.sqrt(
                descriptors / np.maximum(descriptors.sum(1, keepdims=True), 1e-9)
            )
        return _to_features(points, descriptors, image, max_keypoints, 128)

    return extract


def make_orb(max_keypoints: int) -> Extract:
    """Return OpenCV's ORB; bits become +-1, so that cosines order as Hamming distances do."""
    detector = cv2.ORB.create(nfeatures=max_keypoints)
    return _binary(detector, max_keypoints, 256)


def make_akaze(max_keypoints: int) -> Extract:
    """Return OpenCV's AKAZE (binary M-LDB), best responses kept."""
    return _binary(
        cv2.AKAZE_create(  # type: ignore[attr-defined]
            threshold=0.0003
        ),
        max_keypoints,
        488,
    )


def _binary(detector: cv2.Feature2D, max_keypoints: int, dim: int) -> Extract:
    def extract(image: Array) -> Features:
        points, descriptors = detector.detectAndCompute(image, None)
        if descriptors is not None:
            bits = np.unpackbits(descriptors, axis=1).astype(np.float32) * 2.0 - 1.0
            descriptors = bits / np.sqrt(bits.shape[1])
        return _to_features(points, descriptors, image, max_keypoints, dim)

    return extract


def _to_features(
    points: Sequence[cv2.KeyPoint],
    descriptors: Array | None,
    image: Array,
    max_keypoints: int,
    dim: int,
) -> Features:
    size_hw = (image.shape[0], image.shape[1])
    if descriptors is None or not len(points):
        nothing = np.zeros((0, dim), np.float32)
        return Features(np.zeros((0, 2), np.float32), np.zeros(0, np.float32), nothing, size_hw)
    response = np.array([point.response for point in points], np.float32)
    order = np.argsort(-response, kind="stable")[:max_keypoints]
    keypoints = np.array([point.pt for point in points], np.float32)[order]
    scores = response[order] / max(float(response.max()), 1e-9)
    return Features(keypoints, scores, descriptors[order].astype(np.float32), size_hw)


BASELINES: dict[str, Callable[[int], Extract]] = {"rootsift": make_sift, "orb": make_orb}
if hasattr(cv2, "AKAZE_create"):  # OpenCV 5 moved it to the contrib modules
    BASELINES["akaze"] = make_akaze
