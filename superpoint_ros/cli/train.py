# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Train SuperPoint from nothing: shapes -> MagicPoint -> labels on photos -> SuperPoint.

In the last stages, wide and settle, the network learns from itself: what it finds in two views of
a photo, shown each at three sizes, takes the place of most labels.

`superpoint train all --images DIR --out runs/x` runs the whole chain; what is done is skipped, and
what was interrupted goes on where it stopped. A single stage can be named instead of `all`.

With --rounds N the chain goes on: the network of the round before labels the photos anew
(relabel), and is trained on these labels (retrain), N - 1 times, before wide.

`superpoint train small` then distils the slim network from the chain's weights (or --teacher
FILE), on the same photos and labels.

`--from FILE` lets superpoint, refine, small or wide start from finished weights in place of the
stage before. `superpoint train average --from A B ...` writes the mean of weights that were
trained on from one another, which is often better than the last of them.

`--schedule 0.25` gives every training a quarter of its steps: worse weights in a quarter of the
time, e.g. to see what your photos give before hours are spent on them.

`superpoint train losses` compares the descriptor losses on a small budget (losses.yaml).

Several GPUs, or processes on CPUs, share every batch when torchrun starts them:
`torchrun --nproc-per-node 2 -m superpoint_ros train all --images DIR --out runs/x`.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from superpoint_ros.config import ConfigError
from superpoint_ros.graph import share_folder

if TYPE_CHECKING:
    from superpoint_ros.network.superpoint import SuperPoint
    from superpoint_ros.network.weights import ModelCard
    from superpoint_ros.training.adaptation import AdaptationConfig
    from superpoint_ros.training.checkpoint import Checkpoint
    from superpoint_ros.training.stage import TrainConfig

