# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Recordings as streams of messages: rosbag2 (mcap, sqlite3) and ROS 1 bags through `rosbags`."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore

# Suffix -> what mends a recording that was cut off.
_CURES = {
    ".mcap": "mcap recover {file} -o {stem}_recovered.mcap",
    ".db3": "ros2 bag reindex {folder}",
    ".bag": "rosbag reindex {file}",
}
# What recorders add to the names of the parts of one recording.
_SPLIT = re.compile(r"(_\d{4}(-\d\d){5})?_\d+$")
_MAX_NAMES = 5  # that an error lists


class BagError(ValueError):
    """A recording that cannot be used as asked; the message says why and what to pass."""


@dataclass(frozen=True)
class Topic:
    """One stream of a recording.

    Attributes:
        name: Topic name.
        msgtype: ROS 2 spelling also for ROS 1 bags, e.g. "sensor_msgs/msg/Image".
        count: Number of messages.
    """

    name: str
    msgtype: str
    count: int


@dataclass(frozen=True)
class RecordedMessage:
    """One message, not yet deserialised.

    Attributes:
        topic: Topic name.
        time_ns: When it was recorded.
        msgtype: As in `Topic`.
        read: Returns the message: an object with the fields of the ROS message. Raises `BagError`
            if its bytes are damaged.
    """

    topic: str
    time_ns: int
    msgtype: str
    read: Callable[[], Any]


class Recording(Protocol):
    """What `BagReader` needs of a source.

    Attributes:
        topics: All streams, by name.
        depth_units_per_metre: Unit of 16-bit depth images, where the format says so.
    """

    topics: tuple[Topic, ...]
    depth_units_per_metre: float

    def messages(self, names: Collection[str]) -> Iterator[RecordedMessage]:
        """Yield the messages of the named topics in order of time."""
        ...

    def close(self) -> None:
        """Release the files."""
        ...


class RosbagRecording:
    """A rosbag2 directory, a bare .mcap or .db3 file, or a ROS 1 .bag file."""

    depth_units_per_metre = 1000.0

    def __init__(self, path: Path) -> None:
        """Open the bag.

        Raises:
            BagError: It is no bag, or several, or damaged.
        """
        self._path = path
        self._is_being_read = False
        # Bags of Humble and before carry no message definitions; these types have not changed.
        self._default_types = get_typestore(Stores.ROS2_JAZZY)
        files = _storage_files(path)
        try:
            self._reader = AnyReader(files, default_typestore=self._default_types)
            self._reader.open()
        except Exception as error:  # rosbags, SQLite and the decompressors raise what they like
            raise BagError(_explain_refusal(path, error)) from None
        counts: dict[tuple[str, str], int] = {}
        for connection in self._reader.connections:
            key = (connection.topic, connection.msgtype)
            counts[key] = counts.get(key, 0) + connection.msgcount
        self.topics = tuple(
            Topic(name, msgtype, count) for (name, msgtype), count in sorted(counts.items())
        )

    def messages(self, names: Collection[str]) -> Iterator[RecordedMessage]:
        """Yield the messages of the named topics in order of time.

        One at a time: in an mcap file without chunks all that read it share one position, and the
        first would end where the second did.

        Raises:
            BagError: The file is damaged from here on.
            RuntimeError: An iterator of before is still open.
        """
        connections = [c for c in self._reader.connections if c.topic in names]
        if not connections:
            return
        if self._is_being_read:
            raise RuntimeError(f"{self._path}: is being read already; end that iterator first")
        self._is_being_read = True
        try:
            yield from self._read(connections)
        finally:
            self._is_being_read = False

    def _read(self, connections: Collection[Any]) -> Iterator[RecordedMessage]:
        stream = self._reader.messages(connections)
        while True:
            try:
                connection, time_ns, data = next(stream)
            except StopIteration:
                return
            except Exception as error:
                raise BagError(
                    f"{self._path}: is damaged, reading stopped ({error}); 'mcap recover' or "
                    "'ros2 bag reindex' may save the rest"
                ) from None
            yield RecordedMessage(
                connection.topic,
                time_ns,
                connection.msgtype,
                self._deferred(data, connection.msgtype, connection.topic),
            )

    def close(self) -> None:
        """Release the files."""
        self._reader.close()

    def _deferred(self, data: bytes, msgtype: str, topic: str) -> Callable[[], Any]:
        def read() -> Any:
            try:
                if self._reader.is2 and msgtype not in self._reader.typestore.fielddefs:
                    return self._default_types.deserialize_cdr(data, msgtype)
                return self._reader.deserialize(data, msgtype)
            except Exception as error:
                raise BagError(f"{topic}: a {msgtype} cannot be deserialised ({error})") from None

        return read


def looks_like_rosbag(path: Path) -> bool:
    """Return whether `path` is a bag file, or a directory that holds one."""
    if path.is_file():
        return path.suffix in _CURES
    return (path / "metadata.yaml").is_file() or bool(_bare_files(path))


def _bare_files(directory: Path) -> list[Path]:
    """Return the storage files; names with a dot first (of macOS) are none."""
    files = (f for f in directory.iterdir() if f.suffix in _CURES and f.name[0] != ".")
    return sorted(files)


def _explain_refusal(path: Path, error: Exception) -> str:
    """Return why a bag cannot be opened, which of its files is to blame, and what mends it."""
    files = _bare_files(path) if path.is_dir() else [path]
    broken = next((file for file in files if not _can_be_opened(file)), None)
    if broken is None:
        return f"{path}: cannot be read as a bag ({error}); 'ros2 bag reindex' may mend it"
    cure = _CURES[broken.suffix].format(file=broken, stem=broken.stem, folder=broken.parent)
    which = "" if broken == path else f": {broken.name}"
    others = "; the other files can be read one by one" if len(files) > 1 else ""
    return (
        f"{path}: cannot be read as a bag{which} ({error}); if the recorder was cut off, mend it "
        f"with '{cure}'{others}"
    )


def _can_be_opened(file: Path) -> bool:
    try:
        with AnyReader([file], default_typestore=get_typestore(Stores.ROS2_JAZZY)):
            return True
    except Exception:  # as above
        return False


def _storage_files(path: Path) -> list[Path]:
    """Return what AnyReader should open.

    A directory may lack its metadata after a crash; one named .bag rosbags takes for a ROS 1 file.

    Raises:
        BagError: It holds more than one recording.
    """
    if path.is_dir() and (path.suffix == ".bag" or not (path / "metadata.yaml").is_file()):
        files = _bare_files(path)
        if len({(_SPLIT.sub("", file.stem), file.suffix) for file in files}) > 1:
            names = ", ".join(file.name for file in files[:_MAX_NAMES])
            more = f" and {len(files) - _MAX_NAMES} more" if len(files) > _MAX_NAMES else ""
            raise BagError(f"{path}: holds several recordings ({names}{more}): name one of them")
        return files
    return [path]
