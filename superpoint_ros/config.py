# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Settings: frozen dataclasses that know their ranges, read strictly from mappings and YAML.

One tree serves Python, YAML files, ROS parameters (dotted names) and the generated documentation.
A field is declared with `option()`, which keeps the default, the description and the range in one
place; the dataclass derives from `Config`, which checks them.
"""

from __future__ import annotations

import dataclasses
import math
import re
import typing
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import yaml

ConfigT = TypeVar("ConfigT", bound="Config")


class ConfigError(ValueError):
    """A setting that is unknown, of the wrong type or out of range; the message names it."""


def option(
    default: Any,
    description: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
    dynamic: bool = False,
) -> Any:
    """Declare one setting of a `Config`.

    Args:
        default: The only default there is.
        description: One line with the unit; it becomes the ROS description and the docs table.
        minimum: Smallest legal value.
        maximum: Largest legal value.
        choices: Legal values of a string.
        dynamic: Whether a running node accepts a change.
    """
    metadata = {
        "description": description,
        "minimum": minimum,
        "maximum": maximum,
        "choices": choices,
        "dynamic": dynamic,
    }
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class Config:
    """Base of every settings dataclass: types and ranges are checked on construction."""

    def __post_init__(self) -> None:
        types = typing.get_type_hints(type(self))
        for field in dataclasses.fields(self):
            value = _coerce(getattr(self, field.name), types[field.name], field.name)
            object.__setattr__(self, field.name, value)
            _check_range(value, field)


def change_settings(config: ConfigT, name: str, change: Callable[[Any], Any]) -> ConfigT:
    """Return a config in which every setting of that name, at any depth, is `change(value)`.

    Raises:
        ConfigError: A new value is out of range.
    """
    changes = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if isinstance(value, Config):
            changes[field.name] = change_settings(value, name, change)
        elif field.name == name:
            changes[field.name] = change(value)
    return dataclasses.replace(config, **changes)


def _coerce(value: Any, annotation: Any, name: str) -> Any:
    """Return `value` as the annotated type; only int -> float and list -> tuple are converted."""
    if get_origin(annotation) is tuple:
        item_type = get_args(annotation)[0]
        if isinstance(value, str) or not isinstance(value, (tuple, list)):
            raise ConfigError(f"{name}: expected a list of {item_type.__name__}, got {value!r}")
        return tuple(_coerce(item, item_type, name) for item in value)
    if annotation is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    is_bool_as_number = isinstance(value, bool) and annotation is not bool
    if not isinstance(value, annotation) or is_bool_as_number:
        raise ConfigError(
            f"{name}: expected {annotation.__name__}, got {type(value).__name__} {value!r}"
        )
    return value


def _check_range(value: Any, field: dataclasses.Field[Any]) -> None:
    minimum, maximum = field.metadata.get("minimum"), field.metadata.get("maximum")
    choices = field.metadata.get("choices")
    if choices and value not in choices:
        raise ConfigError(f"{field.name}: {value!r} is not one of {', '.join(choices)}")
    for number in value if isinstance(value, tuple) else (value,):
        if not isinstance(number, (int, float)):
            continue
        if not math.isfinite(number):
            raise ConfigError(f"{field.name}: {number} is not a finite number")
        if minimum is not None and number < minimum:
            raise ConfigError(f"{field.name}: {number} is below the minimum {minimum}")
        if maximum is not None and number > maximum:
            raise ConfigError(f"{field.name}: {number} is above the maximum {maximum}")


def from_mapping(cls: type[ConfigT], mapping: Mapping[str, Any], path: str = "") -> ConfigT:
    """Build a config from a nested mapping.

    Args:
        cls: The config class.
        mapping: Nested keys as in YAML; missing keys keep their defaults.
        path: Dotted prefix used in error messages.

    Raises:
        ConfigError: Unknown key, wrong type or value out of range; names the full dotted path.
    """
    if not isinstance(mapping, Mapping):
        raise ConfigError(f"{path or 'config'}: expected a mapping, got {mapping!r}")
    types = typing.get_type_hints(cls)
    names = [field.name for field in dataclasses.fields(cls)]
    values: dict[str, Any] = {}
    for key, value in mapping.items():
        here = f"{path}.{key}" if path else str(key)
        if key not in names:
            raise ConfigError(f"{here}: unknown setting; known here: {', '.join(names)}")
        kind = types[key]
        if isinstance(kind, type) and issubclass(kind, Config):
            value = from_mapping(kind, value, here)
        values[key] = value
    try:
        return cls(**values)
    except ConfigError as error:
        raise ConfigError(f"{path}.{error}" if path else str(error)) from None


def to_mapping(config: Config) -> dict[str, Any]:
    """Return the nested mapping of a config, ready for YAML or JSON."""
    return {
        field.name: to_mapping(value) if isinstance(value, Config) else _plain(value)
        for field in dataclasses.fields(config)
        for value in [getattr(config, field.name)]
    }


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def load_yaml(cls: type[ConfigT], path: Path | str) -> ConfigT:
    """Read a config from a YAML file; an empty file gives the defaults.

    `base: FILE` names another file, seen from this one's folder, whose settings hold unless this
    one has its own.

    Raises:
        ConfigError: The file is absent, is no YAML, or holds a bad setting; names the file.
    """
    mapping = _read_yaml(path)
    if isinstance(mapping, dict) and "base" in mapping:
        base = Path(path).parent / str(mapping.pop("base"))
        inherited = _read_yaml(base)
        if isinstance(inherited, dict) and "base" in inherited:
            raise ConfigError(f"{base}: is the base of {path}, so it cannot have a base itself")
        mapping = _merged(inherited, mapping)
    try:
        return from_mapping(cls, {} if mapping is None else mapping)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _merged(base: Any, own: Any) -> Any:
    """Return two nested mappings as one; what is no mapping is replaced whole."""
    if not (isinstance(base, dict) and isinstance(own, dict)):
        return own
    return {key: _merged(base.get(key), own.get(key, base.get(key))) for key in {**base, **own}}


class _Loader(yaml.SafeLoader):
    """Takes 1e-3 and 1.5e3 for numbers, as ROS does; to PyYAML they are text."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+$"),
    list("-+.0123456789"),
)


