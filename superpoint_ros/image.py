# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Images as arrays, and the pixel convention.

The centre of the top-left pixel is (0, 0), as in OpenCV. An image therefore covers [-0.5, W - 0.5]
and resizing by s maps x to (x + 0.5) s - 0.5. Colour is BGR, as `cv2.imread` gives it.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

import cv2
import numpy as np

from superpoint_ros.data import Array
from superpoint_ros.files import replaced


class ImageError(ValueError):
    """An image that is missing, empty or of an unusable type; the message says which."""


def to_grey(image: Array) -> Array:
    """Return the grey image (H, W) uint8, contiguous.

    Args:
        image: uint8; (H, W) or (H, W, 1) grey, (H, W, 3) BGR, (H, W, 4) BGRA.

    Raises:
        ImageError: Another type or shape, or an empty image (None from `cv2.imread` included).
    """
    if image is None:
        raise ImageError("the image is None: cv2.imread returns that for a missing file")
    image = np.asarray(image)
    if image.dtype != np.uint8:
        raise ImageError(f"the image is {image.dtype}, expected uint8 (0 to 255)")
    channels = image.shape[2] if image.ndim == 3 else 1
    if image.ndim not in (2, 3) or channels not in (1, 3, 4):
        raise ImageError(f"the image is {image.shape}, expected (H, W), (H, W, 3) or (H, W, 4)")
    if image.size == 0:
        raise ImageError(f"the image is empty: {image.shape}")
    if channels == 1:
        return np.ascontiguousarray(image.reshape(image.shape[:2]))
    code = cv2.COLOR_BGR2GRAY if channels == 3 else cv2.COLOR_BGRA2GRAY
    grey: Array = cv2.cvtColor(np.ascontiguousarray(image), code)
    return grey


def read_image(path: Path | str) -> Array:
    """Read an image file as (H, W, 3) uint8 BGR, as its pixels lie in the file.

    An orientation in its EXIF data is ignored, as in recordings: calibrations are of the sensor.

    Raises:
        FileNotFoundError: No such file.
        PermissionError: It may not be read.
        ImageError: It is a folder, or no image that OpenCV reads.
    """
    if Path(path).is_dir():
        raise ImageError(f"{path}: is a folder; name the images in it")
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such image file")
    if not os.access(path, os.R_OK):
        raise PermissionError(errno.EACCES, "may not be read", str(path))
    image: Array | None = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise ImageError(f"{path}: not an image that OpenCV can read")
    return image


def write_image(path: Path | str, image: Array) -> None:
    """Write a uint8 image in the format that the name's ending says; makes the folder.

    Raises:
        OSError: It cannot be written there.
        ImageError: OpenCV does not write that format, or not an image of that size.
    """
    try:
        is_encoded, data = cv2.imencode(Path(path).suffix, image)
    except cv2.error:
        raise ImageError(f"{path}: unknown image format; name it .png or .jpg") from None
    if not is_encoded:
        raise ImageError(f"{path}: cannot hold an image of {image.shape[1]}x{image.shape[0]}")
    with replaced(path) as temporary:  # cv2.imwrite would not see that the disk is full
        temporary.write_bytes(data.tobytes())


def resize(image: Array, size_hw: tuple[int, int]) -> Array:
    """Resize to (height, width); shrinking averages over areas, so that nothing aliases."""
    height, width = size_hw
    if image.shape[:2] == (height, width):
        return image
    shrinks = height * width < image.shape[0] * image.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    resized: Array = cv2.resize(image, (width, height), interpolation=method)
    return resized


def fit_longer_side(size_hw: tuple[int, int], longer_side_px: int) -> tuple[int, int]:
    """Return (height, width) scaled so that the longer side is `longer_side_px`, rounded."""
    scale = longer_side_px / max(size_hw)
    return max(1, round(size_hw[0] * scale)), max(1, round(size_hw[1] * scale))


def scale_points(points: Array, from_hw: tuple[int, int], to_hw: tuple[int, int]) -> Array:
    """Map pixels of an image to pixels of the same image resized.

    Args:
        points: (..., 2), (x, y).
        from_hw: (height, width) of the image that `points` are in.
        to_hw: (height, width) of the resized image.

    Returns:
        (..., 2) of the same float type; float64 for integers.
    """
    points = np.asarray(points)
    dtype = points.dtype if points.dtype.kind == "f" else np.dtype(np.float64)
    scale = np.array([to_hw[1] / from_hw[1], to_hw[0] / from_hw[0]])
    scaled: Array = ((points + 0.5) * scale - 0.5).astype(dtype)
    return scaled


def scale_matrix(from_hw: tuple[int, int], to_hw: tuple[int, int]) -> Array:
    """Return `scale_points` as a 3x3 matrix on homogeneous pixels, H_resized_original."""
    sx, sy = to_hw[1] / from_hw[1], to_hw[0] / from_hw[0]
    return np.array([[sx, 0.0, 0.5 * sx - 0.5], [0.0, sy, 0.5 * sy - 0.5], [0.0, 0.0, 1.0]])


def pad_to_multiple(image: Array, multiple: int) -> Array:
    """Extend the image to the right and below by repeating its last column and row.

    Pixels keep their coordinates. Repeating makes no corner that is not there: zeros would draw an
    edge along the border, mirroring would double the corners beside it.

    Args:
        image: (H, W) or (H, W, C).
        multiple: Of which both sides become multiples.

    Returns:
        (H', W') or (H', W', C); the image itself if nothing is to do.
    """
    height, width = image.shape[:2]
    below, right = -height % multiple, -width % multiple
    if not below and not right:
        return image
    padded: Array = cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_REPLICATE)
    return padded
