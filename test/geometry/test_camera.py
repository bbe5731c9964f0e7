# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from superpoint_ros.geometry import se3
from superpoint_ros.geometry.camera import CalibrationError, Camera

K = np.array([[517.3, 0.0, 318.6], [0.0, 516.5, 255.3], [0.0, 0.0, 1.0]])
PLUMB_BOB = [0.2624, -0.9531, -0.0054, 0.0026, 1.1633]
RATIONAL = [0.5, -0.2, 0.001, -0.0005, 0.03, 0.8, -0.1, 0.02]
EQUIDISTANT = [-0.01, 0.02, -0.005, 0.001]


def grid() -> np.ndarray:
    x, y = np.meshgrid(np.linspace(0, 639, 17), np.linspace(0, 479, 13))
    return np.column_stack([x.ravel(), y.ravel()])


def message(**changes: object) -> SimpleNamespace:
    fields = {
        "header": SimpleNamespace(frame_id="camera_optical"),
        "height": 480,
        "width": 640,
        "distortion_model": "plumb_bob",
        "d": PLUMB_BOB,
        "k": K.ravel().tolist(),
        "r": np.eye(3).ravel().tolist(),
        "p": np.zeros(12).tolist(),
    }
    return SimpleNamespace(**{**fields, **changes})


@pytest.mark.parametrize(
    ("model", "coefficients"),
    [
        ("plumb_bob", PLUMB_BOB),
        ("plumb_bob", [-0.28, 0.07, 2e-4, 2e-5]),
        ("rational_polynomial", RATIONAL),
        ("equidistant", EQUIDISTANT),
    ],
)
def test_distort_agrees_with_opencv_and_undistort_inverts_it(
    model: str, coefficients: list[float]
) -> None:
    camera = Camera(K, np.array(coefficients), model)
    ideal = camera.undistort(grid())
    rays = np.column_stack([(ideal - K[:2, 2]) / [K[0, 0], K[1, 1]], np.ones(len(ideal))])
    if model == "equidistant":
        project = cv2.fisheye.projectPoints
        oracle, _ = project(
            rays[:, None], np.zeros((3, 1)), np.zeros((3, 1)), K, np.array(coefficients)
        )
    else:
        oracle, _ = cv2.projectPoints(rays, np.zeros(3), np.zeros(3), K, np.array(coefficients))
    np.testing.assert_allclose(oracle.reshape(-1, 2), grid(), atol=1e-6)
    np.testing.assert_allclose(camera.distort(ideal), grid(), atol=1e-6)


def test_a_skewed_image_is_undistorted_along_its_own_axes() -> None:
    skewed = K.copy()
    skewed[0, 1] = 6.0
    camera = Camera(skewed, np.array(PLUMB_BOB))
    x, y = np.meshgrid(np.linspace(-0.4, 0.4, 9), np.linspace(-0.3, 0.3, 7))
    rays = np.column_stack([x.ravel(), y.ravel(), np.ones(x.size)])
    bent, _ = cv2.projectPoints(rays, np.zeros(3), np.zeros(3), np.eye(3), camera.distortion)
    raw = cv2.convertPointsToHomogeneous(bent)[:, 0] @ skewed.T
    np.testing.assert_allclose(camera.undistort(raw[:, :2]), (rays @ skewed.T)[:, :2], atol=1e-6)
    np.testing.assert_allclose(camera.distort((rays @ skewed.T)[:, :2]), raw[:, :2], atol=1e-6)


@pytest.mark.parametrize(
    ("model", "coefficients"),
    [
        ("plumb_bob", [-0.28, 0.07, 0.02, -0.03, 0.01]),
        ("rational_polynomial", RATIONAL),
        ("equidistant", EQUIDISTANT),
    ],
)
def test_the_slope_of_distortion_against_finite_differences(
    model: str, coefficients: list[float]
) -> None:
    camera = Camera(K, np.array(coefficients), model)
    points = np.random.default_rng(1).uniform([-0.7, -0.5], [0.7, 0.5], (30, 2))
    _, J = camera._distort_normalized(points)
    for k, step in enumerate(1e-6 * np.eye(2)):
        ahead, behind = (camera._distort_normalized(points + s)[0] for s in (step, -step))
        np.testing.assert_allclose(J[:, :, k], (ahead - behind) / 2e-6, atol=1e-8)