def parse_yaml(text: str) -> Any:
    """Return what YAML says.

    Raises:
        yaml.YAMLError: It is no YAML.
    """
    return yaml.load(text, _Loader)


def _read_yaml(path: Path | str) -> Any:
    try:
        return parse_yaml(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not YAML ({error})") from None


@dataclasses.dataclass(frozen=True)
class Setting:
    """One leaf of a config tree, as ROS parameters and the docs see it."""

    name: str  # dotted
    default: Any  # bool, int, float, str or list
    kind: Any  # the annotation
    description: str
    minimum: float | None
    maximum: float | None
    choices: tuple[str, ...]
    dynamic: bool


def settings(cls: type[Config], prefix: str = "") -> Iterator[Setting]:
    """Yield the leaves of a config class in order, with dotted names."""
    types = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        kind = types[field.name]
        name = prefix + field.name
        if isinstance(kind, type) and issubclass(kind, Config):
            yield from _with_defaults(settings(kind, name + "."), field, name)
            continue
        metadata = field.metadata
        yield Setting(
            name=name,
            default=_plain(field.default),
            kind=kind,
            description=metadata.get("description", ""),
            minimum=metadata.get("minimum"),
            maximum=metadata.get("maximum"),
            choices=metadata.get("choices", ()),
            dynamic=metadata.get("dynamic", False),
        )


def _with_defaults(
    leaves: Iterator[Setting], field: dataclasses.Field[Any], name: str
) -> Iterator[Setting]:
    """Replace the leaf defaults by those of the nested config that the outer field holds."""
    has_default = field.default is not dataclasses.MISSING
    nested = field.default if has_default else typing.cast(Any, field.default_factory)()
    for leaf in leaves:
        value: Any = nested
        for part in leaf.name[len(name) + 1 :].split("."):
            value = getattr(value, part)
        yield dataclasses.replace(leaf, default=_plain(value))


def unflatten(values: Mapping[str, Any]) -> dict[str, Any]:
    """Turn {"a.b": 1} into {"a": {"b": 1}}."""
    nested: dict[str, Any] = {}
    for name, value in values.items():
        *parents, leaf = name.split(".")
        node = nested
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = value
    return nested
