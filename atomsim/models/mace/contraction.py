"""MACE's symmetric contraction, a polynomial of an atom's features per element and channel."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from atomsim.models.mace.weights import Forms


def contract(forms: Forms, spans: tuple[slice, ...], x: Tensor) -> list[Tensor]:
    """Evaluate the polynomials of every atom and channel.

    Args:
        forms: coefficients by element.
        spans: atoms of each element.
        x: features, (n_atoms, n, channels).

    Returns:
        One block (n_atoms, 2l + 1, channels) for each of ``forms.sizes``.
    """
    by_channel = x.permute(2, 0, 1).contiguous()
    parts = []
    for k, span in enumerate(spans):
        coefficients = forms.first[k], forms.second[k], forms.third[k]
        parts.append(_Polynomial.apply(by_channel[:, span], *coefficients))
    values = torch.cat(parts, dim=1).permute(1, 2, 0)
    return list(values.split(list(forms.sizes), dim=1))


class _Polynomial(torch.autograd.Function):
    """Value and gradient share their products; coefficients are constants."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, first: Tensor, second: Tensor, third: Tensor) -> Tensor:
        n = x.shape[2]
        quadratic = torch.bmm(x, second)
        cubic = torch.bmm((x[..., :, None] * x[..., None, :]).flatten(2), third)
        slope = (first + 2 * quadratic + 3 * cubic).unflatten(2, (-1, n))
        ctx.save_for_backward(slope)
        result: Tensor = ((first + quadratic + cubic).unflatten(2, (-1, n)) @ x[..., None])[..., 0]
        return result

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (slope,) = ctx.saved_tensors
        return (gradients[0][..., None, :] @ slope)[..., 0, :], None, None, None
