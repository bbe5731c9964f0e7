# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Rendered sequences with known answers: a camera that moves through a room of `scene.py`.

Every frame follows from the config and its index alone, so sequences have any length, start
anywhere, and are the same on every run. `bag_writer.py` puts them into bags.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field

import cv2
import numpy as np

from superpoint_ros.config import Config, ConfigError, option
from superpoint_ros.data import Array
from superpoint_ros.evaluation.scene import Renderer, SceneConfig, make_room
from superpoint_ros.geometry.camera import Camera

# Rows read at one time: 4 of 480 make 0.1 px of a camera that turns at 1 rad/s and reads in 20 ms.
_STRIP_ROWS = 4
START_NS = 1_700_000_000_000_000_000
TRAJECTORIES = ("orbit", "loop", "sweep", "rotate", "still")
SENSORS = ("mono", "stereo", "rgbd")


@dataclass(frozen=True)
class SyntheticCameraConfig(Config):
    """The camera that looks; the right one of a stereo pair is its twin."""

    width: int = option(640, "Image width, pixels", minimum=16, maximum=8192)
    height: int = option(480, "Image height, pixels", minimum=16, maximum=8192)
    fx: float = option(525.0, "Focal length along x, pixels", minimum=1.0)
    fy: float = option(523.0, "Focal length along y, pixels", minimum=1.0)
    cx: float = option(-1.0, "Principal point x, pixels; -1: 2.3 px right of the middle")
    cy: float = option(-1.0, "Principal point y, pixels; -1: 1.4 px above the middle")
    distortion: tuple[float, ...] = option((), "plumb_bob: k1 k2 p1 p2 k3; empty: none")
    baseline_m: float = option(0.12, "From the left to the right camera, metres", minimum=0.001)

    def to_camera(self) -> Camera:
        """Return the left (or only) camera."""
        cx = self.cx if self.cx >= 0.0 else (self.width - 1) / 2 + 2.3
        cy = self.cy if self.cy >= 0.0 else (self.height - 1) / 2 - 1.4
        K = np.array([[self.fx, 0.0, cx], [0.0, self.fy, cy], [0.0, 0.0, 1.0]])
        return Camera(
            K=K,
            distortion=np.array(self.distortion, np.float64),
            image_size_hw=(self.height, self.width),
            P=np.column_stack([K, np.zeros(3)]),
            frame_id="camera_optical_frame",
        )

    def to_right_camera(self) -> Camera:
        """Return the right camera of a stereo pair: P[0, 3] = -fx * baseline."""
        left = self.to_camera()
        P = left.P.copy()
        P[0, 3] = -self.fx * self.baseline_m
        return dataclasses.replace(left, P=P, frame_id="camera_right_optical_frame")


@dataclass(frozen=True)
class SequenceConfig(Config):
    """A rendered sequence: room, camera, motion and everything that spoils the images."""

    scene: SceneConfig = field(default_factory=SceneConfig)
    camera: SyntheticCameraConfig = field(default_factory=SyntheticCameraConfig)
    sensor: str = option("rgbd", "What is recorded beside the image", choices=SENSORS)
    frames: int = option(200, "Length; dropped frames count too", minimum=1)
    rate_hz: float = option(30.0, "Frames a second", minimum=0.1, maximum=1000.0)
    trajectory: str = option(
        "orbit",
        "orbit: round the room, looking outwards; loop: the same, but after one round everything "
        "repeats; sweep: to and fro along a wall; rotate: on the spot; still: nothing moves",
        choices=TRAJECTORIES,
    )
    speed: float = option(0.35, "Speed along the path, m/s (rotate: rad/s)", minimum=0.0)
    noise_grey: float = option(
        2.0, "Standard deviation of the image noise, grey levels", minimum=0.0
    )
    exposure_ms: float = option(0.0, "Exposure, which blurs motion, ms; 0: none", minimum=0.0)
    readout_ms: float = option(
        0.0,
        "Time from reading the first row to the last, ms: a rolling shutter; negative: from the "
        "last row up; 0: all rows at once",
        minimum=-100.0,
        maximum=100.0,
    )
    gain_swing: float = option(
        0.0, "Brightness goes up and down by this share, every 4 s", minimum=0.0, maximum=0.95
    )
    drop_share: float = option(
        0.0, "Share of frames that get lost, at random", minimum=0.0, maximum=0.95
    )
    keep_every: int = option(1, "Keep every n-th frame", minimum=1)
    blackout_s: tuple[float, ...] = option(
        (),
        "Begin and end of a time without a picture, s after the start; empty: none",
        minimum=0.0,
    )
    blackout_grey: float = option(
        0.0,
        "Grey level during that time; 255: saturated instead of dark",
        minimum=0.0,
        maximum=255.0,
    )
    depth_noise: float = option(
        0.0, "Standard deviation of depth at 1 m, metres; grows as depth^2", minimum=0.0
    )
    depth_max_m: float = option(10.0, "Depth beyond is unknown, metres", minimum=0.1)


