# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Our nouns <-> ROS messages.

Arrays enter messages as `array.array`, which rclpy takes over without looking at each element,
and leave them through `np.frombuffer`, which copies nothing.
"""

from __future__ import annotations

import array
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Pose, PoseStamped, Transform, TransformStamped
from nav_msgs.msg import Odometry, Path
from sensor_msgs.msg import Image, PointCloud2, PointField
from std_msgs.msg import Header

from superpoint_ros.data import Array, Features, Matches, TrackingResult
from superpoint_ros.geometry import se3
from superpoint_ros.msg import Features as FeaturesMessage
from superpoint_ros.msg import Homography as HomographyMessage
from superpoint_ros.msg import Matches as MatchesMessage
from superpoint_ros.msg import TrackerStatus

DESCRIPTOR_DTYPES = {
    "f32": FeaturesMessage.F32,
    "f16": FeaturesMessage.F16,
    "u8": FeaturesMessage.U8,
}
_ELEMENT: dict[int, Any] = {
    FeaturesMessage.F32: np.dtype("<f4"),
    FeaturesMessage.F16: np.dtype("<f2"),
    FeaturesMessage.U8: np.dtype("u1"),
}
_TYPECODE = {"f4": "f", "u1": "B", "i4": "i", "u2": "H", "f8": "d"}
# A covariance that says "nothing is known": metres^2 and radians^2 on the diagonal.
UNKNOWN_VARIANCE = 1.0e6


class MessageError(ValueError):
    """A message whose parts contradict each other; one sentence says which."""


# ---- stamps and arrays ------------------------------------------------------------------------


def stamp_to_ns(stamp: Any) -> int:
    """Return a builtin_interfaces/Time in nanoseconds."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def ns_to_stamp(stamp_ns: int) -> Time:
    """Return nanoseconds as builtin_interfaces/Time."""
    sec, nanosec = divmod(int(stamp_ns), 1_000_000_000)
    return Time(sec=sec, nanosec=nanosec)


def make_header(stamp_ns: int, frame_id: str) -> Header:
    """Return a header."""
    return Header(stamp=ns_to_stamp(stamp_ns), frame_id=frame_id)


def to_array(values: Array, dtype: str) -> array.array[Any]:
    """Return `values`, flattened, as the array.array that a message field takes fastest.

    Args:
        values: Any shape.
        dtype: NumPy type of the field's elements: f4, f8, i4, u1 or u2.
    """
    result: array.array[Any] = array.array(_TYPECODE[dtype])
    contiguous: Any = np.ascontiguousarray(values, dtype=np.dtype(dtype))
    if contiguous.size:
        result.frombytes(memoryview(contiguous.reshape(-1)).cast("B"))
    return result


def _from_field(field: Any, dtype: str, name: str) -> Array:
    """View a message's array field (rclpy: array.array or list; rosbags: NumPy)."""
    if len(field) == 0:
        return np.empty(0, dtype)
    try:
        if isinstance(field, (list, tuple)):
            return np.asarray(field, dtype)
        return np.frombuffer(field, dtype)
    except (TypeError, ValueError, BufferError):
        raise MessageError(f"{name} is not an array of {np.dtype(dtype).name}") from None


# ---- features ---------------------------------------------------------------------------------


def features_to_message(
    features: Features,
    header: Header,
    descriptor_dtype: str = "f16",
    model_id: str = "",
    weights_sha256: str = "",
    latency_ms: float = 0.0,
) -> FeaturesMessage:
    """Pack features.

    u8 stores each descriptor as round(127 d / max|d|) + 128 with max|d| beside it: the error is at
    most 0.4 % of the largest element, and no range must be agreed upon.

    Args:
        features: What the extractor returned.
        header: Header of the image.
        descriptor_dtype: f32, f16 or u8.
        model_id: Name of the network.
        weights_sha256: Hash of its weights.
        latency_ms: From the image's arrival until now.
    """
    message = FeaturesMessage(header=header)
    message.height, message.width = (int(side) for side in features.image_size_hw)
    message.count = len(features)
    message.keypoints = to_array(features.keypoints, "f4")
    message.scores = to_array(features.scores, "f4")
    message.descriptor_dtype = DESCRIPTOR_DTYPES[descriptor_dtype]
    message.descriptor_dim = int(features.descriptors.shape[1])
    descriptors = features.descriptors
    if descriptor_dtype == "u8":
        descriptors, scales = _quantise(descriptors)
        message.descriptor_scales = to_array(scales, "f4")
    stored = np.ascontiguousarray(descriptors, _ELEMENT[message.descriptor_dtype])
    message.descriptors = to_array(stored.view(np.uint8), "u1")
    message.model_id = model_id
    message.weights_sha256 = weights_sha256
    message.latency_ms = float(latency_ms)
    return message


