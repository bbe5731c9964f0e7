# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Image messages to arrays, without cv_bridge and without ROS.

A message is anything with the fields of sensor_msgs/Image (`encoding`, ...) or of
sensor_msgs/CompressedImage (`format`, `data`): rclpy's and rosbags' objects both do. Grey mono8
comes back as a view of the message; everything else is converted once. Memory is bounded: a raw
image cannot claim more pixels than it has bytes, and a compressed one is measured by its file
header before it is unpacked.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from superpoint_ros.data import Array

# The largest compressed image that is unpacked: twice an 8K frame.
MAX_PIXELS = 1 << 26


class DecodeError(ValueError):
    """An image that cannot be read; one sentence says which encoding and which numbers."""


@dataclass(frozen=True)
class _Layout:
    """How one encoding stores a pixel."""

    dtype: str  # of one element, without byte order
    channels: int  # elements per pixel of a packed row
    to_grey: int | None = None  # cv2 conversion code; None: the one channel is grey already
    to_bgr: int | None = None  # cv2 conversion code; None: BGR already
    family: str = "packed"  # packed, bayer, yuv422, planar


# The cv2 conversions to grey and to BGR.
_GREY = (None, cv2.COLOR_GRAY2BGR)
_BGR = (cv2.COLOR_BGR2GRAY, None)
_RGB = (cv2.COLOR_RGB2GRAY, cv2.COLOR_RGB2BGR)
_BGRA = (cv2.COLOR_BGRA2GRAY, cv2.COLOR_BGRA2BGR)
_RGBA = (cv2.COLOR_RGBA2GRAY, cv2.COLOR_RGBA2BGR)
# OpenCV names a Bayer pattern after the second row, ROS after the first: rggb is OpenCV's BG.
_BAYER = {
    "rggb": (cv2.COLOR_BayerBG2GRAY, cv2.COLOR_BayerBG2BGR),
    "bggr": (cv2.COLOR_BayerRG2GRAY, cv2.COLOR_BayerRG2BGR),
    "gbrg": (cv2.COLOR_BayerGR2GRAY, cv2.COLOR_BayerGR2BGR),
    "grbg": (cv2.COLOR_BayerGB2GRAY, cv2.COLOR_BayerGB2BGR),
}
_UYVY = _Layout("u1", 2, cv2.COLOR_YUV2GRAY_UYVY, cv2.COLOR_YUV2BGR_UYVY, "yuv422")
_YUYV = _Layout("u1", 2, cv2.COLOR_YUV2GRAY_YUYV, cv2.COLOR_YUV2BGR_YUYV, "yuv422")

_LAYOUTS: dict[str, _Layout] = {
    "mono8": _Layout("u1", 1, *_GREY),
    "8UC1": _Layout("u1", 1, *_GREY),
    "mono16": _Layout("u2", 1, *_GREY),
    "16UC1": _Layout("u2", 1, *_GREY),
    "bgr8": _Layout("u1", 3, *_BGR),
    "8UC3": _Layout("u1", 3, *_BGR),
    "rgb8": _Layout("u1", 3, *_RGB),
    "bgra8": _Layout("u1", 4, *_BGRA),
    "8UC4": _Layout("u1", 4, *_BGRA),
    "rgba8": _Layout("u1", 4, *_RGBA),
    "bgr16": _Layout("u2", 3, *_BGR),
    "16UC3": _Layout("u2", 3, *_BGR),
    "rgb16": _Layout("u2", 3, *_RGB),
    "bgra16": _Layout("u2", 4, *_BGRA),
    "16UC4": _Layout("u2", 4, *_BGRA),
    "rgba16": _Layout("u2", 4, *_RGBA),
    **{
        f"bayer_{pattern}{bits}": _Layout(f"u{bits // 8}", 1, *codes, "bayer")
        for pattern, codes in _BAYER.items()
        for bits in (8, 16)
    },
    "yuv422": _UYVY,
    "uyvy": _UYVY,
    "yuv422_yuy2": _YUYV,
    "yuyv": _YUYV,
    "nv12": _Layout("u1", 1, None, cv2.COLOR_YUV2BGR_NV12, "planar"),
    "nv21": _Layout("u1", 1, None, cv2.COLOR_YUV2BGR_NV21, "planar"),
    "nv24": _Layout("u1", 1, None, None, "planar"),
}
_DEPTH_LAYOUTS = {
    "16UC1": _Layout("u2", 1),
    "mono16": _Layout("u2", 1),
    "32FC1": _Layout("f4", 1),
}

