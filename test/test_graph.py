# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The graph names topics, files and parameters as the nodes and the launch files expect them."""

import ast
import configparser
import itertools
import re
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import yaml

import superpoint_ros
from superpoint_ros.graph import (
    ARGUMENTS,
    SENSORS,
    GraphError,
    config_file,
    dds_environment,
    share_folder,
    vo_graph,
)

TREE = Path(__file__).resolve().parents[1]


def by_name(graph):
    return {node.name or node.executable: node for node in graph}


@pytest.mark.parametrize(
    ("image", "is_rectified"),
    [
        ("/left/image_rect", True),
        ("/left/image_rect_color/compressed", True),
        ("/camera/infra1/image_rect_raw", True),
        ("/image_rect/image_raw", False),
        ("/camera/image_raw/compressed", False),
    ],
)
def test_the_name_tells_that_images_are_rectified(image, is_rectified):
    node = by_name(vo_graph("mono", image=image))["tracker_node"]
    files = [Path(file).name for file in node.params_files]
    assert ("tracker_rectified.yaml" in files) == is_rectified
    assert "image_rectified" not in node.overrides["tracker_node"]  # the user's file may deny it


def test_what_was_not_asked_for_leaves_the_users_file_alone(tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text("{}")
    image = "/left/image_rect"
    graph = vo_graph("rgbd", image=image, depth_image="/depth/image", params_file=str(mine))
    assert [dict(node.overrides[node.name]) for node in graph] == [{}, {}]
    assert graph[1].params_files[-1] == str(mine)
    rectified = yaml.safe_load(config_file("tracker_rectified.yaml").read_text())
    assert rectified == {"/**/tracker_node": {"ros__parameters": {"image_rectified": True}}}


def test_mono_is_two_processes_in_one_namespace():
    nodes = by_name(vo_graph("mono", image="/front/image_raw"))
    assert list(nodes) == ["features_node", "tracker_node"]
    assert {node.namespace for node in nodes.values()} == {"/superpoint"}
    assert nodes["tracker_node"].module == "superpoint_ros.ros.tracker_node"
    assert dict(nodes["tracker_node"].remappings) == {
        "image": "/front/image_raw",
        "camera_info": "/front/camera_info",
    }


def test_stereo_tells_both_nodes():
    nodes = by_name(
        vo_graph("stereo", image="/cam/left/image_raw", right_image="/cam/right/image")
    )
    features, tracker = nodes["features_node"], nodes["tracker_node"]
    assert features.overrides["features_node"]["stereo"] is True
    assert "stereo" not in vo_graph("mono")[0].overrides["features_node"]
    assert yaml.safe_load(Path(tracker.params_files[0]).read_text())["/**/tracker_node"] == {
        "ros__parameters": {"odometry.mode": "stereo"}
    }
    assert dict(features.remappings)["right/image"] == "/cam/right/image"
    assert dict(tracker.remappings)["right/camera_info"] == "/cam/right/camera_info"


def test_rgbd_takes_the_transport_from_the_topic_name():
    nodes = by_name(
        vo_graph(
            "rgbd",
            image="/camera/image_raw/compressed",
            depth_image="/camera/depth/image_raw/compressedDepth",
        )
    )
    tracker = nodes["tracker_node"]
    assert dict(tracker.remappings)["image"] == "/camera/image_raw"
    assert dict(tracker.remappings)["depth/image"] == "/camera/depth/image_raw"
    assert dict(tracker.remappings)["depth/camera_info"] == "/camera/depth/camera_info"
    assert nodes["features_node"].overrides["features_node"]["image_transport"] == "compressed"
    assert tracker.overrides["tracker_node"]["depth_transport"] == "compressedDepth"


def test_composed_holds_the_parameters_of_both_nodes():
    (node,) = vo_graph("homography", composed=True, use_sim_time=True)
    assert node.executable == "vo_node"
    assert node.name == ""
    assert [Path(file).name for file in node.params_files] == [
        "features.yaml",
        "tracker_homography.yaml",
    ]
    assert node.overrides["features_node"]["use_sim_time"] is True
    assert node.overrides["tracker_node"]["use_sim_time"] is True


def test_features_only_wins_over_composed():
    graph = vo_graph("mono", composed=True, features_only=True)
    assert [node.executable for node in graph] == ["features_node"]


def test_files_come_in_the_order_shipped_user_overrides(tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text("/**: {ros__parameters: {}}\n")
    graph = vo_graph(
        "mono", params_file=str(mine), overrides={"features_node": {"keypoints.nms_radius": 7}}
    )
    node = graph[0]
    overrides = node.write_overrides(tmp_path)
    arguments = node.arguments(overrides)
    files = [value for flag, value in itertools.pairwise(arguments) if flag == "--params-file"]
    assert files == [str(config_file("features.yaml")), str(mine), str(overrides)]
    document = yaml.safe_load(overrides.read_text())
    ((_, section),) = document.items()
    assert section["ros__parameters"]["keypoints.nms_radius"] == 7


def test_root_namespace_is_a_slash():
    assert "__ns:=/" in vo_graph("mono", namespace="")[0].arguments()


@pytest.mark.ros
@pytest.mark.parametrize("composed", [False, True])
@pytest.mark.parametrize("namespace", ["superpoint", "", "front/left"])
def test_overrides_win_over_every_key_of_the_users_file(
    tmp_path, monkeypatch, namespace, composed
):
    """Read by rcl itself, which takes values in the order in which keys first appeared."""
    rclpy = pytest.importorskip("rclpy", reason="needs ROS 2")
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "OFF")
    own = f"/{namespace}/tracker_node".replace("//", "/")
    for order in itertools.permutations([own, "/**/tracker_node", "/**", f"{own[:-12]}*"], 3):
        mine = tmp_path / "mine.yaml"
        values = "{publish_tf: true, use_sim_time: false, sync_slop: 0.1}"
        mine.write_text("".join(f"{key}: {{ros__parameters: {values}}}\n" for key in order))
        graph = vo_graph(
            namespace=namespace,
            composed=composed,
            params_file=str(mine),
            use_sim_time=True,
            overrides={"tracker_node": {"publish_tf": False}},
        )
        arguments = graph[-1].arguments(graph[-1].write_overrides(tmp_path))
        context = rclpy.Context()
        rclpy.init(args=arguments, context=context)
        try:
            node = rclpy.create_node(
                "tracker_node",
                context=context,
                automatically_declare_parameters_from_overrides=True,
                enable_rosout=False,
                start_parameter_services=False,
            )
            assert node.get_fully_qualified_name() == own
            for name, value in (("publish_tf", False), ("use_sim_time", True), ("sync_slop", 0.1)):
                assert node.get_parameter(name).value == value, (order, name)
            node.destroy_node()
        finally:
            context.try_shutdown()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"sensor": "lidar"}, "lidar"),
        ({"image_transport": "theora"}, "theora"),
        ({"params_file": "/no/such.yaml"}, "/no/such.yaml"),
    ],
)
def test_what_cannot_be_is_named(arguments, word):
    with pytest.raises(GraphError, match=re.escape(word)):
        vo_graph(**arguments)


