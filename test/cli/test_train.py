# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch.distributed.run import get_args_parser
from torch.utils.flop_counter import FlopCounterMode

from superpoint_ros import graph
from superpoint_ros.cli import train
from superpoint_ros.config import ConfigError, from_mapping, load_yaml
from superpoint_ros.graph import config_file, share_folder
from superpoint_ros.network.superpoint import NetworkConfig, SuperPoint, fold_batch_norm
from superpoint_ros.network.weights import (
    ModelCard,
    WeightsError,
    file_sha256,
    load_weights,
    save_weights,
)
from superpoint_ros.training import distributed, trainer
from superpoint_ros.training.adaptation import AdaptationConfig
from superpoint_ros.training.checkpoint import load_checkpoint
from superpoint_ros.training.datasets import is_validation
from superpoint_ros.training.finetuning import FinetuneConfig
from superpoint_ros.training.stage import TrainConfig

NETWORK = """
precision: fp32
batch_size: 2
steps: 2
network: {encoder_channels: [4, 4, 8, 8], head_channels: 16, descriptor_dim: 16, batch_norm: true}
"""


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)
    return parser.parse_args(words)


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(train, "_VALIDATION_PAIRS", 2)
    configs, images = tmp_path / "configs", tmp_path / "images"
    configs.mkdir()
    images.mkdir()
    (configs / "magicpoint.yaml").write_text(NETWORK + "shapes: {height: 48, width: 64}\n")
    (configs / "pseudo_labels.yaml").write_text("teacher: corners\nwarps: 3\n")
    (configs / "relabel.yaml").write_text("teacher: network\nwarps: 3\nthreshold: 0.0\n")
    joint = "source: photos\nis_joint: true\nphotos: {height: 48, width: 64, points: 16}\n"
    for name in ("superpoint", "refine", "retrain", "losses"):
        (configs / f"{name}.yaml").write_text(NETWORK + joint)
    slim = NETWORK.replace("descriptor_dim: 16", "descriptor_dim: 8")
    (configs / "small.yaml").write_text(slim + joint + "is_distilled: true\n")
    taught = "is_distilled: true\nteacher_scales: [1.0, 0.5]\nloss: {agreed_share: 0.9}\n"
    (configs / "wide.yaml").write_text(NETWORK + joint + taught)
    again = "base: wide.yaml\nteacher_steps: 0\nkept_share: 0.5\nseed: 9\n"
    (configs / "settle.yaml").write_text(again)
    rng = np.random.default_rng(0)
    names = [f"{index}.png" for index in range(100)]
    held_back = next(name for name in names if is_validation(name))
    for name in [*(name for name in names[:8] if not is_validation(name)), held_back]:
        coarse = rng.integers(0, 255, (10, 14), np.uint8)
        cv2.imwrite(str(images / name), cv2.resize(coarse, (112, 80)))
    return tmp_path


def test_the_last_stage_is_taught_by_what_it_began_with_and_writes_the_mean_of_both(
    tiny: Path,
) -> None:
    out = tiny / "run"
    options = ("--config", str(tiny / "configs"), "--out", str(out), "--device", "cpu")
    words = ("--images", str(tiny / "images"), *options)
    assert train.run(parse("all", *words)) == 0
    wide, settled = (load_checkpoint(out / name / "last.pt") for name in ("wide", "settle"))
    config = from_mapping(TrainConfig, wide.config)
    before, start, end = (SuperPoint(config.network).eval() for _ in range(3))
    before.load_state_dict(wide.network)
    start.load_state_dict(settled.mean)
    end.load_state_dict(settled.network)
    before, start, end = (fold_batch_norm(each) for each in (before, start, end))
    written, _ = load_weights(out / "superpoint.safetensors")
    for name, value in written.named_parameters():
        # BatchNorm begins anew, which changes nothing; the file is float16
        torch.testing.assert_close(
            start.get_parameter(name), before.get_parameter(name), rtol=1e-3, atol=1e-4
        )
        mean = (start.get_parameter(name) + end.get_parameter(name)) / 2
        torch.testing.assert_close(value, mean, rtol=2e-3, atol=1e-4)
    assert any(
        not torch.equal(start.get_parameter(name), end.get_parameter(name))
        for name in ("conv1a.weight", "convDb.weight")
    )