def _quantise(descriptors: Array) -> tuple[Array, Array]:
    """Return (N, D) uint8 and the scale (N,) of each row."""
    scales = np.abs(descriptors).max(axis=1, initial=0.0)
    steps = np.rint(descriptors * (127.0 / np.maximum(scales, 1e-12))[:, None])
    return (steps + 128.0).astype(np.uint8), scales


def features_from_message(message: Any) -> Features:
    """Unpack and check features; descriptors come back as float32.

    Raises:
        MessageError: Lengths that contradict `count`, an unknown descriptor type, numbers that are
            not finite, or keypoints outside the image.
    """
    count, dim = int(message.count), int(message.descriptor_dim)
    height, width = int(message.height), int(message.width)
    keypoints = _from_field(message.keypoints, "<f4", "keypoints")
    scores = _from_field(message.scores, "<f4", "scores")
    _check_length("keypoints", keypoints, 2 * count, f"2 x count {count}")
    _check_length("scores", scores, count, f"count {count}")
    if count and not (height and width):
        raise MessageError(f"features have {count} keypoints but an image of {width} x {height}")
    if not np.isfinite(keypoints).all() or not np.isfinite(scores).all():
        raise MessageError("features hold keypoints or scores that are not finite")
    keypoints = keypoints.reshape(count, 2)
    outside = (keypoints < -0.5) | (keypoints > np.array([width - 0.5, height - 0.5]))
    if outside.any():
        x, y = keypoints[np.flatnonzero(outside.any(axis=1))[0]]
        raise MessageError(
            f"features hold the keypoint ({x:.1f}, {y:.1f}) outside the image of "
            f"{width} x {height}"
        )
    return Features(
        keypoints=keypoints,
        scores=scores,
        descriptors=_unpack_descriptors(message, count, dim),
        image_size_hw=(height, width),
    )


def _unpack_descriptors(message: Any, count: int, dim: int) -> Array:
    element = _ELEMENT.get(int(message.descriptor_dtype))
    if element is None:
        raise MessageError(
            f"features have descriptor_dtype {message.descriptor_dtype}; "
            "known: 0 (f32), 1 (f16), 2 (u8)"
        )
    stored = _from_field(message.descriptors, "u1", "descriptors")
    needed = count * dim * element.itemsize
    _check_length("descriptors", stored, needed, f"{count} x {dim} x {element.itemsize} bytes")
    # Alignment is that of the message's own buffer; frombuffer copes, arithmetic is on the copy.
    rows = stored.view(element).reshape(count, dim)
    if element.itemsize == 1:
        scales = _from_field(message.descriptor_scales, "<f4", "descriptor_scales")
        _check_length("descriptor_scales", scales, count, f"count {count}")
        descriptors: Array = (rows.astype(np.float32) - 128.0) * (scales / np.float32(127.0))[
            :, None
        ]
        norms = np.linalg.norm(descriptors, axis=1, keepdims=True)
        descriptors /= np.maximum(norms, np.float32(1e-12))
    else:
        descriptors = rows.astype(np.float32)
    # One sum per row finds every NaN and infinity, also where squares overflow.
    with np.errstate(over="ignore", invalid="ignore"):
        squared = np.einsum("nd,nd->n", descriptors, descriptors)
    if not np.isfinite(squared).all():
        raise MessageError("features hold descriptors that are not finite")
    return descriptors


def _check_length(name: str, values: Array, expected: int, meaning: str) -> None:
    if len(values) != expected:
        raise MessageError(
            f"features: {name} has {len(values)} elements, expected {expected} ({meaning})"
        )


