# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Rendered frames are what their poses, depth and camera say, to small fractions of a pixel."""

import functools

import cv2
import numpy as np
import pytest
from rosbags.highlevel import AnyReader

from superpoint_ros.config import ConfigError, from_mapping
from superpoint_ros.evaluation import bag_writer, synthetic
from superpoint_ros.evaluation.bag_writer import SequenceBagWriter, write_bag
from superpoint_ros.evaluation.scene import Quad, Renderer, build_scene, texture_size
from superpoint_ros.evaluation.synthetic import (
    TRAJECTORIES,
    SequenceConfig,
    SyntheticSequence,
    camera_pose,
    round_length_m,
)
from superpoint_ros.geometry.camera import Camera
from superpoint_ros.geometry.se3 import inverse, transform_points
from superpoint_ros.geometry.triangulation import back_project

DISTORTION = [0.2624, -0.9531, -0.0054, 0.0026, 1.1633]  # of the Kinect of TUM fr1


def make_config(**values):
    camera = {"width": 160, "height": 112, "fx": 135.0, "fy": 131.0, "cx": 83.2, "cy": 53.1}
    camera.update(values.pop("camera", {}))
    scene = {"texels_per_metre": 64.0, "seed": 7, **values.pop("scene", {})}
    return from_mapping(SequenceConfig, {"camera": camera, "scene": scene, **values})


@pytest.fixture(autouse=True, scope="module")
def _draw_every_room_once():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthetic, "make_room", functools.cache(synthetic.make_room))
        yield


@pytest.fixture(scope="module")
def sequence():
    return SyntheticSequence(make_config(noise_grey=0.0))


@pytest.mark.parametrize("distortion", [[], DISTORTION])
def test_a_pixel_its_depth_and_pose_lead_to_the_same_texel_in_another_frame(distortion):
    sequence = SyntheticSequence(make_config(camera={"distortion": distortion}))
    renderer, camera = sequence.renderer, sequence.camera
    T_world_a, T_world_b = sequence.pose(0.4), sequence.pose(0.9)
    hits_a, hits_b = renderer.cast(T_world_a), renderer.cast(T_world_b)
    rows, columns = (v.ravel() for v in np.mgrid[3:109:2, 3:157:2])
    pixels_a = camera.undistort(np.stack([columns, rows], axis=1).astype(float))
    depth = renderer.render_depth(T_world_a)[rows, columns]
    rays = np.linalg.solve(camera.K, np.column_stack([pixels_a, np.ones(len(rows))]).T).T
    points_b = transform_points(inverse(T_world_b) @ T_world_a, rays * depth[:, None])
    projected = cv2.projectPoints(
        points_b, np.zeros(3), np.zeros(3), camera.K, np.array(distortion or [0.0] * 4)
    )[0].reshape(-1, 2)
    in_front = points_b[:, 2] > 0.3
    inside = (projected > 1).all(axis=1) & (projected < np.array([158, 110])).all(axis=1)
    x, y = projected.T.astype(np.float32)
    # All four neighbours must see the same rectangle, or there is nothing to interpolate.
    quads_b = hits_b.quad
    left, top = (np.clip(np.floor(v).astype(int), 0, limit) for v, limit in ((x, 158), (y, 110)))
    quad_a = hits_a.quad[rows, columns]
    same = np.all([quads_b[top + i, left + j] == quad_a for i in (0, 1) for j in (0, 1)], axis=0)
    valid = in_front & inside & same
    assert valid.sum() > 1500
    # Texture coordinates times inverse depth are linear over the (undistorted) image.
    texel_errors = []
    for name in ("texture_x", "texture_y"):
        over_depth_b = getattr(hits_b, name) * hits_b.inverse_depth
        exact = _bilinear(over_depth_b, x, y) / _bilinear(hits_b.inverse_depth, x, y)
        texel_errors.append((exact - getattr(hits_a, name)[rows, columns])[valid])
    error = np.hypot(*texel_errors)
    # A texel is 16 mm, a pixel at 3 m 22 mm: 0.02 texels are 0.015 px (bilinear bends with D).
    assert np.max(error) < (0.005 if not distortion else 0.05)


def _bilinear(image, x, y):
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    left, top = np.clip(left, 0, image.shape[1] - 2), np.clip(top, 0, image.shape[0] - 2)
    a, b = (x - left).astype(float), (y - top).astype(float)
    image = image.astype(float)
    return (
        image[top, left] * (1 - a) * (1 - b)
        + image[top, left + 1] * a * (1 - b)
        + image[top + 1, left] * (1 - a) * b
        + image[top + 1, left + 1] * a * b
    )


