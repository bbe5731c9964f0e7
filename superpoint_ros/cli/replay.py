# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Play a recording through features_node and tracker_node over DDS, and judge what comes out.

The nodes run as processes of their own, on a ROS domain of their own, so that a robot that is
running is not disturbed. The next frame goes out when the last one is answered: nothing is lost,
and the speed is what this computer can take. With --rate 1.0 it plays in real time, and what the
nodes could not keep up with is counted. Sensor and topics are detected. Without BAG a sequence is
rendered first.

  superpoint replay recording.mcap
  superpoint replay tum_bag --depth-units-per-metre 5000 --rate 1.0
  superpoint replay --frames 300 --sensor stereo

Leaves report.html (plots and pictures, for a browser), summary.json, the trajectory (TUM, KITTI
and a plot), annotated.png and nodes.log in --out.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from superpoint_ros.cli._extractor import add_weights
from superpoint_ros.cli._recording import (
    add_source_arguments,
    check_limits,
    check_units,
    plain_console,
    printable,
    read_truth,
    typed_command,
    wanted_topics,
)
from superpoint_ros.cli.run import (
    GraphProcesses,
    check_ros,
    parse_parameters,
    sigterm_as_interrupt,
)
from superpoint_ros.config import ConfigError
from superpoint_ros.graph import (
    FEATURES_NODE,
    NAMESPACE,
    TRACKER_NODE,
    NodeSpec,
    Value,
    vo_graph,
)
from superpoint_ros.pairing import DEFAULT_SLOP_NS

if TYPE_CHECKING:
    from rich.console import Console

    from superpoint_ros.data import Array
    from superpoint_ros.evaluation.bag import BagReader
    from superpoint_ros.evaluation.moments import Moment
    from superpoint_ros.evaluation.replay import Replay
    from superpoint_ros.evaluation.sensors import SensorTopics
    from superpoint_ros.evaluation.summary import Summary
    from superpoint_ros.evaluation.trajectory import Trajectory

EXIT_OK, EXIT_FAILED, EXIT_INTERRUPTED = 0, 1, 130

_POLL_S = 0.1
_STOP_GRACE_S = 10.0  # torch may be in the middle of a frame
# Domains 0 to 100 map to ports below those that Linux hands out for other uses.
_DOMAINS = range(20, 101)


class ReplayFailed(RuntimeError):  # noqa: N818 - it is said to the user as it stands
    """The nodes or the player did not do their work; one sentence says which and why."""


@dataclass(frozen=True)
class _PlayerSpec(NodeSpec):
    """The player's process; it takes ordinary arguments, no parameters."""

    player_arguments: tuple[str, ...] = ()

    def command(self, overrides_file: Path | str | None = None) -> list[str]:
        return [sys.executable, "-m", self.module, *self.player_arguments]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add = parser.add_argument
    add("bag", metavar="BAG", nargs="?", default="", help="bag or image folder; none: render one")
    add("--out", metavar="DIR", type=Path, default=Path("out"), help="results (default: out)")
    add("--json", metavar="FILE", default="", help="write the summary to FILE too")
    add(
        "--rate",
        type=float,
        default=0.0,
        metavar="R",
        help="speed of the recording times R; default: as fast as the nodes answer",
    )
    add("--every", type=int, default=1, metavar="N", help="play every Nth image")
    add("--max-frames", type=int, default=0, metavar="N", help="stop after N")

    add = add_source_arguments(parser).add_argument
    add("--frames", type=int, default=200, metavar="N", help="length of a rendered sequence")

    nodes = parser.add_argument_group("the nodes")
    add = nodes.add_argument
    add_weights(nodes)
    add("--params-file", metavar="YAML", default="", help="your parameters; win over the shipped")
    add(
        "--param",
        metavar="NODE:NAME:=VALUE",
        action="append",
        default=[],
        help=f"one parameter of {FEATURES_NODE} or {TRACKER_NODE}; wins over every file",
    )
    add("--composed", action="store_true", help="one process (vo_node) instead of two")
    add("--use-sim-time", action="store_true", help="publish /clock, and let the nodes follow it")
    add(
        "--join-domain",
        action="store_true",
        help="stay on your ROS_DOMAIN_ID, where other tools see the topics",
    )
    add(
        "--start-timeout",
        type=float,
        default=60.0,
        metavar="S",
        help="how long the nodes may take to start, seconds",
    )


