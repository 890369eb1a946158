"""The operations that CHGNet's message passing spends its time on, between matrix products.

Each exists twice: in torch, for every device and precision, and as a compiled loop for single
precision on a CPU (``kernels.c``), which touches memory once instead of a dozen times. A test
holds the two together.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from atomsim.models.chgnet.kernels import library

EPSILON = 1e-5
"""Added to the variance of a layer norm; torch's default, with which CHGNet was trained."""
WIDTH = 64
"""Features that the compiled loops are made for."""


def rows(table: Tensor, index: Tensor) -> Tensor:
    """Gather rows: (n, m) and (k,) to (k, m). Several times faster than indexing, and so is its backward."""
    return table.index_select(0, index)


def segment_sum(values: Tensor, owner: Tensor, n_owners: int) -> Tensor:
    """Sum rows by owner: (n, m) and (n,) to (n_owners, m)."""
    return values.new_zeros(n_owners, values.shape[1]).index_add_(0, owner, values)


def centred(weight: Tensor) -> Tensor:
    """Remove the mean over the output features (last axis), so that a product has mean zero."""
    return weight - weight.mean(dim=-1, keepdim=True)


def gathered(tables: Sequence[Tensor], indices: Sequence[Tensor | None], *, activate: bool) -> Tensor:
    """Sum rows of several tables, (·, m) each, to (n, m), and apply SiLU if asked.

    Args:
        tables: what to gather from.
        indices: row of each table for each of the n results, (n,) int64; None takes the rows as they are.
        activate: apply SiLU to the sum.
    """
    if _compiled(tables[0], 2 * WIDTH):
        result: Tensor = _Gathered.apply(activate, list(indices), *tables)
        return result
    parts = [t if i is None else rows(t, i) for t, i in zip(tables, indices, strict=True)]
    total = sum(parts[1:], parts[0])
    return torch.nn.functional.silu(total) if activate else total


def gated_norm(pair: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """SiLU(norm(core)) × sigmoid(norm(gate)), where norm is a layer norm with scale and shift.

    Args:
        pair: core and gate, (2, n, m), each row with mean zero (see ``centred``).
        scale: of both norms, (2, 1, m).
        shift: of both norms, (2, 1, m).

    Returns:
        (n, m).
    """
    gate: type[torch.autograd.Function] = _CompiledGate if _compiled(pair, WIDTH) else _Gate
    result: Tensor = gate.apply(pair, scale, shift)
    return result


def _compiled(x: Tensor, width: int) -> bool:
    return x.device.type == "cpu" and x.dtype == torch.float32 and x.shape[-1] == width and library() is not None


class _Gate(torch.autograd.Function):
    """In torch: one backward for norm, SiLU, sigmoid and product; weights are constants."""

    @staticmethod
    def forward(ctx: Any, pair: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        inverse = torch.rsqrt((pair * pair).mean(dim=-1, keepdim=True).add_(EPSILON))
        normed = pair * inverse
        x = torch.addcmul(shift, normed, scale)
        s = torch.sigmoid(x)
        core = x[0] * s[0]
        ctx.save_for_backward(normed, inverse, core, s, scale)
        return core * s[1]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        normed, inverse, core, s, scale = ctx.saved_tensors
        through = gradients[0] * s[1]
        g = torch.empty_like(normed)
        # d(x σ)/dx = σ + xσ(1 − σ); dσ/dx = σ(1 − σ)
        torch.mul(through, torch.addcmul(s[0], core, 1 - s[0]), out=g[0])
        torch.mul(through, core, out=g[1]).mul_(1 - s[1])
        g.mul_(scale)
        along = (g * normed).mean(dim=-1, keepdim=True)
        return g.addcmul_(normed, along, value=-1).mul_(inverse), None, None


class _CompiledGate(torch.autograd.Function):
    """The same as one compiled loop each way."""

    @staticmethod
    def forward(ctx: Any, pair: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        pair = pair if pair.stride(2) == 1 else pair.contiguous()
        n = pair.shape[1]
        out, inverse = pair.new_empty(n, WIDTH), pair.new_empty(2, n)
        where = (ctypes.c_int64(n), ctypes.c_int64(pair.stride(1)), ctypes.c_int64(pair.stride(0)))
        _call("gated_forward", *where, pair, scale, shift, ctypes.c_float(EPSILON), out, inverse)
        ctx.save_for_backward(pair, inverse, scale, shift)
        ctx.where = where
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        pair, inverse, scale, shift = ctx.saved_tensors
        change = torch.empty_like(pair)  # keeps the strides
        _call("gated_backward", *ctx.where, gradients[0].contiguous(), pair, inverse, scale, shift, change)
        return change, None, None


class _Gathered(torch.autograd.Function):
    """Gather, add and activate in one compiled loop; the backward scatters in one too."""

    @staticmethod
    def forward(ctx: Any, activate: bool, indices: list[Tensor | None], *tables: Tensor) -> Tensor:
        tables = tuple(t.contiguous() for t in tables)
        first = indices[0]
        n = len(tables[0]) if first is None else len(first)
        total = tables[0].new_empty(n, 2 * WIDTH)
        out = torch.empty_like(total) if activate else None
        shape = (ctypes.c_int64(n), ctypes.c_int(len(tables)))
        _call("gather_forward", *shape, _pointers(tables), _pointers(indices), total, out)
        ctx.indices, ctx.sizes, ctx.shape = indices, [len(t) for t in tables], shape
        ctx.save_for_backward(*([total] if activate else []))
        return total if out is None else out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (total,) = ctx.saved_tensors or (None,)
        changes = [gradients[0].new_zeros(n, 2 * WIDTH) for n in ctx.sizes]
        dy = gradients[0].contiguous()
        _call("gather_backward", *ctx.shape, dy, total, _pointers(changes), _pointers(ctx.indices))
        return (None, None, *changes)


def _call(name: str, *arguments: Any) -> None:
    loaded = library()
    assert loaded is not None
    getattr(loaded, name)(*(_pointer(a) if a is None or isinstance(a, Tensor) else a for a in arguments))


def _pointer(tensor: Tensor | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())


def _pointers(tensors: Sequence[Tensor | None]) -> Any:
    return (ctypes.c_void_p * len(tensors))(*(None if t is None else t.data_ptr() for t in tensors))
