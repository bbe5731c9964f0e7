# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The model card of a run: what made these weights."""

from __future__ import annotations

import collections
import csv
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from superpoint_ros.config import ConfigError
from superpoint_ros.machine import describe_machine, find_commit
from superpoint_ros.network.weights import ModelCard, load_weights
from superpoint_ros.training.adaptation import RECORD_NAME
from superpoint_ros.training.checkpoint import CHECKPOINT_NAME, Checkpoint, load_checkpoint
from superpoint_ros.training.distributed import process_count
from superpoint_ros.training.warm_start import START_NAME, TEACHER_NAME

_LOG = logging.getLogger(__name__)
METRICS_NAME = "metrics.json"
MANIFEST_NAME = "manifest.csv"
SAMPLING = "bilinear"  # of descriptors in every training here
TRAINED = ("magicpoint", "superpoint", "refine")  # what trains


def make_card(
    out: Path,
    images: Path | None = None,
    name: str = "superpoint",
    stages: Sequence[str] = TRAINED,
) -> ModelCard:
    """Gather the provenance of finished (or running) stages.

    Args:
        out: Folder of the run: stages' checkpoints, and `metrics.json` (name -> number) if the
            weights have been measured; without the chain's stages, in the last one's folder.
        images: Folder of the photos; its `manifest.csv` (file, source, licence), if there is one,
            is summed up in the card.
        name: Of the model.
        stages: That made it; those without a checkpoint are left out, but not the last, and so are
            those before one that started from other weights (`warm_start.py`): these are the
            parent, whose config and data are kept too. Teachers are named beside it.

    Raises:
        ConfigError: There is no checkpoint of the last stage.
    """
    states = {stage: load_checkpoint(out / stage / CHECKPOINT_NAME) for stage in stages}
    last = states[stages[-1]]
    if last is None:
        raise ConfigError(f"{out / stages[-1]}: no checkpoint; train first")
    done = {stage: state for stage, state in states.items() if state is not None}
    start = None
    for stage in reversed(done):
        path = out / stage / START_NAME
        if path.is_file():
            start = load_weights(path)[1]
            done = dict(list(done.items())[list(done).index(stage) :])
            break
    copies = {stage: out / stage / TEACHER_NAME for stage in done}
    teachers = {stage: load_weights(path)[1] for stage, path in copies.items() if path.is_file()}
    parents = [*([start] if start else []), *teachers.values()]
    wall_time_s = sum(state.wall_time_s for state in done.values())
    labelled = {
        path.relative_to(folder).with_suffix("").as_posix()
        for folder in (out / name for name in _label_folders(done))
        for path in folder.rglob("*.npz")
    }
    metrics: Mapping[str, Any] = {}
    measured = (out if stages[0] == TRAINED[0] else out / stages[-1]) / METRICS_NAME
    if measured.is_file():
        metrics = json.loads(measured.read_text(encoding="utf-8"))
    config: dict[str, Any] = {stage: state.config for stage, state in done.items()}
    config |= _read_labellings(out, done)
    data = [
        *(("synthetic shapes",) if any(map(_draws_shapes, done.values())) else ()),
        *(start.data if start else ()),
        f"{len(labelled)} photos labelled by homographic adaptation",
        *(_describe_photos(images / MANIFEST_NAME, labelled) if images else ()),
    ]
    if start:
        config["parent"] = dict(start.config)
    return ModelCard(
        name=name,
        descriptor_sampling=SAMPLING,
        licence=join_licences(parents),
        config=config,
        data=tuple(dict.fromkeys(data)),
        seed=int(last.config["seed"]),
        commit=join_commits(done.values()),
        parent=", ".join(dict.fromkeys(f"{card.name} {card.sha256}" for card in parents)),
        wall_time_s=round(wall_time_s, 1),
        hardware=join_hardware(done.values()),
        metrics=metrics,
        notes="Steps (skipped): "
        + ", ".join(
            f"{stage} {state.step} ({len(state.skipped_steps)})" for stage, state in done.items()
        )
        + ". Wall time is of these stages, without the labelling."
        + (" They started from the parent's weights." if start else "")
        + _name_teachers(teachers, done)
        + (describe_sampling(start) if start else ""),
    )