#: Encodings of raw images that `decode_grey` and `decode_colour` accept.
IMAGE_ENCODINGS = tuple(_LAYOUTS)
#: Encodings of raw depth images that `decode_depth` accepts.
DEPTH_ENCODINGS = tuple(_DEPTH_LAYOUTS)


def decode_grey(message: Any) -> Array:
    """Return the grey image of a raw or compressed image message.

    Returns:
        (H, W) uint8; for mono8 and 8UC1 a read-only view of the message. 16-bit values are scaled
        by 255 / 65535 as cv_bridge does.

    Raises:
        DecodeError: The image is malformed, empty, too large or of an unknown encoding.
    """
    if _is_compressed(message):
        return _unpack_grey(message)
    encoding, layout, pixels = _raw_pixels(message, _LAYOUTS)
    if layout.family == "planar":
        luma: Array = pixels[0]
        return luma
    return _convert(_to_8_bit(pixels), layout.to_grey, encoding)


def decode_colour(message: Any) -> Array:
    """Return the colour image of a raw or compressed image message; grey ones are repeated.

    Returns:
        (H, W, 3) uint8 BGR; for bgr8 and 8UC3 a read-only view of the message.

    Raises:
        DecodeError: The image is malformed, empty, too large or of an unknown encoding.
    """
    if _is_compressed(message):
        return _unpack_colour(message)
    encoding, layout, pixels = _raw_pixels(message, _LAYOUTS)
    if layout.family == "planar":
        return _planar_to_bgr(pixels, layout, encoding)
    return _convert(_to_8_bit(pixels), layout.to_bgr, encoding)


def decode_depth(message: Any, units_per_metre: float = 1000.0) -> Array:
    """Return the depth image of a raw, compressed (png) or compressedDepth message.

    Args:
        message: 16UC1 or mono16 in units, or 32FC1 in metres (REP 118).
        units_per_metre: How many integer units one metre has; does not concern 32FC1.

    Returns:
        (H, W) float32, metres along the optical axis; NaN where unknown.

    Raises:
        DecodeError: The image is malformed, empty, too large or no depth.
        ValueError: `units_per_metre` is not positive.
    """
    if not units_per_metre > 0.0:
        raise ValueError(f"units_per_metre {units_per_metre} must be positive")
    if _is_compressed(message):
        stored, quantisation = _unpack_depth(message)
        if quantisation is not None:
            return _dequantise_depth(stored, *quantisation)
    else:
        _, _, stored = _raw_pixels(message, _DEPTH_LAYOUTS)
    depth = np.asarray(stored, np.float32, order="C")
    if stored.dtype.kind == "u":
        depth = depth / np.float32(units_per_metre)
    elif np.may_share_memory(depth, stored):
        depth = depth.copy()
    known = np.isfinite(depth) & (depth > 0.0)
    depth[~known] = np.nan
    return depth


def _is_compressed(message: Any) -> bool:
    if hasattr(message, "encoding"):
        return False
    if hasattr(message, "format"):
        return True
    raise DecodeError(f"{type(message).__name__} is neither an Image nor a CompressedImage")


def _bytes_of(message: Any) -> Array:
    """Return the payload as a (n,) uint8 view."""
    data = message.data
    if len(data) == 0:
        return np.empty(0, np.uint8)
    try:
        return np.frombuffer(data, np.uint8)
    except (TypeError, ValueError, BufferError):
        raise DecodeError(f"image data is a {type(data).__name__}, not bytes") from None


# ---- raw images -------------------------------------------------------------------------------


