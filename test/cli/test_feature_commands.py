# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`superpoint extract`, `match` and `benchmark`, run as a user would, in this process."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from superpoint_ros.cli.main import main
from superpoint_ros.network.superpoint import NetworkConfig, SuperPoint
from superpoint_ros.network.weights import ModelCard, save_weights
from superpoint_ros.training.datasets import is_validation
from superpoint_ros.training.shapes import KINDS

SHIFT = np.array([16, 8])  # whole cells: the untrained network then repeats itself exactly


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with weights and two images, b being a moved."""
    folder = tmp_path_factory.mktemp("cli")
    torch.manual_seed(0)
    network = NetworkConfig(encoder_channels=(8, 8, 16, 16), head_channels=32, descriptor_dim=24)
    save_weights(folder / "w.safetensors", SuperPoint(network), ModelCard(name="tiny"))
    rng = np.random.default_rng(0)
    scene = cv2.resize(rng.integers(0, 256, (20, 30), dtype=np.uint8), (240, 160))
    cv2.imwrite(str(folder / "a.png"), scene[:120, :200])
    cv2.imwrite(str(folder / "b.png"), scene[SHIFT[1] :, SHIFT[0] :][:120, :200])
    return folder


def features(folder: Path) -> list[str]:
    weights = str(folder / "w.safetensors")
    return ["--weights", weights, "--device", "cpu", "--precision", "fp32", "--threads", "1"]


def test_extract_writes_what_it_says(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, summary = folder / "a.npz", folder / "a.json"
    argv = ["extract", str(folder / "a.png"), "--out", str(out), "--json", str(summary)]
    argv += ["--max-keypoints", "30", "--scales", "1", "0.5"]
    assert main([*argv, *features(folder)]) == 0
    assert "a.png: 30 keypoints, 200x120" in capsys.readouterr().out
    with np.load(out) as arrays:
        assert arrays["keypoints"].shape == (30, 2)
        assert arrays["descriptors"].shape == (30, 24)
        assert arrays["image_size_hw"].tolist() == [120, 200]
    written = json.loads(summary.read_text())
    assert written["images"][0]["keypoints"] == 30
    assert len(written["weights_sha256"]) == 64
    assert written["config"]["keypoints"]["max_keypoints"] == 30
    assert written["config"]["scales"] == [1.0, 0.5]


def test_extract_many_and_pictures(folder: Path, tmp_path: Path) -> None:
    images = [str(folder / "a.png"), str(folder / "b.png")]
    assert main(["extract", *images, "--out", str(tmp_path / "f"), *features(folder)]) == 0
    assert sorted(p.name for p in (tmp_path / "f").iterdir()) == ["a.npz", "b.npz"]
    picture = tmp_path / "a.jpg"
    assert main(["extract", images[0], "--out", str(picture), *features(folder)]) == 0
    assert cv2.imread(str(picture)).shape == (120, 200, 3)
    assert main(["extract", *images, "--out", str(picture), *features(folder)]) == 2
    dotted = tmp_path / "run1.0"
    assert main(["extract", *images, "--out", f"{dotted}/", *features(folder)]) == 0
    assert sorted(p.name for p in dotted.iterdir()) == ["a.npz", "b.npz"]


def test_extract_refuses_two_images_of_one_name(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "a.jpg"
    cv2.imwrite(str(other), cv2.imread(str(folder / "b.png")))
    images = [str(folder / "a.png"), str(other)]
    out = tmp_path / "f"
    assert main(["extract", *images, "--out", str(out), *features(folder)]) == 2
    assert f"{images[0]} and {other} would both become {out / 'a.npz'}" in capsys.readouterr().err
    assert not out.exists()


def test_match_finds_the_shift(folder: Path, tmp_path: Path) -> None:
    out, summary = tmp_path / "m.png", tmp_path / "m.json"
    argv = ["match", str(folder / "a.png"), str(folder / "b.png"), "--out", str(out)]
    assert main([*argv, "--json", str(summary), *features(folder)]) == 0
    assert cv2.imread(str(out)).shape == (120, 400, 3)
    result = json.loads(summary.read_text())
    centre = np.array([100.0, 60.0, 1.0])
    mapped = np.array(result["H_b_a"]) @ centre
    np.testing.assert_allclose(mapped[:2] / mapped[2], centre[:2] - SHIFT, atol=0.5)
    assert result["inliers"] <= result["matches"] == len(result["pixels_a"])


def test_match_and_extract_take_classical_features(folder: Path, tmp_path: Path) -> None:
    summary = tmp_path / "m.json"
    argv = ["match", str(folder / "a.png"), str(folder / "b.png"), "--features", "orb"]
    assert main([*argv, "--json", str(summary)]) == 0
    result = json.loads(summary.read_text())
    assert result["model_id"] == "orb"
    H_b_a = np.array(result["H_b_a"])
    np.testing.assert_allclose(H_b_a[:2, 2], -SHIFT, atol=1.0)
    argv = ["extract", str(folder / "a.png"), "--features", "harris", "--max-keypoints", "7"]
    assert main([*argv, "--out", str(tmp_path / "a.npz")]) == 0
    with np.load(tmp_path / "a.npz") as arrays:
        assert arrays["descriptors"].shape == (7, 0)


def test_benchmark_rows(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "b.json"
    argv = ["benchmark", "--size", "48x80", "--size", "40x56", "--batch", "1", "2"]
    argv += ["--frames", "3", "--warmup", "1", "--precision", "fp32", "--keypoints", "20"]
    argv += ["--scales", "1", "0.5"]
    argv += ["--weights", str(folder / "w.safetensors"), "--device", "cpu", "--json", str(path)]
    assert main(argv) == 0
    rows = json.loads(path.read_text())["rows"]
    assert [(r["engine"], r["size"], r["batch"]) for r in rows[:4]] == [
        ("eager", "48x80", 1),
        ("torch-fp32", "48x80", 1),
        ("torch-fp32 1 0.5", "48x80", 1),
        ("eager", "48x80", 2),
    ]
    assert len(rows) == 12
    keys = "engine size batch keypoints p50_ms p95_ms p99_ms ratio_to_eager device"
    for row in rows:
        assert set(row) == set(keys.split())
        assert 0 < row["p50_ms"] <= row["p95_ms"] <= row["p99_ms"]
        if row["engine"] == "eager":
            assert row["ratio_to_eager"] == 1.0
    assert "ratio_to_eager" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["extract", "nowhere.png"], "nowhere.png: no such image file"),
        (["extract", "{a}", "--weights", "nowhere.pt"], "nowhere.pt does not exist"),
        (["extract", "{a}", "--weights", "{a}"], "not a readable safetensors file"),
        (["extract", "{a}", "--max-keypoints", "-1"], "keypoints.max_keypoints: -1 is below"),
        (["extract", "{a}", "--precision", "fp8"], "engine.precision: 'fp8'"),
        (["extract", "{a}", "--scales", "1", "2"], "scales: 2.0 is above the maximum 1.0"),
        (["evaluate", "synthetic", "--scales", "0"], "scales: 0.0 is below the minimum 0.1"),
        (["match", "{a}", "{a}", "--ratio", "2"], "max_ratio: 2.0 is above"),
        (["match", "{a}", "{w}"], "w.safetensors: not an image"),
        (["match", "{a}", "{a}", "--features", "fast"], "has no descriptors to match"),
        (["extract", "{a}", "--features", "surf"], "'surf': known: rootsift"),
        (["evaluate", "synthetic", "--count", "3"], "--count 3: at least 9, one of each kind"),
        (["evaluate", "synthetic", "--seed", "-1"], "--seed: must be at least 0"),
        (["evaluate", "adaptation", "{f}", "--device", "foo"], "device: 'foo' is not auto, cpu"),
        (["evaluate", "adaptation", "{f}", "--device", "cuda:99"], "device: 'cuda:99'"),
        (["evaluate", "adaptation", "{f}", "--plot", "x.foo"], "--plot x.foo: must end in one of"),
        (["evaluate", "robustness", "{f}", "--changes", "zoom,fog"], "zoom,fog: known: rotation"),
        (["evaluate", "robustness", "{f}", "--count", "0"], "--count 0: must be at least 1"),
        (["benchmark", "--size", "480"], "--size 480: expected HEIGHTxWIDTH"),
        (["benchmark", "--frames", "0"], "at least 1"),
        (["benchmark", "--frames", "1", "--warmup", "-4"], "--warmup: must be at least 0"),
        (["benchmark", "--odometry", "10"], "more than 10 frames"),
        (["benchmark", "--odometry", "20", "--round", "21"], "--round: from 1 to"),
        (["benchmark", "--round", "21"], "--odometry needs more than 10"),
        (
            ["benchmark", "--odometry", "20", "--frames", "1", "--scales", "1", "0.5"],
            "--frames, --scales: of the network, not of --odometry",
        ),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(
    folder: Path, argv: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {"{a}": folder / "a.png", "{f}": folder, "{w}": folder / "w.safetensors"}
    argv = [str(names.get(word, word)) for word in argv]
    if "--weights" not in argv:
        argv += ["--weights", str(folder / "w.safetensors")]
    assert main(argv) == 2
    error = capsys.readouterr().err
    assert words in error
    assert len(error.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "command",
    [
        "finetune --images {f} --out {t}",
        "evaluate adaptation {f}",
        "benchmark --frames 1",
        "export {t}/x.onnx",
        "extract {f}/a.png",
    ],
)
def test_help_offers_exported_weights_only_where_they_are_taken(
    folder: Path, tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the five only `extract` runs ONNX Runtime; the others named .onnx files all the same."""
    file = tmp_path / "weights.onnx"
    file.write_bytes(b"not really")
    argv = command.format(f=folder, t=tmp_path).split()
    assert main([*argv, "--weights", str(file)]) == 2
    wants_safetensors = "safetensors file" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*argv, "--help"])
    weights = " ".join(capsys.readouterr().out.partition("  --weights FILE")[2].split())
    assert weights.startswith("a .safetensors file")
    assert ("export`" in weights.partition("(default: full)")[0]) != wants_safetensors


