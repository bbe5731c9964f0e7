# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A pytest plugin: tests of GPU code, on a CUDA device whose memory is the host's.

Tensors "on" it hold a CPU tensor that does the arithmetic, and refuse what CUDA's refuse: to meet
a tensor of the host, to become an array. So it finds what a first run on a GPU would: something
that was left on the host. It says nothing of speed, streams or CUDA's own rounding. Wants
backend.cpp, compiled, in LD_PRELOAD; test_gpu_code.py does that.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves, tree_map

aten = torch.ops.aten
_DEVICE = torch.device("cuda", 0)
_COPIES = (aten.copy_.default, aten._to_copy.default)
# Their indices may lie on the host.
_INDEXING = (
    aten.index.Tensor,
    aten.index_put.default,
    aten.index_put_.default,
    aten._index_put_impl_.default,
)
_OF_THE_MODULE = {  # torch.cuda's
    "is_available": lambda: True,
    "is_bf16_supported": lambda *_: True,
    "device_count": lambda: 1,
    "current_device": lambda: 0,
    "set_device": lambda _: None,
    "get_device_capability": lambda _=None: (9, 0),
    "get_device_name": lambda _=None: "emulated",
    "synchronize": lambda _=None: None,
    "manual_seed_all": lambda _: None,
    "_lazy_init": lambda: None,
}


class CudaTensor(Tensor):
    """A tensor that says it lies on a CUDA device.

    Args:
        host: The CPU tensor with its elements.
    """

    host: Tensor

    @staticmethod
    def __new__(cls, host: Tensor) -> CudaTensor:
        self = torch.Tensor._make_wrapper_subclass(
            cls,
            host.shape,
            strides=host.stride(),
            storage_offset=host.storage_offset(),
            dtype=host.dtype,
            layout=host.layout,
            device=_DEVICE,
        )
        self.host = host
        return self

    @classmethod
    def __torch_dispatch__(
        cls,
        function: Any,
        _: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        return _run(function, args, kwargs or {})

    def __repr__(self) -> str:
        return f"CudaTensor({self.host!r})"

    def __reduce_ex__(self, protocol: Any) -> Any:  # as if loaded with map_location="cpu"
        return self.host.detach().__reduce_ex__(protocol)

    def tolist(self) -> Any:
        return self.host.tolist()

    def numpy(self, **_: Any) -> Any:
        raise TypeError("a CUDA tensor cannot become an array: use Tensor.cpu() first")

    __array__ = numpy


class _EmulatedCuda(TorchDispatchMode):
    """Takes what has no CUDA tensor among its arguments, but may be asked for one."""

    def __torch_dispatch__(
        self,
        function: Any,
        _: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        return _run(function, args, kwargs or {})


def _run(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run an operator on the host's tensors; what comes out lies where CUDA would have put it."""
    _refuse_mixed(function, args, kwargs)
    is_cuda = any(isinstance(value, CudaTensor) for value in tree_leaves((args, kwargs)))
    kwargs = {k: v for k, v in kwargs.items() if k not in ("non_blocking", "pin_memory")}
    if kwargs.get("device") is not None:
        is_cuda = torch.device(kwargs["device"]).type == "cuda"
        kwargs["device"] = torch.device("cpu")
    given = {}

    def to_host(value: Any) -> Any:
        if not isinstance(value, CudaTensor):
            return value
        given[id(value.host)] = value
        return value.host

    def from_host(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        if id(value) in given:  # changed in place
            return given[id(value)]
        return CudaTensor(value) if is_cuda else value

    with _disable_current_modes():
        result = function(*tree_map(to_host, args), **tree_map(to_host, kwargs))
    return args[0] if function is aten.copy_.default else tree_map(from_host, result)


def _refuse_mixed(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Raise RuntimeError where CUDA would: tensors of both, but for single numbers."""
    if function in _COPIES:
        return
    tensors = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
    if function in _INDEXING and isinstance(args[0], CudaTensor):
        indices = {id(value) for value in args[1]}
        tensors = [value for value in tensors if id(value) not in indices]
    places = {isinstance(value, CudaTensor) for value in tensors if value.ndim or value.is_cuda}
    if len(places) > 1:
        told = ", ".join(f"{tuple(value.shape)} on {value.device.type}" for value in tensors)
        raise RuntimeError(f"{function}: tensors must lie on one device: {told}")


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop() -> Iterator[None]:
    """Run every test with the device."""
    for name, value in _OF_THE_MODULE.items():
        setattr(torch.cuda, name, value)
    torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(..., device=) asks the mode, too
    # Autograd's thread for the device would outlive the interpreter that it calls.
    with torch.autograd.set_multithreading_enabled(False), _EmulatedCuda():
        return (yield)


# Module.to() would put the other kind of tensor into the parameter that there is.
torch.__future__.set_overwrite_module_params_on_conversion(True)
torch.inference_mode = torch.no_grad  # it keeps such tensors from being taken apart
