# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Every encoding against a plain NumPy reference; every malformed image one clear error."""

from __future__ import annotations

import struct
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from superpoint_ros import decode
from superpoint_ros.decode import DecodeError, decode_colour, decode_depth, decode_grey

HEIGHT, WIDTH = 12, 18
COLOUR_ORDER = {  # which element of a pixel is blue, green, red
    "bgr8": (0, 1, 2),
    "8UC3": (0, 1, 2),
    "rgb8": (2, 1, 0),
    "bgra8": (0, 1, 2),
    "8UC4": (0, 1, 2),
    "rgba8": (2, 1, 0),
    "bgr16": (0, 1, 2),
    "16UC3": (0, 1, 2),
    "rgb16": (2, 1, 0),
    "bgra16": (0, 1, 2),
    "16UC4": (0, 1, 2),
    "rgba16": (2, 1, 0),
}


def image_message(pixels, encoding, step_padding=0, big_endian=False, height=None):
    """Pack (H, W) or (H, W, C) integers row by row, padding each row with 0xAB."""
    order = ">" if big_endian else "<"
    rows = pixels.astype(pixels.dtype.newbyteorder(order)).reshape(len(pixels), -1)
    data = b"".join(row.tobytes() + b"\xab" * step_padding for row in rows)
    return SimpleNamespace(
        encoding=encoding,
        height=height or len(pixels),
        width=pixels.shape[1],
        step=rows.shape[1] * pixels.dtype.itemsize + step_padding,
        is_bigendian=int(big_endian),
        data=data,
    )


def to_8_bit(pixels):
    if pixels.dtype == np.uint8:
        return pixels
    return np.floor(pixels * (255.0 / 65535.0) + 0.5).astype(np.uint8)


def grey_of(bgr):
    return bgr @ np.array([0.114, 0.587, 0.299])


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def random_pixels(rng, encoding, channels):
    dtype = np.uint16 if "16" in encoding else np.uint8
    shape = (HEIGHT, WIDTH) if channels == 1 else (HEIGHT, WIDTH, channels)
    return rng.integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("padding", [0, 1, 7])
@pytest.mark.parametrize("encoding", ["mono8", "8UC1", "mono16", "16UC1"])
def test_grey_encodings_are_exact(rng, encoding, padding, big_endian):
    pixels = random_pixels(rng, encoding, 1)
    message = image_message(pixels, encoding, padding, big_endian)
    expected = to_8_bit(pixels)
    np.testing.assert_array_equal(decode_grey(message), expected)
    np.testing.assert_array_equal(decode_colour(message), np.repeat(expected[..., None], 3, 2))


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("padding", [0, 1, 7])
@pytest.mark.parametrize("encoding", COLOUR_ORDER)
def test_colour_encodings(rng, encoding, padding, big_endian):
    channels = 4 if "a" in encoding or "C4" in encoding else 3
    pixels = random_pixels(rng, encoding, channels)
    message = image_message(pixels, encoding, padding, big_endian)
    bgr = to_8_bit(pixels)[..., list(COLOUR_ORDER[encoding])]
    np.testing.assert_array_equal(decode_colour(message), bgr)
    assert np.abs(decode_grey(message) - grey_of(bgr)).max() <= 1.0


def mosaic(bgr, pattern):
    """Keep of each pixel the channel that the 2 x 2 pattern (row by row) has there."""
    index = {"b": 0, "g": 1, "r": 2}
    result = np.empty(bgr.shape[:2], bgr.dtype)
    for position, letter in enumerate(pattern):
        row, column = divmod(position, 2)
        result[row::2, column::2] = bgr[row::2, column::2, index[letter]]
    return result


