# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The nodes as processes: what they publish, what they survive, how they end."""

from __future__ import annotations

import array
import importlib
import pathlib
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")
pytest.importorskip("superpoint_ros.msg", reason="needs the built messages: pip install .")

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from nav_msgs.msg import Odometry, Path
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import DescribeParameters, SetParameters
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from std_srvs.srv import Empty

from superpoint_ros import decode
from superpoint_ros.data import Features, TrackingState
from superpoint_ros.geometry import se3
from superpoint_ros.geometry.homography import warp_points
from superpoint_ros.msg import Features as FeaturesMessage
from superpoint_ros.msg import Homography, Matches, TrackerStatus
from superpoint_ros.ros import conversions
from superpoint_ros.srv import ResetPose

pytestmark = pytest.mark.ros

HEIGHT, WIDTH = 72, 120
START_NS = 1_700_000_000_000_000_000


def assert_clean(graph, process, times=1):
    code, output = graph.interrupt(process, times)
    assert code == 0, output
    assert "Traceback" not in output, output


def image_message(stamp_ns, encoding="mono8", rng=None, big_endian=False):
    """Any bytes are an image: three per pixel and more are enough for every encoding."""
    step = 16 * WIDTH
    data = np.zeros((3 * HEIGHT, step), np.uint8)
    if rng is not None:
        data[:] = rng.integers(0, 256, data.shape)
    return Image(
        header=conversions.make_header(stamp_ns, "camera"),
        height=HEIGHT,
        width=WIDTH,
        step=step,
        encoding=encoding,
        is_bigendian=int(big_endian),
        data=conversions.to_array(data, "u1"),
    )


