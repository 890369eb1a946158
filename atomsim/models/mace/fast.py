"""MACE's own function, computed with far fewer operations.

For models built of the standard interaction blocks, plain or residual, energies are the same
to rounding; what differs is how they are computed:

- neighbours are laid out in a table, atom by atom, so that the sum over neighbours is a matrix
  product (harmonics × neighbours) · (neighbours × channels); messages are never written out;
- before the first convolution an atom is nothing but its element. Then the sum over neighbours
  can be done before the radial network's last and largest layer, which acts on one row per
  element and harmonic instead of one per neighbour;
- what a bond's two directions share (radial basis, radial network, harmonics up to sign) is
  computed once;
- products with the one-hot element vector are a choice of matrix: atoms are sorted by element;
- the symmetric contraction is a polynomial of third order per element and channel; its
  coefficients are multiplied out once, and value and gradient come from the same product.

Batatia et al., NeurIPS 35 (2022), arXiv:2206.07697; the first layer's order of sums is that of
the atomic cluster expansion, Drautz, Phys. Rev. B 99, 014104 (2019).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from atomsim.batch import Batch
from atomsim.models.mace.layers import Blocks, Edges, Layer, in_slots, interact, mix_channels, path_message
from atomsim.models.mace.loops import (
    convolution_loops,
    loops,
    monomials,
)
from atomsim.models.mace.neighbor_table import Table, neighbor_table
from atomsim.models.mace.weights import (
    CouplingPath,
    NotStandardError,
    convolution,
    element_linear,
    forms,
    linear,
    radial_layers,
)
from atomsim.models.neighbors import Neighbors

_PLAIN = {"RealAgnosticInteractionBlock", "RealAgnosticDensityInteractionBlock"}
_RESIDUAL = {"RealAgnosticResidualInteractionBlock", "RealAgnosticDensityResidualInteractionBlock"}


@dataclass(frozen=True)
class Layout:
    """Tables that bonds decide, wherever their atoms are."""

    table: Table
    attributes: Tensor
    """One-hot elements, atoms in the table's order, (n_atoms, n_elements)."""
    ends: Tensor
    """Places of the two atoms of each bond, (2, n_bonds)."""
    layers: list[Layer]
    """For the elements present."""


@dataclass(frozen=True)
class _Inputs:
    """Values of a batch that all layers share."""

    length: Tensor
    """Length of each bond, Å, (n_bonds, 1)."""
    edge: Tensor
    envelope: Tensor | None
    harmonics: Tensor