def test_grey_levels_agree_between_frames(sequence):
    T_world_a, T_world_b = sequence.pose(0.5), sequence.pose(0.6)
    image_a = sequence.renderer.render([T_world_a])
    image_b = sequence.renderer.render([T_world_b])
    depth_a = sequence.renderer.render_depth(T_world_a)
    depth_b = sequence.renderer.render_depth(T_world_b)
    rows, columns = np.mgrid[0:112, 0:160]
    rays = np.stack([columns.ravel(), rows.ravel(), np.ones(rows.size)], axis=1)
    rays = np.linalg.solve(sequence.camera.K, rays.T).T
    points_b = transform_points(inverse(T_world_b) @ T_world_a, rays * depth_a.reshape(-1, 1))
    projected = (points_b / points_b[:, 2:]) @ sequence.camera.K.T
    x, y = (projected[:, k].astype(np.float32).reshape(112, 160) for k in (0, 1))
    warped = cv2.remap(image_b, x, y, cv2.INTER_LINEAR, borderValue=-1)
    depth_seen = cv2.remap(depth_b, x, y, cv2.INTER_LINEAR, borderValue=-1)
    visible = np.abs(depth_seen - points_b[:, 2].reshape(112, 160)) < 0.01
    assert visible.mean() > 0.8
    error = np.abs(warped - image_a)[visible]
    shifted = np.abs(np.roll(warped, 1, axis=1) - image_a)[visible]
    # What is left is resampling: a whole pixel off would be several times worse.
    assert np.median(error) < 3.0
    assert error.mean() < 0.4 * shifted.mean()


