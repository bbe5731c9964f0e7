# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The launch files load, and start the nodes that the graph names."""

import importlib.util
import tempfile

import pytest

REASON = "needs a ROS 2 install: PyPI has no"
pytest.importorskip("launch.actions", reason=f"{REASON} launch")
pytest.importorskip("launch_ros.actions", reason=f"{REASON} launch_ros")

from launch import LaunchContext, LaunchService
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch_ros.actions import Node

from superpoint_ros.graph import ARGUMENTS, GraphError, share_folder


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


def start(arguments):
    """Return what vo.launch.py starts with these arguments."""
    context = LaunchContext()
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


def test_missing_params_file_is_named():
    with pytest.raises(GraphError, match=r"/no/such\.yaml"):
        start({"params_file": "/no/such.yaml"})


@pytest.mark.parametrize("arguments", [["sensor:=lidar"], ["composed:=perhaps"]])
def test_illegal_choice_ends_the_launch(arguments):
    service = LaunchService(argv=arguments)
    service.context.launch_configurations.update(item.split(":=") for item in arguments)
    service.include_launch_description(load("vo"))
    assert service.run() == 1