def _raw_pixels(message: Any, layouts: dict[str, _Layout]) -> tuple[str, _Layout, Any]:
    """Check a raw message and view its pixels.

    Returns:
        Encoding, its layout and the pixels: (H, W) or (H, W, C) in the message's byte order;
        planar ones as the pair (luma (H, W), interleaved chroma (rows, bytes)).
    """
    encoding = str(message.encoding)
    layout = layouts.get(encoding)
    if layout is None:
        if encoding in _DEPTH_LAYOUTS:
            raise DecodeError(f"encoding {encoding!r} is depth, not an image to look at")
        raise DecodeError(
            f"encoding {encoding!r} is not supported here; supported: {', '.join(layouts)}"
        )
    height, width, step = int(message.height), int(message.width), int(message.step)
    if height <= 0 or width <= 0:
        raise DecodeError(f"{encoding} image has no pixels: {width} x {height}")
    _check_shape(encoding, layout, width, height)
    dtype = np.dtype(layout.dtype).newbyteorder(">" if message.is_bigendian else "<")
    row_bytes = width * layout.channels * dtype.itemsize
    if step < row_bytes:
        raise DecodeError(
            f"{encoding} image of {width} x {height} has step {step}, "
            f"but a row of it takes {row_bytes} bytes"
        )
    data = _bytes_of(message)
    chroma_rows, chroma_step = _chroma_shape(encoding, height, step)
    luma_bytes = step * height
    if chroma_rows:
        needed = luma_bytes + chroma_step * chroma_rows
    else:
        needed = luma_bytes - step + row_bytes  # the padding of the last row may be absent
    if len(data) < needed:
        raise DecodeError(
            f"{encoding} image of {width} x {height} with step {step} needs {needed} bytes, "
            f"but its data has {len(data)}"
        )
    if layout.channels == 1:
        pixels: Any = np.ndarray((height, width), dtype, data, 0, (step, dtype.itemsize))
    else:
        pixel_bytes = layout.channels * dtype.itemsize
        shape = (height, width, layout.channels)
        pixels = np.ndarray(shape, dtype, data, 0, (step, pixel_bytes, dtype.itemsize))
    if not chroma_rows:
        return encoding, layout, pixels
    chroma = data[luma_bytes:needed].reshape(chroma_rows, chroma_step)
    return encoding, layout, (pixels, chroma)


def _check_shape(encoding: str, layout: _Layout, width: int, height: int) -> None:
    if layout.family == "yuv422" and width % 2:
        raise DecodeError(f"{encoding} image needs an even width, got {width} x {height}")
    if encoding in ("nv12", "nv21") and (width % 2 or height % 2):
        raise DecodeError(
            f"{encoding} image needs an even width and height, got {width} x {height}"
        )
    if layout.family == "bayer" and min(width, height) < 4:
        raise DecodeError(f"{encoding} image of {width} x {height} is too small to demosaic")


def _chroma_shape(encoding: str, height: int, step: int) -> tuple[int, int]:
    """Return rows and bytes per row of the chroma plane that follows the luma plane."""
    if encoding in ("nv12", "nv21"):
        return height // 2, step
    if encoding == "nv24":
        return height, 2 * step
    return 0, 0


def _to_8_bit(pixels: Array) -> Array:
    """Scale 16-bit pixels to 8 bits with rounding; 8-bit ones stay as they are."""
    if pixels.dtype.itemsize == 1:
        return pixels
    native = np.ascontiguousarray(pixels, dtype=np.uint16)
    return np.asarray(cv2.convertScaleAbs(native, alpha=255.0 / 65535.0))


def _convert(pixels: Array, code: int | None, encoding: str) -> Array:
    """Apply one cv2 colour conversion; None is no conversion."""
    if code is None:
        return pixels
    try:
        return np.asarray(cv2.cvtColor(np.ascontiguousarray(pixels), code))
    except cv2.error as error:
        height, width = pixels.shape[:2]
        raise DecodeError(
            f"{encoding} image of {width} x {height} cannot be converted ({error.err})"
        ) from None


