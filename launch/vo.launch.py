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
from launch_ros.actions import Node

from superpoint_ros.graph import (
    ARGUMENTS,
    NAMESPACE,
    Argument,
    NodeSpec,
    config_file,
    dds_environment,
    vo_graph,
)

RVIZ = Argument("rviz", False, "start RViz as well")
RVIZ_TOPICS = ("odometry", "path", "local_map", "debug_image")  # of vo.rviz


def generate_launch_description() -> LaunchDescription:
    declared = [_declare(argument) for argument in (*ARGUMENTS, RVIZ)]
    return LaunchDescription([*declared, OpaqueFunction(function=_start)])


def _declare(argument: Argument) -> DeclareLaunchArgument:
    is_switch = isinstance(argument.default, bool)
    return DeclareLaunchArgument(
        argument.name,
        default_value=str(argument.default).lower() if is_switch else argument.default,
        description=argument.description,
        choices=["true", "false"] if is_switch else argument.choices or None,
    )


def _read(context: LaunchContext, argument: Argument) -> str | bool:
    text = context.perform_substitution(LaunchConfiguration(argument.name))
    return text == "true" if isinstance(argument.default, bool) else text


def _start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    values = {argument.name: _read(context, argument) for argument in ARGUMENTS}
    wanted = dds_environment(context.environment)
    actions = [SetEnvironmentVariable(name, value) for name, value in wanted.items()]
    graph = vo_graph(**values)
    for node in graph:
        actions += _node_actions(node)
    if _read(context, RVIZ):
        actions.append(_rviz(context, graph[0].namespace, values["use_sim_time"]))
    return actions


def _rviz(context: LaunchContext, namespace: str, use_sim_time: bool) -> Node:
    """Return RViz, looking at the topics of this namespace and of what PushRosNamespace pushed."""
    pushed = context.launch_configurations.get("ros_namespace", "").strip("/")
    names = (pushed, namespace.strip("/"))
    prefix = "".join(f"/{name}" for name in names if name)
    return Node(
        package="rviz2",
        executable="rviz2",
        arguments=["-d", str(config_file("vo.rviz"))],
        remappings=[(f"/{NAMESPACE}/{topic}", f"{prefix}/{topic}") for topic in RVIZ_TOPICS],
        parameters=[{"use_sim_time": use_sim_time}],
    )


def _node_actions(node: NodeSpec) -> list[LaunchDescriptionEntity]:
    """Return the actions that start one process, and end the launch when it ends."""
    # Launch arguments win over YAML: the file made of them comes last.
    overrides_file: Path = node.write_overrides()
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
