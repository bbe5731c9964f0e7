# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The graph of nodes, once: launch/*.launch.py and `superpoint run` and `replay` all read it.

Plain data: which executables start, under which names, with which topics, parameter files and
overrides. Nothing here imports ROS.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import yaml

PACKAGE = "superpoint_ros"
NAMESPACE = "superpoint"
SENSORS = ("mono", "stereo", "rgbd", "homography")
TRANSPORTS = ("raw", "compressed")
DEPTH_TRANSPORTS = (*TRANSPORTS, "compressedDepth")
FEATURES_NODE, TRACKER_NODE = "features_node", "tracker_node"

Value = bool | int | float | str

# Where the drivers of most cameras publish; image_proc's names for a stereo pair.
_DEFAULT_IMAGES = MappingProxyType(
    {
        "mono": "/camera/image_raw",
        "homography": "/camera/image_raw",
        "rgbd": "/camera/image_raw",
        "stereo": "/camera/left/image_raw",
    }
)
_DEFAULT_DEPTH_IMAGE = "/camera/depth/image_raw"
_DEFAULT_RIGHT_IMAGE = "/camera/right/image_raw"

# Where Fast DDS looks for a profile, by the name of its package, which changed with Kilted.
_PROFILE_VARIABLES = MappingProxyType(
    {"fastrtps": "FASTRTPS_DEFAULT_PROFILES_FILE", "fastdds": "FASTDDS_DEFAULT_PROFILES_FILE"}
)
# Whoever set one of these has chosen their own transports.
_TRANSPORT_CHOICES = (
    *_PROFILE_VARIABLES.values(),
    "FASTDDS_BUILTIN_TRANSPORTS",
    "ROS_DISCOVERY_SERVER",
)


class GraphError(ValueError):
    """An argument of the graph that cannot be: unknown sensor, missing file."""


@dataclass(frozen=True)
class NodeSpec:
    """One process of the graph.

    Attributes:
        executable: Name for `ros2 run superpoint_ros`.
        module: The same for `python -m`.
        name: Node name; empty if the process holds several nodes.
        namespace: Absolute namespace of the process.
        remappings: (from, to) topic names.
        params_files: Parameter files; a later one wins over an earlier one.
        overrides: Node name -> parameters that win over every file.
    """

    executable: str
    module: str
    name: str
    namespace: str
    remappings: tuple[tuple[str, str], ...]
    params_files: tuple[str, ...]
    overrides: Mapping[str, Mapping[str, Value]]

    def write_overrides(self, folder: Path | str | None = None) -> Path:
        """Write the overrides as a parameter file, which is to come last.

        rcl takes values in the order in which the keys of all files first appeared: under a key
        that a user's file has (and `-p name:=value` is filed under `/**`) they would stand before
        what follows there, and lose. So the key is one that nobody writes and that matches in
        every namespace.

        Args:
            folder: Where to write; None: the folder of temporary files.
        """
        document = {
            f"/**/**/{name}": {"ros__parameters": dict(parameters)}
            for name, parameters in self.overrides.items()
        }
        handle, path = tempfile.mkstemp(".yaml", f"{PACKAGE}_{self.executable}_", folder)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            yaml.safe_dump(document, file, sort_keys=False)
        return Path(path)

    def arguments(self, overrides_file: Path | str | None = None) -> list[str]:
        """Return what follows the executable, as `ros2 run` would take it."""
        files = [*self.params_files, *([str(overrides_file)] if overrides_file else [])]
        arguments = ["--ros-args", "-r", f"__ns:={self.namespace}"]
        if self.name:
            arguments += ["-r", f"__node:={self.name}"]
        for source, target in self.remappings:
            arguments += ["-r", f"{source}:={target}"]
        for file in files:
            arguments += ["--params-file", file]
        return arguments

    def command(self, overrides_file: Path | str | None = None) -> list[str]:
        """Return the whole command line, with this Python."""
        return [sys.executable, "-m", self.module, *self.arguments(overrides_file)]


@dataclass(frozen=True)
class Argument:
    """One argument of `vo_graph`, as `ros2 launch` and `superpoint run` offer it.

    A `bool` default makes it a switch.
    """

    name: str
    default: str | bool
    description: str
    choices: tuple[str, ...] = ()


