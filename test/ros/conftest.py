# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Nodes as processes over real DDS, each test on a domain of its own; weights that load fast."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import time

import pytest

PATIENCE_S = 120.0  # ends a test that hangs; a slow computer is no failure
ANSWER_S = 20.0  # until a service is asked again
_counter = itertools.count(os.getpid())


def next_domain() -> int:
    """Return a ROS domain for one test; no other worker of pytest-xdist gets it.

    Below 20: `superpoint replay` takes those above.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    share = max(1, 19 // workers)
    return 1 + (worker * share + next(_counter) % share) % 19


class Graph:
    """One domain: node processes, and a probe node in this process."""

    def __init__(self, folder):
        import rclpy
        from rclpy.executors import SingleThreadedExecutor

        self.domain = next_domain()
        self.environment = {
            **os.environ,
            "ROS_DOMAIN_ID": str(self.domain),
            "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
            "ROS_LOG_DIR": str(folder / "log"),
            "OMP_NUM_THREADS": "1",
        }
        self.folder = folder
        self.processes = []
        self.context = rclpy.Context()
        before = os.environ.get("ROS_AUTOMATIC_DISCOVERY_RANGE")
        os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
        rclpy.init(context=self.context, domain_id=self.domain)
        self.node = rclpy.create_node("probe", context=self.context)
        if before is None:
            del os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"]
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.reports = {}  # node -> what it says of its ends
        self.topics = []  # that the probe listens to

    def start(self, module, *arguments):
        """Start `python -m superpoint_ros.ros.<module> --ros-args ...`; return the process."""
        output = (self.folder / f"{module}_{len(self.processes)}.txt").open("w+")
        process = subprocess.Popen(
            [sys.executable, "-m", f"superpoint_ros.ros.{module}", "--ros-args", *arguments],
            env=self.environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        process.output = output
        self.processes.append(process)
        return process

    @staticmethod
    def output_of(process):
        process.output.seek(0)
        return process.output.read()

    def listen(self, message_type, topic, depth=50):
        """Return the growing list of what comes on a topic."""
        from rclpy.qos import QoSProfile

        messages = []
        self.topics.append(topic)
        self.node.create_subscription(
            message_type, topic, messages.append, QoSProfile(depth=depth)
        )
        return messages

    def publisher(self, message_type, topic, reliable=True):
        from rclpy.qos import QoSProfile, qos_profile_sensor_data

        profile = QoSProfile(depth=10) if reliable else qos_profile_sensor_data
        return self.node.create_publisher(message_type, topic, profile)

    def wait_until_joined(self, *publishers, needed=("/superpoint/status",)):
        """Wait until these publishers, the nodes and the probe's ears have found each other."""
        from diagnostic_msgs.msg import DiagnosticArray

        from superpoint_ros.ros.links import find_gaps, read_report

        def take(message):
            for report in map(read_report, message.status):
                self.reports[report.name] = report

        def gaps():
            found = {p.topic_name: p.get_subscription_count() for p in publishers}
            return find_gaps(self.reports.values(), found, self.topics, needed, "/probe")

        if not self.reports:
            self.node.create_subscription(DiagnosticArray, "/diagnostics", take, 10)
        assert self.wait(lambda: not gaps(), PATIENCE_S), gaps()

    def wait(self, condition, timeout=PATIENCE_S, every=None):
        """Spin until the condition holds; call `every` meanwhile. Return whether it came true."""
        end = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > end:
                return False
            if any(p.poll() not in (None, 0) for p in self.processes):
                outputs = "\n".join(self.output_of(p) for p in self.processes)
                raise AssertionError(f"a node died:\n{outputs}")
            if every is not None:
                every()
            self.executor.spin_once(timeout_sec=0.02)
        return True

    def call(self, service_type, name, request):
        client = self.node.create_client(service_type, name)
        assert self.wait(client.service_is_ready), f"{name} is not there"
        # Fast DDS drops an answer whose reader the server has not found within 100 ms: ask again
        for _ in range(int(PATIENCE_S / ANSWER_S)):
            future = client.call_async(request)
            if self.wait(future.done, ANSWER_S):
                return future.result()
        raise AssertionError(f"{name} does not answer")

    def interrupt(self, process, times=1, gap=0.1):
        """Send SIGINT and return exit code and output."""
        for _ in range(times):
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGINT)
            time.sleep(gap if times > 1 else 0.0)
        return process.wait(PATIENCE_S), self.output_of(process)

    def close(self):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait()
            process.output.close()
        self.executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()


@pytest.fixture
def domain() -> int:
    """A ROS domain that no other test of this moment uses."""
    return next_domain()


@pytest.fixture
def context(monkeypatch, domain):
    """For nodes in this process."""
    import rclpy

    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=domain)
    yield context
    context.try_shutdown()


@pytest.fixture
def make_in_process(context):
    """Return a function that makes a node of this type in this process with these parameters."""
    from rclpy.parameter import Parameter

    nodes = []

    def make(node_type, parameters):
        overrides = [Parameter(name, value=value) for name, value in parameters.items()]
        nodes.append(node_type(context=context, parameter_overrides=overrides))
        return nodes[-1]

    yield make
    for node in nodes:
        node.stop_work()
        node.destroy_node()


@pytest.fixture
def make_tracker(make_in_process):
    """Return a function that makes a tracker node in this process with these parameters."""
    from superpoint_ros.ros.tracker_node import TrackerNode

    defaults = {"odometry.mode": "homography", "queue_size": 30}
    return lambda **parameters: make_in_process(TrackerNode, {**defaults, **parameters})


@pytest.fixture
def graph(tmp_path):
    pytest.importorskip("rclpy", reason="needs ROS 2")
    pytest.importorskip("superpoint_ros.msg", reason="needs the built messages: pip install .")
    graph = Graph(tmp_path)
    yield graph
    graph.close()


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory):
    """A narrow network with random weights: finds keypoints, and starts in a moment."""
    import torch

    from superpoint_ros.network.superpoint import NetworkConfig, SuperPoint
    from superpoint_ros.network.weights import ModelCard, save_weights

    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    torch.manual_seed(1)
    config = NetworkConfig(encoder_channels=(8, 8, 16, 16), head_channels=16, descriptor_dim=32)
    save_weights(path, SuperPoint(config), ModelCard(name="tiny"))
    return path
