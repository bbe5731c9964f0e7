# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Messages hold what our nouns hold, and malformed ones give one clear error."""

from __future__ import annotations

import array

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("rclpy", reason="needs ROS 2")
pytest.importorskip("superpoint_ros.msg", reason="needs the built messages: pip install .")

from rclpy.serialization import deserialize_message, serialize_message

from superpoint_ros.data import Features, Matches, TrackingResult, TrackingState
from superpoint_ros.decode import decode_colour, decode_grey
from superpoint_ros.geometry import se3
from superpoint_ros.matching import match
from superpoint_ros.msg import Features as FeaturesMessage
from superpoint_ros.msg import TrackerStatus
from superpoint_ros.ros import conversions
from superpoint_ros.ros.conversions import MessageError

pytestmark = pytest.mark.ros

HEADER = conversions.make_header(1_700_000_000_123_456_789, "camera_optical")


def random_features(rng, count=50, dim=32, size_hw=(48, 80)):
    descriptors = rng.standard_normal((count, dim)).astype(np.float32)
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    return Features(
        keypoints=(rng.random((count, 2)) * [size_hw[1] - 1, size_hw[0] - 1]).astype(np.float32),
        scores=np.sort(rng.random(count).astype(np.float32))[::-1].copy(),
        descriptors=descriptors,
        image_size_hw=size_hw,
    )


def over_the_wire(message):
    return deserialize_message(serialize_message(message), type(message))


def test_stamps():
    assert conversions.stamp_to_ns(HEADER.stamp) == 1_700_000_000_123_456_789
    # Just before a full second, where a float of so many seconds is the next one already.
    for stamp_ns in (999_999_999, 1_699_999_999_999_999_999, 1_700_000_000_000_000_000):
        assert conversions.stamp_to_ns(conversions.ns_to_stamp(stamp_ns)) == stamp_ns


@pytest.mark.parametrize(("dtype", "tolerance"), [("f32", 0.0), ("f16", 2.5e-4), ("u8", 4e-3)])
def test_features_round_trip(rng, dtype, tolerance):
    features = random_features(rng)
    message = conversions.features_to_message(features, HEADER, dtype, "net", "ab12", 7.5)
    message = over_the_wire(message)
    back = conversions.features_from_message(message)
    np.testing.assert_array_equal(back.keypoints, features.keypoints)
    np.testing.assert_array_equal(back.scores, features.scores)
    assert back.image_size_hw == (48, 80)
    assert back.descriptors.dtype == np.float32
    assert np.abs(back.descriptors - features.descriptors).max() <= tolerance
    assert np.abs(np.linalg.norm(back.descriptors, axis=1) - 1.0).max() < 1e-3
    assert (message.model_id, message.weights_sha256, message.latency_ms) == ("net", "ab12", 7.5)
    assert message.header == HEADER


@pytest.mark.parametrize(
    ("dtype", "stored"),
    [("f32", "0000 803f 0000 0000"), ("f16", "003c 0000"), ("u8", "ff 80")],
)
def test_descriptors_are_little_endian(dtype, stored):
    """As the message says: subscribers in other languages read these bytes."""
    one, zero = np.array([[1.0, 0.0]], np.float32), np.zeros((1, 2), np.float32)
    features = Features(zero, np.ones(1, np.float32), one, (48, 80))
    message = conversions.features_to_message(features, HEADER, dtype)
    assert bytes(message.descriptors) == bytes.fromhex(stored)


@pytest.mark.parametrize("dtype", ["f32", "f16", "u8"])
def test_no_features(dtype):
    empty = Features(np.empty((0, 2), "f4"), np.empty(0, "f4"), np.empty((0, 32), "f4"), (48, 80))
    message = over_the_wire(conversions.features_to_message(empty, HEADER, dtype))
    back = conversions.features_from_message(message)
    assert len(back) == 0
    assert back.descriptors.shape == (0, 32)


def test_fields_are_array_array(rng):
    message = conversions.features_to_message(random_features(rng), HEADER, "u8")
    for name in ("keypoints", "scores", "descriptors", "descriptor_scales"):
        assert isinstance(getattr(message, name), array.array)


