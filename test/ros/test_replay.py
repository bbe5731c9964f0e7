# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A recording through the two processes over DDS gives what lock-step gives, frame by frame."""

import argparse
import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2")
pytest.importorskip("superpoint_ros.msg", reason="needs the built messages")

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rosbags.typesys import Stores, get_typestore
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from superpoint_ros.cli import replay as cli_replay
from superpoint_ros.config import ConfigError, from_mapping
from superpoint_ros.evaluation.bag import BagError, BagReader, Frame, SensorTopics
from superpoint_ros.evaluation.bag_writer import write_bag
from superpoint_ros.evaluation.lockstep import run_odometry
from superpoint_ros.evaluation.replay import read_replay
from superpoint_ros.evaluation.synthetic import SequenceConfig
from superpoint_ros.features.extractor import load_extractor
from superpoint_ros.graph import vo_graph
from superpoint_ros.msg import Features, TrackerStatus
from superpoint_ros.network.weights import WeightsError, find_weights
from superpoint_ros.odometry.visual_odometry import (
    OdometryConfig,
    VisualOdometry,
)
from superpoint_ros.ros import bag_player
from superpoint_ros.ros.bag_player import BagPlayer, copy_message, image_to_ros
from superpoint_ros.ros.frames import Mounting

pytestmark = pytest.mark.ros

FRAMES = 30
PATIENCE_S = 300.0  # ends a test that hangs; a slow computer is no failure
RECORDED = ("-r", "image:=/camera/image_raw", "-r", "camera_info:=/camera/camera_info")
ALL_PIXELS = ("-p", "keypoints.detection_threshold:=0.0")


def command(*arguments):
    return [sys.executable, "-m", "superpoint_ros", "replay", *map(str, arguments)]


