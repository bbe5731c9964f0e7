# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from superpoint_ros.image import (
    ImageError,
    fit_longer_side,
    pad_to_multiple,
    read_image,
    resize,
    scale_matrix,
    scale_points,
    to_grey,
    write_image,
)
from superpoint_ros.training.datasets import read_photo


def test_grey_of_bgr_by_hand() -> None:
    # ITU-R BT.601: 0.299 R + 0.587 G + 0.114 B.
    pixel = np.array([[[200, 100, 50]]], np.uint8)  # B, G, R
    assert to_grey(pixel)[0, 0] == round(0.114 * 200 + 0.587 * 100 + 0.299 * 50)
    with_alpha = np.dstack([pixel, np.full((1, 1), 7, np.uint8)])
    assert to_grey(with_alpha)[0, 0] == to_grey(pixel)[0, 0]


def test_grey_keeps_grey_and_makes_it_contiguous(rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (6, 10), dtype=np.uint8)
    assert np.array_equal(to_grey(image[:, ::2]), image[:, ::2])
    assert to_grey(image[:, ::2]).flags.c_contiguous
    assert to_grey(image[..., None]).shape == (6, 10)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (None, "None"),
        (np.zeros((4, 6), np.float32), "float32"),
        (np.zeros((4, 6), np.uint16), "uint16"),
        (np.zeros((4, 6, 2), np.uint8), r"\(4, 6, 2\)"),
        (np.zeros((0, 6), np.uint8), "empty"),
        (np.zeros(6, np.uint8), r"\(6,\)"),
    ],
)
def test_unusable_images_are_named(image: np.ndarray, words: str) -> None:
    with pytest.raises(ImageError, match=words):
        to_grey(image)


def test_resize_and_points_agree() -> None:
    # A bright blob keeps its place under both, within a hundredth of a pixel.
    ys, xs = np.mgrid[:96, :160]
    centre = np.array([101.0, 37.0])
    blob = 255.0 * np.exp(-((xs - centre[0]) ** 2 + (ys - centre[1]) ** 2) / (2 * 8.0**2))
    for to_hw in ((48, 80), (60, 100), (144, 240)):
        small = resize(blob.astype(np.float32), to_hw)
        weights = small / small.sum()
        ys_small, xs_small = np.mgrid[: to_hw[0], : to_hw[1]]
        measured = np.array([(weights * xs_small).sum(), (weights * ys_small).sum()])
        expected = scale_points(centre, (96, 160), to_hw)
        np.testing.assert_allclose(measured, expected, atol=0.01)


def test_shrinking_averages_and_enlarging_blends() -> None:
    """One bright column in four: between the two middle ones there is nothing to see."""
    stripes = np.zeros((8, 16), np.uint8)
    stripes[:, ::4] = 200
    assert (resize(stripes, (2, 4)) == 50).all()
    assert resize(np.array([[0, 100]], np.uint8), (1, 4)).tolist() == [[0, 25, 75, 100]]


def test_there_and_back_returns_the_point(rng: np.random.Generator) -> None:
    points = rng.uniform(0, 100, (20, 2)).astype(np.float32)
    back = scale_points(scale_points(points, (96, 160), (41, 77)), (41, 77), (96, 160))
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, points, atol=1e-4)


def test_matrix_equals_points(rng: np.random.Generator) -> None:
    points = rng.uniform(0, 100, (20, 2))
    matrix = scale_matrix((96, 160), (41, 77))
    mapped = points @ matrix[:2, :2].T + matrix[:2, 2]
    np.testing.assert_allclose(mapped, scale_points(points, (96, 160), (41, 77)))


def test_scaled_points_keep_their_float_type_and_whole_pixels_become_fractions() -> None:
    for dtype, expected in ((np.float32, np.float32), (np.float64, np.float64), (int, np.float64)):
        scaled = scale_points(np.array([[1, 2]], dtype), (96, 160), (48, 80))
        assert scaled.dtype == expected
        assert scaled.tolist() == [[0.25, 0.75]]


def test_longer_side() -> None:
    assert fit_longer_side((336, 501), 250) == (168, 250)  # 167.7
    assert fit_longer_side((501, 336), 250) == (250, 168)
    assert fit_longer_side((480, 640), 320) == (240, 320)
    assert fit_longer_side((640, 427), 320) == (320, 214)
    assert fit_longer_side((2, 4000), 100) == (1, 100)


def test_padding_repeats_to_the_right_and_below(rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (13, 18), dtype=np.uint8)
    padded = pad_to_multiple(image, 8)
    assert padded.shape == (16, 24)
    assert np.array_equal(padded[:13, :18], image)
    assert np.array_equal(padded[13:, :18], np.repeat(image[-1:], 3, axis=0))
    assert np.array_equal(padded[:13, 18:], np.repeat(image[:, -1:], 6, axis=1))
    fitting = np.zeros((16, 24), np.uint8)
    assert pad_to_multiple(fitting, 8) is fitting
    assert pad_to_multiple(np.zeros((1, 1), np.uint8), 8).shape == (8, 8)


def test_an_orientation_tag_does_not_turn_the_image(tmp_path: Path) -> None:
    data = cv2.imencode(".jpg", np.zeros((40, 64), np.uint8))[1].tobytes()
    tiff = b"MM\x00\x2a" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, 6, 0, 0)  # by 90 degrees
    exif = b"Exif\x00\x00" + tiff
    tag = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
    path = tmp_path / "phone.jpg"
    path.write_bytes(data[:2] + tag + data[2:])
    assert cv2.imread(str(path)).shape == (64, 40, 3)
    assert read_image(path).shape == (40, 64, 3)
    assert read_photo(path).shape == (40, 64)  # what trains


def test_files(tmp_path: Path, rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (6, 10, 3), dtype=np.uint8)
    path = tmp_path / "new" / "image.png"
    write_image(path, image)
    assert np.array_equal(read_image(path), image)
    assert np.array_equal(cv2.imread(str(path)), image)
    with pytest.raises(FileNotFoundError, match=r"nowhere\.png"):
        read_image(tmp_path / "nowhere.png")
    with pytest.raises(ImageError, match="is a folder"):
        read_image(tmp_path)
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(ImageError, match=r"text\.png"):
        read_image(tmp_path / "text.png")
    with pytest.raises(ImageError, match=r"image\.docx"):
        write_image(tmp_path / "image.docx", image)


@pytest.mark.usefixtures("full_disk")
def test_a_picture_that_does_not_fit_on_the_disk_is_none(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    image = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)  # 5 kB: all but the last block fits
    with pytest.raises(OSError, match=r"image\.png"):
        write_image(tmp_path / "image.png", image)
    assert not list(tmp_path.iterdir())