def test_numpy_fields_as_rosbags_gives_them(rng):
    class Message:
        pass

    features = random_features(rng)
    source, message = conversions.features_to_message(features, HEADER, "f16"), Message()
    for name in source.get_fields_and_field_types():
        value = getattr(source, name)
        setattr(message, name, np.array(value) if isinstance(value, array.array) else value)
    back = conversions.features_from_message(message)
    np.testing.assert_array_equal(back.keypoints, features.keypoints)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("count", 49, ["keypoints", "100", "98"]),
        ("scores", [0.5], ["scores", "1 elements", "50"]),
        ("descriptor_dim", 33, ["descriptors", "3200", "3300"]),
        ("descriptor_dtype", 9, ["descriptor_dtype 9"]),
        ("descriptors", [], ["descriptors", "0 elements"]),
        ("width", 0, ["0 x 48"]),
        ("width", 10, ["outside the image of 10 x 48"]),
        ("keypoints", [float("nan")] * 100, ["not finite"]),
        ("scores", [float("inf")] * 50, ["not finite"]),
        ("descriptors", [255] * 3200, ["descriptors", "not finite"]),
    ],
)
def test_malformed_features(rng, field, value, words):
    message = conversions.features_to_message(random_features(rng), HEADER, "f16")
    setattr(message, field, value)
    with pytest.raises(MessageError) as error:
        conversions.features_from_message(message)
    for word in words:
        assert word in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "edges", [[[-0.5, 10.0], [79.5, 10.0]], [[10.0, -0.5], [10.0, 47.5]]], ids=["x", "y"]
)
def test_keypoints_reach_to_the_edge_of_the_outermost_pixels(rng, edges):
    features = random_features(rng, count=2)
    outwards = np.sign(np.array(edges) - 20.0) * (np.abs(np.diff(edges, axis=0)) > 0)
    for step, is_inside in ((0.0, True), (0.1, False)):
        for row in range(2):
            features.keypoints[:] = 20.0
            features.keypoints[row] = edges[row] + step * outwards[row]
            message = conversions.features_to_message(features, HEADER)
            if is_inside:
                back = conversions.features_from_message(message)
                np.testing.assert_array_equal(back.keypoints, features.keypoints)
                continue
            with pytest.raises(MessageError, match="outside the image of 80 x 48"):
                conversions.features_from_message(message)


def test_u8_needs_its_scales(rng):
    message = conversions.features_to_message(random_features(rng), HEADER, "u8")
    message.descriptor_scales = array.array("f")
    with pytest.raises(MessageError, match="descriptor_scales"):
        conversions.features_from_message(message)


@settings(max_examples=300, deadline=None)
@given(
    sizes=st.tuples(*[st.integers(0, 200)] * 2),
    count=st.integers(0, 12),
    dim=st.one_of(st.integers(0, 8), st.integers(0, 2**32 - 1)),
    dtype=st.integers(0, 5),
    keypoints=st.lists(st.floats(width=32), max_size=24),
    scores=st.lists(st.floats(width=32), max_size=12),
    descriptors=st.binary(max_size=200),
    scales=st.lists(st.floats(width=32), max_size=12),
    exact=st.booleans(),
)
def test_fuzz_features(sizes, count, dim, dtype, keypoints, scores, descriptors, scales, exact):
    message = FeaturesMessage(header=HEADER, height=sizes[0], width=sizes[1], count=count)
    if exact and dtype <= 2 and dim <= 8:  # lengths that agree, so that the contents are reached
        keypoints = (keypoints + [1.0] * 24)[: 2 * count]
        scores, scales = (scores + [0.5] * 12)[:count], (scales + [1.0] * 12)[:count]
        length = count * dim * [4, 2, 1][dtype]
        descriptors = (descriptors + bytes(400))[:length]
    message.descriptor_dim, message.descriptor_dtype = dim, dtype
    message.keypoints = array.array("f", keypoints)
    message.scores = array.array("f", scores)
    message.descriptors = array.array("B", descriptors)
    message.descriptor_scales = array.array("f", scales)
    try:
        features = conversions.features_from_message(message)
    except MessageError:
        return
    assert len(features) == count
    assert np.isfinite(features.descriptors).all()


