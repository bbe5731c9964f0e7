# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Visual odometry on a recording: ros2 launch superpoint_ros replay.launch.py bag:=my_bag

The other arguments are those of vo.launch.py. `superpoint replay` finds sensor and topics by
itself, plays without `ros2 bag` and ends with a summary.
"""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    ExecuteProcess,
    GroupAction,
    IncludeLaunchDescription,
    RegisterEventHandler,
    TimerAction,
)
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

LAST_FRAMES_S = 2.0  # what is still in the nodes when the bag has ended


def generate_launch_description() -> LaunchDescription:
    vo = PythonLaunchDescriptionSource(str(Path(__file__).parent / "vo.launch.py"))
    include = IncludeLaunchDescription(vo, launch_arguments={"use_sim_time": "true"}.items())
    rate, delay = LaunchConfiguration("rate"), LaunchConfiguration("delay")
    player = ExecuteProcess(
        cmd=[
            *("ros2", "bag", "play", LaunchConfiguration("bag"), "--clock"),
            *("--rate", rate, "--delay", delay),
        ],
        output="screen",
    )
    end = TimerAction(
        period=LAST_FRAMES_S, actions=[EmitEvent(event=Shutdown(reason="the bag has ended"))]
    )
    return LaunchDescription(
        [
            DeclareLaunchArgument("bag", description="folder or file of the recording"),
            DeclareLaunchArgument("rate", default_value="1.0", description="speed of the replay"),
            DeclareLaunchArgument(
                "delay", default_value="5.0", description="seconds the nodes get to load"
            ),
            # A group, else whoever includes this file has the arguments, too; with the player, as
            # it needs the environment that vo.launch.py sets for large images.
            GroupAction([include, player]),
            RegisterEventHandler(OnProcessExit(target_action=player, on_exit=[end])),
        ]
    )
