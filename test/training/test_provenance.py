# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the card says of the photos."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from superpoint_ros.config import ConfigError
from superpoint_ros.training.checkpoint import CHECKPOINT_NAME, Checkpoint, save_checkpoint
from superpoint_ros.training.provenance import MANIFEST_NAME, make_card

ROWS = "file,source,licence\nZ\u00fcrich.jpg,Mine,CC0\nsub/b.jpg,Yours,CC BY\nc.jpg,Theirs,CC BY\n"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run that has labelled two photos first, and one more in the second round."""
    for stage in ("superpoint", "refine", "retrain-2"):
        config = {"seed": 1, "is_distilled": False}
        (tmp_path / stage).mkdir()
        save_checkpoint(tmp_path / stage / CHECKPOINT_NAME, Checkpoint(config=config))
    for label in (
        "pseudo-labels/Z\u00fcrich.jpg",
        "pseudo-labels/sub/b.jpg",
        "pseudo-labels-2/c.jpg",
    ):
        path = tmp_path / f"{label}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, keypoints=np.zeros((0, 2)))
    return tmp_path


def test_drawings_are_named_wherever_they_trained(run: Path) -> None:
    config = {"seed": 1, "is_distilled": False, "shapes_per_step": 1, "source": "photos"}
    save_checkpoint(run / "refine" / CHECKPOINT_NAME, Checkpoint(config=config))
    assert make_card(run, stages=("refine",)).data[0] == "synthetic shapes"
    assert "synthetic shapes" not in make_card(run, stages=("superpoint",)).data


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_photos_are_counted_by_source_over_all_rounds(run: Path, encoding: str) -> None:
    (run / MANIFEST_NAME).write_text(ROWS, encoding=encoding)
    first = make_card(run, run, stages=("superpoint", "refine"))
    assert first.data == (
        "2 photos labelled by homographic adaptation",
        "Mine: 1 photos (CC0)",
        "Yours: 1 photos (CC BY)",
    )
    both = make_card(run, run, stages=("superpoint", "refine", "retrain-2"))
    assert both.data[0] == "3 photos labelled by homographic adaptation"
    assert "Theirs: 1 photos (CC BY)" in both.data


def test_a_manifest_that_is_of_no_use_is_named(
    run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (run / MANIFEST_NAME).write_text(ROWS, encoding="cp1252")
    with pytest.raises(ConfigError, match=r"manifest\.csv: is no CSV in UTF-8"):
        make_card(run, run, stages=("superpoint", "refine"))
    (run / MANIFEST_NAME).write_text("photo,source,licence\nc.jpg,Mine,CC0\n")
    make_card(run, run, stages=("superpoint", "refine"))
    assert "manifest.csv: names none of the photos" in caplog.text
    (run / MANIFEST_NAME).write_text("file,source,license\nsub/b.jpg,Mine,CC0\n")
    make_card(run, run, stages=("superpoint", "refine"))
    assert "manifest.csv: has no column 'source' or 'licence'" in caplog.text
