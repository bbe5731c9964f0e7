# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Topic lists of real robots and data sets."""

from __future__ import annotations

import pytest

from superpoint_ros.evaluation.recordings import BagError, Topic
from superpoint_ros.evaluation.sensors import SensorTopics, detect_sensor, live_topics

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
INFO, POSE, ODOMETRY = (
    "sensor_msgs/msg/CameraInfo",
    "geometry_msgs/msg/PoseStamped",
    "nav_msgs/msg/Odometry",
)


def detect(*names: str, **wanted: str) -> SensorTopics:
    """Topic types follow from the names."""
    topics = []
    for name in names:
        kind = INFO if name.endswith("camera_info") else IMAGE
        kind = COMPRESSED if "ompressed" in name else kind
        kind = POSE if "pose" in name else ODOMETRY if "odom" in name else kind
        topics.append(Topic(name, kind, 10))
    return detect_sensor(topics, SensorTopics(**wanted), lambda topic: None)


def test_one_camera_is_mono() -> None:
    found = detect("/camera/image_raw", "/camera/camera_info", "/ground_truth/pose", "/odom")
    assert found == SensorTopics(
        sensor="mono",
        image="/camera/image_raw",
        camera_info="/camera/camera_info",
        ground_truth="/ground_truth/pose",
    )


def test_tum_rgbd_ros1_bag() -> None:
    found = detect(
        "/camera/depth/camera_info",
        "/camera/depth/image",
        "/camera/rgb/camera_info",
        "/camera/rgb/image_color",
    )
    assert (found.sensor, found.image) == ("rgbd", "/camera/rgb/image_color")
    assert found.depth == "/camera/depth/image"
    assert found.camera_info == "/camera/rgb/camera_info"


def test_realsense_prefers_colour_and_depth_aligned_to_it() -> None:
    found = detect(
        "/camera/camera/color/image_raw",
        "/camera/camera/color/camera_info",
        "/camera/camera/depth/image_rect_raw",
        "/camera/camera/depth/camera_info",
        "/camera/camera/aligned_depth_to_color/image_raw",
        "/camera/camera/aligned_depth_to_color/camera_info",
        "/camera/camera/infra1/image_rect_raw",
        "/camera/camera/infra1/camera_info",
        "/camera/camera/infra2/image_rect_raw",
        "/camera/camera/infra2/camera_info",
    )
    assert (found.sensor, found.image) == ("rgbd", "/camera/camera/color/image_raw")
    assert found.depth == "/camera/camera/aligned_depth_to_color/image_raw"
    assert found.camera_info == "/camera/camera/color/camera_info"


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("/camera/left/image_raw", "/camera/right/image_raw"),
        ("/cam0/image_raw", "/cam1/image_raw"),
        ("/stereo/left/image_raw/compressed", "/stereo/right/image_raw/compressed"),
        ("/robot/camera_left/image_rect", "/robot/camera_right/image_rect"),
        ("/camera/infra1/image_rect_raw", "/camera/infra2/image_rect_raw"),
    ],
)
def test_left_and_right_are_stereo(left: str, right: str) -> None:
    folders = [name.removesuffix("/compressed").rpartition("/")[0] for name in (left, right)]
    found = detect(left, right, *(f"{folder}/camera_info" for folder in folders))
    assert (found.sensor, found.image, found.right) == ("stereo", left, right)
    assert found.camera_info == f"{folders[0]}/camera_info"
    assert found.right_camera_info == f"{folders[1]}/camera_info"


def test_raw_is_preferred_to_compressed_and_to_rectified() -> None:
    found = detect(
        "/camera/camera_info",
        "/camera/image_raw",
        "/camera/image_raw/compressed",
        "/camera/image_rect",
        "/camera/image_rect_color",
    )
    assert (found.sensor, found.image) == ("mono", "/camera/image_raw")


def test_our_own_pictures_are_no_camera() -> None:
    found = detect("/camera/image_raw", "/camera/camera_info", "/superpoint/debug_image")
    assert found.image == "/camera/image_raw"


def test_mono_can_be_asked_of_a_stereo_recording() -> None:
    found = detect(
        "/cam0/image_raw",
        "/cam0/camera_info",
        "/cam1/image_raw",
        "/cam1/camera_info",
        sensor="mono",
    )
    assert (found.sensor, found.image, found.right) == ("mono", "/cam0/image_raw", "")


