# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Only SuperPoint features on a topic; the arguments are those of vo.launch.py."""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import GroupAction, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource


def generate_launch_description() -> LaunchDescription:
    vo = PythonLaunchDescriptionSource(str(Path(__file__).parent / "vo.launch.py"))
    arguments = {"features_only": "true"}
    include = IncludeLaunchDescription(vo, launch_arguments=arguments.items())
    # A group of its own: else whoever includes this file has the arguments, too.
    return LaunchDescription([GroupAction([include])])