# ---- clouds -----------------------------------------------------------------------------------


def make_cloud(columns: Array, names: Sequence[str], header: Header) -> PointCloud2:
    """Return a dense, unordered float32 PointCloud2.

    Args:
        columns: (N, K).
        names: K field names, such as x, y, z.
        header: Stamp and frame.
    """
    count, width = len(columns), len(names)
    cloud = PointCloud2(header=header, height=1, width=count, is_dense=True)
    cloud.fields = [
        PointField(name=name, offset=4 * index, datatype=PointField.FLOAT32, count=1)
        for index, name in enumerate(names)
    ]
    cloud.is_bigendian = sys.byteorder == "big"
    cloud.point_step, cloud.row_step = 4 * width, 4 * width * count
    table = np.ascontiguousarray(columns, np.float32).reshape(count, width)
    cloud.data = to_array(table.view(np.uint8), "u1")
    return cloud


def features_to_cloud(features: Features, header: Header) -> PointCloud2:
    """Return keypoints as a cloud: x, y in pixels of the image, z = 0, score."""
    zeros = np.zeros(len(features), np.float32)
    columns = np.column_stack([features.keypoints, zeros, features.scores])
    return make_cloud(columns, ("x", "y", "z", "score"), header)


def points_to_cloud(points: Array, header: Header) -> PointCloud2:
    """Return points (N, 3), metres in the header's frame, as a cloud."""
    return make_cloud(np.asarray(points).reshape(-1, 3), ("x", "y", "z"), header)


def cloud_to_columns(cloud: Any) -> Array:
    """Return the float32 columns (N, K) of a cloud that `make_cloud` made."""
    rows = _from_field(cloud.data, "<f4", "data")
    return rows.reshape(-1, len(cloud.fields))


# ---- matches, homography, status ----------------------------------------------------------------


def matches_to_message(matches: Matches, keypoints: Array, header: Header) -> MatchesMessage:
    """Pack matches of a frame with its reference.

    Args:
        matches: Indices into the reference's keypoints and into `keypoints`.
        keypoints: (N, 2), all keypoints of the frame, pixels.
        header: Header of the frame's image.
    """
    reference_indices, indices = matches.indices[:, 0], matches.indices[:, 1]
    message = MatchesMessage(header=header, count=len(indices))
    message.reference_stamp = ns_to_stamp(matches.reference_stamp_ns)
    message.reference_indices = to_array(reference_indices, "i4")
    message.indices = to_array(indices, "i4")
    message.reference_keypoints = to_array(matches.reference_keypoints[reference_indices], "f4")
    message.keypoints = to_array(keypoints[indices], "f4")
    message.inliers = np.asarray(matches.inliers, bool).tolist()
    return message


def homography_to_message(result: TrackingResult, header: Header) -> HomographyMessage | None:
    """Pack the homographies of a frame; None if it has none."""
    if result.H_b_a is None or result.H_b_0 is None:
        return None
    message = HomographyMessage(header=header, map_id=result.map_id)
    message.h_b_a = result.H_b_a.ravel()
    message.h_b_0 = result.H_b_0.ravel()
    message.num_inliers = result.num_inliers
    message.reference_stamp = header.stamp
    if result.matches is not None:
        message.reference_stamp = ns_to_stamp(result.matches.reference_stamp_ns)
        message.num_matches = len(result.matches.indices)
    return message


def status_to_message(
    result: TrackingResult, header: Header, mode: str, num_keypoints: int
) -> TrackerStatus:
    """Pack what the tracker thinks of a frame; the node adds its counters."""
    message = TrackerStatus(header=header, state=int(result.state), mode=mode)
    message.is_keyframe = bool(result.is_keyframe)
    message.map_id = result.map_id
    message.num_keypoints = num_keypoints
    message.num_matches = 0 if result.matches is None else len(result.matches.indices)
    message.num_inliers = result.num_inliers
    message.num_keyframes = result.num_keyframes
    message.num_landmarks = result.num_landmarks
    message.stages = list(result.latency_ms)
    message.latencies_ms = to_array(np.array(list(result.latency_ms.values())), "f4")
    return message