def test_matching_survives_quantisation(shared_data):
    """What f16 and u8 cost on a real pair; the figures are in docs/benchmarks.md."""
    from superpoint_ros.features.extractor import load_extractor
    from superpoint_ros.network.weights import WeightsError

    folder = shared_data / "homography" / "oxford_boat"
    try:
        extract = load_extractor(max_keypoints=500, longer_side_px=320, precision="fp32")
    except WeightsError as error:
        pytest.skip(str(error))
    pair = [extract(cv2.imread(str(folder / f"{number}.png"))) for number in (1, 2)]
    exact = {tuple(row) for row in match(*pair)}
    for dtype, least in (("f32", 1.0), ("f16", 0.99), ("u8", 0.97)):
        quantised = [
            conversions.features_from_message(conversions.features_to_message(f, HEADER, dtype))
            for f in pair
        ]
        found = {tuple(row) for row in match(*quantised)}
        agreement = len(exact & found) / len(exact | found)
        print(f"{dtype}: {agreement:.4f} of {len(exact)} matches agree")
        assert agreement >= least


def test_clouds(rng):
    features = random_features(rng)
    cloud = over_the_wire(conversions.features_to_cloud(features, HEADER))
    assert [field.name for field in cloud.fields] == ["x", "y", "z", "score"]
    assert (cloud.width, cloud.point_step, cloud.row_step) == (50, 16, 800)
    order = ">" if cloud.is_bigendian else "<"
    as_said = np.dtype(
        {
            "names": [field.name for field in cloud.fields],
            "formats": [f"{order}f4"] * 4,
            "offsets": [field.offset for field in cloud.fields],
            "itemsize": cloud.point_step,
        }
    )
    np.testing.assert_array_equal(np.frombuffer(cloud.data, as_said)["score"], features.scores)
    columns = conversions.cloud_to_columns(cloud)
    np.testing.assert_array_equal(columns[:, :2], features.keypoints)
    np.testing.assert_array_equal(columns[:, 2], 0.0)
    np.testing.assert_array_equal(columns[:, 3], features.scores)
    points = rng.standard_normal((7, 3))
    cloud = over_the_wire(conversions.points_to_cloud(points, HEADER))
    np.testing.assert_allclose(conversions.cloud_to_columns(cloud), points, rtol=1e-6)
    assert conversions.points_to_cloud(np.empty((0, 3)), HEADER).width == 0


def test_matches(rng):
    a, b = random_features(rng), random_features(rng, 40)
    pairs = Matches(np.array([[3, 5], [4, 0]]), np.array([True, False]), 42, a.keypoints)
    message = over_the_wire(conversions.matches_to_message(pairs, b.keypoints, HEADER))
    assert message.count == 2
    assert conversions.stamp_to_ns(message.reference_stamp) == 42
    assert list(message.reference_indices) == [3, 4]
    assert list(message.indices) == [5, 0]
    np.testing.assert_array_equal(message.reference_keypoints, a.keypoints[[3, 4]].ravel())
    np.testing.assert_array_equal(message.keypoints, b.keypoints[[5, 0]].ravel())
    assert list(message.inliers) == [True, False]


def test_homography_and_status():
    H_b_a = np.array([[2.0, 0.1, 4.0], [0.0, 2.0, 6.0], [0.0, 0.0, 2.0]])
    H_b_0 = np.array([[1.0, 0.2, 5.0], [0.3, 1.0, 7.0], [0.0, 0.0, 1.0]])
    matches = Matches(np.array([[3, 5], [4, 0]]), np.array([True, False]), 42, np.zeros((5, 2)))
    result = TrackingResult(
        7,
        TrackingState.TRACKING,
        H_b_a=H_b_a,
        H_b_0=H_b_0,
        matches=matches,
        is_keyframe=True,
        num_inliers=12,
        num_landmarks=345,
        num_keyframes=6,
        map_id=3,
        latency_ms={"match": 1.5, "track": 2.5},
    )
    message = over_the_wire(conversions.homography_to_message(result, HEADER))
    np.testing.assert_array_equal(message.h_b_a, H_b_a.ravel())
    np.testing.assert_array_equal(message.h_b_0, H_b_0.ravel())
    assert (message.header, message.map_id) == (HEADER, 3)
    assert (message.num_matches, message.num_inliers) == (2, 12)
    assert conversions.stamp_to_ns(message.reference_stamp) == 42
    assert conversions.homography_to_message(TrackingResult(7, TrackingState.LOST), HEADER) is None
    status = over_the_wire(conversions.status_to_message(result, HEADER, "homography", 99))
    assert status == TrackerStatus(
        header=HEADER,
        state=TrackerStatus.TRACKING,
        mode="homography",
        is_keyframe=True,
        map_id=3,
        num_keypoints=99,
        num_matches=2,
        num_inliers=12,
        num_keyframes=6,
        num_landmarks=345,
        stages=["match", "track"],
        latencies_ms=[1.5, 2.5],
    )


