# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The features that others use: SIFT, ORB, AKAZE, corners without descriptors, and ALIKED.

They are called as the `Extractor` is and give the same `Features`: descriptors of unit length, so
that cosines order matches as each one's own distance does. What only detects has descriptors of
length 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from superpoint_ros.config import ConfigError
from superpoint_ros.data import Array, Features
from superpoint_ros.features.aliked import ALIKED_DIMS, load_aliked
from superpoint_ros.features.peaks import BORDER_PX, find_peaks, suppress_close
from superpoint_ros.image import to_grey

_MIN_SIDE_ORB = 16  # pixels; OpenCV raises where a level of its pyramid vanishes
_MIN_SIDE_AKAZE = 2  # OpenCV 4 raises at one row or column
CLASSICAL_DESCRIBED = ("rootsift", "orb", "akaze")
CLASSICAL_DETECTORS = ("fast", "harris", "shi-tomasi")
LEARNED_DESCRIBED = tuple(ALIKED_DIMS)  # need weights that are not shipped

# Of a grey image: keypoints (N, 2), responses (N,) and descriptors (N, D).
_Find = Callable[[Array], tuple[Array, Array, Array]]


class PeerExtractor:
    """Finds and describes keypoints by another method than ours.

    Attributes:
        model_id: Name, such as "orb".
        descriptor_dim: Length of a descriptor; 0: it only detects.
        max_keypoints: The best so many are kept; 0: no limit.
    """

    weights_sha256 = ""  # there are none

    def __init__(
        self, model_id: str, descriptor_dim: int, max_keypoints: int, find: _Find
    ) -> None:
        self.model_id = model_id
        self.descriptor_dim = descriptor_dim
        self.max_keypoints = max_keypoints
        self._find = find

    def __call__(self, image: Array) -> Features:
        """Extract the features of one image.

        Scores are responses r as r / (1 + r): they compare between images.

        Args:
            image: uint8, any size; (H, W) grey, (H, W, 3) BGR or (H, W, 4) BGRA.

        Raises:
            ImageError: The image is empty, or of another type or shape.
        """
        grey = to_grey(image)
        keypoints, responses, descriptors = self._find(grey)
        order = np.argsort(-responses, kind="stable")[: self.max_keypoints or None]
        responses = responses[order].astype(np.float32)
        return Features(
            keypoints[order].astype(np.float32),
            responses / (1.0 + responses),
            descriptors[order].astype(np.float32),
            (grey.shape[0], grey.shape[1]),
        )

    def extract_batch(self, images: Sequence[Array]) -> list[Features]:
        """Extract the features of several images, in order."""
        return [self(image) for image in images]


def make_peer(name: str, max_keypoints: int, nms_radius: int = 4) -> PeerExtractor:
    """Return an extractor by its name.

    Args:
        name: One of `CLASSICAL_DESCRIBED`, `CLASSICAL_DETECTORS` or `LEARNED_DESCRIBED`.
        max_keypoints: The best so many are kept; 0: no limit.
        nms_radius: Of the detectors: no two keypoints lie this close, pixels (largest of dx and
            dy). SIFT, ORB, AKAZE and ALIKED suppress by themselves.

    Raises:
        ConfigError: The name is unknown, this OpenCV has no such features, or ALIKED's weights or
            kornia are not here; says which.
    """
    if name not in _MAKERS:
        raise ConfigError(f"features {name!r}: known: {', '.join(_MAKERS)}")
    dim, make = _MAKERS[name]
    return PeerExtractor(name, dim, max_keypoints, make(max_keypoints, nms_radius))


def is_available(name: str) -> bool:
    """Return whether this OpenCV has these features: 5 moved AKAZE to the contrib modules."""
    return name in _MAKERS and (name != "akaze" or _akaze_factory() is not None)


def _make_rootsift(max_keypoints: int, nms_radius: int) -> _Find:
    detector = cv2.SIFT.create(max_keypoints)

    def root(descriptors: Array) -> Array:
        rooted: Array = np.sqrt(descriptors / np.maximum(descriptors.sum(1, keepdims=True), 1e-9))
        return rooted

    find = _detect_and_describe(detector, 128, root)

    def find_centred(grey: Array) -> tuple[Array, Array, Array]:
        # OpenCV doubles the image about its corner: every keypoint lies a quarter pixel to the
        # right and below. Its "precise upscaling" mends that at the cost of 0.015 in MMA.
        keypoints, responses, descriptors = find(grey)
        return keypoints - 0.25, responses, descriptors

    return find_centred


