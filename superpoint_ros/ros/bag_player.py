# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Plays a recording onto the topics of a running graph and writes down what comes back.

Frames are paired as the lock-step evaluator pairs them, and keep their stamps. With `--rate R`
they come at R times the speed of the recording, whether or not the nodes keep up; without it the
next frame waits for the features of the last one and for the tracker's answer to the one before,
so nothing can be lost and the speed is what this computer can take. Nothing goes out before all
ends have found each other, and no clock limits a node that is at work: a frame counts as lost when
the nodes say again and again that they have nothing in hand. Everything that comes back goes into
DIR/events.jsonl as it arrives, one JSON object a line; `evaluation.replay` reads it.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the heavy imports below: Ctrl-C during them is no error
    from superpoint_ros.ros.signals import EXIT_INTERRUPTED, leave_quietly_while_importing

    leave_quietly_while_importing(EXIT_INTERRUPTED)

import argparse
import array
import importlib
import itertools
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import Odometry
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.utilities import remove_ros_args
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from superpoint_ros.evaluation.bag import BagError, BagReader, Frame, SensorTopics
from superpoint_ros.evaluation.sensors import TF_TYPES, base_topic, live_topics
from superpoint_ros.evaluation.tracks import TrackLog
from superpoint_ros.ros.conversions import ns_to_stamp, stamp_to_ns
from superpoint_ros.ros.diagnostics import PERIOD_S
from superpoint_ros.ros.links import NodeReport, find_gaps, read_report
from superpoint_ros.ros.runner import EXIT_USER_ERROR, run_tool
from superpoint_ros.ros.signals import EXIT_INTERRUPTED

EXIT_OK, EXIT_NO_ANSWER = 0, 1

_QUEUE = 50  # messages that may wait on their way to us
_GIVE_UP = 10  # frames without an answer, if none was ever answered
_ANSWERS = ("features", "status")  # what comes back for every frame
_HASTY_REPORTS = 2  # of idle nodes, once they have fallen silent


def copy_message(source: Any, target: Any) -> Any:
    """Fill a ROS message from any object with the same fields, and return it.

    Args:
        source: A message of rosbags (either ROS generation) or a plain namespace. Fields it lacks
            keep their defaults; ROS 1's K, D, R, P are found under their old names.
        target: An empty ROS message.
    """
    for name, kind in target.get_fields_and_field_types().items():
        value = getattr(source, name, getattr(source, name.upper(), None))
        if value is None:
            continue
        current = getattr(target, name)
        if hasattr(current, "get_fields_and_field_types"):
            copy_message(value, current)
        elif isinstance(current, array.array):
            if isinstance(value, (bytes, bytearray, memoryview)):
                current.frombytes(value)
            else:
                raw: Any = np.ascontiguousarray(value, dtype=np.dtype(current.typecode))
                current.frombytes(memoryview(raw).cast("B") if raw.size else b"")
        elif isinstance(current, np.ndarray):
            setattr(target, name, np.asarray(value, current.dtype))
        elif isinstance(current, list):
            package, _, item = kind.partition("<")[2].rstrip(">").partition("/")
            item_type = getattr(importlib.import_module(f"{package}.msg"), item)
            setattr(target, name, [copy_message(one, item_type()) for one in value])
        else:
            setattr(target, name, type(current)(value))
    return target


def image_to_ros(source: Any) -> Image | CompressedImage:
    """Return an image message of the recording as one of ROS; its pixels are not touched."""
    kind = Image if hasattr(source, "encoding") else CompressedImage
    return copy_message(source, kind())


