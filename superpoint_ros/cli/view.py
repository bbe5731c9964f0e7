# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Look into a recording: topics, sensor, pairing, and pictures of its features.

Prints what the recording holds and what it is taken for, before any odometry runs. With --out,
some frames are written as PNG with their keypoints, beside their depth or right image.

    superpoint view recording.mcap
    superpoint view recording.mcap --out pictures --frames 4
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from superpoint_ros.cli._extractor import add_extractor_arguments, make_extractor
from superpoint_ros.cli._recording import (
    add_source_arguments,
    check_units,
    plain_console,
    printable,
    wanted_topics,
)
from superpoint_ros.config import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from superpoint_ros.data import Array
    from superpoint_ros.evaluation.bag import BagReader, Frame
    from superpoint_ros.evaluation.sensors import SensorTopics


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("bag", metavar="BAG", help="bag directory or file, or image folder")
    parser.add_argument("--out", metavar="DIR", default="", help="write pictures there")
    parser.add_argument(
        "--frames", type=int, default=3, metavar="N", help="number of pictures (default 3)"
    )
    add_source_arguments(parser, with_truth=False)
    add_extractor_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Describe the recording; draw if asked to.

    Raises:
        DecodeError: No frame could be drawn.
    """
    from superpoint_ros.evaluation.bag import BagReader
    from superpoint_ros.files import check_folder

    if args.frames < 1:
        raise ConfigError("--frames: must be at least 1")
    check_units(args.depth_units_per_metre)
    if args.out:
        check_folder(args.out)
    console = plain_console()
    with BagReader(args.bag, wanted_topics(args)) as reader:
        _print_topics(reader, console)
        _print_sensor(reader.sensor, console)
        _print_frames(reader, console)
        _print_calibration(reader, console)
        for note in reader.notes:
            console.print(f"note: {note}", highlight=False)
        if args.out:
            units = args.depth_units_per_metre or reader.depth_units_per_metre
            for path in _draw(reader, args, units):
                console.print(f"wrote {path}", highlight=False)
    return 0


def _print_calibration(reader: BagReader, console: Console) -> None:
    from superpoint_ros.geometry.camera import CalibrationError

    try:
        reader.check_calibration()
    except CalibrationError as error:
        console.print(f"note: {error}", highlight=False)


def _print_topics(reader: BagReader, console: Console) -> None:
    from rich.table import Table

    table = Table(title=printable(str(reader.path)))
    for name in ("topic", "type", "messages"):
        table.add_column(name, overflow="fold")  # an option wants the whole name
    for topic in reader.topics:
        table.add_row(topic.name, topic.msgtype, str(topic.count))
    console.print(table)


def _print_sensor(sensor: SensorTopics, console: Console) -> None:
    import dataclasses

    for name, value in dataclasses.asdict(sensor).items():
        if value:
            console.print(f"{name}: {value}", highlight=False)


def _print_frames(reader: BagReader, console: Console) -> None:
    stamps, gaps, errors = [], [], []
    for frame in reader.frames():
        stamps.append(frame.stamp_ns)
        if frame.gap_ns is not None:
            gaps.append(abs(frame.gap_ns))
        if frame.error:
            errors.append(frame.error)
    duration = (stamps[-1] - stamps[0]) * 1e-9 if stamps else 0.0
    rate = (len(stamps) - 1) / duration if duration > 0 else 0.0
    line = f"frames: {len(stamps)} in {duration:.2f} s, {rate:.1f} Hz"
    if gaps:
        line += f"; stamp gap of pairs at most {max(gaps) * 1e-6:.2f} ms"
    console.print(line, highlight=False)
    if errors:
        console.print(
            f"note: {len(errors)} frames cannot be used, the first: {errors[0]}", highlight=False
        )


def _draw(reader: BagReader, args: argparse.Namespace, units_per_metre: float) -> list[Path]:
    from superpoint_ros.decode import DecodeError
    from superpoint_ros.image import write_image

    extractor = make_extractor(args)
    step = max(reader.num_images // args.frames, 1)
    written: list[Path] = []
    reason = ""
    for frame in reader.frames(every=step, max_frames=args.frames):
        if frame.error:
            reason = reason or frame.error
            continue
        try:
            picture = _draw_frame(frame, extractor, units_per_metre)
        except DecodeError as error:  # the next one will do
            reason = reason or str(error)
            continue
        path = Path(args.out) / f"frame_{frame.index:06d}.png"
        write_image(path, picture)
        written.append(path)
    if not written:
        raise DecodeError(f"no frame could be drawn: {reason or 'there is none'}")
    return written


def _draw_frame(frame: Frame, extractor: Any, units_per_metre: float) -> Array:
    """Return the picture with its keypoints, and beside it depth (near is warm) or right image."""
    import numpy as np

    from superpoint_ros.drawing import draw_keypoints, draw_text

    grey = frame.grey()
    features = extractor(grey)
    picture = draw_keypoints(grey, features.keypoints, features.scores)
    draw_text(picture, f"frame {frame.index}  {len(features)} keypoints")
    if frame.second is None:
        return picture
    if frame.is_stereo:
        second = draw_keypoints(frame.grey_right(), np.zeros((0, 2)))
    else:
        second = _colour_depth(frame.depth(units_per_metre))
    canvas = np.zeros((max(len(picture), len(second)), picture.shape[1] + second.shape[1], 3))
    canvas[: len(picture), : picture.shape[1]] = picture
    canvas[: len(second), picture.shape[1] :] = second
    return canvas.astype(np.uint8)


def _colour_depth(depth: Array) -> Array:
    """Return (H, W, 3) uint8 BGR of depth in metres; unknown is black."""
    import cv2
    import numpy as np

    is_known = np.isfinite(depth)
    if not is_known.any():
        return np.zeros((*depth.shape, 3), np.uint8)
    near, far = np.percentile(depth[is_known], (2, 98))
    share = np.clip((depth - near) / max(far - near, 1e-6), 0.0, 1.0)
    levels = np.where(is_known, 255.0 * (1.0 - share), 0.0).astype(np.uint8)
    coloured = np.asarray(cv2.applyColorMap(levels, cv2.COLORMAP_TURBO))
    coloured[~is_known] = 0
    return coloured
