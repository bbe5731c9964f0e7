# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Image folders in the layouts of TUM RGB-D, KITTI odometry, EuRoC, and a plain one, as messages.

A folder becomes the topics that a bag of it would have, so everything after it is shared:

- plain: `images/`, optional `times.txt` (seconds, one per image; else 10 Hz), `calib.yaml` (fx,
  fy, cx, cy, distortion, width, height), `poses.txt` (TUM format, T_world_cam).
- TUM RGB-D: `rgb.txt`, `depth.txt`, `groundtruth.txt`; calibration by `calib.yaml` or by the
  name freiburg1, 2 or 3 in the path.
- KITTI odometry: `image_0` (and `image_1`) or `image_2` (and `image_3`), `times.txt`, `calib.txt`,
  optional `poses.txt` (of camera 0).
- EuRoC: `mav0/cam0` (and `cam1`) with `data.csv` and `sensor.yaml`,
  `mav0/state_groundtruth_estimate0/data.csv`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import heapq
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import numpy as np
import yaml

from superpoint_ros.data import Array
from superpoint_ros.evaluation.recordings import BagError, RecordedMessage, Topic
from superpoint_ros.evaluation.sensors import CAMERA_INFO_TYPE, COMPRESSED_TYPE
from superpoint_ros.evaluation.trajectory import (
    MAX_STAMP_S,
    Trajectory,
    TrajectoryError,
    make_trajectory,
    read_kitti,
    read_tum,
    recorded_pose,
    seconds_to_ns,
)
from superpoint_ros.files import natural_order
from superpoint_ros.geometry.camera import CalibrationError, Camera
from superpoint_ros.geometry.se3 import inverse, quaternion_from_rotation
from superpoint_ros.geometry.stereo import StereoPair

_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
_POSE = "geometry_msgs/msg/PoseStamped"
_DEFAULT_PERIOD_NS = 100_000_000
_Row = TypeVar("_Row")

# Published intrinsics and distortion of the three Kinects, TUM RGB-D benchmark (file_formats).
_TUM_CAMERAS = {
    "freiburg1": ((517.3, 516.5, 318.6, 255.3), (0.2624, -0.9531, -0.0054, 0.0026, 1.1633)),
    "freiburg2": ((520.9, 521.0, 325.1, 249.7), (0.2312, -0.7849, -0.0033, -0.0001, 0.9172)),
    "freiburg3": ((535.4, 539.2, 320.1, 247.6), (0.0, 0.0, 0.0, 0.0, 0.0)),
}


# Names of distortion models in sensor.yaml -> in CameraInfo.
_EUROC_MODELS = {
    "radial-tangential": "plumb_bob",
    "radtan": "plumb_bob",
    "equidistant": "equidistant",
}


@dataclass(frozen=True)
class _Stream:
    topic: Topic
    stamps_ns: Sequence[int]
    load: Callable[[int], Any]  # index -> message


