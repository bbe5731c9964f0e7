# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from superpoint_ros.cli.main import main
from superpoint_ros.config import ConfigError
from superpoint_ros.engines import onnx_file
from superpoint_ros.engines.engine import EngineConfig, load_engine, make_engine
from superpoint_ros.engines.onnx_engine import choose_providers
from superpoint_ros.engines.onnx_file import write_onnx
from superpoint_ros.features import load_extractor
from superpoint_ros.network.superpoint import SuperPoint
from superpoint_ros.network.weights import ModelCard, WeightsError, save_weights

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")

CPU = EngineConfig(device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def weights(network: SuperPoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_weights(path, network, ModelCard(name="tiny", notes="of a test"))
    return path


@pytest.fixture(scope="module")
def exported(weights: Path) -> Path:
    path = weights.with_name("tiny.onnx")
    assert main(["export", str(path), "--weights", str(weights)]) == 0
    return path


def random_images(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("shape", [(1, 48, 80), (3, 8, 8), (2, 104, 64)])
def test_the_file_equals_the_network_at_any_size(
    network: SuperPoint, exported: Path, shape: tuple[int, int, int]
) -> None:
    images = random_images(*shape)
    expected = make_engine(network, CPU)(images)
    output = load_engine(exported, CPU)[0](images)
    torch.testing.assert_close(output.logits, expected.logits, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        output.dense_descriptors, expected.dense_descriptors, rtol=1e-4, atol=1e-5
    )


def test_later_calls_leave_the_output_alone(exported: Path) -> None:
    engine, _ = load_engine(exported, CPU)
    first = engine(random_images(1, 48, 80))
    kept = first.logits.clone()
    engine(255 - random_images(1, 48, 80))
    assert torch.equal(first.logits, kept)


def test_the_card_goes_with_the_file(weights: Path, exported: Path) -> None:
    engine, card = load_engine(exported, EngineConfig(device="cpu"))
    assert (engine.name, engine.device) == ("onnxruntime-cpu", torch.device("cpu"))
    assert card == load_engine(weights, CPU)[1]
    assert len(card.sha256) == 64


def test_an_extractor_takes_it_for_weights(weights: Path, exported: Path) -> None:
    image = random_images(53, 75).numpy()  # no multiple of 8
    settings = {"device": "cpu", "precision": "fp32", "detection_threshold": 0.001}
    expected = load_extractor(str(weights), **settings)(image)
    features = load_extractor(str(exported), **settings)(image)
    assert len(features) == len(expected) > 20
    np.testing.assert_allclose(features.keypoints, expected.keypoints, atol=1e-3)
    np.testing.assert_allclose(features.descriptors, expected.descriptors, atol=1e-4)


def test_pooling_is_one_layer(exported: Path) -> None:
    kinds = [node.op_type for node in onnx.load(exported).graph.node]
    assert kinds.count("MaxPool") == 3
    assert kinds.count("Conv") == 12
    assert "BatchNormalization" not in kinds


def test_the_benchmark_measures_it(weights: Path, exported: Path, tmp_path: Path) -> None:
    summary = tmp_path / "benchmark.json"
    arguments = f"--weights {weights} --onnx {exported} --size 48x64 --frames 1 --device cpu"
    assert main(["benchmark", *arguments.split(), "--json", str(summary)]) == 0
    rows = json.loads(summary.read_text())["rows"]
    assert rows[0]["engine"] == "eager"
    assert rows[-1]["engine"] == "onnxruntime-cpu"


def test_export_says_what_it_wrote(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, summary = tmp_path / "a.onnx", tmp_path / "a.json"
    arguments = ["export", str(path), "--weights", str(weights), "--json", str(summary)]
    assert main(arguments) == 0
    captured = capsys.readouterr()
    assert "largest difference from PyTorch" in captured.out
    assert captured.err == ""
    written = json.loads(summary.read_text())
    assert written["outputs"] == ["logits", "dense_descriptors"]
    assert max(written["max_difference"].values()) < 1e-4


def test_export_takes_no_other_ending(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(tmp_path / "a.engine"), "--weights", str(weights)]) == 2
    assert "ends in .onnx" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_an_old_pytorch_cannot_export(
    network: SuperPoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_file.torch.onnx, "export", lambda model, args: None)
    with pytest.raises(ConfigError, match="too old to export"):
        write_onnx(tmp_path / "a.onnx", network, ModelCard())


@pytest.mark.parametrize("name", ["torch", "onnxruntime"])
def test_an_engine_refuses_a_file_of_the_other(weights: Path, exported: Path, name: str) -> None:
    path = exported if name == "torch" else weights
    with pytest.raises(ConfigError, match=f"engine.name: {name} takes .*, not {path}"):
        load_engine(path, EngineConfig(name=name, device="cpu"))


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"no protobuf")
    with pytest.raises(WeightsError, match=f"{path}: ONNX Runtime cannot load it"):
        load_engine(path, CPU)


def test_a_file_of_somebody_else_is_refused(exported: Path, tmp_path: Path) -> None:
    model, path = onnx.load(exported), tmp_path / "other.onnx"
    del model.metadata_props[:]
    onnx.save(model, path)
    with pytest.raises(WeightsError, match=r"other\.onnx: has no model card.*superpoint export"):
        load_engine(path, CPU)
    for key in ("superpoint_ros.model_card", "superpoint_ros.weights_sha256"):
        model.metadata_props.add(key=key, value="[")
    onnx.save(model, path)
    with pytest.raises(WeightsError, match=r"other\.onnx: damaged model card"):
        load_engine(path, CPU)


def test_without_onnx_runtime_it_says_what_to_install(
    exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ConfigError, match="pip install onnxruntime"):
        load_engine(exported, CPU)


CUDA, TENSORRT = "CUDAExecutionProvider", "TensorrtExecutionProvider"
HOST = "CPUExecutionProvider"


def test_providers_on_a_cpu(exported: Path) -> None:
    assert choose_providers(EngineConfig(), [HOST], exported) == [HOST]
    at_home = EngineConfig(device="cpu")
    assert choose_providers(at_home, [TENSORRT, CUDA, HOST], exported) == [HOST]


def test_providers_on_a_gpu(
    exported: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    cuda_only = choose_providers(EngineConfig(), [CUDA, HOST], exported)
    assert cuda_only == [(CUDA, {"device_id": 0}), HOST]
    config = EngineConfig(device="cuda:1")
    tensorrt, cuda, cpu = choose_providers(config, [TENSORRT, CUDA, HOST], exported)
    assert (cuda, cpu) == ((CUDA, {"device_id": 1}), HOST)
    assert tensorrt[0] == TENSORRT
    assert tensorrt[1]["device_id"] == 1
    assert tensorrt[1]["trt_fp16_enable"]
    folder = Path(tensorrt[1]["trt_engine_cache_path"])
    assert folder.is_dir()
    assert folder.parent == tmp_path / "cache" / "superpoint_ros"
    exact = choose_providers(EngineConfig(precision="fp32"), [TENSORRT, CUDA, HOST], exported)
    assert not exact[0][1]["trt_fp16_enable"]
    # Of another file of the same name nothing is taken.
    other = tmp_path / exported.name
    other.write_bytes(exported.read_bytes() + b"\n")
    again = choose_providers(config, [TENSORRT, CUDA, HOST], other)
    assert again[0][1]["trt_engine_cache_path"] != str(folder)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"device": "cuda"}, "pip install onnxruntime-gpu"),
        ({"device": "tpu"}, "'tpu' is not auto, cpu, cuda or cuda:N"),
        ({"device": "cpu:1"}, "'cpu:1' is not"),
        ({"device": "cuda:x"}, "'cuda:x' is not"),
        ({"precision": "bf16"}, "no bf16"),
        ({"precision": "fp16"}, "needs TensorRT"),
    ],
)
def test_what_it_cannot_be(exported: Path, settings: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        choose_providers(EngineConfig(**settings), [HOST], exported)


has_cuda = CUDA in onnxruntime.get_available_providers()


@pytest.mark.skipif(has_cuda, reason="it would start")
@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_gpu_that_does_not_start(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, HOST])
    assert load_engine(exported, EngineConfig())[0].name == "onnxruntime-cpu"
    with pytest.raises(ConfigError, match="ONNX Runtime could not start cuda"):
        load_engine(exported, EngineConfig(device="cuda"))


@pytest.mark.skipif(not has_cuda, reason="this ONNX Runtime has no CUDA")
def test_on_cuda(network: SuperPoint, exported: Path) -> None:
    images = random_images(1, 48, 80)
    expected = make_engine(network, CPU)(images)
    engine, _ = load_engine(exported, EngineConfig(device="cuda"))
    assert engine.name in ("onnxruntime-cuda", "onnxruntime-tensorrt")
    cosine = (engine(images).dense_descriptors * expected.dense_descriptors).sum(dim=1)
    assert cosine.min() > 0.999
