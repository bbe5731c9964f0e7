# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Say why nothing comes out: listens to the nodes that run and tells what each lacks.

Every node of superpoint_ros says in /diagnostics what it waits for and how that is mended. This
gathers it, with rates and latencies, and names the cameras there are. The exit code is 0 if all
nodes work, 1 if something is wrong or no node answers.

    superpoint doctor
    ROS_DOMAIN_ID=7 superpoint doctor --seconds 10 --json doctor.json
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from superpoint_ros.cli.run import RunError, check_ros
from superpoint_ros.config import ConfigError
from superpoint_ros.graph import dds_environment

_TIMEOUT_S = 60.0  # beyond the time asked for; a start of rclpy takes a second or two
_FLOWS = ("received", "published", "tracked")
_LOSSES = ("dropped", "late", "unpaired", "bad", "resets")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--seconds",
        type=float,
        default=5.0,
        metavar="S",
        help="how long to listen; nodes speak once a second (default 5)",
    )
    parser.add_argument(
        "--json", metavar="FILE", default="", help="write all that was heard there"
    )


def run(args: argparse.Namespace) -> int:
    """Listen, and print what is wrong.

    Raises:
        ConfigError: A time that cannot be.
        RunError: ROS 2 is not there, or does not answer.
    """
    if not 0.0 < args.seconds <= 3600.0:
        raise ConfigError("--seconds: must be above 0, and at most an hour")
    heard = _listen(args.seconds)
    if args.json:
        from superpoint_ros.files import write_json

        write_json(args.json, heard)
    for line in describe(heard):
        print(line)
    return 0 if is_well(heard) else 1


def is_well(heard: Mapping[str, Any]) -> bool:
    """Whether nodes answer and none complains."""
    has_problem = any(node["problem"] for node in heard["nodes"])
    return bool(heard["nodes"]) and not (has_problem or heard["gaps"] or heard["twins"])


def describe(heard: Mapping[str, Any]) -> list[str]:
    """Return lines about what `ros/doctor.py` heard."""
    if not heard["nodes"]:
        return _describe_silence(heard)
    lines = []
    for node in heard["nodes"]:
        lines.append(f"{node['name']}: {node['problem'] or 'works'}")
        lines.append(f"    {_describe_flow(node['values'])}")
    lines += heard["gaps"]
    lines += [
        f"several nodes are called {name}: give each a namespace of its own"
        for name in heard["twins"]
    ]
    if not is_well(heard):
        lines.append(_describe_cameras(heard))
    return lines


def _describe_flow(values: Mapping[str, str]) -> str:
    words = [f"{name} {values[f'{name}_hz']} Hz" for name in _FLOWS if f"{name}_hz" in values]
    if "total_ms_p50" in values:
        words.append(f"{values['total_ms_p50']} ms a frame (p99 {values['total_ms_p99']})")
    words += [f"{values[name]} {name}" for name in _LOSSES if values.get(name, "0") != "0"]
    return ", ".join(words)


def _describe_silence(heard: Mapping[str, Any]) -> list[str]:
    image = min(heard["cameras"], key=lambda topic: ("depth" in topic, topic), default="TOPIC")
    middleware = ", ".join(filter(None, (heard["rmw"], heard["range"])))
    where = f"ROS domain {heard['domain']} ({middleware})"
    return [
        f"no node of superpoint_ros answers on {where}. To start some:",
        f"    superpoint run --image {image}",
        f"    ros2 launch superpoint_ros vo.launch.py image:={image}",
        _describe_cameras(heard),
        "If they run already, ROS_DOMAIN_ID, RMW_IMPLEMENTATION and ROS_AUTOMATIC_DISCOVERY_RANGE "
        "have to be the same here and there.",
    ]


def _describe_cameras(heard: Mapping[str, Any]) -> str:
    if not heard["cameras"]:
        return "Nobody publishes images: start the camera's driver."
    return f"Images are published on {', '.join(sorted(heard['cameras']))}."


def _listen(seconds: float) -> dict[str, Any]:
    check_ros()
    command = [sys.executable, "-m", "superpoint_ros.ros.doctor", "--seconds", str(seconds)]
    environment = {**os.environ, **dds_environment(os.environ)}
    try:
        answer = subprocess.run(
            command,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            timeout=seconds + _TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise RunError(f"ROS 2 did not answer within {_TIMEOUT_S:.0f} s") from None
    if answer.returncode:
        raise RunError(f"ROS 2 cannot be asked (exit code {answer.returncode}, reason above)")
    heard: dict[str, Any] = json.loads(answer.stdout)
    return heard
