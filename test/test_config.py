# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
from dataclasses import dataclass, field

import pytest

from superpoint_ros.config import (
    Config,
    ConfigError,
    change_settings,
    from_mapping,
    load_yaml,
    option,
    settings,
    to_mapping,
    unflatten,
)


@dataclass(frozen=True)
class Inner(Config):
    threshold: float = option(0.1, "Probability.", minimum=0.0, maximum=1.0, dynamic=True)
    weights: tuple[float, ...] = option((1.0, 2.0), "Weights.", minimum=0.0)


@dataclass(frozen=True)
class Outer(Config):
    inner: Inner = field(default_factory=lambda: Inner(threshold=0.3))
    count: int = option(3, "How many.", minimum=0)
    mode: str = option("mono", "Sensor.", choices=("mono", "rgbd"))
    enabled: bool = option(True, "Switch.")


def test_defaults_survive_the_round_trip():
    assert from_mapping(Outer, to_mapping(Outer())) == Outer()


def test_a_setting_is_changed_at_any_depth_and_checked():
    changed = change_settings(Outer(), "threshold", lambda value: 2.0 * value)
    assert changed == Outer(inner=Inner(threshold=0.6))
    with pytest.raises(ConfigError, match="above the maximum"):
        change_settings(Outer(), "threshold", lambda value: 9.0)


def test_an_integer_is_a_float_but_no_other_conversion_happens():
    assert from_mapping(Outer, {"inner": {"threshold": 1}}).inner.threshold == 1.0
    assert isinstance(from_mapping(Outer, {"inner": {"threshold": 1}}).inner.threshold, float)


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"inner": {"threshold": 2.0}}, "inner.threshold: 2.0 is above the maximum 1.0"),
        ({"inner": {"thresold": 0.2}}, "inner.thresold: unknown setting"),
        ({"inner": {"weights": [1.0, -1.0]}}, "inner.weights: -1.0 is below the minimum"),
        ({"inner": {"weights": "12"}}, "inner.weights: expected a list of float"),
        ({"inner": 3}, "inner: expected a mapping"),
        ({"count": 1.5}, "count: expected int, got float 1.5"),
        ({"count": True}, "count: expected int, got bool"),
        ({"enabled": 1}, "enabled: expected bool"),
        ({"mode": "stereo"}, "mode: 'stereo' is not one of mono, rgbd"),
        ({"inner": {"threshold": float("nan")}}, "inner.threshold: nan is not a finite number"),
        ({"inner": {"weights": [float("inf")]}}, "inner.weights: inf is not a finite number"),
    ],
)
def test_a_bad_setting_is_named_with_its_full_path(mapping, message):
    with pytest.raises(ConfigError) as error:
        from_mapping(Outer, mapping)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize("text", ["1e-3", "+1.0e-3", "1.E-3", ".1e-2", "0.01e-1", "0.001"])
def test_numbers_with_an_exponent_are_numbers(tmp_path, text):
    (tmp_path / "own.yaml").write_text(f"inner: {{threshold: {text}}}\n")
    assert load_yaml(Outer, tmp_path / "own.yaml").inner.threshold == 0.001


def test_a_base_gives_what_the_file_itself_leaves_out(tmp_path):
    (tmp_path / "base.yaml").write_text("inner: {threshold: 0.5, weights: [2.0]}\ncount: 7\n")
    (tmp_path / "own.yaml").write_text("base: base.yaml\ninner: {threshold: 0.25}\nmode: rgbd\n")
    expected = Outer(Inner(0.25, (2.0,)), count=7, mode="rgbd")
    assert load_yaml(Outer, tmp_path / "own.yaml") == expected
    (tmp_path / "third.yaml").write_text("base: own.yaml\n")
    with pytest.raises(
        ConfigError, match=r"own\.yaml: is the base of .*third\.yaml, so it cannot"
    ):
        load_yaml(Outer, tmp_path / "third.yaml")
    for name in ("gone.yaml", "elsewhere/gone.yaml", "[]", "''"):
        (tmp_path / "none.yaml").write_text(f"base: {name}\n")
        with pytest.raises(ConfigError, match="cannot be read"):
            load_yaml(Outer, tmp_path / "none.yaml")


def test_yaml_errors_name_the_file(tmp_path):
    path = tmp_path / "tracker.yaml"
    with pytest.raises(ConfigError, match=r"tracker\.yaml: cannot be read"):
        load_yaml(Outer, path)
    path.write_text("inner: [")
    with pytest.raises(ConfigError, match=r"tracker\.yaml: is not YAML"):
        load_yaml(Outer, path)
    path.write_text("count: many")
    with pytest.raises(ConfigError, match=r"tracker\.yaml: count: expected int, got str"):
        load_yaml(Outer, path)
    path.write_text("")
    assert load_yaml(Outer, path) == Outer()


def test_settings_are_the_leaves_with_the_outer_defaults():
    leaves = {leaf.name: leaf for leaf in settings(Outer)}
    assert list(leaves) == ["inner.threshold", "inner.weights", "count", "mode", "enabled"]
    assert leaves["inner.threshold"].default == 0.3
    assert leaves["inner.threshold"].dynamic
    assert leaves["inner.weights"].default == [1.0, 2.0]
    assert leaves["mode"].choices == ("mono", "rgbd")


def test_unflatten_rebuilds_the_tree():
    flat = {leaf.name: leaf.default for leaf in settings(Outer)}
    assert from_mapping(Outer, unflatten(flat)) == Outer()