def demosaic(raw, pattern):
    """Bilinear interpolation of each channel over its 3 x 3 neighbourhood."""
    kernel = np.array([[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]])
    result = np.empty((*raw.shape, 3))
    for channel, letter in enumerate("bgr"):
        known = np.zeros(raw.shape)
        for position, here in enumerate(pattern):
            row, column = divmod(position, 2)
            known[row::2, column::2] = here == letter
        weights = kernel if letter != "g" else np.array([[0, 1, 0], [1, 4, 1], [0, 1, 0.0]])
        total, weight = np.zeros(raw.shape), np.zeros(raw.shape)
        for (row, column), value in np.ndenumerate(weights):
            shift = (1 - row, 1 - column)
            total += value * np.roll(raw * known, shift, (0, 1))
            weight += value * np.roll(known, shift, (0, 1))
        result[..., channel] = total / weight
        result[known > 0, channel] = raw[known > 0]
    return result


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer_encodings(rng, pattern, bits, padding, big_endian):
    encoding = f"bayer_{pattern}{bits}"
    raw = random_pixels(rng, encoding, 1)
    message = image_message(raw, encoding, padding, big_endian)
    expected = demosaic(to_8_bit(raw).astype(float), pattern)
    inside = np.s_[2:-2, 2:-2]
    assert np.abs(decode_colour(message)[inside] - expected[inside]).max() <= 1.0
    assert np.abs(decode_grey(message)[inside] - grey_of(expected)[inside]).max() <= 2.0


def test_bayer_keeps_a_flat_colour():
    bgr = np.broadcast_to(np.array([40, 90, 200], np.uint8), (HEIGHT, WIDTH, 3))
    for pattern in ("rggb", "bggr", "gbrg", "grbg"):
        message = image_message(mosaic(bgr, pattern), f"bayer_{pattern}8")
        np.testing.assert_array_equal(decode_colour(message), bgr)


def bgr_of_yuv(luma, u, v):
    """BT.601, limited range, as cv_bridge converts."""
    y, u, v = 1.164 * (luma - 16.0), u - 128.0, v - 128.0
    bgr = np.stack([y + 2.018 * u, y - 0.391 * u - 0.813 * v, y + 1.596 * v], -1)
    return np.clip(bgr, 0.0, 255.0)


