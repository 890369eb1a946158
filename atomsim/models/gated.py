"""The operations that CHGNet's message passing spends its time on.

On a CPU these are bound by memory, so what counts is the number of passes over rows:
``index_select`` (a row copy, and a row sum in its backward) is several times faster than
indexing; a layer norm whose input has mean zero by construction is two passes shorter.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

EPSILON = 1e-5
"""Added to the variance of a layer norm; torch's default, with which CHGNet was trained."""


def rows(table: Tensor, index: Tensor) -> Tensor:
    """Gather rows: (n, m) and (k,) to (k, m)."""
    return table.index_select(0, index)


def segment_sum(values: Tensor, owner: Tensor, n_owners: int) -> Tensor:
    """Sum rows by owner: (n, m) and (n,) to (n_owners, m)."""
    return values.new_zeros(n_owners, values.shape[1]).index_add_(0, owner, values)


def centred(weight: Tensor) -> Tensor:
    """Remove the mean over the output features (last axis), so that a product has mean zero."""
    return weight - weight.mean(dim=-1, keepdim=True)


def gated_norm(pair: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """SiLU(norm(core)) × sigmoid(norm(gate)), where norm is a layer norm with scale and shift.

    Args:
        pair: core and gate, (2, n, m), each row with mean zero (see ``centred``).
        scale: of both norms, (2, 1, m).
        shift: of both norms, (2, 1, m).

    Returns:
        (n, m).
    """
    return _GatedNorm.apply(pair, scale, shift)


class _GatedNorm(torch.autograd.Function):
    """One backward for norm, SiLU, sigmoid and product; weights are constants."""

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