def test_the_whole_chain_makes_weights_with_their_provenance_and_skips_what_is_done(
    tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tiny / "run"
    words = ("--images", str(tiny / "images"), "--config", str(tiny / "configs"))
    assert train.run(parse("all", *words, "--out", str(out), "--device", "cpu")) == 0
    network, card = load_weights(out / "superpoint.safetensors")
    assert network.config.descriptor_dim == 16
    assert card.licence == "Apache-2.0"
    stages = ["magicpoint", "superpoint", "refine", "wide", "settle"]
    assert set(card.config) == {*stages, "pseudo-labels"}
    assert card.config["pseudo-labels"]["config"]["warps"] == 3
    assert card.config["wide"]["steps"] == 2
    assert card.wall_time_s > 0
    assert card.metrics["warped-photos-ransac8/pairs"] == 2
    assert not card.parent
    assert "is not known" not in card.notes
    joint = stages[1:]
    sheets = [f"{stage}/{name}.jpg" for stage in joint for name in ("sheet", "labels", "matches")]
    for sheet in ("magicpoint/sheet.jpg", "pseudo-labels/labels.jpg", *sheets):
        assert cv2.imread(str(out / sheet)) is not None
    # A second round of labels goes on from there.
    again = parse("all", *words, "--out", str(out), "--device", "cpu", "--rounds", "2")
    assert train.run(again) == 0
    assert "new ones in" in capsys.readouterr().err
    assert len(list((out / "pseudo-labels-2").glob("*.npz"))) == card_photos(card)
    assert cv2.imread(str(out / "pseudo-labels-2" / "labels.jpg")) is not None
    _, card = load_weights(out / "superpoint.safetensors")
    assert set(card.config) == {
        *(*stages[:3], "retrain-2", "wide-2", "settle-2", "pseudo-labels", "pseudo-labels-2")
    }
    # So does an export, unless a round is named.
    capsys.readouterr()
    for rounds, name in (((), "settle-2"), (("--rounds", "1"), "settle"), ((), "settle-2")):
        assert train.run(parse("export", *words, "--out", str(out), *rounds)) == 0
        assert f"superpoint train: {name}, step 2 of 2" in capsys.readouterr().err
    _, card = load_weights(out / "superpoint.safetensors")
    assert "settle-2" in card.config
    labelled_by = file_sha256(out / "refine" / "last.pt")
    assert card.config["pseudo-labels-2"]["network_sha256"] == labelled_by
    assert train.run(parse("small", *words, "--out", str(out), "--device", "cpu")) == 0
    network, small = load_weights(out / "superpoint_small.safetensors")
    assert network.config.descriptor_dim == 8
    assert small.name == "superpoint_small"
    assert small.parent == f"superpoint {card.sha256}"
    assert set(small.config) == {"small", "pseudo-labels"}
    assert train.run(parse("losses", *words, "--out", str(out), "--device", "cpu")) == 0
    table = json.loads((out / "losses" / "table.json").read_text())
    assert set(table) == {"contrastive", "hinge", "hinge_normalised"}
    before = (out / "magicpoint" / "last.pt").stat().st_mtime_ns
    assert train.run(parse("all", *words, "--out", str(out), "--device", "cpu")) == 0
    assert (out / "magicpoint" / "last.pt").stat().st_mtime_ns == before


@pytest.mark.gpu
def test_the_chain_learns_on_cuda_what_it_learns_on_the_cpu(cuda: str, tiny: Path) -> None:
    losses = {}
    for device in ("cpu", cuda):
        out = tiny / device
        words = ("--images", str(tiny / "images"), "--config", str(tiny / "configs"))
        words = (*words, "--out", str(out), "--device", device)
        assert train.run(parse("all", *words, "--rounds", "2")) == 0
        for stage in ("small", "losses"):
            assert train.run(parse(stage, *words)) == 0
        histories = {
            path.parent: json.loads(path.read_text()) for path in out.rglob("history.json")
        }
        losses[device] = {
            str(folder.relative_to(out)): rows["history"] for folder, rows in histories.items()
        }
    assert len(losses["cpu"]) == 10
    assert set(losses[cuda]) == set(losses["cpu"])
    for stage, rows in losses["cpu"].items():
        for on_cpu, on_gpu in zip(rows, losses[cuda][stage], strict=True):
            assert on_gpu == pytest.approx(on_cpu, rel=0.1), stage


def test_a_stage_starts_from_finished_weights_and_the_card_says_so(tiny: Path) -> None:
    out = tiny / "run"
    words = ("--images", str(tiny / "images"), "--config", str(tiny / "configs"))
    words = (*words, "--out", str(out), "--device", "cpu")
    # Of another size than the stage's YAML says: the file decides.
    network = NetworkConfig((4, 8, 8, 8), head_channels=16, descriptor_dim=32, batch_norm=False)
    given = ModelCard(name="given", config={"magicpoint": {"steps": 7}}, data=("somewhere",))
    given = save_weights(tiny / "given.safetensors", SuperPoint(network), given)
    other = save_weights(tiny / "other.safetensors", SuperPoint(network), given)
    assert train.run(parse("pseudo-labels", *words)) == 0  # corner votes need no network
    refine = parse("refine", *words, "--from", str(tiny / "given.safetensors"))
    assert train.run(refine) == 0
    (tiny / "given.safetensors").unlink()  # the run has its own copy
    assert train.run(parse("refine", *words)) == 0
    assert train.run(parse("export", *words)) == 0
    trained, refined = load_weights(out / "superpoint.safetensors")
    assert trained.config == network
    assert refined.parent == f"given {given.sha256}"
    assert set(refined.config) == {"refine", "pseudo-labels", "parent"}
    assert refined.config["parent"] == given.config
    assert refined.data[0] == "somewhere"
    small = parse("small", *words, "--from", str(tiny / "other.safetensors"))
    assert train.run(small) == 0
    # A run that is resumed has its copy.
    for start in (("--from", str(tiny / "other.safetensors")), ()):
        assert train.run(parse("wide", *words, *start)) == 0
    assert train.run(parse("export", *words)) == 0
    _, card = load_weights(out / "superpoint.safetensors")
    assert card.parent == f"given {other.sha256}"
    assert set(card.config) == {"wide", "pseudo-labels", "parent"}
    parents = [str(path) for path in (tiny / "other.safetensors", out / "superpoint.safetensors")]
    mean = ("--images", str(tiny / "images"), "--out", str(tiny / "mean"), "--from", *parents)
    assert train.run(parse("average", *mean)) == 0
    _, of_both = load_weights(tiny / "mean" / "superpoint.safetensors")
    assert of_both.parent == f"given {other.sha256}, superpoint {card.sha256}"
    assert of_both.metrics["warped-photos-ransac8/pairs"] == 2
    with pytest.raises(ConfigError, match="refine starts from one file"):
        train.run(parse("refine", *words, "--from", *parents))
    slim, slim_card = load_weights(out / "superpoint_small.safetensors")
    assert slim.config == network
    assert slim_card.parent == f"given {other.sha256}, superpoint {refined.sha256}"
    assert other.sha256 != given.sha256
    with pytest.raises(ConfigError, match="started from other weights"):
        train.run(parse("refine", *words, "--from", str(tiny / "other.safetensors")))
    (out / "refine" / "start.safetensors").unlink()
    with pytest.raises(ConfigError, match="has begun without --from"):
        train.run(parse("refine", *words, "--from", str(tiny / "other.safetensors")))


def save_teacher(path: Path, name: str, **more: str) -> ModelCard:
    torch.manual_seed(len(name))
    config = NetworkConfig((4, 4, 8, 8), head_channels=16, descriptor_dim=16)
    return save_weights(path, SuperPoint(config), ModelCard(name=name, **more))


def test_a_stage_goes_on_with_the_teacher_it_began_with_and_the_card_names_it(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, files = tiny / "run", [tiny / "a.safetensors", tiny / "other.safetensors"]
    words = ("--images", str(tiny / "images"), "--config", str(tiny / "configs"))
    words = (*words, "--out", str(out), "--device", "cpu")
    teacher = save_teacher(files[0], "a", licence="CC-BY-NC-4.0")
    other = save_teacher(files[1], "other", licence="MIT", descriptor_sampling="bicubic")
    assert train.run(parse("pseudo-labels", *words)) == 0
    assert train.run(parse("superpoint", *words, "--from", str(files[1]))) == 0
    (out / "superpoint").rename(out / "refine")
    # Killed after a step.
    whole = trainer.train
    monkeypatch.setattr(trainer, "train", partial(whole, stop_after=1))
    assert train.run(parse("wide", *words, "--teacher", str(files[0]))) == 0
    monkeypatch.setattr(trainer, "train", whole)
    with pytest.raises(ConfigError, match="wide: learns from other weights"):
        train.run(parse("wide", *words, "--teacher", str(files[1])))
    assert train.run(parse("wide", *words)) == 0
    checkpoint = load_checkpoint(out / "wide" / "last.pt")
    assert checkpoint is not None
    assert (checkpoint.step, checkpoint.mean) == (2, {})
    assert train.run(parse("export", *words)) == 0
    _, card = load_weights(out / "superpoint.safetensors")
    assert card.parent == f"other {other.sha256}, a {teacher.sha256}"
    assert f" Teacher of wide: a {teacher.sha256[:8]}." in card.notes
    assert card.licence == "MIT AND CC-BY-NC-4.0"
    assert card.descriptor_sampling == "bilinear"
    assert card.notes.endswith("The parent's descriptors were sampled bicubic.")
    # The slim network's teacher is the run's, and stays it.
    assert train.run(parse("small", *words)) == 0
    with pytest.raises(ConfigError, match="small: learns from other weights"):
        train.run(parse("small", *words, "--teacher", str(files[1])))
    save_teacher(out / "superpoint.safetensors", "later")
    assert train.run(parse("small", *words)) == 0
    _, small = load_weights(out / "superpoint_small.safetensors")
    assert (small.parent, small.licence) == (f"superpoint {card.sha256}", card.licence)
    # Older runs kept no copy.
    (out / "wide" / "teacher.safetensors").unlink()
    assert train.run(parse("wide", *words)) == 0
    assert train.run(parse("export", *words)) == 0
    _, card = load_weights(out / "superpoint.safetensors")
    assert " The teacher of wide is not known." in card.notes
    longer = (tiny / "configs" / "wide.yaml").read_text().replace("steps: 2", "steps: 3", 1)
    (tiny / "configs" / "wide.yaml").write_text(longer)
    with pytest.raises(ConfigError, match="has begun with a teacher: name it"):
        train.run(parse("wide", *words))


def test_a_stage_that_teaches_itself_takes_no_teacher_later(tiny: Path) -> None:
    words = ("--images", str(tiny / "images"), "--config", str(tiny / "configs"))
    words = (*words, "--out", str(tiny / "run"), "--device", "cpu")
    save_teacher(tiny / "a.safetensors", "a")
    assert train.run(parse("pseudo-labels", *words)) == 0
    assert train.run(parse("wide", *words, "--from", str(tiny / "a.safetensors"))) == 0
    with pytest.raises(ConfigError, match="has begun without --teacher"):
        train.run(parse("wide", *words, "--teacher", str(tiny / "a.safetensors")))
    wide = (tiny / "configs" / "wide.yaml").read_text()
    labels_only = wide.replace("is_distilled: true", "is_distilled: false")
    (tiny / "configs" / "wide.yaml").write_text(labels_only)
    with pytest.raises(ConfigError, match=r"--teacher: wide\.yaml has is_distilled: false"):
        train.run(parse("wide", *words, "--teacher", str(tiny / "a.safetensors")))
    assert train.run(parse("export", *words)) == 0
    _, card = load_weights(tiny / "run" / "superpoint.safetensors")
    assert "eacher" not in card.notes


def test_a_share_of_the_schedule_is_trained_and_the_checkpoint_says_so(tiny: Path) -> None:
    long = (NETWORK + "shapes: {height: 48, width: 64}\n").replace("steps: 2", "steps: 8")
    long += "freeze_after: 6\nfrozen_layers: [1a]\n"
    (tiny / "configs" / "magicpoint.yaml").write_text(long)
    words = ("--config", str(tiny / "configs"), "--out", str(tiny / "run"), "--device", "cpu")
    assert train.run(parse("magicpoint", *words, "--schedule", "0.5")) == 0
    checkpoint = load_checkpoint(tiny / "run" / "magicpoint" / "last.pt")
    assert checkpoint is not None
    assert checkpoint.step == 4
    counts = ("steps", "warmup_steps", "freeze_after", "teacher_steps")
    assert [checkpoint.config[name] for name in counts] == [4, 50, 3, 250]
    with pytest.raises(ConfigError, match="give the --schedule that it began with"):
        train.run(parse("magicpoint", *words, "--schedule", "0.25"))
    for share in ("0", "-1", "nan"):
        with pytest.raises(ConfigError, match=f"--schedule {share}: must be a positive number"):
            train.run(parse("magicpoint", *words, "--schedule", share))
    for stage in ("pseudo-labels", "relabel", "export"):
        with pytest.raises(ConfigError, match=f"--schedule: {stage} trains nothing"):
            train.run(parse(stage, *words, "--schedule", "0.5"))


def test_a_stage_starts_from_a_finished_one(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tiny / "run"
    words = ("--images", str(tiny / "images"), "--config", str(tiny / "configs"))
    words = (*words, "--out", str(out), "--device", "cpu")
    whole = trainer.train

    def kill(stage: str) -> None:
        """Run one step of two."""
        monkeypatch.setattr(trainer, "train", partial(whole, stop_after=1))
        assert train.run(parse(stage, *words)) == 0
        monkeypatch.setattr(trainer, "train", whole)

    kill("magicpoint")
    corners = (tiny / "configs" / "pseudo_labels.yaml").read_text()
    (tiny / "configs" / "pseudo_labels.yaml").write_text("teacher: network\nwarps: 3\n")
    for stage in ("pseudo-labels", "superpoint", "losses"):
        with pytest.raises(ConfigError, match="magicpoint is at step 1 of 2: run `superpoint tra"):
            train.run(parse(stage, *words))
        (tiny / "configs" / "pseudo_labels.yaml").write_text(corners)
        assert train.run(parse("pseudo-labels", *words)) == 0
    assert train.run(parse("magicpoint", *words)) == 0
    kill("superpoint")
    capsys.readouterr()
    assert train.run(parse("export", *words)) == 0
    assert "superpoint, step 1 of 2" in capsys.readouterr().err
    # What has begun goes on, whatever became of the stage before.
    (out / "magicpoint" / "last.pt").unlink()
    kill("magicpoint")
    assert train.run(parse("superpoint", *words)) == 0
    assert train.run(parse("refine", *words)) == 0
    with pytest.raises(ConfigError, match="run `superpoint train retrain --rounds 2` first"):
        train.run(parse("relabel", *words, "--rounds", "3"))


def test_a_stage_goes_on_with_the_network_of_the_one_before(tiny: Path) -> None:
    words = ("--images", str(tiny / "images"), "--config", str(tiny / "configs"))
    words = (*words, "--out", str(tiny / "run"), "--device", "cpu")
    slim = NetworkConfig((4, 8, 8, 8), head_channels=16, descriptor_dim=32)
    save_weights(tiny / "slim.safetensors", SuperPoint(slim), ModelCard())
    assert train.run(parse("pseudo-labels", *words)) == 0
    assert train.run(parse("refine", *words, "--from", str(tiny / "slim.safetensors"))) == 0
    with pytest.raises(ConfigError, match=r"network: .*refine has another.*then --from FILE"):
        train.run(parse("wide", *words))
    (tiny / "run" / "refine").rename(tiny / "run" / "wide")
    for _ in range(2):  # the second goes on
        assert train.run(parse("settle", *words)) == 0


def card_photos(card: ModelCard) -> int:
    return int(next(text for text in card.data if "photos labelled" in text).split()[0])


def test_a_stage_that_lacks_what_it_needs_says_so(tiny: Path) -> None:
    words = ("--config", str(tiny / "configs"), "--out", str(tiny / "run"), "--device", "cpu")
    (tiny / "configs" / "pseudo_labels.yaml").write_text("teacher: network\n")
    with pytest.raises(ConfigError, match="magicpoint"):
        train.run(parse("pseudo-labels", *words, "--images", str(tiny / "images")))
    with pytest.raises(ConfigError, match="refine"):
        train.run(parse("relabel", *words, "--rounds", "2", "--images", str(tiny / "images")))
    with pytest.raises(ConfigError, match="--from: all does not"):
        train.run(parse("all", *words, "--from", "full"))
    for stage in ("superpoint", "average", "export"):
        with pytest.raises(ConfigError, match=f"--teacher: {stage} does not; all, small, wide"):
            train.run(parse(stage, *words, "--teacher", "full"))
    with pytest.raises(ConfigError, match="--images"):
        train.run(parse("superpoint", *words))
    with pytest.raises(ConfigError, match="--rounds 1: must be at least 2"):
        train.run(parse("relabel", *words))


KEPT = "teacher_steps: 0\nkept_share: 0.5"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--images", "images", "--teacher", "nope.safetensors"), "nope.safetensors"),
        (("--images", "nowhere"), "nowhere: is not a folder"),
        ((), "name their folder with --images"),
        (("--images", "images", "stepz: 3"), "stepz: unknown"),
        (("--images", "images", "--teacher", "full", KEPT), "wide.yaml has kept_share"),
        (("--images", "images", "manifest"), "is no CSV in UTF-8"),
    ],
)
def test_a_mistake_shows_before_the_first_stage_of_the_chain(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], words: str
) -> None:
    monkeypatch.chdir(tiny)
    for line in {"stepz: 3", KEPT} & set(options):
        with (tiny / "configs" / "wide.yaml").open("a") as stream:
            stream.write(line + "\n")
    if "manifest" in options:
        (tiny / "images" / "manifest.csv").write_bytes(b"file,source,licence\n\xfc.png,a,b\n")
    options = tuple(each for each in options if each not in ("stepz: 3", KEPT, "manifest"))
    with pytest.raises((ConfigError, WeightsError), match=words):
        train.run(parse("all", "--config", "configs", "--out", "run", "--device", "cpu", *options))
    assert not (tiny / "run").exists()


