# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Where the camera is taken to sit, by what TF and the parameters say, and what is said of it."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")
tf2_msgs = pytest.importorskip("tf2_msgs.msg", reason="tf2_msgs is not installed")

import rclpy

from superpoint_ros.ros import compat
from superpoint_ros.ros.conversions import make_header, transform_to_message
from superpoint_ros.ros.frames import R_BODY_OPTICAL
from superpoint_ros.ros.log import Problems
from superpoint_ros.ros.mounting import MountingFinder

pytestmark = pytest.mark.ros

# The camera's own axes: right, down and ahead.
AHEAD = np.eye(4)
AHEAD[2, 3] = 2.0


@pytest.fixture
def node(context):
    node = rclpy.create_node("mounting", context=context)
    yield node
    node.destroy_node()


@pytest.fixture
def problems(node):
    return Problems(node.get_logger())


@pytest.fixture
def make_finder(node, problems):
    finders = []

    def make(base_frame="base_link", T_base_cam=None, tf_timeout=0.0):
        finder = MountingFinder(node, base_frame, T_base_cam, tf_timeout, problems)
        if finder._tf_buffer is not None:
            finder._tf_buffer.destroy()
            finder._tf_buffer = compat.StandInTransformBuffer(node)
        finders.append(finder)
        return finder

    yield make
    for finder in finders:
        finder.destroy()


def add(finder, parent, child, x, is_watch=False):
    T = np.eye(4)
    T[:3, :3] = R_BODY_OPTICAL
    T[0, 3] = x
    stamped = transform_to_message(T, make_header(0, parent), child)
    buffer = finder._others if is_watch else finder._tf_buffer
    buffer.add(tf2_msgs.TFMessage(transforms=[stamped]))


def find(finder, camera_frame="camera"):
    return finder.find(camera_frame, lambda: True)


def test_a_camera_on_another_tree_gives_no_odometry(make_finder, problems):
    finder = make_finder()
    add(finder, "gimbal", "camera", 0.1)
    assert find(finder) is None
    assert finder.depends_on_tf
    assert problems.sentences()["tf"] == (
        "TF does not connect base_link and camera: no odometry; publish it "
        "(static_transform_publisher), set camera_in_base, or base_frame:=gimbal for the pose of "
        "that"
    )
    add(finder, "base_link", "camera", 0.3)
    mounting = find(finder)
    assert mounting.child_frame == "base_link"
    assert mounting.T_child_cam[0, 3] == pytest.approx(0.3)
    assert not problems.sentences()
    assert not finder.depends_on_tf


@pytest.mark.parametrize("base_frame", ["base_link", ""])
def test_the_root_of_the_camera_s_own_tree_is_proposed_as_base(make_finder, problems, base_frame):
    finder = make_finder(base_frame=base_frame)
    if not base_frame:
        find(finder)
    add(finder, "camera_link", "camera", 0.1, is_watch=not base_frame)
    add(finder, "robot", "camera_link", 0.1, is_watch=not base_frame)
    find(finder)
    assert "base_frame:=robot for" in problems.sentences()["tf"]


def test_a_camera_that_tf_does_not_know_is_published_itself(make_finder, problems, capfd):
    mounting = find(make_finder())
    assert mounting.child_frame == "camera"
    np.testing.assert_allclose(mounting.pose(AHEAD)[:3, 3], [2.0, 0.0, 0.0], atol=1e-12)
    err = capfd.readouterr().err
    assert "TF has no base_link <- camera: the pose of camera itself is published" in err
    assert not problems.sentences()


@pytest.mark.parametrize(("base_frame", "child"), [("base_link", "base_link"), ("", "camera")])
def test_images_without_a_frame_look_ahead_from_the_base(make_finder, capfd, base_frame, child):
    mounting = find(make_finder(base_frame), camera_frame="")
    assert mounting.child_frame == child
    np.testing.assert_allclose(mounting.pose(np.eye(4)), np.eye(4), atol=1e-12)
    np.testing.assert_allclose(mounting.pose(AHEAD)[:3, 3], [2.0, 0.0, 0.0], atol=1e-12)
    err = capfd.readouterr().err
    assert "images have no frame_id: the camera is taken to look ahead from the origin" in err