def test_the_encoding_tells_depth_where_the_name_does_not() -> None:
    topics = [
        Topic("/kinect/rgb/image_raw", IMAGE, 5),
        Topic("/kinect/ir_range/image_raw", IMAGE, 5),
        Topic("/kinect/rgb/camera_info", INFO, 5),
    ]

    class Message:
        def __init__(self, encoding: str) -> None:
            self.encoding = encoding

    found = detect_sensor(
        topics,
        SensorTopics(),
        lambda topic: Message("16UC1" if "range" in topic else "rgb8"),
    )
    assert (found.sensor, found.depth) == ("rgbd", "/kinect/ir_range/image_raw")


def test_a_colour_camera_may_have_depth_in_its_name() -> None:
    names = ("/depth_camera/image_raw", "/depth_camera/depth/image_raw")
    vivid = "/depth_camera/depth/image_vivid"
    topics = [Topic(name, IMAGE, 5) for name in (*names, vivid)]
    topics.append(Topic("/depth_camera/camera_info", INFO, 5))

    class Message:
        def __init__(self, topic: str) -> None:
            self.encoding = "32FC1" if topic == names[1] else "bgr8"

    found = detect_sensor(topics, SensorTopics(), Message)
    assert (found.sensor, found.image, found.depth) == ("rgbd", *names)
    alone = [topics[0], topics[-1]]
    for wanted in (SensorTopics(), SensorTopics(image=names[0])):
        found = detect_sensor(alone, wanted, Message)
        assert (found.sensor, found.image, found.depth) == ("mono", names[0], "")


@pytest.mark.parametrize(
    "depth", ["/camera/depth/image_raw", "/camera/depth_registered/image_raw"]
)
def test_depth_may_be_called_mono16(depth: str) -> None:
    image = "/camera/color/image_raw"
    topics = [Topic(name, IMAGE, 5) for name in (image, depth)]
    topics.append(Topic("/camera/color/camera_info", INFO, 5))

    class Message:
        def __init__(self, topic: str) -> None:
            self.encoding = "mono16" if topic == depth else "rgb8"

    found = detect_sensor(topics, SensorTopics(), Message)
    assert (found.sensor, found.image, found.depth) == ("rgbd", image, depth)


def test_several_cameras_are_ambiguous_until_one_is_named() -> None:
    names = ("/front/image_raw", "/front/camera_info", "/rear/image_raw", "/rear/camera_info")
    with pytest.raises(BagError, match=r"--image TOPIC.*/front/image_raw.*/rear/image_raw"):
        detect(*names)
    found = detect(*names, image="/rear/image_raw")
    assert found.camera_info == "/rear/camera_info"


TWO_CAMERAS = (
    *("/front/color/image_raw", "/front/color/camera_info"),
    *("/front/aligned_depth_to_color/image_raw", "/front/aligned_depth_to_color/camera_info"),
    *("/rear/color/image_raw", "/rear/color/camera_info"),
)


def test_depth_of_another_camera_is_not_taken() -> None:
    found = detect(*TWO_CAMERAS, image="/rear/color/image_raw")
    assert (found.sensor, found.depth) == ("mono", "")
    with pytest.raises(BagError, match=r"no depth image for '/rear/color/.*: pass --depth"):
        detect(*TWO_CAMERAS, image="/rear/color/image_raw", sensor="rgbd")
    found = detect(*TWO_CAMERAS, image="/front/color/image_raw")
    assert (found.sensor, found.depth) == ("rgbd", "/front/aligned_depth_to_color/image_raw")


@pytest.mark.parametrize(
    "names",
    [
        ("/front/image_raw", "/rear/image_raw", "/front/camera_info"),
        ("/robot/front/image_raw", "/robot/rear/image_raw", "/robot/front/camera_info"),
    ],
)
def test_calibration_of_another_camera_is_not_taken(names: tuple[str, ...]) -> None:
    front, rear, info = names
    assert detect(*names, image=front).camera_info == info
    with pytest.raises(BagError, match=rf"no camera_info for '{rear}': pass --camera-info TOPIC"):
        detect(*names, image=rear)


