# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The tracker node in this process, its threads held still where a test needs it."""

from __future__ import annotations

import copy
import dataclasses
import threading
import time
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")
pytest.importorskip("superpoint_ros.msg", reason="needs the built messages: pip install .")

import rclpy
import rclpy.executors
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, CompressedImage
from tf2_msgs.msg import TFMessage

from superpoint_ros.config import ConfigError
from superpoint_ros.data import Features, TrackingResult, TrackingState
from superpoint_ros.ros import conversions
from superpoint_ros.ros.observing import LocalFeatures
from superpoint_ros.ros.tracker_node import TrackerConfig
from superpoint_ros.srv import ResetPose

pytestmark = pytest.mark.ros

SIZE_HW = (48, 80)
K = np.array([[60.0, 0.0, 39.5], [0.0, 60.0, 23.5], [0.0, 0.0, 1.0]])
SECOND = 1_000_000_000


def local_features(stamp_ns, count=60, seed=7):
    rng = np.random.default_rng(seed)
    descriptors = rng.standard_normal((count, 16)).astype(np.float32)
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    keypoints = rng.uniform((2, 2), (SIZE_HW[1] - 3, SIZE_HW[0] - 3), (count, 2))
    features = Features(
        keypoints.astype(np.float32), np.ones(count, np.float32), descriptors, SIZE_HW
    )
    return LocalFeatures(conversions.make_header(stamp_ns, "camera"), features, 1.0)


def clutter(stamp_ns):
    """Features that have nothing to do with the others."""
    return local_features(stamp_ns, seed=stamp_ns)


def depth_message(stamp_ns, byte=4):  # 0x0404 = 1028 mm
    message = conversions.image_to_message(
        np.full((SIZE_HW[0], 2 * SIZE_HW[1]), byte, np.uint8),
        conversions.make_header(stamp_ns, "camera"),
    )
    message.encoding, message.width = "16UC1", SIZE_HW[1]
    return message