@pytest.mark.parametrize("camera_frame", ["camera", ""])
def test_camera_in_base_needs_no_tf(make_finder, capfd, camera_frame):
    T_base_cam = np.eye(4)
    T_base_cam[:3, :3] = R_BODY_OPTICAL
    T_base_cam[:3, 3] = 0.1, 0.0, 0.25
    finder = make_finder(T_base_cam=T_base_cam)
    assert not finder.depends_on_tf
    mounting = find(finder, camera_frame)
    assert mounting.child_frame == "base_link"
    left = np.eye(4)
    left[:3, :3] = R_BODY_OPTICAL.T @ np.diag([-1.0, -1.0, 1.0]) @ R_BODY_OPTICAL
    # The camera turns half a turn to the left where it is: the base swings round behind it.
    np.testing.assert_allclose(mounting.pose(left)[:3, 3], [0.2, 0.0, 0.0], atol=1e-12)
    assert capfd.readouterr().err == ""


def test_without_a_base_the_camera_itself_is_published(make_finder, capfd):
    finder = make_finder(base_frame="")
    assert not finder.depends_on_tf
    assert find(finder).child_frame == "camera"
    assert capfd.readouterr().err == ""


def test_a_camera_that_tf_places_late_rides_on_its_base_from_then_on(make_finder, problems, capfd):
    finder = make_finder()
    alone = find(finder)
    add(finder, "odom", "camera", 9.0, is_watch=True)  # our own
    assert find(finder) is alone
    add(finder, "mast", "camera", 0.1, is_watch=True)
    assert find(finder) is None  # a second parent would break the robot's tree
    assert "TF does not connect base_link and camera" in problems.sentences()["tf"]
    assert "base_frame:=mast" in problems.sentences()["tf"]
    add(finder, "base_link", "mast", 0.2, is_watch=True)
    mounting = find(finder)
    assert mounting.child_frame == "base_link"
    assert not problems.sentences()
    add(finder, "base_link", "mast", 0.5, is_watch=True)
    assert find(finder) is mounting  # it is looked up once


def test_a_camera_that_tf_places_at_once_when_heard(make_finder, capfd):
    finder = make_finder()
    find(finder)
    add(finder, "base_link", "camera", 0.2, is_watch=True)
    assert find(finder).T_child_cam[0, 3] == pytest.approx(0.2)
    assert "TF knows base_link <- camera only now" in capfd.readouterr().err


def test_a_camera_with_a_parent_gets_no_second_one(make_finder, problems):
    finder = make_finder(base_frame="")
    assert find(finder).child_frame == "camera"
    assert finder.may_send_tf
    add(finder, "camera_link", "camera", 0.0, is_watch=True)
    assert find(finder).child_frame == "camera"
    assert not finder.may_send_tf
    assert problems.sentences()["tf"] == (
        "camera hangs on camera_link in TF: its odometry is published, but not on /tf, where a "
        "frame has one parent; set base_frame:=camera_link for that, or publish_tf:=false"
    )
    assert find(finder, "rear").child_frame == "rear"
    assert finder.may_send_tf
    assert not problems.sentences()


def test_another_camera_is_looked_up_anew(make_finder, capfd):
    finder = make_finder()
    add(finder, "base_link", "front", 0.3)
    add(finder, "base_link", "rear", -0.3)
    assert find(finder, "front").T_child_cam[0, 3] == pytest.approx(0.3)
    assert find(finder, "/rear").T_child_cam[0, 3] == pytest.approx(-0.3)
    assert "images name the frame 'rear' now, 'front' before" in capfd.readouterr().err


def test_another_camera_is_waited_for_anew(make_finder):
    finder = make_finder(tf_timeout=0.1)
    assert find(finder, "front").child_frame == "front"  # TF never heard of it
    was_asked = []

    def is_working():
        if not was_asked:
            add(finder, "base_link", "rear", -0.3, is_watch=True)
        was_asked.append(True)
        return True

    mounting = finder.find("rear", is_working)
    assert was_asked == [True]
    assert mounting.child_frame == "base_link"
    assert mounting.T_child_cam[0, 3] == pytest.approx(-0.3)


def test_a_slash_of_ros_1_is_no_part_of_a_frame(make_finder):
    assert find(make_finder(base_frame=""), "/camera").child_frame == "camera"