def test_a_batch_too_small_for_the_processes_shows_before_the_first_stage(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def join_three(device: str) -> Iterator[None]:
        monkeypatch.setattr(distributed, "process_count", lambda: 3)
        yield

    monkeypatch.setattr(distributed, "joined_processes", join_three)
    shapes = NETWORK.replace("batch_size: 2", "batch_size: 4")
    (tiny / "configs" / "magicpoint.yaml").write_text(shapes)
    words = ("all", "--images", str(tiny / "images"), "--config", str(tiny / "configs"))
    with pytest.raises(ConfigError, match=r"superpoint\.yaml: batch_size: 2 .* for 3 processes"):
        train.run(parse(*words, "--out", str(tiny / "run"), "--device", "cpu"))
    assert not (tiny / "run").exists()


def test_a_round_that_there_is_not_is_not_written(tiny: Path) -> None:
    words = ("--config", str(tiny / "configs"), "--out", str(tiny / "run"), "--device", "cpu")
    train.run(parse("magicpoint", *words))
    with pytest.raises(ConfigError, match=r"--rounds 5: .*run has 1"):
        train.run(parse("export", *words, "--rounds", "5"))
    with pytest.raises(ConfigError, match="--rounds: magicpoint has none; all, relabel"):
        train.run(parse("magicpoint", *words, "--rounds", "3"))
    train.run(parse("export", *words))
    made = tiny / "run" / "superpoint.safetensors"
    before = file_sha256(made)
    with pytest.raises(ConfigError, match="is one of --from; choose another folder"):
        train.run(parse("average", *words, "--from", str(made), str(made)))
    assert file_sha256(made) == before


def test_torchrun_leaves_all_options_to_us() -> None:
    # It reads what follows the module's name, too, and takes a prefix of an option for the option.
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)
    ours = [word for word in parser._option_string_actions if word.startswith("--")]
    theirs = get_args_parser()._option_string_actions
    taken = [word for word in ours if any(other.startswith(word) for other in theirs)]
    assert "--from" in ours
    assert taken == ["--help"]


