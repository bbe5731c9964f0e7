# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The SuperPoint network: a shared encoder, a detector head and a descriptor head.

Written from DeTone, Malisiewicz, Rabinovich: SuperPoint, CVPRW 2018 (arXiv 1712.07629), Sec. 3.
"""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import fuse_conv_bn_eval

from superpoint_ros.config import Config, ConfigError, option
from superpoint_ros.network.cells import CELL_SIZE, NUM_CLASSES


class DenseOutput(NamedTuple):
    """What the network says about a batch of images of H x W pixels, Hc = H / 8, Wc = W / 8.

    Attributes:
        logits: (B, 65, Hc, Wc), before the softmax; class 64 is "no keypoint in this cell".
        dense_descriptors: (B, D, Hc, Wc), unit length over D.
    """

    logits: Tensor
    dense_descriptors: Tensor


@dataclass(frozen=True)
class NetworkConfig(Config):
    """Widths of the network; the defaults are the paper's (Sec. 3.1 to 3.3)."""

    encoder_channels: tuple[int, ...] = option(
        (64, 64, 128, 128), "channels of the four encoder stages, two convolutions each", minimum=1
    )
    head_channels: int = option(256, "channels inside either head", minimum=1)
    descriptor_dim: int = option(256, "length of a descriptor", minimum=1)
    batch_norm: bool = option(False, "BatchNorm after the hidden convolutions (training)")

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.encoder_channels) != 4:
            raise ConfigError(
                f"encoder_channels: expected 4 numbers, got {len(self.encoder_channels)}"
            )


class SuperPoint(nn.Module):
    """Fully convolutional keypoint detector and descriptor.

    Layers are named after their stage (conv1a ... conv4b) and head (P: points, D: descriptors).
    """

    def __init__(self, config: NetworkConfig | None = None) -> None:
        super().__init__()
        self.config = config or NetworkConfig()
        c1, c2, c3, c4 = self.config.encoder_channels
        hidden, dim = self.config.head_channels, self.config.descriptor_dim
        self.conv1a = nn.Conv2d(1, c1, 3, padding=1)
        self.conv1b = nn.Conv2d(c1, c1, 3, padding=1)
        self.conv2a = nn.Conv2d(c1, c2, 3, padding=1)
        self.conv2b = nn.Conv2d(c2, c2, 3, padding=1)
        self.conv3a = nn.Conv2d(c2, c3, 3, padding=1)
        self.conv3b = nn.Conv2d(c3, c3, 3, padding=1)
        self.conv4a = nn.Conv2d(c3, c4, 3, padding=1)
        self.conv4b = nn.Conv2d(c4, c4, 3, padding=1)
        self.convPa = nn.Conv2d(c4, hidden, 3, padding=1)
        self.convPb = nn.Conv2d(hidden, NUM_CLASSES, 1)
        self.convDa = nn.Conv2d(c4, hidden, 3, padding=1)
        self.convDb = nn.Conv2d(hidden, dim, 1)
        for name in HIDDEN_LAYERS:
            channels = cast(nn.Conv2d, getattr(self, "conv" + name)).out_channels
            # Paper Sec. 6: convolution, ReLU, BatchNorm, for every layer. Ours: BatchNorm before
            # the ReLU and none on the two output layers, since only that order folds exactly into
            # a zero-padded convolution (a shift behind the ReLU would be missing at the border).
            norm = nn.BatchNorm2d(channels) if self.config.batch_norm else nn.Identity()
            setattr(self, "bn" + name, norm)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(cast(Tensor, module.bias))

    def forward(self, images: Tensor) -> DenseOutput:
        """Run both heads.

        Args:
            images: (B, 1, H, W) grey in [0, 1]; H and W multiples of 8.

        Returns:
            Logits and descriptors per 8x8 cell, float32 whatever the autocast precision.

        Raises:
            ValueError: The shape is not (B, 1, 8 m, 8 n).
        """
        features = self.encode(images)
        # The output layers may be kept wider than the hidden ones (see the torch engine).
        points = self.convPb(self._hidden("Pa", features).to(self.convPb.weight.dtype))
        descriptors = self.convDb(self._hidden("Da", features).to(self.convDb.weight.dtype))
        # Softmax and norm decide order and length: float32 even when the layers ran in 16 bits.
        return DenseOutput(points.float(), functional.normalize(descriptors.float(), dim=1))

    def encode(self, images: Tensor) -> Tensor:
        """Return the shared features (B, C4, H / 8, W / 8) of images (B, 1, H, W)."""
        if images.ndim != 4 or images.shape[1] != 1:
            raise ValueError(f"images {tuple(images.shape)} must be (B, 1, H, W)")
        height, width = images.shape[2:]
        if height % CELL_SIZE or width % CELL_SIZE or not height or not width:
            raise ValueError(
                f"image size {height}x{width} must be a multiple of {CELL_SIZE}: pad it first"
            )
        x = images
        for block in "123":
            x = self._hidden(block + "b", self._hidden(block + "a", x), is_halved=True)
        return self._hidden("4b", self._hidden("4a", x))

    def _hidden(self, name: str, x: Tensor, is_halved: bool = False) -> Tensor:
        conv, norm = getattr(self, "conv" + name), getattr(self, "bn" + name)
        is_frozen = not (norm.training or conv.weight.requires_grad)
        if is_frozen and isinstance(norm, nn.BatchNorm2d):
            x = fuse_conv_bn_eval(conv.eval(), norm)(x)  # one pass over the pixels, not two
        else:
            x = norm(conv(x))
        if is_halved:  # a maximum is the same before ReLU, which then has a quarter of the pixels
            x = _halve(x)
        return functional.relu(x, inplace=not x.requires_grad)