class EventLog:
    """Lines of JSON, written as they come."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("w", encoding="utf-8")
        self._start = time.perf_counter()

    def now_s(self) -> float:
        """Return the wall time since the start, seconds."""
        return time.perf_counter() - self._start

    def write(self, event: str, **values: Any) -> None:
        """Write one event."""
        self._file.write(json.dumps({"event": event, "time_s": self.now_s(), **values}) + "\n")

    def close(self) -> None:
        """Write everything out."""
        self._file.close()


class BagPlayer(Node):  # type: ignore[misc]
    """Publishes frames, listens to the features node and the tracker.

    Args:
        topics: What to publish on, see `live_topics`; calibration files are published beside
            their image.
        log: Takes the events.
        namespace: Namespace of the nodes that answer.
        use_clock: Whether to publish /clock, in the time of the recording.
    """

    def __init__(
        self, topics: SensorTopics, log: EventLog, namespace: str, use_clock: bool
    ) -> None:
        super().__init__("bag_player")
        self._topics = topics
        self._log = log
        self._inputs: dict[str, Any] = {}
        self._clock_publisher = self.create_publisher(Clock, "/clock", 10) if use_clock else None
        self._outputs = "/" + namespace.strip("/")
        self.received: dict[str, set[int]] = {name: set() for name in _ANSWERS}
        self.tracks = TrackLog()
        self._reports: dict[str, NodeReport] = {}
        self._heard_at: dict[str, float] = {}  # node -> monotonic time of its last report
        self._idle_reports: dict[str, int] = {}  # node -> reports since the last sign of work
        self.num_heard = 0
        # By what the status of a frame says, and what came: stamps.
        self._due: dict[str, set[int]] = {"pose": set(), "matches": set()}
        self._came: dict[str, set[int]] = {"pose": set(), "matches": set()}
        self._listen()

    def publish_frame(self, frame: Frame) -> None:
        """Publish calibration, second image and image of one frame, in this order."""
        if self._clock_publisher is not None:
            self._clock_publisher.publish(Clock(clock=ns_to_stamp(frame.stamp_ns)))
        topics = self._topics
        info = copy_message(frame.camera_info, CameraInfo())
        self._publish(_info_topic(topics.camera_info, topics.image), info)
        if frame.second_camera_info is not None:
            second_info = copy_message(frame.second_camera_info, CameraInfo())
            self._publish(_info_topic(topics.second_camera_info, topics.second), second_info)
        # A header without a stamp gets the time of the recording, as for the lock-step evaluator.
        if frame.second is not None:
            second = image_to_ros(frame.second)
            second.header.stamp = ns_to_stamp(frame.stamp_ns + (frame.gap_ns or 0))
            self._publish(topics.second, second)
        self._log.write("image", stamp_ns=frame.stamp_ns, gap_ns=frame.gap_ns)
        image = image_to_ros(frame.image)
        image.header.stamp = ns_to_stamp(frame.stamp_ns)
        self._publish(topics.image, image)

    def advertise(self, frame: Frame) -> None:
        """Create the publishers that `frame` will need."""
        topics = self._topics
        self._advertise(_info_topic(topics.camera_info, topics.image), CameraInfo)
        if frame.second_camera_info is not None:
            second_info = _info_topic(topics.second_camera_info, topics.second)
            self._advertise(second_info, CameraInfo)
        if frame.second is not None:
            self._advertise(topics.second, type(image_to_ros(frame.second)))
        self._advertise(topics.image, type(image_to_ros(frame.image)))

    def publish_static_transforms(self, reader: BagReader) -> None:
        """Publish /tf_static of the recording, where tf2_msgs is installed.

        Before its frames are read: the reader does one thing at a time.
        """
        names = [
            t.name
            for t in reader.topics
            if t.msgtype in TF_TYPES and t.name.endswith("/tf_static") and t.count
        ]
        if not names:
            return
        try:
            from tf2_msgs.msg import TFMessage
        except ImportError:
            self.get_logger().warning("tf2_msgs is not installed: /tf_static is not played")
            return
        everything = TFMessage()
        for message in reader.messages(names):
            everything.transforms += copy_message(message.read(), TFMessage()).transforms
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._tf_publisher = self.create_publisher(TFMessage, "/tf_static", latched)
        self._tf_publisher.publish(everything)

    def _listen(self) -> None:
        """Subscribe to what comes back; our nodes publish all of it reliably."""
        from superpoint_ros.msg import Features, Homography, Matches, TrackerStatus

        handlers: dict[str, tuple[Any, Callable[[Any], None]]] = {
            "features": (Features, self._on_features),
            "status": (TrackerStatus, self._on_status),
            "odometry": (Odometry, self._on_odometry),
            "homography": (Homography, self._on_homography),
            "matches": (Matches, self._on_matches),
        }
        profile = QoSProfile(depth=_QUEUE, reliability=ReliabilityPolicy.RELIABLE)
        for name, (message_type, handler) in handlers.items():
            self.create_subscription(
                message_type, f"{self._outputs}/{name}", self._noting_work(handler), profile
            )
        self._listened = [f"{self._outputs}/{name}" for name in handlers]
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, profile)

    def _noting_work(self, handler: Callable[[Any], None]) -> Callable[[Any], None]:
        def handle(message: Any) -> None:
            self.num_heard += 1
            self.expect_work()
            handler(message)

        return handle

    def gaps(self) -> list[str]:
        """Return what keeps messages from getting through; see `links.find_gaps`."""
        # What only tells whether depth is registered need not be heard.
        optional = {self._topics.depth_camera_info} - {self._topics.camera_info}
        return find_gaps(
            self._reports.values(),
            {
                topic: publisher.get_subscription_count()
                for topic, publisher in self._inputs.items()
                if topic not in optional
            },
            self._listened,
            [f"{self._outputs}/{name}" for name in _ANSWERS],
            self.get_fully_qualified_name(),
        )

    def troubles(self) -> list[str]:
        """Return what the nodes complain of."""
        return [f"{r.name}: {r.problem}" for r in self._reports.values() if r.problem]

    def expect_work(self) -> None:
        """Count the reports of idle nodes anew."""
        self._idle_reports.clear()

    def count_idle_reports(self) -> int:
        """Return how often every node has said since the last sign of work that it has none."""
        return min((self._idle_reports.get(name, 0) for name in self._reports), default=0)

    def silence_s(self) -> float:
        """Return for how long the quietest node has said nothing at all, seconds."""
        return time.monotonic() - min(self._heard_at.values(), default=time.monotonic())

    def has_features(self, stamp_ns: int) -> bool:
        """Whether the features of a frame have come back."""
        return stamp_ns in self.received["features"]

    def has_answered(self, stamp_ns: int) -> bool:
        """Whether features and status of a frame have come back."""
        return all(stamp_ns in stamps for stamps in self.received.values())

    def has_companions(self) -> bool:
        """Whether the poses and matches that statuses speak of are here, where any come at all."""
        return all(not came or self._due[name] <= came for name, came in self._came.items())

    def _advertise(self, topic: str, message_type: Any) -> None:
        if topic not in self._inputs:
            profile = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
            self._inputs[topic] = self.create_publisher(message_type, topic, profile)

    def _publish(self, topic: str, message: Any) -> None:
        self._advertise(topic, type(message))
        self._inputs[topic].publish(message)

    def _on_diagnostics(self, message: Any) -> None:
        for status in message.status:
            report = read_report(status)
            if report is None or not report.name.startswith(f"{self._outputs}/"):
                continue
            self.num_heard += 1
            self._reports[report.name] = report
            self._heard_at[report.name] = time.monotonic()
            count = self._idle_reports.get(report.name, 0)
            self._idle_reports[report.name] = 0 if report.num_waiting else count + 1

    def _on_features(self, message: Any) -> None:
        stamp_ns = stamp_to_ns(message.header.stamp)
        self.received["features"].add(stamp_ns)
        self.tracks.add_keypoints(stamp_ns, _points(message.keypoints))
        self._log.write(
            "features",
            stamp_ns=stamp_ns,
            count=message.count,
            latency_ms=message.latency_ms,
            model_id=message.model_id,
            weights_sha256=message.weights_sha256,
        )

    def _on_status(self, message: Any) -> None:
        stamp_ns = stamp_to_ns(message.header.stamp)
        self.received["status"].add(stamp_ns)
        if message.state == message.TRACKING:
            self._due["pose"].add(stamp_ns)
        if message.num_matches:
            self._due["matches"].add(stamp_ns)
        self._log.write(
            "status",
            stamp_ns=stamp_ns,
            state=message.state,
            map_id=message.map_id,
            num_keypoints=message.num_keypoints,
            num_inliers=message.num_inliers,
            num_landmarks=message.num_landmarks,
            frames_received=message.frames_received,
            frames_tracked=message.frames_tracked,
            frames_dropped=message.frames_dropped,
            latency_ms=dict(zip(message.stages, message.latencies_ms.tolist(), strict=False)),
        )

    def _on_odometry(self, message: Any) -> None:
        pose = message.pose.pose
        self._came["pose"].add(stamp_to_ns(message.header.stamp))
        self._log.write(
            "odometry",
            stamp_ns=stamp_to_ns(message.header.stamp),
            child_frame=message.child_frame_id,
            position=[pose.position.x, pose.position.y, pose.position.z],
            quaternion_xyzw=[
                pose.orientation.x,
                pose.orientation.y,
                pose.orientation.z,
                pose.orientation.w,
            ],
        )

    def _on_homography(self, message: Any) -> None:
        self._came["pose"].add(stamp_to_ns(message.header.stamp))
        self._log.write(
            "homography",
            stamp_ns=stamp_to_ns(message.header.stamp),
            h_b_0=[float(v) for v in message.h_b_0],
            map_id=message.map_id,
        )

    def _on_matches(self, message: Any) -> None:
        stamp_ns = stamp_to_ns(message.header.stamp)
        self._came["matches"].add(stamp_ns)
        self.tracks.add_matches(
            stamp_ns,
            _points(message.reference_keypoints),
            _points(message.keypoints),
            np.array(message.inliers, bool),
        )


def main(args: Sequence[str] | None = None) -> int:
    """Play a recording; see the module's docstring."""
    argv = list(sys.argv[1:] if args is None else args)
    options = _parse(remove_ros_args(["", *argv])[1:])

    def play(stop: threading.Event) -> int:
        try:
            return _play(options, stop)
        except BagError as error:
            print(f"bag_player: {error}", file=sys.stderr)
            return EXIT_USER_ERROR
        except ExternalShutdownException:
            return EXIT_INTERRUPTED

    return run_tool("bag_player", argv, play)


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bag_player", description=__doc__)
    parser.add_argument("bag", metavar="BAG")
    parser.add_argument("--record", type=Path, required=True, metavar="DIR")
    parser.add_argument("--rate", type=float, default=0.0, help="0: as fast as answers come")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--max-frames", type=int, default=0)
    parser.add_argument("--slop", type=float, default=0.02, help="seconds")
    parser.add_argument("--namespace", default="superpoint")
    parser.add_argument("--clock", action="store_true")
    parser.add_argument(
        "--start-timeout", type=float, default=60.0, help="without any progress, seconds"
    )
    parser.add_argument(
        "--answer-timeout", type=float, default=10.0, help="during which the nodes idle, seconds"
    )
    parser.add_argument(
        "--silence-timeout", type=float, default=60.0, help="of a node's diagnostics, seconds"
    )
    for name in ("sensor", "image", "camera-info", "depth", "right", "right-camera-info"):
        parser.add_argument(f"--{name}", default="")
    return parser.parse_args(argv)