class FolderRecording:
    """An image folder that behaves like a bag."""

    def __init__(self, path: Path) -> None:
        """Recognise the layout and index the files; images are read when asked for.

        Raises:
            BagError: The layout is unknown, or a file of it is missing or malformed.
        """
        self.depth_units_per_metre = 1000.0
        self._streams: list[_Stream] = []
        euroc = path / "mav0" if (path / "mav0").is_dir() else path
        try:
            if (euroc / "cam0" / "data.csv").is_file():
                self._open_euroc(euroc)
            elif (path / "rgb.txt").is_file():
                self._open_tum(path)
            elif (path / "calib.txt").is_file():
                self._open_kitti(path)
            elif (path / "images").is_dir():
                self._open_plain(path)
            else:
                raise BagError(
                    f"{path}: neither a bag (metadata.yaml, .mcap, .db3, .bag) nor an image "
                    "folder (images/ with calib.yaml, or the TUM, KITTI or EuRoC layout)"
                )
        except OSError as error:
            raise BagError(f"{error.filename}: cannot be read ({error.strerror})") from None
        except TrajectoryError as error:
            raise BagError(str(error)) from None
        self.topics = tuple(sorted((s.topic for s in self._streams), key=lambda t: t.name))

    def messages(self, names: Collection[str]) -> Iterator[RecordedMessage]:
        """Yield the messages of the named topics in order of time."""

        def stream_messages(stream: _Stream) -> Iterator[RecordedMessage]:
            stamps_ns = stream.stamps_ns
            # Lists that people have put together are in any order.
            for index in sorted(range(len(stamps_ns)), key=stamps_ns.__getitem__):
                yield RecordedMessage(
                    stream.topic.name,
                    stamps_ns[index],
                    stream.topic.msgtype,
                    _deferred(stream, index),
                )

        chosen = [stream_messages(s) for s in self._streams if s.topic.name in names]
        yield from heapq.merge(*chosen, key=lambda message: message.time_ns)

    def close(self) -> None:
        """Nothing is held open."""

    def _open_plain(self, path: Path) -> None:
        files = _images_in(path / "images")
        times = path / "times.txt"
        stamps = _read_times(times) if times.is_file() else _uniform_stamps(len(files))
        self._add_images("/camera", files, stamps)
        if (path / "calib.yaml").is_file():
            info = read_calibration(path / "calib.yaml")
            self._add_camera_info("/camera", info, stamps[0])
        if (path / "poses.txt").is_file():
            self._add_poses(read_tum(path / "poses.txt"))

    def _open_tum(self, path: Path) -> None:
        self.depth_units_per_metre = 5000.0
        stamps, files = _read_tum_list(path / "rgb.txt")
        self._add_images("/camera/rgb", files, stamps)
        if (path / "calib.yaml").is_file():
            self._add_camera_info("/camera/rgb", read_calibration(path / "calib.yaml"), stamps[0])
        else:
            for name, (pinhole, distortion) in _TUM_CAMERAS.items():
                if name in str(path.resolve()):
                    info = make_camera_info((480, 640), pinhole, distortion)
                    self._add_camera_info("/camera/rgb", info, stamps[0])
        if (path / "depth.txt").is_file():
            stamps, files = _read_tum_list(path / "depth.txt")
            self._add_images("/camera/depth", files, stamps)
        if (path / "groundtruth.txt").is_file():
            self._add_poses(read_tum(path / "groundtruth.txt"))

    def _open_kitti(self, path: Path) -> None:
        times = _read_times(path / "times.txt")
        cameras = [i for i in range(4) if (path / f"image_{i}").is_dir()]
        if not cameras:
            raise BagError(f"{path}: holds calib.txt, but no image_0 to image_3")
        # Two grey and two colour cameras: image_0 and image_2 are no pair.
        pairs = [pair for pair in ([0, 1], [2, 3]) if set(pair) <= set(cameras)]
        chosen = (pairs or [cameras[:1]])[0]
        with _naming(path / "calib.txt"):
            rows = [line.split() for line in (path / "calib.txt").read_text().split("\n")]
            numbers = {row[0].rstrip(":"): row[1:13] for row in rows if len(row) >= 13}
            projections = {
                camera: np.array(numbers[f"P{camera}"], np.float64).reshape(3, 4)
                for camera in chosen
            }
        for camera in chosen:
            name = "left" if camera == chosen[0] else "right"
            files = _images_in(path / f"image_{camera}")
            P = projections[camera]
            self._add_images(f"/{name}", files, times)
            info = make_camera_info((0, 0), (P[0, 0], P[1, 1], P[0, 2], P[1, 2]), (), P)
            self._add_camera_info(f"/{name}", info, times[0])
        if (path / "poses.txt").is_file():
            truth = read_kitti(path / "poses.txt", times)  # T_world_cam0, whichever is chosen
            P = projections[chosen[0]]
            T_cam0_cam = np.eye(4)
            T_cam0_cam[:3, 3] = -np.linalg.solve(P[:, :3], P[:, 3])  # P = K [I | t_cam_cam0]
            self._add_poses(dataclasses.replace(truth, poses=truth.poses @ T_cam0_cam))

    def _open_euroc(self, path: Path) -> None:
        T_body_cam: dict[str, Array] = {}
        infos: dict[str, Any] = {}
        for folder, name in (("cam0", "left"), ("cam1", "right")):
            if not (path / folder / "data.csv").is_file():
                continue
            with _naming(path / folder / "sensor.yaml"):
                sensor = yaml.safe_load((path / folder / "sensor.yaml").read_text())
                if name == "left" or "T_BS" in sensor:
                    T_body_cam[name] = np.array(sensor["T_BS"]["data"], float).reshape(4, 4)
                width, height = sensor["resolution"]
                model = sensor.get("distortion_model", "radial-tangential")
                if model not in _EUROC_MODELS:
                    known = ", ".join(_EUROC_MODELS)
                    raise ValueError(f"distortion_model '{model}' is not one of {known}")
                infos[name] = make_camera_info(
                    (height, width),
                    sensor["intrinsics"],
                    sensor["distortion_coefficients"],
                    model=_EUROC_MODELS[model],
                )
            rows = _read_lines(path / folder / "data.csv", _read_euroc_image)
            stamps = [stamp_ns for stamp_ns, _ in rows]
            files = [path / folder / "data" / file for _, file in rows]
            self._add_images(f"/{name}", files, stamps)
            self._add_camera_info(f"/{name}", infos[name], stamps[0])
        if "right" in T_body_cam:
            T_left_right = inverse(T_body_cam["left"]) @ T_body_cam["right"]
            _rectify(infos["left"], infos["right"], T_left_right)
        truth = path / "state_groundtruth_estimate0" / "data.csv"
        if truth.is_file():
            found = _read_lines(truth, _read_euroc_pose)
            poses = [T_world_body @ T_body_cam["left"] for _, T_world_body in found]
            self._add_poses(make_trajectory([stamp_ns for stamp_ns, _ in found], poses))

    def _add_images(self, camera: str, files: Sequence[Path], stamps_ns: Sequence[int]) -> None:
        if len(files) != len(stamps_ns):
            raise BagError(f"{files[0].parent}: {len(files)} images, but {len(stamps_ns)} times")
        topic = Topic(f"{camera}/image_raw/compressed", COMPRESSED_TYPE, len(files))

        def load(index: int) -> Any:
            kind = "png" if files[index].suffix == ".png" else "jpeg"
            try:
                data = np.frombuffer(files[index].read_bytes(), np.uint8)
            except OSError as error:
                raise BagError(f"{files[index]}: cannot be read ({error.strerror})") from None
            return SimpleNamespace(
                header=_header(stamps_ns[index], camera.strip("/")), format=kind, data=data
            )

        self._streams.append(_Stream(topic, stamps_ns, load))

    def _add_camera_info(self, camera: str, info: Any, stamp_ns: int) -> None:
        info.header = _header(stamp_ns, camera.strip("/"))
        topic = Topic(f"{camera}/camera_info", CAMERA_INFO_TYPE, 1)
        self._streams.append(_Stream(topic, [stamp_ns], lambda index: info))

    def _add_poses(self, trajectory: Trajectory) -> None:
        def load(index: int) -> Any:
            T = trajectory.poses[index]
            position = dict(zip("xyz", T[:3, 3].tolist(), strict=True))
            orientation = dict(zip("xyzw", quaternion_from_rotation(T[:3, :3]), strict=True))
            return SimpleNamespace(
                header=_header(int(trajectory.stamps_ns[index]), "world"),
                pose=SimpleNamespace(
                    position=SimpleNamespace(**position),
                    orientation=SimpleNamespace(**orientation),
                ),
            )

        topic = Topic("/ground_truth/pose", _POSE, len(trajectory))
        self._streams.append(_Stream(topic, trajectory.stamps_ns.tolist(), load))


