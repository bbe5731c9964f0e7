# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from superpoint_ros.config import ConfigError
from superpoint_ros.files import sole_use
from superpoint_ros.network.superpoint import NetworkConfig, SuperPoint
from superpoint_ros.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from superpoint_ros.training.datasets import LabelledPhotos, PhotoConfig, label_path
from superpoint_ros.training.homographies import warp_points_batch
from superpoint_ros.training.objective import compute_losses
from superpoint_ros.training.shapes import ShapeConfig
from superpoint_ros.training.stage import LossConfig, TrainConfig, learning_rate_at
from superpoint_ros.training.trainer import DivergenceError, make_source, train

TINY = NetworkConfig(
    encoder_channels=(4, 4, 8, 8), head_channels=16, descriptor_dim=16, batch_norm=True
)
CONFIG = TrainConfig(
    steps=12,
    batch_size=2,
    warmup_steps=2,
    log_every=3,
    checkpoint_every_s=0.0,
    precision="fp32",
    network=TINY,
    shapes=ShapeConfig(height=48, width=80),
    photos=PhotoConfig(height=48, width=80, points=32),
)
JOINT = dataclasses.replace(CONFIG, source="photos", is_joint=True)


def make_photos(folder: Path) -> LabelledPhotos:
    rng = np.random.default_rng(0)
    images, labels = folder / "images", folder / "labels"
    images.mkdir(parents=True, exist_ok=True)
    labels.mkdir(exist_ok=True)
    for index in range(4):
        photo = rng.integers(0, 255, (10, 16), np.uint8)
        path = images / f"p{index}.png"
        cv2.imwrite(str(path), cv2.resize(photo, (128, 80), interpolation=cv2.INTER_CUBIC))
        np.savez(
            label_path(labels, images, path),
            keypoints=rng.uniform(5, 75, (40, 2)).astype(np.float32),
            scores=np.linspace(1, 0.1, 40, dtype=np.float32),
        )
    (images / "broken.jpg").write_bytes(b"not a photo")
    np.savez(label_path(labels, images, images / "broken.jpg"), keypoints=[], scores=[])
    return LabelledPhotos(images, labels, CONFIG.photos)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_killed_run_resumes_to_the_same_weights_and_curve(
    tmp_path: Path, optimizer: str
) -> None:
    config = dataclasses.replace(CONFIG, optimizer=optimizer)
    source = make_source(config, None)
    whole = train(config, source, tmp_path / "whole")
    train(config, source, tmp_path / "parts", stop_after=6)
    parts = train(config, source, tmp_path / "parts")
    assert parts.history == whole.history
    assert [row["step"] for row in whole.history] == [3, 6, 9, 12]
    for key, value in whole.network.items():
        assert torch.equal(parts.network[key], value), key
    assert parts.is_finished


def test_resuming_with_another_config_is_refused(tmp_path: Path) -> None:
    train(CONFIG, make_source(CONFIG, None), tmp_path, stop_after=3)
    other = dataclasses.replace(CONFIG, learning_rate=0.5)
    with pytest.raises(ConfigError, match="learning_rate"):
        train(other, make_source(other, None), tmp_path)


def test_two_trainings_in_one_folder_are_told_apart(tmp_path: Path) -> None:
    with (
        sole_use(tmp_path / "run"),
        pytest.raises(BlockingIOError, match=r"in use by another process.*run"),
    ):
        train(CONFIG, make_source(CONFIG, None), tmp_path / "run", stop_after=3)
    assert train(CONFIG, make_source(CONFIG, None), tmp_path / "run", stop_after=3).step == 3


def test_settings_that_a_teacher_overrules_are_refused() -> None:
    for loss in (LossConfig(unmatched_weight=0.3), LossConfig(other_view_weight=0.8)):
        with pytest.raises(
            ConfigError, match=r"unmatched_weight at 1 and .*other_view_weight at 0"
        ):
            TrainConfig(source="photos", is_joint=True, is_distilled=True, loss=loss)