class FastMace:
    """A MACE model's atomic energies from bond vectors.

    Args:
        model: a ``MACE`` or ``ScaleShiftMACE`` in evaluation mode, parameters frozen; kept, not changed.
        head: index of the head.

    Raises:
        NotStandardError: if the model has a part that is not known here.
    """

    both_directions = False
    use_loops = True
    """Take compiled loops where there are some."""

    def __init__(self, model: Any, head: int) -> None:
        for interaction in model.interactions:
            kind = type(interaction).__name__
            if kind not in _PLAIN | _RESIDUAL:
                raise NotStandardError(f"interactions of class {kind}")
        self.model, self.head = model, head
        self.path_message = path_message
        self.rows = {int(z): k for k, z in enumerate(model.atomic_numbers)}
        self._layers: dict[tuple[int, ...], list[Layer]] = {}
        parity = [torch.full((ir.dim,), float((-1) ** ir.l)) for _, ir in model.spherical_harmonics.irreps_out]
        self._parity = torch.cat(parity).to(model.r_max)
        self._read((next(iter(self.rows)),))  # complain now, not at the first call

    @property
    def n_channels(self) -> int:
        """Channels of an atom's features before the first layer."""
        return int(self.model.node_embedding.linear.irreps_out.dim)

    def without_loops(self) -> FastMace:
        """Return the same on torch's products alone."""
        plain = FastMace(self.model, self.head)
        plain.use_loops = False
        plain._layers.clear()
        return plain

    def atom_energies(self, batch: Batch, bonds: Neighbors, vectors: Tensor) -> Tensor:
        """Return atomic energies, eV, (n_atoms,), in float64.

        Args:
            batch: the systems.
            bonds: pairs within the cutoff, each in one direction.
            vectors: from i to j, Å, (n_bonds, 3).
        """
        return self.energies(self.layout(batch, bonds), vectors)

    def layout(self, batch: Batch, bonds: Neighbors) -> Layout:
        """Lay out bonds, each listed in one direction; for this a device is waited for, for energies it is not."""
        t = neighbor_table(batch, bonds)
        return self.laid(t, torch.stack([t.place[bonds.i], t.place[bonds.j]]))

    def laid(self, t: Table, ends: Tensor) -> Layout:
        """Return the layout of a table, with the places of the atoms of each bond, (2, n_bonds)."""
        rows = torch.tensor([self.rows[z] for z in t.numbers], device=t.kind.device)
        attributes = torch.nn.functional.one_hot(rows[t.kind], len(self.rows)).to(self.model.r_max.dtype)
        return Layout(t, attributes, ends, self._read(t.numbers))

    def energies(self, laid: Layout, vectors: Tensor) -> Tensor:
        """Return atomic energies, eV, (n_atoms,), in float64; ``vectors`` lead along the bonds, Å, (n_bonds, 3)."""
        model, t, inputs = self.model, laid.table, self._inputs(laid, vectors)
        heads = torch.full((len(t.kind),), self.head, dtype=torch.int64, device=t.kind.device)
        energies = self._repulsion(inputs.length, laid)
        readouts, n_layers = list(model.readouts), len(model.interactions)
        for n, features in enumerate(self._after_layers(laid, inputs)):
            k = n if len(readouts) > 1 else n - n_layers + 1
            if 0 <= k < len(readouts):
                energies = energies + readouts[k](_flat(features), heads)[:, self.head]
        if hasattr(model, "scale_shift"):
            energies = model.scale_shift(energies, heads)
        alone = model.atomic_energies_fn(laid.attributes)[:, self.head]
        result: Tensor = (alone.to(torch.float64) + energies.to(torch.float64)).index_select(0, t.place)
        return result

    def atom_features(self, batch: Batch, bonds: Neighbors, vectors: Tensor) -> Tensor:
        """Return what the readouts see of each atom that does not turn with it, (n_atoms, layers × channels).

        Args:
            batch: the systems.
            bonds: pairs within the cutoff, each in one direction.
            vectors: from i to j, Å, (n_bonds, 3).
        """
        laid = self.layout(batch, bonds)
        scalars = [features[0][:, 0] for features in self._after_layers(laid, self._inputs(laid, vectors))]
        return torch.cat(scalars, dim=1).index_select(0, laid.table.place)

    def _inputs(self, laid: Layout, vectors: Tensor) -> _Inputs:
        """Everything of a geometry that all layers share."""
        x = vectors.to(self.model.r_max.dtype)
        length = x.norm(dim=1, keepdim=True)
        edge, envelope = self.model.radial_embedding(length, laid.attributes, laid.ends, self.model.atomic_numbers)
        return _Inputs(length, edge, envelope, self._harmonics(laid.table, x))

    def _after_layers(self, laid: Layout, inputs: _Inputs) -> Iterator[Blocks]:
        """Features of atoms after each layer."""
        t, features = laid.table, [self.model.node_embedding(laid.attributes)[:, None]]
        for n, layer in enumerate(laid.layers):
            hidden = _radial(self.model.interactions[n].conv_tp_weights, inputs.edge, inputs.envelope)
            density = self._density(n, t, inputs.edge, inputs.envelope)
            features = interact(layer, t, features, Edges(hidden, inputs.harmonics, density), self.path_message)
            yield features

    def _harmonics(self, t: Table, vectors: Tensor) -> Tensor:
        """Spherical harmonics of each slot, 0 where it is empty, (n_atoms, n_slots, n_harmonics)."""
        sign = t.sign.to(vectors.dtype)[..., None]
        slots = in_slots(self.model.spherical_harmonics(vectors), t.bond)
        return slots * torch.where(sign < 0, sign.abs() * self._parity, sign)

    def _repulsion(self, length: Tensor, laid: Layout) -> Tensor:
        if not hasattr(self.model, "pair_repulsion"):
            return torch.zeros_like(laid.attributes[:, 0])
        numbers = self.model.atomic_numbers
        ends = (laid.ends, laid.ends.flip(0))
        both = (self.model.pair_repulsion_fn(length, laid.attributes, e, numbers) for e in ends)
        return sum(both, torch.zeros_like(laid.attributes[:, 0]))

    def _density(self, n: int, t: Table, edge: Tensor, envelope: Tensor | None) -> Tensor | None:
        """Divisor of messages, (n_atoms, 1, 1), in the blocks that normalise by density."""
        interaction = self.model.interactions[n]
        if not hasattr(interaction, "density_fn"):
            return None
        of_bond = torch.tanh(interaction.density_fn(edge) ** 2)
        of_bond = of_bond if envelope is None else of_bond * envelope
        slots = in_slots(of_bond, t.bond) * t.sign.abs()[..., None]
        return slots.sum(dim=1, keepdim=True) + 1

    def _read(self, numbers: tuple[int, ...]) -> list[Layer]:
        """Layers for these elements; kept, since a campaign has few sets of elements."""
        if numbers not in self._layers:
            if len(self._layers) >= 8:
                self._layers.pop(next(iter(self._layers)))
            rows = [self.rows[z] for z in numbers]
            blocks = zip(self.model.interactions, self.model.products, strict=True)
            layers = [_layer(interaction, product, rows) for interaction, product in blocks]
            dtype, device = self.model.r_max.dtype, self.model.r_max.device
            elements = torch.eye(len(self.rows), dtype=dtype, device=device)[rows]
            layers[0] = _element_layer(layers[0], self.model.node_embedding(elements))
            if self.use_loops and loops(device, dtype) is not None:
                layers = [replace(x, by_loops=convolution_loops(x.paths), terms=monomials(x.forms)) for x in layers]
            self._layers[numbers] = layers
        return self._layers[numbers]


