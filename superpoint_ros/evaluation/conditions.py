# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What robots do to a camera: frames that are lost, images too dark or too bright."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from superpoint_ros.config import ConfigError
from superpoint_ros.data import Array

CURVE_KINDS = ("drops", "exposure")
_EVERY = {2: "every 2nd", 3: "every 3rd", 5: "every 5th"}
_RANDOM_LOSS = 0.1
_GAINS = {1 / 16: "gain 1/16", 1 / 4: "gain 1/4", 4.0: "gain 4", 16.0: "gain 16"}

# A small industrial sensor behind the usual gamma: electrons of a saturated pixel, read noise.
_GAMMA, _FULL_WELL, _READ_NOISE = 2.2, 10_000.0, 10.0
_GREY_OF_ELECTRONS = np.rint(
    255.0 * (np.arange(int(_FULL_WELL) + 1) / _FULL_WELL) ** (1.0 / _GAMMA)
).astype(np.uint8)


@dataclass(frozen=True)
class Condition:
    """What is done to the recording; every frame has its own random numbers.

    Attributes:
        kind: "recorded" (nothing), "drops" (frames left out), "exposure" (images darker or
            brighter) or "pieces" (one part of it).
        name: For people: "as recorded", "every 2nd", "10 % lost", "gain 1/4", "frames 50 to 99".
        value: For an axis: the share of the frames that is left out, the gain, or the first
            frame; 0 as recorded.
        first: Begin with the frame at this position.
        stop: End before the frame at this position; 0: with the recording.
        every: Take every so manieth frame.
        loss: Share of the frames that is lost at random.
        gain: Exposure against that of the recording, in light.
        seed: Of what is random.
    """

    kind: str = "recorded"
    name: str = "as recorded"
    value: float = 0.0
    first: int = field(default=0, repr=False)
    stop: int = field(default=0, repr=False)
    every: int = field(default=1, repr=False)
    loss: float = field(default=0.0, repr=False)
    gain: float = field(default=1.0, repr=False)
    seed: int = field(default=0, repr=False)

    def keeps(self, position: int) -> bool:
        """Whether the frame at this position (from 0) is there."""
        if position % self.every or position < self.first or 0 < self.stop <= position:
            return False
        if not self.loss or not position:
            return True
        return bool(np.random.default_rng([self.seed, position]).random() >= self.loss)

    def change_image(self, image: Array, position: int, camera: int = 0) -> Array:
        """Return the image (H, W) uint8 as this exposure would have taken it.

        Grey values become light (gamma 2.2), the light is multiplied, shot and read noise of the
        new exposure are added, what is more than the pixel holds is clipped, and grey values come
        back. The noise that the recording has already is multiplied too.
        """
        if self.gain == 1.0:
            return image
        rng = np.random.default_rng([self.seed, position, camera])
        electrons = _FULL_WELL * self.gain * (np.arange(256) / 255.0) ** _GAMMA
        sigma = np.sqrt(np.minimum(electrons, _FULL_WELL) + _READ_NOISE**2)
        noise = rng.standard_normal(image.shape, dtype=np.float32)
        light = electrons.astype(np.float32)[image] + sigma.astype(np.float32)[image] * noise
        levels = np.clip(light, 0.0, _FULL_WELL).astype(np.int32)
        return _GREY_OF_ELECTRONS[levels]


def make_curve(kind: str, seed: int = 0) -> tuple[Condition, ...]:
    """Return the conditions of a curve, in order of their value.

    Args:
        kind: "drops": every 2nd, 3rd, 5th frame, and 10 % lost at random. "exposure": 1/16, 1/4,
            4 and 16 times the light.
        seed: Of what is random.

    Raises:
        ConfigError: Another kind.
    """
    if kind == "drops":
        thinned = [
            Condition(kind, name, 1.0 - 1.0 / every, every=every, seed=seed)
            for every, name in _EVERY.items()
        ]
        name = f"{100 * _RANDOM_LOSS:g} % lost"
        return (Condition(kind, name, _RANDOM_LOSS, loss=_RANDOM_LOSS, seed=seed), *thinned)
    if kind == "exposure":
        return tuple(
            Condition(kind, name, gain, gain=gain, seed=seed) for gain, name in _GAINS.items()
        )
    raise ConfigError(f"--curves {kind}: known: {', '.join(CURVE_KINDS)}")
