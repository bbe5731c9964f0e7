# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Losses: the paper's two (detector cross-entropy, all-pairs hinge) and our better recipe.

Ours: cross-entropy against sub-pixel targets, a contrastive loss on sampled correspondences and
the distance between the two views' refined keypoints.

Means are over the items of all processes (`distributed.py`): each returns its part of the mean.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from superpoint_ros.network.cells import CELL_SIZE, DUSTBIN, cell_centres
from superpoint_ros.training.distributed import sum_over_processes
from superpoint_ros.training.homographies import warp_points_batch


def detector_targets(mass: Tensor) -> Tensor:
    """Turn keypoint mass per pixel into class probabilities per cell.

    Args:
        mass: (B, H, W) float, how much of a keypoint lies on a pixel: one pixel of 1 for a paper
            label, or a keypoint's four neighbours sharing 1 by bilinear weights.

    Returns:
        (B, 65, H/8, W/8), sums to one over the classes; class 64 takes what the keypoints leave.
    """
    batch, rows, columns = len(mass), mass.shape[1] // CELL_SIZE, mass.shape[2] // CELL_SIZE
    # Not pixel_unshuffle: it refuses an empty batch.
    cells = mass.view(batch, rows, CELL_SIZE, columns, CELL_SIZE).permute(0, 2, 4, 1, 3)
    cells = cells.reshape(batch, CELL_SIZE**2, rows, columns)
    total = cells.sum(1, keepdim=True)
    cells = cells / total.clamp(min=1.0)
    return torch.cat([cells, (1.0 - total).clamp(min=0.0)], 1)


def detector_loss(logits: Tensor, targets: Tensor, is_valid: Tensor) -> Tensor:
    """Cross-entropy over the 65 classes of every valid cell (paper, Eq. 2 and 3).

    Args:
        logits: (B, 65, Hc, Wc).
        targets: (B, 65, Hc, Wc) probabilities; one-hot for the paper's labels.
        is_valid: (B, Hc, Wc) bool; other cells do not count.

    Returns:
        Mean over the valid cells; 0 if there are none.
    """
    losses = -(targets * functional.log_softmax(logits.float(), 1)).sum(1)
    weights = is_valid.float()
    return (losses * weights).sum() / _count(weights)


def hinge_loss(
    dense_a: Tensor,
    dense_b: Tensor,
    centres_b_of_a: Tensor,
    centres_b: Tensor,
    is_valid_b: Tensor,
    lambda_d: float = 250.0,
    positive_margin: float = 1.0,
    negative_margin: float = 0.2,
    is_normalised: bool = False,
) -> Tensor:
    """The paper's descriptor loss over all pairs of cells (Eq. 4 to 6).

    Args:
        dense_a: (B, D, Hc, Wc) descriptors of image a.
        dense_b: (B, D, Hc, Wc) descriptors of image b.
        centres_b_of_a: (B, Hc, Wc, 2) cell centres of a mapped into b, pixels.
        centres_b: (Hc, Wc, 2) cell centres of b, pixels.
        is_valid_b: (B, Hc, Wc) bool, cells of b that show the image.
        lambda_d: Weight of the (rare) corresponding pairs.
        positive_margin: m_p.
        negative_margin: m_n.
        is_normalised: Divide by the number of corresponding pairs and of others, each their own,
            instead of by all pairs: the positive term does not fade with the image size.

    Returns:
        Mean loss.
    """
    similarity = torch.einsum("bdij,bdkl->bijkl", dense_a.float(), dense_b.float())
    offsets = centres_b_of_a[:, :, :, None, None] - centres_b[None, None, None]
    # The paper: corresponding if the mapped centre is within 8 pixels (one cell) of the other.
    is_pair = (offsets.norm(dim=-1) <= CELL_SIZE).float()
    valid = is_valid_b[:, None, None].float()
    positive = valid * is_pair * (positive_margin - similarity).clamp(min=0.0)
    negative = valid * (1.0 - is_pair) * (similarity - negative_margin).clamp(min=0.0)
    if is_normalised:
        pairs, others = _count(valid * is_pair), _count(valid * (1.0 - is_pair))
        loss: Tensor = positive.sum() / pairs + negative.sum() / others
        return loss
    weighted: Tensor = (lambda_d * positive + negative).sum()
    return weighted / _count(valid * torch.ones_like(is_pair))