def test_a_fisheye_of_160_degrees_is_inverted_to_its_border() -> None:
    wide = Camera(np.array([[300.0, 0, 400], [0, 300, 300], [0, 0, 1]]), EQUIDISTANT, "fisheye")
    angle = np.radians(80.0)
    ideal = np.array([[400 + 300 * np.tan(angle), 300.0]])
    np.testing.assert_allclose(wide.undistort(wide.distort(ideal)), ideal, rtol=1e-8)


def test_the_principal_point_stays() -> None:
    for model, coefficients in (("rational_polynomial", RATIONAL), ("equidistant", EQUIDISTANT)):
        camera = Camera(K, np.array(coefficients), model)
        np.testing.assert_allclose(camera.undistort(K[None, :2, 2]), K[None, :2, 2], atol=1e-9)


def test_no_distortion_and_no_points() -> None:
    camera = Camera(K, np.zeros(5))
    pixels = grid()
    for ideal in (camera.undistort(pixels), camera.distort(pixels)):
        np.testing.assert_array_equal(ideal, grid())
        ideal += 1.0
        np.testing.assert_array_equal(pixels, grid())  # the caller's own stay
    assert Camera(K, np.array(PLUMB_BOB)).undistort(np.empty((0, 2))).shape == (0, 2)


def test_pixels_beyond_the_fold_of_the_model_become_nan() -> None:
    barrel = Camera(K, np.array([-0.5, 0.0, 0.0, 0.0]))  # r (1 - r^2 / 2) peaks at 0.544
    undistorted = barrel.undistort(np.array([[318.6 + 0.6 * 517.3, 255.3], [318.6, 255.3]]))
    assert np.isnan(undistorted[0]).all()
    np.testing.assert_allclose(undistorted[1], K[:2, 2])


@pytest.mark.parametrize(
    ("focal", "coefficients"),
    [(295.0, [-0.439, 0.166, 0, 0, -0.021]), (350.0, [-0.319, 0.054, 0, 0, -0.003])],
)
def test_no_ray_lies_beyond_the_first_fold(focal: float, coefficients: list[float]) -> None:
    """Farther out the polynomial grows again: what comes back from there is no ray either."""
    lens = Camera(np.array([[focal, 0, 320], [0, focal, 240], [0, 0, 1]]), np.array(coefficients))
    x, y = np.meshgrid(np.linspace(0, 639, 60), np.linspace(0, 479, 45))
    rays = (lens.undistort(np.column_stack([x.ravel(), y.ravel()])) - [320, 240]) / focal
    radii = np.linspace(0.0, 3.0, 30001)
    k1, k2, k3 = coefficients[0], coefficients[1], coefficients[4]
    slope = 1 + radii**2 * (3 * k1 + radii**2 * (5 * k2 + radii**2 * 7 * k3))
    fold = radii[np.argmax(slope <= 0.0)]
    found = np.linalg.norm(rays, axis=1)
    assert 0.5 < fold < 2.0
    assert np.nanmax(found) <= fold
    assert np.nanmax(found) > 0.85 * fold  # the image bends sharply there
    # Whatever is nearer than the fold has a ray.
    reach = np.hypot(x - 320, y - 240).ravel() / focal
    most = (fold * (1 + fold**2 * (k1 + fold**2 * (k2 + fold**2 * k3)))) * 0.999
    assert np.isfinite(found[reach < most]).all()


