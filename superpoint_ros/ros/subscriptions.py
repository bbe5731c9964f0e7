# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Subscriptions that suit their publishers: transport, QoS, and why nothing comes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

from superpoint_ros.ros.links import JOINING, describe_subscription

# Between our own nodes nothing may be lost: reliable, and deep enough for a slow moment.
FEATURES_QOS = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=10, reliability=ReliabilityPolicy.RELIABLE
)
# Discovery between two processes on a busy computer.
_OVERLAP_S = 2.0
RELIABILITIES = ("auto", "reliable", "best_effort")


class MatchingSubscription:
    """A subscription with sensor-data QoS that turns reliable when all its publishers are.

    Best effort loses messages larger than the transport's segment; reliable connects only to
    reliable publishers. If those are also transient local, so is the subscription: it hears what
    was published once, before it. `refresh` is to be called now and then.
    """

    def __init__(
        self,
        node: Node,
        message_type: Any,
        topic: str,
        callback: Callable[[Any], None],
        depth: int = 1,
        reliability: str = "auto",
    ) -> None:
        self.topic = node.resolve_topic_name(topic)
        self._node = node
        self._type = message_type
        self._callback = callback
        self._depth = depth
        self._reliability = reliability
        self._subscription: Any = None
        self._is_reliable = reliability == "reliable"
        self._is_latched = False
        # While one subscription takes over from another both deliver: (old one, since when).
        self._retiring: tuple[Any, float] | None = None
        self._recent_stamps: deque[tuple[int, int]] = deque(maxlen=8)
        infos = node.get_publishers_info_by_topic(self.topic)
        self._is_reliable, self._is_latched = self._wanted_qos(infos)
        self._subscribe()

    def refresh(self) -> str | None:
        """Adapt to the present publishers; return why nothing can come, if so."""
        infos = self._node.get_publishers_info_by_topic(self.topic)
        is_overlap_over = (
            self._retiring is not None and time.monotonic() - self._retiring[1] > _OVERLAP_S
        )
        if is_overlap_over and (not infos or describe_subscription(self._subscription) != JOINING):
            self._retire()
        if not infos:
            return f"nobody publishes {self.topic}: start the camera or remap the topic"
        wrong = [info for info in infos if info.topic_type != self._type_name()]
        if len(wrong) == len(infos):
            return (
                f"{self.topic} carries {wrong[0].topic_type}, not {self._type_name()}: "
                "set the transport parameter or remap the topic"
            )
        wanted = self._wanted_qos(infos)
        if wanted != (self._is_reliable, self._is_latched) and self._retiring is None:
            self._is_reliable, self._is_latched = wanted
            self._subscribe()
        if self._reliability == "reliable" and not _are_reliable(infos):
            return (
                f"{self.topic} is published best effort, but is subscribed reliable: "
                "set the reliability parameter to auto"
            )
        return None

    @property
    def state(self) -> str:
        """`JOINING` while messages may be lost or come by two ways, then the reliability."""
        wanted = self._wanted_qos(self._node.get_publishers_info_by_topic(self.topic))
        is_changing = self._retiring is not None or wanted != (self._is_reliable, self._is_latched)
        return JOINING if is_changing else describe_subscription(self._subscription)

    def destroy(self) -> None:
        """End the subscription."""
        self._retire()
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None

    def _wanted_qos(self, infos: Sequence[Any]) -> tuple[bool, bool]:
        """Return whether to subscribe reliable, and whether transient local.

        Args:
            infos: Of the present publishers.
        """
        are_reliable = _are_reliable(infos)
        is_reliable = are_reliable if self._reliability == "auto" else self._is_reliable
        are_latched = all(
            info.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL for info in infos
        )
        return is_reliable, is_reliable and are_reliable and are_latched

    def _type_name(self) -> str:
        package, _, _ = self._type.__module__.partition(".")
        return f"{package}/msg/{self._type.__name__}"

    def _subscribe(self) -> None:
        """Subscribe anew; the old one stays until the publishers have found the new one."""
        profile = QoSProfile(
            history=HistoryPolicy.KEEP_LAST,
            depth=self._depth,
            reliability=(
                ReliabilityPolicy.RELIABLE if self._is_reliable else ReliabilityPolicy.BEST_EFFORT
            ),
            durability=(
                DurabilityPolicy.TRANSIENT_LOCAL if self._is_latched else DurabilityPolicy.VOLATILE
            ),
        )
        if self._subscription is not None:
            self._retiring = (self._subscription, time.monotonic())
        self._subscription = self._node.create_subscription(
            self._type, self.topic, self._on_message, profile
        )

    def _retire(self) -> None:
        if self._retiring is not None:
            self._node.destroy_subscription(self._retiring[0])
            self._retiring = None

    def _on_message(self, message: Any) -> None:
        stamp = (message.header.stamp.sec, message.header.stamp.nanosec)
        if self._retiring is not None and stamp in self._recent_stamps:
            return
        self._recent_stamps.append(stamp)
        self._callback(message)


def _are_reliable(infos: Sequence[Any]) -> bool:
    return bool(infos) and all(
        info.qos_profile.reliability == ReliabilityPolicy.RELIABLE for info in infos
    )


def transport_topic(node: Node, topic: str, transport: str) -> str:
    """Return the topic of an image transport: the remapped base topic, then /transport.

    A remapping of the full name (`image/compressed:=...`) wins.
    """
    if transport == "raw":
        return str(node.resolve_topic_name(topic))
    full = f"{topic}/{transport}"
    resolved = str(node.resolve_topic_name(full))
    if resolved != str(node.resolve_topic_name(full, only_expand=True)):
        return resolved
    return f"{node.resolve_topic_name(topic)}/{transport}"
