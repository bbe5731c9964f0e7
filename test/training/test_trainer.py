# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from superpoint_ros.config import ConfigError
from superpoint_ros.files import sole_use
from superpoint_ros.network.superpoint import SuperPoint
from superpoint_ros.training import provenance, trainer
from superpoint_ros.training.checkpoint import CHECKPOINT_NAME
from superpoint_ros.training.datasets import LabelledPhotos
from superpoint_ros.training.objective import compute_losses
from superpoint_ros.training.optimizer import Optimizer
from superpoint_ros.training.provenance import make_card
from superpoint_ros.training.stage import LossConfig, TrainConfig
from superpoint_ros.training.trainer import DivergenceError, make_source, train


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_killed_run_resumes_to_the_same_weights_and_curve(
    tmp_path: Path, optimizer: str, stage: TrainConfig
) -> None:
    config = dataclasses.replace(stage, optimizer=optimizer)
    source = make_source(config, None)
    whole = train(config, source, tmp_path / "whole")
    train(config, source, tmp_path / "parts", stop_after=6)
    parts = train(config, source, tmp_path / "parts")
    assert parts.history == whole.history
    assert [row["step"] for row in whole.history] == [3, 6, 9, 12]
    for key, value in whole.network.items():
        assert torch.equal(parts.network[key], value), key
    assert parts.is_finished


@pytest.mark.gpu
def test_a_run_on_cuda_resumes_in_bf16_with_muon_and_a_moving_teacher(
    cuda: str, tmp_path: Path, photos: LabelledPhotos, joint_stage: TrainConfig
) -> None:
    config = dataclasses.replace(
        joint_stage,
        is_distilled=True,
        optimizer="muon",
        precision="bf16",
        frozen_layers=("1a",),
        freeze_after=2,
        steps=4,
        log_every=1,
    )
    source = make_source(config, photos)
    on_cpu = train(config, source, tmp_path / "cpu")
    train(config, source, tmp_path / cuda, device=cuda, stop_after=2)
    on_gpu = train(config, source, tmp_path / cuda, device=cuda)
    for ours, theirs in zip(on_gpu.history, on_cpu.history, strict=True):
        assert ours == pytest.approx(theirs, rel=0.1)


def test_resuming_with_another_config_is_refused(tmp_path: Path, stage: TrainConfig) -> None:
    train(stage, make_source(stage, None), tmp_path, stop_after=3)
    other = dataclasses.replace(stage, learning_rate=0.5)
    with pytest.raises(ConfigError, match="learning_rate"):
        train(other, make_source(other, None), tmp_path)


def test_two_trainings_in_one_folder_are_told_apart(tmp_path: Path, stage: TrainConfig) -> None:
    with (
        sole_use(tmp_path / "run"),
        pytest.raises(BlockingIOError, match=r"in use by another process.*run"),
    ):
        train(stage, make_source(stage, None), tmp_path / "run", stop_after=3)
    assert train(stage, make_source(stage, None), tmp_path / "run", stop_after=3).step == 3


