# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Adapt weights to the frames of one camera, and find out whether that helped.

Frames come in order of time and are split by blocks of it: neighbours look alike, and what was
trained on must not judge. Labels are the present network's own, averaged over warped views.
"""

from __future__ import annotations

import dataclasses
import logging
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from superpoint_ros.config import Config, ConfigError, option, to_mapping
from superpoint_ros.data import Array
from superpoint_ros.decode import DecodeError, decode_grey
from superpoint_ros.evaluation.bag import BagError, BagReader
from superpoint_ros.evaluation.homography import HEADLINES
from superpoint_ros.evaluation.hpatches import HomographyPair
from superpoint_ros.features.extractor import load_extractor
from superpoint_ros.files import lies_in, natural_order
from superpoint_ros.image import fit_longer_side, resize, write_image
from superpoint_ros.network.cells import CELL_SIZE
from superpoint_ros.network.weights import ModelCard, load_weights, save_weights
from superpoint_ros.training.adaptation import AdaptationConfig, label_photos
from superpoint_ros.training.averaging import result_of
from superpoint_ros.training.checkpoint import Checkpoint
from superpoint_ros.training.datasets import LabelledPhotos, list_photos, read_photo
from superpoint_ros.training.provenance import (
    SAMPLING,
    describe_sampling,
    join_commits,
    join_hardware,
)
from superpoint_ros.training.sheets import write_batch_sheet, write_label_sheet, write_match_sheet
from superpoint_ros.training.stage import TrainConfig
from superpoint_ros.training.trainer import make_source, train
from superpoint_ros.training.validation import (
    VALIDATION_PROTOCOL,
    make_validation_pairs,
    measure,
)
from superpoint_ros.training.warm_start import unfold_by_photos

_LOG = logging.getLogger(__name__)
# What a job writes, whole or in part (`files.replaced`).
_FRAME = re.compile(r"(train|held-back)/\.?\d{6,}(-part)?\.png")
_LABELS = re.compile(r"\.?(\d{6,}\.png|labels)(-part)?\.(npz|json)")
# What the mean of decides: finding the same points again, matching them, and what comes of it.
JUDGES = ("repeatability", "matching_score", "mma3", "he3")


@dataclass(frozen=True)
class FinetuneConfig(Config):
    """How weights are adapted."""

    frames: int = option(80, "Frames taken from the recording, evenly by number", minimum=1)
    longer_side_px: int = option(
        480, "Larger frames are shrunk to this longer side, pixels", minimum=64
    )
    blocks: int = option(10, "Blocks of time; every fifth is held back", minimum=5)
    validation_pairs: int = option(60, "Warped pairs of held-back frames", minimum=1)
    adaptation: AdaptationConfig = field(default_factory=AdaptationConfig)
    training: TrainConfig = field(
        default_factory=lambda: TrainConfig(
            source="photos", is_joint=True, is_distilled=True, teacher_steps=0, kept_share=0.5
        )
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.training.source != "photos":
            raise ConfigError("training.source: finetuning needs photos")


class FinetuneResult(NamedTuple):
    """What came of it.

    Attributes:
        before: Metrics of the old weights on held-back frames.
        after: The same of the new ones.
        is_better: Whether the mean of `JUDGES` did not fall.
        weights: The new weights; None if they are worse, and so not written.
        card: Of the new weights.
    """

    before: dict[str, float]
    after: dict[str, float]
    is_better: bool
    weights: Path | None
    card: ModelCard

    @property
    def worse(self) -> list[str]:
        """Headline metrics that fell, or errors that rose, even if the whole is better."""
        return find_worse(self.before, self.after)


def find_worse(before: Mapping[str, float], after: Mapping[str, float]) -> list[str]:
    """Return the headline metrics that fell; those in pixels are errors, and rose."""
    return [
        name
        for name in HEADLINES
        if name in before and not np.isnan(before[name]) and not _is_kept(name, before, after)
    ]


def _is_kept(name: str, before: Mapping[str, float], after: Mapping[str, float]) -> bool:
    """Whether a metric is no worse than before; one that is no number any more is."""
    is_error = name.endswith("_px")
    return after[name] <= before[name] if is_error else after[name] >= before[name]


def sample_bag(path: Path | str, topic: str, count: int) -> Iterator[tuple[str, Array]]:
    """Yield frames of a recording, evenly by number.

    Args:
        path: Anything that `BagReader` reads.
        topic: Of the images; empty: detected.
        count: How many, or all if there are fewer.

    Yields:
        Name and (H, W) uint8.

    Raises:
        BagError: No recording, or no single image topic.
    """
    with BagReader(path) as reader:
        topic = reader.choose_image_topic(topic)
        total = sum(found.count for found in reader.topics if found.name == topic)
        wanted = set(np.linspace(0, total - 1, min(count, total)).round().astype(int).tolist())
        for index, message in enumerate(reader.messages((topic,))):
            if index in wanted:
                try:
                    yield f"{index:06d}", np.asarray(decode_grey(message.read()))
                except (BagError, DecodeError) as error:
                    _LOG.warning("%s: image %d skipped (%s)", topic, index, error)


def sample_folder(folder: Path, count: int) -> Iterator[tuple[str, Array]]:
    """Yield photos of a folder, evenly by name; numbers in names are taken to tell the time."""
    paths = sorted(list_photos(folder, "all"), key=lambda path: (path.parent, natural_order(path)))
    for index in np.linspace(0, len(paths) - 1, min(count, len(paths))).round().astype(int):
        photo = read_photo(paths[index])
        if photo is not None:
            yield f"{index:06d}", photo


def remove_abandoned(folder: Path, source: Path) -> None:
    """Remove the frames and labels of a job that ended before all its frames were written.

    Args:
        folder: Of the job.
        source: The recording, which must not be among them.

    Raises:
        ConfigError: There are files that no job has written.
    """
    for place, ours in ((folder / "frames", _FRAME), (folder / "labels", _LABELS)):
        names = [p.relative_to(place).as_posix() for p in place.rglob("*") if not p.is_dir()]
        if not names:
            continue
        is_source = lies_in(source, place) or lies_in(place, source)
        foreign = names if is_source else [name for name in names if not ours.fullmatch(name)]
        if foreign:
            raise ConfigError(f"{place / foreign[0]}: not of this job; choose another --out")
        shutil.rmtree(place)


def is_held_back(index: int, total: int, blocks: int) -> bool | None:
    """Return whether a frame judges, trains, or (None) neither, beside a block that judges."""
    if index * blocks // total % 5 == 2:
        return True
    is_neighbour = any(
        0 <= near < total and near * blocks // total % 5 == 2 for near in (index - 1, index + 1)
    )
    return None if is_neighbour else False


def write_frames(
    frames: Iterator[tuple[str, Array]], folder: Path, config: FinetuneConfig
) -> tuple[int, int]:
    """Write frames as PNG, below `train` and `held-back`.

    Returns:
        How many of either.

    Raises:
        ConfigError: Too few frames to split.
    """
    kept = []
    for name, image in frames:
        size_hw = (image.shape[0], image.shape[1])
        if max(size_hw) > config.longer_side_px:
            image = resize(image, fit_longer_side(size_hw, config.longer_side_px))
        kept.append((name, image))
    if len(kept) < 2 * config.blocks:
        raise ConfigError(
            f"{len(kept)} frames are too few: {config.blocks} blocks need {2 * config.blocks}"
        )
    counts = [0, 0]
    for index, (name, image) in enumerate(kept):
        held_back = is_held_back(index, len(kept), config.blocks)
        if held_back is not None:
            counts[held_back] += 1
            part = "held-back" if held_back else "train"
            (folder / part).mkdir(parents=True, exist_ok=True)
            write_image(folder / part / f"{name}.png", image)
    return counts[0], counts[1]


def finetune(
    weights: Path, folder: Path, config: FinetuneConfig, source_name: str, device: str = "cpu"
) -> FinetuneResult:
    """Label, train and judge; `write_frames` has been called for `folder / "frames"`.

    Args:
        weights: To start from.
        folder: Gets labels, checkpoint and the new weights; what is done in it is not done again.
        config: How.
        source_name: Of the recording, for the card.
        device: Of torch.
    """
    frames, labels = folder / "frames" / "train", folder / "labels"
    pairs = make_validation_pairs(
        folder / "frames" / "held-back", config.validation_pairs, split="all"
    )
    if not pairs:
        raise ConfigError(
            f"{folder / 'frames' / 'held-back'}: no frame can be used: shrunk to longer_side_px: "
            f"{config.longer_side_px}, its shorter side needs {2 * CELL_SIZE} pixels"
        )
    before = _measure(weights, pairs, device)
    if not _score(before) > 0.0:
        raise ConfigError(
            f"{folder / 'frames' / 'held-back'}: {weights.name} finds nothing there that matches: "
            "are the frames blank, dark or blurred?"
        )
    old, parent = load_weights(weights)
    label_photos(
        old, frames, labels, config.adaptation, device, "all", network_sha256=parent.sha256
    )
    photos = LabelledPhotos(frames, labels, config.training.photos, split="all")
    write_label_sheet(folder / "labels.jpg", photos)
    views = config.training.photos
    started = unfold_by_photos(old, photos, (views.height, views.width))
    training = dataclasses.replace(config.training, network=started.config)
    source = make_source(training, photos)
    write_batch_sheet(folder / "sheet.jpg", source(0))
    state = train(training, source, folder / "training", started.state_dict(), device)
    network = result_of(state)
    write_match_sheet(folder / "matches.jpg", network, source(0))
    candidate = folder / "candidate.safetensors"
    card = _make_card(parent, config, training, state, source_name, len(photos))
    save_weights(candidate, network, card, half=True)
    after = _measure(candidate, pairs, device)
    is_better = _score(after) >= _score(before)
    metrics = {f"held-back/{key}": round(value, 4) for key, value in after.items()}
    metrics |= {f"held-back/{key}_before": round(value, 4) for key, value in before.items()}
    worse = ", ".join(find_worse(before, after)) or "nothing"
    notes = f"{card.notes} Worse than its parent on the frames held back: {worse}."
    card = dataclasses.replace(card, metrics=metrics, notes=notes)
    candidate.unlink()
    if not is_better:
        return FinetuneResult(before, after, False, None, card)
    path = folder / f"{card.name}.safetensors"
    return FinetuneResult(before, after, True, path, save_weights(path, network, card, half=True))


def _score(metrics: dict[str, float]) -> float:
    return float(np.mean([metrics[name] for name in JUDGES]))


def _measure(weights: Path, pairs: list[HomographyPair], device: str) -> dict[str, float]:
    limit = VALIDATION_PROTOCOL.max_keypoints
    return measure(load_extractor(str(weights), device=device, max_keypoints=limit), pairs)


def _make_card(
    parent: ModelCard,
    config: FinetuneConfig,
    training: TrainConfig,
    state: Checkpoint,
    source_name: str,
    count: int,
) -> ModelCard:
    return dataclasses.replace(
        parent,
        name=f"{parent.name.removesuffix('_finetuned')}_finetuned",
        descriptor_sampling=SAMPLING,
        parent=f"{parent.name} {parent.sha256}",
        config=to_mapping(dataclasses.replace(config, training=training)),
        data=(*parent.data, f"{count} frames of {source_name}"),
        seed=training.seed,
        commit=join_commits([state]),
        wall_time_s=round(state.wall_time_s, 1),
        hardware=join_hardware([state]),
        metrics={},
        notes=f"Steps {state.step}, skipped {len(state.skipped_steps)}."
        + describe_sampling(parent),
        sha256="",
    )