@pytest.mark.parametrize("decay_share", [0.0, 0.5])
def test_a_longer_run_goes_on_until_the_rate_has_begun_to_fall(
    tmp_path: Path, decay_share: float
) -> None:
    short = dataclasses.replace(CONFIG, steps=6, decay_share=decay_share)
    long = dataclasses.replace(short, steps=12)
    source = make_source(CONFIG, None)
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
    tmp_path: Path, descriptor: str, optimizer: str
) -> None:
    config = dataclasses.replace(
        CONFIG,
        source="photos",
        is_joint=True,
        steps=10,
        shapes_per_step=2,
        optimizer=optimizer,
        learning_rate=3e-3,
        log_every=1,
        loss=LossConfig(descriptor=descriptor),
    )
    photos = make_photos(tmp_path)
    assert photos.skipped == ["broken.jpg"]
    assert len(photos) == 4
    batch = make_source(config, photos)(0)
    history = train(config, lambda step: batch, tmp_path / "run").history
    for name in ("detector", "shapes", "descriptor"):
        assert history[-1][name] < history[0][name]


def test_a_narrower_network_learns_from_a_teacher_not_from_labels(tmp_path: Path) -> None:
    config = dataclasses.replace(
        CONFIG, source="photos", is_joint=True, is_distilled=True, steps=15, learning_rate=1e-2,
        log_every=1, network=dataclasses.replace(TINY, descriptor_dim=8),
    )  # fmt: skip
    torch.manual_seed(1)
    teacher = SuperPoint(TINY).eval()
    batch = make_source(config, make_photos(tmp_path))(0)
    history = train(config, lambda step: batch, tmp_path / "run", teacher=teacher).history
    for name in ("detector", "similarity"):
        assert history[-1][name] < history[0][name]
    # Labels change nothing.
    network = SuperPoint(config.network)
    a = batch.a._replace(mass=torch.zeros_like(batch.a.mass))
    terms = compute_losses(network.eval(), batch, config, teacher)
    unlabelled = compute_losses(network, batch._replace(a=a), config, teacher)
    assert torch.equal(terms["detector"], unlabelled["detector"])
    with pytest.raises(ConfigError, match="teacher"):
        train(config, lambda step: batch, tmp_path / "none")


def test_a_teacher_shows_where_both_views_agree_at_several_sizes(tmp_path: Path) -> None:
    config = dataclasses.replace(
        JOINT, is_distilled=True, teacher_scales=(1.0, 0.5), loss=LossConfig(agreed_share=0.9)
    )
    torch.manual_seed(1)
    teacher, network = SuperPoint(TINY).eval(), SuperPoint(TINY).eval()
    batch = make_source(config, make_photos(tmp_path))(0)
    terms = compute_losses(network, batch, config, teacher)
    a = batch.a._replace(mass=torch.zeros_like(batch.a.mass))
    unlabelled = compute_losses(network, batch._replace(a=a), config, teacher)
    assert not torch.equal(terms["detector"], unlabelled["detector"])  # a tenth is labels
    one_size = dataclasses.replace(config, teacher_scales=(1.0,))
    alone = compute_losses(network, batch, one_size, teacher)
    for name in ("detector", "similarity"):
        assert not torch.equal(terms[name], alone[name])
    # At one size a teacher has no similarities to teach itself.
    itself = compute_losses(teacher, batch, one_size, teacher)
    assert itself["similarity"].item() < 1e-9
    for scales in ((), (0.5, 1.0)):
        with pytest.raises(ConfigError, match="teacher_scales"):
            dataclasses.replace(config, teacher_scales=scales)


def test_a_loss_that_is_not_finite_is_skipped_counted_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = make_source(CONFIG, None)

    def poisoned(step: int):
        batch = source(step)
        if step != 4:
            return batch
        images = torch.full_like(batch.a.images, float("nan"))
        return batch._replace(names=("bad.jpg",), a=batch.a._replace(images=images))

    state = train(CONFIG, poisoned, tmp_path)
    assert state.skipped_steps == [4]
    assert "bad.jpg" in caplog.text
    for key, value in state.network.items():
        assert torch.isfinite(value).all(), key


def test_a_training_that_comes_apart_ends_with_advice(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, steps=40)
    batch = make_source(config, None)(0)
    nothing = batch._replace(a=batch.a._replace(images=torch.full_like(batch.a.images, torch.nan)))
    with pytest.raises(DivergenceError, match=r"20 losses in a row.*lower learning_rate"):
        train(config, lambda step: nothing, tmp_path)


