# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The network as an ONNX file that carries its model card."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch

from superpoint_ros.config import ConfigError
from superpoint_ros.files import replaced
from superpoint_ros.network.cells import CELL_SIZE
from superpoint_ros.network.superpoint import DenseOutput, SuperPoint, fold_batch_norm
from superpoint_ros.network.weights import EXPORTED_SUFFIX, ModelCard, WeightsError, parse_card

INPUT = "images"
OUTPUTS = DenseOutput._fields
_CARD_KEY, _SHA256_KEY = "superpoint_ros.model_card", "superpoint_ros.weights_sha256"


def write_onnx(path: str | Path, network: SuperPoint, card: ModelCard) -> None:
    """Write the network for ONNX Runtime, TensorRT or OpenVINO; whole or not at all.

    Input `images`, (B, 1, H, W) float32 grey in [0, 1], H and W multiples of 8. Outputs as those
    of `DenseOutput`. B, H and W are free.

    Args:
        path: Ends in .onnx.
        network: BatchNorm is folded first; the network itself stays as it is.
        card: Of the weights; goes into the file with their hash.

    Raises:
        ConfigError: Another ending, or a PyTorch that is too old to export.
        ModuleNotFoundError: onnx or onnxscript is not installed.
        OSError: The file cannot be written.
    """
    if Path(path).suffix != EXPORTED_SUFFIX:
        raise ConfigError(f"{path}: the name of an ONNX file ends in {EXPORTED_SUFFIX}")
    if "dynamic_shapes" not in inspect.signature(torch.onnx.export).parameters:
        raise ConfigError(
            f"PyTorch {torch.__version__} is too old to export: use a newer one, on any machine"
        )
    import onnxscript  # noqa: F401 - else PyTorch says that it is missing in its own words

    # What learns is pooled by one layer, which every runtime knows, not by maxima of slices.
    network = fold_batch_norm(network).cpu().requires_grad_(True)
    batch, rows, columns = (torch.export.Dim(name) for name in ("batch", "rows", "columns"))
    with _quiet():
        program = torch.onnx.export(
            network,
            (torch.zeros(2, 1, 4 * CELL_SIZE, 6 * CELL_SIZE),),
            input_names=[INPUT],
            output_names=OUTPUTS,
            dynamic_shapes=({0: batch, 2: CELL_SIZE * rows, 3: CELL_SIZE * columns},),
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto  # made anew at every call
    for key, value in ((_CARD_KEY, card.to_json()), (_SHA256_KEY, card.sha256)):
        model.metadata_props.add(key=key, value=value)
    with replaced(path) as temporary:
        temporary.write_bytes(model.SerializeToString(deterministic=True))


def read_card(path: str | Path, metadata: Mapping[str, str]) -> ModelCard:
    """Return the model card in the metadata of an ONNX file, with the hash of its weights.

    Raises:
        WeightsError: There is none, or it is damaged.
    """
    if _CARD_KEY not in metadata or _SHA256_KEY not in metadata:
        raise WeightsError(f"{path}: has no model card: make the file with `superpoint export`")
    return dataclasses.replace(parse_card(path, metadata[_CARD_KEY]), sha256=metadata[_SHA256_KEY])


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep back what PyTorch's exporter says about itself."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
