# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from superpoint_ros.decode import decode_depth, decode_grey
from superpoint_ros.evaluation import recordings
from superpoint_ros.evaluation.bag import BagError, BagReader, SensorTopics

WriteBag = Callable[..., Path]
Messages = Any  # test/evaluation/conftest.py
FORMATS = ("mcap", "sqlite3", "ros1")
T0 = 1_700_000_000_000_000_000
STEP = 100_000_000  # 10 Hz
N = 4


def rgbd_entries(picture: np.ndarray, depth_picture: np.ndarray, gap_ns: int = 0):
    def entries(m: Messages) -> list:
        rows = []
        for i in range(N):
            t = T0 + i * STEP
            rows += [
                ("/camera/image_raw/compressed", t, m.compressed(t, picture)),
                ("/camera/depth/image_raw", t, m.image(t + gap_ns, depth_picture, "16UC1")),
                ("/ground_truth/pose", t, m.pose_stamped(t, (i, 0, 0))),
            ]
        # once, and only after the first image
        return [*rows[:1], ("/camera/camera_info", T0 + 1, m.camera_info(T0)), *rows[1:]]

    return entries


@pytest.mark.parametrize("storage", FORMATS)
def test_every_format_gives_the_same_frames(
    storage: str, write_bag: WriteBag, picture: np.ndarray, depth_picture: np.ndarray
) -> None:
    path = write_bag(rgbd_entries(picture, depth_picture), storage)
    with BagReader(path) as reader:
        assert reader.sensor.sensor == "rgbd"
        assert reader.num_images == N
        frames = list(reader.frames())
        truth = reader.ground_truth()
    assert [frame.stamp_ns for frame in frames] == [T0 + i * STEP for i in range(N)]
    assert [frame.index for frame in frames] == list(range(N))
    for frame in frames:
        assert (frame.error, frame.gap_ns) == ("", 0)
        np.testing.assert_array_equal(decode_grey(frame.image), picture)
        np.testing.assert_allclose(decode_depth(frame.second), depth_picture / 1000.0, rtol=1e-6)
        assert frame.camera_info.width == 40
    np.testing.assert_array_equal(truth.poses[:, 0, 3], range(N))
    np.testing.assert_array_equal(truth.stamps_ns, [frame.stamp_ns for frame in frames])


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_bare_file_and_folder_without_metadata(
    storage: str, write_bag: WriteBag, picture: np.ndarray, depth_picture: np.ndarray
) -> None:
    path = write_bag(rgbd_entries(picture, depth_picture), storage)
    bare = next(file for file in path.iterdir() if file.suffix in (".mcap", ".db3"))
    with BagReader(bare) as reader:
        assert len(list(reader.frames())) == N
    (path / "metadata.yaml").unlink()
    with BagReader(path) as reader:
        assert len(list(reader.frames())) == N


def test_measured_gap_and_too_wide_a_gap(
    write_bag: WriteBag, picture: np.ndarray, depth_picture: np.ndarray
) -> None:
    path = write_bag(rgbd_entries(picture, depth_picture, gap_ns=15_000_000))
    with BagReader(path) as reader:
        assert [frame.gap_ns for frame in reader.frames()] == [15_000_000] * N
    with BagReader(path, slop_ns=10_000_000) as reader:
        frames = list(reader.frames())
    assert len(frames) == N
    assert "/camera/depth/image_raw: no message within 10 ms" in frames[0].error
    assert "+15.0 ms" in frames[0].error


def test_subsets_keep_pairs_and_indices(
    write_bag: WriteBag, picture: np.ndarray, depth_picture: np.ndarray
) -> None:
    path = write_bag(rgbd_entries(picture, depth_picture))
    with BagReader(path) as reader:
        assert [f.index for f in reader.frames(every=2)] == [0, 2]
        assert [f.index for f in reader.frames(max_frames=3)] == [0, 1, 2]
        wanted = {T0 + STEP, T0 + 3 * STEP}
        assert [f.stamp_ns for f in reader.frames(stamps_ns=wanted)] == sorted(wanted)


def test_newer_calibration_replaces_the_older(write_bag: WriteBag, picture: np.ndarray) -> None:
    def entries(m: Messages) -> list:
        rows = []
        for i in range(3):
            t = T0 + i * STEP
            rows.append(("/camera/camera_info", t, m.camera_info(t, fx=30.0 + i)))
            rows.append(("/camera/image_raw", t + 1, m.image(t, picture, "mono8")))
        return rows

    with BagReader(write_bag(entries)) as reader:
        assert [frame.camera_info.k[0] for frame in reader.frames()] == [30.0, 31.0, 32.0]