def make_camera_info(
    size_hw: tuple[int, int],
    pinhole: Sequence[float],
    distortion: Sequence[float] = (),
    P: Array | None = None,
    model: str = "plumb_bob",
) -> Any:
    """Return an object with the fields of a sensor_msgs/CameraInfo.

    Args:
        size_hw: Height and width, pixels; zeros: unknown.
        pinhole: fx, fy, cx, cy, pixels.
        distortion: Coefficients of `model`.
        P: (3, 4) projection; made of the pinhole where absent.
        model: Name as in CameraInfo.
    """
    fx, fy, cx, cy = (float(value) for value in pinhole)
    K = np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])
    P = np.column_stack([K, np.zeros(3)]) if P is None else P
    return SimpleNamespace(
        header=_header(0, ""),
        height=int(size_hw[0]),
        width=int(size_hw[1]),
        distortion_model=model,
        d=np.array(distortion, np.float64),
        k=K.ravel(),
        r=np.eye(3).ravel(),
        p=P.ravel(),
    )


def _rectify(left: Any, right: Any, T_left_right: Array) -> None:
    """Write into R and P of a pair's CameraInfo how the cameras stand, as a calibration does.

    Cameras that are no pair, by what their poses say, stay as they are.
    """
    with contextlib.suppress(CalibrationError):
        cameras = (Camera.from_message(left), Camera.from_message(right))
        pair = StereoPair.from_extrinsics(*cameras, T_left_right)
        left.r, right.r = pair.R_rect_left.ravel(), pair.R_rect_right.ravel()
        right.p = left.p.copy()  # both rectified images are of the left camera's K
        right.p[3] = -pair.focal_baseline