_VALIDATION_PAIRS = 100
_STARTING = ("superpoint", "refine", "small", "wide")  # take --from
_TAUGHT = ("all", "small", "wide")  # take --teacher
_UNTRAINED = ("pseudo-labels", "relabel", "export", "average")  # have no steps to take a share of
_REPEATED = ("all", "relabel", "retrain", "wide", "settle", "export")  # take --rounds
CHAIN = ("magicpoint", "pseudo-labels", "superpoint", "refine")  # then rounds, wide, settle


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "stage", choices=("all", *_RUNNERS), help="stage to run, or the whole chain"
    )
    parser.add_argument(
        "--images", metavar="DIR", default="", help="folder of photos, with subfolders"
    )
    parser.add_argument(
        "--out", metavar="DIR", required=True, help="folder of the run (resumable)"
    )
    parser.add_argument(
        "--config", metavar="DIR", default="", help="folder of the stages' YAML (default: shipped)"
    )
    parser.add_argument(
        "--rounds",
        type=int,
        metavar="N",
        help="rounds of labels (default: 1); of relabel and retrain: which round, from 2 on; of "
        "export: the round to write (default: the last there is)",
    )
    parser.add_argument(
        "--teacher",
        metavar="FILE",
        default="",
        help="small, wide (all: for its wide): weights to learn from; full, small: those shipped "
        "(default: superpoint.safetensors of the run; wide: the network itself)",
    )
    parser.add_argument(
        "--from",  # not --start: torchrun would take it for one of its own
        dest="start",
        metavar="FILE",
        nargs="+",
        default=[],
        help=f"{', '.join(_STARTING)}: weights to start from, in place of the stage before; "
        "average: all whose mean is wanted, oldest first (full, small: those shipped)",
    )
    parser.add_argument(
        "--schedule",
        type=float,
        default=1.0,
        metavar="SHARE",
        help="share of the steps of every training stage, e.g. 0.25 for a quarter of the time "
        "(default: 1)",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0: all cores")


def run(args: argparse.Namespace) -> int:
    """Run the stages asked for."""
    import cv2
    import torch

    from superpoint_ros.engines.torch_engine import resolve_device
    from superpoint_ros.training.datasets import check_apart
    from superpoint_ros.training.distributed import joined_processes, process_rank, wait_for_all

    if args.threads > 0:
        torch.set_num_threads(args.threads)
        cv2.setNumThreads(args.threads)
    device = str(resolve_device(args.device))
    if args.images:
        check_apart(args.images, args.out)
    job = _Job(
        configs=Path(args.config) if args.config else share_folder() / "config" / "train",
        out=Path(args.out),
        images=Path(args.images) if args.images else None,
        device=device,
        teacher=args.teacher,
        start=args.start[0] if args.stage in _STARTING and args.start else "",
        averaged=tuple(args.start) if args.stage == "average" else (),
        schedule=args.schedule,
    )
    if not 0.0 < job.schedule < math.inf:  # NaN neither
        raise ConfigError(f"--schedule {job.schedule:g}: must be a positive number, e.g. 0.25")
    if job.schedule != 1.0 and args.stage in _UNTRAINED:
        raise ConfigError(f"--schedule: {args.stage} trains nothing, leave it out")
    if args.start and args.stage not in (*_STARTING, "average"):
        raise ConfigError(f"--from: {args.stage} does not; {', '.join(_STARTING)}, average can")
    if args.teacher and args.stage not in _TAUGHT:
        raise ConfigError(f"--teacher: {args.stage} does not; {', '.join(_TAUGHT)} learn from one")
    if len(args.start) > 1 and args.stage != "average":
        raise ConfigError(f"--from {' '.join(args.start)}: {args.stage} starts from one file")
    plan = _plan(args.stage, args.rounds)
    with joined_processes(device):
        _check_ahead(job, [stage for stage, _ in plan])
        for stage, number in plan:
            if stage in ("export", "average") and process_rank() != 0:  # they train nothing
                continue
            _say(stage if number <= 1 else f"{stage}, round {number}")
            _RUNNERS[stage](dataclasses.replace(job, round=number))
        wait_for_all()
    return 0


def _plan(stage: str, rounds: int | None) -> list[tuple[str, int]]:
    """Return the stages to run and the round of each; of an export 0, if none was named.

    Raises:
        ConfigError: No such round.
    """
    if rounds is None:
        if stage == "export":
            return [(stage, 0)]
        rounds = 1
    elif stage not in _REPEATED:
        raise ConfigError(f"--rounds: {stage} has none; {', '.join(_REPEATED)} do")
    least = 2 if stage in ("relabel", "retrain") else 1
    if rounds < least:
        raise ConfigError(f"--rounds {rounds}: must be at least {least}")
    if stage != "all":
        return [(stage, rounds)]
    again = [(name, number) for number in range(2, rounds + 1) for name in ("relabel", "retrain")]
    last = [(name, rounds) for name in ("wide", "settle", "export")]
    return [*((name, 1) for name in CHAIN), *again, *last]


def _check_ahead(job: _Job, stages: Sequence[str]) -> None:
    """Read what the stages of a plan will read, so that no mistake shows hours later.

    Raises:
        ConfigError: A YAML file, the photos or their manifest cannot be used, or no teacher can.
        WeightsError: The teacher, or the weights to start from, cannot be used.
    """
    from superpoint_ros.network.weights import find_weights, load_weights
    from superpoint_ros.training.datasets import list_photos
    from superpoint_ros.training.provenance import check_manifest

    for stage in stages:
        if stage in ("pseudo-labels", "relabel"):
            job.labelling(f"{stage.replace('-', '_')}.yaml")
        elif stage not in _UNTRAINED:
            config = job.training(f"{stage}.yaml")
            if job.teacher and stage in _TAUGHT:
                if not config.is_distilled:
                    raise ConfigError(
                        f"--teacher: {stage}.yaml has is_distilled: false, so none is used"
                    )
                if config.kept_share:
                    raise ConfigError(f"--teacher: {stage}.yaml has kept_share, which needs none")
    for file in filter(None, (job.teacher, job.start)):
        load_weights(find_weights(file))
    if any(stage not in ("magicpoint", "export", "average") for stage in stages):
        list_photos(job.photos)
    if job.images is not None:
        check_manifest(job.images)


def _say(text: str) -> None:
    from superpoint_ros.training.distributed import process_rank

    if process_rank() == 0:
        print(f"superpoint train: {text}", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class _Job:
    """What the stages need.

    Attributes:
        configs: Folder of the YAML files.
        out: Folder of the run.
        images: Folder of the photos.
        device: Of torch.
        teacher: Weights file; empty: those of the run.
        start: Weights file to start from; empty: the stage before.
        averaged: Weights files whose mean is wanted.
        round: Of labels, from 1 on; for an export 0: the last there is.
        schedule: Share of the steps of every training stage.
    """

    configs: Path
    out: Path
    images: Path | None
    device: str
    teacher: str
    start: str = ""
    averaged: tuple[str, ...] = ()
    round: int = 1
    schedule: float = 1.0

    def training(self, name: str) -> TrainConfig:
        """Read the YAML of a training stage, as long as the schedule wants it.

        Raises:
            ConfigError: The file is bad, or there are more processes than items of a batch.
        """
        from superpoint_ros.config import load_yaml
        from superpoint_ros.training.distributed import process_count
        from superpoint_ros.training.stage import TrainConfig

        config = load_yaml(TrainConfig, self.configs / name).with_schedule(self.schedule)
        if config.batch_size < process_count():
            raise ConfigError(
                f"{self.configs / name}: batch_size: {config.batch_size} is too small for "
                f"{process_count()} processes: raise it (--config), or start fewer"
            )
        return config

    def labelling(self, name: str) -> AdaptationConfig:
        """Read the YAML of a labelling stage.

        Raises:
            ConfigError: The file is bad.
        """
        from superpoint_ros.config import load_yaml
        from superpoint_ros.training.adaptation import AdaptationConfig

        return load_yaml(AdaptationConfig, self.configs / name)

    @property
    def photos(self) -> Path:
        """Folder of the photos.

        Raises:
            ConfigError: None was named.
        """
        if self.images is None:
            raise ConfigError("this stage trains on photos: name their folder with --images DIR")
        return self.images


def _magicpoint(job: _Job) -> None:
    from superpoint_ros.training.sheets import write_batch_sheet
    from superpoint_ros.training.trainer import make_source, train

    config = job.training("magicpoint.yaml")
    source = make_source(config, None)
    write_batch_sheet(job.out / "magicpoint" / "sheet.jpg", source(0))
    train(config, source, job.out / "magicpoint", device=job.device)


def _pseudo_labels(job: _Job) -> None:
    _label(job, "pseudo_labels.yaml", job.out / "magicpoint", job.out / "pseudo-labels")


def _superpoint(job: _Job) -> None:
    _train_on_photos(job, "superpoint", before="magicpoint")


def _refine(job: _Job) -> None:
    _train_on_photos(job, "refine", before="superpoint")


def _relabel(job: _Job) -> None:
    """Label the photos by the network of the round before."""
    before = job.out / _last_stage(job.round - 1)
    _label(job, "relabel.yaml", before, job.out / f"pseudo-labels-{job.round}")


def _label(job: _Job, config_name: str, before: Path, labels: Path) -> None:
    """Label the photos that have no labels yet, by the network of the stage before."""
    from superpoint_ros.network.weights import file_sha256
    from superpoint_ros.training.adaptation import label_photos
    from superpoint_ros.training.checkpoint import CHECKPOINT_NAME
    from superpoint_ros.training.datasets import LabelledPhotos, PhotoConfig
    from superpoint_ros.training.sheets import write_label_sheet

    config = job.labelling(config_name)
    teacher, sha256 = None, ""
    if config.teacher == "network":
        has_begun = any(labels.rglob("*.npz"))
        teacher = _load_network(before) if has_begun else _load_finished(before)
        sha256 = file_sha256(before / CHECKPOINT_NAME)
    done = label_photos(teacher, job.photos, labels, config, job.device, network_sha256=sha256)
    _say(str(done))
    if done.new:
        photos = LabelledPhotos(job.photos, labels, PhotoConfig())
        write_label_sheet(labels / "labels.jpg", photos)


def _retrain(job: _Job) -> None:
    _train_on_photos(job, _last_stage(job.round), before=_last_stage(job.round - 1))


def _last_stage(number: int) -> str:
    """Return the folder of the network that a round ends with."""
    return "refine" if number == 1 else f"retrain-{number}"


def _wide(job: _Job) -> None:
    """Let the network learn what it would say if it saw a view at several sizes."""
    stage, before = _after_round("wide", job.round), _last_stage(job.round)
    _train_on_photos(job, stage, before, teacher=job.teacher)


def _settle(job: _Job) -> None:
    """Let the network learn the same once more, from its state after the stage wide."""
    stage, before = (_after_round(name, job.round) for name in ("settle", "wide"))
    _train_on_photos(job, stage, before, is_unfolded=True)


def _after_round(name: str, number: int) -> str:
    """Return the folder of a stage that comes after a round of labels."""
    return name if number == 1 else f"{name}-{number}"


def _small(job: _Job) -> None:
    """Distil the slim network and write its weights."""
    from superpoint_ros.training.distributed import process_rank
    from superpoint_ros.training.provenance import make_card

    chain = str(job.out / "superpoint.safetensors")
    _train_on_photos(job, "small", teacher=job.teacher, default_teacher=chain)
    if process_rank() == 0:
        card = make_card(job.out, job.images, "superpoint_small", ("small",))
        _write_weights(job, _load_network(job.out / "small"), card)


def _losses(job: _Job) -> None:
    """Train with each descriptor loss from the same start for as long, and compare."""
    from superpoint_ros.features.extractor import extractor_from_network
    from superpoint_ros.files import write_json
    from superpoint_ros.training.checkpoint import CHECKPOINT_NAME
    from superpoint_ros.training.datasets import LabelledPhotos
    from superpoint_ros.training.distributed import process_rank
    from superpoint_ros.training.stage import DESCRIPTOR_LOSSES
    from superpoint_ros.training.trainer import make_source, train
    from superpoint_ros.training.validation import (
        VALIDATION_PROTOCOL,
        make_validation_pairs,
        measure,
    )

    config = job.training("losses.yaml")
    photos = LabelledPhotos(job.photos, job.out / "pseudo-labels", config.photos)
    pairs = make_validation_pairs(job.photos, _VALIDATION_PAIRS)
    if not pairs:
        raise ConfigError(f"--images {job.photos}: too few photos, none is kept for validation")
    # Without the detector's stage all start from the same random weights.
    before = job.out / "magicpoint"
    has_detector = (before / CHECKPOINT_NAME).is_file()
    initial = _load_before(before, config) if has_detector else None
    report = {}
    for name in DESCRIPTOR_LOSSES:
        loss = dataclasses.replace(config.loss, descriptor=name)
        one = dataclasses.replace(config, loss=loss)
        folder = job.out / "losses" / name
        state = train(one, make_source(one, photos), folder, initial, job.device)
        if process_rank() != 0:  # one measures and writes
            continue
        limit = VALIDATION_PROTOCOL.max_keypoints
        extract = extractor_from_network(_load_network(folder), limit, job.device)
        report[name] = {"wall_time_s": state.wall_time_s, **measure(extract, pairs)}
        if len(report) == 1:
            print(f"{'loss':<18}" + "".join(f"  {key:>14}" for key in report[name]))
        numbers = (f"  {value:>{max(len(key), 14)}.4f}" for key, value in report[name].items())
        print(f"{name:<18}" + "".join(numbers))
    if report:
        write_json(job.out / "losses" / "table.json", report)


def _train_on_photos(
    job: _Job,
    stage: str,
    before: str = "",
    *,
    teacher: str = "",
    default_teacher: str = "",
    is_unfolded: bool = False,
) -> None:
    """Train on warped pairs, starting from the stage before or learning from a teacher's file.

    A distilled stage without a teacher learns from its own running mean, or from its start.
    `is_unfolded`: BatchNorm begins anew, by the statistics of the photos, as with --from.
    """
    from superpoint_ros.config import from_mapping
    from superpoint_ros.training.checkpoint import CHECKPOINT_NAME
    from superpoint_ros.training.datasets import LabelledPhotos
    from superpoint_ros.training.sheets import (
        write_batch_sheet,
        write_label_sheet,
        write_match_sheet,
    )
    from superpoint_ros.training.stage import TrainConfig
    from superpoint_ros.training.trainer import make_source, train
    from superpoint_ros.training.warm_start import load_start, load_teacher, unfold_by_photos

    name, _, number = stage.partition("-")  # of which round
    config = job.training(f"{name}.yaml")
    labels = job.out / (f"pseudo-labels-{number}" if number else "pseudo-labels")
    photos = LabelledPhotos(job.photos, labels, config.photos)
    _say(f"{len(photos)} labelled photos, {len(photos.skipped)} skipped")
    folder = job.out / stage
    initial = None
    has_begun = (folder / CHECKPOINT_NAME).is_file()
    start = load_start(job.start, folder)
    if is_unfolded and has_begun:  # its network was that of the stage before
        begun = from_mapping(TrainConfig, _load_checkpoint(folder).config)
        config = dataclasses.replace(config, network=begun.network)
    elif is_unfolded:
        start = _load_finished(job.out / before)
    if start is not None:
        view_hw = (config.photos.height, config.photos.width)
        network = unfold_by_photos(start, photos, view_hw)
        config = dataclasses.replace(config, network=network.config)
        initial = network.state_dict()
    elif before and not has_begun:
        initial = _load_before(job.out / before, config)
    taught_by = load_teacher(teacher, folder, default_teacher) if config.is_distilled else None
    source = make_source(config, photos)
    write_label_sheet(folder / "labels.jpg", photos)
    write_batch_sheet(folder / "sheet.jpg", source(0))
    train(config, source, folder, initial, job.device, teacher=taught_by)
    write_match_sheet(folder / "matches.jpg", _load_network(folder), source(0))


def _export(job: _Job) -> None:
    from superpoint_ros.training.averaging import result_of
    from superpoint_ros.training.checkpoint import CHECKPOINT_NAME
    from superpoint_ros.training.provenance import TRAINED, make_card

    last = _last_round(job.out)
    number = job.round or last
    if number > last:
        raise ConfigError(f"--rounds {number}: {job.out} has {last}")
    retrained = (_last_stage(each) for each in range(2, number + 1))
    stages = [*TRAINED, *retrained, *(_after_round(name, number) for name in ("wide", "settle"))]
    while not (job.out / stages[-1] / CHECKPOINT_NAME).is_file() and len(stages) > 1:
        stages.pop()  # as far as the run has come
    card = make_card(job.out, job.images, stages=stages)
    checkpoint = _load_checkpoint(job.out / stages[-1])
    _say(f"{stages[-1]}, step {checkpoint.step} of {checkpoint.config['steps']}")
    _write_weights(job, result_of(checkpoint), card)


def _last_round(out: Path) -> int:
    """Return the last round of which a run has trained something."""
    from superpoint_ros.training.checkpoint import CHECKPOINT_NAME

    names = (path.parent.name for path in out.glob(f"*/{CHECKPOINT_NAME}"))
    found = (re.fullmatch(r"(?:retrain|wide|settle)-(\d+)", name) for name in names)
    return max((int(match[1]) for match in found if match), default=1)


def _average(job: _Job) -> None:
    """Write the mean of finished weights."""
    from superpoint_ros.network.weights import find_weights
    from superpoint_ros.training.averaging import average_weights

    network, card = average_weights(job.averaged)
    target = job.out / f"{card.name}.safetensors"
    if any(target.exists() and target.samefile(find_weights(each)) for each in job.averaged):
        raise ConfigError(f"--out {job.out}: {target} is one of --from; choose another folder")
    _write_weights(job, network, card)


def _write_weights(job: _Job, network: SuperPoint, card: ModelCard) -> None:
    """Write weights, BatchNorm folded, measured on warped photos, with their card."""
    from superpoint_ros.features.extractor import load_extractor
    from superpoint_ros.network.weights import load_weights, save_weights
    from superpoint_ros.training.validation import (
        VALIDATION_PROTOCOL,
        make_validation_pairs,
        measure,
    )

    path = job.out / f"{card.name}.safetensors"
    card = save_weights(path, network, card, half=True)
    pairs = make_validation_pairs(job.images, _VALIDATION_PAIRS) if job.images else []
    if pairs:
        limit = VALIDATION_PROTOCOL.max_keypoints
        extract = load_extractor(str(path), device=job.device, max_keypoints=limit)
        summary = measure(extract, pairs)
        metrics = {
            f"{VALIDATION_PROTOCOL.name}/{key}": round(value, 4) for key, value in summary.items()
        }
        network, _ = load_weights(path)
        card = dataclasses.replace(card, metrics={**card.metrics, **metrics})
        card = save_weights(path, network, card, half=True)
        for name, value in metrics.items():
            print(f"{name:<36} {value:.4f}")
    _say(f"{path}, sha256 {card.sha256}")


def _load_network(folder: Path) -> SuperPoint:
    """Return the network of a stage's last checkpoint.

    Raises:
        ConfigError: The stage has not run.
    """
    from superpoint_ros.training.averaging import result_of

    return result_of(_load_checkpoint(folder))


def _load_finished(folder: Path) -> SuperPoint:
    """Return the network of a stage, for one that begins with it.

    Raises:
        ConfigError: The stage has not run to its end.
    """
    from superpoint_ros.training.averaging import result_of

    checkpoint = _load_checkpoint(folder)
    if not checkpoint.is_finished:
        raise ConfigError(
            f"{folder.name} is at step {checkpoint.step} of {checkpoint.config['steps']}: run "
            f"`{_command(folder)}` first"
        )
    return result_of(checkpoint)


def _load_before(folder: Path, config: TrainConfig) -> dict[str, Any]:
    """Return the weights of the stage before, for one that goes on with its network.

    Raises:
        ConfigError: It has not run to its end, or has another network.
    """
    network = _load_finished(folder)
    if network.config != config.network:
        raise ConfigError(
            f"network: {folder} has another: give both stages' YAML files the same, or begin with "
            "its weights (superpoint train export, then --from FILE)"
        )
    return network.state_dict()


def _load_checkpoint(folder: Path) -> Checkpoint:
    """Return a stage's last checkpoint.

    Raises:
        ConfigError: The stage has not run.
    """
    from superpoint_ros.training.checkpoint import CHECKPOINT_NAME, load_checkpoint

    checkpoint = load_checkpoint(folder / CHECKPOINT_NAME)
    if checkpoint is None:
        raise ConfigError(f"{folder}: no checkpoint; run `{_command(folder)}` first")
    return checkpoint


def _command(folder: Path) -> str:
    """Return what runs a stage."""
    name, _, number = folder.name.partition("-")
    return f"superpoint train {name}" + (f" --rounds {number}" if number else "")


_RUNNERS: dict[str, Callable[[_Job], None]] = {
    "magicpoint": _magicpoint,
    "pseudo-labels": _pseudo_labels,
    "superpoint": _superpoint,
    "refine": _refine,
    "export": _export,
    "average": _average,
    "relabel": _relabel,
    "retrain": _retrain,
    "small": _small,
    "wide": _wide,
    "settle": _settle,
    "losses": _losses,
}
