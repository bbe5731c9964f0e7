# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest
import torch

from superpoint_ros.config import ConfigError
from superpoint_ros.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint


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