@pytest.mark.parametrize(
    "names",
    [
        ("/left/image_raw", "/right/image_raw", "/left/camera_info"),
        ("/image_0", "/image_1", "/camera_info"),
    ],
)
def test_left_and_right_do_not_share_a_calibration(names: tuple[str, ...]) -> None:
    with pytest.raises(BagError, match=r"no camera_info for '.*': pass --right-camera-info"):
        detect(*names)


def test_the_only_camera_may_have_its_calibration_anywhere() -> None:
    found = detect("/usb/image_raw", "/depth/image", "/calibration/camera_info")
    assert (found.depth, found.camera_info) == ("/depth/image", "/calibration/camera_info")


def test_no_image_and_no_camera_info_are_named() -> None:
    with pytest.raises(BagError, match=r"no image topic.*--image.*/scan/pose"):
        detect("/scan/pose")
    with pytest.raises(BagError, match=r"no camera_info for '/camera/image_raw'.*--camera-info"):
        detect("/camera/image_raw")


def test_named_topics_must_exist_and_fit() -> None:
    names = ("/camera/image_raw", "/camera/camera_info")
    with pytest.raises(BagError, match=r"no messages on '/other'.*--image"):
        detect(*names, image="/other")
    with pytest.raises(BagError, match=r"'/camera/camera_info' is a sensor_msgs/msg/CameraInfo"):
        detect(*names, image="/camera/camera_info")


def test_ground_truth_needs_the_name_and_is_not_guessed() -> None:
    camera = ("/camera/image_raw", "/camera/camera_info")
    assert detect(*camera, "/odom", "/robot/pose").ground_truth == ""
    assert detect(*camera, "/vicon/drone/pose").ground_truth == "/vicon/drone/pose"
    both = ("/vicon/a/pose", "/vicon/b/pose")
    assert detect(*camera, *both).ground_truth == ""
    assert detect(*camera, *both, ground_truth=both[1]).ground_truth == both[1]


SURROUND = tuple(
    f"/camera/{side}/{name}"
    for side in ("front", "left", "right", "rear")
    for name in ("image_raw", "camera_info")
)


def test_a_rig_that_looks_around_is_no_stereo_pair_unless_said_so() -> None:
    for wanted in ({}, {"image": "/camera/left/image_raw"}):
        with pytest.raises(BagError, match=r"looks around.*--sensor mono --image TOPIC, or"):
            detect(*SURROUND, **wanted)
    assert detect(*SURROUND, image="/camera/rear/image_raw").sensor == "mono"
    found = detect(*SURROUND, sensor="stereo")
    assert (found.image, found.right) == ("/camera/left/image_raw", "/camera/right/image_raw")


@pytest.mark.parametrize(
    ("depth", "info"),
    [
        ("/camera/depth/image_rect_raw", "/camera/depth/camera_info"),
        ("/camera/depth/image_rect_raw/compressedDepth", "/camera/depth/camera_info"),
        ("/camera/color/depth_image", ""),  # its sibling is that of the image
    ],
)
def test_the_calibration_beside_depth_is_that_of_depth(depth: str, info: str) -> None:
    image = "/camera/color/image_raw"
    found = detect(image, "/camera/color/camera_info", depth, "/camera/depth/camera_info")
    assert (found.sensor, found.depth_camera_info) == ("rgbd", info)
    assert (found.second, found.second_camera_info) == (depth, info)


@pytest.mark.parametrize(
    ("recorded", "kind", "live"),
    [
        ("/camera/image_raw", IMAGE, "/camera/image_raw"),
        ("/camera/image_raw/compressed", COMPRESSED, "/camera/image_raw/compressed"),
        ("/depth/image/compressedDepth", COMPRESSED, "/depth/image/compressedDepth"),
        ("/camera/jpeg", COMPRESSED, "/camera/jpeg/compressed"),
        ("camera/image_raw", IMAGE, "/camera/image_raw"),  # ROS 1, written by a script
        ("/camera/00/image_raw", IMAGE, "/camera/_00/image_raw"),
        ("/camera-front/image__raw", IMAGE, "/camera_front/image_raw"),
    ],
)
def test_topics_are_played_under_names_that_the_nodes_can_hear(
    recorded: str, kind: str, live: str
) -> None:
    sensor = SensorTopics(sensor="mono", image=recorded, camera_info="files/my-camera.yaml")
    played = live_topics(sensor, [Topic(recorded, kind, 10)])
    assert played == SensorTopics(sensor="mono", image=live, camera_info="files/my-camera.yaml")