# ---- poses ------------------------------------------------------------------------------------


def pose_to_message(T: Array) -> Pose:
    """Return a pose (4, 4) as geometry_msgs/Pose."""
    pose = Pose()
    position, orientation = pose.position, pose.orientation
    position.x, position.y, position.z = (float(value) for value in T[:3, 3])
    x, y, z, w = (float(value) for value in se3.quaternion_from_rotation(T[:3, :3]))
    orientation.x, orientation.y, orientation.z, orientation.w = x, y, z, w
    return pose


def pose_from_message(pose: Any) -> Array:
    """Return a geometry_msgs/Pose as (4, 4).

    Raises:
        MessageError: A number is not finite, or the quaternion is zero.
    """
    return _to_matrix(pose.position, pose.orientation)


def transform_from_message(transform: Any) -> Array:
    """Return a geometry_msgs/Transform as T_parent_child (4, 4).

    Raises:
        MessageError: A number is not finite, or the quaternion is zero.
    """
    return _to_matrix(transform.translation, transform.rotation)


def _to_matrix(position: Any, orientation: Any) -> Array:
    translation = np.array([position.x, position.y, position.z])
    quaternion = np.array([orientation.x, orientation.y, orientation.z, orientation.w])
    if not np.isfinite(translation).all() or not np.isfinite(quaternion).all():
        raise MessageError("the transform holds numbers that are not finite")
    if np.linalg.norm(quaternion) < 1e-6:
        raise MessageError("the transform's quaternion is zero")
    return se3.pose_from_quaternion(translation, quaternion)


def transform_to_message(T_parent_child: Array, header: Header, child: str) -> TransformStamped:
    """Return T_parent_child, the parent being the header's frame."""
    pose = pose_to_message(T_parent_child)
    transform = Transform(rotation=pose.orientation)
    translation = transform.translation
    translation.x, translation.y, translation.z = (float(v) for v in T_parent_child[:3, 3])
    return TransformStamped(header=header, child_frame_id=child, transform=transform)


def odometry_to_message(
    T_odom_base: Array,
    covariance: Array | None,
    twist: Array | None,
    twist_covariance: Array | None,
    header: Header,
    child: str,
) -> Odometry:
    """Pack a pose and a velocity.

    Args:
        T_odom_base: (4, 4).
        covariance: (6, 6), tangent on the right (axes of the base, see `geometry.se3`).
        twist: (6,) linear then angular velocity of the base in its own axes, m/s and rad/s.
        twist_covariance: (6, 6), same axes.
        header: Stamp of the image, frame odom.
        child: Name of the base frame.
    """
    message = Odometry(header=header, child_frame_id=child)
    message.pose.pose = pose_to_message(T_odom_base)
    if covariance is None:
        in_odom = np.eye(6) * UNKNOWN_VARIANCE
    else:
        in_odom = se3.covariance_in_parent(T_odom_base, covariance)
    message.pose.covariance = np.ascontiguousarray(in_odom).ravel()
    if twist is not None:
        linear, angular = message.twist.twist.linear, message.twist.twist.angular
        linear.x, linear.y, linear.z = (float(value) for value in twist[:3])
        angular.x, angular.y, angular.z = (float(value) for value in twist[3:])
    known = twist is not None and twist_covariance is not None
    in_base = twist_covariance if known else np.eye(6) * UNKNOWN_VARIANCE
    message.twist.covariance = np.ascontiguousarray(in_base, np.float64).ravel()
    return message


def path_to_message(poses: Iterable[PoseStamped], header: Header) -> Path:
    """Return a path of stamped poses in the header's frame."""
    return Path(header=header, poses=list(poses))


# ---- images -----------------------------------------------------------------------------------


def image_to_message(image: Array, header: Header) -> Image:
    """Return (H, W) as mono8 or (H, W, 3) BGR as bgr8."""
    height, width = image.shape[:2]
    message = Image(header=header, height=height, width=width)
    message.encoding = "mono8" if image.ndim == 2 else "bgr8"
    message.step = width * (1 if image.ndim == 2 else 3)
    message.is_bigendian = 0
    message.data = to_array(image, "u1")
    return message