@pytest.mark.parametrize("padding", [0, 1, 6])
@pytest.mark.parametrize("encoding", ["yuv422", "uyvy", "yuv422_yuy2", "yuyv"])
def test_packed_yuv(rng, encoding, padding):
    luma = rng.integers(16, 236, (HEIGHT, WIDTH)).astype(np.uint8)
    u, v = rng.integers(16, 241, (2, HEIGHT, WIDTH // 2)).astype(np.uint8)
    packed = np.empty((HEIGHT, WIDTH, 2), np.uint8)
    first = 1 if encoding in ("yuv422", "uyvy") else 0
    packed[..., first] = luma
    packed[:, 0::2, 1 - first], packed[:, 1::2, 1 - first] = u, v
    message = image_message(packed, encoding, padding)
    np.testing.assert_array_equal(decode_grey(message), luma)
    expected = bgr_of_yuv(luma, np.repeat(u, 2, 1), np.repeat(v, 2, 1))
    assert np.abs(decode_colour(message) - expected).max() <= 2.0


@pytest.mark.parametrize("padding", [0, 2, 5])
@pytest.mark.parametrize("encoding", ["nv12", "nv21", "nv24"])
def test_planar_yuv(rng, encoding, padding):
    luma = rng.integers(16, 236, (HEIGHT, WIDTH)).astype(np.uint8)
    step = WIDTH + padding
    padded = np.pad(luma, ((0, 0), (0, padding)))
    scale = 1 if encoding == "nv24" else 2
    # Chroma is constant over 2 x 2 blocks, so the subsampled and the full one say the same.
    blocks = rng.integers(16, 241, (2, HEIGHT // 2, WIDTH // 2)).astype(np.uint8)
    u, v = np.repeat(np.repeat(blocks, 2, 1), 2, 2)
    pair = (v, u) if encoding == "nv21" else (u, v)
    chroma = np.stack([plane[::scale, ::scale] for plane in pair], -1)
    chroma = chroma.reshape(len(chroma), -1)
    chroma_step = step if scale == 2 else 2 * step
    chroma = np.pad(chroma, ((0, 0), (0, chroma_step - chroma.shape[1])))
    message = SimpleNamespace(
        encoding=encoding,
        height=HEIGHT,
        width=WIDTH,
        step=step,
        is_bigendian=0,
        data=padded.tobytes() + chroma.tobytes(),
    )
    np.testing.assert_array_equal(decode_grey(message), luma)
    assert np.abs(decode_colour(message) - bgr_of_yuv(luma, u, v)).max() <= 2.0


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("padding", [0, 1, 3])
def test_depth_encodings(rng, padding, big_endian):
    millimetres = rng.integers(1, 65536, (HEIGHT, WIDTH)).astype(np.uint16)
    millimetres[3, 4] = 0
    for encoding in ("16UC1", "mono16"):
        depth = decode_depth(image_message(millimetres, encoding, padding, big_endian), 5000.0)
        assert depth.dtype == np.float32
        assert np.isnan(depth[3, 4])
        np.testing.assert_allclose(depth[millimetres > 0], millimetres[millimetres > 0] / 5000.0)
    metres = rng.uniform(0.1, 9.0, (HEIGHT, WIDTH)).astype(np.float32)
    metres[0, :4] = np.nan, np.inf, 0.0, -1.0
    depth = decode_depth(image_message(metres, "32FC1", padding, big_endian), 5000.0)
    assert np.isnan(depth[0, :4]).all()
    np.testing.assert_array_equal(depth[1:], metres[1:])


def test_mono8_is_a_view():
    pixels = np.arange(HEIGHT * WIDTH, dtype=np.uint8).reshape(HEIGHT, WIDTH)
    message = image_message(pixels, "mono8", 3)
    message.data = bytearray(message.data)
    grey = decode_grey(message)
    message.data[0] = 77
    assert grey[0, 0] == 77


def test_the_padding_of_the_last_row_may_be_absent():
    pixels = np.arange(HEIGHT * WIDTH, dtype=np.uint8).reshape(HEIGHT, WIDTH)
    message = image_message(pixels, "mono8", 9)
    message.data = message.data[:-9]
    np.testing.assert_array_equal(decode_grey(message), pixels)


def test_every_listed_encoding_was_tested():
    tested = {"mono8", "8UC1", "mono16", "16UC1", *COLOUR_ORDER, "yuv422", "uyvy"}
    tested |= {"yuv422_yuy2", "yuyv", "nv12", "nv21", "nv24"}
    tested |= {f"bayer_{p}{b}" for p in ("rggb", "bggr", "gbrg", "grbg") for b in (8, 16)}
    assert tested == set(decode.IMAGE_ENCODINGS)


# ---- compressed -------------------------------------------------------------------------------


def compressed(image, image_format, extension=".png", prefix=b""):
    ok, data = cv2.imencode(extension, image)
    assert ok
    return SimpleNamespace(format=image_format, data=prefix + data.tobytes())


@pytest.fixture
def photo():
    """Smooth, so that JPEG keeps it to a few grey levels."""
    y, x = np.mgrid[0:48, 0:80]
    return np.stack([2 * x, 3 * y, 255 - x - y], -1).astype(np.uint8)


@pytest.mark.parametrize("image_format", ["jpeg", "jpg", "rgb8; jpeg compressed bgr8", ""])
def test_jpeg(photo, image_format):
    message = compressed(photo, image_format, ".jpg")
    assert np.abs(decode_colour(message).astype(int) - photo).max() <= 12
    assert np.abs(decode_grey(message) - grey_of(photo)).max() <= 6.0


@pytest.mark.parametrize("image_format", ["png", "bgr8; png compressed bgr8"])
def test_png(photo, image_format):
    message = compressed(photo, image_format)
    np.testing.assert_array_equal(decode_colour(message), photo)
    np.testing.assert_array_equal(decode_grey(message), decode_grey(image_message(photo, "bgr8")))


def test_a_file_that_was_written_as_rgb_is_turned_back(photo):
    message = compressed(photo[..., ::-1], "rgb8; png compressed rgb8")
    np.testing.assert_array_equal(decode_colour(message), photo)
    assert np.abs(decode_grey(message) - grey_of(photo)).max() <= 1.0


def test_png_with_16_bits_is_scaled(rng):
    pixels = random_pixels(rng, "mono16", 1)
    message = compressed(pixels, "mono16; png compressed ")
    np.testing.assert_array_equal(decode_grey(message), to_8_bit(pixels))


def test_png_of_a_mosaic(rng):
    raw = random_pixels(rng, "bayer_grbg8", 1)
    message = compressed(raw, "bayer_grbg8; png compressed ")
    np.testing.assert_array_equal(
        decode_colour(message), decode_colour(image_message(raw, "bayer_grbg8"))
    )


def test_an_orientation_tag_does_not_turn_the_image(photo):
    data = compressed(photo, "jpeg", ".jpg").data
    tiff = b"MM\x00\x2a" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, 6, 0, 0)
    exif = b"Exif\x00\x00" + tiff
    tagged = data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]
    assert cv2.imdecode(np.frombuffer(tagged, np.uint8), cv2.IMREAD_COLOR).shape == (80, 48, 3)
    assert decode_grey(SimpleNamespace(format="jpeg", data=tagged)).shape == (48, 80)


@pytest.mark.parametrize("image_format", ["png", "16UC1; png compressed "])
def test_compressed_16_bit_depth(rng, image_format):
    pixels = random_pixels(rng, "16UC1", 1)
    pixels[2, 5] = 0
    depth = decode_depth(compressed(pixels, image_format), 5000.0)
    assert np.isnan(depth[2, 5])
    np.testing.assert_allclose(depth[pixels > 0], pixels[pixels > 0] / 5000.0)


def test_compressed_depth_transport(rng):
    pixels = random_pixels(rng, "16UC1", 1)
    pixels[pixels == 0] = 1
    for image_format in ("16UC1; compressedDepth", "16UC1; compressedDepth png"):
        message = compressed(pixels, image_format, prefix=bytes(12))
        np.testing.assert_allclose(decode_depth(message), pixels / 1000.0, rtol=1e-6)

    a, b = 100.0 * 101.0, 1.0 - 100.0 * 101.0 / 10.0  # what the transport computes for 10 m
    metres = rng.uniform(0.3, 9.9, (HEIGHT, WIDTH))
    inverse = (a / metres + b).astype(np.uint16)
    inverse[1, 2] = 0
    header = struct.pack("<iff", 0, a, b)
    message = compressed(inverse, "32FC1; compressedDepth png", prefix=header)
    depth = decode_depth(message, 5000.0)
    assert np.isnan(depth[1, 2])
    known = np.isfinite(depth)
    assert known.sum() == HEIGHT * WIDTH - 1
    # One step of inverse depth is depth^2 / A metres.
    assert (np.abs(depth - metres)[known] <= (metres**2 / a + 1e-3)[known] * 1.1).all()


# ---- errors -----------------------------------------------------------------------------------


def broken(**changes):
    message = image_message(np.zeros((48, 80), np.uint8), "mono8")
    vars(message).update(changes)
    return message


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (broken(data=b""), ["mono8", "80 x 48", "3840", "0"]),
        (broken(data=bytes(3000)), ["mono8", "3840", "3000"]),
        (broken(step=2**32 - 1), ["mono8", "4294967295"]),
        (broken(step=10), ["step 10", "80 bytes"]),
        (broken(step=0), ["step 0"]),
        (broken(height=0), ["80 x 0"]),
        (broken(width=0), ["0 x 48"]),
        (broken(width=2**32 - 1, step=2**32 - 1), ["4294967295"]),
        (broken(encoding="h264"), ["h264", "mono8", "nv12"]),
        (broken(encoding=""), ["''"]),
        (broken(encoding="32FC1"), ["32FC1", "depth"]),
        (broken(encoding="yuv422", width=79, step=160), ["yuv422", "even", "79 x 48"]),
        (broken(encoding="nv12", height=31), ["nv12", "even"]),
        (broken(encoding="nv12"), ["nv12", "5760", "3840"]),
        (broken(encoding="bayer_rggb8", height=2), ["bayer_rggb8", "small"]),
        (broken(data=[0.5] * 3840), ["list"]),
        (SimpleNamespace(format="jpeg", data=b""), ["jpeg", "empty"]),
        (SimpleNamespace(format="jpeg", data=b"\xff\xd8\xff"), ["truncated", "3 bytes"]),
        (SimpleNamespace(format="webp", data=b"RIFF1234WEBP"), ["webp", "neither"]),
        (SimpleNamespace(format="16UC1; compressedDepth png", data=bytes(99)), ["depth"]),
        (SimpleNamespace(), ["neither an Image nor"]),
    ],
)
def test_one_clear_sentence(message, words):
    for decoder in (decode_grey, decode_colour):
        with pytest.raises(DecodeError) as error:
            decoder(message)
        sentence = str(error.value)
        assert "\n" not in sentence
        for word in words:
            assert word in sentence


