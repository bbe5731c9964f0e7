# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Whether the covariance is as large as the errors: many short runs, each a map of its own.

The frames of one run err alike, so a whole recording is one draw of chi-square, however long it
is. Cut into pieces it is as many draws, and their mean has bounds that a wrong covariance leaves.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from superpoint_ros.data import Array
from superpoint_ros.evaluation.conditions import Condition
from superpoint_ros.evaluation.recordings import BagError
from superpoint_ros.evaluation.summary import Summary

_PROBABILITY = 0.95
_MIN_FRAMES = 3


def make_pieces(bag: Path | str, num_frames: int, count: int) -> tuple[Condition, ...]:
    """Cut a recording into pieces of equal length; a rest at its end is left out.

    Args:
        bag: Path of the recording.
        num_frames: Of the recording, those left out by `--every` not counted.
        count: Pieces; 0: none.

    Raises:
        BagError: A piece would be too short to be judged.
    """
    length = num_frames // count if count else 0
    if count and length < _MIN_FRAMES:
        raise BagError(f"{bag}: --pieces {count}: of {num_frames} frames that is {length} a piece")
    return tuple(
        Condition(
            "pieces",
            f"frames {first} to {first + length - 1}",
            first,
            first=first,
            stop=first + length,
        )
        for first in range(0, count * length, length or 1)
    )


def describe_pieces(names: Sequence[str], summaries: Sequence[Summary]) -> dict[str, Any]:
    """Return the NEES of pieces against what it is if the covariance is right, JSON-ready.

    Args:
        names: Of the pieces.
        summaries: Of the same.

    Returns:
        "names", "tracked" (frames of each), "count" (pieces that have a NEES), "right" (the
        freedom of an error: 6, mono 5), "bounds" in which the mean of so many lies in 95 of 100
        cases, and for "nees" (mean of a piece's poses) and "nees_at_end" (its last pose) the
        "values" (null: no map, or no truth), "mean" and "median".
    """
    right = 5 if summaries[0].values["sensor"] == "mono" else 6
    count = sum(summary.nees is not None for summary in summaries)
    columns = {
        "nees": [summary.values["nees"] for summary in summaries],
        "nees_at_end": [_last(summary.nees) for summary in summaries],
    }
    return {
        "names": list(names),
        "tracked": [summary.values["tracked"] for summary in summaries],
        "count": count,
        "right": right,
        "bounds": list(nees_bounds(right, count)) if count else None,
        **{key: _describe(values) for key, values in columns.items()},
    }


def nees_bounds(freedom: int, count: int) -> tuple[float, float]:
    """Return between what the mean NEES of `count` independent runs lies in 95 of 100 cases."""
    from scipy.stats import chi2  # half a second: only those who ask pay

    tail = 0.5 * (1.0 - _PROBABILITY)
    low, high = chi2.ppf([tail, 1.0 - tail], freedom * count) / count
    return float(low), float(high)


def _last(nees: Array | None) -> float | None:
    if nees is None or np.isnan(nees).all():
        return None
    return float(nees[np.isfinite(nees)][-1])


def _describe(values: Sequence[float | None]) -> dict[str, Any]:
    known = [value for value in values if value is not None]
    return {
        "values": list(values),
        "mean": float(np.mean(known)) if known else None,
        "median": float(np.median(known)) if known else None,
    }
