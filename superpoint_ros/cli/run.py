# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Start features_node and tracker_node on a camera, as vo.launch.py does, without ros2 launch.

Examples:
  superpoint run --image /camera/image_raw
  superpoint run --sensor rgbd --image /camera/color/image_raw \\
      --depth-image /camera/aligned_depth_to_color/image_raw
  superpoint run --sensor stereo --image /left/image_rect --right-image /right/image_rect
  superpoint run --param features_node:keypoints.max_keypoints:=500 --params-file my.yaml

Odometry comes out on /superpoint/odometry. Ctrl-C ends all nodes; the exit code is 0 then. If one
node ends by itself the others are ended too, and its exit code is returned.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import importlib.util
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

import yaml

from superpoint_ros.config import parse_yaml
from superpoint_ros.graph import (
    ARGUMENTS,
    FEATURES_NODE,
    TRACKER_NODE,
    NodeSpec,
    Value,
    dds_environment,
    vo_graph,
)

_POLL_S = 0.1
_SIGINT_GRACE_S = 5.0
_SIGTERM_GRACE_S = 2.0
_PR_SET_PDEATHSIG = 1


class RunError(RuntimeError):
    """The graph cannot be started here."""


class GraphProcesses:
    """The running processes of a graph; use it as a context manager, it leaves none behind."""

    def __init__(
        self,
        graph: Sequence[NodeSpec],
        environment: Mapping[str, str] | None = None,
        output: IO[bytes] | int | None = None,
    ) -> None:
        """Start every process.

        Args:
            graph: What to start.
            environment: Added to this process's environment, which the children get whole.
            output: Where stdout and stderr go; None: where ours go.

        Raises:
            RunError: ROS 2 or the messages are not there.
        """
        check_ros()
        self._graph = tuple(graph)
        self._files = [node.write_overrides() for node in graph]
        inherited = {**os.environ, **(environment or {})}
        # All of it: the pip wheels of ROS 2 set LD_LIBRARY_PATH once and mark that as done.
        complete = {**inherited, **dds_environment(inherited)}
        self.processes: tuple[subprocess.Popen[bytes], ...] = ()
        try:
            for node, file in zip(self._graph, self._files, strict=True):
                process = subprocess.Popen(
                    node.command(file),
                    env=complete,
                    stdout=output,
                    stderr=output,
                    # A session of their own: the terminal's Ctrl-C reaches this process alone,
                    # which passes it on once. A second SIGINT would land in a node's shutdown.
                    start_new_session=True,
                    preexec_fn=_die_with_parent,
                )
                self.processes += (process,)
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> GraphProcesses:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def find_ended(self) -> tuple[str, int] | None:
        """Return executable and exit code of a process that ended by itself; None: all run."""
        for node, process in zip(self._graph, self.processes, strict=True):
            code = process.poll()
            if code is not None:
                return node.executable, code
        return None

    def wait(self) -> tuple[str, int]:
        """Block until one process ends by itself and return as `find_ended`."""
        while (ended := self.find_ended()) is None:
            time.sleep(_POLL_S)
        return ended

    def stop(self, grace_s: float = _SIGINT_GRACE_S) -> dict[str, int]:
        """End all processes: SIGINT, then SIGTERM, then SIGKILL. May be called twice.

        Args:
            grace_s: How long each may take to end by itself, seconds.

        Returns:
            Executable -> exit code; minus the signal's number if a signal ended it.
        """
        for number, patience_s in (
            (signal.SIGINT, grace_s),
            (signal.SIGTERM, _SIGTERM_GRACE_S),
            (signal.SIGKILL, _SIGTERM_GRACE_S),
        ):
            alive = [process for process in self.processes if process.poll() is None]
            for process in alive:
                process.send_signal(number)
            deadline = time.monotonic() + patience_s
            for process in alive:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(max(0.0, deadline - time.monotonic()))
        for file in self._files:
            file.unlink(missing_ok=True)
        started = zip(self._graph, self.processes, strict=False)
        return {node.executable: int(process.returncode) for node, process in started}