def test_a_homography_stays_continuous_in_a_long_pan():
    """It goes as it is: its last element passes through zero, so nothing is divided by that."""
    K = np.array([[300.0, 0.0, 320.0], [0.0, 300.0, 240.0], [0.0, 0.0, 1.0]])
    before = None
    for yaw in np.linspace(0.0, -1.2, 121):
        R = se3.exp_so3(np.array([0.0, yaw, 0.0]))
        H = K @ R @ np.linalg.inv(K)
        result = TrackingResult(7, TrackingState.TRACKING, H_b_a=H, H_b_0=H)
        message = over_the_wire(conversions.homography_to_message(result, HEADER))
        np.testing.assert_allclose(message.h_b_a, H.ravel(), rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(message.h_b_0, H.ravel(), rtol=1e-9, atol=1e-9)
        assert before is None or np.abs(message.h_b_a - before).max() < 10.0
        before = message.h_b_a
    assert message.h_b_a[8] < 0.0


def test_poses_and_odometry(rng):
    T = se3.exp(rng.standard_normal(6))
    np.testing.assert_allclose(
        conversions.pose_from_message(conversions.pose_to_message(T)), T, atol=1e-12
    )
    stamped = conversions.transform_to_message(T, HEADER, "base")
    np.testing.assert_allclose(
        conversions.transform_from_message(stamped.transform), T, atol=1e-12
    )
    assert (stamped.header.frame_id, stamped.child_frame_id) == ("camera_optical", "base")
    root = rng.standard_normal((6, 6))
    covariance, twist = root @ root.T, np.arange(1.0, 7.0)
    message = over_the_wire(
        conversions.odometry_to_message(T, covariance, twist, 2.0 * covariance, HEADER, "base")
    )
    assert (message.header, message.child_frame_id) == (HEADER, "base")
    np.testing.assert_allclose(conversions.pose_from_message(message.pose.pose), T, atol=1e-12)
    # ROS has the pose's along the axes of odom, and the twist with its own along those of base.
    turn = np.kron(np.eye(2), T[:3, :3])
    np.testing.assert_allclose(
        message.pose.covariance.reshape(6, 6), turn @ covariance @ turn.T, atol=1e-12
    )
    np.testing.assert_allclose(message.twist.covariance.reshape(6, 6), 2.0 * covariance)
    linear, angular = message.twist.twist.linear, message.twist.twist.angular
    assert [linear.x, linear.y, linear.z, angular.x, angular.y, angular.z] == [1, 2, 3, 4, 5, 6]


def test_what_is_not_known_of_a_pose_or_twist_is_said_to_be_unknown():
    unknown = conversions.UNKNOWN_VARIANCE * np.eye(6)
    for twist, twist_covariance in ((None, None), (None, np.eye(6)), (np.ones(6), None)):
        message = conversions.odometry_to_message(
            np.eye(4), None, twist, twist_covariance, HEADER, "base"
        )
        np.testing.assert_array_equal(message.pose.covariance.reshape(6, 6), unknown)
        np.testing.assert_array_equal(message.twist.covariance.reshape(6, 6), unknown)


def test_broken_transforms_are_refused():
    pose = conversions.pose_to_message(np.eye(4))
    pose.orientation.w = 0.0
    with pytest.raises(MessageError, match="quaternion"):
        conversions.pose_from_message(pose)
    pose.position.x = float("nan")
    with pytest.raises(MessageError, match="finite"):
        conversions.pose_from_message(pose)


def test_images(rng):
    image = rng.integers(0, 256, (48, 80, 3)).astype(np.uint8)
    message = over_the_wire(conversions.image_to_message(image, HEADER))
    np.testing.assert_array_equal(decode_colour(message), image)
    message = over_the_wire(conversions.image_to_message(image[..., 0], HEADER))
    np.testing.assert_array_equal(decode_grey(message), image[..., 0])
