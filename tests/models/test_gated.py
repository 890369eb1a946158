"""The compiled loops equal the same operations in torch, also where exponentials overflow."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from atomsim.models.chgnet import gated
from atomsim.models.chgnet.kernels import library, reason

needs_kernels = pytest.mark.skipif(library() is None, reason=f"no compiled kernels: {reason()}")


def derivatives(function, inputs: list[torch.Tensor], weights: torch.Tensor) -> list[torch.Tensor]:
    leaves = [x.clone().requires_grad_(True) for x in inputs]
    value = function(*leaves)
    return [value.detach(), *torch.autograd.grad((value * weights).sum(), leaves)]


def in_torch(function, inputs, weights, monkeypatch) -> list[torch.Tensor]:
    monkeypatch.setattr(gated, "library", lambda: None)
    return derivatives(function, inputs, weights)


@needs_kernels
@pytest.mark.parametrize("size", [0.1, 1.0, 100.0])
@pytest.mark.parametrize("rows_first", [False, True])
def test_gated_norm(size, rows_first, monkeypatch):
    torch.manual_seed(0)
    shape = (37, 2, 64) if rows_first else (2, 37, 64)
    pair = gated.centred(size * torch.randn(shape))
    scale, shift, weights = torch.randn(2, 1, 64), 3 * torch.randn(2, 1, 64), torch.randn(37, 64)

    def function(x: torch.Tensor) -> torch.Tensor:
        return gated.gated_norm(x.transpose(0, 1) if rows_first else x, scale, shift)

    found = derivatives(function, [pair], weights)
    wanted = in_torch(function, [pair], weights, monkeypatch)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, atol=2e-5, rtol=2e-5)


@needs_kernels
@pytest.mark.parametrize("activate", [False, True])
@pytest.mark.parametrize("size", [1.0, 60.0])
def test_gathered(activate, size, monkeypatch):
    torch.manual_seed(1)
    tables = [size * torch.randn(n, 128) for n in (5, 9, 40, 3)]
    indices = [torch.randint(5, (40,)), torch.randint(9, (40,)), None, torch.randint(3, (40,))]
    weights = torch.randn(40, 128)

    def function(*x: torch.Tensor) -> torch.Tensor:
        return gated.gathered(x, indices, activate=activate)

    found = derivatives(function, tables, weights)
    wanted = in_torch(function, tables, weights, monkeypatch)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5 * size, rtol=1e-5)


@needs_kernels
def test_loading_them_leaves_denormals_alone():
    """Linking with -ffast-math would make the whole process flush them to zero."""
    code = (
        "import numpy as np; from atomsim.models.chgnet.kernels import library; assert library() is not None; "
        "x = np.float32(1e-38); assert x * np.float32(0.1) > 0"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_a_compiler_everything_runs_in_torch(monkeypatch):
    from atomsim.models.chgnet import kernels

    monkeypatch.setenv("ATOMSIM_KERNELS", "off")
    assert kernels._load.__wrapped__() == (None, "ATOMSIM_KERNELS is off")
    monkeypatch.delenv("ATOMSIM_KERNELS")
    monkeypatch.setenv("PATH", "")
    assert kernels._load.__wrapped__() == (None, "no C compiler found")