def _make_orb(max_keypoints: int, nms_radius: int) -> _Find:
    detector = cv2.ORB.create(nfeatures=max_keypoints or 100_000)
    return _detect_and_describe(
        detector, 256, lambda bits: _bits_to_signs(bits, 256), min_side=_MIN_SIDE_ORB
    )


def _make_akaze(max_keypoints: int, nms_radius: int) -> _Find:
    create = _akaze_factory()
    if create is None:
        raise ConfigError(
            f"features 'akaze': OpenCV {cv2.__version__} here has none; "
            "pip install opencv-contrib-python in place of opencv-python"
        )
    # A third of OpenCV's threshold, so that 1000 keypoints are to be had.
    detector = create(threshold=0.0003)
    return _detect_and_describe(
        detector, 486, lambda bits: _bits_to_signs(bits, 486), min_side=_MIN_SIDE_AKAZE
    )


def _akaze_factory() -> Callable[..., cv2.Feature2D] | None:
    home = cv2 if hasattr(cv2, "AKAZE_create") else getattr(cv2, "xfeatures2d", None)
    factory: Callable[..., cv2.Feature2D] | None = getattr(home, "AKAZE_create", None)
    return factory


def _bits_to_signs(packed: Array, dim: int) -> Array:
    """Return +-1 / sqrt(dim) for every bit: cosines then order as Hamming distances do."""
    bits = np.unpackbits(packed, axis=1, count=dim, bitorder="little").astype(np.float32)
    return np.asarray((2.0 * bits - 1.0) / np.float32(np.sqrt(dim)))


def _detect_and_describe(
    detector: cv2.Feature2D, dim: int, normalise: Callable[[Array], Array], min_side: int = 1
) -> _Find:
    def find(grey: Array) -> tuple[Array, Array, Array]:
        is_large = min(grey.shape) >= min_side
        points, descriptors = detector.detectAndCompute(grey, None) if is_large else ((), None)
        if descriptors is None or not len(points):
            return np.zeros((0, 2)), np.zeros(0), np.zeros((0, dim))
        return *_to_arrays(points), normalise(descriptors)

    return find


def _make_aliked(name: str) -> Callable[[int, int], _Find]:
    return lambda max_keypoints, nms_radius: load_aliked(name, max_keypoints)


def _make_fast(max_keypoints: int, nms_radius: int) -> _Find:
    detector = cv2.FastFeatureDetector.create(threshold=5)

    def find(grey: Array) -> tuple[Array, Array, Array]:
        keypoints, responses = _to_arrays(detector.detect(grey))
        limits = np.array(grey.shape[::-1]) - BORDER_PX
        inside = ((keypoints >= BORDER_PX) & (keypoints < limits)).all(axis=1)
        keypoints, responses = keypoints[inside], responses[inside]
        kept = suppress_close(keypoints, responses, nms_radius)
        return keypoints[kept], responses[kept], np.zeros((len(kept), 0))

    return find


def _make_harris(max_keypoints: int, nms_radius: int) -> _Find:
    def respond(grey: Array) -> Array:
        response = cv2.cornerHarris(grey.astype(np.float32) / 255.0, 4, 3, 0.04)
        return np.asarray(np.maximum(response, 0.0))

    return _peaks_of(respond, max_keypoints, nms_radius)


def _make_shi_tomasi(max_keypoints: int, nms_radius: int) -> _Find:
    def respond(grey: Array) -> Array:
        return np.asarray(cv2.cornerMinEigenVal(grey.astype(np.float32) / 255.0, 3, ksize=3))

    return _peaks_of(respond, max_keypoints, nms_radius)


def _peaks_of(respond: Callable[[Array], Array], max_keypoints: int, nms_radius: int) -> _Find:
    def find(grey: Array) -> tuple[Array, Array, Array]:
        keypoints, responses = find_peaks(respond(grey), 1e-6, nms_radius, max_keypoints)
        return keypoints, responses, np.zeros((len(keypoints), 0))

    return find


def _to_arrays(points: Sequence[cv2.KeyPoint]) -> tuple[Array, Array]:
    keypoints = np.array([point.pt for point in points], np.float64).reshape(-1, 2)
    return keypoints, np.array([point.response for point in points], np.float64)


_MAKERS: dict[str, tuple[int, Callable[[int, int], _Find]]] = {
    "rootsift": (128, _make_rootsift),
    "orb": (256, _make_orb),
    "akaze": (486, _make_akaze),
    "fast": (0, _make_fast),
    "harris": (0, _make_harris),
    "shi-tomasi": (0, _make_shi_tomasi),
    **{name: (dim, _make_aliked(name)) for name, dim in ALIKED_DIMS.items()},
}
