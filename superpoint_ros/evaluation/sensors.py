# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a recording was made with: mono, stereo or RGB-D, and on which topics.

Decided from names, types and the first message of every image topic. What cannot be decided is
an error that lists the topics and names the option that settles it; nothing is guessed silently.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from superpoint_ros.evaluation.recordings import BagError, Topic

SENSORS = ("mono", "stereo", "rgbd")
COMPRESSED_TYPE = "sensor_msgs/msg/CompressedImage"
IMAGE_TYPES = ("sensor_msgs/msg/Image", COMPRESSED_TYPE)
CAMERA_INFO_TYPE = "sensor_msgs/msg/CameraInfo"
POSE_TYPES = (
    "geometry_msgs/msg/PoseStamped",
    "geometry_msgs/msg/PoseWithCovarianceStamped",
    "geometry_msgs/msg/TransformStamped",
    "nav_msgs/msg/Odometry",
)
CALIBRATIONS = ("camera_info", "right_camera_info")  # fields of SensorTopics that a run needs
TF_TYPES = ("tf2_msgs/msg/TFMessage", "tf/msg/tfMessage")

_TRANSPORTS = ("compressed", "compressedDepth", "theora", "ffmpeg", "zstd")
_LEFT_RIGHT = (
    ("left", "right"),
    ("cam0", "cam1"),
    ("camera0", "camera1"),
    ("infra1", "infra2"),
    ("image_0", "image_1"),
    ("image_2", "image_3"),
)
# Beside these, left and right look sideways.
_AROUND = ("front", "rear", "back")
_GROUND_TRUTH_WORDS = re.compile(
    r"ground_?truth|(^|[/_])gt([/_]|$)|vicon|mocap|vrpn|optitrack|qualisys|leica", re.IGNORECASE
)
_OWN_OUTPUTS = re.compile(r"/superpoint/|debug_image")
_DEPTH_ENCODINGS = ("16UC1", "32FC1")
# Among several pictures of one camera: raw first, because camera_info describes the raw one.
_PICTURE_ORDER = ("image_raw", "image", "image_color", "image_colour", "image_mono")


@dataclass(frozen=True)
class SensorTopics:
    """The sensor and its topics; an empty string: to be detected, or not there.

    Attributes:
        sensor: "mono", "stereo" or "rgbd".
        image: The image, of stereo the left one.
        camera_info: Calibration of `image`.
        depth: Depth image registered to `image` (rgbd).
        depth_camera_info: Calibration of `depth`; only tells whether that is registered.
        right: Right image (stereo).
        right_camera_info: Calibration of `right`.
        ground_truth: Poses to compare with; may stay empty.
    """

    sensor: str = ""
    image: str = ""
    camera_info: str = ""
    depth: str = ""
    depth_camera_info: str = ""
    right: str = ""
    right_camera_info: str = ""
    ground_truth: str = ""

    @property
    def second(self) -> str:
        """What is paired with the image: depth (rgbd) or the right image (stereo); or empty."""
        return {"rgbd": self.depth, "stereo": self.right}.get(self.sensor, "")

    @property
    def second_camera_info(self) -> str:
        """Calibration of `second`; empty if it has none of its own."""
        infos = {"rgbd": self.depth_camera_info, "stereo": self.right_camera_info}
        return infos.get(self.sensor, "")