@pytest.mark.parametrize("extension", [".png", ".jpg"])
def test_truncated_files(photo, extension):
    message = compressed(photo, extension, extension)
    for length in (20, 200, len(message.data) - 30):
        cut = SimpleNamespace(format="cut", data=message.data[:length])
        with pytest.raises(DecodeError, match="cut"):
            decode_grey(cut)


def test_a_small_file_cannot_claim_gigabytes(photo):
    png = bytearray(compressed(photo, "png").data)
    png[16:24] = struct.pack(">II", 60000, 60000)
    jpeg = bytearray(compressed(photo, "jpeg", ".jpg").data)
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", 65000, 65000)
    for data in (png, jpeg):
        with pytest.raises(DecodeError, match="allowed"):
            decode_grey(SimpleNamespace(format="x", data=bytes(data)))


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (broken(), ["mono8", "32FC1"]),
        (broken(encoding="16UC1"), ["16UC1", "step 80"]),
        (SimpleNamespace(format="16UC1; compressedDepth rvl", data=bytes(50)), ["RVL", "png"]),
        (SimpleNamespace(format="16UC1; compressedDepth", data=bytes(12)), ["12 bytes"]),
        (SimpleNamespace(format="png", data=b""), ["empty"]),
        (compressed(np.zeros((8, 9), np.uint8), "png"), ["8 bits"]),
        (compressed(np.zeros((8, 9), np.uint8), "jpeg", ".jpg"), ["jpeg", "16-bit"]),
        (compressed(np.zeros((8, 9, 3), np.uint16), "png"), ["3 channels"]),
        (
            compressed(np.ones((8, 9), np.uint16), "32FC1; compressedDepth", prefix=bytes(12)),
            ["quantisation"],
        ),
    ],
)
def test_depth_errors(message, words):
    with pytest.raises(DecodeError) as error:
        decode_depth(message)
    for word in words:
        assert word in str(error.value)