def _draws_shapes(state: Checkpoint) -> bool:
    return state.config.get("source") == "shapes" or bool(state.config.get("shapes_per_step"))


def join_licences(parents: Sequence[ModelCard]) -> str:
    """Return all licences that weights inherit; without parents ours."""
    licences = [each for card in parents for each in card.licence.split(" AND ")]
    return " AND ".join(dict.fromkeys(licences)) or "Apache-2.0"


def describe_sampling(parent: ModelCard) -> str:
    """Return a sentence for the card if training samples otherwise than the parent's did."""
    if parent.descriptor_sampling == SAMPLING:
        return ""
    return f" The parent's descriptors were sampled {parent.descriptor_sampling}."


def _read_labellings(out: Path, stages: Iterable[str]) -> dict[str, Any]:
    """Return how the labels of these stages were made, by their folder, as far as it is known."""
    paths = {name: out / name / RECORD_NAME for name in _label_folders(stages)}
    return {
        name: json.loads(path.read_text(encoding="utf-8"))
        for name, path in paths.items()
        if path.is_file()
    }


def _label_folders(stages: Iterable[str]) -> list[str]:
    """Return the folders of the labels that these stages were trained on."""
    rounds = (stage.partition("-")[2] for stage in stages if stage != "magicpoint")
    names = (f"pseudo-labels-{number}" if number else "pseudo-labels" for number in rounds)
    return list(dict.fromkeys(names))


def _name_teachers(teachers: Mapping[str, ModelCard], done: Mapping[str, Checkpoint]) -> str:
    """Return whom stages learnt from, in sentences."""
    text = ""
    for stage, state in done.items():
        if stage in teachers:
            card = teachers[stage]
            text += f" Teacher of {stage}: {card.name} {card.sha256[:8]}."
        elif state.config.get("is_distilled") and not state.mean:
            text += f" The teacher of {stage} is not known."
    return text


def check_manifest(images: Path) -> None:
    """Read the manifest of a folder of photos, if there is one.

    Raises:
        ConfigError: It is no CSV in UTF-8.
    """
    _describe_photos(images / MANIFEST_NAME, set())


def _describe_photos(manifest: Path, names: set[str]) -> list[str]:
    """Return "source: number of photos (licence)" of the named photos, most first.

    Args:
        manifest: CSV with columns file (path below its folder), source and licence; may be absent.
        names: Paths of the photos below that folder.

    Raises:
        ConfigError: It is no CSV in UTF-8.
    """
    if not manifest.is_file():
        return []
    try:
        with manifest.open(newline="", encoding="utf-8-sig") as stream:  # as spreadsheets write it
            rows = [row for row in csv.DictReader(stream) if row.get("file") in names]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{manifest}: is no CSV in UTF-8 ({error}): save it as that") from None
    if names and not rows:
        _LOG.warning("%s: names none of the photos, in a column 'file'", manifest)
    if rows and not {"source", "licence"} <= rows[0].keys():
        _LOG.warning("%s: has no column 'source' or 'licence'", manifest)
    counts = collections.Counter((row.get("source"), row.get("licence")) for row in rows)
    return [
        f"{source}: {count} photos ({licence})"
        for (source, licence), count in counts.most_common()
    ]


def join_commits(states: Iterable[Checkpoint]) -> str:
    """Return the commits that trained; the present one if none is known, as of older versions."""
    return ", ".join(dict.fromkeys(each for s in states for each in s.commits)) or find_commit()


def join_hardware(states: Iterable[Checkpoint]) -> str:
    """Return what was trained on; the present machine if it is not known."""
    known = dict.fromkeys(each for state in states for each in state.hardware)
    return "; ".join(known) or describe_hardware()


def describe_hardware() -> str:
    """Return the machine and how much of it is used."""
    return f"{describe_machine()}, {process_count()} x {torch.get_num_threads()} threads"