def detect_sensor(
    topics: Sequence[Topic],
    wanted: SensorTopics,
    first_message: Callable[[str], Any],
    needed: Collection[str] = CALIBRATIONS,
) -> SensorTopics:
    """Fill in what `wanted` leaves open.

    Args:
        topics: All topics of the recording.
        wanted: What the user has settled; topic names are taken as they are, if they exist.
        first_message: Returns the first message of a topic, or None if it cannot be read.
        needed: Of `CALIBRATIONS`, those that do not come from elsewhere.

    Raises:
        BagError: A named topic is absent, or the choice is ambiguous or empty.
    """
    if wanted.sensor and wanted.sensor not in SENSORS:
        raise BagError(f"sensor '{wanted.sensor}' is not one of {', '.join(SENSORS)}")
    _check_named(topics, wanted)
    pictures = [
        topic
        for topic in topics
        if topic.msgtype in IMAGE_TYPES and topic.count and not _OWN_OUTPUTS.search(topic.name)
    ]
    depths = [t.name for t in pictures if t.name != wanted.image and _is_depth(t, first_message)]
    # Depth in colours, for people to look at, is neither.
    images = _one_per_camera(
        [t.name for t in pictures if t.name not in depths and "/depth/" not in t.name]
    )
    sensor = wanted.sensor or _decide(images, depths, wanted, topics)
    image = wanted.image or _choose_image(sensor, images, topics)
    chosen = dataclasses.replace(wanted, sensor=sensor, image=image)
    if sensor == "rgbd":
        depth = wanted.depth or _choose_depth(image, images, depths, topics)
        depth_info = _depth_camera_info(depth, image, topics)
        chosen = dataclasses.replace(chosen, depth=depth, depth_camera_info=depth_info)
    if sensor == "stereo":
        right = wanted.right or _right_of(image, images)
        if not right:
            raise _undecided(f"no right image for '{image}'", "--right TOPIC", topics)
        chosen = dataclasses.replace(chosen, right=right)
    if "camera_info" in needed:
        info = wanted.camera_info or _camera_info_of(image, images, topics, "--camera-info")
        chosen = dataclasses.replace(chosen, camera_info=info)
    if sensor == "stereo" and "right_camera_info" in needed:
        right_info = wanted.right_camera_info or _camera_info_of(
            chosen.right, images, topics, "--right-camera-info", taken=chosen.camera_info
        )
        chosen = dataclasses.replace(chosen, right_camera_info=right_info)
    ground_truth = wanted.ground_truth or _ground_truth(topics)
    return dataclasses.replace(chosen, ground_truth=ground_truth)


def base_topic(name: str) -> str:
    """Return an image topic without its transport: /a/image_raw/compressed -> /a/image_raw."""
    base, _, last = name.rpartition("/")
    return base if last in _TRANSPORTS and base else name


def live_topics(sensor: SensorTopics, topics: Sequence[Topic]) -> SensorTopics:
    """Return the names under which a recording is played to the nodes: its own where they can be.

    ROS 1 and other recorders have names that ROS 2 refuses, or takes as relative; and the nodes
    know compressed images by the end of the name.

    Args:
        sensor: As recorded; calibration files stay as they are.
        topics: All topics of the recording.
    """
    compressed = {topic.name for topic in topics if topic.msgtype == COMPRESSED_TYPE}
    recorded = {topic.name for topic in topics}

    def live(name: str) -> str:
        if name not in recorded:
            return name
        tokens = (re.sub(r"[\W_]+", "_", t, flags=re.ASCII) for t in name.split("/") if t)
        legal = "".join("/" + re.sub(r"^(?=[0-9])", "_", token) for token in tokens)
        return f"{legal}/compressed" if name in compressed and base_topic(name) == name else legal

    return SensorTopics(**{key: live(name) for key, name in dataclasses.asdict(sensor).items()})


def list_topics(topics: Iterable[Topic]) -> str:
    """Return the topics with type and number of messages, in one line for error messages."""
    return "; ".join(f"{t.name} ({t.msgtype}, {t.count})" for t in topics) or "none"


def _undecided(reason: str, option: str, topics: Iterable[Topic]) -> BagError:
    return BagError(f"{reason}: pass {option}. Topics found: {list_topics(topics)}")


