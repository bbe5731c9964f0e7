# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints that are either whole or absent, whenever the process dies."""

from __future__ import annotations

import pickle
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from superpoint_ros.config import ConfigError
from superpoint_ros.files import replaced

CHECKPOINT_NAME = "last.pt"
# What torch.load raises for files that are cut off, overwritten or something else.
_DAMAGE = (RuntimeError, EOFError, TypeError, ValueError, struct.error, pickle.UnpicklingError)


@dataclass
class Checkpoint:
    """All that a run needs to go on as if nothing had happened.

    Attributes:
        step: Steps done.
        network: State dict.
        optimizer: State dict.
        mean: State dict of the running mean of the weights, or of those at the start
            (`teacher_steps: 0`), where that is the teacher.
        config: Nested mapping of the stage's config.
        history: Rows of {"step": ..., loss name: value}, averages since the row before.
        skipped_steps: Steps that were left out because their loss was not finite.
        wall_time_s: Seconds of training so far, all runs together.
        is_finished: Whether the stage is done.
        commits: Of the code that trained, one of each; none where it is not known.
        hardware: That it trained on, one of each.
    """

    step: int = 0
    network: dict[str, Any] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)
    mean: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    skipped_steps: list[int] = field(default_factory=list)
    wall_time_s: float = 0.0
    is_finished: bool = False
    commits: list[str] = field(default_factory=list)
    hardware: list[str] = field(default_factory=list)


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint; the previous one stays until the new one is safely on disk.

    Raises:
        OSError: It cannot be written (disk full); the previous checkpoint is untouched.
    """
    # Not asdict(): it would copy every tensor.
    fields = {key: getattr(checkpoint, key) for key in Checkpoint.__dataclass_fields__}
    try:
        with replaced(path) as temporary:
            torch.save(fields, temporary)
    except RuntimeError as error:  # torch's own writer reports a full disk so
        raise OSError(
            f"{path}: checkpoint not written, is the disk full? ({error}); the last one is kept"
        ) from None


def load_checkpoint(path: Path) -> Checkpoint | None:
    """Read a checkpoint; None if there is none.

    Raises:
        ConfigError: The file is damaged or of another kind.
    """
    if not path.is_file():
        return None
    try:
        fields = torch.load(path, map_location="cpu", weights_only=True)
        return Checkpoint(**fields)
    except _DAMAGE as error:
        raise ConfigError(f"{path}: not a readable checkpoint ({error}); remove it") from None