@dataclass(frozen=True)
class SyntheticFrame:
    """One frame and the truth about it.

    Attributes:
        index: Number in the sequence, dropped frames counted.
        stamp_ns: Middle of the exposure, of the middle row.
        T_world_cam: (4, 4) pose of the (left) optical frame then.
        image: (H, W) uint8.
        depth: (H, W) float32 metres, NaN where unknown; None unless the sensor is "rgbd".
        right_image: (H, W) uint8; None unless the sensor is "stereo".
    """

    index: int
    stamp_ns: int
    T_world_cam: Array
    image: Array
    depth: Array | None = None
    right_image: Array | None = None


class SyntheticSequence:
    """Frames rendered one by one while iterating.

    Args:
        config: What to render.

    Raises:
        ConfigError: A setting that makes no sense.
    """

    def __init__(self, config: SequenceConfig) -> None:
        if len(config.blackout_s) not in (0, 2):
            raise ConfigError(f"blackout_s: expected begin and end, got {config.blackout_s}")
        if len(config.camera.distortion) not in (0, 4, 5):
            raise ConfigError(
                f"camera.distortion: plumb_bob has 4 or 5 numbers, got {config.camera.distortion}"
            )
        self.config = config
        self.camera = config.camera.to_camera()
        self.right_camera = config.camera.to_right_camera()
        self.renderer = Renderer(make_room(config.scene), self.camera)
        kept = np.arange(0, config.frames, config.keep_every)
        rng = np.random.default_rng([config.scene.seed, 1])
        is_lost = rng.random(len(kept)) < config.drop_share
        is_lost[0] = False
        self.indices: Array = kept[~is_lost]

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[SyntheticFrame]:
        for index in self.indices:
            yield self.frame(int(index))

    def stamp_ns(self, index: int) -> int:
        """Return the stamp of frame `index`."""
        return START_NS + round(index * 1e9 / self.config.rate_hz)

    def pose(self, time_s: float) -> Array:
        """Return T_world_cam (4, 4) at a time after the start."""
        config = self.config
        return camera_pose(config.trajectory, time_s, config.speed, config.scene.room_m)

    def frame(self, index: int) -> SyntheticFrame:
        """Render frame `index`, whether dropped or not."""
        config = self.config
        time_s = index / config.rate_hz
        T_world_cam = self.pose(time_s)
        depth = right_image = None
        if config.sensor == "rgbd":
            depth = self._spoil_depth(self._render_depth(time_s), index)
        if config.sensor == "stereo":
            right_image = self._render(index, time_s, config.camera.baseline_m)
        image = self._render(index, time_s, 0.0)
        return SyntheticFrame(index, self.stamp_ns(index), T_world_cam, image, depth, right_image)

    def _render(self, index: int, time_s: float, shift_right_m: float) -> Array:
        """Render one camera and do to the image what a sensor would."""
        config = self.config
        exposure_s = config.exposure_ms / 1e3
        around = exposure_s * (np.arange(8) - 3.5) / 8 if exposure_s else np.zeros(1)
        T_left_right = np.eye(4)
        T_left_right[0, 3] = shift_right_m
        grey = np.concatenate(
            [
                self.renderer.render(
                    [self.pose(t) @ T_left_right for t in time_s + delay_s + around], time_s, rows
                )
                for rows, delay_s in self._strips()
            ]
        )
        grey *= np.float32(1.0 + config.gain_swing * np.sin(2.0 * np.pi * time_s / 4.0))
        if config.blackout_s and config.blackout_s[0] <= time_s < config.blackout_s[1]:
            grey[:] = config.blackout_grey
        if config.noise_grey > 0.0:
            camera_number = 3 if shift_right_m else 2
            rng = np.random.default_rng([config.scene.seed, camera_number, index])
            grey += config.noise_grey * rng.standard_normal(grey.shape, np.float32)
        return np.clip(grey + 0.5, 0.0, 255.0).astype(np.uint8)

    def _render_depth(self, time_s: float) -> Array:
        """Render depth, registered to the image: every pixel's is that of what the image shows."""
        strips = [
            self.renderer.render_depth(self.pose(time_s + delay_s), time_s, rows)
            for rows, delay_s in self._strips()
        ]
        return np.concatenate(strips)

    def _strips(self) -> list[tuple[slice, float]]:
        """Return rows that are read at one time, and when: seconds after the middle row."""
        height, readout_s = self.config.camera.height, self.config.readout_ms / 1e3
        if not readout_s:
            return [(slice(0, height), 0.0)]
        tops = range(0, height, _STRIP_ROWS)
        strips = [slice(top, min(top + _STRIP_ROWS, height)) for top in tops]
        middles = [(rows.start + rows.stop - 1) / 2 for rows in strips]
        return [
            (rows, readout_s * (middle / (height - 1) - 0.5))
            for rows, middle in zip(strips, middles, strict=True)
        ]

    def _spoil_depth(self, depth: Array, index: int) -> Array:
        config = self.config
        if config.depth_noise > 0.0:
            rng = np.random.default_rng([config.scene.seed, 4, index])
            depth = depth + config.depth_noise * depth**2 * rng.standard_normal(
                depth.shape, np.float32
            )
        return np.where((depth > 0.0) & (depth <= config.depth_max_m), depth, np.nan).astype(
            np.float32
        )