def test_both_views_of_a_batch_agree_about_every_point(tmp_path: Path) -> None:
    batch = make_source(JOINT, make_photos(tmp_path))(3)
    assert batch.a.images.shape == (2, 1, 48, 80)
    for item in range(2):
        points = batch.points_a[item][batch.is_point[item]].double()
        H = batch.H_b_a[item].double()
        mapped = torch.cat([points, torch.ones_like(points[:, :1])], 1) @ H.T
        mapped = mapped[:, :2] / mapped[:, 2:]
        expected = batch.points_b[item][batch.is_point[item]].double()
        torch.testing.assert_close(mapped, expected, atol=1e-3, rtol=0)


def test_jitter_moves_correspondences_and_nothing_else(tmp_path: Path) -> None:
    photos = make_photos(tmp_path)
    exact = make_source(JOINT, photos)(0)
    jittered = dataclasses.replace(JOINT.photos, jitter_px=0.5)
    off = make_source(dataclasses.replace(JOINT, photos=jittered), photos)(0)
    assert torch.equal(exact.a.images, off.a.images)
    assert torch.equal(exact.b.mass, off.b.mass)
    for one, other in ((exact.points_a, off.points_a), (exact.points_b, off.points_b)):
        error = (other - one)[exact.is_point]
        assert float(error.std()) == pytest.approx(0.5, abs=0.1)
        assert float(error.mean()) == pytest.approx(0.0, abs=0.15)


def test_wandering_views_move_together(tmp_path: Path) -> None:
    photos = make_photos(tmp_path)
    still = make_source(JOINT, photos)(0)
    wander = dataclasses.replace(JOINT.photos, wander=0.3)
    moved = make_source(dataclasses.replace(JOINT, photos=wander), photos)(0)
    torch.testing.assert_close(still.H_b_a, moved.H_b_a, atol=1e-3, rtol=1e-4)
    assert not torch.equal(still.a.mass, moved.a.mass)


def test_near_views_differ_little(tmp_path: Path) -> None:
    near = dataclasses.replace(JOINT.photos, near_share=1.0)
    batch = make_source(dataclasses.replace(JOINT, photos=near), make_photos(tmp_path))(0)
    assert batch.H_b_a is not None
    height, width = batch.a.images.shape[2:]
    corners = torch.tensor([[0.0, 0], [width - 1, 0], [0, height - 1], [width - 1, height - 1]])
    moved = warp_points_batch(batch.H_b_a, corners.expand(len(batch.H_b_a), -1, -1))
    config = near.view_near
    # At a corner, half a side away from the middle, the parts add up.
    turn = np.deg2rad(config.rotation_deg) + config.scale - 1.0 + config.perspective
    limit = (turn / 2.0 + config.translation) * np.hypot(width, height) * config.scale
    assert 1.0 < float((moved - corners).norm(dim=2).max()) < limit


def test_near_views_can_be_less_noisy(tmp_path: Path) -> None:
    photos = make_photos(tmp_path)

    def images(probability: float, near_noise: float) -> torch.Tensor:
        near = dataclasses.replace(JOINT.photos, near_share=1.0, near_noise=near_noise)
        noise = dataclasses.replace(JOINT.augmentation, probability=probability)
        config = dataclasses.replace(JOINT, photos=near, augmentation=noise)
        return make_source(config, photos)(0).a.images

    assert torch.equal(images(0.8, 0.5), images(0.4, 1.0))
    assert not torch.equal(images(0.8, 1.0), images(0.4, 1.0))


def terms_of(
    folder: Path, *configs: TrainConfig, is_training: bool = False
) -> list[dict[str, float]]:
    """Return the terms under each config, of the same batch and the same untrained network."""
    batch = make_source(JOINT, make_photos(folder))(0)
    torch.manual_seed(0)
    network = SuperPoint(TINY).train(is_training)
    return [
        {name: float(term.detach()) for name, term in compute_losses(network, batch, c).items()}
        for c in configs
    ]


def with_loss(**options: float) -> TrainConfig:
    return dataclasses.replace(JOINT, loss=LossConfig(**options))