def processes_of(out):
    """The command lines of living processes that work for this replay: nodes and player."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"SUPERPOINT_TEST={out}".encode() in path.read_bytes():
                found.append((path.parent / "cmdline").read_bytes().replace(b"\0", b" "))
        except OSError:
            continue
    return found


@pytest.fixture
def environment(tmp_path):
    return {**os.environ, "SUPERPOINT_TEST": str(tmp_path), "OMP_NUM_THREADS": "2"}


@pytest.fixture(scope="module")
def weights():
    try:
        return find_weights()
    except WeightsError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    return render_room(tmp_path_factory.mktemp("bag") / "room.mcap", frames=FRAMES)


def render_room(path, **settings):
    config = from_mapping(
        SequenceConfig,
        {
            "speed": 0.7,
            "camera": {"width": 320, "height": 232, "fx": 250.0, "fy": 247.0},
            "scene": {"texels_per_metre": 128.0, "seed": 3},
            **settings,
        },
    )
    write_bag(path, config)
    return path


@pytest.mark.slow
def test_two_processes_over_dds_give_the_poses_of_lock_step(room, weights, tmp_path, environment):
    summary_file = tmp_path / "copy.json"
    done = subprocess.run(
        command(room, "--out", tmp_path / "out", "--json", summary_file),
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not processes_of(tmp_path)
    summary = json.loads(summary_file.read_text())
    transport = summary["transport"]
    assert transport["images_sent"] == FRAMES
    assert transport["features_received"] == transport["status_received"] == FRAMES
    assert transport["features_lost"] == transport["images_dropped"] == 0
    assert (summary["frames"], summary["tracked"], summary["coverage"]) == (FRAMES, FRAMES, 1.0)
    assert summary["ate_rmse_m"] < 0.02
    assert {"p50", "p95", "p99"} == set(summary["latency_ms"]["total"])
    report = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert report.count("data:image/jpeg") >= 4  # start, middle, fewest inliers, end
    assert f"{FRAMES} of {FRAMES}, never lost" in report
    for name in ("summary.json", "trajectory.tum", "trajectory.png", "annotated.png"):
        assert (tmp_path / "out" / name).stat().st_size > 100, name

    with BagReader(room) as reader:
        lockstep = run_odometry(
            reader.frames(),
            load_extractor(),
            VisualOdometry(OdometryConfig(mode="rgbd")),
        )
    replay = read_replay(tmp_path / "out")
    assert sorted(replay.poses) == lockstep.stamps_ns
    mounting = Mounting.of_camera(replay.child_frame)
    for stamp_ns, T_world_cam in zip(lockstep.stamps_ns, lockstep.poses, strict=True):
        np.testing.assert_allclose(
            replay.poses[stamp_ns], mounting.pose(T_world_cam), rtol=0, atol=1e-9
        )


@pytest.mark.slow
def test_stereo_gives_the_poses_of_lock_step(weights, tmp_path, environment):
    stereo_room = render_room(tmp_path / "room.mcap", frames=6, sensor="stereo")
    done = subprocess.run(
        command(stereo_room, "--out", tmp_path / "out"),
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["sensor"], summary["coverage"]) == ("stereo", 1.0)
    assert summary["transport"]["features_lost"] == summary["transport"]["images_dropped"] == 0
    assert summary["ate_rmse_m"] < 0.02

    extractor = load_extractor()
    with BagReader(stereo_room) as reader:
        lockstep = run_odometry(
            reader.frames(),
            extractor,
            VisualOdometry(OdometryConfig(mode="stereo")),
            extract_batch=extractor.extract_batch,
        )
    replay = read_replay(tmp_path / "out")
    mounting = Mounting.of_camera(replay.child_frame)
    assert sorted(replay.poses) == lockstep.stamps_ns
    for stamp_ns, T_world_cam in zip(lockstep.stamps_ns, lockstep.poses, strict=True):
        np.testing.assert_allclose(
            replay.poses[stamp_ns], mounting.pose(T_world_cam), rtol=0, atol=1e-9
        )


@pytest.mark.slow
def test_at_a_fixed_rate_every_frame_is_accounted_for(room, weights, tmp_path, environment):
    done = subprocess.run(
        command(room, "--out", tmp_path, "--rate", 2.0, "--sensor", "mono"),
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    transport = json.loads((tmp_path / "summary.json").read_text())["transport"]
    assert transport["images_sent"] == FRAMES
    # What the network has no time for is dropped before it, never between the nodes.
    assert transport["features_received"] + transport["images_dropped"] == FRAMES
    assert transport["features_lost"] == 0


@pytest.mark.slow
def test_one_process_loses_nothing_either(room, weights, tmp_path, environment):
    done = subprocess.run(
        command(room, "--out", tmp_path, "--composed", "--max-frames", 8),
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["processes"], summary["tracked"]) == (1, 8)
    transport = summary["transport"]
    assert transport["features_received"] == transport["status_received"] == 8


@pytest.mark.slow
def test_ctrl_c_ends_everything(room, weights, tmp_path, environment):
    process = subprocess.Popen(
        # So slow that it cannot be over by itself.
        command(room, "--out", tmp_path, "--rate", 0.01, "--sensor", "mono"),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        events = tmp_path / "events.jsonl"
        deadline = time.monotonic() + PATIENCE_S
        # Written buffered: the player is at work as soon as the file is there.
        while not events.exists() and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.1)
        assert events.exists(), process.communicate(timeout=20)
        assert len(processes_of(tmp_path)) == 4
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert not processes_of(tmp_path)


def test_a_node_that_does_not_start_is_named_in_one_line(room, tmp_path, environment):
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"no weights at all")
    done = subprocess.run(
        command(room, "--out", tmp_path, "--weights", broken),
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 2
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, lines
    assert "features_node ended with exit code 1" in lines[0]
    assert "broken.safetensors" in lines[0]
    assert not processes_of(tmp_path)


def start_extractor(graph, weights):
    return graph.start("features_node", *RECORDED, "-p", f"weights:={weights}", *ALL_PIXELS)


def start_tracker(graph, remappings=RECORDED):
    # A slow computer is no failure: frames may wait for the tracker.
    parameters = ("-p", "odometry.mode:=homography", "-p", f"queue_size:={FRAMES}")
    return graph.start("tracker_node", *remappings, *parameters)


def start_player(graph, room, out, *arguments):
    fixed = ("--record", str(out), "--sensor", "mono")
    return subprocess.Popen(
        [sys.executable, "-m", "superpoint_ros.ros.bag_player", str(room), *fixed, *arguments],
        env=graph.environment,
        stderr=subprocess.PIPE,
        text=True,
    )


def end_of(graph, player):
    assert graph.wait(lambda: player.poll() is not None, timeout=PATIENCE_S)
    return player.returncode, player.stderr.read()


def test_nothing_is_played_before_the_two_nodes_have_met(graph, tiny_weights, room, tmp_path):
    """Here both have met the player long before they meet each other."""
    extractor = start_extractor(graph, tiny_weights)
    features = graph.listen(Features, "/superpoint/features")
    player = start_player(graph, room, tmp_path, "--rate", "2.0")
    assert graph.wait(lambda: graph.node.count_publishers("/camera/image_raw") == 1)
    graph.wait(lambda: False, timeout=3.0)  # for the features node and the player to meet
    extractor.send_signal(signal.SIGSTOP)
    start_tracker(graph)
    assert graph.wait(lambda: graph.node.count_publishers("/superpoint/status") == 1)
    graph.wait(lambda: False, timeout=4.0)
    assert player.poll() is None
    extractor.send_signal(signal.SIGCONT)
    assert end_of(graph, player) == (0, "")
    assert features
    transport = read_replay(tmp_path).transport()
    assert transport["images_sent"] == FRAMES
    assert transport["features_lost"] == 0
    assert transport["features_received"] + transport["images_dropped"] == FRAMES
    # All but the last went out while the features node was at work, not while it stood still.
    assert transport["features_received"] > 2


def test_ends_that_do_not_meet_are_named(graph, tiny_weights, room, tmp_path):
    start_extractor(graph, tiny_weights)
    start_tracker(graph, remappings=())  # waits for a calibration on a topic of its own
    listener = graph.listen(Features, "/superpoint/features")
    graph.wait_until_joined(needed=("/superpoint/features", "/superpoint/status"))
    code, errors = end_of(graph, start_player(graph, room, tmp_path, "--start-timeout", "15"))
    assert code == 1
    assert not listener
    assert "nobody subscribes to /camera/camera_info: are the nodes running" in errors
    assert "has found" not in errors  # the others have met
    assert len(errors.strip().splitlines()) == 1


def test_a_node_that_stands_still_for_a_while_loses_nothing(graph, tiny_weights, room, tmp_path):
    start_extractor(graph, tiny_weights)
    tracker = start_tracker(graph)
    statuses = graph.listen(TrackerStatus, "/superpoint/status")
    player = start_player(graph, room, tmp_path, "--answer-timeout", "2")
    assert graph.wait(lambda: len(statuses) >= 3)
    tracker.send_signal(signal.SIGSTOP)
    graph.wait(lambda: False, timeout=5.0)
    tracker.send_signal(signal.SIGCONT)
    assert end_of(graph, player) == (0, "")
    transport = read_replay(tmp_path).transport()
    assert transport["features_received"] == transport["status_received"] == FRAMES
    events = [json.loads(line)["event"] for line in (tmp_path / "events.jsonl").open()]
    assert "unanswered" not in events


def test_nodes_that_idle_are_not_waited_for_for_ever(graph, tiny_weights, room, tmp_path):
    start_extractor(graph, tiny_weights)
    start_tracker(graph)
    statuses = graph.listen(TrackerStatus, "/superpoint/status")
    player = start_player(graph, room, tmp_path, "--answer-timeout", "2", "--max-frames", "12")
    assert graph.wait(lambda: len(statuses) >= 3)
    # From now on the tracker takes no features.
    graph.call(
        ChangeState,
        "/superpoint/tracker_node/change_state",
        ChangeState.Request(transition=Transition(id=Transition.TRANSITION_DEACTIVATE)),
    )
    assert end_of(graph, player) == (0, "")
    transport = read_replay(tmp_path).transport()
    assert transport["images_sent"] == transport["features_received"] == 12
    assert transport["features_lost"] == 12 - transport["status_received"] > 0


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["/does/not/exist.mcap"], "/does/not/exist.mcap"),
        (["--rate", "-1"], "--rate"),
        (["--weights", "/no/such.safetensors"], "/no/such.safetensors"),
    ],
)
def test_mistakes_are_told_in_one_line(arguments, expected, tmp_path, environment):
    done = subprocess.run(
        command(*arguments, "--out", tmp_path),
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 2
    assert expected in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_messages_of_either_ros_generation_and_of_folders_become_ros_messages():
    types = get_typestore(Stores.ROS1_NOETIC).types
    header = types["std_msgs/msg/Header"](
        seq=3,
        stamp=types["builtin_interfaces/msg/Time"](sec=12, nanosec=345),
        frame_id="camera",
    )
    K = np.array([5.0, 0, 2, 0, 6, 3, 0, 0, 1])
    roi = types["sensor_msgs/msg/RegionOfInterest"](
        x_offset=1, y_offset=2, height=3, width=4, do_rectify=True
    )
    info = types["sensor_msgs/msg/CameraInfo"](
        header=header,
        height=48,
        width=80,
        distortion_model="plumb_bob",
        D=np.array([0.1, 0.2, 0.3, 0.4, 0.5]),
        K=K,
        R=np.eye(3).ravel(),
        P=np.zeros(12),
        binning_x=0,
        binning_y=0,
        roi=roi,
    )
    copied = copy_message(info, CameraInfo())
    np.testing.assert_array_equal(copied.k, K)
    assert list(copied.d) == [0.1, 0.2, 0.3, 0.4, 0.5]
    assert (copied.header.stamp.sec, copied.header.frame_id) == (12, "camera")
    assert (copied.roi.width, copied.roi.do_rectify) == (4, True)

    stamp = SimpleNamespace(sec=1, nanosec=2)
    plain = SimpleNamespace(stamp=stamp, frame_id="c")
    compressed = image_to_ros(SimpleNamespace(header=plain, format="png", data=b"\x01\x02"))
    assert isinstance(compressed, CompressedImage)
    assert bytes(compressed.data) == b"\x01\x02"
    pixels = np.arange(12, dtype=np.uint8)
    image = image_to_ros(
        SimpleNamespace(
            header=plain, height=3, width=4, encoding="mono8", step=4, is_bigendian=0, data=pixels
        )
    )
    assert isinstance(image, Image)
    assert bytes(image.data) == pixels.tobytes()
    assert (image.height, image.width, image.step) == (3, 4, 4)


class FakeReader:
    """Gives the same frame three times; complains of being asked for more meanwhile."""

    def __init__(self, frame):
        self.frame = frame
        self.is_open = False

    def frames(self, every, max_frames):
        self.is_open = True
        yield from [self.frame] * 3
        self.is_open = False


class FakePlayer:
    def publish_static_transforms(self, reader):
        assert not reader.is_open
        self.has_static_transforms = True

    def advertise(self, frame):
        assert self.has_static_transforms
        raise InterruptedError  # enough seen


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ("", pytest.raises(InterruptedError)),
        (
            "/depth: no message within 20 ms",
            pytest.raises(BagError, match=r"not one frame can be used, the first: /depth: no"),
        ),
    ],
)
def test_before_the_first_frame_goes_out(error, expected, monkeypatch):
    monkeypatch.setattr(bag_player, "SingleThreadedExecutor", mock.MagicMock)
    options = argparse.Namespace(bag="a.mcap", every=1, max_frames=0)
    reader = FakeReader(Frame(0, 5, None, None, error=error))
    playback = bag_player._Playback(
        options, threading.Event(), reader, FakePlayer(), mock.MagicMock()
    )
    with expected:
        playback.run()


def test_the_calibration_of_a_file_is_played_where_the_tracker_hears_it():
    for image in ("/compressed_cam/a/image_raw", "/a/compressed_b/image", "/a/b/image/compressed"):
        (_, tracker) = vo_graph(image=image)
        assert dict(tracker.remappings)["camera_info"] == bag_player._info_topic("my.yaml", image)


def test_depth_has_its_own_calibration():
    info, depth_info = CameraInfo(width=80), CameraInfo(width=40)
    topics = SensorTopics(
        sensor="rgbd",
        image="/color/image",
        camera_info="/color/camera_info",
        depth="/depth/image",
        depth_camera_info="/depth/camera_info",
    )
    published = {}
    player = SimpleNamespace(
        _topics=topics,
        _clock_publisher=None,
        _publish=lambda topic, message: published.setdefault(topic, message),
        _log=mock.MagicMock(),
    )
    frame = Frame(0, 5, Image(), info, Image(), depth_info, gap_ns=2)
    BagPlayer.publish_frame(player, frame)
    assert list(published)[-1] == "/color/image"  # what the others belong to comes last
    # Messages without a stamp have that of their frame.
    stamps = [published[topic].header.stamp.nanosec for topic in ("/color/image", "/depth/image")]
    assert stamps == [5, 7]
    assert published["/color/camera_info"].width == 80
    assert published["/depth/camera_info"].width == 40
    args = argparse.Namespace(
        param=[],
        depth_units_per_metre=0.0,
        weights="",
        params_file="",
        use_sim_time=False,
        composed=True,
    )
    for own, heard in (("/depth/camera_info", "/depth/camera_info"), ("", "/color/camera_info")):
        changed = dataclasses.replace(topics, depth_camera_info=own)
        (node,) = cli_replay._make_graph(args, "rgbd", changed, 1000.0)
        assert dict(node.remappings)["depth/camera_info"] == heard


def test_the_player_pairs_as_the_tracker_does(monkeypatch, tmp_path):
    started = []

    class Processes:
        def __init__(self, graph, environment, output=None):
            started.extend(graph)

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def find_ended(self):
            return "player", 2

        def stop(self, grace_s):
            return {}

    monkeypatch.setattr(cli_replay, "GraphProcesses", Processes)
    args = argparse.Namespace(
        param=["tracker_node:sync_slop:=0.05"],
        out=tmp_path,
        join_domain=True,
        rate=0.0,
        every=1,
        max_frames=0,
        start_timeout=1.0,
        use_sim_time=False,
    )
    with pytest.raises(cli_replay.ReplayFailed):
        cli_replay._play(args, "a.mcap", SensorTopics(), ())
    (player,) = started
    command = player.command()
    assert command[command.index("--slop") + 1] == "0.05"
    args.param = []
    assert cli_replay._slop_s(args) == 0.02
    args.param = ["tracker_node:sync_slop:=-1"]
    with pytest.raises(ConfigError, match="sync_slop"):
        cli_replay._slop_s(args)
