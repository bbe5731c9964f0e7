# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The transport benchmark in small: nothing is lost between two processes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")
pytest.importorskip("superpoint_ros.msg", reason="needs the built messages: pip install .")

from superpoint_ros.ros import transport_benchmark

pytestmark = pytest.mark.ros


def test_nothing_is_lost(tmp_path, domain):
    output = tmp_path / "result.json"
    command = [sys.executable, "-m", "superpoint_ros.ros.transport_benchmark"]
    options = ["--seconds", "2", "--hz", "20", "--domain", str(domain)]
    done = subprocess.run(
        [*command, *options, "--json", str(output)], capture_output=True, text=True, timeout=90
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(output.read_text())
    assert (result["sent"], result["received"], result["lost"]) == (40, 40, 0)
    assert result["publisher_memory"]["growth_mib"] < 20.0


def test_a_subscriber_that_dies_at_once_is_told(monkeypatch, capsys, domain):
    monkeypatch.setattr(transport_benchmark.sys, "executable", "/bin/false")
    for name in ("ROS_DOMAIN_ID", "ROS_AUTOMATIC_DISCOVERY_RANGE"):
        monkeypatch.setenv(name, "")  # set there, put back by the end of the test
    try:
        assert transport_benchmark.main(["--domain", str(domain), "--plain"]) == 1
    finally:
        transport_benchmark.rclpy.try_shutdown()
    assert capsys.readouterr().err == "the subscriber failed, exit code 1\n"
