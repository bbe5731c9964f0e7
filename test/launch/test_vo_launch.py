# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""vo.launch.py brings both nodes up, a moving picture becomes homographies, Ctrl-C ends with 0."""

import array
import os
import time
import unittest

import numpy as np
import pytest

# Not "launch": our own folder launch/ is a namespace package to Python.
REASON = "needs a ROS 2 install: PyPI has no"
pytest.importorskip("launch.actions", reason=f"{REASON} launch")
pytest.importorskip("launch_ros.actions", reason=f"{REASON} launch_ros")
pytest.importorskip("launch_testing.actions", reason=f"{REASON} launch_testing")
pytest.importorskip("superpoint_ros.msg", reason="needs the built messages")

import launch_testing.actions
import launch_testing.asserts
import rclpy
from launch import LaunchDescription
from launch.actions import IncludeLaunchDescription, SetEnvironmentVariable
from launch.launch_description_sources import PythonLaunchDescriptionSource
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, Image

from superpoint_ros.graph import share_folder
from superpoint_ros.msg import Homography
from superpoint_ros.network.weights import WeightsError, find_weights

try:
    find_weights()
except WeightsError as error:
    pytest.skip(f"no weights: {error}", allow_module_level=True)

HEIGHT, WIDTH = 120, 176
STEP_PX = 3  # the picture moves to the left by this much from frame to frame
DOMAIN_ID = 101  # beyond those of the other tests and of `superpoint replay`
TIMEOUT_S = 300.0  # ends a test that hangs; a slow computer is no failure


def make_panorama():
    """Return a wide grey picture of random blocks (HEIGHT, 8 WIDTH) uint8: corners everywhere."""
    rng = np.random.default_rng(7)
    coarse = rng.integers(30, 226, (HEIGHT // 8, WIDTH), dtype=np.uint8)
    return np.kron(coarse, np.ones((8, 8), np.uint8))


@pytest.mark.launch_test
def generate_test_description():
    source = PythonLaunchDescriptionSource(str(share_folder() / "launch" / "vo.launch.py"))
    arguments = {"sensor": "homography", "image": "/front/image_raw"}
    return LaunchDescription(
        [
            SetEnvironmentVariable("ROS_DOMAIN_ID", str(DOMAIN_ID)),
            SetEnvironmentVariable("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST"),
            IncludeLaunchDescription(source, launch_arguments=arguments.items()),
            launch_testing.actions.ReadyToTest(),
        ]
    )


class TestMovingPicture(unittest.TestCase):
    def setUp(self):
        os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=DOMAIN_ID)
        self.node = rclpy.create_node("probe", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)

    def tearDown(self):
        self.executor.shutdown()
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)

    def test_homography_is_the_known_shift(self):
        received = []
        self.node.create_subscription(
            Homography, "/superpoint/homography", received.append, qos_profile_sensor_data
        )
        images = self.node.create_publisher(Image, "/front/image_raw", qos_profile_sensor_data)
        infos = self.node.create_publisher(
            CameraInfo, "/front/camera_info", qos_profile_sensor_data
        )
        panorama = make_panorama()
        end = time.monotonic() + TIMEOUT_S
        while not images.get_subscription_count() and time.monotonic() < end:
            self.executor.spin_once(timeout_sec=0.1)
        frame = 0
        while len(received) < 5 and time.monotonic() < end:
            left = min(STEP_PX * frame, panorama.shape[1] - WIDTH)
            crop = np.ascontiguousarray(panorama[:, left : left + WIDTH])
            self.publish(images, infos, crop, 1 + frame)
            until = time.monotonic() + 0.5
            while time.monotonic() < until:
                self.executor.spin_once(timeout_sec=0.05)
            frame += 1
        assert len(received) >= 5
        last = received[-1]
        frames_apart = last.header.stamp.sec - last.reference_stamp.sec
        H_b_a = np.array(last.h_b_a).reshape(3, 3)
        expected = np.array([[1, 0, -STEP_PX * frames_apart], [0, 1, 0], [0, 0, 1]])
        corners = np.array([[0, 0, 1], [WIDTH - 1, HEIGHT - 1, 1]]).T
        moved, known = H_b_a @ corners, expected @ corners
        np.testing.assert_allclose(moved[:2] / moved[2], known[:2], atol=2.0)

    def publish(self, images, infos, picture, second):
        """Publish one frame whose stamp, in seconds, is its number."""
        header = Image().header
        header.stamp.sec = second
        header.frame_id = "front_optical"
        images.publish(
            Image(
                header=header,
                height=HEIGHT,
                width=WIDTH,
                encoding="mono8",
                step=WIDTH,
                data=array.array("B", picture.tobytes()),
            )
        )
        focal, x, y = 200.0, (WIDTH - 1) / 2, (HEIGHT - 1) / 2
        infos.publish(
            CameraInfo(
                header=header,
                height=HEIGHT,
                width=WIDTH,
                distortion_model="plumb_bob",
                d=[0.0] * 5,
                k=[focal, 0.0, x, 0.0, focal, y, 0.0, 0.0, 1.0],
                r=[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
                p=[focal, 0.0, x, 0.0, 0.0, focal, y, 0.0, 0.0, 0.0, 1.0, 0.0],
            )
        )


@launch_testing.post_shutdown_test()
class TestExit(unittest.TestCase):
    def test_both_nodes_ended_with_0(self, proc_info):
        launch_testing.asserts.assertExitCodes(proc_info)
        assert len(proc_info.processes()) == 2