def test_one_damaged_message_is_named_and_the_rest_goes_on(
    write_bag: WriteBag, picture: np.ndarray
) -> None:
    def entries(m: Messages) -> list:
        rows = [("/camera/camera_info", T0, m.camera_info(T0))]
        for i in range(N):
            t = T0 + i * STEP
            rows.append(("/camera/image_raw", t, m.image(t, picture, "mono8")))
        rows[2] = ("/camera/image_raw", rows[2][1], b"\x00\x01\x00\x00garbage")
        return rows

    with BagReader(write_bag(entries)) as reader:
        frames = list(reader.frames())
    assert [bool(frame.error) for frame in frames] == [False, True, False, False]
    assert "/camera/image_raw" in frames[1].error
    assert frames[1].stamp_ns == T0 + STEP  # the record time, as its own cannot be read


def test_record_time_stands_in_for_a_stamp_of_zero(
    write_bag: WriteBag, picture: np.ndarray
) -> None:
    def entries(m: Messages) -> list:
        return [
            ("/camera/camera_info", T0, m.camera_info(0)),
            ("/camera/image_raw", T0 + 5, m.image(0, picture, "mono8")),
        ]

    with BagReader(write_bag(entries)) as reader:
        assert [frame.stamp_ns for frame in reader.frames()] == [T0 + 5]


@pytest.mark.parametrize("storage", FORMATS)
def test_truth_of_a_body_moves_to_the_camera_over_tf_static(
    storage: str, write_bag: WriteBag, picture: np.ndarray
) -> None:
    # The marker's frame is the parent of base, base that of the camera, which looks along x.
    optical = (-0.5, 0.5, -0.5, 0.5)

    def entries(m: Messages) -> list:
        static = m.make(
            "tf2_msgs/msg/TFMessage",
            transforms=[
                m.transform_stamped(T0, "marker", "base_link", (0, 0, -1)),
                m.transform_stamped(T0, "base_link", "camera", (0.5, 0, 0), optical),
            ],
        )
        t = T0 + STEP
        return [
            ("/tf_static", T0, static),
            ("/camera/camera_info", T0, m.camera_info(T0)),
            ("/camera/image_raw", T0, m.image(T0, picture, "mono8")),
            ("/mocap/marker", T0, m.transform_stamped(T0, "world", "marker", (7, 0, 3))),
            ("/mocap/marker", t, m.transform_stamped(t, "world", "marker", (8, 0, 3))),
        ]

    with BagReader(write_bag(entries, storage)) as reader:
        assert reader.sensor.ground_truth == "/mocap/marker"
        truth = reader.ground_truth()
        assert reader.base_frame() == "base_link"
    np.testing.assert_allclose(truth.poses[:, :3, 3], [[7.5, 0, 2], [8.5, 0, 2]], atol=1e-12)
    # the optical axis z of the camera is x of the world
    np.testing.assert_allclose(truth.poses[0, :3, 2], [1, 0, 0], atol=1e-12)


def test_a_truth_of_a_body_that_nothing_leads_to_is_told(
    write_bag: WriteBag, picture: np.ndarray
) -> None:
    def entries(m: Messages) -> list:
        return [
            ("/camera/camera_info", T0, m.camera_info(T0)),
            ("/camera/image_raw", T0, m.image(T0, picture, "mono8")),
            ("/mocap/marker", T0, m.transform_stamped(T0, "world", "marker", (7, 0, 3))),
        ]

    with BagReader(write_bag(entries)) as reader:
        assert reader.ground_truth().poses[0, :3, 3].tolist() == [7, 0, 3]
        assert "/mocap/marker are of 'marker', from which /tf_static" in reader.ground_truth_note
        assert "lead to the camera 'camera'" in reader.ground_truth_note


def test_a_truth_that_lost_its_body_is_left_out(write_bag: WriteBag, picture: np.ndarray) -> None:
    def entries(m: Messages) -> list:
        poses = [m.pose_stamped(T0 + i, (i, 0.0, 0.0)) for i in range(4)]
        poses[1].pose.position.y = float("nan")
        poses[2].pose.orientation.w = 0.0
        return [
            ("/camera/camera_info", T0, m.camera_info(T0)),
            ("/camera/image_raw", T0, m.image(T0, picture, "mono8")),
            *(("/mocap/pose", T0 + i, pose) for i, pose in enumerate(poses)),
        ]

    with BagReader(write_bag(entries)) as reader:
        truth = reader.ground_truth()
        assert truth.poses[:, 0, 3].tolist() == [0.0, 3.0]
        assert reader.ground_truth_note.startswith("2 poses of /mocap/pose were left out")


