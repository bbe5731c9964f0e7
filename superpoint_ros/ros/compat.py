# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Stand-ins for the ROS libraries that pip does not have: message_filters and tf2_ros.

Where the real one is installed it is used; the names and the behaviour are the same, and the same
tests run on both.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import yaml
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

from superpoint_ros.data import Array
from superpoint_ros.geometry import se3
from superpoint_ros.ros.conversions import MessageError, stamp_to_ns, transform_from_message

__all__ = [
    "ApproximateTimeSynchronizer",
    "SimpleFilter",
    "Subscriber",
    "TimeSynchronizer",
    "bare_frame",
    "drop_stamps_after",
    "make_transform_broadcaster",
    "make_transform_buffer",
    "stamps_of",
]

# ---- message_filters --------------------------------------------------------------------------


class StandInFilter:
    """A source of messages that others register with (message_filters.SimpleFilter)."""

    def __init__(self) -> None:
        self.callbacks: dict[int, tuple[Callable[..., None], tuple[Any, ...]]] = {}

    def registerCallback(self, callback: Callable[..., None], *args: Any) -> int:
        """Call `callback(*messages, *args)` for every output; return its number."""
        number = len(self.callbacks)
        self.callbacks[number] = (callback, args)
        return number

    def signalMessage(self, *messages: Any) -> None:
        """Hand messages to everyone who registered."""
        for callback, args in list(self.callbacks.values()):
            callback(*messages, *args)


