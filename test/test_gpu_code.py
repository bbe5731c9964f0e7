# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The tests marked gpu, without a GPU: on a device that test/emulated_cuda makes up."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

TESTS = Path(__file__).resolve().parent
EMULATION = TESTS / "emulated_cuda"
# It leans on PyTorch's insides: whoever pins another version tries it there, and says so here.
WRITTEN_FOR = "2.13."


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process that has the emulated device; its half in C++ is compiled."""
    if torch.version.cuda or torch.version.hip:
        pytest.skip("this PyTorch has a CUDA of its own; run by hand: pytest -m gpu")
    if not torch.__version__.startswith(WRITTEN_FOR):
        pytest.skip(f"emulated for PyTorch {WRITTEN_FOR}*, this is {torch.__version__}")
    torch_folder = Path(torch.__file__).parent
    compiler = shutil.which("g++")
    if compiler is None or not (torch_folder / "include" / "ATen").is_dir():
        pytest.skip("no g++, or no headers of PyTorch")
    library = tmp_path_factory.mktemp("emulated") / "backend.so"
    headers, libraries = torch_folder / "include", torch_folder / "lib"
    source = ["-std=c++20", "-shared", "-fPIC", f"-I{headers}", str(EMULATION / "backend.cpp")]
    linked = [f"-L{libraries}", f"-Wl,-rpath,{libraries}", "-lc10", "-ltorch_cpu"]
    subprocess.run([compiler, *source, "-o", str(library), *linked], check=True)
    path = os.pathsep.join(filter(None, (str(EMULATION), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "LD_PRELOAD": str(library), "PYTHONPATH": path}


@pytest.mark.slow
def test_what_runs_on_a_gpu_leaves_nothing_on_the_host(emulated: dict[str, str]) -> None:
    files = [path for path in TESTS.rglob("test_*.py") if "@pytest.mark.gpu" in path.read_text()]
    files.remove(Path(__file__).resolve())
    words = ["-m", "gpu", "-p", "emulated_cuda", "-p", "no:cacheprovider", "-p", "no:xdist"]
    result = subprocess.run(
        [sys.executable, "-m", "pytest", *words, *map(str, files)],
        cwd=TESTS.parent,
        env=emulated,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, result.stdout[-8000:] + result.stderr[-2000:]
    assert " skipped" not in result.stdout.splitlines()[-1]


def test_the_emulated_device_refuses_what_a_gpu_would(emulated: dict[str, str]) -> None:
    program = """
import emulated_cuda, torch

def attempt():
    there, here = torch.ones(2, 3, device="cuda"), torch.ones(3)
    assert (there + 1).device.type == "cuda" and (there.cpu() + here).device.type == "cpu"
    assert float((there * torch.tensor(2.0)).sum()) == 12.0  # a single number may be the host's
    assert there[torch.tensor([0])].shape == (1, 3)  # and so may indices
    weight = torch.nn.Linear(3, 1).to("cuda").weight
    (there @ weight.T).sum().backward()
    assert weight.grad.device.type == "cuda" and weight.grad.cpu().tolist() == [[2.0] * 3]
    for wrong in (lambda: there + here, lambda: here[there[0].long()], there.numpy):
        try:
            wrong()
        except (RuntimeError, TypeError):
            continue
        raise AssertionError("not refused")

loop = emulated_cuda.pytest_runtestloop()
next(loop)
attempt()
loop.close()
"""
    subprocess.run([sys.executable, "-c", program], env=emulated, check=True)