def give_frame(node, number):
    """Give a frame with depth; ten a second."""
    node.take_features(local_features(number * SECOND // 10))
    node._on_partner(depth_message(number * SECOND // 10))


def start(node):
    node.start()
    height, width = SIZE_HW
    node._on_camera_info(CameraInfo(height=height, width=width, k=K.ravel()))
    node._odometry_stamps = []
    track = node._odometry.track

    def record(observation):
        result = track(observation)
        node._odometry_stamps.append(observation.stamp_ns)
        return result

    node._odometry.track = record


def wait(condition, timeout=10.0):
    end = time.monotonic() + timeout
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    return condition()


def hold(node):
    """Stop the worker before its next observation; return (it is there, it may go on)."""
    is_in_hand, may_go_on = threading.Event(), threading.Event()
    make = node._observations.make

    def make_slowly(*arguments):
        is_in_hand.set()
        assert may_go_on.wait(10.0)
        return make(*arguments)

    node._observations.make = make_slowly
    return is_in_hand, may_go_on


def test_a_frame_in_hand_when_time_jumps_back_does_not_swallow_the_reset(make_tracker):
    node = make_tracker(base_frame="")
    start(node)
    is_in_hand, may_go_on = hold(node)
    node.take_features(local_features(100 * SECOND))
    assert is_in_hand.wait(10.0)
    for stamp_ns in (1 * SECOND, 2 * SECOND):  # the bag loops
        node.take_features(local_features(stamp_ns))
    may_go_on.set()
    assert wait(lambda: node._odometry_stamps[-2:] == [1 * SECOND, 2 * SECOND])
    assert node.counters["resets"] == 1
    assert node.counters["dropped"] == 1


def test_depth_that_pairs_out_of_order_makes_a_late_frame(make_tracker):
    """At 100 Hz and a slop of 20 ms a depth image may fit the frame before the last one."""
    node = make_tracker(**{"odometry.mode": "rgbd", "base_frame": ""})
    start(node)
    ms = 1_000_000
    for stamp_ns in (SECOND, SECOND + 10 * ms):
        node.take_features(local_features(stamp_ns))
    for stamp_ns in (SECOND + 12 * ms, SECOND + 15 * ms):
        node._on_partner(depth_message(stamp_ns))
    assert wait(lambda: node.counters["late"] == 1)
    assert node._odometry_stamps == [SECOND + 10 * ms]


@pytest.mark.parametrize("transport", ["raw", "compressed", "compressedDepth"])
def test_depth_comes_by_every_transport(make_tracker, transport):
    values = {"odometry.mode": "rgbd", "base_frame": "", "depth_transport": transport}
    node = make_tracker(**values)
    start(node)
    base = node.resolve_topic_name("depth/image")
    topic = base if transport == "raw" else f"{base}/{transport}"
    assert topic in [each.topic_name for each in node.subscriptions]
    track, depths = node._odometry.track, []
    node._odometry.track = lambda seen: depths.append(seen.depth) or track(seen)
    message = depth_message(SECOND)
    if transport != "raw":
        pixels = np.full(SIZE_HW, 0x0404, np.uint16)
        is_png = transport == "compressed"
        header, words = (b"", "png compressed") if is_png else (bytes(12), "compressedDepth")
        message = CompressedImage(
            header=message.header,
            format=f"16UC1; {words}",
            data=header + cv2.imencode(".png", pixels)[1].tobytes(),
        )
    node.take_features(local_features(SECOND))
    node._on_partner(message)
    assert wait(lambda: len(depths) == 1)
    np.testing.assert_allclose(depths[0][np.isfinite(depths[0])], 1.028)
    assert np.isfinite(depths[0]).sum() > 40


@pytest.mark.parametrize("is_rectified", [False, True])
def test_rectified_images_are_seen_by_p(make_tracker, is_rectified):
    node = make_tracker(base_frame="", image_rectified=is_rectified)
    start(node)
    P = np.array([[55.0, 0.0, 41.0, 0.0], [0.0, 55.0, 23.0, 0.0], [0.0, 0.0, 1.0, 0.0]])
    height, width = SIZE_HW
    values = {"d": [-0.3, 0.1, 0.0, 0.0, 0.0], "distortion_model": "plumb_bob"}
    info = CameraInfo(height=height, width=width, k=K.ravel(), p=P.ravel(), **values)
    node._on_camera_info(info)
    track, seen = node._odometry.track, []
    node._odometry.track = lambda observation: seen.append(observation) or track(observation)
    node.take_features(local_features(SECOND))
    assert wait(lambda: len(seen) == 1)
    np.testing.assert_array_equal(seen[0].K, P[:, :3] if is_rectified else K)
    moved = np.abs(seen[0].pixels - seen[0].features.keypoints).max()
    assert (moved == 0.0) if is_rectified else (moved > 0.5)


def test_the_path_is_as_long_as_it_may_be(make_tracker):
    node = make_tracker(**{"odometry.mode": "rgbd", "base_frame": "", "path_max_length": 3})
    start(node)
    for number in range(1, 8):
        give_frame(node, number)
        assert wait(lambda number=number: len(node._odometry_stamps) == number)
    assert len(node._path._poses) == 3


def test_tf_can_be_switched_on_later(make_tracker):
    node = make_tracker(**{"odometry.mode": "rgbd", "base_frame": "", "publish_tf": False})
    start(node)
    sent = []
    node.create_subscription(TFMessage, "/tf", sent.append, 10)
    assert node.count_publishers("/tf") == 0
    result = node.set_parameters([Parameter("publish_tf", value=True)])[0]
    assert result.successful, result.reason
    assert wait(lambda: node.count_publishers("/tf") == 1)
    executor = rclpy.executors.SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    for number in range(1, 100):
        give_frame(node, number)
        executor.spin_once(timeout_sec=0.05)
        if sent:
            break
    executor.shutdown()
    assert sent[0].transforms[0].child_frame_id == "camera"


def test_cleanup_leaves_nothing_behind(make_tracker):
    node = make_tracker(**{"odometry.mode": "rgbd"})

    def count():
        of_node = (node.publishers, node.subscriptions, node.services, node.timers)
        return [len(list(items)) for items in of_node] + [threading.active_count()]

    before = count()
    for _ in range(2):
        node.trigger_configure()
        node.trigger_activate()
        assert count() > before
        node.trigger_deactivate()
        node.trigger_cleanup()
        assert count() == before


@pytest.mark.parametrize("step", ["create_publisher", "create_subscription", "create_service"])
def test_a_set_up_that_fails_half_way_leaves_nothing_behind(make_tracker, monkeypatch, step):
    node = make_tracker(**{"odometry.mode": "rgbd"})

    def count():
        of_node = (node.publishers, node.subscriptions, node.services, node.timers)
        return [len(list(items)) for items in of_node] + [threading.active_count()]

    before = count()
    create, numbers = getattr(node, step), iter(range(100))

    def fail_the_third_time(*arguments, **keywords):
        if next(numbers) == 2:
            raise OSError("no more of these")
        return create(*arguments, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(node, step, fail_the_third_time)
        assert node.trigger_configure() == TransitionCallbackReturn.FAILURE
    assert next(numbers) == 3
    assert count() == before
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    assert count() > before
    node.trigger_cleanup()
    assert count() == before


def test_shutdown_ends_the_work(make_tracker):
    node = make_tracker()
    before = threading.active_count(), len(list(node.subscriptions))
    start(node)
    node.trigger_shutdown()
    assert (threading.active_count(), len(list(node.subscriptions))) == before


def test_an_inactive_node_leaves_the_frames_that_wait(make_tracker):
    node = make_tracker(base_frame="")
    start(node)
    is_in_hand, may_go_on = hold(node)
    for number in range(1, 5):
        node.take_features(local_features(number * SECOND))
    assert is_in_hand.wait(10.0)
    node.trigger_deactivate()
    may_go_on.set()
    assert wait(lambda: node.counters["dropped"] == 3)
    assert node._odometry_stamps == [1 * SECOND]
    node.trigger_activate()
    node.take_features(local_features(9 * SECOND))
    assert wait(lambda: node._odometry_stamps == [1 * SECOND, 9 * SECOND])


def features_of_length(stamp_ns, dim):
    frame = local_features(stamp_ns)
    rng = np.random.default_rng(3)
    descriptors = rng.standard_normal((len(frame.features), dim)).astype(np.float32)
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    features = dataclasses.replace(frame.features, descriptors=descriptors)
    return dataclasses.replace(frame, features=features)


@pytest.mark.parametrize("mode", ["rgbd", "homography"])
def test_another_network_starts_a_new_map(make_tracker, mode):
    node = make_tracker(**{"odometry.mode": mode, "base_frame": ""})
    start(node)
    results = record_statuses(node)
    for number, dim in enumerate((16, 16, 32, 32), start=1):
        node.take_features(features_of_length(number * SECOND // 10, dim))
        if mode == "rgbd":
            node._on_partner(depth_message(number * SECOND // 10))
    assert wait(lambda: len(results) == 4), node.problems.sentences()
    assert [result.map_id for result in results] == [0, 0, 1, 1]
    assert all(result.state == TrackingState.TRACKING for result in results)


def record_statuses(node):
    results = []
    publish = node._publish_status

    def record(result, *arguments):
        publish(result, *arguments)
        results.append(result)

    node._publish_status = record
    return results


def test_a_frame_that_fails_is_told_until_the_next_good_one(make_tracker):
    node = make_tracker(base_frame="")
    start(node)
    track = node._odometry.track

    def fail(observation):
        raise RuntimeError("out of memory")

    node._odometry.track = fail
    node.take_features(local_features(1 * SECOND))
    assert wait(lambda: node.counters["bad"] == 1)
    assert wait(lambda: "RuntimeError: out of memory" in node.problems.sentences()["failure"])
    node._odometry.track = track
    node.take_features(local_features(2 * SECOND))
    assert wait(lambda: not node.problems.sentences())


def test_a_pause_leaves_the_map_as_it_is(make_tracker):
    node = make_tracker(**{"odometry.mode": "rgbd", "base_frame": ""})
    start(node)
    results = record_statuses(node)

    def feed(number):
        give_frame(node, number)
        return wait(lambda: len(results) == number)

    node._on_reset(None, None)
    assert feed(1)
    assert feed(2)
    is_in_hand, may_go_on = hold(node)
    for number in (3, 4, 5):
        give_frame(node, number)
    assert is_in_hand.wait(10.0)
    node._on_pause(None, None)
    assert node.counters["dropped"] == 2  # those that waited
    may_go_on.set()
    assert wait(lambda: len(results) == 3)
    node.take_features(local_features(6 * SECOND // 10))
    before, paused = results[-2:]
    assert paused.state == TrackingState.PAUSED
    assert before.map_id == paused.map_id == 1
    assert before.num_landmarks == paused.num_landmarks > 0
    assert before.num_keyframes == paused.num_keyframes > 0


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_pose_that_is_not_finite_is_refused(make_tracker, value):
    node = make_tracker(**{"odometry.mode": "rgbd", "base_frame": ""})
    start(node)
    node._on_reset_to_pose(ResetPose.Request(yaw=value), None)
    assert node._pending_reset is None
    node._on_reset_to_pose(ResetPose.Request(yaw=1.0), None)
    assert np.isfinite(node._pending_reset[0]).all()


def record_output(node, name, num_listeners=0):
    """Return the growing list of what goes to an output."""
    messages = []
    node._outputs[name] = SimpleNamespace(
        publish=messages.append, topic_name=name, get_subscription_count=lambda: num_listeners
    )
    return messages


def record_poses(node):
    return record_output(node, "odometry")


def record_paths(node):
    paths = []

    def publish(path):
        paths.append(copy.deepcopy(path))

    node._path._publisher = SimpleNamespace(publish=publish, get_subscription_count=lambda: 1)
    return paths


def test_a_pose_of_zeros_is_what_a_reset_gives(make_tracker):
    """Also of the camera itself, whose own axes are not those of a body."""
    node = make_tracker(**{"odometry.mode": "rgbd", "base_frame": ""})
    start(node)
    poses = record_poses(node)

    def feed(number):
        give_frame(node, number)
        assert wait(lambda: len(poses) == number)
        return conversions.pose_from_message(poses[-1].pose.pose)

    feed(1)
    node._on_reset(None, None)
    expected = feed(2)
    np.testing.assert_allclose(expected[:3, 2], [1.0, 0.0, 0.0], atol=1e-9)  # it looks ahead
    node._on_reset_to_pose(ResetPose.Request(), None)
    np.testing.assert_allclose(feed(3), expected, atol=1e-9)
    node._on_reset_to_pose(ResetPose.Request(x=5.0, yaw=float(np.pi / 2)), None)
    T = feed(4)
    np.testing.assert_allclose(T[:3, 3], [5.0, 0.0, 0.0], atol=1e-6)
    np.testing.assert_allclose(T[:3, 2], [0.0, 1.0, 0.0], atol=1e-6)  # to the left


def test_nothing_is_guessed_while_lost(make_tracker):
    node = make_tracker(**{"odometry.mode": "rgbd", "base_frame": ""})
    start(node)
    poses, transforms = record_poses(node), []
    node._tf = SimpleNamespace(sendTransform=transforms.append)
    results = record_statuses(node)

    def feed(frame):
        node.take_features(frame)
        node._on_partner(depth_message(conversions.stamp_to_ns(frame.header.stamp)))
        count = len(results) + 1
        assert wait(lambda: len(results) == count)
        return results[-1].state

    for number in (1, 2):
        assert feed(local_features(number * SECOND // 10)) == TrackingState.TRACKING
    for number in (3, 4, 5):  # somebody stands before the camera
        assert feed(clutter(number * SECOND // 10)) == TrackingState.LOST
    assert len(poses) == len(transforms) == 2
    assert node.counters["tracked"] == 2
    assert feed(local_features(6 * SECOND // 10)) == TrackingState.TRACKING
    assert len(poses) == len(transforms) == 3
    assert results[-1].map_id == 0


def test_tf_has_its_time_from_the_first_frame_on(make_tracker):
    node = make_tracker(**{"odometry.mode": "rgbd", "tf_timeout": 0.5})
    start(node)
    time.sleep(0.6)  # the camera is started later
    finder = node._mountings
    answers = iter([None])  # to the first question; then TF knows
    finder._tf_buffer.lookup = lambda *frames: next(answers, np.eye(4))
    node.take_features(local_features(1 * SECOND))
    node._on_partner(depth_message(1 * SECOND))
    assert wait(lambda: finder.mounting is not None)
    assert finder.mounting.child_frame == "base_link"


@pytest.mark.parametrize("end", ["trigger_deactivate", "stop_work"])
def test_a_node_that_ends_while_it_waits_for_tf_publishes_no_pose(make_tracker, end):
    node = make_tracker(**{"odometry.mode": "rgbd", "tf_timeout": 600.0})
    start(node)
    poses, results = record_poses(node), record_statuses(node)
    is_asked = threading.Event()
    node._mountings._tf_buffer.lookup = lambda *frames: is_asked.set()
    give_frame(node, 1)
    assert is_asked.wait(10.0)
    getattr(node, end)()
    assert wait(lambda: len(results) == 1)
    assert not poses
    assert node._mountings.mounting is None  # it will ask again


def test_a_homography_asks_nothing_of_tf(make_tracker):
    node = make_tracker(tf_timeout=600.0)
    start(node)
    node.take_features(local_features(1 * SECOND))
    assert wait(lambda: node.counters["tracked"] == 1)
    assert not node.problems.sentences()


def test_depth_of_another_lens_is_noticed(make_tracker):
    node = make_tracker(**{"odometry.mode": "rgbd", "base_frame": ""})
    start(node)
    height, width = SIZE_HW
    other = K.copy()
    other[0, 0] *= 0.65
    node._on_depth_camera_info(CameraInfo(height=height, width=width, k=other.ravel()))
    assert "depth is not registered to the image" in node.problems.sentences()["depth"]
    node._on_depth_camera_info(CameraInfo(height=height, width=width, k=K.ravel()))
    assert not node.problems.sentences()
    node._on_depth_camera_info(CameraInfo(height=height, width=width))  # all zero
    assert not node.problems.sentences()


@pytest.mark.parametrize(
    ("mode", "byte", "seed", "words"),
    [
        ("rgbd", 0, 7, "0 of 60 keypoints have a depth from 0.1 to 10 m: check depth_units_per_"),
        ("rgbd", 4, None, "lost: nothing of the map is in view"),
        ("mono", 4, 7, "no map yet: move the camera sideways"),
    ],
)
def test_a_state_without_a_pose_is_told_once_it_lasts(make_tracker, mode, byte, seed, words):
    node = make_tracker(**{"odometry.mode": mode, "base_frame": ""})
    start(node)
    results = record_statuses(node)
    if seed is None:
        give_frame(node, 1)
        assert wait(lambda: len(results) == 1)
    first = len(results)
    for number in range(first + 1, first + 24):
        stamp_ns = number * SECOND // 10
        node.take_features(local_features(stamp_ns, seed=seed or 100 + number))
        if mode == "rgbd":
            node._on_partner(depth_message(stamp_ns, byte))
        assert wait(lambda count=number: len(results) == count)
        if number < first + 20:
            assert not node.problems.sentences()
    assert node.problems.sentences()["state"].startswith(words)
    assert node._describe_links()["state"] == TrackingState(results[-1].state).name


def test_a_pose_ends_what_was_said_of_the_state(make_tracker):
    node = make_tracker(**{"odometry.mode": "rgbd", "base_frame": ""})
    start(node)
    for number in range(1, 24):
        node.take_features(local_features(number * SECOND // 10))
        node._on_partner(depth_message(number * SECOND // 10, 0))
        assert wait(lambda count=number: len(node._odometry_stamps) == count)
    assert wait(lambda: "state" in node.problems.sentences())
    give_frame(node, 24)
    assert wait(lambda: not node.problems.sentences())


def test_a_slow_tracker_takes_the_newest_frames(make_tracker):
    node = make_tracker(base_frame="", queue_size=TrackerConfig().queue_size)
    start(node)
    is_in_hand, may_go_on = hold(node)
    node.take_features(local_features(1 * SECOND))
    assert is_in_hand.wait(10.0)
    for number in range(2, 30):
        node.take_features(local_features(number * SECOND))
    may_go_on.set()
    assert wait(lambda: len(node._odometry_stamps) == 3)
    assert node._odometry_stamps == [1 * SECOND, 28 * SECOND, 29 * SECOND]
    assert node.counters["dropped"] == 26


def test_another_place_of_the_camera_starts_a_new_map(make_tracker):
    node = make_tracker(**{"odometry.mode": "rgbd", "base_frame": ""})
    start(node)
    results = record_statuses(node)
    give_frame(node, 1)
    assert wait(lambda: len(results) == 1)
    frame = local_features(2 * SECOND // 10)
    frame.header.frame_id = "rear"
    node.take_features(frame)
    node._on_partner(depth_message(2 * SECOND // 10))
    assert wait(lambda: len(results) == 2)
    assert results[1].map_id == results[0].map_id + 1


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"odom_frame": ""}, "odom_frame: is empty"),
        ({"odom_frame": "map", "base_frame": "map"}, "base_frame: is map, as odom_frame is"),
    ],
)
def test_frames_that_cannot_be(make_tracker, values, words):
    with pytest.raises(ConfigError, match=words):
        make_tracker(**values)


# A camera at the rear of a robot that looks back: its right is the robot's left.
REAR_CAMERA = (-0.3, 0.1, 0.5, -0.5, -0.5, 0.5, 0.5)  # x y z qx qy qz qw
T_BASE_REAR = np.array(
    [[0.0, 0.0, -1.0, -0.3], [1.0, 0.0, 0.0, 0.1], [0.0, -1.0, 0.0, 0.5], [0.0, 0.0, 0.0, 1.0]]
)


@pytest.fixture
def rear(make_tracker):
    """What is published of a robot that went 1 m ahead, 2 m to the left, and turned left.

    It goes on at 1 m/s, turning left at 0.5 rad/s, which gives its camera a velocity of
    (1, 0, 0) + (0, 0, 0.5) x (-0.3, 0.1, 0.5) = (0.95, -0.15, 0) m/s in the robot's axes.
    """
    T_odom_base = np.array(
        [[0.0, -1.0, 0.0, 1.0], [1.0, 0.0, 0.0, 2.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
    )
    stamp_ns = 1_700_000_000_123_456_789
    covariance = np.diag([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    result = TrackingResult(
        stamp_ns,
        TrackingState.TRACKING,
        T_world_cam=np.linalg.inv(T_BASE_REAR) @ T_odom_base @ T_BASE_REAR,
        covariance=covariance,
        twist=np.array([-0.15, 0.0, -0.95, 0.0, -0.5, 0.0]),
        twist_covariance=10.0 * covariance,
    )
    frames = {"odom_frame": "start", "base_frame": "robot", "camera_in_base": REAR_CAMERA}
    node = make_tracker(**{"odometry.mode": "mono", **frames})
    start(node)
    node._odometry.track = lambda observation: result
    node._odometry.landmarks_world = lambda: np.array([[0.0, 0.0, 2.0], [1.0, 0.0, 0.0]])
    transforms = []
    node._tf = SimpleNamespace(sendTransform=transforms.append)
    published = SimpleNamespace(
        stamp=conversions.ns_to_stamp(stamp_ns),
        T_odom_base=T_odom_base,
        odometry=record_poses(node),
        transforms=transforms,
        paths=record_paths(node),
        clouds=record_output(node, "local_map", 1),
    )
    results = record_statuses(node)
    node.take_features(local_features(stamp_ns))
    assert wait(lambda: len(results) == 1), node.problems.sentences()
    return published


def test_the_pose_is_that_of_the_base_everywhere(rear):
    (odometry,), (transform,), (path,) = rear.odometry, rear.transforms, rear.paths
    (on_path,) = path.poses
    for header in (odometry.header, transform.header, path.header, on_path.header):
        assert (header.stamp, header.frame_id) == (rear.stamp, "start")
    assert odometry.child_frame_id == transform.child_frame_id == "robot"
    for T in (
        conversions.pose_from_message(odometry.pose.pose),
        conversions.transform_from_message(transform.transform),
        conversions.pose_from_message(on_path.pose),
    ):
        np.testing.assert_allclose(T, rear.T_odom_base, atol=1e-9)


def test_the_twist_is_that_of_the_base(rear):
    twist = rear.odometry[0].twist.twist
    linear = [twist.linear.x, twist.linear.y, twist.linear.z]
    np.testing.assert_allclose(linear, [1.0, 0.0, 0.0], atol=1e-9)
    angular = [twist.angular.x, twist.angular.y, twist.angular.z]
    np.testing.assert_allclose(angular, [0.0, 0.0, 0.5], atol=1e-9)


def test_covariances_are_those_of_the_base(rear):
    """Errors of the camera's rotation move the base at the other end of the lever arm."""
    in_base = np.array(
        [
            [4.05, 0.15, 0.60, 0.0, -2.0, 0.5],
            [0.15, 2.95, -0.3, 3.0, 0.0, 1.5],
            [0.60, -0.3, 2.42, -0.6, -1.2, 0.0],
            [0.0, 3.0, -0.6, 6.0, 0.0, 0.0],
            [-2.0, 0.0, -1.2, 0.0, 4.0, 0.0],
            [0.5, 1.5, 0.0, 0.0, 0.0, 5.0],
        ]
    )
    (odometry,) = rear.odometry
    np.testing.assert_allclose(odometry.twist.covariance.reshape(6, 6), 10.0 * in_base, atol=1e-9)
    # That of the pose has the axes of odom: x is the robot's right, y is ahead.
    axes, signs = [1, 0, 2, 4, 3, 5], np.array([-1.0, 1.0, 1.0, -1.0, 1.0, 1.0])
    in_odom = in_base[np.ix_(axes, axes)] * np.outer(signs, signs)
    np.testing.assert_allclose(odometry.pose.covariance.reshape(6, 6), in_odom, atol=1e-9)


def test_the_local_map_is_in_odom(rear):
    (cloud,) = rear.clouds
    assert (cloud.header.stamp, cloud.header.frame_id) == (rear.stamp, "start")
    expected = [[-2.3, 0.1, 0.5], [-0.3, 1.1, 0.5]]  # 2 m before it, and 1 m to its right
    np.testing.assert_allclose(conversions.cloud_to_columns(cloud), expected, atol=1e-6)


def test_a_reset_begins_a_new_path(make_tracker):
    node = make_tracker(**{"odometry.mode": "rgbd", "base_frame": "", "map_period": 0.0})
    start(node)
    paths = record_paths(node)
    for number in (1, 2, 3, 4):
        if number == 3:
            node._on_reset(None, None)
        give_frame(node, number)
        assert wait(lambda count=number: len(paths) == count)
    assert [len(path.poses) for path in paths] == [1, 2, 1, 2]


def test_a_reset_to_a_pose_turns_the_base_as_it_says(make_tracker):
    node = make_tracker(**{"odometry.mode": "rgbd", "camera_in_base": REAR_CAMERA})
    start(node)
    poses = record_poses(node)
    node._on_reset_to_pose(ResetPose.Request(x=1.0, y=2.0, z=3.0, roll=0.1, pitch=0.2), None)
    give_frame(node, 1)
    assert wait(lambda: len(poses) == 1)
    T = conversions.pose_from_message(poses[0].pose.pose)
    expected = [  # sin 0.1 = 0.0998, cos 0.1 = 0.9950, sin 0.2 = 0.1987, cos 0.2 = 0.9801
        [0.9801, 0.0198, 0.1977, 1.0],
        [0.0, 0.9950, -0.0998, 2.0],
        [-0.1987, 0.0978, 0.9752, 3.0],
    ]
    np.testing.assert_allclose(T[:3], expected, atol=1e-4)


def test_the_status_counts_every_frame_without_a_pose(make_tracker):
    values = {"odometry.mode": "rgbd", "base_frame": "", "sync_queue_size": 2}
    node = make_tracker(**values)
    start(node)
    statuses = record_output(node, "status")
    give_frame(node, 5)
    node.take_features(local_features(4 * SECOND // 10))  # late
    for number in (6, 7, 8):  # without depth; the next one leaves room for one of them
        node.take_features(local_features(number * SECOND // 10))
    for number in (9, 10, 11):  # with depth that cannot be read
        node.take_features(local_features(number * SECOND // 10))
        depth = depth_message(number * SECOND // 10)
        depth.encoding = "bgr8"
        node._on_partner(depth)
    assert wait(lambda: node.counters["bad"] == 3)
    node._refresh()
    node.counters.add("dropped", 4)
    give_frame(node, 12)
    assert wait(lambda: len(statuses) == 2)
    assert (statuses[1].frames_received, statuses[1].frames_tracked) == (9, 2)
    assert statuses[1].frames_dropped == 1 + 2 + 3 + 4