class StandInSubscriber(StandInFilter):
    """A subscription as a filter: `Subscriber(node, type, topic, qos_profile=...)`."""

    def __init__(self, node: Node, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        self.node = node
        self.topic = args[1]
        kwargs.setdefault("qos_profile", 10)
        self.sub = node.create_subscription(*args, self.signalMessage, **kwargs)

    def getTopic(self) -> str:
        """Return the topic as it was given."""
        return str(self.topic)


class StandInApproximateTimeSynchronizer(StandInFilter):
    """One message of every input whose stamps lie within a slop.

    Each input keeps its `queue_size` youngest messages by stamp. A message leaves with the
    combination of smallest spread, at most once.

    Attributes:
        queues: One dict per input, stamp in nanoseconds -> message.
        lock: Held while the queues change.
    """

    def __init__(self, fs: Sequence[Any], queue_size: int, slop: float) -> None:
        super().__init__()
        self.queue_size = queue_size
        self._slop_ns = round(slop * 1e9)
        self.queues: list[dict[int, Any]] = [{} for _ in fs]
        self.lock = threading.Lock()
        for index, source in enumerate(fs):
            source.registerCallback(self._take, index)

    def _take(self, message: Any, index: int) -> None:
        stamp_ns = stamp_to_ns(message.header.stamp)
        with self.lock:
            self.queues[index][stamp_ns] = message
            while len(self.queues[index]) > self.queue_size:
                del self.queues[index][min(self.queues[index])]
            matched = self._match(stamp_ns, index)
        if matched is not None:
            self.signalMessage(*matched)

    def _match(self, stamp_ns: int, index: int) -> list[Any] | None:
        if stamp_ns not in self.queues[index]:  # older than everything that fits the queue
            return None
        choices = [
            [stamp_ns]
            if position == index
            else [other for other in queue if abs(other - stamp_ns) <= self._slop_ns]
            for position, queue in enumerate(self.queues)
        ]
        best = min(itertools.product(*choices), key=_spread, default=None)
        if best is None or not self._is_close(_spread(best)):
            return None
        return [queue.pop(stamp) for queue, stamp in zip(self.queues, best, strict=True)]

    def _is_close(self, spread_ns: int) -> bool:
        return spread_ns < self._slop_ns


class StandInTimeSynchronizer(StandInApproximateTimeSynchronizer):
    """One message of every input, all of the very same stamp."""

    def __init__(self, fs: Sequence[Any], queue_size: int) -> None:
        super().__init__(fs, queue_size, slop=0.0)

    def _is_close(self, spread_ns: int) -> bool:
        return spread_ns == 0


def _spread(stamps: Sequence[int]) -> int:
    return max(stamps) - min(stamps)


try:
    from message_filters import (
        ApproximateTimeSynchronizer,
        SimpleFilter,
        Subscriber,
        TimeSynchronizer,
    )
except ImportError:
    SimpleFilter = StandInFilter
    Subscriber = StandInSubscriber
    TimeSynchronizer = StandInTimeSynchronizer
    ApproximateTimeSynchronizer = StandInApproximateTimeSynchronizer


def drop_stamps_after(synchronizer: Any, stamp_ns: int) -> int:
    """Remove queued messages younger than a stamp, after time jumped back; return how many.

    A synchroniser throws out its oldest stamps first: without this it would keep the messages of
    the time before the jump for ever and refuse every new one. Must not be called with a lock held
    that the synchroniser's callbacks take: message_filters calls them with its own lock held.
    """
    count = 0
    with synchronizer.lock:
        for queue in synchronizer.queues:
            for late in [key for key in queue if _key_to_ns(key) > stamp_ns]:
                del queue[late]
                count += 1
    return count


def stamps_of(synchronizer: Any) -> list[list[int]]:
    """Return the stamps, ns, of what waits in every queue; locks as `drop_stamps_after` does."""
    with synchronizer.lock:
        return [[_key_to_ns(key) for key in queue] for queue in synchronizer.queues]


def _key_to_ns(key: Any) -> int:
    return int(getattr(key, "nanoseconds", key))


# ---- tf ---------------------------------------------------------------------------------------


class StandInTransformBroadcaster:
    """Sends transforms on /tf (tf2_ros.TransformBroadcaster).

    Attributes:
        pub_tf: The publisher, to be destroyed by whoever made the broadcaster.
    """

    def __init__(self, node: Node) -> None:
        from tf2_msgs.msg import TFMessage

        self._message_type = TFMessage
        profile = QoSProfile(
            depth=100, history=HistoryPolicy.KEEP_LAST, reliability=ReliabilityPolicy.RELIABLE
        )
        self.pub_tf = node.create_publisher(TFMessage, "/tf", profile)

    def sendTransform(self, transform: Any) -> None:
        """Publish one TransformStamped or a list of them."""
        transforms = transform if isinstance(transform, list) else [transform]
        self.pub_tf.publish(self._message_type(transforms=transforms))


class StandInTransformBuffer:
    """The newest transform of every frame, from /tf and /tf_static.

    It answers where a sensor sits on its robot; it keeps no history and does not interpolate.

    Args:
        node: Which subscribes.
        ignored_parent: What hangs on this frame is passed over; empty: nothing is.
    """

    def __init__(self, node: Node, ignored_parent: str = "") -> None:
        from tf2_msgs.msg import TFMessage

        self._node = node
        self._ignored_parent = ignored_parent
        self._parents: dict[str, tuple[str, Array]] = {}
        latched = QoSProfile(
            depth=100,
            reliability=ReliabilityPolicy.RELIABLE,
            durability=DurabilityPolicy.TRANSIENT_LOCAL,
        )
        moving = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
        self._subscriptions = [
            node.create_subscription(TFMessage, "/tf_static", self.add, latched),
            node.create_subscription(TFMessage, "/tf", self.add, moving),
        ]

    def destroy(self) -> None:
        """End the subscriptions."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)

    def add(self, message: Any) -> None:
        """Take over the transforms of a TFMessage; broken ones are passed over."""
        for stamped in message.transforms:
            child, parent = bare_frame(stamped.child_frame_id), bare_frame(stamped.header.frame_id)
            try:
                T_parent_child = transform_from_message(stamped.transform)
            except MessageError:
                continue
            if child and parent and child != parent and parent != self._ignored_parent:
                self._parents[child] = (parent, T_parent_child)

    def has_frame(self, frame: str) -> bool:
        """Return whether any transform names the frame."""
        frame = bare_frame(frame)
        parents = dict(self._parents)  # the executor's thread adds to it
        return frame in parents or any(parent == frame for parent, _ in parents.values())

    def ancestors(self, frame: str) -> list[str]:
        """Return the frames above one, nearest first; empty: it has no parent."""
        return list(self._ancestors(frame))[1:]

    def lookup(self, target: str, source: str) -> Array | None:
        """Return T_target_source (4, 4), or None if the two are not connected."""
        up_from_source, up_from_target = self._ancestors(source), self._ancestors(target)
        for ancestor, T_ancestor_source in up_from_source.items():
            if ancestor in up_from_target:
                return np.asarray(se3.inverse(up_from_target[ancestor]) @ T_ancestor_source)
        return None

    def _ancestors(self, frame: str) -> dict[str, Array]:
        """Return {ancestor: T_ancestor_frame}, nearest first, the frame itself included."""
        frame = bare_frame(frame)
        T_here_frame = np.eye(4)
        found = {frame: T_here_frame}
        while frame in self._parents:
            frame, T_parent_here = self._parents[frame]
            if frame in found:  # a loop: somebody publishes nonsense
                break
            T_here_frame = T_parent_here @ T_here_frame
            found[frame] = T_here_frame
        return found


class _Tf2Buffer:
    """tf2_ros.Buffer behind the same questions."""

    def __init__(self, node: Node) -> None:
        import tf2_ros

        self._buffer = tf2_ros.Buffer()
        self._listener = tf2_ros.TransformListener(self._buffer, node)
        self._error: Any = tf2_ros.TransformException

    def destroy(self) -> None:
        """End the subscriptions."""
        self._listener.unregister()

    def has_frame(self, frame: str) -> bool:
        """Return whether any transform names the frame."""
        frame, parents = bare_frame(frame), self._parents()
        return frame in parents or frame in parents.values()

    def ancestors(self, frame: str) -> list[str]:
        """Return the frames above one, nearest first; empty: it has no parent."""
        frame, parents = bare_frame(frame), self._parents()
        found: list[str] = []
        while frame in parents and parents[frame] not in found:
            frame = parents[frame]
            found.append(frame)
        return found

    def _parents(self) -> dict[str, str]:
        known = yaml.safe_load(self._buffer.all_frames_as_yaml())
        return {str(child): str(its["parent"]) for child, its in known.items()} if known else {}

    def lookup(self, target: str, source: str) -> Array | None:
        """Return T_target_source (4, 4), newest; None if the two are not connected."""
        from rclpy.time import Time

        try:
            stamped = self._buffer.lookup_transform(bare_frame(target), bare_frame(source), Time())
        except self._error:
            return None
        return transform_from_message(stamped.transform)


def make_transform_buffer(node: Node) -> Any:
    """Return what answers `lookup`, `has_frame` and `ancestors` as `StandInTransformBuffer` does.

    Raises:
        ImportError: Neither tf2_ros nor tf2_msgs is installed.
    """
    try:
        return _Tf2Buffer(node)
    except ImportError:
        return StandInTransformBuffer(node)


def make_transform_broadcaster(node: Node) -> Any:
    """Return something with `sendTransform` and its publisher `pub_tf`.

    Raises:
        ImportError: Neither tf2_ros nor tf2_msgs is installed.
    """
    try:
        from tf2_ros import TransformBroadcaster
    except ImportError:
        return StandInTransformBroadcaster(node)
    return TransformBroadcaster(node)


def bare_frame(frame: str) -> str:
    """Return a frame name without the leading slash of ROS 1."""
    return frame.lstrip("/")
