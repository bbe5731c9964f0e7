# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Weights on disk: safetensors with a model card; finding, loading, saving."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from superpoint_ros.config import ConfigError, from_mapping, to_mapping
from superpoint_ros.files import replaced
from superpoint_ros.network.superpoint import NetworkConfig, SuperPoint, fold_batch_norm

_FOLDER = Path(__file__).resolve().parents[1] / "weights"
PACKAGE_WEIGHTS = _FOLDER / "superpoint.safetensors"
# Weights of the package that a short name stands for, wherever weights are asked for.
NAMED_WEIGHTS = {"full": PACKAGE_WEIGHTS, "small": _FOLDER / "superpoint_small.safetensors"}
ENVIRONMENT_VARIABLE = "SUPERPOINT_WEIGHTS"
# A source checkout beside the development data; an installed package has no such neighbour.
_DEVELOPMENT_WEIGHTS = (
    Path(__file__).resolve().parents[3] / "shared" / "data" / "weights" / "first.safetensors"
)
_CARD_KEY = "model_card"
EXPORTED_SUFFIX = ".onnx"  # of a file that runs, and holds no weights to train


class WeightsError(RuntimeError):
    """Weights that are missing, damaged or of another network; the message says what to do."""


@dataclass(frozen=True)
class ModelCard:
    """Where weights come from, and how they want to be used.

    Attributes:
        name: Short name; `model_id` of the features.
        licence: SPDX identifier, or words where there is none.
        network: Nested mapping of the `NetworkConfig`.
        descriptor_sampling: How descriptors were sampled in training: "bilinear" or "bicubic".
        pixel_convention: Where the centre of the top-left pixel lies; ours is "centre (0, 0)".
        config: Nested mapping of the training's config.
        data: Names of the training data.
        seed: Of the training.
        commit: Of the code that trained, with commas between several.
        parent: Weights that these were made from, "name sha256", with commas between several;
            empty: from nothing.
        wall_time_s: Seconds of training.
        hardware: In words, with semicolons between several.
        metrics: Metric name -> value, each named with its protocol and data.
        notes: Anything else.
        sha256: Of the file; filled in by `load_weights`, never stored in the file.
    """

    name: str = "unnamed"
    licence: str = "unknown"
    network: Mapping[str, Any] = field(default_factory=dict)
    descriptor_sampling: str = "bilinear"
    pixel_convention: str = "centre (0, 0)"
    config: Mapping[str, Any] = field(default_factory=dict)
    data: tuple[str, ...] = ()
    seed: int = -1
    commit: str = ""
    parent: str = ""
    wall_time_s: float = 0.0
    hardware: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    notes: str = ""
    sha256: str = ""

    def to_json(self) -> str:
        """Return the card as one JSON object, without the file's own hash.

        Metrics that are no number are left out: JSON has none such.
        """
        values = {
            item.name: getattr(self, item.name)
            for item in dataclasses.fields(self)
            if item.name != "sha256"
        }
        values["metrics"] = {
            key: value
            for key, value in self.metrics.items()
            if not isinstance(value, float) or math.isfinite(value)
        }
        return json.dumps(values, sort_keys=True)

    @staticmethod
    def from_json(text: str) -> ModelCard:
        """Read a card; keys of a newer version are ignored.

        Raises:
            ValueError: The text is not a JSON object.
        """
        values = json.loads(text)
        if not isinstance(values, dict):
            raise ValueError("the model card is not a JSON object")
        names = {item.name for item in dataclasses.fields(ModelCard)} - {"sha256"}
        known = {key: value for key, value in values.items() if key in names}
        known["data"] = tuple(known.get("data", ()))
        return ModelCard(**known)


# Checkpoints that carry no card of their own, by sha256.
_KNOWN_FILES = {
    "4a6630107ed1b9021fa0934d51fec1044d4a6237f25d26c26acda2d26a6f3c84": ModelCard(
        name="first",
        licence="for development only, not redistributed",
        descriptor_sampling="bilinear",
        data=("synthetic shapes", "BSDS500", "ImageNet samples"),
        wall_time_s=85.0 * 60.0,
        hardware="2 CPU cores",
        metrics={"homography18_l640/mma3": 0.567, "homography18_l640/repeatability": 0.600},
        notes="Made outside the project; replaced by the trainer's own weights.",
    )
}


def find_weights(name_or_path: str | Path = "") -> Path:
    """Return the path of the weights to use.

    Order: the given path, or "full" or "small" for those shipped in the package; the full ones of
    the package; $SUPERPOINT_WEIGHTS; the development weights beside a source checkout.

    Raises:
        WeightsError: The named file is absent, or there are no weights at all.
    """
    if str(name_or_path) in NAMED_WEIGHTS:
        return _existing(NAMED_WEIGHTS[str(name_or_path)], f"weights {name_or_path}")
    if str(name_or_path):
        return _existing(Path(name_or_path).expanduser(), "weights")
    if PACKAGE_WEIGHTS.is_file():
        return PACKAGE_WEIGHTS
    from_environment = os.environ.get(ENVIRONMENT_VARIABLE, "")
    if from_environment:
        return _existing(Path(from_environment).expanduser(), f"${ENVIRONMENT_VARIABLE}")
    if _DEVELOPMENT_WEIGHTS.is_file():
        return _DEVELOPMENT_WEIGHTS
    raise WeightsError(
        f"no weights: the package ships none ({PACKAGE_WEIGHTS} is absent); name a .safetensors "
        f"file (weights=..., --weights FILE) or set ${ENVIRONMENT_VARIABLE}, or make one with "
        "`superpoint train`"
    )


