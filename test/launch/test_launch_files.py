# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The launch files load, and start the nodes that the graph names."""

import importlib.util
import tempfile

import pytest
import yaml

REASON = "needs a ROS 2 install: PyPI has no"
pytest.importorskip("launch.actions", reason=f"{REASON} launch")
pytest.importorskip("launch_ros.actions", reason=f"{REASON} launch_ros")

from launch import LaunchContext, LaunchDescription, LaunchService
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    IncludeLaunchDescription,
    OpaqueFunction,
)
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.utilities import perform_substitutions
from launch_ros.actions import Node, PushRosNamespace

from superpoint_ros.graph import ARGUMENTS, GraphError, config_file, share_folder


@pytest.fixture(autouse=True)
def folder_of_temporary_files(tmp_path, monkeypatch):
    """Nothing here runs, so nobody removes the files of overrides."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def load(name):
    path = share_folder() / "launch" / f"{name}.launch.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.generate_launch_description()


def start(arguments, context=None):
    """Return what vo.launch.py starts with these arguments."""
    context = context or LaunchContext()
    nodes = []
    context.launch_configurations.update(arguments)
    for entity in load("vo").entities:
        entity.visit(context) if isinstance(entity, DeclareLaunchArgument) else None
        if isinstance(entity, OpaqueFunction):
            nodes += [e for e in entity.execute(context) if isinstance(e, Node)]
    return nodes


@pytest.mark.parametrize("name", ["vo", "features", "replay"])
def test_offers_all_arguments_of_the_graph(name):
    offered = {argument.name for argument in load(name).get_launch_arguments()}
    assert {argument.name for argument in ARGUMENTS} <= offered


def test_replay_needs_a_bag():
    needed = [a.name for a in load("replay").get_launch_arguments() if a.default_value is None]
    assert needed == ["bag"]


def test_vo_starts_two_nodes_and_composed_one():
    assert [node.node_executable for node in start({})] == ["features_node", "tracker_node"]
    assert [node.node_executable for node in start({"composed": "true"})] == ["vo_node"]
    assert [node.node_executable for node in start({"features_only": "true"})] == ["features_node"]


def test_rviz_is_started_on_demand():
    executables = [node.node_executable for node in start({"rviz": "true"})]
    assert executables == ["features_node", "tracker_node", "rviz2"]


@pytest.mark.parametrize(
    ("pushed", "namespace", "prefix"),
    [
        ("", "superpoint", "/superpoint"),
        ("robot", "superpoint", "/robot/superpoint"),
        ("/robot", "front/left", "/robot/front/left"),
        ("", "", ""),
    ],
)
def test_rviz_looks_at_the_topics_of_the_nodes(pushed, namespace, prefix):
    context = LaunchContext()
    if pushed:
        PushRosNamespace(pushed).visit(context)
    rviz = start({"rviz": "true", "namespace": namespace, "use_sim_time": "true"}, context)[-1]
    displays = yaml.safe_load(config_file("vo.rviz").read_text())["Visualization Manager"]
    shown = [d["Topic"]["Value"] for d in displays["Displays"] if "Topic" in d]
    remappings = [
        tuple(perform_substitutions(context, list(name)) for name in pair)
        for pair in rviz._Node__remappings
    ]
    assert [source for source, _ in remappings] == shown
    assert [target for _, target in remappings] == [
        prefix + topic.removeprefix("/superpoint") for topic in shown
    ]
    ((parameters,),) = [list(rviz._Node__parameters)]
    ((name, value),) = parameters.items()
    assert (perform_substitutions(context, list(name)), value) == ("use_sim_time", True)


@pytest.mark.parametrize("name", ["features", "replay"])
def test_arguments_do_not_leak_into_the_launch_file_around(name, monkeypatch):
    """What comes after the included file would start with its features_only or use_sim_time."""
    monkeypatch.setattr(ExecuteProcess, "execute", lambda *_: None)
    monkeypatch.setattr(Node, "execute", lambda *_: None)
    source = PythonLaunchDescriptionSource(str(share_folder() / "launch" / f"{name}.launch.py"))
    include = IncludeLaunchDescription(source, launch_arguments={"bag": "b"}.items())
    service = LaunchService(noninteractive=True)
    seen = {}
    look = OpaqueFunction(function=lambda c: seen.update(c.launch_configurations))
    service.include_launch_description(LaunchDescription([include, look]))
    assert service.run() == 0
    assert not {"features_only", "use_sim_time"} & set(seen)


def test_the_player_has_the_environment_of_the_nodes(monkeypatch):
    """It publishes the large images, which Fast DDS drops without our profile."""
    monkeypatch.delenv("FASTRTPS_DEFAULT_PROFILES_FILE", raising=False)
    monkeypatch.delenv("FASTDDS_DEFAULT_PROFILES_FILE", raising=False)
    monkeypatch.setenv("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp")
    seen = []
    monkeypatch.setattr(Node, "execute", lambda *_: None)
    monkeypatch.setattr(ExecuteProcess, "execute", lambda _, c: seen.append(dict(c.environment)))
    source = PythonLaunchDescriptionSource(str(share_folder() / "launch" / "replay.launch.py"))
    include = IncludeLaunchDescription(source, launch_arguments={"bag": "b"}.items())
    service = LaunchService(noninteractive=True)
    service.include_launch_description(LaunchDescription([include]))
    assert service.run() == 0
    assert [any("DEFAULT_PROFILES_FILE" in name for name in each) for each in seen] == [True]


def test_missing_params_file_is_named():
    with pytest.raises(GraphError, match=r"/no/such\.yaml"):
        start({"params_file": "/no/such.yaml"})


@pytest.mark.parametrize("arguments", [["sensor:=lidar"], ["composed:=perhaps"]])
def test_illegal_choice_ends_the_launch(arguments):
    service = LaunchService(argv=arguments)
    service.context.launch_configurations.update(item.split(":=") for item in arguments)
    service.include_launch_description(load("vo"))
    assert service.run() == 1
