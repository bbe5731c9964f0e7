# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
import dataclasses

import pytest

from superpoint_ros.config import ConfigError
from superpoint_ros.training.stage import LossConfig, TrainConfig, learning_rate_at


def test_settings_that_a_teacher_overrules_are_refused() -> None:
    loss = LossConfig(unmatched_weight=0.3)
    with pytest.raises(ConfigError, match=r"leave loss\.unmatched_weight at 1"):
        TrainConfig(source="photos", is_joint=True, is_distilled=True, loss=loss)


def test_the_rate_rises_stays_and_falls_to_zero(stage: TrainConfig) -> None:
    config = dataclasses.replace(stage, steps=100, warmup_steps=10, decay_share=0.5)
    rates = [learning_rate_at(step, config) / config.learning_rate for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[10:51] == pytest.approx([1.0] * 41)
    assert rates[75] == pytest.approx(0.5)
    assert rates[99] == pytest.approx(0.02)
