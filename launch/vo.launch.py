# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Visual odometry on a camera: ros2 launch superpoint_ros vo.launch.py image:=/camera/image_raw

The nodes, their topics and parameters are described once, in superpoint_ros/graph.py.
"""

from pathlib import Path

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    OpaqueFunction,
    RegisterEventHandler,
    SetEnvironmentVariable,
)
from launch.event_handlers import OnShutdown
from launch.events import Shutdown
from launch.substitutions import LaunchConfiguration
from launch.utilities.type_utils import perform_typed_substitution
from launch_ros.actions import Node

from superpoint_ros.graph import ARGUMENTS, NodeSpec, config_file, dds_environment, vo_graph


def generate_launch_description() -> LaunchDescription:
    declared = [
        DeclareLaunchArgument(
            argument.name,
            default_value=str(argument.default).lower()
            if isinstance(argument.default, bool)
            else argument.default,
            description=argument.description,
            choices=argument.choices or None,
        )
        for argument in ARGUMENTS
    ]
    rviz = DeclareLaunchArgument("rviz", default_value="false", description="start RViz as well")
    return LaunchDescription([*declared, rviz, OpaqueFunction(function=_start)])


def _start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    values = {
        argument.name: perform_typed_substitution(
            context, LaunchConfiguration(argument.name), type(argument.default)
        )
        for argument in ARGUMENTS
    }
    actions = [
        SetEnvironmentVariable(name, value)
        for name, value in dds_environment(context.environment).items()
    ]
    for node in vo_graph(**values):
        actions += _node_actions(context, node)
    if perform_typed_substitution(context, LaunchConfiguration("rviz"), bool):
        arguments = ["-d", str(config_file("vo.rviz"))]
        actions.append(Node(package="rviz2", executable="rviz2", arguments=arguments))
    return actions


def _node_actions(context: LaunchContext, node: NodeSpec) -> list[LaunchDescriptionEntity]:
    """Return the actions that start one process, and end the launch when it ends."""
    pushed_namespace = context.launch_configurations.get("ros_namespace", "")
    # Launch arguments win over YAML: the file made of them comes last.
    overrides_file: Path = node.write_overrides(prefix=pushed_namespace)
    process = Node(
        package="superpoint_ros",
        executable=node.executable,
        name=node.name or None,
        # Relative, so that PushRosNamespace takes effect.
        namespace=node.namespace.lstrip("/"),
        remappings=node.remappings,
        parameters=[*node.params_files, str(overrides_file)],
        output="screen",
        on_exit=EmitEvent(event=Shutdown(reason=f"{node.executable} ended")),
    )
    remove = OnShutdown(on_shutdown=lambda *_: overrides_file.unlink(missing_ok=True))
    return [process, RegisterEventHandler(remove)]