def texture(rng, size_hw=(HEIGHT, WIDTH)):
    coarse = rng.integers(0, 256, (size_hw[0] // 6, size_hw[1] // 6)).astype(np.uint8)
    return cv2.resize(coarse, size_hw[::-1], interpolation=cv2.INTER_NEAREST)


def publish_until_answered(graph, publisher, message, messages):
    stamp = message.header.stamp
    assert graph.wait(
        lambda: any(m.header.stamp == stamp for m in messages),
        every=lambda: (publisher.publish(message), time.sleep(0.02)),
    )


# ---- features_node ----------------------------------------------------------------------------


def test_every_encoding_and_broken_images(graph, tiny_weights, rng):
    process = graph.start("features_node", "-p", f"weights:={tiny_weights}")
    messages = graph.listen(FeaturesMessage, "/superpoint/features")
    publisher = graph.publisher(Image, "/superpoint/image", reliable=False)
    publish_until_answered(graph, publisher, image_message(START_NS, "mono8", rng), messages)

    broken = [image_message(START_NS, "mono8") for _ in range(6)]
    broken[0].data = array.array("B")
    broken[1].data = broken[1].data[:99]
    broken[2].step = 2**32 - 1
    broken[3].height = 0
    broken[4].encoding = "h264"
    broken[5].encoding = "32FC1"
    for index, encoding in enumerate(decode.IMAGE_ENCODINGS):
        if index < len(broken):
            publisher.publish(broken[index])
            graph.wait(lambda: False, timeout=0.1)
        good = image_message(START_NS + 1_000_000 * (index + 1), encoding, rng)
        publish_until_answered(graph, publisher, good, messages)

    last = messages[-1]
    features = conversions.features_from_message(last)
    assert (last.header.frame_id, last.model_id, last.descriptor_dim) == ("camera", "tiny", 32)
    assert len(last.weights_sha256) == 64
    assert features.image_size_hw == (HEIGHT, WIDTH)
    assert last.latency_ms > 0.0

    code, output = graph.interrupt(process)
    assert code == 0, output
    assert "Traceback" not in output
    assert "/superpoint/image: mono8 image of 120 x 72" in output
    assert "h264" in output
    # Said once each, not once per frame. (Images are sent again and again: their stamps repeat.)
    warnings = [line for line in output.splitlines() if "[WARN]" in line and "stamps" not in line]
    assert len(warnings) <= 8, output


def test_compressed_images_and_parameters_while_running(graph, tiny_weights, rng):
    graph.start(
        "features_node",
        *("-p", f"weights:={tiny_weights}", "-p", "image_transport:=compressed"),
        *("-p", "keypoints.detection_threshold:=0", "-r", "image:=/cam/image_raw"),
    )
    messages = graph.listen(FeaturesMessage, "/superpoint/features")
    publisher = graph.publisher(CompressedImage, "/cam/image_raw/compressed")
    ok, data = cv2.imencode(".jpg", texture(rng))
    assert ok

    def message(number, payload):
        header = conversions.make_header(START_NS + number, "camera")
        return CompressedImage(header=header, format="jpeg", data=array.array("B", payload))

    publish_until_answered(graph, publisher, message(1, data.tobytes()), messages)
    publisher.publish(message(2, data.tobytes()[:200]))
    publisher.publish(message(3, b""))
    publish_until_answered(graph, publisher, message(4, data.tobytes()), messages)
    assert messages[-1].count > 10

    service = "/superpoint/features_node/set_parameters"

    def set_parameter(name, **value):
        request = SetParameters.Request(
            parameters=[Parameter(name=name, value=ParameterValue(**value))]
        )
        return graph.call(SetParameters, service, request).results[0]

    integer, text = ParameterType.PARAMETER_INTEGER, ParameterType.PARAMETER_STRING
    result = set_parameter("keypoints.max_keypoints", type=integer, integer_value=7)
    assert result.successful, result.reason
    publish_until_answered(graph, publisher, message(5, data.tobytes()), messages)
    assert messages[-1].count == 7
    before, numbers = messages[-1].descriptors, ParameterType.PARAMETER_DOUBLE_ARRAY
    result = set_parameter("scales", type=numbers, double_array_value=[1.0, 0.5])
    assert result.successful, result.reason
    publish_until_answered(graph, publisher, message(6, data.tobytes()), messages)
    assert messages[-1].descriptors != before
    for scales, reason in (([], "scales: none"), ([1.0, 2.0], "2.0 is above the maximum 1.0")):
        result = set_parameter("scales", type=numbers, double_array_value=scales)
        assert not result.successful
        assert reason in result.reason
    result = set_parameter("descriptor_dtype", type=text, string_value="f8")
    assert not result.successful
    assert "f32, f16, u8" in result.reason
    result = set_parameter("weights", type=text, string_value="/else")
    assert not result.successful
    assert "read-only" in result.reason
    result = set_parameter("keypoints.nms_radius", type=integer, integer_value=-1)
    assert not result.successful
    described = graph.call(
        DescribeParameters,
        "/superpoint/features_node/describe_parameters",
        DescribeParameters.Request(names=["keypoints.nms_radius", "weights"]),
    ).descriptors
    assert described[0].integer_range[0].to_value == 64
    assert "pixels" in described[0].description
    assert described[1].read_only


def test_stereo_images_pair_within_the_slop(graph, tiny_weights, rng):
    process = graph.start(
        "features_node",
        *("-p", f"weights:={tiny_weights}", "-p", "stereo:=true", "-p", "sync_slop:=0.01"),
    )
    lefts = graph.listen(FeaturesMessage, "/superpoint/features")
    rights = graph.listen(FeaturesMessage, "/superpoint/right/features")
    left = graph.publisher(Image, "/superpoint/image")
    right = graph.publisher(Image, "/superpoint/right/image")

    def publish(stamp_ns, gap_ns):
        left.publish(image_message(stamp_ns, "mono8", rng))
        right.publish(image_message(stamp_ns + gap_ns, "mono8", rng))
        time.sleep(0.05)

    stamps = iter(range(START_NS, START_NS + 10**12, 100_000_000))
    assert graph.wait(lambda: lefts and rights, every=lambda: publish(next(stamps), 4_000_000)), (
        graph.output_of(process)
    )
    gap = conversions.stamp_to_ns(rights[0].header.stamp) - conversions.stamp_to_ns(
        lefts[0].header.stamp
    )
    assert gap == 4_000_000
    assert list(lefts[0].keypoints) != list(rights[0].keypoints)  # each of its own image
    for _ in range(12):
        publish(next(stamps), 30_000_000)
    assert graph.wait(lambda: "do not pair" in graph.output_of(process))
    output = graph.output_of(process)
    assert "/superpoint/image and /superpoint/right/image do not pair" in output
    assert "the nearest +0.030 s, sync_slop is 0.01 s" in output
    assert_clean(graph, process)


def test_stamps_that_cannot_be_are_named(graph, tiny_weights):
    process = graph.start("features_node", "-p", f"weights:={tiny_weights}")
    publisher = graph.publisher(Image, "/superpoint/image")
    now_ns = graph.node.get_clock().now().nanoseconds

    def publish(stamp_ns):
        publisher.publish(image_message(stamp_ns))
        time.sleep(0.02)

    def says(text):
        return text in graph.output_of(process)

    stamps = iter(range(now_ns - 3600 * 10**9, now_ns, 10**6))
    behind = "stamps on /superpoint/image are 60 minutes behind the node's clock"
    assert graph.wait(lambda: says(behind), every=lambda: publish(next(stamps)))
    assert graph.wait(
        lambda: says("stamps on /superpoint/image repeat"), every=lambda: publish(now_ns)
    )
    assert graph.wait(lambda: says("have no stamp"), every=lambda: publish(0))
    assert_clean(graph, process)


def test_a_clock_that_does_not_run_is_named(graph, tiny_weights):
    process = graph.start(
        "features_node", "-p", f"weights:={tiny_weights}", "-p", "use_sim_time:=true"
    )
    assert graph.wait(lambda: "nothing comes on /clock" in graph.output_of(process))
    assert_clean(graph, process)


def test_nobody_listens(graph, tiny_weights, rng):
    """Without a subscriber the network does not run; the newest image wins when there is one."""
    from diagnostic_msgs.msg import DiagnosticArray

    graph.start("features_node", "-p", f"weights:={tiny_weights}")
    publisher = graph.publisher(Image, "/superpoint/image")
    reports = graph.listen(DiagnosticArray, "/diagnostics")
    message = image_message(START_NS, "mono8", rng)

    def latest():
        return {v.key: v.value for v in reports[-1].status[0].values} if reports else {}

    assert graph.wait(
        lambda: int(latest().get("idle", 0)) >= 10,
        every=lambda: (publisher.publish(message), time.sleep(0.02)),
    )
    assert latest()["published"] == "0"
    assert reports[-1].status[0].name == "superpoint/features_node"


def catches(process, number):
    """Whether a process has a handler for a signal."""
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines())
    return bool(int(fields["SigCgt"], 16) >> (number - 1) & 1)


@pytest.mark.parametrize("delay", [0.0, 0.5, 1.5])
def test_sigint_while_starting(graph, tiny_weights, delay):
    process = graph.start("features_node", "-p", f"weights:={tiny_weights}")
    # Before that Python itself is still starting. SIGINT it catches even then.
    assert graph.wait(lambda: catches(process, signal.SIGTERM))
    time.sleep(delay)
    code, output = graph.interrupt(process)
    assert code == 0, output
    assert "Traceback" not in output


@pytest.mark.parametrize("module", ["features_node", "vo_node", "bag_player", "doctor"])
def test_sigint_while_importing(module):
    code = (
        "import os, runpy, signal, sys\n"
        "class Interrupt:\n"
        "    def find_spec(self, name, *others):\n"
        "        if name in ('numpy', 'rclpy'):\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupt())\n"
        f"runpy.run_module('superpoint_ros.ros.{module}', run_name='__main__', alter_sys=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0 if module.endswith("node") else 130, "")


def test_sigint_twice_during_inference(graph, tiny_weights, rng):
    process = graph.start("features_node", "-p", f"weights:={tiny_weights}")
    messages = graph.listen(FeaturesMessage, "/superpoint/features")
    publisher = graph.publisher(Image, "/superpoint/image")
    publish_until_answered(graph, publisher, image_message(START_NS, "mono8", rng), messages)
    large = conversions.image_to_message(
        texture(rng, (1500, 2000)), conversions.make_header(START_NS + 1, "camera")
    )
    publisher.publish(large)
    graph.wait(lambda: False, timeout=0.15)
    assert_clean(graph, process, times=2)


WRONG = [
    ("features_node", ("-p", "keypoints.nms_radius:=wide"), "keypoints.nms_radius"),
    ("features_node", ("-p", "keypoints.nms_radius:=-3"), "keypoints.nms_radius"),
    ("features_node", ("-p", "keypoint.nms_radius:=3"), "did you mean keypoints.nms_radius"),
    ("features_node", ("-p", "weights:=/no/such.safetensors"), "/no/such.safetensors"),
    ("features_node", ("-p", "engine.device:=cuda:99"), "cuda:99"),
    ("features_node", ("--params-file", "/no/such.yaml"), "/no/such.yaml"),
    ("features_node", ("--params-file", "BAD_YAML"), "bad.yaml"),
    ("features_node", ("-p", "nonsense"), "nonsense"),
    ("tracker_node", ("-p", "odometry.mode:=lidar"), "odometry.mode"),
    ("tracker_node", ("-p", "odometry.stereo.T_left_right:=[0.1]"), "stereo.T_left_right"),
    ("tracker_node", ("-p", "camera_in_base:=[1.0, 2.0]"), "camera_in_base"),
    ("tracker_node", ("-p", "sync_slop:=true"), "sync_slop"),
    ("tracker_node", ("-p", "odometry.depth.maximum:=0.0"), "odometry.depth.maximum"),
    ("vo_node", ("-p", "nonsense:=1"), "nonsense"),
]


@pytest.mark.parametrize(("module", "arguments", "word"), WRONG)
def test_wrong_parameters_end_with_one_line(
    module, arguments, word, tmp_path, tiny_weights, domain, monkeypatch, capfd
):
    monkeypatch.setenv("ROS_DOMAIN_ID", str(domain))
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    bad_yaml = tmp_path / "bad.yaml"
    bad_yaml.write_text("/**:\n  ros__parameters: [1, {\n")
    main = importlib.import_module(f"superpoint_ros.ros.{module}").main
    arguments = [str(bad_yaml) if item == "BAD_YAML" else item for item in arguments]
    assert main(["--ros-args", *arguments]) == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert len(err.strip().splitlines()) == 1, err
    assert word in err
    assert err.startswith(module)


def test_a_wrong_parameter_ends_the_process(graph):
    process = graph.start("tracker_node", "-p", "odometry.mode:=lidar")
    assert process.wait(60.0) == 1
    lines = graph.output_of(process).strip().splitlines()
    assert len(lines) == 1, lines
    assert "odometry.mode" in lines[0]
    graph.processes.clear()


def test_life_cycle_by_hand(graph, tiny_weights, rng):
    process = graph.start(
        "features_node", "-p", f"weights:={tiny_weights}", "-p", "autostart:=false"
    )
    messages = graph.listen(FeaturesMessage, "/superpoint/features")
    publisher = graph.publisher(Image, "/superpoint/image")
    name = "/superpoint/features_node"

    def change(transition, is_legal=True):
        request = ChangeState.Request(transition=Transition(id=transition))
        answer = graph.call(ChangeState, f"{name}/change_state", request)
        assert answer.success == is_legal

    def state():
        return graph.call(GetState, f"{name}/get_state", GetState.Request()).current_state.label

    assert state() == "unconfigured"
    change(Transition.TRANSITION_CONFIGURE)
    change(Transition.TRANSITION_ACTIVATE)
    change(Transition.TRANSITION_ACTIVATE, is_legal=False)
    publish_until_answered(graph, publisher, image_message(START_NS, "mono8", rng), messages)
    change(Transition.TRANSITION_DEACTIVATE)
    change(Transition.TRANSITION_CLEANUP)
    assert state() == "unconfigured"
    change(Transition.TRANSITION_CONFIGURE)
    change(Transition.TRANSITION_ACTIVATE)
    publish_until_answered(graph, publisher, image_message(START_NS + 1, "mono8", rng), messages)
    assert_clean(graph, process)


# ---- tracker_node -----------------------------------------------------------------------------

K = np.array([[100.0, 0.0, 79.5], [0.0, 110.0, 59.5], [0.0, 0.0, 1.0]])
SIZE_HW = (120, 160)


class Wall:
    """A wavy wall of landmarks two metres ahead, seen by a camera that moves to the right."""

    def __init__(self, rng, count=300):
        x, y = rng.uniform(-2.5, 3.0, count), rng.uniform(-1.5, 1.5, count)
        self.points = np.column_stack([x, y, self.depth_at(x)])
        descriptors = rng.standard_normal((count, 64)).astype(np.float32)
        self.descriptors = descriptors / np.linalg.norm(descriptors, axis=1, keepdims=True)

    @staticmethod
    def depth_at(x):
        return 2.0 + 0.15 * np.sin(2.0 * x)

    @staticmethod
    def pose(index):
        return se3.exp(np.array([0.02 * index, 0.0, 0.0, 0.0, 0.002 * index, 0.0]))

    def features(self, T_world_cam):
        points = se3.transform_points(se3.inverse(T_world_cam), self.points)
        pixels = (points / points[:, 2:]) @ K.T
        inside = (pixels[:, 0] > 3) & (pixels[:, 0] < 156) & (pixels[:, 1] > 3)
        inside &= pixels[:, 1] < 116
        chosen = np.flatnonzero(inside)
        return Features(
            pixels[chosen, :2].astype(np.float32),
            np.linspace(1.0, 0.1, len(chosen)).astype(np.float32),
            self.descriptors[chosen],
            SIZE_HW,
        )

    def depth_image(self, T_world_cam):
        """March each pixel's ray onto the wall."""
        v, u = np.mgrid[0 : SIZE_HW[0], 0 : SIZE_HW[1]]
        rays = np.stack([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], np.ones(u.shape)], -1)
        depth = np.full(SIZE_HW, 2.0)
        R, t = T_world_cam[:3, :3], T_world_cam[:3, 3]
        for _ in range(40):
            points = (rays * depth[..., None]) @ R.T + t
            depth += 0.7 * (self.depth_at(points[..., 0]) - points[..., 2])
        return depth


class Recording:
    """Publishes frames of the wall and keeps what the tracker says."""

    def __init__(self, graph, rng, units=5000.0):
        self.graph, self.wall, self.units = graph, Wall(rng), units
        self.features = graph.publisher(FeaturesMessage, "/superpoint/features")
        self.infos = graph.publisher(CameraInfo, "/camera/camera_info")
        self.depths = graph.publisher(Image, "/camera/depth", reliable=False)
        self.status = graph.listen(TrackerStatus, "/superpoint/status")
        self.odometry = graph.listen(Odometry, "/superpoint/odometry")

    def publish(self, index, message=None):
        T_world_cam = self.wall.pose(index)
        stamp_ns = START_NS + 100_000_000 * index
        header = conversions.make_header(stamp_ns, "camera")
        info = CameraInfo(header=header, height=SIZE_HW[0], width=SIZE_HW[1], k=K.ravel())
        info.distortion_model = "plumb_bob"
        self.infos.publish(info)
        depth = np.rint(self.wall.depth_image(T_world_cam) * self.units).astype(np.uint16)
        image = Image(header=header, height=SIZE_HW[0], width=SIZE_HW[1], encoding="16UC1")
        image.step, image.data = 2 * SIZE_HW[1], conversions.to_array(depth.view(np.uint8), "u1")
        self.depths.publish(image)
        if message is None:
            features = self.wall.features(T_world_cam)
            message = conversions.features_to_message(features, header, "f16")
        message.header = header
        self.features.publish(message)
        return stamp_ns

    def wait_until_connected(self):
        self.graph.wait_until_joined(self.features, self.infos, self.depths)

    def play(self, indices):
        """Publish frames one by one, each once the last is answered."""
        for index in indices:
            stamp = conversions.ns_to_stamp(self.publish(index))
            assert self.graph.wait(
                lambda stamp=stamp: self.status and self.status[-1].header.stamp == stamp
            ), f"frame {index} was not answered"
            if self.status[-1].state == TrackingState.TRACKING:
                assert self.graph.wait(
                    lambda stamp=stamp: any(m.header.stamp == stamp for m in self.odometry[-1:])
                )


RGBD = (
    *("-p", "odometry.mode:=rgbd", "-p", "depth_units_per_metre:=5000.0"),
    *("-r", "camera_info:=/camera/camera_info", "-r", "depth/image:=/camera/depth"),
)


def test_rgbd_odometry(graph, rng):
    process = graph.start("tracker_node", *RGBD, "-p", "base_frame:=''", "-p", "map_period:=0.0")
    recording = Recording(graph, rng)
    matches = graph.listen(Matches, "/superpoint/matches")
    paths = graph.listen(Path, "/superpoint/path")
    clouds = graph.listen(PointCloud2, "/superpoint/local_map")
    recording.wait_until_connected()
    recording.play(range(12))
    assert graph.wait(lambda: len(recording.odometry) >= 12)

    last = recording.odometry[-1]
    assert (last.header.frame_id, last.child_frame_id) == ("odom", "camera")
    # The camera's right (x) is the body's -y.
    truth = recording.wall.pose(11)
    position = last.pose.pose.position
    np.testing.assert_allclose(
        [position.x, position.y, position.z], [truth[2, 3], -truth[0, 3], 0.0], atol=0.01
    )
    covariance = last.pose.covariance.reshape(6, 6)
    assert (np.linalg.eigvalsh(covariance) > 0.0).all()
    assert np.sqrt(covariance[0, 0]) < 0.1
    assert last.twist.twist.linear.x == pytest.approx(0.02 / 0.1, rel=0.25)  # of the optical x
    status = recording.status[-1]
    assert (status.state, status.mode) == (TrackingState.TRACKING, "rgbd")
    assert (status.frames_received, status.frames_tracked, status.frames_dropped) == (12, 12, 0)
    assert status.num_inliers > 50
    assert "odometry" in status.stages
    assert graph.wait(lambda: matches and paths and clouds)
    assert len(paths[-1].poses) >= 11
    assert clouds[-1].width == status.num_landmarks
    assert_clean(graph, process, times=2)


def test_tracker_goes_on(graph, rng):
    """Malformed features, a looping bag, reset, pause: the node answers all of them."""
    process = graph.start("tracker_node", *RGBD, "-p", "base_frame:=''")
    recording = Recording(graph, rng)
    recording.wait_until_connected()
    recording.play(range(3))

    recording.publish(3, FeaturesMessage(count=12))
    recording.play([4])

    for service in ("pause_odom", "resume_odom"):
        graph.call(Empty, f"/superpoint/{service}", Empty.Request())
        if service == "pause_odom":
            recording.play([5])
            assert recording.status[-1].state == TrackingState.PAUSED
    recording.play([6])
    assert recording.status[-1].state == TrackingState.TRACKING
    map_id = recording.status[-1].map_id

    recording.play([0, 1])  # the bag starts again
    assert recording.status[-1].map_id == map_id + 1
    assert recording.odometry[-1].pose.pose.position.y == pytest.approx(-0.02, abs=0.01)

    request = ResetPose.Request(x=5.0, y=1.0, yaw=0.5)
    graph.call(ResetPose, "/superpoint/reset_odom_to_pose", request)
    recording.play([2])
    position = recording.odometry[-1].pose.pose.position
    np.testing.assert_allclose([position.x, position.y], [5.0, 1.0], atol=1e-6)
    graph.call(Empty, "/superpoint/reset_odom", Empty.Request())
    recording.play([3])
    assert abs(recording.odometry[-1].pose.pose.position.x) < 1e-6

    code, output = graph.interrupt(process)
    assert code == 0
    assert "jumped back" in output
    assert "expected 24" in output  # keypoints of the malformed message
    assert "Traceback" not in output


def test_tf(graph, rng):
    """The base's pose is published where TF knows the camera's place, and sent to /tf."""
    tf2_msgs = pytest.importorskip("tf2_msgs.msg", reason="tf2_msgs is not installed")
    from rclpy.qos import DurabilityPolicy, QoSProfile

    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    static = graph.node.create_publisher(tf2_msgs.TFMessage, "/tf_static", latched)
    T_base_cam = np.eye(4)
    T_base_cam[:3, :3] = [[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]
    T_base_cam[:3, 3] = 0.3, 0.0, 0.5
    header = conversions.make_header(0, "base_link")
    static.publish(
        tf2_msgs.TFMessage(
            transforms=[conversions.transform_to_message(T_base_cam, header, "camera")]
        )
    )
    graph.start("tracker_node", *RGBD, "-p", "tf_timeout:=20.0")
    sent = graph.listen(tf2_msgs.TFMessage, "/tf")
    recording = Recording(graph, rng)
    recording.wait_until_connected()
    recording.play(range(4))
    assert graph.wait(lambda: len(recording.odometry) >= 4 and len(sent) >= 4)
    last = recording.odometry[-1]
    assert last.child_frame_id == "base_link"
    T_world_cam = recording.wall.pose(3)
    expected = (T_base_cam @ T_world_cam @ se3.inverse(T_base_cam))[:3, 3]
    position = last.pose.pose.position
    np.testing.assert_allclose([position.x, position.y, position.z], expected, atol=0.01)
    transform = sent[-1].transforms[0]
    assert (transform.header.frame_id, transform.child_frame_id) == ("odom", "base_link")
    assert transform.transform.translation.y == position.y


def test_what_is_missing_is_named(graph, rng):
    process = graph.start("tracker_node", *RGBD, "-p", "use_sim_time:=true")
    recording = Recording(graph, rng)
    recording.wait_until_connected()
    wrong = CameraInfo(header=conversions.make_header(START_NS, "camera"))  # zero intrinsics
    recording.infos.publish(wrong)
    features = recording.wall.features(recording.wall.pose(0))
    stamps = iter(range(START_NS, START_NS + 10**12, 100_000_000))

    def publish():  # depth that never pairs
        stamp_ns = next(stamps)
        header = conversions.make_header(stamp_ns, "camera")
        recording.features.publish(conversions.features_to_message(features, header))
        late = conversions.make_header(stamp_ns + 450_000_000, "camera")
        recording.depths.publish(Image(header=late, encoding="16UC1"))
        time.sleep(0.05)

    sentences = (
        "not calibrated",
        "nothing comes on /clock",
        "do not pair: newest stamps are +0.450 s apart",
    )
    for sentence in sentences:
        assert graph.wait(lambda text=sentence: text in graph.output_of(process), every=publish)
    assert_clean(graph, process)


def test_images_too_small_for_a_map_are_named(graph, tiny_weights, rng):
    process = graph.start(
        "vo_node",
        *("-p", f"weights:={tiny_weights}", "-p", "keypoints.detection_threshold:=0"),
        *("-p", "base_frame:=''"),
    )
    images = graph.publisher(Image, "/superpoint/image")
    infos = graph.publisher(CameraInfo, "/superpoint/camera_info")
    picture = texture(rng, (24, 30))
    stamps = iter(range(START_NS, START_NS + 10**12, 33_000_000))

    def publish():
        header = conversions.make_header(next(stamps), "camera")
        infos.publish(CameraInfo(header=header, height=24, width=30, k=K.ravel()))
        images.publish(conversions.image_to_message(picture, header))
        time.sleep(0.05)

    assert graph.wait(
        lambda: "images of 30 x 24 give" in graph.output_of(process), every=publish
    ), graph.output_of(process)
    assert "a map needs 60: they are too small" in graph.output_of(process)
    assert_clean(graph, process)


def test_a_pose_cannot_be_set_before_tf_is_known(graph, rng):
    process = graph.start("tracker_node", *RGBD)
    request = ResetPose.Request(x=5.0, y=1.0, yaw=0.5)
    graph.call(ResetPose, "/superpoint/reset_odom_to_pose", request)
    refusal = "reset_odom_to_pose is refused: the camera's place on base_link has not been found"
    assert graph.wait(lambda: refusal in graph.output_of(process))
    recording = Recording(graph, rng)
    recording.wait_until_connected()
    recording.play([0])  # TF knows nothing: the camera's own pose is published
    recording.play([1])
    assert abs(recording.odometry[-1].pose.pose.position.x) < 0.1
    graph.call(ResetPose, "/superpoint/reset_odom_to_pose", request)
    recording.play([2])
    assert recording.odometry[-1].pose.pose.position.x == pytest.approx(5.0, abs=1e-6)
    assert_clean(graph, process)


# ---- both in one process ------------------------------------------------------------------------


def test_composed(graph, tiny_weights, rng):
    process = graph.start(
        "vo_node",
        *("-p", f"weights:={tiny_weights}", "-p", "odometry.mode:=homography"),
        *("-p", "keypoints.detection_threshold:=0"),
    )
    homographies = graph.listen(Homography, "/superpoint/homography")
    status = graph.listen(TrackerStatus, "/superpoint/status")
    drawn = graph.listen(Image, "/superpoint/debug_image")
    images = graph.publisher(Image, "/superpoint/image")
    infos = graph.publisher(CameraInfo, "/superpoint/camera_info")
    picture = texture(rng, SIZE_HW)
    stamps = iter(range(START_NS, START_NS + 10**12, 33_000_000))
    shifts = {}  # stamp -> pixels to the left; by cells, since random weights see nothing smaller

    def publish():
        stamp_ns = next(stamps)
        shifts[stamp_ns] = 8 * len(homographies)
        header = conversions.make_header(stamp_ns, "camera")
        info = CameraInfo(header=header, height=SIZE_HW[0], width=SIZE_HW[1], k=K.ravel())
        infos.publish(info)
        moved = np.roll(picture, -shifts[stamp_ns], axis=1)
        images.publish(conversions.image_to_message(moved, header))
        time.sleep(0.05)

    def shift_since_reference():
        last = homographies[-1]
        ends = (last.reference_stamp, last.header.stamp)
        then, now = (shifts[conversions.stamp_to_ns(stamp)] for stamp in ends)
        return now - then

    assert graph.wait(
        lambda: homographies and shift_since_reference() > 0 and drawn, every=publish
    ), graph.output_of(process)
    corners = np.array([[0.0, 0.0], [159.0, 0.0], [159.0, 119.0], [0.0, 119.0]])
    shift = warp_points(homographies[-1].h_b_a.reshape(3, 3), corners) - corners
    np.testing.assert_allclose(shift, np.tile([-shift_since_reference(), 0.0], (4, 1)), atol=1.0)
    assert drawn[-1].encoding == "bgr8"
    assert status[-1].mode == "homography"
    assert_clean(graph, process)


def test_composed_stereo(graph, tiny_weights, rng):
    process = graph.start(
        "vo_node",
        *("-p", f"weights:={tiny_weights}", "-p", "keypoints.detection_threshold:=0"),
        *("-p", "odometry.mode:=stereo", "-p", "stereo:=true"),
        *("-p", "base_frame:=''", "-p", "map_period:=0.0"),
    )
    status = graph.listen(TrackerStatus, "/superpoint/status")
    clouds = graph.listen(PointCloud2, "/superpoint/local_map")
    names = ("image", "right/image", "camera_info", "right/camera_info")
    kinds = (Image, Image, CameraInfo, CameraInfo)
    publishers = [
        graph.publisher(kind, f"/superpoint/{name}")
        for name, kind in zip(names, kinds, strict=True)
    ]
    picture = texture(rng, SIZE_HW)
    pictures = (picture, np.roll(picture, -8, axis=1))
    stamps = iter(range(START_NS, START_NS + 10**12, 33_000_000))

    def publish(Tx):
        header = conversions.make_header(next(stamps), "camera")
        for index, offset in enumerate((0.0, Tx)):
            P = np.column_stack([K, [offset, 0.0, 0.0]])
            info = CameraInfo(header=header, height=SIZE_HW[0], width=SIZE_HW[1])
            info.k, info.p = K.ravel(), P.ravel()
            publishers[2 + index].publish(info)
            publishers[index].publish(conversions.image_to_message(pictures[index], header))
        time.sleep(0.05)

    assert graph.wait(
        lambda: "baseline is unknown" in graph.output_of(process), every=lambda: publish(0.0)
    ), graph.output_of(process)
    assert "/superpoint/right/camera_info: camera_info of frame 'camera'" in graph.output_of(
        process
    )
    # 8 px are 2 m with f = 100 px and a baseline of 16 cm.
    assert graph.wait(
        lambda: clouds and status and status[-1].state == TrackingState.TRACKING,
        every=lambda: publish(-16.0),
    ), graph.output_of(process)
    assert status[-1].mode == "stereo"
    points = np.frombuffer(clouds[-1].data, np.float32).reshape(clouds[-1].width, -1)
    assert np.median(points[:, 0]) == pytest.approx(2.0, abs=0.1)  # ahead is x in odom
    assert_clean(graph, process)
