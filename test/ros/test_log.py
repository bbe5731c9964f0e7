# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A problem is said once, then seldom, and is gone when it is gone."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")

from superpoint_ros.ros.log import MAX_SENTENCES, Problems

pytestmark = pytest.mark.ros


class Log(list):
    warning = list.append


@pytest.fixture
def clock():
    return [0.0]


@pytest.fixture
def problems(clock):
    log = Log()
    problems = Problems(log, lambda: clock[0])
    problems.log = log
    return problems


def test_once_then_every_ten_seconds(problems, clock):
    for tick in range(301):
        clock[0] = tick / 30.0
        problems.report("image", "bad")
    assert problems.log == ["bad", "bad (299 more like this)"]


def test_another_sentence_is_news_but_not_without_end(problems):
    for number in range(100):
        problems.report("image", f"{number} bytes")
    assert len(problems.log) == MAX_SENTENCES
    problems.report("tf", "other")
    assert problems.log[-1] == "other"


def test_all_are_forgotten(problems):
    for _ in range(2):
        problems.report("a", "one")
    problems.clear_all()
    assert problems.sentences() == {}
    problems.report("a", "one")
    assert problems.log == ["one", "one"]  # news again


def test_present_problems(problems):
    problems.report("a", "one")
    problems.report("b", "two")
    problems.clear("a")
    problems.clear("a")
    assert problems.sentences() == {"b": "two"}
