# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Image -> Features: the only place that joins network, keypoints and descriptors."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from superpoint_ros.config import Config, ConfigError, option, to_mapping
from superpoint_ros.data import Array, Features
from superpoint_ros.engines.engine import Engine, EngineConfig, load_engine, make_engine
from superpoint_ros.features.descriptors import DescriptorConfig
from superpoint_ros.features.keypoints import KeypointConfig, extract_keypoints
from superpoint_ros.features.scales import mean_descriptors, mean_heatmap, shrink_images
from superpoint_ros.image import fit_longer_side, pad_to_multiple, resize, scale_points, to_grey
from superpoint_ros.network.cells import CELL_SIZE, logits_to_heatmap
from superpoint_ros.network.superpoint import SuperPoint, fold_batch_norm
from superpoint_ros.network.weights import ModelCard, find_weights


@dataclass(frozen=True)
class ExtractorConfig(Config):
    """Everything between an image and its features."""

    weights: str = option(
        "",
        "path of a .safetensors file, or of a .onnx file of `superpoint export`; small: the slim "
        "network that is shipped, for CPUs; empty: the full one",
    )
    longer_side_px: int = option(
        0,
        "larger images are shrunk to this longer side, pixels; keypoints stay in pixels of the "
        "original; 0: never",
        minimum=0,
    )
    scales: tuple[float, ...] = option(
        (1.0,),
        "sizes at which the network sees the image, as shares of its sides; heatmaps and "
        "descriptors are averaged: [1.0, 0.5] finds and matches more, for a quarter more time",
        minimum=0.1,
        maximum=1.0,
        dynamic=True,
    )
    engine: EngineConfig = dataclasses.field(default_factory=EngineConfig)
    keypoints: KeypointConfig = dataclasses.field(default_factory=KeypointConfig)
    descriptors: DescriptorConfig = dataclasses.field(default_factory=DescriptorConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.scales:
            raise ConfigError("scales: none; [1.0] is the image as it is")


class Extractor:
    """Finds and describes keypoints. Not to be called from two threads at once.

    Attributes:
        config: May be replaced between calls; only what is marked dynamic takes effect.
        card: Model card of the weights.
        engine: What runs the network.
    """

    def __init__(self, engine: Engine, card: ModelCard, config: ExtractorConfig) -> None:
        self.engine = engine
        self.card = card
        self.config = config

    @property
    def model_id(self) -> str:
        """Name of the network and its weights, such as "superpoint"."""
        return self.card.name

    @property
    def weights_sha256(self) -> str:
        """SHA-256 of the weights file, hex."""
        return self.card.sha256

    @property
    def descriptor_dim(self) -> int:
        """Length of a descriptor."""
        return int(self.card.network["descriptor_dim"])

    def __call__(self, image: Array) -> Features:
        """Extract the features of one image.

        Args:
            image: uint8, any size; (H, W) grey, (H, W, 3) BGR or (H, W, 4) BGRA.

        Raises:
            ImageError: The image is empty, or of another type or shape.
        """
        return self.extract_batch([image])[0]

    def extract_batch(self, images: Sequence[Array]) -> list[Features]:
        """Extract the features of several images; those of one size share a forward pass.

        Args:
            images: As for a single call, each of any size; may be empty.

        Returns:
            One `Features` per image, in order.
        """
        greys = [to_grey(image) for image in images]
        sizes: dict[tuple[int, ...], list[int]] = {}
        for index, grey in enumerate(greys):
            sizes.setdefault(grey.shape, []).append(index)
        features: dict[int, Features] = {}
        for indices in sizes.values():
            same_size = self._extract_same_size([greys[index] for index in indices])
            features.update(zip(indices, same_size, strict=True))
        return [features[index] for index in range(len(greys))]

    @torch.inference_mode()
    def _extract_same_size(self, greys: list[Array]) -> list[Features]:
        original_hw: tuple[int, int] = greys[0].shape[:2]
        size_hw, longer_side = original_hw, self.config.longer_side_px
        if longer_side and max(original_hw) > longer_side:
            size_hw = fit_longer_side(original_hw, longer_side)
        padded = np.stack([pad_to_multiple(resize(grey, size_hw), CELL_SIZE) for grey in greys])
        padded_hw = (padded.shape[1], padded.shape[2])
        scales, interpolation = self.config.scales, self.config.descriptors.interpolation
        outputs = [self.engine(torch.from_numpy(shrink_images(padded, scale))) for scale in scales]
        heatmaps = [logits_to_heatmap(output.logits) for output in outputs]
        heatmap = mean_heatmap(heatmaps, scales, padded_hw)
        keypoints, scores = extract_keypoints(heatmap, size_hw, self.config.keypoints)
        descriptors = mean_descriptors(
            [output.dense_descriptors for output in outputs],
            scales,
            keypoints,
            padded_hw,
            interpolation,
        )
        # One copy to the host: x, y, score, descriptor side by side.
        table = torch.cat([keypoints, scores.unsqueeze(-1), descriptors], dim=-1).cpu().numpy()
        return [self._to_features(rows, size_hw, original_hw) for rows in table]

    @staticmethod
    def _to_features(
        rows: Array, size_hw: tuple[int, int], original_hw: tuple[int, int]
    ) -> Features:
        rows = rows[: np.count_nonzero(rows[:, 2])]
        keypoints = rows[:, :2]
        if size_hw != original_hw:
            keypoints = scale_points(keypoints, size_hw, original_hw)
        return Features(
            keypoints=np.ascontiguousarray(keypoints),
            scores=np.ascontiguousarray(rows[:, 2]),
            descriptors=np.ascontiguousarray(rows[:, 3:]),
            image_size_hw=original_hw,
        )


def extractor_from_config(config: ExtractorConfig) -> Extractor:
    """Load the weights and build the engine that a config names.

    Raises:
        WeightsError: Weights missing or damaged.
        ConfigError: A device or precision that this machine lacks.
    """
    engine, card = load_engine(find_weights(config.weights), config.engine)
    return Extractor(engine, card, config)


def extractor_from_network(
    network: SuperPoint, max_keypoints: int, device: str = "auto"
) -> Extractor:
    """Return an extractor of a network in training; BatchNorm is folded, the network stays."""
    folded = fold_batch_norm(network)
    config = ExtractorConfig(
        engine=EngineConfig(device=device), keypoints=KeypointConfig(max_keypoints=max_keypoints)
    )
    card = ModelCard(network=to_mapping(folded.config))
    return Extractor(make_engine(folded, config.engine), card, config)


def load_extractor(
    weights: str = "",
    engine: str = "auto",
    device: str = "auto",
    max_keypoints: int = KeypointConfig.max_keypoints,
    *,
    precision: str = "auto",
    detection_threshold: float = KeypointConfig.detection_threshold,
    nms_radius: int = KeypointConfig.nms_radius,
    longer_side_px: int = 0,
    scales: Sequence[float] = ExtractorConfig.scales,
) -> Extractor:
    """Return an extractor with the shipped weights and the fastest engine here.

    Args:
        weights: Path of a .safetensors or an exported .onnx file; empty: the shipped ones;
            "small": those of the slim network, for a CPU.
        engine: "auto", "torch" or "onnxruntime".
        device: "auto", "cpu", "cuda" or "cuda:N".
        max_keypoints: The best so many are kept; 0: no limit.
        precision: "auto", "fp32", "bf16" or "fp16".
        detection_threshold: Smallest score of a keypoint.
        nms_radius: Distance between keypoints, pixels.
        longer_side_px: Larger images are shrunk to this; 0: never.
        scales: Sizes at which the network sees the image, averaged; shares of its sides.

    Raises:
        WeightsError: Weights missing or damaged.
        ConfigError: A setting out of range, or a device that this machine lacks.
    """
    return extractor_from_config(
        ExtractorConfig(
            weights=str(weights),
            longer_side_px=longer_side_px,
            scales=tuple(scales),
            engine=EngineConfig(name=engine, device=device, precision=precision),
            keypoints=KeypointConfig(
                detection_threshold=detection_threshold,
                nms_radius=nms_radius,
                max_keypoints=max_keypoints,
            ),
        )
    )