def round_length_m(room_m: tuple[float, ...] = (8.0, 6.0, 3.0)) -> float:
    """Return about the length of one round of "orbit" and "loop", to which `speed` refers."""
    reach = _reach(room_m)
    return 2.0 * np.pi * float(np.sqrt(reach @ reach / 2))


def _reach(room_m: tuple[float, ...]) -> Array:
    """Return the half axes (2,) of the path, metres."""
    return np.array([0.18, 0.16]) * room_m[:2]


def camera_pose(
    trajectory: str,
    time_s: float,
    speed: float,
    room_m: tuple[float, ...] = (8.0, 6.0, 3.0),
) -> Array:
    """Return T_world_cam (4, 4) on a smooth path, a closed form of the time.

    Args:
        trajectory: One of `TRAJECTORIES`.
        time_s: Time after the start.
        speed: About the speed along the path, m/s; for "rotate" the peak rate, rad/s.
        room_m: Size of the room; the path keeps to its middle third.
    """
    height = room_m[2]
    reach = _reach(room_m)
    eye = 0.47 * height
    if trajectory == "orbit":
        phase = 2.0 * np.pi * speed * time_s / round_length_m(room_m)
        position = [
            reach[0] * np.cos(phase),
            reach[1] * np.sin(phase),
            eye + 0.12 * np.sin(2.0 * phase + 0.4),
        ]
        yaw = phase + 0.7 + 0.6 * np.sin(0.8 * phase)
        pitch = -0.16 + 0.1 * np.sin(1.7 * phase)
        roll = 0.08 * np.sin(1.3 * phase)
    elif trajectory == "loop":
        phase = 2.0 * np.pi * speed * time_s / round_length_m(room_m)
        position = [
            reach[0] * np.cos(phase),
            reach[1] * np.sin(phase),
            eye + 0.12 * np.sin(2.0 * phase + 0.4),
        ]
        yaw = phase + 0.7 + 0.4 * np.sin(phase)
        pitch = -0.16 + 0.1 * np.sin(2.0 * phase)
        roll = 0.08 * np.sin(phase)
    elif trajectory == "sweep":
        phase = speed * time_s / reach[0]
        position = [
            reach[0] * np.sin(phase),
            reach[1] * (0.3 * np.sin(0.7 * phase) - 0.5),
            eye + 0.15 * np.sin(1.3 * phase),
        ]
        yaw = 0.5 * np.pi + 0.25 * np.sin(0.9 * phase)
        pitch = -0.1 + 0.08 * np.sin(1.1 * phase)
        roll = 0.06 * np.sin(0.6 * phase)
    elif trajectory == "rotate":
        position = [0.0, 0.0, eye]
        yaw = 0.4 + np.sin(speed * time_s)
        pitch = -0.05 + 0.2 * np.sin(0.83 * speed * time_s)
        roll = 0.2 * np.sin(0.61 * speed * time_s)
    elif trajectory == "still":
        position, yaw, pitch, roll = [reach[0], 0.0, eye], 0.7, -0.1, 0.03
    else:
        raise ConfigError(f"trajectory: {trajectory!r} is not one of {', '.join(TRAJECTORIES)}")
    return _look(np.array(position), float(yaw), float(pitch), float(roll))


def _look(position: Array, yaw: float, pitch: float, roll: float) -> Array:
    """Return T_world_cam of an optical frame: yaw about world z, pitch up, roll about the view."""
    forward = np.array([np.cos(yaw) * np.cos(pitch), np.sin(yaw) * np.cos(pitch), np.sin(pitch)])
    right = np.array([np.sin(yaw), -np.cos(yaw), 0.0])
    down = np.cross(forward, right)
    T_world_cam = np.eye(4)
    T_world_cam[:3, :3] = np.stack([right, down, forward], axis=1)
    T_world_cam[:3, :3] @= cv2.Rodrigues(np.array([0.0, 0.0, roll]))[0]
    T_world_cam[:3, 3] = position
    return T_world_cam