@pytest.mark.parametrize("sensor", SENSORS)
def test_the_arguments_name_the_topics_that_are_used(sensor):
    described = {argument.name: argument.description for argument in ARGUMENTS}
    used = dict(vo_graph(sensor)[-1].remappings) | dict(vo_graph(sensor)[0].remappings)
    for name, topic in (
        ("image", "image"),
        ("depth_image", "depth/image"),
        ("right_image", "right/image"),
    ):
        assert topic not in used or used[topic] in described[name]


def test_every_argument_of_the_graph_is_offered():
    values = {argument.name: argument.default for argument in ARGUMENTS}
    assert len(vo_graph(**values)) == 2


@pytest.mark.parametrize("sensor", SENSORS)
def test_shipped_parameter_files_hold_known_settings_with_legal_values(sensor):
    pytest.importorskip("rclpy", reason="needs ROS 2")
    pytest.importorskip("superpoint_ros.msg", reason="needs the built messages")
    from superpoint_ros.config import from_mapping, unflatten
    from superpoint_ros.ros.features_node import FeaturesConfig
    from superpoint_ros.ros.tracker_node import TrackerConfig

    for name, node, config in (
        ("features.yaml", "features_node", FeaturesConfig),
        (f"tracker_{sensor}.yaml", "tracker_node", TrackerConfig),
    ):
        document = yaml.safe_load(config_file(name).read_text())
        assert list(document) == [f"/**/{node}"]
        values = document[f"/**/{node}"]["ros__parameters"]
        built = from_mapping(config, unflatten(values))
        if config is TrackerConfig:
            assert built.odometry.mode == sensor