def test_a_checkpoint_keeps_what_code_and_machine_trained_it(
    tmp_path: Path, stage: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, source = tmp_path / "magicpoint", make_source(stage, None)
    for commit, hardware, steps in (("a", "one", 3), ("a", "two", 6), ("b", "two", 12)):
        monkeypatch.setattr(trainer, "find_commit", lambda commit=commit: commit)
        monkeypatch.setattr(trainer, "describe_hardware", lambda hardware=hardware: hardware)
        train(stage, source, out, stop_after=steps)
    for module in (trainer, provenance):  # of an export, later
        monkeypatch.setattr(module, "find_commit", lambda: "c")
        monkeypatch.setattr(module, "describe_hardware", lambda: "three")
    state = train(stage, source, out)  # nothing is left to do
    assert (state.commits, state.hardware) == (["a", "b"], ["one", "two"])
    card = make_card(tmp_path, stages=("magicpoint",))
    assert (card.commit, card.hardware) == ("a, b", "one; two")
    # Older checkpoints do not say.
    fields = torch.load(out / CHECKPOINT_NAME, weights_only=True)
    del fields["commits"], fields["hardware"]
    torch.save(fields, out / CHECKPOINT_NAME)
    card = make_card(tmp_path, stages=("magicpoint",))
    assert (card.commit, card.hardware) == ("c", "three")


@pytest.mark.parametrize("decay_share", [0.0, 0.5])
def test_a_longer_run_goes_on_until_the_rate_has_begun_to_fall(
    tmp_path: Path, decay_share: float, stage: TrainConfig
) -> None:
    short = dataclasses.replace(stage, steps=6, decay_share=decay_share)
    long = dataclasses.replace(short, steps=12)
    source = make_source(stage, None)
    whole = train(long, source, tmp_path / "whole")
    # At step 3 no rate has fallen. At the end it has not either where it never falls.
    ends = [3] if decay_share else [3, 6]
    for end in ends:
        folder = tmp_path / f"parts{end}"
        assert train(short, source, folder, stop_after=end).is_finished == (end == 6)
        parts = train(long, source, folder)
        assert parts.step == 12
        assert parts.is_finished
        assert parts.history == whole.history
        for key, value in whole.network.items():
            assert torch.equal(parts.network[key], value), key
    if decay_share:
        for end in (5, 6):
            folder = tmp_path / f"fallen{end}"
            train(short, source, folder, stop_after=end)
            with pytest.raises(ConfigError, match=f"{end} steps of 6 are done.* set steps: 6 and"):
                train(long, source, folder)
            assert train(short, source, folder).step == 6
    # What is longer than asked for is done.
    assert train(short, source, tmp_path / "whole").step == 12


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("descriptor", ["contrastive", "hinge", "hinge_normalised"])
def test_ten_steps_on_one_batch_lower_every_loss(
    tmp_path: Path, descriptor: str, optimizer: str, photos: LabelledPhotos, stage: TrainConfig
) -> None:
    config = dataclasses.replace(
        stage,
        source="photos",
        is_joint=True,
        steps=10,
        shapes_per_step=2,
        optimizer=optimizer,
        learning_rate=3e-3,
        log_every=1,
        loss=LossConfig(descriptor=descriptor),
    )
    assert photos.skipped == ["broken.jpg"]
    assert len(photos) == 4
    batch = make_source(config, photos)(0)
    history = train(config, lambda step: batch, tmp_path / "run").history
    for name in ("detector", "shapes", "descriptor"):
        assert history[-1][name] < history[0][name]


def test_a_narrower_network_learns_from_a_teacher_not_from_labels(
    tmp_path: Path, photos: LabelledPhotos, stage: TrainConfig
) -> None:
    config = dataclasses.replace(
        stage, source="photos", is_joint=True, is_distilled=True, steps=15, learning_rate=1e-2,
        log_every=1, network=dataclasses.replace(stage.network, descriptor_dim=8),
    )  # fmt: skip
    torch.manual_seed(1)
    teacher = SuperPoint(stage.network).eval()
    batch = make_source(config, photos)(0)
    history = train(config, lambda step: batch, tmp_path / "run", teacher=teacher).history
    for name in ("detector", "similarity"):
        assert history[-1][name] < history[0][name]
    # Labels change nothing.
    network = SuperPoint(config.network)
    a = batch.a._replace(mass=torch.zeros_like(batch.a.mass))
    terms = compute_losses(network.eval(), batch, config, teacher)
    unlabelled = compute_losses(network, batch._replace(a=a), config, teacher)
    assert torch.equal(terms["detector"], unlabelled["detector"])


def test_a_network_learns_from_the_running_mean_of_itself_also_after_a_stop(
    tmp_path: Path, photos: LabelledPhotos, joint_stage: TrainConfig
) -> None:
    config = dataclasses.replace(
        joint_stage, is_distilled=True, teacher_steps=4, learning_rate=1e-2, steps=6, log_every=1
    )
    source = make_source(config, photos)
    whole = train(config, source, tmp_path / "whole")
    train(config, source, tmp_path / "parts", stop_after=3)
    parts = train(config, source, tmp_path / "parts")
    assert parts.history == whole.history
    for key, value in whole.network.items():
        assert torch.equal(parts.network[key], value), key
    # Its teacher moves: a fixed one, the same at first, asks for something else later.
    torch.manual_seed(config.seed)
    start = SuperPoint(config.network)
    fixed = train(config, source, tmp_path / "fixed", teacher=start)
    assert fixed.history[0] == whole.history[0]
    assert fixed.history[-1]["similarity"] != whole.history[-1]["similarity"]


def test_a_network_is_taught_by_its_start_also_after_a_stop(
    tmp_path: Path, photos: LabelledPhotos, joint_stage: TrainConfig
) -> None:
    config = dataclasses.replace(
        joint_stage, is_distilled=True, teacher_steps=0, learning_rate=1e-2, steps=6, log_every=1
    )
    source = make_source(config, photos)
    torch.manual_seed(config.seed)
    start = SuperPoint(config.network)
    whole = train(config, source, tmp_path / "whole")
    fixed = train(config, source, tmp_path / "fixed", teacher=start)
    assert whole.history == fixed.history
    for key, value in start.state_dict().items():
        assert torch.equal(whole.mean[key], value), key
    train(config, source, tmp_path / "parts", stop_after=3)
    assert train(config, source, tmp_path / "parts").history == whole.history


def test_what_is_kept_of_the_start_needs_a_teacher_that_stays(joint_stage: TrainConfig) -> None:
    dataclasses.replace(joint_stage, is_distilled=True, teacher_steps=0, kept_share=0.5)
    for change in ({"is_distilled": True}, {"teacher_steps": 0}):
        with pytest.raises(ConfigError, match="kept_share: needs is_distilled: true and teacher"):
            dataclasses.replace(joint_stage, **change, kept_share=0.5)
    unmoved = dataclasses.replace(joint_stage, is_distilled=True, teacher_steps=0)
    assert unmoved.with_schedule(0.5).teacher_steps == 0


def test_no_other_teacher_beside_one_that_is_kept(
    tmp_path: Path, photos: LabelledPhotos, joint_stage: TrainConfig
) -> None:
    config = dataclasses.replace(
        joint_stage, is_distilled=True, teacher_steps=0, kept_share=0.5, steps=2
    )
    teacher = SuperPoint(config.network)
    with pytest.raises(ConfigError, match="kept_share: needs the start as teacher"):
        train(config, make_source(config, photos), tmp_path / "run", teacher=teacher)


def test_the_running_mean_of_a_checkpoint_by_hand(
    tmp_path: Path, photos: LabelledPhotos, joint_stage: TrainConfig
) -> None:
    config = dataclasses.replace(joint_stage, is_distilled=True, teacher_steps=4)
    source = make_source(config, photos)
    torch.manual_seed(config.seed)
    expected = SuperPoint(config.network).state_dict()
    for step in (1, 2):
        state = train(config, source, tmp_path, stop_after=step)
        for key, value in state.network.items():
            is_mean = value.is_floating_point()
            expected[key] = 0.75 * expected[key] + 0.25 * value if is_mean else value
    for key, value in state.mean.items():
        torch.testing.assert_close(value, expected[key], msg=key)


def test_every_step_has_its_rate_and_no_gradient_beyond_the_limit(
    tmp_path: Path, stage: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(
        stage, steps=6, decay_share=0.5, learning_rate=1e-2, gradient_clip=1e-3, optimizer="muon"
    )
    seen, step = [], Optimizer.step

    def record(optimizer: Optimizer) -> None:
        groups = [group for part in optimizer._parts for group in part.param_groups]
        kernels = [kernel for kernel, _ in optimizer._kernels]
        gradients = [p.grad for p in [*kernels, *groups[0]["params"]] if p.grad is not None]
        norm = torch.stack([gradient.square().sum() for gradient in gradients]).sum().sqrt()
        seen.append(([group["lr"] for group in groups], float(norm)))
        step(optimizer)

    monkeypatch.setattr(Optimizer, "step", record)
    train(config, make_source(config, None), tmp_path)
    rates = np.array([rates for rates, _ in seen])
    expected = 1e-2 * np.array([1 / 2, 1, 1, 1, 2 / 3, 1 / 3])  # both of AdamW and of Muon
    np.testing.assert_allclose(rates, np.stack([expected, expected], 1))
    assert [norm for _, norm in seen] == pytest.approx([1e-3] * 6, rel=0.01)


def test_a_resumed_run_adds_to_the_time_before(tmp_path: Path, stage: TrainConfig) -> None:
    source = make_source(stage, None)
    train(stage, source, tmp_path, stop_after=1)
    fields = torch.load(tmp_path / CHECKPOINT_NAME, weights_only=True)
    torch.save({**fields, "wall_time_s": 1000.0}, tmp_path / CHECKPOINT_NAME)
    assert 1000.0 < train(stage, source, tmp_path, stop_after=2).wall_time_s < 2000.0


def test_a_loss_that_is_not_finite_is_skipped_counted_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, stage: TrainConfig
) -> None:
    source = make_source(stage, None)

    def poisoned(step: int):
        batch = source(step)
        if step != 4:
            return batch
        images = torch.full_like(batch.a.images, float("nan"))
        return batch._replace(names=("bad.jpg",), a=batch.a._replace(images=images))

    state = train(stage, poisoned, tmp_path)
    assert state.skipped_steps == [4]
    assert "bad.jpg" in caplog.text
    for key, value in state.network.items():
        assert torch.isfinite(value).all(), key


def test_a_training_that_comes_apart_ends_with_advice(tmp_path: Path, stage: TrainConfig) -> None:
    config = dataclasses.replace(stage, steps=40)
    batch = make_source(config, None)(0)
    nothing = batch._replace(a=batch.a._replace(images=torch.full_like(batch.a.images, torch.nan)))
    with pytest.raises(DivergenceError, match=r"20 losses in a row.*lower learning_rate"):
        train(config, lambda step: nothing, tmp_path)


def test_frozen_layers_stay_as_they_were(tmp_path: Path, stage: TrainConfig) -> None:
    config = dataclasses.replace(stage, frozen_layers=("1a",), freeze_after=0)
    torch.manual_seed(config.seed)
    before = SuperPoint(config.network).state_dict()
    after = train(config, make_source(config, None), tmp_path).network
    for key in ("conv1a.weight", "bn1a.running_mean"):
        assert torch.equal(before[key], after[key])
    assert not torch.equal(before["conv1b.weight"], after["conv1b.weight"])