def _check_named(topics: Sequence[Topic], wanted: SensorTopics) -> None:
    kinds = {
        "image": IMAGE_TYPES,
        "depth": IMAGE_TYPES,
        "right": IMAGE_TYPES,
        "camera_info": (CAMERA_INFO_TYPE,),
        "right_camera_info": (CAMERA_INFO_TYPE,),
        "ground_truth": POSE_TYPES,
    }
    types = {topic.name: topic.msgtype for topic in topics if topic.count}
    for field, allowed in kinds.items():
        name = getattr(wanted, field)
        if not name:
            continue
        option = "--" + field.replace("_", "-")
        if name not in types:
            raise _undecided(f"no messages on '{name}'", f"another {option} TOPIC", topics)
        if types[name] not in allowed:
            raise _undecided(
                f"'{name}' is a {types[name]}, not a {' or '.join(allowed)}",
                f"another {option} TOPIC",
                topics,
            )


def _is_depth(topic: Topic, first_message: Callable[[str], Any]) -> bool:
    """Whether images are depth, by their encoding; by their name where there is none to see."""
    if topic.name.endswith("/compressedDepth"):
        return True
    is_named_so = bool(re.search(r"depth", topic.name, re.IGNORECASE))
    message = first_message(topic.name)
    if message is None:
        return is_named_so
    if hasattr(message, "encoding"):
        # mono16 is thermal or depth: some drivers and simulators name the latter so.
        is_mono16 = message.encoding == "mono16"
        return message.encoding in _DEPTH_ENCODINGS or (is_mono16 and is_named_so)
    if any(encoding in message.format for encoding in _DEPTH_ENCODINGS):
        return True
    # A PNG's header: signature (8), length and "IHDR" (8), width, height (8), bit depth, colour.
    header = bytes(message.data[:26])
    return header[:4] == b"\x89PNG" and header[24:26] == b"\x10\x00"


def _one_per_camera(names: Sequence[str]) -> list[str]:
    """Keep one topic of every camera: raw before compressed, image_raw before derived ones."""

    def order(name: str) -> tuple[bool, int, bool, str]:
        last = base_topic(name).rpartition("/")[2]
        rank = _PICTURE_ORDER.index(last) if last in _PICTURE_ORDER else len(_PICTURE_ORDER)
        return ("rect" in last, rank, name != base_topic(name), name)

    cameras: dict[str, list[str]] = {}
    for name in names:
        folder, _, last = base_topic(name).rpartition("/")
        # /cam/left_image and /cam/right_image, or bare /image_0: the name itself tells the camera
        is_plain = last in _PICTURE_ORDER or last.startswith("image_rect")
        cameras.setdefault(folder if is_plain else f"{folder}/{last}", []).append(name)
    return [min(group, key=order) for group in cameras.values()]


def _swapped(name: str, old: str, new: str) -> str:
    return re.sub(rf"(?<![a-zA-Z0-9]){old}(?![a-zA-Z0-9])", new, name)


def _right_of(left: str, images: Sequence[str]) -> str:
    """Return the topic named like `left` but for its side, or an empty string."""
    for old, new in _LEFT_RIGHT:
        other = _swapped(left, old, new)
        if other != left:
            for candidate in images:
                if base_topic(candidate) == base_topic(other):
                    return candidate
    return ""


def _is_of(name: str, image: str, images: Sequence[str]) -> bool:
    """Whether a depth image or a camera_info may be that of `image` and of no other camera."""

    def common(other: str) -> int:
        parts = zip(name.strip("/").split("/"), other.strip("/").split("/"), strict=False)
        return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], parts))

    return len(images) < 2 or 0 < common(image) == max(map(common, [image, *images]))


def _decide(
    images: Sequence[str],
    depths: Sequence[str],
    wanted: SensorTopics,
    topics: Sequence[Topic],
) -> str:
    if wanted.image:
        depths = [name for name in depths if _is_of(name, wanted.image, images)]
    if wanted.depth or (depths and not wanted.right):
        return "rgbd"
    if wanted.right:
        return "stereo"
    candidates = [wanted.image] if wanted.image else images
    lefts = [name for name in candidates if _right_of(name, images)]
    for left in lefts:
        others = {base_topic(name) for name in images} - {base_topic(left)}
        if any(_swapped(base_topic(left), "left", word) in others for word in _AROUND):
            reason = f"'{left}' is of a rig that looks around, so left and right may be no pair"
            option = "--sensor mono --image TOPIC, or --sensor stereo if they are"
            raise _undecided(reason, option, topics)
    return "stereo" if lefts else "mono"