def test_two_weights_of_one_name_are_both_measured(folder, tmp_path):
    """`evaluate synthetic` and `robustness` (then `rotation`) measured only the last one."""
    copy = tmp_path / "w.safetensors"
    copy.write_bytes((folder / "w.safetensors").read_bytes())
    path = tmp_path / "report.json"
    argv = ["evaluate", "synthetic", "--count", "9", "--json", str(path)]
    argv += ["--pictures", str(tmp_path / "pictures")]
    for file in (folder / "w.safetensors", copy):
        argv += ["--weights", str(file)]
    assert main(argv) == 0
    methods = json.loads(path.read_text())["methods"]
    assert {"w", "w'", "fast", "harris", "shi-tomasi"} == set(methods)
    said = methods["w'"]["extractor"]
    assert len(said["weights_sha256"]) == 64
    assert said["config"]["scales"] == [1.0]
    row = methods["shi-tomasi"]
    kinds = row["kinds_clean"]
    assert set(kinds) == set(KINDS) - {"ellipses", "noise"}  # nothing to find there
    assert row["ap_clean"] == pytest.approx(np.mean([kind["ap"] for kind in kinds.values()]))
    assert row["ap_clean"] > row["ap_all_clean"]  # where every detection in noise is a mistake
    assert cv2.imread(str(tmp_path / "pictures" / "w_noisy.png")).shape[1] == 9 * (3 * 160 + 4)