ARGUMENTS = (
    Argument("sensor", "mono", "what the camera is", SENSORS),
    Argument(
        "image",
        "",
        "topic of the (left) image; default: /camera/image_raw, stereo: /camera/left/image_raw",
    ),
    Argument("camera_info", "", "topic of its calibration; default: camera_info beside the image"),
    Argument(
        "depth_image",
        "",
        "topic of the depth registered to the image (rgbd); default: /camera/depth/image_raw",
    ),
    Argument(
        "depth_camera_info",
        "",
        "topic; default: camera_info beside the depth image; tells whether that is registered",
    ),
    Argument(
        "right_image", "", "topic of the right image (stereo); default: /camera/right/image_raw"
    ),
    Argument("right_camera_info", "", "topic; default: camera_info beside the right image"),
    Argument(
        "image_transport",
        "",
        "raw or compressed; default: compressed if the topic ends in /compressed, else raw",
        ("", *TRANSPORTS),
    ),
    Argument("depth_transport", "", "the same for the depth image", ("", *DEPTH_TRANSPORTS)),
    Argument("params_file", "", "YAML with your parameters, which win over the shipped ones"),
    Argument("use_sim_time", False, "take the time from /clock"),
    Argument("namespace", NAMESPACE, "namespace of the nodes and their outputs"),
    Argument("composed", False, "one process (vo_node) instead of two"),
    Argument("features_only", False, "only the features node"),
)


def vo_graph(
    sensor: str = "mono",
    *,
    image: str = "",
    camera_info: str = "",
    depth_image: str = "",
    depth_camera_info: str = "",
    right_image: str = "",
    right_camera_info: str = "",
    image_transport: str = "",
    depth_transport: str = "",
    params_file: str = "",
    use_sim_time: bool = False,
    namespace: str = NAMESPACE,
    composed: bool = False,
    features_only: bool = False,
    overrides: Mapping[str, Mapping[str, Value]] = MappingProxyType({}),
) -> tuple[NodeSpec, ...]:
    """Describe the nodes of visual odometry.

    Args:
        sensor: mono, stereo, rgbd or homography.
        image: Topic of the (left) image; empty: the sensor's usual one. A topic that ends in
            /compressed means that transport of the topic before it.
        camera_info: Calibration of `image`; empty: `camera_info` beside the image.
        depth_image: Depth registered to `image` (rgbd); empty: /camera/depth/image_raw.
        depth_camera_info: Calibration of the depth image; empty: beside it.
        right_image: Right image (stereo); empty: /camera/right/image_raw.
        right_camera_info: Calibration of the right image; empty: beside it.
        image_transport: raw or compressed; empty: told by the topic's name or `params_file`.
        depth_transport: The same for the depth image; also compressedDepth.
        params_file: YAML of the user; wins over the shipped ones.
        use_sim_time: Whether the nodes take their time from /clock.
        namespace: Of all nodes and their outputs.
        composed: One process (vo_node) instead of two.
        features_only: Only the features node.
        overrides: Node name -> parameters that win over all files.

    Raises:
        GraphError: Unknown sensor or transport, or `params_file` cannot be read.
    """
    _check_choice("sensor", sensor, SENSORS)
    image, image_transport = _split_transport(
        "image_transport", image or _DEFAULT_IMAGES[sensor], image_transport
    )
    remappings = {"image": image, "camera_info": camera_info or _beside(image)}
    # Only what was asked for: anything here wins over the user's file.
    both: dict[str, Value] = {"use_sim_time": True} if use_sim_time else {}
    if image_transport:
        both["image_transport"] = image_transport
    features, tracker = dict(both), dict(both)
    if sensor == "rgbd":
        depth_image, depth_transport = _split_transport(
            "depth_transport",
            depth_image or _DEFAULT_DEPTH_IMAGE,
            depth_transport,
            DEPTH_TRANSPORTS,
        )
        if depth_transport:
            tracker["depth_transport"] = depth_transport
        remappings["depth/image"] = depth_image
        remappings["depth/camera_info"] = depth_camera_info or _beside(depth_image)
    if sensor == "stereo":
        right_image, right_transport = _split_transport(
            "image_transport", right_image or _DEFAULT_RIGHT_IMAGE, image_transport
        )
        _check_choice(
            "transport of the right image", right_transport or "raw", (image_transport or "raw",)
        )
        features["stereo"] = True
        remappings["right/image"] = right_image
        remappings["right/camera_info"] = right_camera_info or _beside(right_image)

    files = {
        FEATURES_NODE: [config_file("features.yaml")],
        TRACKER_NODE: [config_file(f"tracker_{sensor}.yaml")],
    }
    if is_rectified_topic(image):
        files[TRACKER_NODE].append(config_file("tracker_rectified.yaml"))
    values = {
        FEATURES_NODE: {**features, **overrides.get(FEATURES_NODE, {})},
        TRACKER_NODE: {**tracker, **overrides.get(TRACKER_NODE, {})},
    }
    own_files = (_check_file(params_file),) if params_file else ()
    together = NodeSpec(
        executable="vo_node",
        module=f"{PACKAGE}.ros.vo_node",
        name="",
        namespace="/" + namespace.strip("/"),
        remappings=tuple(remappings.items()),
        params_files=(*map(str, itertools.chain(*files.values())), *own_files),
        overrides=values,
    )
    if composed and not features_only:
        return (together,)
    return tuple(
        dataclasses.replace(
            together,
            executable=name,
            module=f"{PACKAGE}.ros.{name}",
            name=name,
            params_files=(*map(str, files[name]), *own_files),
            overrides={name: values[name]},
        )
        for name in ([FEATURES_NODE] if features_only else [FEATURES_NODE, TRACKER_NODE])
    )


