# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from superpoint_ros.config import ConfigError
from superpoint_ros.evaluation.baselines import config_for, equal_similarity
from superpoint_ros.evaluation.conditions import Condition, make_curve
from superpoint_ros.features.peers import LEARNED_DESCRIBED
from superpoint_ros.odometry.visual_odometry import OdometryConfig


def test_drops_leave_out_what_their_names_say() -> None:
    kept = {c.name: [i for i in range(2000) if c.keeps(i)] for c in make_curve("drops")}
    assert kept["every 3rd"][:4] == [0, 3, 6, 9]
    assert len(kept["every 2nd"]) == 1000
    random = kept["10 % lost"]
    assert 1740 < len(random) < 1860
    assert random == [i for i in range(2000) if make_curve("drops")[0].keeps(i)]
    assert random != [i for i in range(2000) if make_curve("drops", seed=1)[0].keeps(i)]
    values = [condition.value for condition in make_curve("drops")]
    assert values == pytest.approx([0.1, 1 / 2, 2 / 3, 4 / 5])
    with pytest.raises(ConfigError, match="fog: known: drops, exposure"):
        make_curve("fog")


def test_exposure_multiplies_light_clips_and_adds_noise() -> None:
    image = np.repeat(np.array([[10, 60, 128, 255]], np.uint8), 4000, axis=0)
    for condition in make_curve("exposure"):
        changed = condition.change_image(image, 7).astype(float)
        light = condition.gain * (image[0] / 255.0) ** 2.2
        expected = 255.0 * np.minimum(light, 1.0) ** (1 / 2.2)
        # Where the noise is small against the level the mean is the expected grey value.
        is_bright = light > 0.01
        np.testing.assert_allclose(changed.mean(0)[is_bright], expected[is_bright], atol=1.5)
    dark, bright = make_curve("exposure")[0], make_curve("exposure")[-1]
    assert dark.gain == 1 / 16
    # 10,000 / 16 electrons for white: shot noise sqrt(625), read noise 10.
    white = dark.change_image(image, 7)[:, 3].astype(float)
    electrons = 10_000.0 * (white / 255.0) ** 2.2
    assert electrons.mean() == pytest.approx(625.0, rel=0.02)
    assert electrons.std() == pytest.approx(np.sqrt(625.0 + 100.0), rel=0.05)
    assert (bright.change_image(image, 7)[:, 2:].mean(0) > 250).all()
    # The same frame has the same noise; another frame, or the other camera, its own.
    np.testing.assert_array_equal(dark.change_image(image, 7), dark.change_image(image, 7))
    assert (dark.change_image(image, 7) != dark.change_image(image, 8)).any()
    assert (dark.change_image(image, 7) != dark.change_image(image, 7, camera=1)).any()
    assert Condition().change_image(image, 7) is image


def test_thresholds_follow_the_kind_of_descriptor() -> None:
    config = OdometryConfig(mode="stereo")
    assert config_for("superpoint", config) == config
    assert config_for("klt", config) == config
    orb = config_for("orb", config)
    assert orb.tracking.min_similarity == pytest.approx(0.45)
    assert orb.stereo.min_similarity == pytest.approx(0.51)
    assert (orb.tracking.max_ratio, orb.keyframes) == (config.tracking.max_ratio, config.keyframes)
    for kind in ("orb", "rootsift", *LEARNED_DESCRIBED):
        mapped = [equal_similarity(kind, cosine) for cosine in np.linspace(-1, 1, 41)]
        assert (np.diff(mapped) > 0).all()