@pytest.mark.parametrize("storage", ["sqlite3", "mcap"])
def test_a_rosbag2_directory_may_be_named_bag(
    storage: str, write_bag: WriteBag, picture: np.ndarray
) -> None:
    def entries(m: Messages) -> list:
        return [
            ("/camera/camera_info", T0, m.camera_info(T0)),
            ("/camera/image_raw", T0, m.image(T0, picture, "mono8")),
        ]

    with BagReader(write_bag(entries, storage, "run.bag")) as reader:
        assert len(list(reader.frames())) == 1


def test_odometry_with_covariance_is_read(write_bag: WriteBag, picture: np.ndarray) -> None:
    def entries(m: Messages) -> list:
        covariance = np.zeros(36)
        with_covariance = m.make(
            "geometry_msgs/msg/PoseWithCovariance", pose=m.pose((1, 2, 3)), covariance=covariance
        )
        zero = m.make("geometry_msgs/msg/Vector3", x=0.0, y=0.0, z=0.0)
        twist = m.make(
            "geometry_msgs/msg/TwistWithCovariance",
            twist=m.make("geometry_msgs/msg/Twist", linear=zero, angular=zero),
            covariance=covariance,
        )
        odometry = m.make(
            "nav_msgs/msg/Odometry",
            header=m.header(T0, "world"),
            child_frame_id="",
            pose=with_covariance,
            twist=twist,
        )
        return [
            ("/camera/camera_info", T0, m.camera_info(T0)),
            ("/camera/image_raw", T0, m.image(T0, picture, "mono8")),
            ("/ground_truth/odom", T0, odometry),
        ]

    with BagReader(write_bag(entries)) as reader:
        np.testing.assert_array_equal(reader.ground_truth().poses[0, :3, 3], [1, 2, 3])


def test_calibration_file_replaces_the_topic(
    write_bag: WriteBag, picture: np.ndarray, tmp_path: Path
) -> None:
    path = write_bag(lambda m: [("/camera/image_raw", T0, m.image(T0, picture, "mono8"))])
    with BagReader(path) as reader, pytest.raises(BagError, match="--camera-info"):
        next(reader.frames())
    calibration = tmp_path / "calibration.yaml"
    calibration.write_text("fx: 31.5\nfy: 32\ncx: 20\ncy: 12\nwidth: 40\nheight: 24\n")
    with BagReader(path, SensorTopics(camera_info=str(calibration))) as reader:
        frame = next(reader.frames())
    assert frame.camera_info.k.tolist() == [31.5, 0, 20, 0, 32, 12, 0, 0, 1]


