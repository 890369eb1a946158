"""SevenNet's convolution with fewer operations: filters are coupled first, channels are multiplied last.

e3nn multiplies each channel of a neighbour with each component of the filter, and couples what comes out: for every
pair, channels × (2 l₁ + 1) × (2 l₂ + 1) numbers. The coupling knows nothing of channels. Here it is applied to the
filter alone, which leaves a small matrix for each pair, (2 l₁ + 1) × (2 l₃ + 1), that all channels share; messages go
to their atoms path by path, so that none is ever held whole. Batzner et al., Nat. Commun. 13, 2453 (2022), Eq. 9.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class _Path:
    """One coupling of a block of the neighbour's features with a block of the filter."""

    source: int
    """Number of the block."""
    channels: int
    filter: int
    target: int
    coupling: Tensor
    """(2 l₂ + 1, (2 l₁ + 1)(2 l₃ + 1)), with the path's normalisation, float64."""


class Convolution(torch.nn.Module):
    """In place of ``IrrepsConvolution`` of ``sevenn``: same weights, same result."""

    def __init__(self, layer: Any) -> None:
        """Take a layer over.

        Args:
            layer: ``IrrepsConvolution`` whose tensor product goes channel by channel; see ``fits``.
        """
        super().__init__()
        self.weight_nn, self.denominator = layer.weight_nn, layer.denominator
        self._keys = (layer.key_x, layer.key_filter, layer.key_weight_input, layer.key_edge_idx)
        self._paths = _paths(layer.convolution)
        product = layer.convolution
        self._sources = [mul * ir.dim for mul, ir in product.irreps_in1]
        self._filters = [mul * ir.dim for mul, ir in product.irreps_in2]
        self._cast: dict[Any, list[Tensor]] = {}

    def forward(self, data: dict[str, Tensor]) -> dict[str, Tensor]:
        """Replace the features of all atoms by the sum of their neighbours' messages."""
        key_x, key_filter, key_weight, key_edges = self._keys
        x, filters, (to, start) = data[key_x], data[key_filter], data[key_edges]
        # split, not cut out: the derivative of a cut fills an array as large as the whole, that of a split none
        gathered = x.index_select(0, start).split(self._sources, dim=1)
        parts = filters.split(self._filters, dim=1)
        weights = self.weight_nn(data[key_weight]).split([path.channels for path in self._paths], dim=1)
        blocks = []
        for path, coupling, factors in zip(self._paths, self._couplings(x), weights, strict=True):
            left = gathered[path.source].unflatten(1, (path.channels, -1))
            components, weight = left.shape[2], factors[:, :, None]
            matrix = (parts[path.filter] @ coupling).unflatten(1, (components, -1))
            if components <= matrix.shape[2]:
                message = _product(left * weight, matrix)
            else:
                message = _product(left, matrix) * weight
            summed = x.new_zeros(len(x), path.channels * matrix.shape[2])
            blocks.append((path.target, summed.index_add(0, to, message.flatten(1))))
        data[key_x] = torch.cat([b for _, b in sorted(blocks, key=lambda pair: pair[0])], dim=1) / self.denominator
        return data

    def _couplings(self, like: Tensor) -> list[Tensor]:
        key = (like.dtype, like.device)
        if key not in self._cast:
            self._cast[key] = [path.coupling.to(like) for path in self._paths]
        return self._cast[key]


def _product(left: Tensor, matrix: Tensor) -> Tensor:
    """(pairs, channels, m) times (pairs, m, n); an outer product where m is 1."""
    return left * matrix if left.shape[2] == 1 else left @ matrix


def fits(layer: Any) -> bool:
    """True for a convolution of ``sevenn`` that is computed by e3nn, channel by channel, on one device."""
    product: Any = getattr(layer, "convolution", None)
    return (
        type(layer).__name__ == "IrrepsConvolution"
        and type(product).__name__ == "TensorProduct"
        and not layer.is_parallel
        and len({ins.i_out for ins in product.instructions}) == len(product.irreps_out) == len(product.instructions)
        and all(ins.connection_mode == "uvu" and ins.has_weight for ins in product.instructions)
        and all(product.irreps_in2[ins.i_in2].mul == 1 for ins in product.instructions)
    )


def _paths(product: Any) -> list[_Path]:
    from e3nn import o3

    found = []
    for ins in product.instructions:
        left, right, out = product.irreps_in1[ins.i_in1], product.irreps_in2[ins.i_in2], product.irreps_out[ins.i_out]
        coupling = ins.path_weight * o3.wigner_3j(left.ir.l, right.ir.l, out.ir.l, dtype=torch.float64)
        coupling = coupling.transpose(0, 1).flatten(1).contiguous()
        found.append(_Path(ins.i_in1, left.mul, ins.i_in2, ins.i_out, coupling))
    return found
