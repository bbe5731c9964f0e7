# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Whether a depth image can be registered to an image, by the calibrations of both."""

from __future__ import annotations

from superpoint_ros.geometry.camera import Camera

# Two calibrations of one lens differ by less, a depth sensor beside it by more.
_SAME_FOCAL_LENGTH = 0.05


def why_not_registered(camera: Camera, topic: str, depth: Camera, depth_topic: str) -> str:
    """Return that depth is seen by another lens; empty if it need not be.

    Such depth has the image's size often, its places never.

    Args:
        camera: Of the image.
        topic: Of its calibration.
        depth: Of the depth image.
        depth_topic: Of its calibration.
    """
    ratio = depth.K[0, 0] / camera.K[0, 0]
    if abs(ratio - 1.0) < _SAME_FOCAL_LENGTH:
        return ""
    return (
        f"depth is not registered to the image: {depth_topic} has a focal length of "
        f"{depth.K[0, 0]:.0f} pixels, {topic} {camera.K[0, 0]:.0f}; use the topic of aligned "
        "depth (align_depth of the driver, or depth_image_proc's register node)"
    )
