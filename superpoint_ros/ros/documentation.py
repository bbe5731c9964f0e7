# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Write docs/reference.md: topics, services, messages and parameters, from the code itself.

Run: `make docs`, or `python -m superpoint_ros.ros.documentation docs`. A test fails when the file
is not what the code says, and when the topics named here are not those of the running nodes.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from superpoint_ros.config import Config, Setting, settings
from superpoint_ros.graph import ARGUMENTS, NAMESPACE, share_folder
from superpoint_ros.ros.features_node import FeaturesConfig
from superpoint_ros.ros.tracker_node import TrackerConfig

FILE_NAME = "reference.md"


@dataclass(frozen=True)
class Channel:
    """A topic or service of a node.

    Attributes:
        node: Name of the node.
        direction: "in", "out" or "service".
        name: Relative names live in the node's namespace; inputs are there to be remapped.
        kind: Interface type.
        content: What it carries, and when.
    """

    node: str
    direction: str
    name: str
    kind: str
    content: str


CHANNELS = (
    Channel("features_node", "in", "image", "sensor_msgs/Image", "the camera, raw transport"),
    Channel(
        "features_node",
        "in",
        "image/compressed",
        "sensor_msgs/CompressedImage",
        "instead of the former with image_transport: compressed",
    ),
    Channel(
        "features_node",
        "in",
        "right/image",
        "sensor_msgs/Image",
        "stereo: the right camera, by the same transport (right/image/compressed)",
    ),
    Channel(
        "features_node",
        "out",
        "features",
        "superpoint_ros/Features",
        "keypoints, scores and descriptors of one image, with its header; the network runs only "
        "while somebody subscribes",
    ),
    Channel(
        "features_node",
        "out",
        "right/features",
        "superpoint_ros/Features",
        "stereo: those of the right image, from the same batch",
    ),
    Channel(
        "features_node",
        "out",
        "/diagnostics",
        "diagnostic_msgs/DiagnosticArray",
        "rates, drops, latency, who has found whom and what is wrong, once a second",
    ),
    Channel("tracker_node", "in", "features", "superpoint_ros/Features", "from features_node"),
    Channel("tracker_node", "in", "camera_info", "sensor_msgs/CameraInfo", "of the image"),
    Channel(
        "tracker_node",
        "in",
        "depth/image",
        "sensor_msgs/Image",
        "rgbd: depth registered to the image, 16UC1 or 32FC1; with depth_transport also "
        "compressed or compressedDepth",
    ),
    Channel(
        "tracker_node",
        "in",
        "depth/camera_info",
        "sensor_msgs/CameraInfo",
        "rgbd, need not come: that of the depth image, to notice depth that is not registered",
    ),
    Channel(
        "tracker_node",
        "in",
        "right/features",
        "superpoint_ros/Features",
        "stereo: from features_node with stereo: true",
    ),
    Channel(
        "tracker_node",
        "in",
        "right/camera_info",
        "sensor_msgs/CameraInfo",
        "stereo: of the right image; tells the baseline, unless odometry.stereo.T_left_right does",
    ),
    Channel(
        "tracker_node",
        "in",
        "image",
        "sensor_msgs/Image",
        "only while debug_image has a subscriber",
    ),
    Channel(
        "tracker_node",
        "out",
        "odometry",
        "nav_msgs/Odometry",
        "pose of the base (or camera) in odom and twist in the child frame, since the last frame; "
        "covariances: of the pose along the axes of odom, drift since the start included, of the "
        "twist along those of the child (mono: in map units; its scale drifts, too)",
    ),
    Channel(
        "tracker_node", "out", "path", "nav_msgs/Path", "the last poses, bounded; while subscribed"
    ),
    Channel(
        "tracker_node",
        "out",
        "local_map",
        "sensor_msgs/PointCloud2",
        "landmarks in odom, metres (mono: up to scale); while subscribed",
    ),
    Channel(
        "tracker_node",
        "out",
        "matches",
        "superpoint_ros/Matches",
        "pairs with the reference frame; while subscribed",
    ),
    Channel(
        "tracker_node",
        "out",
        "homography",
        "superpoint_ros/Homography",
        "homography mode: motion of the plane",
    ),
    Channel(
        "tracker_node",
        "out",
        "status",
        "superpoint_ros/TrackerStatus",
        "state, counts and latency of every frame that the odometry took; while paused of every "
        "one that comes",
    ),
    Channel(
        "tracker_node",
        "out",
        "debug_image",
        "sensor_msgs/Image",
        "the image with its tracks; while subscribed",
    ),
    Channel("tracker_node", "out", "/tf", "tf2_msgs/TFMessage", "odom -> base, with publish_tf"),
    Channel(
        "tracker_node",
        "out",
        "/diagnostics",
        "diagnostic_msgs/DiagnosticArray",
        "rates, drops, latency, who has found whom and what is wrong, once a second",
    ),
    Channel("tracker_node", "service", "reset_odom", "std_srvs/Empty", "start anew at the origin"),
    Channel(
        "tracker_node",
        "service",
        "reset_odom_to_pose",
        "superpoint_ros/ResetPose",
        "start anew with the base at a pose in odom (without a base: the camera, x where it "
        "looks); refused before TF knows the camera, and in homography mode",
    ),
    Channel("tracker_node", "service", "pause_odom", "std_srvs/Empty", "ignore frames"),
    Channel("tracker_node", "service", "resume_odom", "std_srvs/Empty", "go on"),
)