def add_graph_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments that `graph_from_arguments` reads."""
    for argument in ARGUMENTS:
        flag = "--" + argument.name.replace("_", "-")
        if isinstance(argument.default, bool):
            parser.add_argument(flag, action="store_true", help=argument.description)
        else:
            parser.add_argument(
                flag,
                metavar="|".join(filter(None, argument.choices)) or argument.name.upper(),
                choices=argument.choices or None,
                default=argument.default,
                help=argument.description,
            )
    parser.add_argument(
        "--param",
        metavar="NODE:NAME:=VALUE",
        action="append",
        default=[],
        help=f"one parameter of {FEATURES_NODE} or {TRACKER_NODE}; wins over every file",
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_graph_arguments(parser)
    parser.add_argument(
        "--print", action="store_true", help="print the commands instead of running them"
    )


def graph_from_arguments(args: argparse.Namespace) -> tuple[NodeSpec, ...]:
    """Return the graph that the arguments of `add_graph_arguments` describe.

    Raises:
        GraphError: An argument cannot be.
        RunError: A `--param` is malformed.
    """
    values = {argument.name: getattr(args, argument.name) for argument in ARGUMENTS}
    return vo_graph(**values, overrides=parse_parameters(args.param))


def parse_parameters(texts: Sequence[str]) -> dict[str, dict[str, Value]]:
    """Turn `node:name:=value` texts into node -> name -> value.

    Raises:
        RunError: One is not of that form, or null, which ROS does not have.
    """
    overrides: dict[str, dict[str, Value]] = {}
    for text in texts:
        target, found, value = text.partition(":=")
        node, _, name = target.partition(":")
        if not found or not name or node not in (FEATURES_NODE, TRACKER_NODE):
            raise RunError(
                f"--param {text}: expected {FEATURES_NODE}:NAME:=VALUE or "
                f"{TRACKER_NODE}:NAME:=VALUE"
            )
        try:
            parsed = parse_yaml(value) if value.strip() else ""
        except yaml.YAMLError:
            raise RunError(f"--param {text}: the value is not YAML") from None
        if parsed is None:
            raise RunError(f"--param {text}: ROS has no null; an empty text is {node}:{name}:=")
        overrides.setdefault(node, {})[name] = parsed
    return overrides


def run(args: argparse.Namespace) -> int:
    """Run the graph until Ctrl-C or until a node ends."""
    graph = graph_from_arguments(args)
    if args.print:
        for node in graph:
            print(_spell(node))
        return 0
    with sigterm_as_interrupt(), GraphProcesses(graph) as processes:
        try:
            name, code = processes.wait()
        except KeyboardInterrupt:
            codes = processes.stop()
            return max(map(_exit_code, codes.values()))
        processes.stop()
        print(f"superpoint run: {name} ended ({_describe(code)})", file=sys.stderr)
        return _exit_code(code)


def _spell(node: NodeSpec) -> str:
    values = [
        f"{name}:{key}:={value}"
        for name, parameters in node.overrides.items()
        for key, value in parameters.items()
    ]
    return shlex.join(node.command()) + "  # and " + " ".join(values)


def _exit_code(code: int) -> int:
    """Return the shell's exit code; a child that our SIGINT ended while it started did well."""
    if code == -signal.SIGINT:
        return 0
    return 128 - code if code < 0 else code


def _describe(code: int) -> str:
    return f"by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def check_ros() -> None:
    """Find out whether nodes can be started.

    Raises:
        RunError: ROS 2 or the messages are not there.
    """
    if importlib.util.find_spec("rclpy") is None:
        raise RunError("ROS 2 (rclpy) is not there: source it, or use `make env`")
    if importlib.util.find_spec("superpoint_ros.msg") is None:
        folder = Path(__file__).parents[1]
        raise RunError(f"the messages are not built for {folder}: `make msgs` or colcon build")


def _die_with_parent() -> None:
    """Let the kernel end this child if its parent is killed: no orphans on the ROS domain."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


@contextlib.contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Treat SIGTERM (systemd, docker stop) as Ctrl-C."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