def _existing(path: Path, origin: str) -> Path:
    if not path.is_file():
        what = "is a directory" if path.is_dir() else "does not exist"
        raise WeightsError(f"{origin}: {path} {what}; name a .safetensors file")
    return path


def file_sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def load_weights(path: str | Path) -> tuple[SuperPoint, ModelCard]:
    """Build the network that a file describes and fill in its weights.

    Args:
        path: A .safetensors file, any float type; computed with in float32.

    Returns:
        The network on the CPU, float32, in evaluation mode, and its model card.

    Raises:
        WeightsError: The file is missing, damaged, or holds another network's weights.
    """
    import safetensors

    path = _existing(Path(path), "weights")
    if path.suffix == EXPORTED_SUFFIX:
        raise WeightsError(f"{path}: only runs; name the .safetensors file that it was made from")
    tensors: dict[str, Tensor] = {}
    try:
        with safetensors.safe_open(str(path), framework="pt") as stream:
            metadata = stream.metadata() or {}
            for key in stream.keys():  # noqa: SIM118 - not a mapping
                tensors[key] = stream.get_tensor(key).float()
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{path}: not a readable safetensors file ({error})") from None
    sha256 = file_sha256(path)
    card = _read_card(path, metadata, sha256)
    config = _network_config(path, card, tensors)
    network = SuperPoint(config)
    _check_tensors(path, network, tensors)
    network.load_state_dict(tensors)
    card = dataclasses.replace(card, network=to_mapping(config), sha256=sha256)
    return network.eval().requires_grad_(False), card


def save_weights(
    path: str | Path, network: SuperPoint, card: ModelCard, half: bool = False
) -> ModelCard:
    """Write weights and card; the file appears whole or not at all.

    Args:
        path: Destination; its folder is made if needed.
        network: BatchNorm is folded first; the network itself stays as it is.
        card: `network` and `sha256` are filled in.
        half: Store float16 (half the size; load_weights computes in float32 either way).

    Returns:
        The card as `load_weights` will return it.

    Raises:
        WeightsError: A weight is not finite, also after rounding to float16.
        OSError: The file cannot be written.
    """
    from safetensors.torch import save

    path = Path(path)
    folded = fold_batch_norm(network).cpu()
    dtype = torch.float16 if half else torch.float32
    tensors = {key: value.to(dtype).contiguous() for key, value in folded.state_dict().items()}
    for key, value in tensors.items():
        if not bool(torch.isfinite(value).all()):
            raise WeightsError(f"{path}: {key} is not finite; nothing was written")
    card = dataclasses.replace(card, network=to_mapping(folded.config))
    data = save(tensors, metadata={"format": "pt", _CARD_KEY: card.to_json()})
    with replaced(path) as temporary:
        temporary.write_bytes(data)
    return dataclasses.replace(card, sha256=hashlib.sha256(data).hexdigest())


def _read_card(path: Path, metadata: Mapping[str, str], sha256: str) -> ModelCard:
    if _CARD_KEY not in metadata:
        return _KNOWN_FILES.get(sha256, ModelCard(name=path.stem))
    return parse_card(path, metadata[_CARD_KEY])


def parse_card(path: str | Path, text: str) -> ModelCard:
    """Read the model card that a file holds.

    Raises:
        WeightsError: It is damaged; names the file.
    """
    try:
        return ModelCard.from_json(text)
    except (ValueError, TypeError) as error:
        raise WeightsError(f"{path}: damaged model card ({error})") from None


def _network_config(path: Path, card: ModelCard, tensors: Mapping[str, Tensor]) -> NetworkConfig:
    """Return the card's network, or the widths that the tensors themselves show."""
    if card.network:
        try:
            return from_mapping(NetworkConfig, card.network, "network")
        except ConfigError as error:
            raise WeightsError(f"{path}: model card: {error}") from None
    names = ("conv1b", "conv2b", "conv3b", "conv4b", "convPa", "convDb")
    widths: list[int] = []
    for name in names:
        weight = tensors.get(f"{name}.weight")
        if weight is None or weight.ndim != 4:
            raise WeightsError(f"{path}: has no layer {name}: these are not SuperPoint weights")
        widths.append(weight.shape[0])
    return NetworkConfig(
        encoder_channels=tuple(widths[:4]), head_channels=widths[4], descriptor_dim=widths[5]
    )


def _check_tensors(path: Path, network: SuperPoint, tensors: Mapping[str, Tensor]) -> None:
    wanted = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    missing = sorted(set(wanted) - set(tensors))
    unknown = sorted(set(tensors) - set(wanted))
    if missing or unknown:
        raise WeightsError(
            f"{path}: not the weights of this network; missing: {', '.join(missing) or 'none'}; "
            f"unknown: {', '.join(unknown) or 'none'}"
        )
    for key, shape in wanted.items():
        if tuple(tensors[key].shape) != shape:
            raise WeightsError(
                f"{path}: {key} is {tuple(tensors[key].shape)}, the network needs {shape}"
            )
        if not bool(torch.isfinite(tensors[key]).all()):
            raise WeightsError(f"{path}: {key} holds numbers that are not finite")
