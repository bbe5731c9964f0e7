# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The mean of the weights of networks that come from one another, or of one as it trains.

Such networks lie in one basin of the loss, so their mean is as good a network; it keeps what the
earlier ones knew and errs less than each by chance (Wortsman et al. 2022, "Robust fine-tuning of
zero-shot models" and "Model soups"). Networks trained apart have no such mean.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch

from superpoint_ros.config import ConfigError, from_mapping
from superpoint_ros.machine import find_commit
from superpoint_ros.network.superpoint import SuperPoint, fold_batch_norm
from superpoint_ros.network.weights import ModelCard, find_weights, load_weights
from superpoint_ros.training.checkpoint import Checkpoint
from superpoint_ros.training.provenance import describe_hardware, join_licences
from superpoint_ros.training.stage import TrainConfig


@torch.no_grad()
def mean_network(networks: Sequence[SuperPoint], shares: Sequence[float]) -> SuperPoint:
    """Return a network whose weights are the weighted mean, without BatchNorm.

    Args:
        networks: Of one shape, with or without BatchNorm, whose statistics are folded; they stay
            as they are.
        shares: One each, which sum to 1.

    Raises:
        ConfigError: The networks differ in shape.
    """
    folded = [fold_batch_norm(network) for network in networks]
    mean = folded[0]
    if any(network.config != mean.config for network in folded):
        raise ConfigError("networks of different widths have no mean")
    for own, *others in zip(*(network.parameters() for network in folded), strict=True):
        own.mul_(shares[0])
        for share, other in zip(shares[1:], others, strict=True):
            own.add_(other, alpha=share)
    return mean


def result_of(state: Checkpoint) -> SuperPoint:
    """Return the network that a stage has made, in evaluation mode.

    With `kept_share` that is the mean of what it began with and what it has become, without
    BatchNorm.

    Args:
        state: Of the stage, finished or not.
    """
    config = from_mapping(TrainConfig, state.config)
    network = SuperPoint(config.network)
    network.load_state_dict(state.network)
    if config.kept_share:
        start = SuperPoint(config.network)
        start.load_state_dict(state.mean)
        network = mean_network([start, network], [config.kept_share, 1.0 - config.kept_share])
    return network.eval()


@torch.no_grad()
def follow(mean: SuperPoint, network: SuperPoint, steps: int) -> None:
    """Take a network that has learnt a step more into the running mean of its weights.

    Args:
        mean: Of the network's shape, BatchNorm's statistics included; changed in place.
        network: As it is now.
        steps: What lies so many steps back counts 1/e.
    """
    for own, now in zip(mean.state_dict().values(), network.state_dict().values(), strict=True):
        if own.is_floating_point():
            own.lerp_(now, 1.0 / steps)
        else:
            own.copy_(now)


def average_weights(names: Sequence[str]) -> tuple[SuperPoint, ModelCard]:
    """Return the mean of weights files, and its card, without metrics.

    Args:
        names: As for `find_weights`, oldest first: the card keeps the settings of the last.

    Raises:
        WeightsError: Missing or damaged.
        ConfigError: Fewer than two, of different widths, or sampled in different ways.
    """
    if len(names) < 2:
        raise ConfigError("--from: a mean needs at least two files of weights")
    loaded = [load_weights(find_weights(name)) for name in names]
    share = 1.0 / len(loaded)
    try:
        network = mean_network([each for each, _ in loaded], [share] * len(loaded))
    except ConfigError as error:
        raise ConfigError(f"--from {' '.join(names)}: {error}") from None
    cards = [card for _, card in loaded]
    if len({card.descriptor_sampling for card in cards}) > 1:
        raise ConfigError(f"--from {' '.join(names)}: descriptors sampled bilinear and bicubic")
    last = cards[-1]
    card = dataclasses.replace(
        last,
        licence=join_licences(cards),
        config={"average": {"of": [card.sha256 for card in cards]}, "parent": dict(last.config)},
        data=tuple(dict.fromkeys(item for card in cards for item in card.data)),
        commit=find_commit(),
        parent=", ".join(f"{card.name} {card.sha256}" for card in cards),
        wall_time_s=0.0,
        hardware=describe_hardware(),
        metrics={},
        notes=f"The mean of the weights of {len(cards)} parents; settings are those of the last.",
        sha256="",
    )
    return network, card
