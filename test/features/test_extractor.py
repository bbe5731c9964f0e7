# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from superpoint_ros.config import ConfigError
from superpoint_ros.data import Features
from superpoint_ros.engines.engine import EngineConfig
from superpoint_ros.features import (
    Extractor,
    ExtractorConfig,
    extractor_from_config,
    load_extractor,
)
from superpoint_ros.features.descriptors import DescriptorConfig, sample_descriptors
from superpoint_ros.features.keypoints import KeypointConfig
from superpoint_ros.image import ImageError
from superpoint_ros.matching import match
from superpoint_ros.network.cells import cell_centres
from superpoint_ros.network.superpoint import DenseOutput, NetworkConfig, SuperPoint
from superpoint_ros.network.weights import ModelCard, WeightsError, save_weights


class BrightPixels:
    """An engine with a known answer: white pixels are keypoints, descriptors tell the cell."""

    name = "bright-pixels"
    device = torch.device("cpu")

    def __call__(self, images: Tensor) -> DenseOutput:
        assert images.dtype == torch.uint8
        self.shape = tuple(images.shape)
        is_white = (images == 255).float().unsqueeze(1)
        pixels = functional.pixel_unshuffle(is_white, 8) * 20.0
        logits = torch.cat([pixels, torch.full_like(pixels[:, :1], 10.0)], dim=1)
        size_hw = (images.shape[1], images.shape[2])
        centres = cell_centres(size_hw).movedim(-1, 0).expand(len(images), -1, -1, -1)
        ones = torch.full_like(centres[:, :1], 100.0)
        return DenseOutput(logits, torch.cat([centres, ones], dim=1))


CARD = ModelCard(name="bright", network={"descriptor_dim": 3}, sha256="00ff")
CONFIG = ExtractorConfig(
    keypoints=KeypointConfig(
        detection_threshold=0.5, score_sigma_px=0.0, border_px=0, refinement_radius=0
    )
)


def extractor(config: ExtractorConfig = CONFIG) -> Extractor:
    return Extractor(BrightPixels(), CARD, config)


def with_dots(size_hw: tuple[int, int], *points: tuple[int, int]) -> np.ndarray:
    image = np.zeros(size_hw, np.uint8)
    for x, y in points:
        image[y, x] = 255
    return image


@pytest.mark.parametrize("size_hw", [(48, 80), (45, 77), (41, 73), (9, 23)])
def test_pixels_of_any_size_keep_their_coordinates(size_hw: tuple[int, int]) -> None:
    height, width = size_hw
    low = dataclasses.replace(CONFIG.keypoints, detection_threshold=0.01)
    points = {(0, 0), (width - 1, 0), (0, height - 1), (width - 1, height - 1), (11, 6)}
    run = extractor(dataclasses.replace(CONFIG, keypoints=low))
    features = run(with_dots(size_hw, *points))
    # Repeated into the padding, a white corner fills up to a whole cell and shares its probability
    # with that, and yet no pixel of the padding is a keypoint.
    assert {tuple(map(int, p)) for p in features.keypoints} == points
    assert features.image_size_hw == size_hw


def test_descriptors_belong_to_their_keypoints() -> None:
    features = extractor()(with_dots((45, 77), (30, 20), (60, 36)))
    recovered = 100.0 * features.descriptors[:, :2] / features.descriptors[:, 2:]
    np.testing.assert_allclose(recovered, features.keypoints, atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(features.descriptors, axis=1), 1.0, atol=1e-6)


def test_descriptors_are_read_between_cells_as_the_config_says() -> None:
    image = with_dots((48, 80), (30, 20))
    run, found = extractor(), {}
    dense = run.engine(torch.from_numpy(image[None])).dense_descriptors
    for interpolation in ("bilinear", "bicubic"):  # takes effect between calls
        run.config = dataclasses.replace(CONFIG, descriptors=DescriptorConfig(interpolation))
        found[interpolation] = run(image).descriptors
        keypoints = torch.tensor([[[30.0, 20.0]]])
        expected = sample_descriptors(dense, keypoints, (48, 80), interpolation)[0]
        np.testing.assert_allclose(found[interpolation], expected, atol=1e-6)
    assert np.abs(found["bicubic"] - found["bilinear"]).max() > 1e-4