def contrastive_loss(
    descriptors_a: Tensor,
    descriptors_b: Tensor,
    points_b: Tensor,
    is_valid: Tensor,
    temperature: float,
    safe_radius_px: float,
    others_a: Tensor | None = None,
    others_b: Tensor | None = None,
) -> Tensor:
    """Tell each correspondence from all others of its pair, both ways (InfoNCE).

    Args:
        descriptors_a: (B, N, D) unit length.
        descriptors_b: (B, N, D) of the corresponding points.
        points_b: (B, N, 2) pixels in image b; points nearer than `safe_radius_px` to the right one
            are no negatives.
        is_valid: (B, N) bool; padding is False.
        temperature: Softmax temperature of the cosine similarity.
        safe_radius_px: Pixels.
        others_a: (B, N, M) cosines of the points of b with what else is in a (`cell_cosines`).
        others_b: (B, N, M) of the points of a with what else is in b.

    Returns:
        Mean over the valid correspondences; 0 if there are none.
    """
    similarity = torch.bmm(descriptors_a, descriptors_b.transpose(1, 2)) / temperature
    count = similarity.shape[1]
    itself = torch.eye(count, dtype=torch.bool, device=similarity.device)
    is_near = (torch.cdist(points_b.float(), points_b.float()) < safe_radius_px) & ~itself
    right = similarity.diagonal(dim1=1, dim2=2)

    def cross_entropy(rows: Tensor, others: Tensor | None) -> Tensor:
        rows = rows.masked_fill(is_near | ~is_valid[:, None, :], -1.0e4)
        if others is not None:
            rows = torch.cat([rows, others / temperature], 2)
        return rows.logsumexp(2) - right

    forward = cross_entropy(similarity, others_b)
    backward = cross_entropy(similarity.transpose(1, 2), others_a)
    weights = is_valid.float()
    losses = (forward + backward) / 2.0 * weights
    return losses.sum() / _count(weights)


def cell_cosines(descriptors: Tensor, dense: Tensor, points: Tensor, is_valid: Tensor) -> Tensor:
    """Compare points of one view with every cell of the other: with what they are not.

    Args:
        descriptors: (B, N, D) unit length, of the points in the one view.
        dense: (B, D, Hc, Wc) of the other view.
        points: (B, N, 2) where the points lie in the other view, pixels.
        is_valid: (B, Hc, Wc) bool, cells of the other view that show the photo.

    Returns:
        (B, N, Hc Wc) cosines; minus infinity, nearly, for cells that are not valid or whose centre
        is less than a cell away from the point.
    """
    size_hw = (CELL_SIZE * dense.shape[2], CELL_SIZE * dense.shape[3])
    centres = cell_centres(size_hw, dense.device).reshape(1, -1, 2).expand(len(points), -1, -1)
    is_near = torch.cdist(points.float(), centres) < CELL_SIZE
    cosines = torch.bmm(descriptors, dense.float().flatten(2))
    return cosines.masked_fill(is_near | ~is_valid.flatten(1)[:, None], -1.0e4)


def photo_cosines(
    descriptors: Tensor, of_all: Tensor, is_valid: Tensor, own_photos: range
) -> Tensor:
    """Compare points with those of the other photos of a batch.

    Args:
        descriptors: (B, N, D) unit length.
        of_all: (P, M, D) of all photos of the batch, in all processes.
        is_valid: (P, M) bool; others do not count.
        own_photos: Which of the P the B are.

    Returns:
        (B, N, P M) cosines; minus infinity, nearly, for points that are not valid or of the photo
        itself.
    """
    cosines = torch.einsum("bnd,pmd->bnpm", descriptors, of_all)
    is_other = is_valid.repeat(len(descriptors), 1, 1)
    for place, photo in enumerate(own_photos):
        is_other[place, photo] = False
    return cosines.masked_fill(~is_other[:, None], -1.0e4).flatten(2)


def is_matched(
    descriptors_a: Tensor,
    descriptors_b: Tensor,
    points_b: Tensor,
    is_valid: Tensor,
    radius_px: float = 3.0,
) -> Tensor:
    """Whether the point whose descriptor is nearest lies where it should.

    Args:
        descriptors_a: (B, N, D) unit length.
        descriptors_b: (B, N, D) of the corresponding points.
        points_b: (B, N, 2) pixels in image b.
        is_valid: (B, N) bool; padding is False, and is matched with nothing.
        radius_px: Pixels of b.

    Returns:
        (B, N) bool.
    """
    similarity = torch.bmm(descriptors_a, descriptors_b.transpose(1, 2))
    nearest = similarity.masked_fill(~is_valid[:, None, :], -2.0).argmax(2)
    found = points_b.gather(1, nearest[..., None].expand(-1, -1, 2))
    distance: Tensor = (found - points_b).norm(dim=2)
    return (distance <= radius_px) & is_valid