def _halve(x: Tensor) -> Tensor:
    """Return the maxima of 2x2 pixels."""
    if x.requires_grad:
        return functional.max_pool2d(x, 2)
    # max_pool2d also writes where each maximum was: on a CPU 2 to 5 times as long.
    x = torch.maximum(x[:, :, ::2], x[:, :, 1::2])
    return torch.maximum(x[..., ::2], x[..., 1::2])


HIDDEN_LAYERS = ("1a", "1b", "2a", "2b", "3a", "3b", "4a", "4b", "Pa", "Da")


def fold_batch_norm(network: SuperPoint) -> SuperPoint:
    """Return an equal network without BatchNorm, in evaluation mode; the input stays as it is.

    Args:
        network: With or without BatchNorm; its running statistics are what gets folded.
    """
    source = copy.deepcopy(network).eval()
    config = NetworkConfig(
        encoder_channels=source.config.encoder_channels,
        head_channels=source.config.head_channels,
        descriptor_dim=source.config.descriptor_dim,
        batch_norm=False,
    )
    parameter = next(source.parameters())
    folded = SuperPoint(config).to(parameter.device, parameter.dtype).eval()
    if source.config.batch_norm:
        for name in HIDDEN_LAYERS:
            layer = fuse_conv_bn_eval(getattr(source, "conv" + name), getattr(source, "bn" + name))
            setattr(source, "conv" + name, layer)
    weights = {key: value for key, value in source.state_dict().items() if key.startswith("conv")}
    folded.load_state_dict(weights)
    return folded


@torch.no_grad()
def unfold_batch_norm(network: SuperPoint, images: Tensor) -> SuperPoint:
    """Return an equal network with BatchNorm, so that folded weights can be trained further.

    Every BatchNorm gets the statistics of its own input over the images, and the scale and shift
    that undo them: in evaluation mode nothing changes, and in training a batch's own statistics
    take the place of these.

    Args:
        network: With or without BatchNorm; stays as it is.
        images: (B, 1, H, W) grey in [0, 1], such as it will be trained on.

    Returns:
        In evaluation mode, on the network's device.
    """
    folded = fold_batch_norm(network)
    unfolded = SuperPoint(dataclasses.replace(folded.config, batch_norm=True)).eval()
    unfolded.load_state_dict(folded.state_dict(), strict=False)
    for name in HIDDEN_LAYERS:
        norm = cast(nn.BatchNorm2d, getattr(unfolded, "bn" + name))

        def settle(_: nn.Module, inputs: object, x: Tensor, norm: nn.BatchNorm2d = norm) -> None:
            variance, mean = torch.var_mean(x, (0, 2, 3), correction=0)
            norm.running_mean, norm.running_var = mean, variance
            norm.weight.copy_((variance + norm.eps).sqrt())
            norm.bias.copy_(mean)

        getattr(folded, "conv" + name).register_forward_hook(settle)
    folded(images)
    return unfolded.to(images.device)