@pytest.mark.parametrize("step", ["open", "messages", "deserialize"])
def test_whatever_a_damaged_file_raises_is_named(
    step: str, write_bag: WriteBag, picture: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    # apsw.Error, ZstdError and OSError without a file's name come out of rosbags as they are.
    class DamageError(Exception):
        pass

    def fail(*args: object, **options: object) -> None:
        raise DamageError("bad block")

    def fail_later(*args: object, **options: object) -> Iterator[None]:
        yield fail()

    path = write_bag(lambda m: [("/camera/image_raw", T0, m.image(T0, picture, "mono8"))])
    monkeypatch.setattr(recordings.AnyReader, step, fail_later if step == "messages" else fail)
    with pytest.raises(BagError, match=rf"({path.name}|/camera/image_raw): .*\(bad block\)"):
        [message.read() for message in BagReader(path).messages(["/camera/image_raw"])]


def test_what_is_no_recording_is_named(tmp_path: Path) -> None:
    with pytest.raises(BagError, match=r"absent: no such file"):
        BagReader(tmp_path / "absent")
    text = tmp_path / "notes.txt"
    text.write_text("hello")
    with pytest.raises(BagError, match=r"not a recording"):
        BagReader(text)
    with pytest.raises(BagError, match=r"neither a bag .* nor an image folder"):
        BagReader(tmp_path)
    for name in ("cut.mcap", "cut.db3", "cut.bag"):
        (tmp_path / name).write_bytes(b"\x89MCAP0\r\nshort")
        with pytest.raises(BagError, match=rf"{name}: cannot be read as a bag"):
            BagReader(tmp_path / name)


def test_only_one_reads_at_a_time(write_bag: WriteBag, picture: np.ndarray) -> None:
    # In a file without chunks the one that began first would end where the second did.
    path = write_bag(mono_entries(picture))
    with BagReader(path) as reader:
        frames = reader.frames()
        next(frames)
        with pytest.raises(RuntimeError, match=f"{path.name}: is being read already"):
            list(reader.messages(["/ground_truth/pose"]))
        assert len(list(frames)) == N - 1
        assert len(list(reader.messages(["/ground_truth/pose"]))) == N


def mono_entries(picture: np.ndarray) -> Callable[[Messages], list]:
    def entries(m: Messages) -> list:
        rows = []
        for i in range(N):
            t = T0 + i * STEP
            rows += [
                ("/camera/camera_info", t, m.camera_info(t, fx=30.0 + i)),
                ("/camera/image_raw", t + 1, m.image(t, picture, "mono8")),
                ("/ground_truth/pose", t + 2, m.pose_stamped(t, (i, 0, 0))),
            ]
        return rows

    return entries


@pytest.mark.parametrize("damaged", [[1], [2, 4]])
def test_damaged_calibrations_and_poses_are_counted_and_passed_over(
    damaged: list[int], write_bag: WriteBag, picture: np.ndarray
) -> None:
    def entries(m: Messages) -> list:
        rows = mono_entries(picture)(m)
        # The message of a topic that is written first tells its type; it is read last.
        late = [(topic, time_ns + N * STEP, message) for topic, time_ns, message in rows[:3]]
        rows = [*late, *rows]
        for i in damaged:
            for place in (3 * i, 3 * i + 2):
                rows[place] = (*rows[place][:2], b"\x00\x01\x00\x00\x05")
        return rows

    with BagReader(write_bag(entries)) as reader:
        frames = list(reader.frames())
        truth = reader.ground_truth()
        notes = reader.notes
    assert [frame.error for frame in frames] == [""] * (N + 1)
    assert len(truth) == N - len(set(damaged) - {1})
    for topic in ("/camera/camera_info", "/ground_truth/pose"):
        assert f"{len(damaged)} messages of {topic} cannot be deserialised: passed over" in notes


def test_metadata_that_does_not_fit_its_files_is_told(
    write_bag: WriteBag, picture: np.ndarray, tmp_path: Path
) -> None:
    path = write_bag(mono_entries(picture), "sqlite3")
    lifespan = "{sec: 1, nsec: 0}"
    profile = (
        f"[{{history: 3, depth: 0, reliability: 1, durability: 2, deadline: {lifespan}, "
        f"lifespan: {lifespan}, liveliness: 1, liveliness_lease_duration: {lifespan}, "
        "avoid_ros_namespace_conventions: false}]"
    )
    metadata = (path / "metadata.yaml").read_text()
    assert "offered_qos_profiles: []" in metadata
    (path / "metadata.yaml").write_text(
        metadata.replace("offered_qos_profiles: []", f"offered_qos_profiles: {profile}")
    )
    with (
        BagReader(path) as reader,
        pytest.raises(
            BagError, match=rf"{path.name}: no message of /camera/camera_info can be read, of {N} "
        ),
    ):
        reader.check_calibration()
    calibration = tmp_path / "calibration.yaml"
    calibration.write_text("fx: 30\nfy: 30\ncx: 20\ncy: 12\nwidth: 40\nheight: 24\n")
    wanted = SensorTopics(camera_info=str(calibration))
    with (
        BagReader(path, wanted) as reader,
        pytest.raises(BagError, match=rf"no message of /camera/image_raw can be read, of {N} "),
    ):
        list(reader.frames())


@pytest.mark.parametrize("from_file", ["camera_info", "right_camera_info"])
def test_one_camera_of_a_pair_may_be_calibrated_by_a_file(
    from_file: str, write_bag: WriteBag, picture: np.ndarray, tmp_path: Path
) -> None:
    side = "right" if from_file == "camera_info" else "left"  # what is recorded

    def entries(m: Messages) -> list:
        images = [
            (f"/{name}/image_raw", T0, m.image(T0, picture, "mono8")) for name in ("left", "right")
        ]
        return [(f"/{side}/camera_info", T0, m.camera_info(T0, fx=31.0)), *images]

    calibration = tmp_path / "calibration.yaml"
    calibration.write_text("fx: 32\nfy: 32\ncx: 20\ncy: 12\nwidth: 40\nheight: 24\n")
    wanted = SensorTopics(**{from_file: str(calibration)})
    with BagReader(write_bag(entries), wanted) as reader:
        (frame,) = reader.frames()
        assert reader.sensor.sensor == "stereo"
    assert frame.is_stereo
    focal_lengths = (frame.camera_info.k[0], frame.second_camera_info.k[0])
    assert focal_lengths == ((32.0, 31.0) if from_file == "camera_info" else (31.0, 32.0))


@pytest.mark.parametrize(("fx", "is_told"), [(30.5, False), (21.0, True)])
def test_depth_of_another_lens_is_told(
    fx: float,
    is_told: bool,
    write_bag: WriteBag,
    picture: np.ndarray,
    depth_picture: np.ndarray,
) -> None:
    def entries(m: Messages) -> list:
        return [
            ("/camera/depth/camera_info", T0, m.camera_info(T0, fx=fx)),
            ("/camera/depth/image_raw", T0, m.image(T0, depth_picture, "16UC1")),
            ("/camera/color/camera_info", T0, m.camera_info(T0, fx=30.0)),
            ("/camera/color/image_raw", T0, m.image(T0, picture, "mono8")),
        ]

    with BagReader(write_bag(entries)) as reader:
        (frame,) = reader.frames()
        notes = reader.notes
    assert frame.second_camera_info.k[0] == fx
    assert not frame.is_stereo
    expected = (
        "depth is not registered to the image: /camera/depth/camera_info has a focal length of "
        "21 pixels, /camera/color/camera_info 30; use the topic of aligned depth"
    )
    assert [note.startswith(expected) for note in notes] == [True] * is_told


def test_a_part_that_was_cut_off_is_named_and_files_of_macos_are_none(
    write_bag: WriteBag, picture: np.ndarray
) -> None:
    path = write_bag(mono_entries(picture))
    (path / "metadata.yaml").unlink()
    (path / "._bag.mcap").write_bytes(b"of macOS")
    with BagReader(path) as reader:
        assert len(list(reader.frames())) == N
    whole = (path / "bag.mcap").read_bytes()
    cut = path / "bag_1.mcap"
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(
        BagError,
        match=rf"bag: cannot be read as a bag: bag_1.mcap \(.*'mcap recover {cut} -o "
        r"bag_1_recovered.mcap'; the other files",
    ):
        BagReader(path)
    (path / "bag.mcap").unlink()
    with pytest.raises(BagError, match=r"bag_1_recovered.mcap'$"):
        BagReader(path)


@pytest.mark.parametrize("name", ["other.mcap", "bag_2.db3", "bag2.mcap"])
def test_a_folder_of_several_recordings_is_none(
    name: str, write_bag: WriteBag, picture: np.ndarray
) -> None:
    path = write_bag(mono_entries(picture))
    (path / "metadata.yaml").unlink()
    (path / name).write_bytes((path / "bag.mcap").read_bytes())
    with pytest.raises(BagError, match=r"holds several recordings \(bag.*\): name one of them"):
        BagReader(path)


@pytest.mark.parametrize(
    "names",
    [
        ("run_0.mcap", "run_1.mcap", "run_10.mcap"),
        ("run_2026-11-30-10-00-00_0.bag", "run_2026-11-30-10-05-00_1.bag"),
    ],
)
def test_parts_of_one_recording_are_one(names: tuple[str, ...], tmp_path: Path) -> None:
    for name in names:
        (tmp_path / name).write_bytes(b"")
    assert [file.name for file in recordings._storage_files(tmp_path)] == sorted(names)


@pytest.mark.dataset
def test_shared_recordings_are_recognised(shared_data: Path) -> None:
    expected = {
        "bags/tum_fr1_rpy_rgbd": ("rgbd", 300, 300),
        "bags/euroc_v101_static_stereo": ("stereo", 31, 10),
        "bags/vamr_corner_mono_ros1.bag": ("mono", 210, 210),
        "sequences/kitti_excerpt1_mono": ("mono", 51, 51),
    }
    for name, (sensor, num_frames, num_poses) in expected.items():
        with BagReader(shared_data / name) as reader:
            assert reader.sensor.sensor == sensor
            frames = [(frame.error, frame.gap_ns) for frame in reader.frames()]
            assert len(frames) == num_frames
            assert set(frames) == {("", None if sensor == "mono" else 0)}
            assert len(reader.ground_truth()) == num_poses
            assert reader.base_frame() == ""