def test_from_message_of_ros_2_and_ros_1() -> None:
    camera = Camera.from_message(message())
    assert camera.image_size_hw == (480, 640)
    assert camera.frame_id == "camera_optical"
    np.testing.assert_array_equal(camera.K, K)
    ros_1 = message()
    for name in "kdrp":
        setattr(ros_1, name.upper(), getattr(ros_1, name))
        delattr(ros_1, name)
    np.testing.assert_array_equal(Camera.from_message(ros_1).distortion, PLUMB_BOB)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"k": [0.0] * 9}, "not calibrated"),
        ({"k": [np.nan] * 9}, "NaN"),
        ({"k": []}, "0 numbers"),
        ({"distortion_model": "double_sphere"}, "double_sphere"),
        ({"d": [0.1, 0.2]}, "4 or 5 or 8 or 12 or 14 coefficients, got 2"),
        ({"d": [0.1] * 8, "distortion_model": "equidistant"}, "equidistant has 4"),
        ({"d": [0.1] * 9 + [0.0] * 3}, "beyond 8"),
        ({"d": [-350.0, 120.0, 0.0, 0.0, 0.0]}, "-350, 120, 0, 0, 0 hardly a pixel has a ray"),
        ({"k": K.T.ravel().tolist()}, "column by column"),
        ({"d": [np.nan] * 5}, "NaN"),
    ],
)
def test_bad_calibrations_are_named(changes: dict[str, object], words: str) -> None:
    with pytest.raises(CalibrationError, match=words) as caught:
        Camera.from_message(message(**changes))
    assert "camera_optical" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("model", ["plumb_bob", "rational_polynomial"])
@pytest.mark.parametrize(
    "coefficients", [PLUMB_BOB[:4], PLUMB_BOB, RATIONAL, RATIONAL + [0.0] * 4]
)
def test_drivers_mix_the_names_of_brown_conrady(model: str, coefficients: list[float]) -> None:
    """Orbbec's and MultiSense's drivers publish eight numbers as plumb_bob."""
    camera = Camera.from_message(message(distortion_model=model, d=coefficients))
    normalized = (grid() - K[:2, 2]) / K[[0, 1], [0, 1]]
    expected, _ = cv2.projectPoints(
        np.column_stack([normalized, np.ones(len(normalized))]),
        np.zeros(3),
        np.zeros(3),
        K,
        np.array(coefficients),
    )
    np.testing.assert_allclose(camera.distort(grid()), expected[:, 0], atol=1e-8)


def test_what_drivers_leave_out_or_add() -> None:
    padded = message(distortion_model="equidistant", d=EQUIDISTANT + [0.0] * 4)
    np.testing.assert_array_equal(Camera.from_message(padded).distortion, EQUIDISTANT)
    without = K.copy()
    without[2, 2] = 0.0
    np.testing.assert_array_equal(Camera.from_message(message(k=without.ravel())).K, K)


def window(**values: int) -> SimpleNamespace:
    names = ("x_offset", "y_offset", "height", "width")
    return SimpleNamespace(**{name: values.get(name, 0) for name in names}, do_rectify=False)


def test_a_window_of_the_sensor_and_binned_pixels() -> None:
    """K is of the whole sensor; a ray meets the image where the pixels it falls on are put."""
    P = np.column_stack([K, [-50.0, 0.0, 0.0]])
    whole = Camera.from_message(message(p=P.ravel().tolist(), roi=window(), binning_x=0))
    roi = window(x_offset=100, y_offset=60, height=240, width=320)
    part = Camera.from_message(message(p=P.ravel().tolist(), roi=roi, binning_x=2, binning_y=4))
    assert whole.image_size_hw == (480, 640)
    assert part.image_size_hw == (60, 160)
    np.testing.assert_array_equal(whole.K, K)
    np.testing.assert_array_equal(whole.P, P)
    # The first pixel of the image covers the columns 100 and 101 and the rows 60 to 63.
    in_image = np.array([[0.0, 0.0], [159.0, 59.0], [80.0, 20.0]])
    on_sensor = np.array([100.5, 61.5]) + in_image * [2.0, 4.0]
    np.testing.assert_allclose(
        part._to_normalized(part.undistort(in_image)),
        whole._to_normalized(whole.undistort(on_sensor)),
        atol=1e-9,
    )
    np.testing.assert_allclose(part.P[:, :3], part.K, atol=1e-9)
    assert part.P[0, 3] / part.P[0, 0] == pytest.approx(whole.P[0, 3] / whole.P[0, 0])
    rectified = Camera.from_message(
        message(p=P.ravel().tolist(), roi=roi, binning_x=2, binning_y=4), is_rectified=True
    )
    np.testing.assert_allclose(rectified.K, part.K, atol=1e-9)


