# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What reports say about this computer."""

from __future__ import annotations

import re

from superpoint_ros.machine import describe_machine, find_commit


def test_the_machine_has_a_name_and_cores_and_the_commit_is_one_or_none() -> None:
    assert re.match(r"\S.*, \d+ cores?(, \S.*)?$", describe_machine())
    assert re.fullmatch(r"[0-9a-f]{40}|", find_commit())