def test_labels_that_are_not_matched_count_less(tmp_path: Path) -> None:
    configs = (with_loss(unmatched_weight=weight) for weight in (1.0, 0.0))
    whole, damped = terms_of(tmp_path, *configs, is_training=True)
    # An untrained network matches next to nothing: the targets lose keypoints, only they do.
    assert damped["detector"] != pytest.approx(whole["detector"], rel=1e-4)
    assert damped["descriptor"] == pytest.approx(whole["descriptor"], rel=1e-4)


def test_cells_of_the_other_view_are_more_to_be_told_from(tmp_path: Path) -> None:
    few, many = terms_of(tmp_path, JOINT, with_loss(cell_negatives=True))
    assert many["descriptor"] > few["descriptor"] + 0.01
    assert many["detector"] == few["detector"]


def test_other_photos_of_the_batch_are_more_to_be_told_from(tmp_path: Path) -> None:
    few, many = terms_of(tmp_path, JOINT, with_loss(photo_negatives=True))
    assert many["descriptor"] > few["descriptor"] + 0.01
    assert many["detector"] == few["detector"]


def test_detections_take_the_place_of_labels_but_for_the_detector(tmp_path: Path) -> None:
    labels, detections = terms_of(tmp_path, JOINT, with_loss(detections=20))
    for name in ("descriptor", "localization"):
        assert detections[name] != pytest.approx(labels[name], rel=1e-3)
    assert detections["detector"] == labels["detector"]


def test_targets_take_a_share_of_what_the_other_view_detects(tmp_path: Path) -> None:
    configs = (with_loss(other_view_weight=share) for share in (0.0, 0.5, 1.0))
    terms = terms_of(tmp_path, *configs)
    # Cross-entropy is linear in the targets as long as no cell holds more than one keypoint.
    none, half, whole = (each["detector"] for each in terms)
    assert abs(whole - none) > 0.01
    assert half == pytest.approx((none + whole) / 2, abs=0.2 * abs(whole - none))
    assert terms[0]["descriptor"] == terms[2]["descriptor"]


def test_pixels_stay_float32_when_the_layers_are_not(tmp_path: Path) -> None:
    # What is left of the difference is the layers'; in bfloat16 pixels are off by up to a half.
    configs = (dataclasses.replace(JOINT, precision=precision) for precision in ("fp32", "bf16"))
    exact, fast = (terms["localization"] for terms in terms_of(tmp_path, *configs))
    assert fast == pytest.approx(exact, rel=0.02)


def test_frozen_layers_stay_as_they_were(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, frozen_layers=("1a",), freeze_after=0)
    torch.manual_seed(config.seed)
    before = SuperPoint(config.network).state_dict()
    after = train(config, make_source(config, None), tmp_path).network
    for key in ("conv1a.weight", "bn1a.running_mean"):
        assert torch.equal(before[key], after[key])
    assert not torch.equal(before["conv1b.weight"], after["conv1b.weight"])


def test_the_rate_rises_stays_and_falls_to_zero() -> None:
    config = dataclasses.replace(CONFIG, steps=100, warmup_steps=10, decay_share=0.5)
    rates = [learning_rate_at(step, config) / config.learning_rate for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[10:51] == pytest.approx([1.0] * 41)
    assert rates[75] == pytest.approx(0.5)
    assert rates[99] == pytest.approx(0.02)


def test_detector_stage_has_one_term() -> None:
    network = SuperPoint(TINY)
    terms = compute_losses(network, make_source(CONFIG, None)(0), CONFIG)
    assert list(terms) == ["detector"]


def test_a_full_disk_leaves_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.pt"
    save_checkpoint(path, Checkpoint(step=1))

    def fail(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="No space"):
        save_checkpoint(path, Checkpoint(step=2))
    monkeypatch.undo()
    assert load_checkpoint(path).step == 1
    assert [item.name for item in tmp_path.iterdir()] == ["last.pt"]


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    (tmp_path / "last.pt").write_bytes(b"junk")
    with pytest.raises(ConfigError, match=r"last\.pt"):
        load_checkpoint(tmp_path / "last.pt")
    assert load_checkpoint(tmp_path / "absent.pt") is None