def test_the_shipped_configs_are_legal() -> None:
    others = {
        "pseudo_labels": AdaptationConfig,
        "relabel": AdaptationConfig,
        "finetune": FinetuneConfig,
    }
    configs = {
        path.stem: load_yaml(others.get(path.stem, TrainConfig), path)
        for path in sorted((share_folder() / "config" / "train").glob("*.yaml"))
    }
    stages = ("magicpoint", "superpoint", "refine", "retrain", "wide", "settle", "small", "losses")
    assert configs.keys() == {*stages, *others}
    assert configs["magicpoint"].source == "shapes"
    for name in stages[1:]:
        assert configs[name].is_joint, name
    assert configs["wide"].is_distilled
    assert configs["settle"].loss == configs["wide"].loss
    assert configs["settle"].kept_share == 0.5
    assert configs["pseudo_labels"].warps > 1
    assert configs["relabel"].teacher == "network"
    assert configs["finetune"].training.is_distilled


def test_an_installed_package_has_its_settings_in_its_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = tmp_path / "install" / "superpoint_ros"  # of colcon: not the prefix of Python
    configs = prefix / "share" / "superpoint_ros" / "config" / "train"
    configs.mkdir(parents=True)
    (configs / "magicpoint.yaml").write_text("stepz: 1\n")
    modules = prefix / "lib" / "python3.12" / "site-packages" / "superpoint_ros"
    monkeypatch.setattr(graph, "__file__", str(modules / "graph.py"))
    with pytest.raises(ConfigError, match="stepz"):
        train.run(parse("magicpoint", "--out", str(tmp_path / "run")))