def test_shrunk_images_report_pixels_of_the_original() -> None:
    config = dataclasses.replace(CONFIG, longer_side_px=40)
    image = np.zeros((48, 80), np.uint8)
    image[20:22, 60:62] = 255  # becomes pixel (30, 10); its centre is (60.5, 20.5)
    run = extractor(config)
    features = run(image)
    assert run.engine.shape == (1, 24, 40)
    np.testing.assert_allclose(features.keypoints, [[60.5, 20.5]])
    assert features.image_size_hw == (48, 80)
    assert len(run(with_dots((30, 20), (7, 9)))) == 1  # small already: left as it is
    assert run.engine.shape == (1, 32, 24)


def test_mixed_batch_keeps_its_order_and_counts() -> None:
    images = [
        with_dots((48, 80), (10, 10)),
        with_dots((45, 77)),  # none
        with_dots((48, 80), (20, 20), (40, 30), (60, 40)),
        with_dots((45, 77), (70, 40)),
    ]
    run = extractor()
    batch = run.extract_batch(images)
    assert [len(f) for f in batch] == [1, 0, 3, 1]
    for image, features in zip(images, batch, strict=True):
        _assert_same(run(image), features)
    assert batch[1].descriptors.shape == (0, 3)
    assert batch[1].keypoints.shape == (0, 2)
    assert run.extract_batch([]) == []


def test_colour_equals_its_grey() -> None:
    grey = with_dots((48, 80), (10, 10))
    _assert_same(extractor()(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)), extractor()(grey))


def test_settings_change_between_calls() -> None:
    run = extractor()
    image = with_dots((48, 80), (10, 10), (40, 30))
    keypoints = dataclasses.replace(CONFIG.keypoints, max_keypoints=1)
    run.config = dataclasses.replace(CONFIG, keypoints=keypoints)
    assert len(run(image)) == 1


def test_arrays_are_float32_and_own_their_memory() -> None:
    features = extractor()(with_dots((48, 80), (10, 10)))
    for array in (features.keypoints, features.scores, features.descriptors):
        assert array.dtype == np.float32
        assert array.flags.c_contiguous


@pytest.mark.parametrize("image", [None, np.zeros((0, 8), np.uint8), np.zeros((8, 8), np.int32)])
def test_bad_images_are_refused(image: np.ndarray) -> None:
    with pytest.raises(ImageError):
        extractor()(image)


@pytest.fixture
def tiny_weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    network = NetworkConfig(encoder_channels=(8, 8, 16, 16), head_channels=32, descriptor_dim=24)
    path = tmp_path / "tiny.safetensors"
    save_weights(path, SuperPoint(network), ModelCard(name="tiny"))
    return path


def test_loaded_extractor_end_to_end(tiny_weights: Path, rng: np.random.Generator) -> None:
    extract = load_extractor(str(tiny_weights), max_keypoints=50, device="cpu", precision="fp32")
    assert (extract.model_id, extract.descriptor_dim) == ("tiny", 24)
    assert len(extract.weights_sha256) == 64
    images = [rng.integers(0, 256, (93, 125, 3), dtype=np.uint8) for _ in range(3)]
    batch = extract.extract_batch(images)
    for image, features in zip(images, batch, strict=True):
        alone = extract(image)
        assert len(features) == 50
        assert np.all(np.diff(features.scores) <= 0)
        np.testing.assert_allclose(features.keypoints, alone.keypoints, atol=1e-3)
        np.testing.assert_allclose(features.descriptors, alone.descriptors, atol=1e-4)
        assert features.keypoints.min() >= 0
        assert (features.keypoints <= [124, 92]).all()


@pytest.mark.parametrize("precision", ["fp32", "auto"])
def test_same_image_same_bits(
    tiny_weights: Path, precision: str, rng: np.random.Generator
) -> None:
    extract = load_extractor(str(tiny_weights), device="cpu", precision=precision)
    image = rng.integers(0, 256, (93, 125), dtype=np.uint8)
    first = extract(image)
    for _ in range(3):
        _assert_same(extract(image), first)


