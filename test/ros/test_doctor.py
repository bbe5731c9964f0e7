# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`superpoint doctor` on nodes that work, lack something, or are not there."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")
pytest.importorskip("superpoint_ros.msg", reason="needs the built messages: pip install .")

from sensor_msgs.msg import Image

from superpoint_ros.cli.doctor import describe, is_well
from superpoint_ros.ros.conversions import image_to_message, make_header

pytestmark = pytest.mark.ros

WORKS = {
    "received": "90",
    "received_hz": "30.0",
    "published": "80",
    "published_hz": "29.0",
    "dropped": "1",
    "bad": "0",
    "total_ms_p50": "21.0",
    "total_ms_p99": "32.0",
}


def heard(nodes=(), **more):
    values = {"domain": 7, "rmw": "rmw_x", "range": "", "gaps": [], "twins": [], "cameras": {}}
    return {**values, "nodes": list(nodes), **more}


def node(name, problem="", values=WORKS):
    return {"name": name, "problem": problem, "values": dict(values)}


def examine(graph, *arguments, every=None):
    """Run the command, calling `every` meanwhile; return exit code, output and JSON."""
    out = graph.folder / "doctor.json"
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "superpoint_ros.cli.main",
            "doctor",
            "--json",
            str(out),
            *arguments,
        ],
        env=graph.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert graph.wait(lambda: process.poll() is not None, every=every)
    return process.returncode, process.stdout.read(), json.loads(out.read_text())


def test_without_nodes_it_says_how_to_start_some_on_the_camera_there_is(graph):
    graph.publisher(Image, "/depth/image")
    graph.publisher(Image, "/front/image_raw")
    code, text, found = examine(graph, "--seconds", "3")
    assert code == 1
    assert f"no node of superpoint_ros answers on ROS domain {graph.domain} (" in text
    assert "superpoint run --image /front/image_raw\n" in text
    assert "Images are published on /depth/image, /front/image_raw." in text
    assert found["cameras"] == {"/depth/image": 1, "/front/image_raw": 1}


def test_a_node_without_a_camera_is_told_by_its_own_sentence_and_one_at_work_is_well(
    graph, tiny_weights
):
    remap = ("-r", "image:=/front/image_raw")
    graph.start("features_node", "-p", f"weights:={tiny_weights}", *remap)
    from superpoint_ros.msg import Features

    name = "/superpoint/features_node"
    features = graph.listen(Features, "/superpoint/features")
    graph.wait_until_joined(needed=("/superpoint/features",))
    assert graph.wait(lambda: graph.reports[name].problem)  # it gives a camera some seconds
    code, text, _ = examine(graph, "--seconds", "6")
    assert code == 1
    assert f"{name}: nobody publishes /front/image_raw" in text
    assert "Nobody publishes images: start the camera's driver." in text

    camera = graph.publisher(Image, "/front/image_raw")

    def publish():
        header = make_header(time.time_ns(), "camera")
        camera.publish(image_to_message(np.zeros((48, 80), np.uint8), header))

    assert graph.wait(lambda: features, every=publish)
    code, text, found = examine(graph, "--seconds", "6", every=publish)
    assert code == 0, text
    assert f"{name}: works\n    received " in text
    assert [each["name"] for each in found["nodes"]] == [name]


def test_rates_latency_and_only_the_losses_there_are():
    lines = describe(heard([node("/superpoint/features_node")]))
    assert lines == [
        "/superpoint/features_node: works",
        "    received 30.0 Hz, published 29.0 Hz, 21.0 ms a frame (p99 32.0), 1 dropped",
    ]


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"gaps": ["/a has not joined /b"]}, "/a has not joined /b"),
        ({"twins": ["/a"]}, "several nodes are called /a: give each a namespace of its own"),
    ],
)
def test_ends_that_have_not_met_and_twins_are_no_good_state(more, sentence):
    found = heard([node("/a")], **more)
    assert not is_well(found)
    assert sentence in describe(found)
    assert is_well(heard([node("/a")]))


def test_two_nodes_of_one_name_are_named(graph, tiny_weights):
    for _ in range(2):
        graph.start("features_node", "-p", f"weights:={tiny_weights}")
    graph.wait_until_joined(needed=("/superpoint/features",))
    code, text, found = examine(graph, "--seconds", "6")
    assert code == 1
    assert found["twins"] == ["/superpoint/features_node"]
    assert "several nodes are called /superpoint/features_node" in text


def test_a_time_that_cannot_be_is_refused_in_one_line(capsys):
    from superpoint_ros.cli.main import main

    assert main(["doctor", "--seconds", "0"]) == 2
    assert (
        capsys.readouterr().err == "superpoint: --seconds: must be above 0, and at most an hour\n"
    )