def test_the_outline_of_hardly_any_distortion_runs_through_the_outermost_pixels() -> None:
    camera = Camera(np.array([[390.0, 0, 320], [0, 391, 240], [0, 0, 1]]), np.full(4, 1e-9))
    outline = camera.outline((480, 640))
    assert outline is not None
    np.testing.assert_allclose(outline.min(axis=0), [0.0, 0.0], atol=1e-3)
    np.testing.assert_allclose(outline.max(axis=0), [639.0, 479.0], atol=1e-3)
    x, y = (outline - camera.K[:2, 2]).T
    assert (np.diff(np.arctan2(y, x)) > 0).all()


def test_rectified_images_have_the_projection_of_their_camera_info() -> None:
    """image_proc publishes image_rect beside the camera_info of the raw image."""
    message = SimpleNamespace(
        height=48,
        width=80,
        distortion_model="plumb_bob",
        d=[-0.3, 0.1, 0.001, 0.0, 0.0],
        k=[60.0, 0.0, 39.0, 0.0, 61.0, 24.0, 0.0, 0.0, 1.0],
        r=se3.exp_so3(np.array([0.0, 0.02, 0.01])).ravel(),
        p=[55.0, 0.0, 41.0, -5.5, 0.0, 55.0, 23.0, 0.0, 0.0, 0.0, 1.0, 0.0],
    )
    pixels = np.array([[3.0, 5.0], [70.0, 40.0]])
    raw = Camera.from_message(message)
    assert np.abs(raw.undistort(pixels) - pixels).max() > 0.5
    camera = Camera.from_message(message, is_rectified=True)
    np.testing.assert_array_equal(camera.undistort(pixels), pixels)
    np.testing.assert_array_equal(
        camera.K, [[55.0, 0.0, 41.0], [0.0, 55.0, 23.0], [0.0, 0.0, 1.0]]
    )
    np.testing.assert_array_equal(camera.R_rect_cam, np.eye(3))
    assert camera.P[0, 3] == -5.5
    message.p = np.zeros(12)  # calibrated for raw images alone
    np.testing.assert_array_equal(Camera.from_message(message, True).K, raw.K)


OAK_D = (-4.8608, 17.282, 0.0002, 0.001025, -25.172, -4.9436, 17.514, -25.291)


@pytest.mark.parametrize(
    ("distortion", "focal_px", "largest_px", "share"),
    [
        ((0.0, 0.0, 0.0, 0.0, 0.0, 0.5, 0.2, -0.2), 450.0, 0.2, 0.0),  # beyond the image
        (OAK_D, 200.0, 5.0, 0.02),  # inside, and narrow: both sides are of use
    ],
)
def test_a_pole_of_the_rational_model_leads_no_ray_astray(
    distortion: tuple[float, ...], focal_px: float, largest_px: float, share: float
) -> None:
    K = np.array([[focal_px, 0.0, 124.5], [0.0, focal_px, 124.5], [0.0, 0.0, 1.0]])
    camera = Camera(K, np.array(distortion), "rational_polynomial")
    pixels = np.stack(np.meshgrid(np.arange(0.0, 250.0, 5.0), np.arange(0.0, 250.0, 5.0)), -1)
    pixels = pixels.reshape(-1, 2)
    rays = camera.undistort(pixels)
    undistort = getattr(cv2, "undistortPointsIter", cv2.undistortPoints)  # OpenCV 4 and 5
    expected = undistort(
        pixels[:, None], K, np.array(distortion), R=None, P=K, criteria=(3, 200, 1e-10)
    )[:, 0]
    apart = np.linalg.norm(rays - expected, axis=1)
    assert apart.max() < largest_px
    assert np.mean(apart > 1.0) <= share