@pytest.mark.parametrize("size_hw", [(96, 128), (93, 125), (17, 200)])
def test_scales_are_averaged(
    size_hw: tuple[int, int], tiny_weights: Path, rng: np.random.Generator
) -> None:
    extract = load_extractor(str(tiny_weights), device="cpu", precision="fp32")
    twice = load_extractor(str(tiny_weights), device="cpu", precision="fp32", scales=[1.0, 0.5])
    images = [rng.integers(0, 256, size_hw, dtype=np.uint8) for _ in range(2)]
    alone, features = twice(images[0]), twice.extract_batch(images)[0]
    np.testing.assert_allclose(features.keypoints, alone.keypoints, atol=1e-3)
    np.testing.assert_allclose(features.descriptors, alone.descriptors, atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(alone.descriptors, axis=1), 1.0, atol=1e-5)
    assert (alone.keypoints <= [size_hw[1] - 1, size_hw[0] - 1]).all()
    assert len(alone) > 20
    assert not np.array_equal(alone.keypoints, extract(images[0]).keypoints)
    twice.config = dataclasses.replace(twice.config, scales=(1.0,))
    _assert_same(twice(images[0]), extract(images[0]))


def test_a_point_of_every_view_keeps_its_place() -> None:
    """A white block of 2x2 pixels is one white pixel at half the size."""
    image = np.zeros((48, 80), np.uint8)
    image[20:22, 60:62] = 255
    keypoints = KeypointConfig(detection_threshold=0.05)
    run = extractor(dataclasses.replace(CONFIG, scales=(1.0, 0.5), keypoints=keypoints))
    np.testing.assert_allclose(run(image).keypoints, [[60.5, 20.5]], atol=1e-3)
    assert run.engine.shape == (1, 24, 40)


@pytest.mark.parametrize("scales", [(), (0.0,), (1.0, 2.0), (float("nan"),)])
def test_scales_out_of_range_are_refused(scales: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match="scales"):
        ExtractorConfig(scales=scales)


def test_config_names_bad_weights(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="absent"):
        extractor_from_config(ExtractorConfig(weights=str(tmp_path / "absent")))


@pytest.mark.dataset
def test_a_shifted_photo_matches_itself(shared_data: Path) -> None:
    """Real weights on a real photo: moved by a known whole number of pixels."""
    photo = cv2.imread(str(shared_data / "homography" / "oxford_graf" / "1.png"))
    photo = cv2.resize(photo, (640, 480), interpolation=cv2.INTER_AREA)
    shift = np.array([37, 22])
    a, b = photo[:400, :560], photo[shift[1] :, shift[0] :][:400, :560]
    extract = load_extractor(
        str(shared_data / "weights" / "first.safetensors"), max_keypoints=500, device="cpu"
    )
    features_a, features_b = extract.extract_batch([a, b])
    pairs = match(features_a, features_b)
    error = features_a.keypoints[pairs[:, 0]] - shift - features_b.keypoints[pairs[:, 1]]
    right = np.linalg.norm(error, axis=1) < 3
    assert len(pairs) > 250
    assert right.mean() > 0.8
    assert np.abs(np.median(error[right], axis=0)).max() < 0.05  # no half-pixel bias anywhere


@pytest.mark.gpu
@pytest.mark.parametrize("scales", [(1.0,), (1.0, 0.5)])
def test_cuda_finds_what_the_cpu_finds(
    cuda: str, tiny_weights: Path, scales: tuple[float, ...], rng: np.random.Generator
) -> None:
    images = [rng.integers(0, 256, (93, 125), dtype=np.uint8) for _ in range(2)]
    results = {}
    for device in ("cpu", cuda):
        extract = extractor_from_config(
            ExtractorConfig(
                weights=str(tiny_weights),
                scales=scales,
                engine=EngineConfig(device=device, precision="fp32"),
            )
        )
        results[device] = extract.extract_batch(images)
        _assert_same(extract(images[0]), extract(images[0]))
    for on_cpu, on_gpu in zip(results["cpu"], results[cuda], strict=True):
        distance = np.linalg.norm(on_cpu.keypoints[:, None] - on_gpu.keypoints[None], axis=2)
        assert (distance.min(axis=1) < 0.05).mean() > 0.98


def _assert_same(first: Features, second: Features) -> None:
    assert np.array_equal(first.keypoints, second.keypoints)
    assert np.array_equal(first.scores, second.scores)
    assert np.array_equal(first.descriptors, second.descriptors)
