"""Layers of MACE: sums over neighbours, the symmetric contraction, and mixing of channels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from atomsim.models.mace.contraction import contract
from atomsim.models.mace.loops import Convolution, Monomials, contract_monomials, convolve, gather_elements
from atomsim.models.mace.neighbor_table import Table
from atomsim.models.mace.weights import CouplingPath, Forms, Mix

Blocks = list[Tensor]
"""Features of atoms, one tensor (n_atoms, 2l + 1, channels) per irrep."""


@dataclass(frozen=True)
class Layer:
    """One interaction and product block, for some elements."""

    up: list[Mix]
    paths: list[CouplingPath]
    n_targets: int
    skip: list[Mix]
    """By element; on what the atom was before (residual) or on the message."""
    residual: bool
    forms: Forms
    out: list[Mix]
    of_elements: list[tuple[CouplingPath, Tensor]] | None
    """On the first layer, for each path, all that acts after the sum over neighbours, (elements × hidden, channels)."""
    by_loops: Convolution | None = None
    """The paths for compiled loops, where there are some."""
    terms: Monomials | None = None
    """The same of ``forms``."""


@dataclass(frozen=True)
class Edges:
    """Features of bonds for a layer."""

    hidden: Tensor
    """Radial network before its last layer, (n_bonds, hidden)."""
    harmonics: Tensor
    """Spherical harmonics of each slot, 0 in empty ones, (n_atoms, n_slots, n_harmonics)."""
    density: Tensor | None
    """Divisor of messages, (n_atoms, 1, 1), if not a constant."""


def interact(layer: Layer, t: Table, features: Blocks, edges: Edges, one_path: Callable[..., Tensor]) -> Blocks:
    """Return what the atoms' features become; ``one_path`` is ``path_message`` or equal to it."""
    if layer.of_elements is not None:
        message = _convolve_elements(layer, t, layer.of_elements, edges)
    else:
        message = _convolve(layer, t, mix_channels(layer.up, features), edges, one_path)
    if edges.density is not None:
        message = [m / edges.density for m in message]
    if not layer.residual:
        message = list(_mix_by_element(layer.skip, t, message).values())
    product = mix_channels(layer.out, _contract(layer, t, torch.cat(message, dim=1)))
    if not layer.residual:
        return product
    skipped = _mix_by_element(layer.skip, t, features)
    return [p + skipped[k] if k in skipped else p for k, p in enumerate(product)]


def _contract(layer: Layer, t: Table, x: Tensor) -> Blocks:
    if layer.terms is not None:
        return contract_monomials(layer.terms, layer.forms.sizes, t.spans, x)
    return contract(layer.forms, t.spans, x)


def _convolve_elements(layer: Layer, t: Table, weights: list[tuple[CouplingPath, Tensor]], edges: Edges) -> Blocks:
    """Convolve scalars that depend on the element alone: neighbours first, radial network last."""
    hidden, harmonics = edges.hidden, edges.harmonics
    n_kinds, n_harmonics = len(t.numbers), harmonics.shape[-1]
    if layer.by_loops is not None:
        summed = gather_elements(t, hidden, harmonics)
        return _by_target(layer, [summed[:, p.harmonics] @ w for p, w in weights])
    is_kind = torch.nn.functional.one_hot(t.kind.index_select(0, t.neighbor.flatten()), n_kinds).to(hidden.dtype)
    left = harmonics[..., None] * is_kind.view(*t.neighbor.shape, 1, n_kinds)
    # (atoms, harmonics × elements, slots) · (atoms, slots, hidden)
    summed = left.flatten(2).mT @ in_slots(hidden, t.bond)
    summed = summed.view(len(t.kind), n_harmonics, n_kinds * hidden.shape[1])
    return _by_target(layer, [summed[:, p.harmonics] @ w for p, w in weights])


def _convolve(layer: Layer, t: Table, raised: Blocks, edges: Edges, one_path: Callable[..., Tensor]) -> Blocks:
    if layer.by_loops is not None:
        how = layer.by_loops
        summed = convolve(how, t, raised, edges.hidden @ how.radial, edges.harmonics)
        return _by_target(layer, [summed[:, s] @ p.mix for s, p in zip(how.targets, layer.paths, strict=True)])
    hidden = in_slots(edges.hidden, t.bond)
    sources = [in_slots(x.flatten(1), t.neighbor).unflatten(2, x.shape[1:]) for x in raised]
    messages = []
    for p in layer.paths:
        harmonics = edges.harmonics[..., p.harmonics]
        messages.append(one_path(sources[p.source], hidden, harmonics, p.radial, p.coupling, p.mix))
    return _by_target(layer, messages)


def _by_target(layer: Layer, products: list[Tensor]) -> Blocks:
    parts: list[list[Tensor]] = [[] for _ in range(layer.n_targets)]
    for path, product in zip(layer.paths, products, strict=True):
        parts[path.target].append(product)
    return [sum(p[1:], p[0]) for p in parts]


def path_message(
    source: Tensor, hidden: Tensor, harmonics: Tensor, radial: Tensor, coupling: Tensor, mix: Tensor
) -> Tensor:
    """Return one path's part of the message, (n_atoms, 2 l_target + 1, channels).

    Args:
        source: neighbours' features, (n_atoms, n_slots, 2 l_source + 1, channels).
        hidden: radial network before its last layer, (n_atoms, n_slots, hidden).
        harmonics: (n_atoms, n_slots, 2 l + 1).
        radial: see ``CouplingPath``.
        coupling: see ``CouplingPath``.
        mix: see ``CouplingPath``.
    """
    # one row of the sum for each neighbour and component of its features
    weighted = source * (hidden @ radial)[:, :, None]
    coupled = (harmonics @ coupling.flatten(1)).unflatten(2, coupling.shape[1:])
    result: Tensor = (coupled.flatten(1, 2).mT @ weighted.flatten(1, 2)) @ mix
    return result


def in_slots(values: Tensor, index: Tensor) -> Tensor:
    """Return the rows that slots name, (n_atoms, n_slots, columns)."""
    return values.index_select(0, index.flatten()).view(*index.shape, values.shape[1])


def mix_channels(mixes: list[Mix], blocks: Blocks) -> Blocks:
    """Mix the channels of each block."""
    found = _added(mixes, [blocks[m.source] @ m.matrix for m in mixes])
    return [found[k] for k in range(len(found))]


def _mix_by_element(mixes: list[Mix], t: Table, blocks: Blocks) -> dict[int, Tensor]:
    products = []
    for mix in mixes:
        spans = zip(t.spans, mix.matrix, strict=True)
        products.append(torch.cat([blocks[mix.source][span] @ matrix for span, matrix in spans]))
    return _added(mixes, products)


def _added(mixes: list[Mix], products: list[Tensor]) -> dict[int, Tensor]:
    found: dict[int, Tensor] = {}
    for mix, product in zip(mixes, products, strict=True):
        found[mix.target] = found[mix.target] + product if mix.target in found else product
    return found