def _play(options: argparse.Namespace, stop: threading.Event) -> int:
    wanted = SensorTopics(
        sensor=options.sensor,
        image=options.image,
        camera_info=options.camera_info,
        depth=options.depth,
        right=options.right,
        right_camera_info=options.right_camera_info,
    )
    log = EventLog(options.record / "events.jsonl")
    try:
        with BagReader(options.bag, wanted, slop_ns=round(options.slop * 1e9)) as reader:
            topics = live_topics(reader.sensor, reader.topics)
            player = BagPlayer(topics, log, options.namespace, options.clock)
            try:
                return _Playback(options, stop, reader, player, log).run()
            finally:
                player.tracks.write(options.record)
                player.destroy_node()
    finally:
        log.close()


class _Playback:
    """One pass over a recording."""

    def __init__(
        self,
        options: argparse.Namespace,
        stop: threading.Event,
        reader: BagReader,
        player: BagPlayer,
        log: EventLog,
    ) -> None:
        self._options = options
        self._stop = stop
        self._reader = reader
        self._player = player
        self._log = log
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(player)
        self._first_error = ""  # of a frame that cannot be published
        self._unanswered = 0  # frames in a row
        self._given_up = {0}  # stamps that are not waited for; 0: before the first frame

    def run(self) -> int:
        """Wait for the nodes, play, and return the exit code."""
        try:
            return self._run()
        finally:
            self._executor.shutdown()

    def _run(self) -> int:
        self._player.publish_static_transforms(self._reader)
        frames = self._usable_frames()
        first = next(frames, None)
        if first is None:
            raise BagError(
                f"{self._options.bag}: not one frame can be used, the first: {self._first_error}"
            )
        self._player.advertise(first)
        is_ready = self._wait_for_links()
        if self._stop.is_set():
            return EXIT_INTERRUPTED
        if not is_ready:
            self._explain(
                f"nothing new for {self._options.start_timeout:g} s: "
                f"{'; '.join(self._player.gaps())}: are the nodes running, on the same "
                "ROS_DOMAIN_ID and with the same topics?"
            )
            return EXIT_NO_ANSWER
        self._publish_all(first, frames)
        if self._stop.is_set():
            return EXIT_INTERRUPTED
        received = self._player.received
        if not received["status"]:
            self._explain(f"{len(received['features'])} features and no status came back")
            return EXIT_NO_ANSWER
        return EXIT_OK

    def _usable_frames(self) -> Iterator[Frame]:
        """Yield the frames that can be published; write down why the others cannot."""
        options = self._options
        for frame in self._reader.frames(every=options.every, max_frames=options.max_frames):
            if frame.error:
                self._first_error = self._first_error or frame.error
                self._log.write(
                    "unusable", stamp_ns=frame.stamp_ns, gap_ns=frame.gap_ns, reason=frame.error
                )
            else:
                yield frame

    def _wait_for_links(self) -> bool:
        """Wait until all ends have found each other, as long as ever more of them do."""
        before, deadline = self._player.gaps(), 0.0
        while gaps := self._player.gaps():
            now = time.monotonic()
            if gaps != before or not deadline:
                before, deadline = gaps, now + self._options.start_timeout
            if now > deadline or self._stop.is_set():
                return False
            self._executor.spin_once(timeout_sec=0.1)
        return True

    def _explain(self, sentence: str) -> None:
        print("; ".join([f"bag_player: {sentence}", *self._player.troubles()]), file=sys.stderr)

    def _publish_all(self, first: Frame, rest: Iterator[Frame]) -> None:
        options, log = self._options, self._log
        start_s = log.now_s()
        count, last_ns, before_ns = 0, first.stamp_ns, 0
        for frame in itertools.chain([first], rest):
            if options.rate > 0.0:
                self._wait_until(start_s + (frame.stamp_ns - first.stamp_ns) * 1e-9 / options.rate)
            if self._stop.is_set():
                break
            self._player.publish_frame(frame)
            count, last_ns = count + 1, frame.stamp_ns
            _show_progress(count, self._reader.num_images, options)
            if options.rate == 0.0:
                self._wait_for_answer(frame.stamp_ns, before_ns)
                before_ns = frame.stamp_ns
            if self._unanswered >= _GIVE_UP and not self._player.received["status"]:
                break
        # What is still on its way belongs to the run.
        self._wait_for(lambda: self._player.has_answered(last_ns))
        wall_s = log.now_s() - start_s
        # Odometry and matches of the last frame may come after its status.
        self._wait_for(self._player.has_companions, _HASTY_REPORTS)
        log.write(
            "end",
            published=count,
            wall_s=wall_s,
            bag_s=(last_ns - first.stamp_ns) * 1e-9,
            interrupted=self._stop.is_set(),
        )

    def _wait_until(self, due_s: float) -> None:
        """Handle what arrives until a time, and what is here already if that is past."""
        num_handled = -1
        while not self._stop.is_set():
            left_s = due_s - self._log.now_s()
            if left_s <= 0.0 and num_handled == self._player.num_heard:
                return
            num_handled = self._player.num_heard
            self._executor.spin_once(timeout_sec=min(max(left_s, 0.0), 0.1))

    def _wait_for_answer(self, stamp_ns: int, before_ns: int) -> None:
        """Wait for the features of a frame and for the tracker's answer to the one before it.

        So the two nodes work side by side, and neither ever has more than one frame waiting.
        """
        player, given_up = self._player, self._given_up

        def is_answered() -> bool:
            is_before_over = before_ns in given_up or player.has_answered(before_ns)
            return player.has_features(stamp_ns) and is_before_over

        if self._wait_for(is_answered):
            self._unanswered = 0
        elif not self._stop.is_set():
            self._unanswered += 1
            given_up.add(before_ns)
            if not player.has_features(stamp_ns):
                given_up.add(stamp_ns)
            self._log.write("unanswered", stamp_ns=stamp_ns)

    def _wait_for(self, is_done: Callable[[], bool], num_reports: int = 0) -> bool:
        """Handle what arrives until `is_done`; give up if nobody works at it.

        Args:
            is_done: What is waited for.
            num_reports: How often idle nodes may say so; 0: for the answer timeout, and less
                often if they have left frames unanswered before.
        """
        options, player = self._options, self._player
        if not num_reports:
            patient = max(round(options.answer_timeout / PERIOD_S), _HASTY_REPORTS)
            num_reports = patient if self._unanswered < 2 else _HASTY_REPORTS
        player.expect_work()
        while not is_done():
            is_over = player.count_idle_reports() >= num_reports
            if is_over or player.silence_s() > options.silence_timeout or self._stop.is_set():
                return False
            self._executor.spin_once(timeout_sec=0.1)
        return True


def _points(flat: Any) -> Any:
    """Return the points (N, 2) of a flat array of a message."""
    return np.array(flat, np.float32).reshape(-1, 2)


def _info_topic(topic_or_file: str, image: str) -> str:
    """Return the topic of a calibration; one from a file is published beside the image."""
    if topic_or_file.startswith("/") and not topic_or_file.endswith((".yaml", ".yml")):
        return topic_or_file
    return f"{base_topic(image).rpartition('/')[0]}/camera_info"


def _show_progress(count: int, num_images: int, options: argparse.Namespace) -> None:
    if not sys.stderr.isatty():
        return
    total = -(-num_images // options.every)
    total = min(total, options.max_frames) if options.max_frames else total
    end = "\n" if count == total else ""
    print(f"\rframe {count}/{total}", end=end, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
