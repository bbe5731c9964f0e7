# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What every node says of its life cycle, and of mistakes that rclpy keeps to itself."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")
pytest.importorskip("superpoint_ros.msg", reason="needs the built messages: pip install .")

import rclpy
from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.lifecycle import TransitionCallbackReturn

from superpoint_ros.config import ConfigError
from superpoint_ros.ros import runner, vo_node
from superpoint_ros.ros.runner import ManagedNode
from superpoint_ros.ros.tracker_node import TrackerNode

pytestmark = pytest.mark.ros


def fail():
    raise RuntimeError("a bug")


@pytest.mark.parametrize("autostart", [True, False])
def test_a_transition_that_is_not_legal_is_refused(make_tracker, capfd, autostart):
    node = make_tracker(autostart=autostart)
    node.start()
    for transition in (
        Transition(id=Transition.TRANSITION_CONFIGURE),
        Transition(id=Transition.TRANSITION_ACTIVATE),
        Transition(label="configure"),
    ):
        request = ChangeState.Request(transition=transition)
        answer = node._service_change_state.callback(request, ChangeState.Response())
        assert not answer.success
    assert node.is_active
    lines = [line for line in capfd.readouterr().err.splitlines() if "is refused" in line]
    assert "transition 1 is refused in state active" in lines[0]
    assert all(("set autostart: false" in line) == autostart for line in lines)
    request = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_DEACTIVATE))
    assert node._service_change_state.callback(request, ChangeState.Response()).success
    assert not node.is_active


def test_a_bug_in_a_transition_shows_its_traceback(make_tracker, monkeypatch, capfd):
    """Rclpy takes what a transition raises for an answer and says nothing of it."""
    node = make_tracker(autostart=False)

    with monkeypatch.context() as patch:
        patch.setattr(node, "_make_outputs", fail)
        assert node.trigger_configure() == TransitionCallbackReturn.ERROR
    err = capfd.readouterr().err
    assert "cannot be configured" in err
    assert "RuntimeError: a bug" in err
    assert "in set_up" in err
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    with monkeypatch.context() as patch:
        patch.setattr(node, "tear_down", fail)
        assert node.trigger_cleanup() == TransitionCallbackReturn.ERROR
    err = capfd.readouterr().err
    assert "cannot be cleaned up" in err
    assert "RuntimeError: a bug" in err


def test_what_was_wrong_is_forgotten_with_a_cleanup(make_tracker):
    node = make_tracker(autostart=False)
    node.trigger_configure()
    node.problems.report("calibration", "all zeros")
    assert node.trigger_cleanup() == TransitionCallbackReturn.SUCCESS
    assert node.problems.sentences() == {}


def test_a_bug_while_starting_is_told_once(make_tracker, monkeypatch, capfd):
    node = make_tracker()

    monkeypatch.setattr(node, "_make_outputs", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        node.start()
    assert "a bug" not in capfd.readouterr().err


@pytest.mark.parametrize("name", ["camera_in_base", "odometry.stereo.T_left_right"])
def test_an_empty_list_in_a_parameter_file_is_named(tmp_path, monkeypatch, domain, name):
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    file = tmp_path / "mine.yaml"
    file.write_text(f"/**:\n  ros__parameters:\n    publish_tf: false\n    {name}: []\n")
    context = rclpy.Context()
    arguments = ["--ros-args", "--params-file", str(file)]
    rclpy.init(args=arguments, context=context, domain_id=domain)
    try:
        with pytest.raises(ConfigError) as error:
            TrackerNode(context=context)
    finally:
        context.try_shutdown()
    assert str(error.value).startswith(f"tracker_node: parameter {name}: an empty list []")
    assert "leave the line out" in str(error.value)


def test_an_idle_node_says_so(make_tracker):
    node = make_tracker(autostart=False)
    sent = []
    node.trigger_configure()
    publisher = node._diagnostics._publisher
    node._diagnostics._publisher = type(
        "Ear", (), {"get_subscription_count": lambda _: 1, "publish": lambda _, m: sent.append(m)}
    )()

    def say():
        node._diagnostics.publish()
        return sent[-1].status[0].level, sent[-1].status[0].message

    warn = DiagnosticStatus.WARN
    inactive = "inactive: ros2 lifecycle set /superpoint/tracker_node activate"
    assert say() == (warn, inactive)
    node.trigger_activate()
    assert say() == (DiagnosticStatus.OK, "running")
    node._on_pause(None, None)
    paused = "paused: ros2 service call /superpoint/resume_odom std_srvs/srv/Empty"
    assert say() == (warn, paused)
    node.problems.report("tf", "no TF")
    assert say() == (warn, f"{paused}; no TF")
    node.problems.clear("tf")
    node._on_resume(None, None)
    assert say() == (DiagnosticStatus.OK, "running")
    node.trigger_deactivate()
    assert say() == (warn, inactive)
    node._diagnostics._publisher = publisher


def test_both_nodes_under_one_name_are_refused(monkeypatch, domain, capfd):
    monkeypatch.setenv("ROS_DOMAIN_ID", str(domain))
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    assert vo_node.main(["--ros-args", "-r", "__node:=front_vo"]) == 1
    err = capfd.readouterr().err
    assert "vo_node: both nodes are named front_vo: do not name the process" in err
    assert "Traceback" not in err


def test_no_node_counts_the_time_in_which_the_other_starts(monkeypatch, domain):
    """It would say that no /clock comes, though nobody has listened yet."""
    monkeypatch.setenv("ROS_DOMAIN_ID", str(domain))
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    started = []

    def start(node):
        node.active_since = 0.0
        started.append(node)

    def spin_once(executor, timeout_sec):
        raise ConfigError("enough seen")

    monkeypatch.setattr(ManagedNode, "start", start)
    monkeypatch.setattr(runner.SingleThreadedExecutor, "spin_once", spin_once)
    assert vo_node.main([]) == 1
    assert len(started) == 2
    assert all(node.active_since > 0.0 for node in started)