def test_dds_profile_is_named_as_the_installed_fast_dds_reads_it(tmp_path, monkeypatch):
    profile = str(config_file("fastdds.xml"))
    old, new = "FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"
    assert dds_environment({}) == {old: profile, new: profile}  # not known which
    for package, variable in (("fastrtps", old), ("fastdds", new)):
        (tmp_path / package / "share" / package).mkdir(parents=True)
        prefixes = f"{tmp_path / 'overlay'}:{tmp_path / package}"
        assert dds_environment({"AMENT_PREFIX_PATH": prefixes}) == {variable: profile}
    monkeypatch.chdir(tmp_path / "fastrtps")  # no prefix, wherever it is called
    assert dds_environment({"AMENT_PREFIX_PATH": ""}) == {old: profile, new: profile}


def test_dds_profile_is_left_alone_if_the_user_chose():
    assert dds_environment({"FASTDDS_BUILTIN_TRANSPORTS": "UDPv4"}) == {}
    assert dds_environment({"FASTRTPS_DEFAULT_PROFILES_FILE": "/mine.xml"}) == {}
    assert dds_environment({"RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp"}) == {}


def test_dds_profile_has_32_mib_of_shared_memory():
    root = ElementTree.parse(config_file("fastdds.xml")).getroot()
    sizes = [int(item.text) for item in root.iter() if item.tag.endswith("segment_size")]
    assert sizes == [32 * 1024 * 1024]


def test_package_xml_and_the_package_agree_on_the_version():
    if share_folder() != TREE:
        pytest.skip("the installed package is tested, without package.xml")
    root = ElementTree.parse(TREE / "package.xml").getroot()
    assert root.findtext("version") == superpoint_ros.__version__


def test_package_xml_names_what_the_package_imports_and_no_more():
    files = [*(TREE / "superpoint_ros").rglob("*.py"), *(TREE / "launch").glob("*.py")]
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text()))]
    found = {name.name for node in nodes if isinstance(node, ast.Import) for name in node.names}
    found |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
    found = {name.partition(".")[0] for name in found}
    found -= {*sys.stdlib_module_names, "superpoint_ros"}
    found -= {"torch", "safetensors", "rosbags", "evo", "scipy", "kornia", "rerun"}  # from pip
    found -= {"onnxruntime", "onnxscript"}
    keys = {"cv2": "python3-opencv", "yaml": "python3-yaml", "tf2_ros": "tf2_ros_py"}
    keys |= {name: f"python3-{name}" for name in ("matplotlib", "numpy", "rich")}
    tools = {"rosidl_default_runtime", "ros2bag", "ros2launch", "rosbag2_storage_mcap", "rviz2"}
    tools |= {"tf2_ros"}  # the static_transform_publisher that /diagnostics asks for
    root = ElementTree.parse(TREE / "package.xml").getroot()
    named = {item.text for tag in ("depend", "exec_depend") for item in root.iter(tag)}
    assert named == {keys.get(name, name) for name in found} | tools


def test_pip_installs_every_setting_where_there_is_no_ros():
    setup = configparser.ConfigParser()
    setup.read(TREE / "setup.cfg")
    globs = [glob for value in setup["options.data_files"].values() for glob in value.split()]
    installed = {file for glob in globs for file in TREE.glob(glob)}
    assert installed == {file for file in (TREE / "config").rglob("*") if file.is_file()}