def test_units_must_be_positive():
    with pytest.raises(ValueError, match="positive"):
        decode_depth(broken(encoding="16UC1"), 0.0)


def only_decode_errors(message):
    for decoder in (decode_grey, decode_colour, decode_depth):
        try:
            image = decoder(message)
        except DecodeError:
            continue
        assert image.ndim in (2, 3)
        assert image.size > 0


SIZES = st.one_of(st.integers(0, 20), st.integers(0, 2**32 - 1))


@settings(max_examples=400, deadline=None)
@given(
    encoding=st.one_of(st.sampled_from([*decode.IMAGE_ENCODINGS, "32FC1"]), st.text(max_size=8)),
    height=SIZES,
    width=SIZES,
    step=SIZES,
    big_endian=st.integers(0, 255),
    data=st.binary(max_size=700),
)
def test_fuzz_raw(encoding, height, width, step, big_endian, data):
    only_decode_errors(
        SimpleNamespace(
            encoding=encoding,
            height=height,
            width=width,
            step=step,
            is_bigendian=big_endian,
            data=data,
        )
    )


@settings(max_examples=300, deadline=None)
@given(
    encoding=st.sampled_from([*decode.IMAGE_ENCODINGS, "32FC1"]),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    padding=st.integers(0, 3),
    big_endian=st.booleans(),
    fill=st.integers(0, 255),
)
def test_fuzz_small_but_complete(encoding, height, width, padding, big_endian, fill):
    step = 16 * width + padding
    data = bytes([fill]) * (3 * step * height)
    only_decode_errors(
        SimpleNamespace(
            encoding=encoding,
            height=height,
            width=width,
            step=step,
            is_bigendian=big_endian,
            data=data,
        )
    )


def seed_files():
    y, x = np.mgrid[0:24, 0:40]
    colour = np.stack([5 * x, 9 * y, x + y], -1).astype(np.uint8)
    files = [compressed(colour, "", extension).data for extension in (".png", ".jpg")]
    files.append(compressed((300 * (x + y)).astype(np.uint16), "").data)
    return [*files, bytes(12) + files[-1]]


