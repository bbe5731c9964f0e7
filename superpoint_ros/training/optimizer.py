# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The optimiser: Muon for the kernels of the convolutions, AdamW for all else.

Muon (Jordan et al., 2024) makes the update of a matrix orthogonal, so that every direction of it
learns alike; here scaled to the size of Adam's updates (Liu et al., arXiv 2502.16982), so that one
learning rate serves both.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from superpoint_ros.config import ConfigError


class Optimizer:
    """Muon and AdamW behind one interface.

    Args:
        network: In channels_last memory; its parameters are changed in place.
        learning_rate: Of both.
        weight_decay: Decoupled, of both.
        is_muon: False: AdamW for everything.

    Raises:
        ConfigError: Muon is asked for, and this torch has none.
    """

    def __init__(
        self, network: nn.Module, learning_rate: float, weight_decay: float, is_muon: bool
    ) -> None:
        kernels = [p for p in network.parameters() if is_muon and p.ndim == 4]
        others = [p for p in network.parameters() if not (is_muon and p.ndim == 4)]
        # torch's Muon takes matrices only: (out, height * width * in) views of the same memory.
        self._kernels = [(p, nn.Parameter(_as_matrix(p.data))) for p in kernels]
        self._parts: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(others, lr=learning_rate, weight_decay=weight_decay)
        ]
        if kernels:
            if not hasattr(torch.optim, "Muon"):
                raise ConfigError(
                    f"optimizer: muon needs torch 2.9 or newer, and this is {torch.__version__}: "
                    "install that, or write `optimizer: adamw`"
                )
            self._parts.append(
                torch.optim.Muon(
                    [matrix for _, matrix in self._kernels],
                    lr=learning_rate,
                    weight_decay=weight_decay,
                    adjust_lr_fn="match_rms_adamw",
                )
            )

    def set_learning_rate(self, rate: float) -> None:
        """Set the rate of the next step."""
        for part in self._parts:
            for group in part.param_groups:
                group["lr"] = rate

    def step(self) -> None:
        """Change the parameters by their gradients; those without one stay."""
        for kernel, matrix in self._kernels:
            matrix.grad = None if kernel.grad is None else _as_matrix(kernel.grad)
        for part in self._parts:
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs."""
        return {"parts": [part.state_dict() for part in self._parts]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with the state of another run of the same network.

        Args:
            state: Of `state_dict`, or of a plain AdamW (checkpoints made before Muon).
        """
        for part, own in zip(self._parts, state.get("parts", [state]), strict=True):
            part.load_state_dict(own)


def _as_matrix(kernel: torch.Tensor) -> torch.Tensor:
    """Return (out, in, h, w) as (out, h * w * in): a view when the memory is channels_last."""
    return kernel.permute(0, 2, 3, 1).reshape(len(kernel), -1)
