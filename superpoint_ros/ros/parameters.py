# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A `Config` tree as ROS parameters: declared by one function, checked by the config itself."""

from __future__ import annotations

import difflib
import itertools
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Generic, TypeVar, get_args, get_origin

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node
from rclpy.parameter import Parameter

from superpoint_ros.config import (
    Config,
    ConfigError,
    Setting,
    from_mapping,
    settings,
    to_mapping,
    unflatten,
)

ConfigT = TypeVar("ConfigT", bound=Config)

_MAX_INTEGER = 2**63 - 1
_TYPES = {
    bool: Parameter.Type.BOOL,
    int: Parameter.Type.INTEGER,
    float: Parameter.Type.DOUBLE,
    str: Parameter.Type.STRING,
}
_LIST_TYPES = {
    bool: Parameter.Type.BOOL_ARRAY,
    int: Parameter.Type.INTEGER_ARRAY,
    float: Parameter.Type.DOUBLE_ARRAY,
    str: Parameter.Type.STRING_ARRAY,
}


class NodeParameters(Generic[ConfigT]):
    """The parameters of one node, and the config they spell.

    The node must have been made with `automatically_declare_parameters_from_overrides=True`: that
    is how the values of the command line and of parameter files are read before they are
    declared, so that one sentence can say what is wrong with them.

    Attributes:
        config: The present settings; a new object after each accepted change.
    """

    def __init__(
        self,
        node: Node,
        config_type: type[ConfigT],
        on_change: Callable[[ConfigT], None] | None = None,
        known_elsewhere: Collection[str] = (),
    ) -> None:
        """Declare every setting of `config_type`.

        Args:
            node: Where to declare.
            config_type: The settings.
            on_change: Called with the new config when a running node accepts a change.
            known_elsewhere: Names that belong to other nodes of the same process and are ignored.

        Raises:
            ConfigError: An override of unknown name, wrong type or out of range; names it.
        """
        self._node = node
        self._type = config_type
        self._on_change = on_change
        self._settings = {setting.name: setting for setting in settings(config_type)}
        overrides = self._take_overrides(known_elsewhere)
        self.config: ConfigT = _build(config_type, self._settings, overrides)
        values = _flatten(to_mapping(self.config))
        for name, setting in self._settings.items():
            _declare(node, setting, values[name])
        node.add_on_set_parameters_callback(self._on_set)

    def _take_overrides(self, known_elsewhere: Collection[str]) -> dict[str, Any]:
        """Return the values given from outside, and make room to declare them properly."""
        overrides: dict[str, Any] = {}
        for name, parameter in self._node.get_parameters_by_prefix("").items():
            if name in self._settings:
                overrides[name] = parameter.value
                self._node.undeclare_parameter(name)
            elif name not in known_elsewhere and not _belongs_to_rclpy(name):
                raise ConfigError(f"{name}: unknown parameter{_suggest(name, self._settings)}")
        return overrides

    def _on_set(self, parameters: Sequence[Parameter]) -> SetParametersResult:
        """Accept changes of dynamic settings, all or none."""
        # What is not dynamic is read-only: rclpy has refused it before it asks us.
        changes = {p.name: p.value for p in parameters if p.name in self._settings}
        if not changes:
            return SetParametersResult(successful=True)
        try:
            values = {**_flatten(to_mapping(self.config)), **changes}
            config = _build(self._type, self._settings, values)
        except ConfigError as error:
            return SetParametersResult(successful=False, reason=str(error))
        self.config = config
        if self._on_change is not None:
            self._on_change(config)
        return SetParametersResult(successful=True)


def find_missing_params_file(args: Sequence[str]) -> str | None:
    """Return the first `--params-file` of the arguments that cannot be read."""
    for flag, value in itertools.pairwise(args):
        if flag == "--params-file":
            try:
                with open(value, "rb"):  # noqa: PTH123 - only whether it opens
                    pass
            except OSError as error:
                return f"{value} ({error.strerror})"
    return None


def rewrite_rcl_error(error: BaseException, args: Sequence[str] | None = None) -> str:
    """Return rcl's many lines about arguments or parameter files as one sentence."""
    missing = find_missing_params_file(list(args) if args is not None else sys.argv)
    if missing is not None:
        return f"--params-file {missing} cannot be read"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    return text.split(", at /")[0].split(", at ./")[0]


def _build(
    config_type: type[ConfigT], known: Mapping[str, Setting], values: Mapping[str, Any]
) -> ConfigT:
    """Build the config; PEP 484's int-as-float holds, so `4` is fine where 4.0 is meant."""
    checked = {}
    for name, value in values.items():
        is_list = get_origin(known[name].kind) is tuple
        if is_list and not isinstance(value, str) and hasattr(value, "__iter__"):
            value = list(value)
        checked[name] = value
    return from_mapping(config_type, unflatten(checked))


def _declare(node: Node, setting: Setting, value: Any) -> None:
    descriptor = make_descriptor(setting)
    if value != []:
        node.declare_parameter(setting.name, value, descriptor, ignore_override=True)
        return
    # An empty list does not tell its type, and a parameter without a value makes get_parameters
    # return nothing at all: declared by type, it is set, and read-only only then.
    kind = _parameter_type(setting)
    node.declare_parameter(setting.name, kind, ignore_override=True)
    node.set_parameters([Parameter(setting.name, kind, [])])
    node.set_descriptor(setting.name, descriptor)


def make_descriptor(setting: Setting) -> ParameterDescriptor:
    """Return description, range and read-only flag of a setting as ROS says them."""
    description = setting.description
    if setting.choices:
        description += f" (one of: {', '.join(setting.choices)})"
    descriptor = ParameterDescriptor(
        name=setting.name, type=_parameter_type(setting).value, description=description
    )
    descriptor.read_only = not setting.dynamic
    low, high = setting.minimum, setting.maximum
    if setting.kind is int and (low is not None or high is not None):
        descriptor.integer_range = [
            IntegerRange(
                from_value=-_MAX_INTEGER if low is None else int(low),
                to_value=_MAX_INTEGER if high is None else int(high),
            )
        ]
    if setting.kind is float and (low is not None or high is not None):
        descriptor.floating_point_range = [
            FloatingPointRange(
                from_value=-sys.float_info.max if low is None else float(low),
                to_value=sys.float_info.max if high is None else float(high),
            )
        ]
    return descriptor


def _parameter_type(setting: Setting) -> Parameter.Type:
    if get_origin(setting.kind) is tuple:
        return _LIST_TYPES[get_args(setting.kind)[0]]
    return _TYPES[setting.kind]


def _flatten(mapping: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Turn {"a": {"b": 1}} into {"a.b": 1}."""
    flat: dict[str, Any] = {}
    for name, value in mapping.items():
        if isinstance(value, Mapping):
            flat.update(_flatten(value, f"{prefix}{name}."))
        else:
            flat[prefix + name] = value
    return flat


def _belongs_to_rclpy(name: str) -> bool:
    """Whether rclpy itself declares a parameter of this name."""
    return name in ("use_sim_time", "start_type_description_service") or name.startswith(
        ("qos_overrides./clock.", "qos_overrides./parameter_events.")
    )


def _suggest(name: str, known: Collection[str]) -> str:
    if name.startswith("qos_overrides."):
        return "; QoS follows the publishers, or set image_reliability"
    close = difflib.get_close_matches(name, known, n=1)
    if not close:
        leaf = name.rpartition(".")[2]
        close = [other for other in known if other.rpartition(".")[2] == leaf][:1]
    return f"; did you mean {close[0]}?" if close else ""