CONFIGS: tuple[tuple[str, type[Config]], ...] = (
    ("features_node", FeaturesConfig),
    ("tracker_node", TrackerConfig),
)


def reference() -> str:
    """Return the whole text of docs/reference.md."""
    parts = (_head(), _launch_arguments(), _channels(), _parameters(), _messages())
    return "\n".join(itertools.chain(*parts)) + "\n"


def _head() -> Iterator[str]:
    yield "# Topics, services, parameters and messages"
    yield ""
    yield "Written by `make docs` from the code; do not edit."
    yield ""
    yield f"Relative names live in the namespace of the nodes, `/{NAMESPACE}` unless the launch"
    yield "argument `namespace` says otherwise. Both nodes have a life cycle (`configure`,"
    yield "`activate`, ...) and go through it by themselves with `autostart`. `vo_node` is both"
    yield "nodes in one process."
    yield ""


def _launch_arguments() -> Iterator[str]:
    yield "## Launch arguments"
    yield ""
    yield "Of `vo.launch.py` and `features.launch.py`, as `name:=value`, and of `superpoint run`,"
    yield "as `--name value` with hyphens. `vo.launch.py` also has `rviz`, and `replay.launch.py`"
    yield "`bag`, `rate` and `delay` beside them (`--show-args`)."
    yield ""
    yield "| argument | default | meaning |"
    yield "|---|---|---|"
    for argument in ARGUMENTS:
        default = argument.default
        shown = str(default).lower() if isinstance(default, bool) else default
        choices = ", ".join(filter(None, argument.choices))
        meaning = argument.description + (f" ({choices})" if choices else "")
        yield f"| `{argument.name}` | {f'`{shown}`' if shown else 'empty'} | {meaning} |"
    yield ""


def _channels() -> Iterator[str]:
    for node, _ in CONFIGS:
        yield f"## {node}: topics and services"
        yield ""
        yield "| | name | type | content |"
        yield "|---|---|---|---|"
        for channel in CHANNELS:
            if channel.node == node:
                yield (
                    f"| {channel.direction} | `{channel.name}` | {channel.kind} | "
                    f"{channel.content} |"
                )
        yield ""


def _parameters() -> Iterator[str]:
    for node, config in CONFIGS:
        yield f"## {node}: parameters"
        yield ""
        yield "| parameter | type | default | range | can change | meaning |"
        yield "|---|---|---|---|---|---|"
        yield from map(_row, settings(config))
        yield ""


def _row(setting: Setting) -> str:
    kind = getattr(setting.kind, "__name__", "")
    if kind == "tuple" or not isinstance(setting.kind, type):
        kind = str(setting.kind).removeprefix("tuple[").removesuffix(", ...]") + "[]"
        kind = kind.replace("<class '", "").replace("'>", "")
    default = f"`{setting.default}`" if setting.default not in ("", []) else "empty"
    return (
        f"| `{setting.name}` | {kind} | {default} | {_range(setting)} | "
        f"{'yes' if setting.dynamic else ''} | {setting.description.rstrip('.')} |"
    )


def _range(setting: Setting) -> str:
    if setting.choices:
        return ", ".join(setting.choices)
    if setting.minimum is None and setting.maximum is None:
        return ""
    if setting.maximum is None:
        return f"at least {setting.minimum:g}"
    if setting.minimum is None:
        return f"at most {setting.maximum:g}"
    return f"{setting.minimum:g} to {setting.maximum:g}"


def _messages() -> Iterator[str]:
    folder = share_folder()
    for path in sorted((folder / "msg").glob("*.msg")) + sorted((folder / "srv").glob("*.srv")):
        yield f"## {path.name}"
        yield ""
        yield "```"
        yield path.read_text(encoding="utf-8").rstrip()
        yield "```"
        yield ""


def main(args: list[str] | None = None) -> int:
    """Write the reference into the folder given (default: docs)."""
    arguments = sys.argv[1:] if args is None else args
    folder = Path(arguments[0] if arguments else "docs")
    (folder / FILE_NAME).write_text(reference(), encoding="utf-8")
    print(folder / FILE_NAME)
    return 0


if __name__ == "__main__":
    sys.exit(main())