def run(args: argparse.Namespace) -> int:
    """Replay, judge, write; 0 only if every process did well."""
    from superpoint_ros.evaluation.bag import BagReader
    from superpoint_ros.evaluation.sensors import live_topics
    from superpoint_ros.files import check_folder

    check_ros()  # before a sequence is rendered
    _check(args)
    check_folder(args.out)
    args.out.mkdir(parents=True, exist_ok=True)
    console = plain_console()
    bag = args.bag or str(_render(args, console))
    with BagReader(bag, wanted_topics(args), slop_ns=round(_slop_s(args) * 1e9)) as reader:
        topics = reader.sensor
        sensor = args.sensor or topics.sensor
        reader.check_calibration(sensor == "stereo" and not _gives_extrinsics(args))
        live = live_topics(topics, reader.topics)
        graph = _make_graph(args, sensor, live, reader.depth_units_per_metre)
        truth = read_truth(args.ground_truth, reader)
        console.print(f"{printable(bag)}: {sensor}, {reader.num_images} images on {topics.image}")
        with sigterm_as_interrupt():
            code = _play(args, bag, topics, graph)
        replay, summary = _judge(args, reader, sensor, bag, *truth)
        _write(args, reader, replay, summary, graph, console)
    return code


def _check(args: argparse.Namespace) -> None:
    check_limits(args, rate=0.0, every=1, max_frames=0, frames=1)
    check_units(args.depth_units_per_metre)
    _slop_s(args)
    if args.weights:
        from superpoint_ros.network.weights import find_weights

        find_weights(args.weights)


def _render(args: argparse.Namespace, console: Console) -> Path:
    """Render the sequence that is played when there is no bag; once per kind and length."""
    from superpoint_ros.cli.render import show_progress
    from superpoint_ros.evaluation.bag_writer import write_bag
    from superpoint_ros.evaluation.synthetic import SequenceConfig

    sensor = "rgbd" if args.sensor == "" else args.sensor
    sensor = "mono" if sensor == "homography" else sensor
    path: Path = args.out / f"rendered_{sensor}_{args.frames}.mcap"
    if path.exists():
        console.print(f"{path}: rendered before, used again")
        return path
    console.print(f"{path}: rendering {args.frames} {sensor} frames of a textured room")
    write_bag(path, SequenceConfig(sensor=sensor, frames=args.frames), on_frame=show_progress)
    return path


def _make_graph(
    args: argparse.Namespace, sensor: str, topics: SensorTopics, depth_units_per_metre: float
) -> tuple[NodeSpec, ...]:
    """Describe the nodes for this recording."""
    given = parse_parameters(args.param)
    # The camera's own pose is what the ground truth is about, so no base frame comes between.
    tracker: dict[str, Value] = {"base_frame": ""}
    if sensor == "rgbd":
        units = args.depth_units_per_metre or depth_units_per_metre
        tracker["depth_units_per_metre"] = units
    features: dict[str, Value] = {"weights": args.weights} if args.weights else {}
    return vo_graph(
        sensor,
        image=topics.image,
        camera_info=_topic_only(topics.camera_info),
        depth_image=topics.depth,
        depth_camera_info=topics.depth_camera_info or _topic_only(topics.camera_info),
        right_image=topics.right,
        right_camera_info=_topic_only(topics.right_camera_info),
        params_file=args.params_file,
        use_sim_time=args.use_sim_time,
        composed=args.composed,
        overrides={
            FEATURES_NODE: {**features, **given.get(FEATURES_NODE, {})},
            TRACKER_NODE: {**tracker, **given.get(TRACKER_NODE, {})},
        },
    )


def _slop_s(args: argparse.Namespace) -> float:
    """Return how far apart the tracker takes image and depth (or right image), seconds.

    Raises:
        ConfigError: No such number.
    """
    tracker = parse_parameters(args.param).get(TRACKER_NODE, {})
    value = tracker.get("sync_slop", DEFAULT_SLOP_NS * 1e-9)
    if not isinstance(value, (int, float)) or not 0.0 <= value < math.inf:
        raise ConfigError(f"--param {TRACKER_NODE}:sync_slop:={value}: must be at least 0")
    return float(value)


def _gives_extrinsics(args: argparse.Namespace) -> bool:
    """Whether the parameters tell how stereo cameras stand; a file of the user's may."""
    tracker = parse_parameters(args.param).get(TRACKER_NODE, {})
    return bool(args.params_file) or "odometry.stereo.T_left_right" in tracker


def _topic_only(topic_or_file: str) -> str:
    """Return a topic as it is, and nothing for a calibration file: the player publishes that."""
    return "" if topic_or_file.endswith((".yaml", ".yml")) else topic_or_file


