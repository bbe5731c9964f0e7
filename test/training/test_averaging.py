# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
import dataclasses
from pathlib import Path

import pytest
import torch

from superpoint_ros.config import ConfigError
from superpoint_ros.network.superpoint import NetworkConfig, SuperPoint, fold_batch_norm
from superpoint_ros.network.weights import ModelCard, save_weights
from superpoint_ros.training.averaging import average_weights, follow, mean_network

WIDTHS = (4, 4, 8, 8)


def make_network(seed: int, descriptor_dim: int = 16, batch_norm: bool = True) -> SuperPoint:
    torch.manual_seed(seed)
    network = SuperPoint(NetworkConfig(WIDTHS, 16, descriptor_dim, batch_norm))
    network(torch.rand(2, 1, 32, 48))  # BatchNorm gets statistics
    return network.eval()


def test_weights_of_the_mean_are_the_weighted_mean_and_the_networks_stay() -> None:
    networks = [make_network(0), make_network(1, batch_norm=False)]
    folded = [fold_batch_norm(network) for network in networks]
    mean = mean_network(networks, (0.25, 0.75))
    assert not mean.config.batch_norm
    for ours, a, b in zip(*(each.parameters() for each in (mean, *folded)), strict=True):
        torch.testing.assert_close(ours, 0.25 * a + 0.75 * b)
    image = torch.rand(1, 1, 32, 48)
    for network, before in zip(networks, folded, strict=True):
        torch.testing.assert_close(network(image).logits, before(image).logits)
    with pytest.raises(ConfigError, match="different widths"):
        mean_network([networks[0], make_network(2, descriptor_dim=8)], (0.5, 0.5))


def test_the_card_of_a_mean_names_all_parents(tmp_path: Path) -> None:
    files, cards = [str(tmp_path / f"{i}.safetensors") for i in range(3)], []
    for seed, path in enumerate(files):
        card = ModelCard(
            name="net", config={"wide": {"seed": seed}}, data=("all", f"of {seed}"),
            licence=("CC-BY-NC-4.0", "Apache-2.0 AND CC-BY-NC-4.0", "MIT")[seed],
        )  # fmt: skip
        dim = 16 if seed < 2 else 8
        cards.append(save_weights(path, make_network(seed, dim), card))
    network, card = average_weights(files[:2])
    first, second = (fold_batch_norm(make_network(seed)) for seed in (0, 1))
    for ours, a, b in zip(*(each.parameters() for each in (network, first, second)), strict=True):
        torch.testing.assert_close(ours, (a + b) / 2)
    assert card.parent == f"net {cards[0].sha256}, net {cards[1].sha256}"
    assert card.config["average"] == {"of": [cards[0].sha256, cards[1].sha256]}
    assert card.config["parent"] == {"wide": {"seed": 1}}
    assert card.data == ("all", "of 0", "of 1")
    assert card.licence == "CC-BY-NC-4.0 AND Apache-2.0"
    with pytest.raises(ConfigError, match="at least two"):
        average_weights(files[:1])
    with pytest.raises(ConfigError, match=r"--from .*2\.safetensors: .*different widths"):
        average_weights(files[1:])
    bicubic = dataclasses.replace(cards[2], descriptor_sampling="bicubic")
    save_weights(files[2], make_network(2), bicubic)
    with pytest.raises(ConfigError, match=r"--from .*2\.safetensors: .*bilinear and bicubic"):
        average_weights(files[1:])


def test_the_running_mean_forgets_by_one_part_in_so_many_a_step() -> None:
    mean, network = make_network(0), make_network(1)
    expected = {key: value.clone() for key, value in mean.state_dict().items()}
    for _ in range(3):
        network(torch.rand(2, 1, 32, 48))
        follow(mean, network, 4)
        for key, value in network.state_dict().items():
            is_mean = value.is_floating_point()
            expected[key] = 0.75 * expected[key] + 0.25 * value if is_mean else value
    for key, value in mean.state_dict().items():
        torch.testing.assert_close(value, expected[key])
