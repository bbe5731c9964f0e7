# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Who has found whom: added up here, and as real nodes report it."""

from __future__ import annotations

import dataclasses

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")
pytest.importorskip("superpoint_ros.msg", reason="needs the built messages: pip install .")

from diagnostic_msgs.msg import DiagnosticArray
from sensor_msgs.msg import Image

from superpoint_ros.msg import Features
from superpoint_ros.ros.links import JOINING, NodeReport, find_gaps, read_report

pytestmark = pytest.mark.ros

IMAGE, INFO, FEATURES, STATUS = "/camera/image", "/camera/info", "/sp/features", "/sp/status"
EXTRACTOR = NodeReport("/sp/f", {FEATURES: 2}, {IMAGE: "reliable"}, 0)
TRACKER = NodeReport("/sp/t", {STATUS: 1}, {INFO: "reliable", FEATURES: "reliable"}, 0)


def gaps(*reports, image=1, info=1):
    return find_gaps(
        reports, {IMAGE: image, INFO: info}, [FEATURES, STATUS], [FEATURES, STATUS], "/player"
    )


def test_a_whole_chain_has_no_gap():
    assert gaps(EXTRACTOR, TRACKER) == []
    # Somebody else listens too.
    assert gaps(dataclasses.replace(EXTRACTOR, heard_by={FEATURES: 3}), TRACKER, image=2) == []


def test_what_nobody_has_is_named():
    assert gaps() == [
        f"nobody subscribes to {IMAGE}",
        f"nobody subscribes to {INFO}",
        f"nobody publishes {FEATURES}",
        f"nobody publishes {STATUS}",
    ]
    assert gaps(EXTRACTOR) == [f"nobody subscribes to {INFO}", f"nobody publishes {STATUS}"]


def test_both_ends_of_a_pair_have_to_know_each_other():
    """The features node has found the player, but not the tracker."""
    half = dataclasses.replace(EXTRACTOR, heard_by={FEATURES: 1})
    assert gaps(half, TRACKER) == [
        f"/sp/f has found 1 of 2 subscribers of {FEATURES} (/sp/t and /player)"
    ]
    deaf = dataclasses.replace(TRACKER, hears={**TRACKER.hears, FEATURES: JOINING})
    assert gaps(EXTRACTOR, deaf) == [f"/sp/t has not joined {FEATURES}"]
    assert gaps(EXTRACTOR, TRACKER, info=0) == [
        f"/player has found 0 of 1 subscribers of {INFO} (/sp/t)"
    ]
    unheard = dataclasses.replace(TRACKER, heard_by={STATUS: 0})
    assert gaps(EXTRACTOR, unheard) == [
        f"/sp/t has found 0 of 1 subscribers of {STATUS} (/player)"
    ]


def test_topics_that_nobody_plays_are_no_gap():
    tracker = dataclasses.replace(TRACKER, hears={**TRACKER.hears, "/camera/depth": JOINING})
    assert gaps(EXTRACTOR, tracker) == []


def test_nodes_report_what_their_ends_have_found(graph, tiny_weights):
    reports = {}

    def take(message):
        for status in message.status:
            report = read_report(status)
            reports[report.name.rpartition("/")[2]] = report

    graph.node.create_subscription(DiagnosticArray, "/diagnostics", take, 10)
    graph.start("features_node", "-p", f"weights:={tiny_weights}")
    features = "/superpoint/features"
    assert graph.wait(lambda: "features_node" in reports)
    assert reports["features_node"].heard_by == {features: 0}
    assert reports["features_node"].hears == {"/superpoint/image": JOINING}

    graph.start("tracker_node", "-p", "odometry.mode:=homography")
    assert graph.wait(lambda: reports["features_node"].heard_by == {features: 1})
    assert graph.wait(
        lambda: "tracker_node" in reports and reports["tracker_node"].hears[features] != JOINING
    )
    assert reports["tracker_node"].hears[features] == "reliable"
    messages = graph.listen(Features, features)
    images = graph.publisher(Image, "/superpoint/image")
    # It was subscribed best effort: what comes by both ways meanwhile must not count as joined.
    assert graph.wait(lambda: reports["features_node"].hears["/superpoint/image"] == "reliable")
    assert graph.wait(lambda: reports["features_node"].heard_by == {features: 2})
    assert images.get_subscription_count() == 1
    assert not messages
