# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from superpoint_ros.evaluation.consistency import describe_pieces, make_pieces, nees_bounds
from superpoint_ros.evaluation.recordings import BagError
from superpoint_ros.evaluation.summary import RunRecord, Summary, summarize
from superpoint_ros.evaluation.trajectory import make_trajectory
from superpoint_ros.geometry import se3

SIGMA = np.array([2e-3, 1e-3, 3e-3, 1e-4, 3e-4, 2e-4])
STEP = np.array([0.02, 0.005, 0.01, 0.002, 0.01, -0.003])


def piece(rng: np.random.Generator, sensor: str, error_over_sigma: float) -> Summary:
    """Eight poses that all share one error, as those of a piece nearly do."""
    stamps = [k * 10**8 for k in range(9)]
    truth = [se3.exp(k * STEP) for k in range(9)]
    error = se3.exp(error_over_sigma * SIGMA * rng.standard_normal(6))
    poses = [truth[0], *(T @ error for T in truth[1:])]
    if sensor == "mono":
        for T in poses:
            T[:3, 3] *= 0.4
    units = np.repeat([0.4 if sensor == "mono" else 1.0, 1.0], 3)
    covariances = [np.diag((units * SIGMA) ** 2)] * 9
    record = RunRecord(sensor, stamps, make_trajectory(stamps, poses, [0] * 9, covariances), 1.0)
    return summarize(record, make_trajectory(stamps, truth), "/truth")


def test_pieces_are_of_equal_length_and_leave_a_rest() -> None:
    pieces = make_pieces("a.mcap", 1003, 20)
    kept = [[i for i in range(1003) if each.keeps(i)] for each in pieces]
    assert [len(positions) for positions in kept] == [50] * 20
    assert kept[7] == list(range(350, 400))
    assert pieces[7].name == "frames 350 to 399"
    assert make_pieces("a.mcap", 1003, 0) == ()
    with pytest.raises(BagError, match=r"a\.mcap: --pieces 5: of 12 frames that is 2 a piece"):
        make_pieces("a.mcap", 12, 5)


def test_bounds_are_those_of_the_tables() -> None:
    # Chi-square of 120 degrees of freedom: 91.57 and 152.21; of 50: 32.36 and 71.42.
    assert nees_bounds(6, 20) == pytest.approx((4.579, 7.611), abs=1e-3)
    assert nees_bounds(5, 10) == pytest.approx((3.236, 7.142), abs=1e-3)


@pytest.mark.parametrize(("sensor", "right"), [("stereo", 6), ("mono", 5)])
def test_a_right_covariance_is_within_the_bounds_and_a_wrong_one_outside(
    sensor: str, right: int
) -> None:
    for error_over_sigma, is_right in ((1.0, True), (1.5, False), (0.7, False)):
        rng = np.random.default_rng(3)
        summaries = [piece(rng, sensor, error_over_sigma) for _ in range(40)]
        values = describe_pieces([str(k) for k in range(40)], summaries)
        low, high = values["bounds"]
        assert (values["right"], values["count"]) == (right, 40)
        assert (low < values["nees_at_end"]["mean"] < high) == is_right
        assert (low < values["nees"]["mean"] < high) == is_right


def test_a_piece_without_a_map_is_left_out() -> None:
    stamps = [k * 10**8 for k in range(9)]
    truth = make_trajectory(stamps, [se3.exp(k * STEP) for k in range(9)])
    nothing = summarize(RunRecord("stereo", stamps, make_trajectory([], []), 1.0), truth)
    values = describe_pieces(["a", "b"], [piece(np.random.default_rng(1), "stereo", 1.0), nothing])
    assert values["count"] == 1
    assert values["nees"]["values"][1] is None
    assert values["nees"]["mean"] == values["nees"]["values"][0]
