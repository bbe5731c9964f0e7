# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
import argparse
import dataclasses
import json
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
import pytest
import torch

from superpoint_ros.cli import finetune
from superpoint_ros.config import ConfigError, load_yaml
from superpoint_ros.evaluation.homography import HEADLINES
from superpoint_ros.graph import config_file
from superpoint_ros.network.superpoint import HIDDEN_LAYERS
from superpoint_ros.network.weights import WeightsError, find_weights, load_weights, save_weights
from superpoint_ros.training import finetuning
from superpoint_ros.training.finetuning import FinetuneConfig, is_held_back, sample_folder

CONFIG = """
frames: 25
validation_pairs: 4
adaptation: {warps: 3, threshold: 0.015, max_keypoints: 100}
training:
  source: photos
  is_joint: true
  batch_size: 2
  steps: 2
  warmup_steps: 2
  learning_rate: %f
  frozen_layers: [%s]
  photos: {height: 64, width: 96, points: 48}
%s"""


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    finetune.add_arguments(parser)
    return parser.parse_args(words)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frames of one texture, and one broken."""
    folder = tmp_path_factory.mktemp("finetune")
    (folder / "frames").mkdir()
    rng = np.random.default_rng(0)
    for index in range(24):
        coarse = rng.integers(0, 255, (15, 20), np.uint8)
        picture = cv2.resize(coarse, (160, 120), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / "frames" / f"{index:03d}.png"), picture)
    (folder / "frames" / "002b.png").write_bytes(b"junk")
    return folder


def words(folder: Path, out: str, rate: float, frozen: str = "", more: str = "") -> list[str]:
    config = folder / f"{out}.yaml"
    config.write_text(CONFIG % (rate, frozen, more))
    return [
        *("--images", str(folder / "frames"), "--out", str(folder / out), "--device", "cpu"),
        *("--config", str(config), "--json", str(folder / "m.json")),
    ]


def test_what_is_no_worse_is_written_with_its_parent(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Nothing may learn: so what comes out of unfolding, training and folding is what went in.
    assert finetune.run(parse(*words(folder, "same", 0.0, ",".join(HIDDEN_LAYERS)))) == 0
    before, parent = load_weights(find_weights())
    after, card = load_weights(folder / "same" / "superpoint_finetuned.safetensors")
    for (name, ours), theirs in zip(after.named_parameters(), before.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-3, msg=name)
    assert (card.parent, card.licence) == (f"{parent.name} {parent.sha256}", parent.licence)
    assert card.data == (*parent.data, "14 frames of frames")
    metrics = json.loads((folder / "m.json").read_text())
    assert metrics["is_better"]
    assert card.metrics["held-back/mma3"] == pytest.approx(metrics["after"]["mma3"], abs=1e-4)
    assert "002b.png" in caplog.text
    # No frame both judges and trains, and none that trains is a neighbour of one that judges.
    trained, judged = (
        {int(path.stem) for path in (folder / "same" / "frames" / part).iterdir()}
        for part in ("train", "held-back")
    )
    assert judged
    assert min(abs(a - b) for a in trained for b in judged) > 1


@pytest.mark.gpu
def test_the_same_on_cuda(cuda: str, folder: Path) -> None:
    job = words(folder, "cuda", 0.0, ",".join(HIDDEN_LAYERS))
    assert finetune.run(parse(*job, "--device", cuda)) == 0


def test_blank_frames_are_refused(folder: Path) -> None:
    blank = folder / "blank"
    blank.mkdir()
    for index in range(24):
        cv2.imwrite(str(blank / f"{index:03d}.png"), np.full((120, 160), 90, np.uint8))
    args = parse(*words(folder, "from_blank", 1e-3), "--images", str(blank))
    with pytest.raises(
        ConfigError, match="finds nothing there that matches: are the frames blank"
    ):
        finetune.run(args)


def test_frames_too_narrow_for_cells_are_refused(folder: Path) -> None:
    narrow = folder / "narrow"  # as a lidar of 64 rings has them
    narrow.mkdir()
    for index in range(24):
        cv2.imwrite(str(narrow / f"{index:03d}.png"), np.full((64, 2048), 90, np.uint8))
    args = parse(*words(folder, "from_narrow", 1e-3), "--images", str(narrow))
    with pytest.raises(ConfigError, match="longer_side_px: 480, its shorter side needs 16 pixels"):
        finetune.run(args)


def test_weights_that_cannot_be_read_take_no_folder(folder: Path) -> None:
    (folder / "bad.safetensors").write_bytes(b"junk")
    args = words(folder, "unspoilt", 1e-3)
    with pytest.raises(WeightsError, match=r"bad\.safetensors"):
        finetune.run(parse(*args, "--weights", str(folder / "bad.safetensors")))
    assert not (folder / "unspoilt").exists()


def test_what_is_worse_is_not_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = words(folder, "worse", 1.0)
    assert finetune.run(parse(*job)) == 1
    assert "nothing was written" in capsys.readouterr().err
    assert not list((folder / "worse").glob("*.safetensors"))
    assert not json.loads((folder / "m.json").read_text())["is_better"]
    with pytest.raises(ConfigError, match=r"job\.json.*choose --out"):
        finetune.run(parse(*job, "--steps", "3"))


def test_a_share_of_the_old_weights_is_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = dict.fromkeys((*HEADLINES, *finetuning.JUDGES), 0.5)
    monkeypatch.setattr(finetuning, "measure", lambda *_: metrics)

    def distance(out: str, more: str) -> float:
        """How far the new weights are from the old ones."""
        assert finetune.run(parse(*words(folder, out, 1e-5, more=more))) == 0
        path = folder / out / "superpoint_finetuned.safetensors"
        networks = (load_weights(file)[0] for file in (path, find_weights()))
        pairs = zip(*(network.parameters() for network in networks), strict=True)
        return sum(float((a - b).detach().abs().sum()) for a, b in pairs)

    taught = "  is_distilled: true\n  teacher_steps: 0\n  kept_share: "
    most = distance("none", f"{taught}0.0\n")
    assert distance("all", f"{taught}1.0\n") < 1e-3 * most
    assert distance("half", f"{taught}0.5\n") == pytest.approx(most / 2, rel=0.1)


def test_what_is_better_on_the_whole_but_worse_in_part_says_so(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {"he1": 0.5, "he3": 0.6, "repeatability": 0.5, "localization_px": 1.0}
    before |= {"matching_score": 0.4, "mma3": 0.6, "nn_map": 0.7, "pairs": 4}
    after = {**before, "he3": 0.8, "localization_px": 1.1, "nn_map": 0.65, "matching_score": 0.5}
    measured = iter([before, after])
    monkeypatch.setattr(finetuning, "measure", lambda *_: next(measured))
    assert finetune.run(parse(*words(folder, "part", 0.0))) == 0
    caught = capsys.readouterr()
    assert "better on the whole, but worse in localization_px, nn_map" in caught.err
    assert "at other places they may be worse" in caught.err
    marked = [line.split()[0] for line in caught.out.splitlines() if line.endswith("worse")]
    assert marked == ["localization_px", "nn_map"]
    assert json.loads((folder / "m.json").read_text())["worse"] == marked
    _, card = load_weights(folder / "part" / "superpoint_finetuned.safetensors")
    assert card.notes.endswith("held back: localization_px, nn_map.")


def test_the_card_says_how_the_new_weights_are_sampled(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics = dict.fromkeys((*HEADLINES, *finetuning.JUDGES), 0.5)
    monkeypatch.setattr(finetuning, "measure", lambda *_: metrics)
    network, card = load_weights(find_weights())
    card = dataclasses.replace(card, descriptor_sampling="bicubic", licence="MIT")
    save_weights(folder / "bicubic.safetensors", network, card)
    job = words(folder, "sampled", 0.0)
    assert finetune.run(parse(*job, "--weights", str(folder / "bicubic.safetensors"))) == 0
    _, card = load_weights(folder / "sampled" / "superpoint_finetuned.safetensors")
    assert (card.descriptor_sampling, card.licence) == ("bilinear", "MIT")
    assert "The parent's descriptors were sampled bicubic." in card.notes


def test_frames_of_a_job_that_was_abandoned_are_not_used(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, config = tmp_path / "out", FinetuneConfig(blocks=5)
    monkeypatch.setattr(finetuning, "finetune", mock.Mock(side_effect=InterruptedError))

    def start(source: Path = folder / "frames") -> None:
        job = words(folder, "abandoned", 0.0)
        with pytest.raises(InterruptedError):
            finetune.run(parse(*job, "--images", str(source), "--out", str(out)))

    def names() -> set[str]:
        return {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}

    start()
    whole = names()
    (out / "job.json").unlink()
    frames = [(f"{index:06d}", np.zeros((48, 80), np.uint8)) for index in range(100, 110)]
    finetuning.write_frames(iter(frames), out / "frames", config)
    (out / "frames" / "train" / ".000104-part.png").write_bytes(b"killed")
    (out / "labels").mkdir()
    (out / "labels" / "000100.png.npz").write_bytes(b"labels")
    assert names() > whole - {"job.json"}
    start()
    assert names() == whole
    # What others have put there stays: files, and the recording itself.
    (out / "job.json").unlink()
    (out / "frames" / "notes.txt").write_text("mine")
    job = (*words(folder, "abandoned", 0.0), "--out", str(out))
    with pytest.raises(ConfigError, match=r"notes\.txt: not of this job; choose another --out"):
        finetune.run(parse(*job))
    (out / "frames" / "notes.txt").unlink()
    for source in (out / "frames" / "train", out):
        with pytest.raises(ConfigError, match=r"not of this job|lies in --images"):
            finetune.run(parse(*job, "--images", str(source)))
    assert names() == whole - {"job.json"}


def test_frames_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for index in (0, 1, 2, 9, 10, 11, 100):
        cv2.imwrite(str(tmp_path / f"{index}.png"), np.full((20, 20), index, np.uint8))
    levels = [int(image[0, 0]) for _, image in sample_folder(tmp_path, 7)]
    assert levels == [0, 1, 2, 9, 10, 11, 100]


def test_a_fifth_is_held_back_in_blocks_of_time() -> None:
    parts = [is_held_back(index, 100, 10) for index in range(100)]
    assert [index for index, part in enumerate(parts) if part] == [*range(20, 30), *range(70, 80)]
    assert [i for i, part in enumerate(parts) if part is None] == [19, 30, 69, 80]


def test_the_shipped_config_is_legal() -> None:
    assert load_yaml(FinetuneConfig, config_file("train/finetune.yaml")).training.is_joint
