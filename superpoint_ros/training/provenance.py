# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The model card of a run: what made these weights."""

from __future__ import annotations

import collections
import csv
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
from superpoint_ros.training.trainer import CHECKPOINT_NAME

METRICS_NAME = "metrics.json"
MANIFEST_NAME = "manifest.csv"
_TRAINED = ("magicpoint", "superpoint", "refine")
LAST_STAGE = "refine"


def make_card(out: Path, images: Path | None = None, name: str = "superpoint") -> ModelCard:
    """Gather the provenance of a finished (or running) chain.

    Args:
        out: Folder of the run: stages' checkpoints, and `metrics.json` (name -> number) if the
            weights have been measured.
        images: Folder of the photos; its `manifest.csv` (file, source, licence), if there is one,
            is summed up in the card.
        name: Of the model.

    Raises:
        ConfigError: There is no checkpoint of the joint stage.
    """
    stages = {name: load_checkpoint(out / name / CHECKPOINT_NAME) for name in _TRAINED}
    last = stages[LAST_STAGE]
    if last is None:
        raise ConfigError(f"{out / LAST_STAGE}: no checkpoint; train first")
    done = {name: state for name, state in stages.items() if state is not None}
    wall_time_s = sum(state.wall_time_s for state in done.values())
    labelled = [path.stem for path in (out / "pseudo-labels").rglob("*.npz")]
    metrics: Mapping[str, Any] = {}
    if (out / METRICS_NAME).is_file():
        metrics = json.loads((out / METRICS_NAME).read_text(encoding="utf-8"))
    return ModelCard(
        name=name,
        licence="Apache-2.0",
        config={name: state.config for name, state in done.items()},
        data=(
            "synthetic shapes",
            f"{len(labelled)} photos labelled by homographic adaptation",
            *(_describe_photos(images / MANIFEST_NAME, set(labelled)) if images else ()),
        ),
        seed=int(last.config["seed"]),
        commit=_commit(),
        wall_time_s=round(wall_time_s, 1),
        hardware=f"{_processor()}, {torch.get_num_threads()} threads",
        metrics=metrics,
        notes="Steps (skipped): "
        + ", ".join(
            f"{name} {state.step} ({len(state.skipped_steps)})" for name, state in done.items()
        )
        + ". Wall time is of these stages, without the labelling.",
    )


def _describe_photos(manifest: Path, names: set[str]) -> list[str]:
    """Return "source: number of photos (licence)" of the named photos, most first."""
    if not manifest.is_file():
        return []
    with manifest.open(newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row.get("file") in names]
    counts = collections.Counter((row.get("source"), row.get("licence")) for row in rows)
    return [
        f"{source}: {count} photos ({licence})"
        for (source, licence), count in counts.most_common()
    ]


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


def _processor() -> str:
    """Return the name of the GPU, else of the CPU."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