def _play(
    args: argparse.Namespace, bag: str, topics: SensorTopics, graph: Sequence[NodeSpec]
) -> int:
    """Run the nodes and the player; return the exit code.

    Raises:
        ReplayFailed: Something did not start, did not answer or did not end well.
    """
    from superpoint_ros.evaluation.replay import EVENTS_FILE
    from superpoint_ros.evaluation.tracks import TRACKS_FILE

    for name in (EVENTS_FILE, TRACKS_FILE):
        (args.out / name).unlink(missing_ok=True)
    environment = {} if args.join_domain else own_domain()
    arguments = [bag, "--record", str(args.out), "--rate", str(args.rate)]
    arguments += ["--every", str(args.every), "--max-frames", str(args.max_frames)]
    arguments += ["--slop", str(_slop_s(args))]
    arguments += ["--start-timeout", str(args.start_timeout), "--namespace", NAMESPACE]
    arguments += ["--clock"] if args.use_sim_time else []
    for name in ("sensor", "image", "camera_info", "depth", "right", "right_camera_info"):
        if getattr(topics, name):
            arguments += [f"--{name.replace('_', '-')}", getattr(topics, name)]
    player_spec = _PlayerSpec(
        executable="bag_player",
        module="superpoint_ros.ros.bag_player",
        name="",
        namespace="/",
        remappings=(),
        params_files=(),
        overrides={},
        player_arguments=tuple(arguments),
    )
    log_path = args.out / "nodes.log"
    with (
        log_path.open("wb") as log,
        GraphProcesses(graph, environment, output=log) as nodes,
        GraphProcesses([player_spec], environment) as player,
    ):
        try:
            player_code = _wait(nodes, player, log_path)
        except KeyboardInterrupt:
            player.stop(_STOP_GRACE_S)
            nodes.stop(_STOP_GRACE_S)
            raise
        codes = nodes.stop(_STOP_GRACE_S)
    if player_code == EXIT_INTERRUPTED:
        raise KeyboardInterrupt
    if player_code:
        raise ReplayFailed(
            f"the player gave up (exit code {player_code}, reason above); {_last_words(log_path)}"
        )
    bad = {name: code for name, code in codes.items() if code}
    for name, code in bad.items():
        print(
            f"superpoint replay: {name} ended with exit code {code} when asked to stop: "
            f"{_last_words(log_path, name)}",
            file=sys.stderr,
        )
    return EXIT_FAILED if bad else EXIT_OK


def _wait(nodes: GraphProcesses, player: GraphProcesses, log_path: Path) -> int:
    """Wait for the player's end and return its exit code.

    Raises:
        ReplayFailed: A node ended before it.
    """
    while True:
        ended = player.find_ended()
        if ended is not None:
            return ended[1]
        node = nodes.find_ended()
        if node is not None:
            name, code = node
            how = f"was killed by {signal.Signals(-code).name}" if code < 0 else "ended"
            code_text = "" if code < 0 else f" with exit code {code}"
            raise ReplayFailed(f"{name} {how}{code_text}: {_last_words(log_path, name)}")
        time.sleep(_POLL_S)