@pytest.mark.parametrize("distortion", [[], DISTORTION])
def test_a_corner_of_the_texture_appears_where_it_projects(distortion):
    texels = 400.0
    quad = Quad(
        np.array([-1.0, 0.8, 3.0]), np.array([1.0, 0, 0]), np.array([0, -1.0, 0]), (2, 1.6)
    )
    height, width = texture_size(quad.size_m, texels)
    square = 80  # texels, 0.2 m
    margin = (height - int(1.6 * texels)) // 2
    rows, columns = np.indices((height, width)) - margin
    board = (((rows // square) + (columns // square)) % 2 * 180 + 40).astype(np.uint8)
    scene = build_scene([quad], texels, np.random.default_rng(0), textures=[board])
    K = np.array([[525.0, 0, 322.3], [0, 519.0, 237.6], [0, 0, 1]])
    camera = Camera(K=K, distortion=np.array(distortion), image_size_hw=(480, 640))
    # Before the board, whose visible side looks towards -z: seen from 3 m to 4 m, at an angle.
    angle = np.array([0.15, -0.3, 0.1])
    T_world_cam = np.eye(4)
    T_world_cam[:3, :3] = cv2.Rodrigues(angle)[0]
    T_world_cam[:3, 3] = [0.7, 0.35, -0.3]
    image = Renderer(scene, camera).render([T_world_cam])
    assert image.max() > 200
    corners = np.array(
        [[-1 + 0.2 * i, 0.8 - 0.2 * j, 3.0] for i in range(1, 10) for j in range(1, 8)]
    )
    T_cam_world = inverse(T_world_cam)
    expected = cv2.projectPoints(
        corners,
        cv2.Rodrigues(T_cam_world[:3, :3])[0],
        T_cam_world[:3, 3],
        K,
        np.array(distortion or [0.0] * 4),
    )[0].reshape(-1, 2)
    inside = (expected > 15).all(axis=1) & (expected < [624, 464]).all(axis=1)
    assert inside.sum() >= 40
    expected = expected[inside]
    # cornerSubPix wants smooth edges; an ideal image (16 x 16 samples a pixel) gives 0.036 too.
    found = cv2.cornerSubPix(
        np.round(cv2.GaussianBlur(image, (0, 0), 1.0)).astype(np.uint8),
        expected.astype(np.float32).reshape(-1, 1, 2),
        (8, 8),
        (-1, -1),
        (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 100, 1e-4),
    ).reshape(-1, 2)
    error = np.linalg.norm(found - expected, axis=1)
    assert error.max() < 0.05
    assert np.abs((found - expected).mean(axis=0)).max() < 0.01


def test_depth_is_along_the_optical_axis():
    quad = Quad(
        np.array([-9.0, 9.0, 2.5]), np.array([1.0, 0, 0]), np.array([0, -1.0, 0]), (18, 18)
    )
    scene = build_scene([quad], 8.0, np.random.default_rng(0))
    K = np.array([[40.0, 0, 24.0], [0, 38.0, 15.0], [0, 0, 1]])
    renderer = Renderer(scene, Camera(K=K, image_size_hw=(32, 48)))
    np.testing.assert_allclose(renderer.render_depth(np.eye(4)), 2.5, rtol=1e-5)
    behind = np.diag([-1.0, 1.0, -1.0, 1.0])
    assert np.isnan(renderer.render_depth(behind)).all()
    assert not renderer.render([behind]).any()


def test_stereo_disparity_is_focal_length_times_baseline_over_depth():
    sequence = SyntheticSequence(make_config(sensor="stereo", noise_grey=0.0))
    frame = sequence.frame(5)
    depth = sequence.renderer.render_depth(frame.T_world_cam)
    assert sequence.right_camera.P[0, 3] == pytest.approx(-135.0 * 0.12)
    columns, rows = np.meshgrid(np.arange(160.0), np.arange(112.0))
    x_right = (columns - 135.0 * 0.12 / depth).astype(np.float32)
    warped = cv2.remap(frame.right_image, x_right, rows.astype(np.float32), cv2.INTER_LINEAR)
    error = np.abs(warped.astype(float) - frame.image)[5:-5, 20:-5]
    assert np.median(error) < 3.0


@pytest.mark.parametrize("trajectory", TRAJECTORIES)
def test_the_camera_stays_in_clear_space_and_moves_smoothly(trajectory):
    for seed in (0, 1):
        sequence = SyntheticSequence(
            make_config(scene={"seed": seed, "texels_per_metre": 16.0}, trajectory=trajectory)
        )
        for time_s in np.linspace(0.0, 60.0, 25):
            depth = sequence.renderer.render_depth(sequence.pose(time_s))
            assert np.isfinite(depth).all()  # neither outside the room nor inside a box
            assert depth.min() > 0.25
    before, after = (camera_pose(trajectory, t, 0.5) for t in (10.0, 10.01))
    step = inverse(before) @ after
    assert np.linalg.norm(step[:3, 3]) < 0.012
    np.testing.assert_allclose(before[:3, :3] @ before[:3, :3].T, np.eye(3), atol=1e-12)
    assert np.linalg.det(before[:3, :3]) == pytest.approx(1.0)


def test_a_round_of_the_loop_ends_where_it_began():
    begin, end = (camera_pose("loop", t, round_length_m() / 20.0) for t in (3.0, 23.0))
    np.testing.assert_allclose(end, begin, atol=1e-12)


def test_a_frame_follows_from_its_index_alone():
    config = make_config(noise_grey=3.0, depth_noise=0.002, exposure_ms=10.0)
    one, other = SyntheticSequence(config), SyntheticSequence(config)
    other.frame(3)
    a, b = one.frame(9), other.frame(9)
    np.testing.assert_array_equal(a.image, b.image)
    np.testing.assert_array_equal(a.depth, b.depth)
    assert a.stamp_ns == 1_700_000_000_300_000_000
    reseeded = make_config(noise_grey=3.0, scene={"seed": 8})
    assert np.abs(a.image.astype(int) - SyntheticSequence(reseeded).frame(9).image).mean() > 10


@pytest.mark.parametrize("readout_ms", [80.0, -80.0])
def test_a_rolling_shutter_sees_every_row_at_its_own_time(readout_ms):
    config = {"noise_grey": 0.0, "trajectory": "rotate", "speed": 1.0}
    rolling = SyntheticSequence(make_config(readout_ms=readout_ms, **config))
    still = SyntheticSequence(make_config(**config))
    frame, time_s = rolling.frame(20), 20 / 30.0
    np.testing.assert_array_equal(frame.T_world_cam, still.pose(time_s))
    for top in (0, 108):
        row = (top + 1.5) / 111 - 0.5
        T_world_cam = still.pose(time_s + readout_ms / 1e3 * row)
        expected = np.clip(still.renderer.render([T_world_cam]) + 0.5, 0, 255).astype(np.uint8)
        np.testing.assert_array_equal(frame.image[top : top + 4], expected[top : top + 4])
        depth = still.renderer.render_depth(T_world_cam)
        np.testing.assert_array_equal(frame.depth[top : top + 4], depth[top : top + 4])
    change = np.abs(frame.image.astype(int) - still.frame(20).image).mean(axis=1)
    assert change[54:58].mean() < 0.3 * change[:4].mean()  # the middle rows are read at the stamp


def test_what_spoils_the_images():
    sharp = SyntheticSequence(make_config(noise_grey=0.0)).frame(30).image
    blurred = SyntheticSequence(make_config(noise_grey=0.0, exposure_ms=150.0)).frame(30).image
    assert cv2.Laplacian(blurred, cv2.CV_64F).std() < 0.6 * cv2.Laplacian(sharp, cv2.CV_64F).std()
    brighter = SyntheticSequence(make_config(noise_grey=0.0, gain_swing=0.3)).frame(30).image
    assert np.median(brighter[sharp > 20] / sharp[sharp > 20]) == pytest.approx(1.3, abs=0.01)
    noisy = SyntheticSequence(make_config(noise_grey=4.0)).frame(30).image
    assert (noisy.astype(float) - sharp)[sharp > 20].std() == pytest.approx(4.0, rel=0.05)
    dark = SyntheticSequence(make_config(noise_grey=0.0, blackout_s=[0.5, 1.5])).frame(30).image
    assert not dark.any()
    blinded = make_config(noise_grey=0.0, blackout_s=[0.5, 1.5], blackout_grey=255.0)
    assert (SyntheticSequence(blinded).frame(30).image == 255).all()


def test_a_plane_is_all_that_there_is_to_see():
    config = make_config(trajectory="sweep", scene={"shape": "plane"})
    sequence = SyntheticSequence(config)
    for index in (0, 60, 300):
        T_world_cam = sequence.pose(index / config.rate_hz)
        depth = sequence.renderer.render_depth(T_world_cam)
        assert np.isfinite(depth).all()
        rows, columns = np.indices(depth.shape).reshape(2, -1)
        K = sequence.camera.K
        points = back_project(np.column_stack([columns, rows]), depth.ravel(), K)
        world = points @ T_world_cam[:3, :3].T + T_world_cam[:3, 3]
        np.testing.assert_allclose(world[:, 1], config.scene.room_m[1] / 2, atol=1e-3)


def test_boxes_move_with_their_texture_before_a_world_that_stands_still():
    """A camera that stands still: a point of a moving box is found where its sway takes it."""
    sequence = SyntheticSequence(make_config(noise_grey=0.0, scene={"moving_boxes": 20}))
    renderer, camera, T_world_cam = sequence.renderer, sequence.camera, sequence.pose(8.0)
    quads = renderer.scene.quads
    moves = np.array([bool(quad.sway.any()) for quad in quads])
    assert moves.sum() == 20 * 6
    time_a, time_b = 0.3, 0.9
    a, b = renderer.cast(T_world_cam, time_a), renderer.cast(T_world_cam, time_b)
    both_stand = ~moves[a.quad] & ~moves[b.quad]
    for name in ("inverse_depth", "texture_x", "texture_y"):
        np.testing.assert_array_equal(getattr(a, name)[both_stand], getattr(b, name)[both_stand])
    rows, columns = np.nonzero(moves[a.quad])
    assert 1000 < len(rows) < 0.8 * a.quad.size
    quad = a.quad[rows, columns]
    way = np.array(
        [q.sway * (np.sin(q.sway_rate * time_b) - np.sin(q.sway_rate * time_a)) for q in quads]
    )[quad]
    pixels = np.stack([columns, rows], axis=1).astype(float)
    points = transform_points(
        T_world_cam, back_project(pixels, 1.0 / a.inverse_depth[rows, columns], camera.K)
    )
    points_b = transform_points(inverse(T_world_cam), points + way)
    projected = points_b @ camera.K.T
    x, y = (projected[:, :2] / projected[:, 2:]).T
    inside = (points_b[:, 2] > 0.3) & (x > 1) & (y > 1) & (x < 158) & (y < 110)
    left, top = (np.where(inside, np.floor(v), 0).astype(int) for v in (x, y))
    same = np.all([b.quad[top + i, left + j] == quad for i in (0, 1) for j in (0, 1)], axis=0)
    seen = inside & same
    assert seen.sum() > 500
    x, y = (np.where(seen, v, 1.0).astype(np.float32) for v in (x, y))
    moved_px = np.hypot(x - columns, y - rows)[seen]
    assert np.median(moved_px) > 1.0
    inverse_depth = _bilinear(b.inverse_depth, x, y)
    np.testing.assert_allclose(inverse_depth[seen], 1.0 / points_b[seen, 2], rtol=1e-4)
    for name in ("texture_x", "texture_y"):
        exact = _bilinear(getattr(b, name) * b.inverse_depth, x, y) / inverse_depth
        error = np.abs(exact - getattr(a, name)[rows, columns])[seen]
        assert np.quantile(error, 0.99) < 0.02


def test_dropped_frames():
    lossy = SyntheticSequence(make_config(frames=400, drop_share=0.1))
    assert 340 < len(lossy) < 380
    assert lossy.indices[0] == 0
    thinned = SyntheticSequence(make_config(frames=30, keep_every=3))
    assert thinned.indices.tolist() == list(range(0, 30, 3))


@pytest.mark.parametrize(
    ("values", "named"),
    [({"blackout_s": [1.0]}, "blackout_s"), ({"camera": {"distortion": [0.1]}}, "distortion")],
)
def test_settings_without_sense_are_named(values, named):
    with pytest.raises(ConfigError, match=named):
        SyntheticSequence(make_config(**values))


def test_a_bag_gives_back_what_was_rendered(tmp_path):
    config = make_config(frames=3, camera={"distortion": DISTORTION}, depth_max_m=2.5)
    path = tmp_path / "room.mcap"
    assert write_bag(path, config) == 3
    assert [p.name for p in tmp_path.iterdir()] == ["room.mcap"]
    frame = SyntheticSequence(config).frame(1)
    with AnyReader([path]) as reader:
        counts = {c.topic: c.msgcount for c in reader.connections}
        assert counts == dict.fromkeys(
            [
                "/camera/image_raw",
                "/camera/camera_info",
                "/camera/depth/image_raw",
                "/camera/depth/camera_info",
                "/ground_truth/pose",
            ],
            3,
        )
        messages = {
            c.topic: reader.deserialize(data, c.msgtype)
            for c, stamp, data in reader.messages()
            if stamp == frame.stamp_ns
        }
    image, depth = messages["/camera/image_raw"], messages["/camera/depth/image_raw"]
    assert (image.encoding, image.step, image.height) == ("mono8", 160, 112)
    np.testing.assert_array_equal(image.data.reshape(112, 160), frame.image)
    millimetres = depth.data.view(np.uint16).reshape(112, 160)
    known = np.isfinite(frame.depth)
    assert 0.1 < known.mean() < 1.0
    assert np.abs(millimetres[known] / 1000.0 - frame.depth[known]).max() <= 0.000501
    assert not millimetres[~known].any()
    read = Camera.from_message(messages["/camera/camera_info"])
    np.testing.assert_array_equal(read.K, frame_camera(config).K)
    np.testing.assert_allclose(read.distortion, DISTORTION)
    pose = messages["/ground_truth/pose"].pose.position
    np.testing.assert_allclose([pose.x, pose.y, pose.z], frame.T_world_cam[:3, 3])


def frame_camera(config):
    return config.camera.to_camera()


@pytest.mark.parametrize("transport", ["png", "jpeg"])
def test_compressed_stereo_bag(tmp_path, transport):
    config = make_config(frames=2, sensor="stereo")
    write_bag(tmp_path / "pair", config, transport)
    assert (tmp_path / "pair" / "metadata.yaml").exists()
    with AnyReader([tmp_path / "pair"]) as reader:
        topics = sorted(c.topic for c in reader.connections)
        connection = next(c for c in reader.connections if "right/image" in c.topic)
        _, _, data = next(reader.messages([connection]))
        message = reader.deserialize(data, connection.msgtype)
    assert topics == [
        "/camera/left/camera_info",
        "/camera/left/image_raw/compressed",
        "/camera/right/camera_info",
        "/camera/right/image_raw/compressed",
        "/ground_truth/pose",
    ]
    decoded = cv2.imdecode(message.data, cv2.IMREAD_UNCHANGED)
    expected = SyntheticSequence(config).frame(0).right_image
    assert np.abs(decoded.astype(int) - expected).mean() < (0.001 if transport == "png" else 3.0)


@pytest.mark.usefixtures("full_disk")
def test_a_recording_that_does_not_fit_on_the_disk_is_named(tmp_path):
    with pytest.raises(OSError, match=r"a\.mcap"):
        write_bag(tmp_path / "a.mcap", make_config(frames=2))
    assert not list(tmp_path.iterdir())


def test_no_room_is_built_for_a_recording_that_is_there_already(tmp_path, monkeypatch):
    monkeypatch.delattr(bag_writer, "SyntheticSequence")
    (tmp_path / "a.mcap").touch()
    with pytest.raises(ConfigError, match=r"a\.mcap: exists already"):
        write_bag(tmp_path / "a.mcap", make_config(frames=2))


def test_a_failed_recording_leaves_nothing_behind(tmp_path):
    sequence = SyntheticSequence(make_config(frames=2))

    def record_and_fail():
        with SequenceBagWriter(tmp_path / "a.mcap", sequence) as writer:
            writer.write(sequence.frame(0))
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        record_and_fail()
    assert not list(tmp_path.iterdir())
    (tmp_path / "b.mcap").touch()
    with pytest.raises(ConfigError, match=r"b\.mcap: exists already"):
        write_bag(tmp_path / "b.mcap", sequence.config)
