# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Features in, odometry out.

The node pairs features with depth or with those of the right image, asks the same
`VisualOdometry` as the offline evaluator, and publishes what it says.
Run: `python -m superpoint_ros.ros.tracker_node --ros-args ...`
"""

from __future__ import annotations

if __name__ == "__main__":  # before the heavy imports below: Ctrl-C during them is no error
    from superpoint_ros.machine import prepare_process
    from superpoint_ros.ros.signals import leave_quietly_while_importing

    leave_quietly_while_importing()
    prepare_process()

import dataclasses
import sys
import threading
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from nav_msgs.msg import Odometry
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from std_srvs.srv import Empty

from superpoint_ros.config import Config, ConfigError, option
from superpoint_ros.data import Array, Features, Observation, TrackingResult, TrackingState
from superpoint_ros.decode import DecodeError
from superpoint_ros.msg import Features as FeaturesMessage
from superpoint_ros.msg import Homography, Matches, TrackerStatus
from superpoint_ros.odometry.visual_odometry import OdometryConfig, VisualOdometry
from superpoint_ros.pairing import JUMP_BACK_NS
from superpoint_ros.profiling import Stopwatch
from superpoint_ros.ros.compat import make_transform_broadcaster
from superpoint_ros.ros.conversions import (
    MessageError,
    homography_to_message,
    make_header,
    matches_to_message,
    odometry_to_message,
    points_to_cloud,
    stamp_to_ns,
    status_to_message,
    transform_to_message,
)
from superpoint_ros.ros.debug_image import DebugImage
from superpoint_ros.ros.diagnostics import PERIOD_S, Counters, Diagnostics
from superpoint_ros.ros.frames import (
    Mounting,
    parse_camera_in_base,
    pose_from_rpy,
)
from superpoint_ros.ros.links import describe_links, describe_subscription
from superpoint_ros.ros.mounting import MountingFinder
from superpoint_ros.ros.observing import ObservationMaker
from superpoint_ros.ros.path import PathPublisher
from superpoint_ros.ros.runner import FAILURE, ManagedNode, Worker, run
from superpoint_ros.ros.stamp_pairing import StampPairing
from superpoint_ros.ros.subscriptions import (
    FEATURES_QOS,
    RELIABILITIES,
    MatchingSubscription,
    transport_topic,
)
from superpoint_ros.srv import ResetPose

NODE_NAME = "tracker_node"
_REFRESH_S = 0.25
_SILENCE_S = 3.0
_MAX_POOR = 5  # frames with too few features before somebody hears of it
_UNTRACKED_NS = 2_000_000_000  # without a pose before somebody hears of it


@dataclass(frozen=True)
class TrackerConfig(Config):
    """Parameters of tracker_node."""

    autostart: bool = option(True, "configure and activate at once; false: wait for transitions")
    odom_frame: str = option("odom", "frame of the published poses")
    base_frame: str = option(
        "base_link", "frame whose pose is published; empty: the camera's own frame"
    )
    camera_in_base: tuple[float, ...] = option(
        (),
        "x y z qx qy qz qw of the optical frame in base_frame; empty: looked up from TF (no [] in "
        "a parameter file, which ROS cannot read: leave the line out)",
    )
    tf_timeout: float = option(
        3.0,
        "how long the first frame waits for base_frame <- camera in TF, seconds; a camera that TF "
        "does not know by then is published itself",
        minimum=0.0,
        maximum=600.0,
    )
    publish_tf: bool = option(True, "publish odom -> base on /tf", dynamic=True)
    depth_transport: str = option(
        "raw",
        "how depth images come; others are appended to the topic",
        choices=("raw", "compressed", "compressedDepth"),
    )
    depth_units_per_metre: float = option(
        1000.0, "integer depth units in one metre (TUM recordings: 5000)", minimum=1.0e-6
    )
    sync_slop: float = option(
        0.02,
        "largest gap between the stamps of image and depth (or right image), seconds; 0: equal",
        minimum=0.0,
    )
    sync_queue_size: int = option(
        60,
        "features and depth images (or right features) kept while they wait for each other",
        minimum=2,
    )
    queue_size: int = option(
        2,
        "frames that may wait for the tracker; the oldest is dropped, so that poses are of now",
        minimum=1,
    )
    image_reliability: str = option(
        "auto", "QoS of camera subscriptions; auto follows the publishers", choices=RELIABILITIES
    )
    image_transport: str = option(
        "raw", "how the images under debug_image come", choices=("raw", "compressed")
    )
    image_rectified: bool = option(
        False,
        "images are rectified (image_rect): P of camera_info holds for them, not K, D and R",
    )
    path_max_length: int = option(2000, "poses in path", minimum=1, maximum=100000, dynamic=True)
    map_period: float = option(
        0.5, "time between messages on path and local_map, seconds", minimum=0.0, dynamic=True
    )
    odometry: OdometryConfig = dataclasses.field(default_factory=OdometryConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.odom_frame.strip("/"):
            raise ConfigError("odom_frame: is empty; poses need a frame, such as odom")
        if self.base_frame.strip("/") == self.odom_frame.strip("/"):
            raise ConfigError(
                f"base_frame: is {self.odom_frame}, as odom_frame is; TF needs two frames"
            )


@dataclass(frozen=True)
class _Job:
    frame: Any  # Features message or LocalFeatures
    partner: Any = None  # depth image, or Features message of the right image
    run: int = 0  # how often time had jumped back when it came

    @property
    def header(self) -> Any:
        """Of the image."""
        return self.frame.header


class TrackerNode(ManagedNode[TrackerConfig]):
    """Publishes odometry and what belongs to it for `features`."""

    def __init__(self, known_elsewhere: Collection[str] = (), **kwargs: Any) -> None:
        super().__init__(NODE_NAME, TrackerConfig, known_elsewhere, **kwargs)
        self.counters = Counters(
            "received", "tracked", "dropped", "late", "unpaired", "bad", "resets"
        )
        self.takes_features_by_topic = True
        self._is_set_up = False
        self._worker: Worker[_Job] | None = None
        self._lock = threading.Lock()

    # Life cycle

    def set_up(self) -> None:
        """Make the odometry, then open the topics."""
        config = self.config
        T_base_cam = parse_camera_in_base(config.camera_in_base)
        self._odometry = self.own(VisualOdometry(config.odometry), VisualOdometry.close)
        self._observations = ObservationMaker(
            config.odometry, config.depth_units_per_metre, self.problems, config.image_rectified
        )
        self._is_paused = False
        self._pending_reset: tuple[Array | None] | None = None  # T_odom_body or None
        self._num_poor = 0  # frames in a row with too few features
        self._untracked_since_ns: int | None = None
        self._last_result = TrackingResult(0, TrackingState.INITIALIZING)
        self._run = 0  # counts jumps back of time
        self._last_tracked_ns: int | None = None
        self._last_intake_ns: int | None = None
        self._map_due = 0.0
        self._last_frame = time.monotonic()
        self._mountings = self.own(
            MountingFinder(
                self,
                config.base_frame,
                T_base_cam,
                config.tf_timeout,
                self.problems,
                config.odom_frame,
            ),
            MountingFinder.destroy,
        )
        self._tf = self._make_broadcaster() if config.publish_tf else None
        self._is_set_up = True
        self._make_outputs()
        self._worker = self.make_worker(self._track, config.queue_size)
        self._make_inputs()
        self.own_steady_timer(PERIOD_S, self._diagnostics.publish)
        self.own_steady_timer(_REFRESH_S, self._refresh)
        self.get_logger().info(
            f"{config.odometry.mode} odometry, features from "
            f"{self.resolve_topic_name('features')}, camera_info from {self._infos.topic}"
        )

    def _make_outputs(self) -> None:
        self._diagnostics = self.own(
            Diagnostics(self, self.counters, self.problems, self._describe_links, self.why_idle),
            Diagnostics.destroy,
        )
        self._outputs = {
            name: self.own(self.create_publisher(kind, name, 10), self.destroy_publisher)
            for name, kind in (
                ("odometry", Odometry),
                ("matches", Matches),
                ("homography", Homography),
                ("status", TrackerStatus),
                ("local_map", PointCloud2),
            )
        }
        self._path = self.own(PathPublisher(self), PathPublisher.destroy)
        transport, reliability = self.config.image_transport, self.config.image_reliability
        self._debug = self.own(
            DebugImage(self, transport, reliability, self.problems), DebugImage.destroy
        )
        for kind, name, callback in (
            (Empty, "reset_odom", self._on_reset),
            (ResetPose, "reset_odom_to_pose", self._on_reset_to_pose),
            (Empty, "pause_odom", self._on_pause),
            (Empty, "resume_odom", self._on_resume),
        ):
            self.own(self.create_service(kind, name, callback), self.destroy_service)

    def _make_inputs(self) -> None:
        config = self.config
        self._inputs: list[MatchingSubscription] = []
        self._feature_subscriptions: list[Any] = []
        self._pairing: StampPairing | None = None
        self._infos = self._subscribe(CameraInfo, "camera_info", self._on_camera_info, 10)
        if config.odometry.mode == "rgbd":
            kind = Image if config.depth_transport == "raw" else CompressedImage
            topic = transport_topic(self, "depth/image", config.depth_transport)
            self._depths = self._subscribe(kind, topic, self._on_partner, 10)
            self._pairing = self._pair_with(self._depths.topic)
            # It may never come, so nobody asks what it says of its publishers.
            self._depth_infos = self.own(
                MatchingSubscription(
                    self, CameraInfo, "depth/camera_info", self._on_depth_camera_info, 10
                ),
                MatchingSubscription.destroy,
            )
        if config.odometry.mode == "stereo":
            self._right_infos = self._subscribe(
                CameraInfo, "right/camera_info", self._on_right_camera_info, 10
            )
            if self.takes_features_by_topic:  # else features_node has paired the images
                topic = self.resolve_topic_name("right/features")
                self._pairing = self._pair_with(topic, ": features_node needs stereo: true")
                self._subscribe_features(topic, self._on_partner)
        if self.takes_features_by_topic:
            self._subscribe_features("features", self.take_features)

    def _describe_links(self) -> dict[str, str]:
        hears = {subscription.topic: subscription.state for subscription in self._inputs}
        for features in self._feature_subscriptions:
            hears[features.topic_name] = describe_subscription(features)
        num_waiting = 0 if self._worker is None else self._worker.num_waiting
        links = describe_links(self._outputs.values(), hears, num_waiting)
        return {"state": self._last_result.state.name, **links}

    def _pair_with(self, topic: str, hint: str = "") -> StampPairing:
        config = self.config
        names = ("features", topic)
        return StampPairing(self._on_pair, config.sync_slop, config.sync_queue_size, names, hint)

    def _subscribe_features(self, topic: str, callback: Any) -> None:
        subscription = self.create_subscription(FeaturesMessage, topic, callback, FEATURES_QOS)
        self._feature_subscriptions.append(self.own(subscription, self.destroy_subscription))

    def _subscribe(self, kind: Any, topic: str, callback: Any, depth: int) -> MatchingSubscription:
        subscription = MatchingSubscription(
            self, kind, topic, callback, depth, self.config.image_reliability
        )
        self._inputs.append(subscription)
        return self.own(subscription, MatchingSubscription.destroy)

    def tear_down(self) -> None:
        """Say that nothing is set up; `set_up` makes everything anew."""
        self._is_set_up = False

    def _make_broadcaster(self) -> Any:
        broadcaster = make_transform_broadcaster(self)
        self.own(broadcaster.pub_tf, self.destroy_publisher)
        return broadcaster

    def on_config(self, config: TrackerConfig) -> None:
        """Open /tf when `publish_tf` is switched on."""
        if config.publish_tf and self._is_set_up and self._tf is None:
            try:
                self._tf = self._make_broadcaster()
            except ImportError as error:
                self.problems.report("publish_tf", f"publish_tf: {error}")

    def why_idle(self) -> str:
        """Return also that it is paused, and the command that ends that."""
        if self.is_active and self._is_paused:
            service = self.resolve_service_name("resume_odom")
            return f"paused: ros2 service call {service} std_srvs/srv/Empty"
        return super().why_idle()

    def stop_work(self) -> bool:
        """End the worker."""
        worker, self._worker = self._worker, None
        return worker is None or worker.stop()

    # Intake: on the executor's thread (in vo_node, features on that of features_node)

    def take_features(self, frame: Any) -> None:
        """Take the next Features message or LocalFeatures."""
        worker = self._worker
        if not self.is_active or worker is None:
            return
        self.counters.add("received")
        self._last_frame = time.monotonic()
        stamp_ns = stamp_to_ns(frame.header.stamp)
        if self._is_paused:
            self._publish_paused(stamp_ns, frame.header)
            return
        with self._lock:
            if not self._is_in_order(stamp_ns):
                return
            job = _Job(frame, run=self._run)
            if self._pairing is None:
                self.counters.add("dropped", worker.put(job))
                return
        self._pairing.add_first(job)

    def _is_in_order(self, stamp_ns: int) -> bool:
        """Return whether a frame may be tracked; start anew when time jumped back."""
        last, self._last_intake_ns = self._last_intake_ns, stamp_ns
        if last is None or stamp_ns > last:
            return True
        if last - stamp_ns <= JUMP_BACK_NS:
            self._last_intake_ns = last
            self.counters.add("late")
            return False
        self.get_logger().warning(
            f"stamps of features jumped back by {(last - stamp_ns) / 1e9:.3f} s: starting anew"
        )
        if self._worker is not None:
            self.counters.add("dropped", self._worker.clear())
        self._run += 1  # a frame that the worker has in hand now is of the time before
        self._pending_reset = self._pending_reset or (None,)
        return True

    def _on_partner(self, message: Any) -> None:
        """Take a depth image, or the features of the right image."""
        if self.is_active and not self._is_paused and self._pairing is not None:
            self._pairing.add_second(message)

    def _on_pair(self, job: _Job, partner: Any) -> None:
        self.problems.clear("pairing")
        worker = self._worker
        with self._lock:
            if worker is not None:
                paired = dataclasses.replace(job, partner=partner)
                self.counters.add("dropped", worker.put(paired))

    def _on_camera_info(self, message: Any) -> None:
        self._observations.set_camera(message, self._infos.topic)

    def _on_depth_camera_info(self, message: Any) -> None:
        self._observations.set_depth_camera(message, self._depth_infos.topic)

    def _on_right_camera_info(self, message: Any) -> None:
        self._observations.set_camera(message, self._right_infos.topic, is_right=True)

    def _refresh(self) -> None:
        """Adapt subscriptions, and say why nothing comes."""
        now = time.monotonic()
        age = now - self.active_since
        troubles = [subscription.refresh() for subscription in self._inputs]
        sentences = [trouble for trouble in troubles if trouble]
        if sentences and age > 2.0:
            self.problems.report("topic", "; ".join(sentences))
        elif not sentences:
            self.problems.clear("topic")
        if age > 2.0:
            self.check_clock()
        is_silent = now - max(self._last_frame, self.active_since) > _SILENCE_S
        if is_silent and self.takes_features_by_topic and self.is_active:
            topic = self.resolve_topic_name("features")
            who = "nobody publishes" if not self.count_publishers(topic) else "nothing comes on"
            self.problems.report("features", f"{who} {topic}: is features_node running on images?")
        else:
            self.problems.clear("features")
        if self._pairing is not None:
            self.counters.add("unpaired", self._pairing.count_lost())
            trouble = self._pairing.trouble()
            if trouble:
                self.problems.report("pairing", trouble)
        self._debug.refresh()

    # Services

    def _on_reset(self, request: Any, response: Any) -> Any:
        with self._lock:
            self._pending_reset = (None,)
        return response

    def _on_reset_to_pose(self, request: Any, response: Any) -> Any:
        numbers = (request.x, request.y, request.z, request.roll, request.pitch, request.yaw)
        obstacle = ""
        if self.config.odometry.mode == "homography":
            obstacle = "a homography has no pose; reset_odom starts it anew"
        elif not np.isfinite(numbers).all():
            obstacle = f"{', '.join(f'{number:g}' for number in numbers)} are not all finite"
        elif self._mountings.depends_on_tf:
            obstacle = (
                f"the camera's place on {self.config.base_frame} has not been found in TF yet; "
                "call it when odometry comes, or set camera_in_base"
            )
        if obstacle:
            self.get_logger().error(f"reset_odom_to_pose is refused: {obstacle}")
            return response
        with self._lock:
            self._pending_reset = (pose_from_rpy(*numbers),)
        return response

    def _on_pause(self, request: Any, response: Any) -> Any:
        self._is_paused = True
        if self._worker is not None:
            self.counters.add("dropped", self._worker.clear())
        return response

    def _on_resume(self, request: Any, response: Any) -> Any:
        self._is_paused = False
        return response

    # Tracking: on the worker's thread

    def _track(self, job: _Job) -> None:
        if not self.is_active:  # any more
            self.counters.add("dropped")
            return
        watch = Stopwatch()
        header = job.header
        if not self._observations.is_calibrated:
            self.counters.add("dropped")
            topics = self._infos.topic
            if self.config.odometry.mode == "stereo":
                topics += f" and {self._right_infos.topic}"
            self.problems.report(
                "camera_info", f"no usable camera_info came on {topics}: frames are dropped"
            )
            return
        try:
            observation = self._observations.make(job.frame, job.partner, watch)
        except (MessageError, DecodeError, ValueError) as error:
            self.counters.add("bad")
            where = f"{self._depths.topic}: " if isinstance(error, DecodeError) else ""
            self.problems.report("frame", f"{where}{error}")
            return
        self.problems.clear("frame")
        self._check_richness(observation.features)
        if self.config.odometry.mode != "homography":  # which has no pose to publish
            self._find_mounting(header.frame_id)
        if not self._is_next(job):
            return
        dim = self._odometry.descriptor_dim
        with watch.stage("odometry"):
            result = self._odometry.track(observation)
        if dim not in (None, self._odometry.descriptor_dim):
            self.get_logger().warning(
                f"descriptors have {self._odometry.descriptor_dim} elements now, {dim} before: "
                "another network, a new map starts"
            )
        latency = {"features": float(job.frame.latency_ms), **watch.latency_ms}
        latency.update(result.latency_ms)
        self._last_result = result = dataclasses.replace(result, latency_ms=latency)
        self._check_state(result, observation)
        self._publish(result, header, observation.features)
        self.problems.clear(FAILURE)
        self._diagnostics.add_latency(latency)

    def _check_richness(self, features: Features) -> None:
        """Report images, one after the other, that no map can start from."""
        if len(features) >= self.config.odometry.min_features:
            self._num_poor = 0
            self.problems.clear("features_count")
            return
        self._num_poor += 1
        if self._num_poor >= _MAX_POOR:
            height, width = features.image_size_hw
            self.problems.report(
                "features_count",
                f"images of {width} x {height} give {len(features)} keypoints, a map needs "
                f"{self.config.odometry.min_features}: they are too small, dark or blurred, or "
                "keypoints.detection_threshold of features_node is too high",
            )

    def _find_mounting(self, camera_frame: str) -> None:
        """Ask where the camera sits; with another answer than before the odometry starts anew."""
        before = self._mountings.mounting
        mounting = self._mountings.find(
            camera_frame, lambda: self.is_active and self._worker is not None
        )
        if before is not None and mounting is not before:
            with self._lock:
                self._pending_reset = self._pending_reset or (None,)

    def _check_state(self, result: TrackingResult, observation: Observation) -> None:
        """Report a state that gives no pose, once it has lasted, and what may end it."""
        if result.state == TrackingState.TRACKING:
            self._untracked_since_ns = None
            self.problems.clear("state")
            return
        if self._untracked_since_ns is None:
            self._untracked_since_ns = result.stamp_ns
        if result.stamp_ns - self._untracked_since_ns < _UNTRACKED_NS or self._num_poor:
            return
        config = self.config.odometry
        num_deep = int(np.isfinite(observation.depth).sum())
        of_all = f"{num_deep} of {len(observation.features)} keypoints"
        if config.mode == "rgbd" and num_deep < config.min_features:
            why = (
                f"{of_all} have a depth from {config.depth.minimum:g} to {config.depth.maximum:g} "
                f"m: check depth_units_per_metre ({self.config.depth_units_per_metre:g}) and the "
                "depth image"
            )
        elif config.mode == "stereo" and num_deep < config.min_features:
            why = (
                f"{of_all} have a partner in the right image: check that left and right are not "
                "swapped, and that both are of one calibration"
            )
        elif result.state == TrackingState.LOST:
            service = self.resolve_service_name("reset_odom")
            why = (
                "lost: nothing of the map is in view; go back to where it was, or start anew: "
                f"ros2 service call {service} std_srvs/srv/Empty"
            )
        elif config.mode == "mono":
            why = "no map yet: move the camera sideways, so that near things pass far ones"
        else:
            why = "no map yet: too few keypoints are found again from image to image"
        self.problems.report("state", why)

    def _is_next(self, job: _Job) -> bool:
        """Return whether a frame follows the last one; reset before it if asked to."""
        stamp_ns = stamp_to_ns(job.header.stamp)
        with self._lock:
            if job.run != self._run:
                self.counters.add("dropped")
                return False
            asked, self._pending_reset = self._pending_reset, None
        if asked is not None:
            self._reset(asked[0])
        elif self._last_tracked_ns is not None and stamp_ns <= self._last_tracked_ns:
            self.counters.add("late")  # its depth came after that of a later frame
            return False
        self._last_tracked_ns = stamp_ns
        return True

    def _reset(self, T_odom_body: Array | None) -> None:
        T_world_cam = None
        if T_odom_body is not None:
            assert self._mountings.mounting is not None  # else the service refuses
            T_world_cam = self._mountings.mounting.camera_pose(T_odom_body)
        self._odometry.reset(T_world_cam)
        self._untracked_since_ns = None
        self._path.clear()
        self.counters.add("resets")

    # Output

    def _publish(self, result: TrackingResult, header: Any, features: Features) -> None:
        if result.T_world_cam is not None or result.H_b_a is not None:
            self.counters.add("tracked")
        mounting = self._mountings.mounting
        if result.T_world_cam is not None and mounting is not None:
            self._publish_pose(result, header, mounting)
        if result.matches is not None and self._is_wanted("matches"):
            self._outputs["matches"].publish(
                matches_to_message(result.matches, features.keypoints, header)
            )
        homography = homography_to_message(result, header)
        if homography is not None:
            self._outputs["homography"].publish(homography)
        self._debug.publish(result, header, features)
        self._publish_status(result, header, len(features))

    def _publish_pose(self, result: TrackingResult, header: Any, mounting: Mounting) -> None:
        assert result.T_world_cam is not None
        T_odom_child = mounting.pose(result.T_world_cam)
        covariance, twist, twist_covariance = result.covariance, result.twist, None
        if covariance is not None:
            covariance = mounting.covariance(covariance)
        if twist is not None and result.twist_covariance is not None:
            twist = mounting.twist(twist)
            twist_covariance = mounting.covariance(result.twist_covariance)
        odom_header = make_header(result.stamp_ns, self.config.odom_frame)
        self._outputs["odometry"].publish(
            odometry_to_message(
                T_odom_child,
                covariance,
                twist,
                twist_covariance,
                odom_header,
                mounting.child_frame,
            )
        )
        if self.config.publish_tf and self._tf is not None and self._mountings.may_send_tf:
            self._tf.sendTransform(
                transform_to_message(T_odom_child, odom_header, mounting.child_frame)
            )
        self._path.add(T_odom_child, odom_header, self.config.path_max_length)
        now = time.monotonic()
        if now >= self._map_due:
            self._map_due = now + self.config.map_period
            self._path.publish(odom_header)
            if self._is_wanted("local_map"):
                points = mounting.points(self._odometry.landmarks_world())
                self._outputs["local_map"].publish(points_to_cloud(points, odom_header))

    def _publish_paused(self, stamp_ns: int, header: Any) -> None:
        """Publish the state PAUSED, with the map as it was left."""
        last = self._last_result
        paused = TrackingResult(
            stamp_ns,
            TrackingState.PAUSED,
            num_landmarks=last.num_landmarks,
            num_keyframes=last.num_keyframes,
            map_id=last.map_id,
        )
        self._publish_status(paused, header, 0)

    def _publish_status(self, result: TrackingResult, header: Any, num_keypoints: int) -> None:
        status = status_to_message(result, header, self.config.odometry.mode, num_keypoints)
        counts = self.counters.snapshot()
        status.frames_received = counts["received"]
        status.frames_tracked = counts["tracked"]
        status.frames_dropped = sum(
            counts[name] for name in ("dropped", "late", "bad", "unpaired")
        )
        self._outputs["status"].publish(status)

    def _is_wanted(self, name: str) -> bool:
        return int(self._outputs[name].get_subscription_count()) > 0


def main(args: Sequence[str] | None = None) -> int:
    """Run the node; return its exit code."""
    return run(lambda: [TrackerNode()], NODE_NAME, args)


if __name__ == "__main__":
    sys.exit(main())
