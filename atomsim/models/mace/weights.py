"""Parameters of a MACE model, as plain matrices.

e3nn keeps the weights of a module flat, with normalisations that it applies at each call. Here
they are read once, normalised, and laid out for the products of ``mace_fast``. A block of
features is one entry of an ``Irreps``: angular momentum l with so many channels, as a tensor
(n, 2l + 1, channels).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from math import prod, sqrt
from typing import Any

import torch
from torch import Tensor


class NotStandardError(Exception):
    """A model has a part that ``mace_fast`` does not know; the message names it."""


@dataclass(frozen=True)
class Mix:
    """A product of one input block with a matrix, added to one output block."""

    source: int
    target: int
    matrix: Tensor
    """(channels in, channels out), or (elements, channels in, channels out) where it depends on the element."""


@dataclass(frozen=True)
class CouplingPath:
    """One path of a convolution: block ``source`` with harmonics of one l gives block ``target``."""

    source: int
    harmonics: slice
    """Columns of the spherical harmonics."""
    coupling: Tensor
    """Clebsch–Gordan coefficients as e3nn normalises them, (2 l_harmonics + 1, 2 l_source + 1, 2 l_target + 1)."""
    radial: Tensor
    """Last layer of the radial network, (hidden, channels)."""
    target: int
    mix: Tensor
    """Linear layer after the sum over neighbours, divided by their average number, (channels, channels)."""


@dataclass(frozen=True)
class Forms:
    """Polynomials of one atom's features up to third order, per element and channel.

    With n feature components and m outputs: value_m = Σ_i x_i (T1_mi + Σ_j x_j (T2 + Σ_k x_k T3)).
    Coefficients are symmetrised, which changes no value and makes the gradient T1 + 2 T2 x + 3 T3 x x.
    """

    first: Tensor
    """(elements, channels, 1, m n)."""
    second: Tensor
    """(elements, channels, n, m n)."""
    third: Tensor
    """(elements, channels, n n, m n)."""
    sizes: tuple[int, ...]
    """2l + 1 of each output block; they add up to m."""


def linear(module: Any) -> list[Mix]:
    """Read ``o3.Linear``."""
    _want(module, "o3.Linear", "weight_views")
    if module.bias_numel:
        raise NotStandardError("a linear layer with biases")
    views = module.weight_views(yield_instruction=True)
    found = [Mix(ins.i_in, ins.i_out, (ins.path_weight * w).detach()) for _, ins, w in views]
    if {m.target for m in found} != set(range(len(module.irreps_out))):
        raise NotStandardError(
            f"a linear layer that leaves features at zero ({module.irreps_in} to {module.irreps_out})"
        )
    return found


def element_linear(module: Any, rows: list[int]) -> list[Mix]:
    """Read a product with the one-hot element vector, ``o3.FullyConnectedTensorProduct``, for some elements."""
    _want(module, "o3.FullyConnectedTensorProduct", "weight_views")
    found = []
    for _, ins, w in module.weight_views(yield_instruction=True):
        if module.irreps_in2[ins.i_in2].ir.l != 0 or ins.connection_mode != "uvw":
            raise NotStandardError("a skip connection that is not a product with the element")
        # the Clebsch–Gordan coefficient (l 0 l) is δ / √(2l + 1)
        scale = ins.path_weight / sqrt(module.irreps_out[ins.i_out].ir.dim)
        found.append(Mix(ins.i_in1, ins.i_out, scale * w.detach()[:, rows].transpose(0, 1)))
    return found


def convolution(interaction: Any, average: float) -> list[CouplingPath]:
    """Read the tensor product, the last layer of its weights, and the linear layer behind it."""
    from e3nn import o3

    product, last = interaction.conv_tp, radial_layers(interaction.conv_tp_weights)[-1]
    _want(product, "o3.TensorProduct", "irreps_in1")
    radial = last(torch.eye(last.weight.shape[0], dtype=last.weight.dtype, device=last.weight.device)).detach()
    after = {m.source: m for m in linear(interaction.linear)}
    if len(after) != len(product.irreps_out):
        raise NotStandardError("a convolution whose paths share an output")
    slices, paths, start = product.irreps_in2.slices(), [], 0
    for ins in product.instructions:
        left, right, out = product.irreps_in1[ins.i_in1], product.irreps_in2[ins.i_in2], product.irreps_out[ins.i_out]
        if ins.connection_mode != "uvu" or right.mul != 1 or not ins.has_weight:
            raise NotStandardError("a convolution other than channel by channel")
        coupling = o3.wigner_3j(left.ir.l, right.ir.l, out.ir.l, dtype=radial.dtype, device=radial.device)
        size = prod(ins.path_shape)
        paths.append(
            CouplingPath(
                source=ins.i_in1,
                harmonics=slices[ins.i_in2],
                coupling=(ins.path_weight * coupling.transpose(0, 1)).contiguous(),
                radial=radial[:, start : start + size].contiguous(),
                target=after[ins.i_out].target,
                mix=after[ins.i_out].matrix / average,
            )
        )
        start += size
    return paths


def forms(contractions: Any, rows: list[int]) -> Forms:
    """Read ``SymmetricContraction`` for some elements.

    Batatia et al., NeurIPS 35 (2022), arXiv:2206.07697, Eqs. 10 and 11.
    """
    _want(contractions, "MACE's SymmetricContraction", "contractions")
    parts = [_coefficients(contraction, rows) for contraction in contractions.contractions]
    first, second, third = (torch.cat(order, dim=2) for order in zip(*parts, strict=True))
    # what is summed first goes before what is left: (elements, channels, n…, outputs n)
    return Forms(
        first.flatten(2)[:, :, None].contiguous(),
        second.permute(0, 1, 3, 2, 4).flatten(3).contiguous(),
        third.permute(0, 1, 3, 4, 2, 5).flatten(4).flatten(2, 3).contiguous(),
        tuple(part[0].shape[2] for part in parts),
    )


def _coefficients(contraction: Any, rows: list[int]) -> list[Tensor]:
    """Orders 1, 2 and 3 of one output block, each (elements, channels, 2l + 1, n, …), symmetric in the n."""
    top = contraction.correlation
    if top > 3:
        raise NotStandardError(f"correlation order {top}")
    weights = {top: contraction.weights_max} | {top - 1 - k: w for k, w in enumerate(contraction.weights)}
    n = contraction.U_tensors(1).shape[-2]
    found: list[Tensor] = []
    for order in (1, 2, 3):
        if order > top:
            found.append(found[0].new_zeros(*found[0].shape[:3], *[n] * order))
            continue
        basis, weight = contraction.U_tensors(order), weights[order].detach()
        basis = basis if basis.dim() == order + 2 else basis[None]
        chosen = weight[[0] * len(rows) if len(weight) == 1 else rows]  # a single row serves all elements
        full = torch.einsum("fk,ekc->ecf", basis.flatten(0, -2), chosen).unflatten(2, basis.shape[:-1])
        axes = list(permutations(range(3, 3 + order)))
        found.append(torch.stack([full.permute(0, 1, 2, *a) for a in axes]).mean(dim=0))
    return found


def radial_layers(network: Any) -> list[Any]:
    """Layers of e3nn's ``FullyConnectedNet``, the last one without activation.

    Raises:
        NotStandardError: if it is another kind of network.
    """
    _want(network, "e3nn.nn.FullyConnectedNet", "hs")
    layers = list(network)
    if type(network).__name__ != "FullyConnectedNet" or layers[-1].act is not None:
        raise NotStandardError(f"radial networks of class {type(network).__name__}")
    return layers


def _want(module: Any, what: str, attribute: str) -> None:
    if not hasattr(module, attribute):
        raise NotStandardError(f"{type(module).__name__} where {what} was expected")