def _layer(interaction: Any, product: Any, rows: list[int]) -> Layer:
    residual = type(interaction).__name__ in _RESIDUAL
    dense = hasattr(interaction, "density_fn")
    used = not residual or product.use_sc
    return Layer(
        up=linear(interaction.linear_up),
        paths=convolution(interaction, 1.0 if dense else float(interaction.avg_num_neighbors)),
        n_targets=len(interaction.linear.irreps_out),
        skip=element_linear(interaction.skip_tp, rows) if used else [],
        residual=residual,
        forms=forms(product.symmetric_contractions, rows),
        out=linear(product.linear),
        of_elements=None,
    )


def _element_layer(layer: Layer, embedded: Tensor) -> Layer:
    """Make a layer the first one: what its convolution sees of an atom is its element's row of ``embedded``."""
    raised = mix_channels(layer.up, [embedded])
    weights = [
        _scale_of(p) * torch.einsum("zc,hc,cd->zhd", raised[p.source], p.radial, p.mix).flatten(0, 1)
        for p in layer.paths
    ]
    return replace(layer, of_elements=list(zip(layer.paths, weights, strict=True)))


def _scale_of(path: CouplingPath) -> float:
    """Clebsch–Gordan coefficients of a scalar with l are δ, but for a factor."""
    matrix = path.coupling[:, 0]
    scale = float(matrix[0, 0])
    if not torch.allclose(matrix, scale * torch.eye(len(matrix)).to(matrix), atol=1e-6 * abs(scale)):
        raise NotStandardError("a first convolution that mixes components")
    return scale


def _radial(network: Any, edge: Tensor, envelope: Tensor | None) -> Tensor:
    """All but the last layer of the radial network, (n_bonds, hidden)."""
    for layer in radial_layers(network)[:-1]:
        edge = layer(edge)
    return edge if envelope is None else edge * envelope


def _flat(blocks: Blocks) -> Tensor:
    """The layout of e3nn: block by block, channel by channel."""
    return torch.cat([b.mT.flatten(1) for b in blocks], dim=1)