def damp_mass(mass: Tensor, points: Tensor, is_damped: Tensor, factor: float) -> Tensor:
    """Let some keypoints count less.

    Args:
        mass: (B, H, W), as in `detector_targets`.
        points: (B, N, 2), (x, y) pixels.
        is_damped: (B, N) bool.
        factor: What is left of the mass within one pixel of such a point's pixel.

    Returns:
        (B, H, W).
    """
    batch, height, width = mass.shape
    steps = torch.arange(-1, 2, device=mass.device)
    dy, dx = torch.meshgrid(steps, steps, indexing="ij")
    window = points.round().long()[:, :, None] + torch.stack([dx.flatten(), dy.flatten()], -1)
    x, y = window.unbind(-1)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height) & is_damped[..., None]
    index = (y.clamp(0, height - 1) * width + x.clamp(0, width - 1)).reshape(batch, -1)
    left = torch.where(inside, factor, 1.0).reshape(batch, -1).to(mass.dtype)
    scale = mass.new_ones(batch, height * width).scatter_reduce(1, index, left, "amin")
    return mass * scale.view_as(mass)


def refine_points(logits: Tensor, points: Tensor, radius: int = 2) -> Tensor:
    """Move points to the softmax-weighted mean of the detector's logits around them.

    Args:
        logits: (B, 65, Hc, Wc).
        points: (B, N, 2), (x, y) pixels; rounded to find the window.
        radius: Of the square window, pixels.

    Returns:
        (B, N, 2).
    """
    log_probabilities = functional.log_softmax(logits.float(), 1)[:, :DUSTBIN]
    heat = functional.pixel_shuffle(log_probabilities, CELL_SIZE).squeeze(1)
    batch, height, width = heat.shape
    steps = torch.arange(-radius, radius + 1, device=heat.device)
    dy, dx = torch.meshgrid(steps, steps, indexing="ij")
    offsets = torch.stack([dx.reshape(-1), dy.reshape(-1)], -1)
    base = points.detach().round().long()
    window = base[:, :, None] + offsets
    x = window[..., 0].clamp(0, width - 1)
    y = window[..., 1].clamp(0, height - 1)
    index = torch.arange(batch, device=heat.device)[:, None, None]
    values = heat[index, y, x]
    weights = values.softmax(-1)
    return base + (weights[..., None] * offsets).sum(2)


def localization_loss(
    refined_a: Tensor, refined_b: Tensor, H_b_a: Tensor, is_valid: Tensor, limit_px: float = 3.0
) -> Tensor:
    """How far apart the two views put the same keypoint, pixels of b.

    Args:
        refined_a: (B, N, 2) in image a.
        refined_b: (B, N, 2) in image b.
        H_b_a: (B, 3, 3).
        is_valid: (B, N) bool.
        limit_px: Distances beyond it stop counting: they are other keypoints.

    Returns:
        Mean distance; 0 if nothing is valid.
    """
    mapped = warp_points_batch(H_b_a, refined_a)
    distance = ((mapped - refined_b).square().sum(-1) + 1.0e-4).sqrt()
    weights = (is_valid & (distance < limit_px)).float()
    return (distance * weights).sum() / _count(weights)


def similarity_loss(ours: Tensor, theirs: Tensor, is_valid: Tensor) -> Tensor:
    """Compare two networks' similarities; their descriptors may differ in length.

    Args:
        ours: (B, N, N) cosines of all points of one view with all of the other.
        theirs: (B, N, N) of the teacher.
        is_valid: (B, N) bool; padding is False, in both views alike.

    Returns:
        Sum of the squared differences over the number of valid points: the mean over the rows of
        what a row sums up to.
    """
    weights = is_valid[:, :, None] & is_valid[:, None, :]
    return ((ours - theirs).square() * weights).sum() / _count(is_valid)


def _count(weights: Tensor) -> Tensor:
    """Return how many items count in all processes together, at least 1."""
    return sum_over_processes(weights.sum()).clamp(min=1.0)