def test_the_small_network_does_a_sixth_of_the_work_at_most() -> None:
    def count_operations(config: NetworkConfig) -> int:
        with FlopCounterMode(display=False) as counter:
            SuperPoint(config).eval()(torch.zeros(1, 1, 48, 80))
        return counter.get_total_flops()

    small = load_yaml(TrainConfig, config_file("train/small.yaml"))
    assert small.is_distilled
    assert 6 * count_operations(small.network) < count_operations(NetworkConfig())


def test_a_run_that_was_killed_and_met_a_full_disk_ends_on_the_same_curve(tiny: Path) -> None:
    config = NETWORK.replace("steps: 2", "steps: 120") + (
        "shapes: {height: 48, width: 64}\nlog_every: 4\ncheckpoint_every_s: 0.0\n"
    )
    (tiny / "configs" / "magicpoint.yaml").write_text(config)
    words = ("magicpoint", "--config", str(tiny / "configs"), "--device", "cpu", "--threads", "1")
    broken, last = (*words, "--out", str(tiny / "broken")), tiny / "broken/magicpoint/last.pt"
    command = [sys.executable, "-m", "superpoint_ros", "train", *broken]
    # kill -9 somewhere in the middle.
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while process.poll() is None and not (last.is_file() and load_checkpoint(last).step >= 20):
        time.sleep(0.01)
    process.kill()
    process.wait()
    killed_at = load_checkpoint(last).step
    # No space for another checkpoint: a limit on the size of a file needs no other disk.
    limit = last.stat().st_size // 2
    answer = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert answer.returncode == 2, answer.stderr
    assert answer.stderr.splitlines()[-1].startswith(f"superpoint: {last}: ")
    assert "last one is kept" in answer.stderr.splitlines()[-1]
    assert load_checkpoint(last).step == killed_at
    # And on to the end; nothing half written stays.
    assert train.run(parse(*broken)) == 0
    assert train.run(parse(*words, "--out", str(tiny / "whole"))) == 0
    assert not list(last.parent.glob(".*"))
    whole, resumed = load_checkpoint(tiny / "whole/magicpoint/last.pt"), load_checkpoint(last)
    assert resumed.history == whole.history, f"killed at step {killed_at}"
    assert len(whole.history) == 30
    for key, value in whole.network.items():
        assert torch.equal(resumed.network[key], value), f"{key}, killed at step {killed_at}"