def read_calibration(path: Path | str) -> Any:
    """Read a calibration file of camera_calibration, or one with fx, fy, cx, cy.

    Returns:
        An object with the fields of a sensor_msgs/CameraInfo.

    Raises:
        BagError: Unreadable, or neither format; names the file.
    """
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        size_hw = (
            int(_first(values, "image_height", "height")),
            int(_first(values, "image_width", "width")),
        )
        model = str(values.get("distortion_model", "plumb_bob"))
        if "camera_matrix" in values:
            k = values["camera_matrix"]["data"]
            info = make_camera_info(
                size_hw,
                (k[0], k[4], k[2], k[5]),
                values["distortion_coefficients"]["data"],
                model=model,
            )
            if "projection_matrix" in values:
                info.p = np.array(values["projection_matrix"]["data"], np.float64)
            if "rectification_matrix" in values:
                info.r = np.array(values["rectification_matrix"]["data"], np.float64)
            return info
        return make_camera_info(
            size_hw,
            [values[name] for name in ("fx", "fy", "cx", "cy")],
            values.get("distortion", ()),
            model=model,
        )
    except OSError as error:
        raise BagError(f"{path}: cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise BagError(
            f"{path}: is no calibration file ({type(error).__name__}: {error}); expected "
            "camera_calibration's YAML, or fx, fy, cx, cy, width, height and distortion"
        ) from None


def _deferred(stream: _Stream, index: int) -> Callable[[], Any]:
    return lambda: stream.load(index)


def _first(values: Mapping[str, Any], *names: str) -> Any:
    for name in names:
        if name in values:
            return values[name]
    raise KeyError(names[0])


def _header(stamp_ns: int, frame_id: str) -> Any:
    sec, nanosec = divmod(int(stamp_ns), 1_000_000_000)
    return SimpleNamespace(stamp=SimpleNamespace(sec=sec, nanosec=nanosec), frame_id=frame_id)


def _images_in(folder: Path) -> list[Path]:
    """Return the images, 2.png before 10.png; names with a dot first (of macOS) are none.

    Raises:
        BagError: There are none.
    """
    images = [f for f in folder.iterdir() if f.suffix.lower() in _IMAGE_SUFFIXES]
    images = sorted((f for f in images if f.name[0] != "."), key=natural_order)
    if not images:
        raise BagError(f"{folder}: holds no images: expected {', '.join(_IMAGE_SUFFIXES)} files")
    return images


def _uniform_stamps(count: int) -> list[int]:
    return [i * _DEFAULT_PERIOD_NS for i in range(count)]


def _read_times(path: Path) -> list[int]:
    return _read_lines(path, lambda line: _read_stamp(line.split()[0]))


def _read_tum_list(path: Path) -> tuple[list[int], list[Path]]:
    def read(line: str) -> tuple[int, Path]:
        stamp, file, *_ = line.split()
        return _read_stamp(stamp), path.parent / file

    rows = _read_lines(path, read)
    return [stamp_ns for stamp_ns, _ in rows], [file for _, file in rows]


def _read_stamp(seconds: str) -> int:
    if abs(float(seconds)) > MAX_STAMP_S:
        raise ValueError(f"a stamp of {seconds} s: are these nanoseconds? Divide them by 1e9")
    return seconds_to_ns(seconds)


def _read_euroc_image(line: str) -> tuple[int, str]:
    stamp_ns, file, *_ = line.split(",")
    return int(stamp_ns), file.strip()


def _read_euroc_pose(line: str) -> tuple[int, Array]:
    """Return the stamp and T_world_body (4, 4), NaN where it has none."""
    stamp_ns, *words = line.split(",")
    x, y, z, qw, qx, qy, qz = map(float, words[:7])
    return int(stamp_ns), recorded_pose(np.array([x, y, z]), np.array([qx, qy, qz, qw]))


def _read_lines(path: Path, read: Callable[[str], _Row]) -> list[_Row]:
    """Return what `read` makes of every line that is no comment.

    Raises:
        BagError: There is none, or one that it cannot read; names the line.
    """
    rows = []
    with _naming(path):
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    for number, line in enumerate(map(str.strip, lines), 1):
        if line and not line.startswith("#"):
            with _naming(f"{path}, line {number}"):
                rows.append(read(line))
    if not rows:
        raise BagError(f"{path}: holds nothing but comments")
    return rows


@contextlib.contextmanager
def _naming(place: Path | str) -> Iterator[None]:
    """Let what is wrong with the content of a file name the place."""
    try:
        yield
    except (ValueError, yaml.YAMLError) as error:
        raise BagError(f"{place}: {error}") from None
    except (LookupError, TypeError, AttributeError) as error:
        raise BagError(f"{place}: is malformed ({error!r})") from None