def share_folder() -> Path:
    """Return the folder that holds config/ and launch/: the source tree or the installed share.

    Raises:
        GraphError: Neither is there.
    """
    here = Path(__file__).absolute()
    tree = here.parents[1]
    if (tree / "package.xml").is_file() and (tree / "config").is_dir():
        return tree
    for prefix in here.parents:
        if (prefix / "share" / PACKAGE / "config").is_dir():
            return prefix / "share" / PACKAGE
    raise GraphError(f"share/{PACKAGE}/config is not installed beside {here.parent}")


def config_file(name: str) -> Path:
    """Return a shipped configuration file.

    Raises:
        GraphError: It is not there.
    """
    path = share_folder() / "config" / name
    _check_file(path)
    return path


def dds_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what to add to the environment so that large messages are not lost.

    Fast DDS drops a best-effort message that is larger than its shared-memory segment (512 KiB):
    1,000 keypoints with f16 descriptors are at that edge, a 1080p image is beyond it. The shipped
    profile has a segment of 32 MiB. Nothing is added if the user has set anything of the kind.
    """
    if any(environment.get(name) for name in _TRANSPORT_CHOICES):
        return {}
    if "fastrtps" not in environment.get("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp"):
        return {}
    profile = str(config_file("fastdds.xml"))
    prefixes = filter(None, environment.get("AMENT_PREFIX_PATH", "").split(os.pathsep))
    shares = [Path(prefix) / "share" for prefix in prefixes]
    # The old name makes Kilted warn, in every process.
    known = [
        variable
        for package, variable in _PROFILE_VARIABLES.items()
        if any((share / package).is_dir() for share in shares)
    ]
    return dict.fromkeys(known or _PROFILE_VARIABLES.values(), profile)


def is_rectified_topic(image: str) -> bool:
    """Whether a topic's name says, as image_proc's do, that its images are rectified."""
    base, _, last = image.rpartition("/")
    name = base.rpartition("/")[2] if last in DEPTH_TRANSPORTS else last
    return name.startswith("image_rect")


def _beside(image: str) -> str:
    """Return the camera_info topic that image_transport pairs with an image topic."""
    return f"{image.rpartition('/')[0]}/camera_info" if "/" in image else "camera_info"


def _split_transport(
    name: str, topic: str, transport: str, choices: tuple[str, ...] = TRANSPORTS
) -> tuple[str, str]:
    """Return the base topic and its transport; empty: neither names one."""
    base, _, last = topic.rpartition("/")
    if base and last in choices and last != "raw":
        topic, transport = base, transport or last
    _check_choice(name, transport or "raw", choices)
    return topic, transport


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise GraphError(f"{name}: '{value}' is not one of {', '.join(choices)}")


def _check_file(path: Path | str) -> str:
    try:
        with Path(path).open("rb"):
            return str(path)
    except OSError as error:
        raise GraphError(f"{path}: cannot be read ({error.strerror})") from None
