# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The graph's processes: started together, ended together, and the exit code says how."""

import dataclasses
import os
import signal
import subprocess
import sys
import time

import pytest

from superpoint_ros.cli import run as cli_run
from superpoint_ros.cli.main import main
from superpoint_ros.graph import NodeSpec, vo_graph

# One write: several children share a pipe.
WAITS = "import os, time; os.write(1, b'up\\n'); time.sleep(60)"
QUIET = (
    "import os, signal, sys, time; signal.signal(signal.SIGINT, lambda *_: sys.exit(0)); "
    "os.write(1, b'up\\n'); time.sleep(60)"
)
STUBBORN = (
    "import os, signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); "
    "signal.signal(signal.SIGTERM, signal.SIG_IGN); os.write(1, b'up\\n'); time.sleep(60)"
)


@dataclasses.dataclass(frozen=True)
class Script(NodeSpec):
    """A process that is no ROS node."""

    code: str = ""

    def command(self, overrides_file=None):
        return [sys.executable, "-c", self.code]


def script(name, code):
    spec = vo_graph("mono")[0]
    values = {field.name: getattr(spec, field.name) for field in dataclasses.fields(NodeSpec)}
    return Script(**{**values, "executable": name}, code=code)


@pytest.fixture(autouse=True)
def no_ros_needed(monkeypatch):
    monkeypatch.setattr(cli_run, "check_ros", lambda: None)


def test_first_to_end_is_named_and_the_rest_is_ended():
    graph = [script("dies", "raise SystemExit(3)"), script("stays", WAITS)]
    with cli_run.GraphProcesses(graph, output=subprocess.DEVNULL) as processes:
        assert processes.wait() == ("dies", 3)
    assert all(process.poll() is not None for process in processes.processes)


def test_children_get_the_whole_environment_and_the_dds_profile(tmp_path, monkeypatch):
    names = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
    for name in names:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SUPERPOINT_TEST_WORD", "word")
    code = (
        "import os; print(os.environ['SUPERPOINT_TEST_WORD'], os.environ['EXTRA'],"
        f"next(os.environ[name] for name in {names} if name in os.environ))"
    )
    out = tmp_path / "out.txt"
    with (
        out.open("wb") as file,
        cli_run.GraphProcesses([script("one", code)], {"EXTRA": "more"}, file) as processes,
    ):
        assert processes.wait() == ("one", 0)
    assert out.read_text().startswith("word more ")
    assert out.read_text().strip().endswith("fastdds.xml")


def test_stragglers_are_killed_and_no_file_is_left():
    with cli_run.GraphProcesses([script("stubborn", STUBBORN)], output=subprocess.PIPE) as group:
        group.processes[0].stdout.readline()
        files = list(group._files)
        assert all(file.exists() for file in files)
        cli_run_grace, cli_run._SIGTERM_GRACE_S = cli_run._SIGTERM_GRACE_S, 0.2
        try:
            assert group.stop(grace_s=0.2) == {"stubborn": -signal.SIGKILL}
        finally:
            cli_run._SIGTERM_GRACE_S = cli_run_grace
    assert not any(file.exists() for file in files)


@pytest.mark.parametrize(
    ("codes", "number", "expected"),
    [((QUIET, QUIET), signal.SIGINT, 0), ((QUIET, WAITS), signal.SIGTERM, 0)],
)
def test_run_ends_with_0_on_a_signal(tmp_path, codes, number, expected):
    runner = tmp_path / "runner.py"
    runner.write_text(
        "import sys\n"
        f"sys.path.insert(0, {os.path.dirname(__file__)!r})\n"  # noqa: PTH120
        "import test_run as t\n"
        "t.cli_run.check_ros = lambda: None\n"
        f"graph = [t.script('a', {codes[0]!r}), t.script('b', {codes[1]!r})]\n"
        "t.cli_run.graph_from_arguments = lambda args: graph\n"
        "sys.exit(t.main(['run']))\n"
    )
    process = subprocess.Popen([sys.executable, str(runner)], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"up\n"
    assert process.stdout.readline() == b"up\n"
    start = time.monotonic()
    process.send_signal(number)
    assert process.wait(30) == expected
    assert time.monotonic() - start < 10  # at once, but this machine may be busy
    process.stdout.close()


def test_run_returns_the_code_of_the_node_that_died(monkeypatch, capfd):
    graph = [script("dies", "raise SystemExit(3)"), script("stays", WAITS)]
    monkeypatch.setattr(cli_run, "graph_from_arguments", lambda args: graph)
    assert main(["run"]) == 3
    assert "dies ended (exit code 3)" in capfd.readouterr().err


def test_print_shows_the_commands(capsys):
    assert main(["run", "--print", "--sensor", "rgbd", "--image", "/a/image/compressed"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert "superpoint_ros.ros.features_node" in first
    assert "image_transport:=compressed" in first
    assert "depth/image:=/camera/depth/image_raw" in second


def test_param_goes_to_its_node_as_yaml():
    parsed = cli_run.parse_parameters(
        ["features_node:keypoints.nms_radius:=7", "tracker_node:publish_tf:=false"]
    )
    assert parsed == {
        "features_node": {"keypoints.nms_radius": 7},
        "tracker_node": {"publish_tf": False},
    }


@pytest.mark.parametrize("value", ["", "''", '""', " "])
def test_an_empty_param_is_an_empty_text(value):
    """A shell takes the quotes of `base_frame:=''` away."""
    parsed = cli_run.parse_parameters([f"tracker_node:base_frame:={value}"])
    assert parsed == {"tracker_node": {"base_frame": ""}}


@pytest.mark.parametrize("value", ["null", "~"])
def test_null_is_no_value(value, capsys):
    assert main(["run", "--print", "--param", f"tracker_node:base_frame:={value}"]) == 2
    err = capsys.readouterr().err
    assert f"tracker_node:base_frame:={value}: ROS has no null" in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("text", ["a:b:=1", "features_node:x", "nms_radius:=3"])
def test_malformed_param_is_one_line(text, capsys):
    assert main(["run", "--param", text]) == 2
    assert text in capsys.readouterr().err
