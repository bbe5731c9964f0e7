# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Which publishers and subscriptions have found each other; nodes say it in /diagnostics.

What is published before the middleware has joined the two ends is lost, also if both are reliable,
and the graph of nodes does not tell: it names whoever exists. Each end knows whom it has found, so
each of our nodes reports its own ends, and whoever needs a whole chain (`bag_player`) adds up.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

JOINING = "joining"  # a subscription that has not found its publishers yet, or is changing its QoS
RUNNING = "running"  # what a node says that has nothing to complain about

_HEARD_BY, _HEARS, _WAITING = "subscribers of ", "listens to ", "waiting"


@dataclass(frozen=True)
class NodeReport:
    """What a node says of itself in /diagnostics.

    Attributes:
        name: Full name, with the leading slash.
        heard_by: Topic it publishes -> subscriptions that this publisher has found.
        hears: Topic it subscribes to -> `JOINING`, reliable or best_effort.
        num_waiting: Frames it has in hand.
        problem: What is wrong, as one sentence; empty: nothing.
    """

    name: str
    heard_by: Mapping[str, int]
    hears: Mapping[str, str]
    num_waiting: int
    problem: str = ""


def describe_links(
    publishers: Iterable[Any], hears: Mapping[str, str], num_waiting: int
) -> dict[str, str]:
    """Return the key-value pairs of a node's ends; `read_report` reads them."""
    return {
        _WAITING: str(num_waiting),
        **{f"{_HEARD_BY}{p.topic_name}": str(p.get_subscription_count()) for p in publishers},
        **{f"{_HEARS}{topic}": how for topic, how in hears.items()},
    }


def describe_subscription(subscription: Any) -> str:
    """Return how a subscription hears: `JOINING` before it has found a publisher, or reliability.

    rclpy of Humble cannot tell what a subscription has found; there it is never `JOINING`.
    """
    count = getattr(subscription, "get_publisher_count", None)
    if count is not None and not count():
        return JOINING
    return str(subscription.qos_profile.reliability.name).lower()


def read_report(status: Any) -> NodeReport | None:
    """Return what a DiagnosticStatus says; None if it is not one of our nodes."""
    values = {item.key: item.value for item in status.values}
    if _WAITING not in values:
        return None

    def pick(prefix: str) -> dict[str, str]:
        return {k.removeprefix(prefix): v for k, v in values.items() if k.startswith(prefix)}

    return NodeReport(
        name="/" + status.name.lstrip("/"),
        heard_by={topic: int(count) for topic, count in pick(_HEARD_BY).items()},
        hears=pick(_HEARS),
        num_waiting=int(values[_WAITING]),
        problem="" if status.message == RUNNING else status.message,
    )


def find_gaps(
    reports: Collection[NodeReport],
    own_publishers: Mapping[str, int],
    own_subscriptions: Collection[str],
    needed: Collection[str],
    own_name: str,
) -> list[str]:
    """Return one sentence for each pair of ends that a message could get lost between.

    Args:
        reports: Of all nodes of the chain.
        own_publishers: Topic we publish -> subscriptions that our publisher has found.
        own_subscriptions: Topics we subscribe to.
        needed: Topics that some node has to publish.
        own_name: What to call us.
    """
    gaps = []
    writers = [(own_name, own_publishers), *((r.name, r.heard_by) for r in reports)]
    published = {topic for _, heard_by in writers for topic in heard_by}
    for writer, heard_by in writers:
        for topic, found in heard_by.items():
            readers = [report.name for report in reports if topic in report.hears]
            if writer != own_name and topic in own_subscriptions:
                readers.append(own_name)
            if found < len(readers):
                who = " and ".join(readers)
                gaps.append(
                    f"{writer} has found {found} of {len(readers)} subscribers of {topic} ({who})"
                )
    for topic in own_publishers:
        if not any(topic in report.hears for report in reports):
            gaps.append(f"nobody subscribes to {topic}")
    gaps += [f"nobody publishes {topic}" for topic in needed if topic not in published]
    for report in reports:
        gaps += [
            f"{report.name} has not joined {topic}"
            for topic, how in report.hears.items()
            if how == JOINING and topic in published
        ]
    return gaps