FORMATS = [
    "jpeg",
    "png",
    "bayer_rggb8; png compressed ",
    "rgb8; jpeg compressed rgb8",
    "16UC1; compressedDepth png",
    "32FC1; compressedDepth png",
]


@settings(max_examples=300, deadline=None)
@given(
    image_format=st.one_of(st.sampled_from(FORMATS), st.text(max_size=12)),
    seed=st.sampled_from(seed_files()),
    changes=st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), max_size=6),
    length=st.one_of(st.none(), st.integers(0, 5000)),
)
def test_fuzz_compressed(image_format, seed, changes, length):
    data = bytearray(seed)
    for position, value in changes:
        data[position % len(data)] = value
    only_decode_errors(SimpleNamespace(format=image_format, data=bytes(data[:length])))


# ---- cv_bridge, where it is installed -----------------------------------------------------------

# What cv_bridge converts; 8UC1 and its like are no colours to it, NV formats unknown.
CHANNELS_OF_CV_BRIDGE = {
    **dict.fromkeys(("mono8", "mono16"), 1),
    **dict.fromkeys(("bgr8", "rgb8", "bgr16", "rgb16"), 3),
    **dict.fromkeys(("bgra8", "rgba8", "bgra16", "rgba16"), 4),
    **{name: 1 for name in decode.IMAGE_ENCODINGS if name.startswith("bayer_")},
    **dict.fromkeys(("yuv422", "yuv422_yuy2"), 2),
}


@pytest.fixture(scope="module")
def bridge():
    cv_bridge = pytest.importorskip("cv_bridge", reason="cv_bridge is not installed")
    return cv_bridge.CvBridge()


def ros_image(pixels, encoding, step_padding):
    """A real sensor_msgs/Image, little-endian."""
    from sensor_msgs.msg import Image

    packed = image_message(pixels, encoding, step_padding)
    return Image(
        **{name: getattr(packed, name) for name in ("encoding", "height", "width", "step")},
        data=packed.data,
    )


@pytest.mark.ros
@pytest.mark.parametrize("padded_pixels", [0, 2])
@pytest.mark.parametrize(("encoding", "channels"), CHANNELS_OF_CV_BRIDGE.items())
def test_cv_bridge_sees_the_same_image(bridge, rng, encoding, channels, padded_pixels):
    pixels = random_pixels(rng, encoding, channels)
    # cv_bridge drops padding of whole pixels only
    padding = padded_pixels * channels * pixels.dtype.itemsize
    message = ros_image(pixels, encoding, padding)
    colour = bridge.imgmsg_to_cv2(message, "bgr8").astype(int)
    grey = bridge.imgmsg_to_cv2(message, "mono8").astype(int)
    # It goes to 8 bits after the conversion of colours, we before: at most one step apart.
    tolerance = 1 if encoding.endswith("16") else 0
    np.testing.assert_allclose(decode_colour(message).astype(int), colour, atol=tolerance)
    np.testing.assert_allclose(decode_grey(message).astype(int), grey, atol=tolerance)


@pytest.mark.ros
@pytest.mark.parametrize(("encoding", "dtype"), [("16UC1", np.uint16), ("32FC1", np.float32)])
def test_cv_bridge_sees_the_same_depth(bridge, rng, encoding, dtype):
    pixels = rng.integers(1, 9000, (HEIGHT, WIDTH)).astype(dtype)
    message = ros_image(pixels, encoding, 2 * pixels.dtype.itemsize)
    stored = bridge.imgmsg_to_cv2(message, "passthrough")
    metres = stored / 1000.0 if dtype is np.uint16 else stored
    np.testing.assert_allclose(decode_depth(message), metres, rtol=1e-6)


@pytest.mark.ros
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_cv_bridge_sees_the_same_compressed_image(bridge, rng, suffix):
    from sensor_msgs.msg import CompressedImage

    smooth = cv2.resize(rng.integers(0, 256, (4, 6, 3), dtype=np.uint8), (WIDTH, HEIGHT))
    data = cv2.imencode(f".{suffix}", smooth)[1].tobytes()
    message = CompressedImage(format=suffix, data=data)
    expected = bridge.compressed_imgmsg_to_cv2(message, "bgr8")
    np.testing.assert_array_equal(decode_colour(message), expected)
