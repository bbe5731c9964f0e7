# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The model card of a run: what made these weights."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from superpoint_ros.config import ConfigError
from superpoint_ros.network.weights import ModelCard
from superpoint_ros.training.checkpoint import load_checkpoint

METRICS_NAME = "metrics.json"


def make_card(out: Path, name: str = "superpoint") -> ModelCard:
    """Gather the provenance of a finished (or running) chain.

    Args:
        out: Folder of the run: stages' checkpoints, and `metrics.json` (name -> number) if the
            weights have been measured.
        name: Of the model.

    Raises:
        ConfigError: There is no checkpoint of the joint stage.
    """
    joint = load_checkpoint(out / "superpoint" / "last.pt")
    if joint is None:
        raise ConfigError(f"{out / 'superpoint'}: no checkpoint; train first")
    detector = load_checkpoint(out / "magicpoint" / "last.pt")
    labels = sum(1 for _ in (out / "pseudo-labels").rglob("*.npz"))
    wall_time_s = joint.wall_time_s + (detector.wall_time_s if detector else 0.0)
    metrics: Mapping[str, Any] = {}
    if (out / METRICS_NAME).is_file():
        metrics = json.loads((out / METRICS_NAME).read_text(encoding="utf-8"))
    return ModelCard(
        name=name,
        licence="Apache-2.0",
        config={"magicpoint": detector.config if detector else {}, "superpoint": joint.config},
        data=("synthetic shapes", f"{labels} photos with homographic-adaptation labels"),
        seed=int(joint.config["seed"]),
        commit=_commit(),
        wall_time_s=round(wall_time_s, 1),
        hardware=f"{platform.processor() or platform.machine()}, "
        f"{torch.get_num_threads()} threads",
        metrics=metrics,
        notes=f"Joint stage: {joint.step} steps, {len(joint.skipped_steps)} skipped. Wall time "
        "is of the two training stages, without the labelling.",
    )


def _commit() -> str:
    """Return the commit of the source checkout, "" outside one."""
    try:
        answer = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return answer.stdout.strip()