@pytest.fixture
def photos(tmp_path):
    rng = np.random.default_rng(0)
    name = next(name for name in (f"{i}.png" for i in range(200)) if is_validation(name))
    photo = cv2.resize(rng.integers(0, 255, (30, 44), np.uint8), (352, 240))
    photos = tmp_path / "photos"
    photos.mkdir()
    cv2.imwrite(str(photos / name), photo)
    return photos


def test_adaptation_is_measured_and_drawn(folder, photos, tmp_path):
    plot, path = tmp_path / "gain.svg", tmp_path / "gain.json"
    argv = ["evaluate", "adaptation", str(photos), "--count", "1", "--views", "1", "2"]
    argv += ["--weights", str(folder / "w.safetensors"), "--device", "cpu"]
    assert main([*argv, "--plot", str(plot), "--json", str(path)]) == 0
    assert [row["views"] for row in json.loads(path.read_text())["rows"]] == [1, 2]
    assert "</svg>" in plot.read_text()


def test_robustness_is_measured_for_every_amount(folder, photos, tmp_path, capsys):
    path = tmp_path / "report.json"
    argv = ["evaluate", "robustness", str(photos), "--changes", "light", "--count", "1"]
    argv += ["--scales", "1", "0.5"]
    assert main([*argv, "--weights", str(folder / "w.safetensors"), "--json", str(path)]) == 0
    report = json.loads(path.read_text())
    assert report["protocol"] == "warped-photos-ransac8"
    assert report["extractors"]["w"]["config"]["scales"] == [1.0, 0.5]
    rows = report["changes"]["light"]
    assert {"w", "rootsift", "orb"} <= set(rows)
    assert list(rows["rootsift"]) == ["0.0625", "0.25", "1", "4", "16"]
    assert rows["rootsift"]["1"]["mma3"] > 0.8
    assert "MMA@3, light, times the light" in capsys.readouterr().out


def test_warped_photos_judge_weights_and_baselines(folder, photos, tmp_path, capsys):
    path = tmp_path / "report.json"
    argv = ["evaluate", "warped", str(photos), "--count", "2", "--baselines", "rootsift"]
    assert main([*argv, "--weights", str(folder / "w.safetensors"), "--json", str(path)]) == 0
    report = json.loads(path.read_text())
    assert report["protocol"] == "warped-photos-ransac8"
    rows = report["sets"]
    assert list(rows) == ["w", "rootsift"]
    counts = {kind: summary["pairs"] for kind, summary in rows["rootsift"].items()}
    assert counts == {"warped": 2, "hard": 1, "near": 1}
    near = rows["rootsift"]["near"]
    assert near["mma3"] > 0.8
    assert near["match_error_px"] < 1.0
    assert near["corner_error_median_px"] < 2.0
    out = capsys.readouterr().out
    assert f"{near['match_error_px']:.3f}" in out.splitlines()[-1]
    assert main([*argv[:-1], "swift"]) == 2
    assert main(["evaluate", "warped", str(tmp_path / "none")]) == 2
    assert str(tmp_path / "none") in capsys.readouterr().err
