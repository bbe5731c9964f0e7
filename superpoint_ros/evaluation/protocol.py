# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Ways to measure features on image pairs, by name.

The same weights have been published with .684, .77 and .833 for one metric, so a number means
something only beside the name of its protocol. docs/evaluation.md defines every metric of each. A
protocol is never changed once numbers were published with it: a change gets a new name.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from superpoint_ros.data import Array
from superpoint_ros.image import fit_longer_side, resize, scale_matrix


@dataclass(frozen=True)
class Setting:
    """How images are sized and keypoints taken.

    Attributes:
        max_keypoints: Per image, best score first.
        longer_side_px: Images are resized to it; 0: no.
        size_hw: Images are resized to exactly this (height, width); None: no.
        is_cropped: With `size_hw`: keep the aspect ratio, cover the size, cut off what is over on
            both sides alike; else stretch.
        nms_radius: No two keypoints of a network or a corner detector lie this close, pixels.
        detection_threshold: Smallest score of a network's keypoint.
        is_nms_for_all: The radius also thins what has its own suppression over scales (SIFT, ORB,
            AKAZE), out of its best 1500.
        candidates: Keypoints taken before those go that the other image does not see; 0: those
            stay.
    """

    max_keypoints: int
    longer_side_px: int = 0
    size_hw: tuple[int, int] | None = None
    is_cropped: bool = False
    nms_radius: int = 4
    detection_threshold: float = 0.005
    is_nms_for_all: bool = False
    candidates: int = 0


@dataclass(frozen=True)
class Protocol:
    """How pairs are measured.

    Attributes:
        name: As given on the command line.
        matching: For matches and the homography, and for the detector unless `detection` says
            otherwise.
        detection: For repeatability and localisation error.
        is_mutual: Matches are mutual nearest neighbours; else the nearest one of every keypoint of
            image a, and matching score and average precision are the mean over both directions.
        max_distance_px: Of repeated points and of correct matches.
        ransac_px: Inlier limit of the estimated homography.
        ransac_iterations: At most.
        ransac_confidence: At which RANSAC stops early.
        ransac_runs: With the matches in another order each: the same matches give a homography
            that is right, or not, by chance.
    """

    name: str
    matching: Setting
    detection: Setting | None = None
    is_mutual: bool = True
    max_distance_px: float = 3.0
    ransac_px: float = 3.0
    ransac_iterations: int = 10_000
    ransac_confidence: float = 0.9999
    ransac_runs: int = 1

    @property
    def max_keypoints(self) -> int:
        """Keypoints per image, to match."""
        return self.matching.max_keypoints

    @property
    def settings(self) -> tuple[Setting, ...]:
        """All settings, each once; the one for matching first."""
        return (self.matching, self.detection) if self.detection else (self.matching,)


def _paper(name: str, nms_radius: int) -> Protocol:
    # SuperPoint, Sec. 7.2, 7.3 and Appendix A. The paper does not say how images were brought to
    # these sizes ("sized to"): stretched here. Nor which threshold: low, so that the limits fill.
    def setting(max_keypoints: int, size_hw: tuple[int, int]) -> Setting:
        return Setting(
            max_keypoints, size_hw=size_hw, nms_radius=nms_radius, detection_threshold=0.001
        )

    return Protocol(
        name,
        matching=setting(1000, (480, 640)),
        detection=setting(300, (240, 320)),
        is_mutual=False,
        ransac_iterations=2000,  # OpenCV's defaults
        ransac_confidence=0.995,
    )


def _rpautrat(max_keypoints: int, size_hw: tuple[int, int], nms_radius: int) -> Setting:
    return Setting(
        max_keypoints,
        size_hw=size_hw,
        is_cropped=True,
        nms_radius=nms_radius,
        detection_threshold=0.001,
        is_nms_for_all=True,
        candidates=1000,
    )


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol("l640", Setting(1000, longer_side_px=640)),
        Protocol("l640-ransac20", Setting(1000, longer_side_px=640), ransac_runs=20),
        # The radius that is shipped (`KeypointConfig.nms_radius`).
        Protocol("l640-nms3", Setting(1000, longer_side_px=640, nms_radius=3)),
        Protocol("native", Setting(1000)),
        _paper("paper-hpatches", nms_radius=4),
        _paper("paper-hpatches-nms8", nms_radius=8),
        # The evaluation published with rpautrat/SuperPoint (configs and evaluations of 2025-05).
        # Its NMS of 4 and 8 are sides of boxes that may overlap by a tenth: 3 and 6 pixels apart.
        Protocol(
            "rpautrat-hpatches",
            matching=_rpautrat(1000, (480, 640), nms_radius=6),
            detection=_rpautrat(300, (240, 320), nms_radius=3),
            ransac_iterations=2000,
            ransac_confidence=0.995,
        ),
    )
}


def fit_image(image: Array, setting: Setting) -> tuple[Array, Array]:
    """Bring an image to the size of a setting.

    Args:
        image: (H, W) uint8.
        setting: Says the size.

    Returns:
        The image and H_fitted_image (3, 3), its pixels from those of the original (centres at
        integers).
    """
    old_hw = (image.shape[0], image.shape[1])
    if setting.longer_side_px:
        new_hw = fit_longer_side(old_hw, setting.longer_side_px)
    elif setting.size_hw is None:
        return image, np.eye(3)
    elif not setting.is_cropped:
        new_hw = setting.size_hw
    else:
        scale = max(setting.size_hw[0] / old_hw[0], setting.size_hw[1] / old_hw[1])
        new_hw = (
            max(round(old_hw[0] * scale), setting.size_hw[0]),
            max(round(old_hw[1] * scale), setting.size_hw[1]),
        )
    resized, H = resize(image, new_hw), scale_matrix(old_hw, new_hw)
    if not setting.is_cropped or setting.size_hw is None:
        return resized, H
    height, width = setting.size_hw
    top, left = (new_hw[0] - height) // 2, (new_hw[1] - width) // 2
    T_crop = np.array([[1.0, 0.0, -left], [0.0, 1.0, -top], [0.0, 0.0, 1.0]])
    return np.ascontiguousarray(resized[top : top + height, left : left + width]), T_crop @ H