def _choose_image(sensor: str, images: Sequence[str], topics: Sequence[Topic]) -> str:
    if not images:
        raise _undecided("no image topic", "--image TOPIC, if there is one", topics)
    lefts = [name for name in images if _right_of(name, images)]
    candidates = lefts
    if sensor == "stereo":
        what, option = "no single pair of left and right images", "--image TOPIC --right TOPIC"
    else:
        what, option = "several image topics", "--image TOPIC"
        # The colour camera is the one named so; infrared pairs and others beside it are not.
        named = [n for n in images if re.search(r"colou?r|rgb", n, re.IGNORECASE)]
        if len(images) == 1:
            candidates = list(images)
        elif sensor == "rgbd" and named:
            candidates = named
    if len(candidates) != 1:
        raise _undecided(what, option, topics)
    return candidates[0]


def _choose_depth(
    image: str, images: Sequence[str], depths: Sequence[str], topics: Sequence[Topic]
) -> str:
    depths = [name for name in depths if _is_of(name, image, images)]
    # Depth that says it is registered to the colour image wins over depth in its own frame;
    # raw wins over compressed.
    registered = [n for n in depths if re.search(r"aligned|registered", n)]
    candidates = registered or list(depths)
    raw = [name for name in candidates if name == base_topic(name)]
    candidates = raw or candidates
    if len({base_topic(name) for name in candidates}) != 1:
        reason = "several depth topics" if candidates else f"no depth image for '{image}'"
        raise _undecided(reason, "--depth TOPIC", topics)
    return candidates[0]


def _camera_info_of(
    image: str, images: Sequence[str], topics: Sequence[Topic], option: str, taken: str = ""
) -> str:
    infos = [t.name for t in topics if t.msgtype == CAMERA_INFO_TYPE and t.count]
    infos = [name for name in infos if name != taken]
    for name in _beside(image):
        if name in infos:
            return name
    folder = base_topic(image).rpartition("/")[0]
    above = folder.rpartition("/")[0] + "/camera_info"
    if above in infos:
        return above
    colour_infos = [name for name in infos if "depth" not in name]
    if len(colour_infos) == 1 and _is_of(colour_infos[0], image, images):
        return colour_infos[0]
    reason = (
        f"several camera_info topics, none beside '{image}'"
        if len(colour_infos) > 1
        else f"no camera_info for '{image}'"
    )
    raise _undecided(reason, f"{option} TOPIC (or a calibration FILE.yaml)", topics)


def _beside(image: str) -> tuple[str, ...]:
    """Return image_transport's sibling, and the variants of drivers that put it below."""
    base = base_topic(image)
    return (
        f"{base.rpartition('/')[0]}/camera_info",
        f"{base}/camera_info",
        f"{base}_camera_info",
    )


def _depth_camera_info(depth: str, image: str, topics: Sequence[Topic]) -> str:
    """Return the calibration beside a depth image, if that is not also beside the image."""
    infos = {t.name for t in topics if t.msgtype == CAMERA_INFO_TYPE and t.count}
    own = [name for name in _beside(depth) if name in infos and name not in _beside(image)]
    return own[0] if own else ""


def _ground_truth(topics: Sequence[Topic]) -> str:
    """Return the one topic that calls itself ground truth, or an empty string."""
    names = ground_truth_candidates(topics)
    for preferred in ("/ground_truth/pose", "/groundtruth/pose"):
        if preferred in names:
            return preferred
    return names[0] if len(names) == 1 else ""


def ground_truth_candidates(topics: Sequence[Topic]) -> list[str]:
    """Return the topics of poses whose names speak of ground truth."""
    return [
        topic.name
        for topic in topics
        if topic.msgtype in POSE_TYPES and topic.count and _GROUND_TRUTH_WORDS.search(topic.name)
    ]