def _planar_to_bgr(planes: tuple[Array, Array], layout: _Layout, encoding: str) -> Array:
    luma, chroma = planes
    height, width = luma.shape
    if encoding == "nv24":
        # OpenCV has no NV24. Its packed 4:4:4 conversion is full range, so the chroma is
        # brought to 4:2:2 by dropping every second sample, which keeps the range of the others.
        even = width - width % 2
        uyvy = np.empty((height, even, 2), np.uint8)
        uyvy[..., 1] = luma[:, :even]
        uyvy[..., 0] = (
            chroma[:, : 2 * even].reshape(height, even // 2, 4)[..., :2].reshape(height, even)
        )
        if even == 0:
            return _convert(luma, cv2.COLOR_GRAY2BGR, encoding)
        colour = _convert(uyvy, cv2.COLOR_YUV2BGR_UYVY, encoding)
        return colour if even == width else np.pad(colour, ((0, 0), (0, 1), (0, 0)), mode="edge")
    stacked = np.concatenate([luma, chroma[:, :width]])
    return _convert(stacked, layout.to_bgr, encoding)


# ---- compressed images ------------------------------------------------------------------------


@dataclass(frozen=True)
class _FileHeader:
    """What a JPEG or PNG says about itself."""

    kind: str  # jpeg or png
    width: int
    height: int
    bit_depth: int  # per channel


def _read_header(data: Array, image_format: str) -> _FileHeader:
    """Measure a JPEG or PNG before it is unpacked.

    Raises:
        DecodeError: It is neither, is cut off, or is larger than `MAX_PIXELS`.
    """
    raw = data.tobytes()
    if raw.startswith(b"\xff\xd8"):
        header = _read_jpeg_header(raw, image_format)
    elif raw.startswith(b"\x89PNG\r\n\x1a\n"):
        header = _read_png_header(raw, image_format)
    else:
        raise DecodeError(
            f"compressed image of format {image_format!r} with {len(raw)} bytes is neither JPEG "
            "nor PNG"
        )
    if header.width == 0 or header.height == 0:
        raise DecodeError(f"{header.kind} image has no pixels: {header.width} x {header.height}")
    if header.width * header.height > MAX_PIXELS:
        raise DecodeError(
            f"{header.kind} image claims {header.width} x {header.height} pixels, "
            f"more than the {MAX_PIXELS} allowed"
        )
    return header


def _read_png_header(raw: bytes, image_format: str) -> _FileHeader:
    if len(raw) < 33 or raw[12:16] != b"IHDR" or b"IEND" not in raw[-64:]:
        raise DecodeError(
            f"compressed image of format {image_format!r} is a truncated PNG of {len(raw)} bytes"
        )
    width, height, bit_depth = struct.unpack(">IIB", raw[16:25])
    return _FileHeader("png", width, height, bit_depth)


def _read_jpeg_header(raw: bytes, image_format: str) -> _FileHeader:
    """Walk the segments up to the frame header (ITU T.81, annex B)."""
    position = 2
    while position + 9 <= len(raw) and raw[position] == 0xFF:
        marker = raw[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        (length,) = struct.unpack_from(">H", raw, position + 2)
        is_frame = 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)
        if is_frame:
            bit_depth, height, width = struct.unpack_from(">BHH", raw, position + 4)
            if raw.rfind(b"\xff\xd9") < position:  # no end of image: the rest would be made up
                break
            return _FileHeader("jpeg", width, height, bit_depth)
        position += 2 + length
    raise DecodeError(
        f"compressed image of format {image_format!r} is a truncated or broken JPEG of "
        f"{len(raw)} bytes"
    )


def _imdecode(data: Array, flags: int, image_format: str) -> Array:
    try:
        image = cv2.imdecode(data, flags)
    except cv2.error:
        image = None
    if image is None:
        raise DecodeError(
            f"compressed image of format {image_format!r} with {len(data)} bytes is damaged"
        )
    return np.asarray(image)


def _parse_format(image_format: str) -> tuple[str, str]:
    """Return the encoding before and after compression; empty where the format does not say.

    image_transport writes "rgb8; jpeg compressed bgr8"; plain drivers write "jpeg" or "png".
    """
    before, separator, rest = image_format.partition(";")
    if not separator:
        return "", ""
    _, _, after = rest.partition("compressed")
    return before.strip(), after.strip()


def _unpack(message: Any, want_colour: bool) -> Array:
    """Return (H, W) grey or (H, W, 3) BGR uint8 of a compressed message."""
    image_format = str(message.format)
    if "compressedDepth" in image_format:
        raise DecodeError(f"format {image_format!r} is depth, not an image to look at")
    data = _bytes_of(message)
    if len(data) == 0:
        raise DecodeError(f"compressed image of format {image_format!r} is empty")
    header = _read_header(data, image_format)
    before, after = _parse_format(image_format)
    # Packed without a conversion before: the file holds the sensor's mosaic, or RGB as if BGR.
    is_mosaic = before.startswith("bayer_") and after in ("", before)
    is_swapped = after.startswith("rgb")
    # A PNG is unpacked as stored, so that it gives the same grey as the raw image did.
    if header.kind == "png" or is_mosaic or is_swapped:
        image = _to_8_bit(_imdecode(data, cv2.IMREAD_UNCHANGED, image_format))
        layout = _LAYOUTS.get(before) if is_mosaic else None
        if image.ndim == 2 and layout is not None:
            _check_shape(before, layout, image.shape[1], image.shape[0])
            return _convert(image, layout.to_bgr if want_colour else layout.to_grey, before)
        base = {2: "mono8", 3: "rgb8" if is_swapped else "bgr8"}
        name = base.get(image.ndim, "bgr8")
        if image.ndim == 3 and image.shape[2] == 4:
            name = "rgba8" if is_swapped else "bgra8"
        layout = _LAYOUTS[name]
        return _convert(image, layout.to_bgr if want_colour else layout.to_grey, image_format)
    mode = cv2.IMREAD_COLOR if want_colour else cv2.IMREAD_GRAYSCALE
    # The camera's calibration is of the sensor: an orientation tag must not turn the image.
    return _imdecode(data, mode | cv2.IMREAD_IGNORE_ORIENTATION, image_format)


def _unpack_grey(message: Any) -> Array:
    return _unpack(message, want_colour=False)


def _unpack_colour(message: Any) -> Array:
    return _unpack(message, want_colour=True)


def _unpack_depth(message: Any) -> tuple[Array, tuple[float, float] | None]:
    """Return the stored integers (H, W) uint16 and the quantisation (A, B) of 32FC1 depth.

    The compressedDepth transport puts 12 bytes before the PNG: an enumerator and A, B as float32.
    """
    image_format = str(message.format)
    data = _bytes_of(message)
    quantisation = None
    if "compressedDepth" in image_format:
        if "rvl" in image_format:
            raise DecodeError(
                f"format {image_format!r}: RVL is not supported; let the camera's "
                "compressedDepth.format parameter be png"
            )
        if len(data) <= 12:
            raise DecodeError(f"{image_format!r} depth of {len(data)} bytes is empty")
        if image_format.startswith("32FC1"):
            a, b = struct.unpack_from("<ff", data.tobytes()[:12], 4)
            quantisation = (float(a), float(b))
        data = data[12:]
    elif len(data) == 0:
        raise DecodeError(f"compressed depth of format {image_format!r} is empty")
    header = _read_header(data, image_format)
    if header.kind != "png" or header.bit_depth != 16:
        raise DecodeError(
            f"depth of format {image_format!r} is {header.kind} with {header.bit_depth} bits; "
            "only 16-bit PNG keeps depth"
        )
    stored = _imdecode(data, cv2.IMREAD_UNCHANGED, image_format)
    if stored.ndim != 2 or stored.dtype != np.uint16:
        raise DecodeError(
            f"depth of format {image_format!r} has {stored.shape[-1]} channels, not one"
        )
    return stored, quantisation


def _dequantise_depth(stored: Array, a: float, b: float) -> Array:
    """Return metres from inverse depth: v = A / depth + B, 0 unknown."""
    if not (np.isfinite(a) and np.isfinite(b) and a > 0.0):
        raise DecodeError(f"compressedDepth has no usable quantisation: A = {a}, B = {b}")
    inverse = stored.astype(np.float32) - np.float32(b)
    known = (stored > 0) & (inverse > 0.0)
    depth = np.full(stored.shape, np.nan, np.float32)
    np.divide(np.float32(a), inverse, out=depth, where=known)
    depth[~np.isfinite(depth)] = np.nan
    return depth
