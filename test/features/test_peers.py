# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
import cv2
import numpy as np
import pytest
import torch

from superpoint_ros.config import ConfigError
from superpoint_ros.data import Array
from superpoint_ros.features.peers import (
    CLASSICAL_DESCRIBED,
    CLASSICAL_DETECTORS,
    LEARNED_DESCRIBED,
    _bits_to_signs,
    is_available,
    make_peer,
)

CORNERS = np.array([[40.0, 30], [130, 30], [130, 100], [40, 100]]) - 0.5  # between pixels


def boxes() -> Array:
    """A bright box on grey, slightly blurred, 120x180."""
    image = np.full((120, 180), 60, np.uint8)
    image[30:100, 40:130] = 200
    return cv2.GaussianBlur(image, (0, 0), 1.0)


@pytest.mark.parametrize("name", CLASSICAL_DETECTORS)
def test_detectors_find_the_corners_of_a_box_first(name: str) -> None:
    features = make_peer(name, max_keypoints=4)(boxes())
    assert features.descriptors.shape == (4, 0)
    distances = np.linalg.norm(features.keypoints[:, None] - CORNERS, axis=2)
    assert sorted(distances.argmin(1)) == [0, 1, 2, 3]
    assert distances.min(1).max() < 2.5  # the response of a blurred corner lies inside it


@pytest.mark.parametrize("name", CLASSICAL_DESCRIBED)
def test_features_have_unit_descriptors_falling_scores_and_the_limit(name: str) -> None:
    if not is_available(name):
        with pytest.raises(ConfigError, match="opencv-contrib-python"):
            make_peer(name, 50)
        pytest.skip(f"OpenCV {cv2.__version__} has no {name}")
    coarse = np.random.default_rng(0).integers(0, 255, (30, 45), np.uint8)
    texture = cv2.resize(coarse, (360, 240), interpolation=cv2.INTER_CUBIC)
    extract = make_peer(name, max_keypoints=50)
    features = extract(cv2.cvtColor(texture, cv2.COLOR_GRAY2BGR))
    assert features.descriptors.shape == (50, extract.descriptor_dim)
    assert features.image_size_hw == (240, 360)
    np.testing.assert_allclose(np.linalg.norm(features.descriptors, axis=1), 1.0, atol=1e-5)
    assert (np.diff(features.scores) <= 0).all()
    assert features.scores[0] < 1.0
    assert features.scores[-1] >= 0.0
    empty = extract(np.full((48, 80), 9, np.uint8))
    assert empty.descriptors.shape == (0, extract.descriptor_dim)


@pytest.mark.parametrize("name", [*CLASSICAL_DESCRIBED, *CLASSICAL_DETECTORS])
@pytest.mark.parametrize("size", [(1, 200), (200, 1), (1, 1), (15, 15), (16, 90)])
def test_narrow_images_give_what_they_have(name: str, size: tuple[int, int]) -> None:
    if not is_available(name):
        pytest.skip(f"OpenCV {cv2.__version__} has no {name}")
    image = np.random.default_rng(1).integers(0, 255, size, np.uint8)
    features = make_peer(name, max_keypoints=50)(image)
    assert features.image_size_hw == size


def test_cosines_of_bits_are_hamming_distances() -> None:
    packed = np.random.default_rng(0).integers(0, 256, (2, 61), np.uint8)
    packed[:, -1] &= 0b00111111  # AKAZE: 486 bits, the first of a byte is its lowest
    signs = _bits_to_signs(packed, 486)
    hamming = cv2.norm(packed[0], packed[1], cv2.NORM_HAMMING)
    assert signs[0] @ signs[1] == pytest.approx(1 - 2 * hamming / 486, abs=1e-5)


def test_sift_lies_where_the_blob_is() -> None:
    """OpenCV puts it a quarter pixel to the right and below."""
    y, x = np.mgrid[:90, :130]
    blob = 20 + 200 * np.exp(-((x - 60.3) ** 2 + (y - 40.6) ** 2) / 18)
    features = make_peer("rootsift", 1)(blob.astype(np.uint8))
    np.testing.assert_allclose(features.keypoints, [[60.3, 40.6]], atol=0.06)


@pytest.mark.parametrize("name", LEARNED_DESCRIBED)
def test_aliked_gives_features_like_the_others(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kornia = pytest.importorskip("kornia.feature")
    torch.manual_seed(0)
    # As a machine without the weights (and the network) has it.
    monkeypatch.setattr(
        kornia.ALIKED, "from_pretrained", lambda *args: kornia.ALIKED(*args).eval()
    )
    image = boxes()
    features = make_peer(name, max_keypoints=30)(image)
    assert 10 < len(features) <= 30
    assert features.descriptors.shape[1] == make_peer(name, 1).descriptor_dim
    np.testing.assert_allclose(np.linalg.norm(features.descriptors, axis=1), 1.0, atol=1e-4)
    assert (np.diff(features.scores) <= 0).all()
    assert (features.keypoints >= 0).all()
    assert (features.keypoints <= np.array(image.shape[::-1]) - 1).all()


def test_aliked_without_weights_says_where_to_put_them(monkeypatch: pytest.MonkeyPatch) -> None:
    kornia = pytest.importorskip("kornia.feature")

    def fail(*args: object) -> None:
        raise RuntimeError("no route to host")

    monkeypatch.setattr(kornia.ALIKED, "from_pretrained", fail)
    with pytest.raises(ConfigError, match=r"github\.com/Shiaoming/ALIKED at .*aliked-n16rot\.pth"):
        make_peer("aliked-n16rot", 10)