def _last_words(log_path: Path, name: str = "") -> str:
    """Return the last line that a node printed (its own, if it can be told), and where to look."""
    text = log_path.read_text(encoding="utf-8", errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    # A node that gives up says so in a line that begins with its name, see ros/runner.py.
    own = [line.removeprefix(f"{name}: ") for line in lines if line.startswith(f"{name}: ")]
    words = (own or lines or ["it said nothing"])[-1]
    return f"{words} (all of it: {log_path})"


def own_domain() -> dict[str, str]:
    """Return the environment of a ROS domain on this computer that nobody uses.

    Fast DDS's first participant of domain d listens on UDP port 7400 + 250 d + 10.
    """
    start = os.getpid() % len(_DOMAINS)
    for domain in [*_DOMAINS[start:], *_DOMAINS[:start]]:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("", 7400 + 250 * domain + 10))
            except OSError:
                continue
        local = {"ROS_DOMAIN_ID": str(domain), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
        # Humble knows only this one; later distributions would warn about it.
        return {**local, "ROS_LOCALHOST_ONLY": "1"} if _is_humble() else local
    raise ReplayFailed("no ROS_DOMAIN_ID between 20 and 100 is free: use --join-domain")


def _is_humble() -> bool:
    return os.environ.get("ROS_DISTRO", "") == "humble"


def _judge(
    args: argparse.Namespace,
    reader: BagReader,
    sensor: str,
    bag: str,
    truth: Trajectory | None,
    truth_name: str,
) -> tuple[Replay, Summary]:
    from superpoint_ros.evaluation.replay import read_replay
    from superpoint_ros.evaluation.summary import summarize

    replay = read_replay(args.out)
    summary = summarize(replay.to_record(sensor), truth, truth_name)
    values = summary.values
    values["bag"] = bag
    values["transport"] = transport = replay.transport()
    values["rate"] = {
        "asked": args.rate or "as fast as the nodes answer",
        "factor": transport["rate_factor"],
    }
    values["processes"] = 1 if args.composed else 2
    values["notes"] += reader.notes
    if transport["images_dropped"]:
        why = (
            "were dropped: the network takes the newest image, and this speed is more than this "
            "computer can take; without --rate none is dropped"
            if args.rate
            else f"gave no features: {args.out / 'nodes.log'} says why"
        )
        values["notes"].append(
            f"{transport['images_dropped']} of {transport['images_sent']} images {why}"
        )
    if transport["features_lost"]:
        why = ": it takes the newest; without --rate none is dropped" if args.rate else ""
        values["notes"].append(
            f"{transport['features_lost']} features messages were not answered by the tracker{why}"
        )
    return replay, summary


def _write(
    args: argparse.Namespace,
    reader: BagReader,
    replay: Replay,
    summary: Summary,
    graph: Sequence[NodeSpec],
    console: Console,
) -> None:
    from superpoint_ros.evaluation.report import (
        plot_trajectory,
        print_summary,
        write_trajectory,
    )
    from superpoint_ros.files import write_json
    from superpoint_ros.image import write_image

    out: Path = args.out
    moments, picture = _draw(reader, replay, summary, out)
    print_summary(summary, console, title=printable(Path(summary.values["bag"]).name))
    transport = summary.values["transport"]
    console.print(
        f"over DDS: {transport['images_sent']} images sent, "
        f"{transport['features_received']} features and {transport['status_received']} answers "
        f"back, {transport['features_lost']} lost; {transport['rate_factor']:.2f} times the speed "
        "of the recording",
        highlight=False,
    )
    written = [out / "summary.json", *write_trajectory(out, replay.to_run().trajectory())]
    write_json(written[0], summary.values)
    written.append(out / "trajectory.png")
    plot_trajectory(written[-1], summary)
    if picture is not None:
        written.append(out / "annotated.png")
        write_image(written[-1], picture)
    if args.json:
        write_json(args.json, summary.values)
    console.print(f"wrote {' '.join(map(str, written))}", highlight=False)
    report = out / "report.html"
    _write_report(report, summary.values["bag"], replay, summary, moments, graph)
    console.print(f"report: {report}", highlight=False)


def _draw(
    reader: BagReader, replay: Replay, summary: Summary, out: Path
) -> tuple[tuple[Moment, ...], Array | None]:
    """Draw the moments of interest, and the frame whose tracks show most, large.

    The images are read from the recording once more.
    """
    from superpoint_ros.evaluation.moments import choose_moments, compress
    from superpoint_ros.evaluation.replay import moments_of
    from superpoint_ros.evaluation.tracks import read_tracks

    tracks = read_tracks(out)
    moments = {m.stamp_ns: m for m in moments_of(replay, tracks)}
    if not moments:
        return (), None
    chosen = {m.stamp_ns: m for m in choose_moments(list(moments.values()), summary.errors)}
    best_ns = max(moments, key=lambda stamp_ns: tracks[stamp_ns].worth)
    largest = None
    wanted = {*chosen, best_ns}
    for frame in reader.frames(stamps_ns=wanted, max_frames=len(wanted)):
        moment = moments[frame.stamp_ns]
        text = (
            f"{moment.state.name}  {moment.num_keypoints} keypoints  {moment.num_inliers} inliers"
        )
        picture = tracks[frame.stamp_ns].draw(frame.grey(), text)
        if frame.stamp_ns == best_ns:
            largest = picture
        if frame.stamp_ns in chosen:
            jpeg, size_wh = compress(picture)
            chosen[frame.stamp_ns] = dataclasses.replace(
                chosen[frame.stamp_ns], jpeg=jpeg, size_wh=size_wh
            )
    return tuple(moment for moment in chosen.values() if moment.jpeg), largest


def _write_report(
    path: Path,
    bag: str,
    replay: Replay,
    summary: Summary,
    moments: tuple[Moment, ...],
    graph: Sequence[NodeSpec],
) -> None:
    from superpoint_ros.evaluation.conditions import Condition
    from superpoint_ros.evaluation.html_report import Provenance, write_html
    from superpoint_ros.evaluation.results import BagResult, Evaluation, Row

    config = {
        spec.executable: {
            "params_files": list(spec.params_files),
            "overrides": {name: dict(values) for name, values in spec.overrides.items()},
        }
        for spec in graph
    }
    result = BagResult(Condition(), 0, replay.to_run(), summary, pictures=moments)
    row = Row(bag, printable(Path(bag).name), "superpoint", config, result)
    write_html(path, Evaluation((row,)), Provenance.of_now(typed_command()))
