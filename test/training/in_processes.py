# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What test_distributed.py runs under torchrun: in_processes.py FOLDER."""

import dataclasses
import os
import sys
from pathlib import Path

import torch

from superpoint_ros.network.superpoint import NetworkConfig, SuperPoint
from superpoint_ros.training.datasets import Batch, BatchSource, LabelledPhotos, PhotoConfig
from superpoint_ros.training.distributed import (
    join_batch_norms,
    joined_processes,
    process_rank,
    sum_gradients,
)
from superpoint_ros.training.objective import compute_losses
from superpoint_ros.training.stage import LossConfig, TrainConfig
from superpoint_ros.training.trainer import make_source, train

LOSSES = {
    **{name: LossConfig(descriptor=name) for name in ("contrastive", "hinge", "hinge_normalised")},
    # Its gradients are the largest: at a quarter, rounding stays within what the test allows.
    "detections": LossConfig(
        cell_negatives=True, photo_negatives=True, detections=20, descriptor_weight=0.25
    ),
}
CONFIG = TrainConfig(
    source="photos",
    is_joint=True,
    steps=6,
    batch_size=3,  # two processes share it unevenly
    shapes_per_step=1,  # the second has none
    warmup_steps=2,
    log_every=1,
    precision="fp32",
    network=NetworkConfig(
        encoder_channels=(4, 4, 8, 8), head_channels=16, descriptor_dim=16, batch_norm=True
    ),
    photos=PhotoConfig(height=48, width=80, points=32),
)


def make_gradients(photos: LabelledPhotos, loss: LossConfig) -> dict[str, torch.Tensor]:
    """Return the gradients of one batch by parameter, and the BatchNorm statistics after it."""
    torch.manual_seed(1)
    config = dataclasses.replace(CONFIG, loss=loss)
    network = SuperPoint(config.network).train()
    join_batch_norms(network)
    terms = compute_losses(network, make_source(config, photos)(0), config)
    torch.stack(list(terms.values())).sum().backward()
    sum_gradients(network.parameters())
    gradients = {name: p.grad for name, p in network.named_parameters()}
    return {**gradients, **{name: b for name, b in network.named_buffers() if b.ndim}}


def poisoned_source(photos: LabelledPhotos, rank: int) -> BatchSource:
    """Return batches of which that of step 1 has no finite loss, in one process only."""
    source = make_source(CONFIG, photos)

    def make(step: int) -> Batch:
        batch = source(step)
        if step == 1 and process_rank() == rank:
            return batch._replace(H_b_a=torch.full_like(batch.H_b_a, float("nan")))
        return batch

    return make


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    with joined_processes("cpu"):
        photos = LabelledPhotos(folder / "images", folder / "labels", CONFIG.photos)
        for name, loss in LOSSES.items():
            gradients = make_gradients(photos, loss)
            if process_rank() == 0:
                torch.save(gradients, folder / f"{name}.pt")
        train(CONFIG, poisoned_source(photos, rank=1), folder / "two", stop_after=3)
    rank = os.environ["RANK"]
    names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    (folder / f"threads_{rank}.txt").write_text("\n".join(names), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
