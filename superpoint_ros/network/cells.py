# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""8x8 cells with a dustbin, and full resolution.

The network sees an image of H x W pixels as H/8 x W/8 cells. Class k < 64 of the cell in row r and
column c is the pixel (x, y) = (8 c + k % 8, 8 r + k // 8); class 64, the dustbin, is "no interest
point". Cell c is centred on pixel 8 c + 3.5 (the centre of the top-left pixel is (0, 0)).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

CELL_SIZE = 8
DUSTBIN = CELL_SIZE * CELL_SIZE
NUM_CLASSES = DUSTBIN + 1


def logits_to_heatmap(logits: Tensor) -> Tensor:
    """Turn cell logits into a probability per pixel.

    Args:
        logits: (B, 65, Hc, Wc).

    Returns:
        (B, 8 Hc, 8 Wc) float32 in [0, 1]; the 64 pixels of a cell and its dustbin sum to one.
    """
    # Softmax over 65 classes first, then the dustbin is dropped (Sec. 3.2); never below float32.
    # Classes last, as the network's layout has them: pixel_shuffle takes 2.5 times as long.
    probabilities = functional.softmax(logits.float().permute(0, 2, 3, 1), dim=-1)
    batch, rows, columns, _ = probabilities.shape
    cells = probabilities[..., :DUSTBIN].view(batch, rows, columns, CELL_SIZE, CELL_SIZE)
    return cells.transpose(2, 3).flatten(3).flatten(1, 2)


def cell_centres(size_hw: tuple[int, int], device: torch.device | str = "cpu") -> Tensor:
    """Return the pixel (x, y) at the centre of every cell: (H/8, W/8, 2) float32."""
    rows, columns = size_hw[0] // CELL_SIZE, size_hw[1] // CELL_SIZE
    half = (CELL_SIZE - 1) / 2.0
    y = torch.arange(rows, dtype=torch.float32, device=device) * CELL_SIZE + half
    x = torch.arange(columns, dtype=torch.float32, device=device) * CELL_SIZE + half
    grid_y, grid_x = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([grid_x, grid_y], dim=-1)


def pixel_grid(size_hw: tuple[int, int], device: torch.device | str = "cpu") -> Tensor:
    """Return the pixel (x, y) of every pixel of an image: (H, W, 2) float32."""
    y, x = torch.meshgrid(
        torch.arange(size_hw[0], dtype=torch.float32, device=device),
        torch.arange(size_hw[1], dtype=torch.float32, device=device),
        indexing="ij",
    )
    return torch.stack([x, y], dim=-1)


def normalise_pixels(pixels: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Map pixels (..., 2), (x, y), to [-1, 1] as `grid_sample(align_corners=False)` reads them.

    Args:
        pixels: (x, y) in the image of `size_hw`, the centre of the top-left pixel being (0, 0).
        size_hw: (height, width) of the image that the sampled map covers (padding included).
    """
    height, width = size_hw
    # Python numbers, not a tensor: nothing to copy to the device.
    x, y = pixels.float().unbind(-1)
    return torch.stack([(x + 0.5) / width * 2.0 - 1.0, (y + 0.5) / height * 2.0 - 1.0], dim=-1)
