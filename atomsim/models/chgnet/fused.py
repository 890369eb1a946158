"""CHGNet on a CUDA card in single precision: messages are computed where they are summed up.

The function is that of ``launches``. What has a row for each edge or angle is most of an evaluation's memory and
nearly all of its traffic, so each layer keeps only its small inputs, computes its messages in tiles (see ``tiles``)
and computes them again for the derivative. Sums have a fixed order.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from atomsim.batch import Batch
from atomsim.models.chgnet.graph import BondGraph, short_edges
from atomsim.models.chgnet.launches import WIDTH, Launches, Layer

try:
    from atomsim.models.chgnet import tiles
except ImportError:  # torch brings Triton for CUDA on Linux only
    tiles = None  # type: ignore[assignment]


@lru_cache
def kernels_missing(device: torch.device) -> str:
    """Reason why kernels cannot be compiled for a device; empty where they can."""
    if device.type != "cuda":
        return "fused kernels are for CUDA"
    if tiles is None:
        return "no fused kernels: Triton is not installed"
    try:
        with torch.cuda.device(device):
            rows = torch.ones(2, WIDTH, device=device)
            works = bool((tiles.sum_pairs(rows, torch.tensor([[0, 1]], device=device)) == 2).all())
    except Exception as error:  # a missing compiler, an old card, an old driver: each its own kind
        return f"no fused kernels: {type(error).__name__}: {str(error).strip().partition(chr(10))[0][:200]}"
    return "" if works else "no fused kernels: they compute wrongly here"


@dataclass(frozen=True)
class Plan:
    """Where tiles find their rows and which rows are summed: made once for a graph."""

    graph: BondGraph
    edges: tuple[Tensor, ...]
    """Rows of atoms as center and as neighbour, and of bonds, for each directed edge."""
    angles: tuple[Tensor, ...]
    """Rows of bonds as left and as right arm, of atoms and of unordered pairs, for each angle."""
    pair_arms: Tensor
    """Bonds of the two arms of each unordered pair, (n_angles,), int64."""
    pair_sign: Tensor
    """1, or −1 where the bonds of a pair point differently, (n_angles / 2, 1), float32."""
    edge_start: Tensor
    """First edge of each atom, (n_atoms + 1,), int64."""
    edge_twins: Tensor
    """Both edges of each bond, (n_bonds, 2), int64."""
    edge_reverse: Tensor
    """The other edge of the same bond, (2 n_bonds,), int64."""
    angle_start: Tensor
    """First angle of each short edge, its left arm, (2 n_short + 1,), int64."""
    angle_twins: Tensor
    """Both orders of each pair of arms, (n_angles / 2, 2), int64."""
    angle_reverse: Tensor
    """The other order, (n_angles,), int64."""
    short_start: Tensor
    """First short edge of each atom, (n_atoms + 1,), int64."""
    short_twins: Tensor
    """Both short edges of each short bond, (n_short, 2), int64."""

    @classmethod
    def of(cls, g: BondGraph, n_atoms: int) -> Plan:
        """Prepare a graph."""
        atoms = torch.arange(n_atoms + 1, device=g.center.device)
        short = short_edges(g.bond, g.n_short)
        corner = g.center.index_select(0, short)
        short_start = torch.searchsorted(corner, atoms)
        edge_twins, angle_twins = _twins(g.bond), _twins(g.angle_pair)
        return cls(
            graph=g,
            edges=(g.center, g.neighbor, g.bond, g.bond),
            angles=(g.angle_bond[0], g.angle_bond[1], g.angle_center, g.angle_pair),
            pair_arms=g.angle_bond.index_select(1, g.pair_angle).flatten(),
            pair_sign=g.angle_sign.index_select(0, g.pair_angle)[:, None].to(torch.float32),
            edge_start=torch.searchsorted(g.center, atoms),
            edge_twins=edge_twins,
            edge_reverse=_reverse(edge_twins),
            angle_start=torch.cat([g.angle_count.new_zeros(1), g.angle_count.cumsum(0)]),
            angle_twins=angle_twins,
            angle_reverse=_reverse(angle_twins),
            short_start=short_start,
            short_twins=_twins(g.bond.index_select(0, short)),
        )


def _twins(label: Tensor) -> Tensor:
    """The two rows that carry each label, in their order: (n,) to (n / 2, 2)."""
    return torch.sort(label, stable=True)[1].view(-1, 2)


def _reverse(twins: Tensor) -> Tensor:
    return torch.empty_like(twins).flatten().scatter_(0, twins.flatten(), twins.flip(1).flatten())


def _weights(layer: Layer) -> tuple[Tensor | None, ...]:
    gate = layer.gate
    return layer.third, gate.second, gate.second_bias, gate.scale, gate.shift


def _turned(layer: Layer) -> tuple[Tensor | None, ...]:
    return layer.third_turned, layer.second_turned


class _Edges(torch.autograd.Function):
    """Atoms with the sums of their edges' messages."""

    @staticmethod
    def forward(
        ctx: Any, layer: Layer, long: tuple[Tensor, Tensor], plan: Plan,
        atom: Tensor, bond: Tensor, far: Tensor, weight: Tensor,
    ) -> Tensor:  # fmt: skip
        ctx.layer, ctx.long, ctx.plan = layer, long, plan
        ctx.save_for_backward(atom, bond, far, weight)
        tables = _Edges.tables(layer, long, atom, bond, far)
        assert layer.gate.out is not None
        message = tiles.forward_rows(plan.edges, *tables, None, _weights(layer), weight, in_order=True)
        return torch.addmm(atom, tiles.sum_runs(message, plan.edge_start, pieces=1), layer.gate.out)

    @staticmethod
    def tables(
        layer: Layer, long: tuple[Tensor, Tensor], atom: Tensor, bond: Tensor, far: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Products of atoms in both roles and of bonds, short ones first."""
        n = len(bond)
        of_bond = bond.new_empty(n + len(far), 2 * WIDTH)
        torch.mm(bond, layer.single, out=of_bond[:n])
        torch.mm(far, long[0], out=of_bond[n:])
        return torch.addmm(layer.bias, atom, layer.double), of_bond

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        atom, bond, far, weight = ctx.saved_tensors
        layer, long, plan, (g,) = ctx.layer, ctx.long, ctx.plan, gradients
        tables = _Edges.tables(layer, long, atom, bond, far)
        of_row, _ = tiles.backward_rows(
            plan.edges, *tables, None, _weights(layer), _turned(layer), weight, g @ layer.out_turned, in_order=True
        )
        of_atom = None
        if ctx.needs_input_grad[3]:
            of_atom = tiles.sum_runs(of_row, plan.edge_start, plan.edge_reverse, pieces=4)
            of_atom = torch.addmm(g, of_atom, layer.double_turned)
        of_bond = tiles.sum_pairs(of_row, plan.edge_twins)
        of_short, of_long = of_bond[:, : 2 * WIDTH].split([len(bond), len(far)])
        return None, None, None, of_atom, of_short @ layer.single_turned, of_long @ long[1], of_bond[:, 2 * WIDTH :]


class _Angles(torch.autograd.Function):
    """Bonds with the sums of their angles' messages; or, without weights, updated angles."""

    @staticmethod
    def forward(
        ctx: Any, layer: Layer, plan: Plan, in_order: bool,
        bond: Tensor, atom: Tensor, angle: Tensor, weight: Tensor | None,
    ) -> Tensor:  # fmt: skip
        ctx.layer, ctx.plan, ctx.in_order = layer, plan, in_order
        ctx.save_for_backward(bond, atom, angle, weight)
        double, single = torch.addmm(layer.bias, bond, layer.double), atom @ layer.single
        message = tiles.forward_rows(plan.angles, double, single, angle, _weights(layer), weight, in_order=in_order)
        if weight is None or layer.gate.out is None:
            return message
        total = tiles.sum_pairs(tiles.sum_runs(message, plan.angle_start, pieces=1), plan.short_twins)
        return torch.addmm(bond, total, layer.gate.out)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        bond, atom, angle, weight = ctx.saved_tensors
        layer, plan, (g,) = ctx.layer, ctx.plan, gradients
        double, single = torch.addmm(layer.bias, bond, layer.double), atom @ layer.single
        of_row, of_angle = tiles.backward_rows(
            plan.angles, double, single, angle, _weights(layer), _turned(layer), weight,
            g.contiguous() if weight is None else g @ layer.out_turned, in_order=ctx.in_order,
        )  # fmt: skip
        of_edge = tiles.sum_runs(
            of_row, plan.angle_start, plan.angle_reverse, weight, plan.angles[1], pieces=4 if weight is None else 5
        )
        del of_row
        if of_angle is not None and not ctx.in_order:
            of_angle = tiles.sum_pairs(of_angle, plan.angle_twins)
        of_atom = tiles.sum_runs(of_edge, plan.short_start, pieces=2) @ layer.single_turned
        of_bond = tiles.sum_pairs(of_edge, plan.short_twins)
        of_double = of_bond[:, : 4 * WIDTH]
        if weight is None:
            return None, None, None, of_double @ layer.double_turned, of_atom, of_angle, None
        of_double = torch.addmm(g, of_double, layer.double_turned)
        return None, None, None, of_double, of_atom, of_angle, of_bond[:, 4 * WIDTH :]


@dataclass
class Fused(Launches):
    """``Launches`` with messages in tiles; for single precision."""

    small = 2**20

    def __post_init__(self) -> None:
        super().__post_init__()
        long = [self._from_near @ gate.parts[1] for gate in self.atom_conv]
        self._long = [(w.contiguous(), w.mT.contiguous()) for w in long]

    def prepare(self, graph: BondGraph, n_atoms: int) -> Plan:  # type: ignore[override]
        """Lay out a graph's rows and sums."""
        return Plan.of(graph, n_atoms)

    def __call__(self, batch: Batch, plan: Plan, vector: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """Return atomic energies without those of the elements, eV, and moments, μB, (n_atoms,) each."""
        device = vector.device
        with torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext():
            return self._evaluated(batch, plan, vector)

    def _evaluated(self, batch: Batch, plan: Plan, vector: Tensor) -> tuple[Tensor, Tensor]:
        n = plan.graph.n_short
        basis, short_basis, unit = self._bases(vector, n)
        near, far = basis.split([n, len(basis) - n])
        weight, arm = basis @ self._turned["bond_weights_ag"], short_basis @ self._turned["bond_weights_bg"]
        angle = self._angle_features(plan.pair_arms, plan.pair_sign, unit)
        atom = self.weights["atom_embedding.embedding.weight"].index_select(0, batch.numbers - 1)
        bond = near @ self._from_near
        for k, layer in enumerate(self._bonds):
            atom = _Edges.apply(self._atoms[k], self._long[k], plan, atom, bond, far, weight)
            bond = _Angles.apply(layer, plan, k > 0, bond, atom, angle, arm)
            if k < len(self._angles):
                angle = _Angles.apply(self._angles[k], plan, k > 0, bond, atom, angle, None)
        magmoms = self._moments(atom)
        return self._read_out(_Edges.apply(self._atoms[-1], self._long[-1], plan, atom, bond, far, weight)), magmoms
