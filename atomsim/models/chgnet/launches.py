"""CHGNet in few operations, for devices on which starting an operation is what costs.

A GPU computes a small system faster than the host can ask it to. So what depends on the graph alone is kept with the
graph (see ``KeptGraph``), rows of several tables are gathered by one operation, products with one tensor are one
product with joined weights, and each layer is one node of the derivative. Bonds between the cutoff and the
neighbour list's reach stay in: the envelope makes what they say exactly zero. The function is that of ``chgnet``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own customary name)
from torch import Tensor

from atomsim.batch import Batch
from atomsim.models.chgnet.gated import EPSILON
from atomsim.models.chgnet.graph import BondGraph

if TYPE_CHECKING:
    from atomsim.models.chgnet.potential import Gate, Weights

WIDTH = 64
"""Features of atoms, bonds, angles and messages."""


@dataclass(frozen=True)
class Rows:
    """Rows of one table that are added up for each result."""

    each: tuple[Tensor, ...]
    """Row of every summand, (n,), int64."""
    all: Tensor
    """One after the other."""

    @classmethod
    def of(cls, *each: Tensor) -> Rows:
        """Lay them out."""
        return cls(each, torch.cat(each))


@dataclass(frozen=True)
class Gathers:
    """Where the layers find their rows: made once for a graph.

    A table of atoms or bonds that is read in two roles has two rows for each, one after the other.
    """

    graph: BondGraph
    edges: Rows
    """Rows of atoms as center and as neighbour, and bonds, for each directed edge."""
    arms: Rows
    """Rows of bonds as left and as right arm, and atoms, for each angle."""
    arms_paired: Rows
    """The same, and of unordered pairs of arms."""
    both_arms: Tensor
    """Bonds of both arms of each angle, (2 n_angles,), int64."""
    pair_arms: Tensor
    """The same of each unordered pair, (n_angles,), int64."""
    pair_sign: Tensor
    """1, or −1 where the bonds of a pair point differently, (n_angles / 2, 1), in the model's precision."""

    @classmethod
    def of(cls, g: BondGraph, n_atoms: int, dtype: torch.dtype) -> Gathers:
        """Prepare a graph."""
        arms = (2 * g.angle_bond[0], 2 * g.angle_bond[1] + 1, g.angle_center + 2 * g.n_short)
        return cls(
            graph=g,
            edges=Rows.of(2 * g.center, 2 * g.neighbor + 1, g.bond + 2 * n_atoms),
            arms=Rows.of(*arms),
            arms_paired=Rows.of(*arms, g.angle_pair + 2 * g.n_short + n_atoms),
            both_arms=g.angle_bond.flatten(),
            pair_arms=g.angle_bond.index_select(1, g.pair_angle).flatten(),
            pair_sign=g.angle_sign.index_select(0, g.pair_angle)[:, None].to(dtype),
        )


class Layer:
    """A ``Gate`` whose weights for what is read in two roles are joined; each also turned, for derivatives.

    Args:
        gate: the layer.
        roles: parts of its input that are one thing in two roles: atoms at edges, bonds at angles.
        single: the part that is read once: bonds at edges, atoms at angles.
        third: the part of angles; None where it comes as a product already.
    """

    def __init__(self, gate: Gate, roles: tuple[int, int], single: int, third: int | None = None) -> None:
        self.gate = gate
        self.double = torch.cat([gate.parts[k] for k in roles], dim=1).contiguous()
        self.bias = torch.cat([gate.bias, torch.zeros_like(gate.bias)])
        self.single = gate.parts[single]
        self.third = None if third is None else gate.parts[third]
        weights = (self.double, self.single, self.third, gate.second, gate.out)
        turned = [None if w is None else w.mT.contiguous() for w in weights]
        self.double_turned, self.single_turned, self.third_turned, self.second_turned, self.out_turned = turned

    def __call__(
        self, double: Tensor, single: Tensor, third: Tensor, weight: Tensor | None, rows: Rows, owner: Tensor | None
    ) -> Tensor:
        """Return messages, (n, 64), or ``double`` with the mixed sums of those that each of its rows owns.

        Args:
            double: features of what is read in two roles.
            single: of what is read once.
            third: of angles, or a product.
            weight: of each message; None for 1.
            rows: of ``double`` twice, ``single`` and, where it does not come in order, ``third``.
            owner: row of ``double`` that each message goes to.
        """
        found: Tensor = _Message.apply(self, rows, owner, double, single, third, weight)
        return found


class _Message(torch.autograd.Function):
    """Products, gather, second layer, norm, gate, weight, sum and mixing: one node of the derivative."""

    @staticmethod
    def forward(
        ctx: Any, layer: Layer, rows: Rows, owner: Tensor | None,
        double: Tensor, single: Tensor, third: Tensor, weight: Tensor | None,
    ) -> Tensor:  # fmt: skip
        gate, in_order = layer.gate, layer.third is not None and len(rows.each) == 3
        of_third = third if layer.third is None else third @ layer.third
        tables = [torch.addmm(layer.bias, double, layer.double).view(-1, 2 * WIDTH), single @ layer.single]
        table = torch.cat(tables if in_order else [*tables, of_third])
        first = table.index_select(0, rows.all).view(len(rows.each), -1, 2 * WIDTH).sum(0)
        if in_order:
            first.add_(of_third)
        if gate.second is None or gate.second_bias is None:
            pair = first.view(-1, 2, WIDTH).transpose(0, 1)
        else:
            active = F.silu(first).view(-1, 2, WIDTH).transpose(0, 1)
            pair = torch.baddbmm(gate.second_bias, active, gate.second)
        normed, mean, inverse = torch.native_layer_norm(pair, [WIDTH], None, None, EPSILON)
        core, opening = torch.addcmul(gate.shift, normed, gate.scale).unbind(0)
        core_on, open_ = F.silu(core), torch.sigmoid(opening)
        message = core_on * open_
        ctx.layer, ctx.rows, ctx.owner, ctx.in_order = layer, rows, owner, in_order
        ctx.sizes = [2 * len(double), len(single), *([] if in_order else [len(of_third)])]
        ctx.save_for_backward(first, pair, mean, inverse, core, core_on, open_, message, weight)
        if weight is not None:
            message = message * weight
        if owner is None or gate.out is None:
            return message
        return torch.addmm(double, torch.zeros_like(double).index_add_(0, owner, message), gate.out)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        first, pair, mean, inverse, core, core_on, open_, message, weight = ctx.saved_tensors
        layer, of_weight, g = ctx.layer, None, gradients[0]
        if ctx.owner is not None:
            g = (g @ layer.out_turned).index_select(0, ctx.owner)
        if weight is not None:
            of_weight, g = g * message, g * weight
        of_core = torch.ops.aten.silu_backward(g * open_, core)
        of_open = torch.ops.aten.sigmoid_backward(g * core_on, open_)
        g = torch.stack([of_core, of_open]).mul_(layer.gate.scale)
        nothing = (None, None, [True, False, False])
        g = torch.ops.aten.native_layer_norm_backward(g, pair, [WIDTH], mean, inverse, *nothing)[0]
        if layer.second_turned is not None:
            g = torch.bmm(g, layer.second_turned)
        g = g.transpose(0, 1).reshape(-1, 2 * WIDTH)
        if layer.second_turned is not None:
            g = torch.ops.aten.silu_backward(g, first)
        of_table = g.new_zeros(sum(ctx.sizes), 2 * WIDTH)
        for rows in ctx.rows.each:
            of_table.index_add_(0, rows, g)
        of_double, of_single, *rest = of_table.split(ctx.sizes)
        of_double, of_third = of_double.view(-1, 4 * WIDTH), g if ctx.in_order else rest[0]
        return (
            None,
            None,
            None,
            of_double @ layer.double_turned
            if ctx.owner is None
            else torch.addmm(gradients[0], of_double, layer.double_turned),
            of_single @ layer.single_turned,
            of_third if layer.third_turned is None else of_third @ layer.third_turned,
            of_weight,
        )


class _Radial(torch.autograd.Function):
    """Two sets of Bessel functions of the same lengths, each under its envelope (see ``chgnet._radial``)."""

    @staticmethod
    def forward(ctx: Any, length: Tensor, frequencies: Tensor, cutoff: Tensor, p: int) -> Tensor:
        x = length / cutoff  # (2, n, 1)
        inside = (x < 1).to(x.dtype)
        power = x ** (p - 1) * inside
        inner = (p + 1) * (p + 2) / 2 - x * (p * (p + 2) - x * (p * (p + 1) / 2))
        scale = torch.sqrt(2 / cutoff) / length
        envelope = (inside - power * x * inner) * scale
        slope = power * (1 - x).square() * scale * (-0.5 * p * (p + 1) * (p + 2)) - envelope / x
        phase = frequencies * x
        wave = torch.sin(phase)
        ctx.save_for_backward(torch.addcmul(slope * wave, envelope * frequencies, torch.cos(phase)) / cutoff)
        return envelope * wave

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        (slope,) = ctx.saved_tensors
        return (gradients[0] * slope).sum(dim=(0, 2), keepdim=True)[0], None, None, None


class _Fourier(torch.autograd.Function):
    """Waves of an angle given by its cosine: sin(f φ + δ), (n, 1) to (n, n_waves)."""

    @staticmethod
    def forward(ctx: Any, cosine: Tensor, frequencies: Tensor, offsets: Tensor) -> Tensor:
        cosine = cosine * (1 - 1e-6)  # as in training: keeps the derivative finite
        phase = torch.addcmul(offsets, torch.acos(cosine), frequencies)
        turned = (1 - cosine * cosine).rsqrt_() * (1e-6 - 1)
        ctx.save_for_backward(torch.cos(phase) * frequencies * turned)
        return torch.sin(phase)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        (slope,) = ctx.saved_tensors
        return (gradients[0] * slope).sum(dim=1, keepdim=True), None, None


@dataclass
class Launches:
    """CHGNet's atomic energies from bond vectors, in few operations.

    Args:
        weights: of the model, on its device and in its precision.
        atom_conv: its layers.
        bond_conv: likewise.
        angle_update: likewise.
        cutoffs: of the pairs and of the bond graph, Å.
    """

    weights: Weights = field(repr=False)
    atom_conv: list[Gate] = field(repr=False)
    bond_conv: list[Gate] = field(repr=False)
    angle_update: list[Gate] = field(repr=False)
    cutoffs: tuple[float, float]

    small = 2**18
    """Directed bonds and angles below which a GPU is started for longer than it computes: some 25 cells of 24 atoms."""

    def __post_init__(self) -> None:
        w = self.weights
        radial = [w[f"bond_basis_expansion.rbf_expansion_{kind}.frequencies"] for kind in ("ag", "bg")]
        self._frequencies = torch.stack(radial)[:, None]
        self._cutoffs = self._frequencies.new_tensor(self.cutoffs)[:, None, None]
        self._atoms = [Layer(gate, (0, 2), 1) for gate in self.atom_conv]
        self._bonds = [Layer(gate, (0, 1), 3, 2) for gate in self.bond_conv]
        self._angles = [Layer(gate, (0, 1), 3, 2) for gate in self.angle_update]
        names = ("site_wise", "bond_weights_ag", "bond_weights_bg", *(f"mlp.layers.{n}" for n in (0, 2, 4, 7)))
        self._turned = {name: w[f"{name}.weight"].T.contiguous() for name in names}
        self._from_near = w["bond_embedding.weight"].T.contiguous()
        self._from_long = torch.cat([self._from_near @ gate.parts[1] for gate in self.atom_conv], dim=1).contiguous()
        f = w["angle_basis_expansion.fourier_expansion.frequencies"]
        self._waves = torch.cat([torch.zeros_like(f[:1]), f, f])
        quarter = torch.full_like(f, math.pi / 2)
        self._offsets = torch.cat([quarter[:1], torch.zeros_like(f), quarter])
        scale = torch.cat([torch.full_like(f[:1], 0.5**0.5), torch.ones_like(f), torch.ones_like(f)]) / math.pi**0.5
        self._from_waves = (w["angle_embedding.weight"] * scale).T.contiguous()

    def prepare(self, graph: BondGraph, n_atoms: int) -> Gathers:
        """Lay out a graph's rows, as evaluations want them."""
        return Gathers.of(graph, n_atoms, self._cutoffs.dtype)

    def __call__(self, batch: Batch, rows: Gathers, vector: Tensor) -> tuple[Tensor, Tensor]:
        """Return atomic energies without those of the elements, eV, and moments, μB, (n_atoms,) each."""
        w, g, n = self.weights, rows.graph, rows.graph.n_short
        basis, short_basis, unit = self._bases(vector, n)
        near, far = basis.split([n, len(basis) - n])
        weight = (basis @ self._turned["bond_weights_ag"]).index_select(0, g.bond)
        bond_weight = short_basis @ self._turned["bond_weights_bg"]
        left, right = bond_weight.index_select(0, rows.both_arms).view(2, -1, WIDTH).unbind(0)
        arm = left * right
        angle = self._angle_features(rows.pair_arms, rows.pair_sign, unit)
        long_bonds = (far @ self._from_long).view(len(far), len(self._atoms), -1).unbind(1)

        atom = w["atom_embedding.embedding.weight"].index_select(0, batch.numbers - 1)
        bond = near @ self._from_near
        of_angle = rows.arms_paired
        for k, layer in enumerate(self._bonds):
            atom = self._atoms[k](atom, bond, long_bonds[k], weight, rows.edges, g.center)
            bond = layer(bond, atom, angle, arm, of_angle, g.angle_bond[0])
            if k < len(self._angles):
                update = self._angles[k](bond, atom, angle, None, of_angle, None)
                angle = update + (angle.index_select(0, g.angle_pair) if k == 0 else angle)
                of_angle = rows.arms
        magmoms = self._moments(atom)
        return self._read_out(self._atoms[-1](atom, bond, long_bonds[-1], weight, rows.edges, g.center)), magmoms

    def _bases(self, vector: Tensor, n_short: int) -> tuple[Tensor, Tensor, Tensor]:
        """Radial bases of all bonds and of short ones, (·, n_radial), and unit vectors of the latter."""
        x = vector.to(self._cutoffs.dtype)
        length = torch.linalg.vector_norm(x, dim=1, keepdim=True)
        basis, short_basis = _Radial.apply(length, self._frequencies, self._cutoffs, 8).unbind(0)
        sizes = [n_short, len(x) - n_short]
        return basis, short_basis.split(sizes)[0], (x / length).split(sizes)[0]

    def _moments(self, atom: Tensor) -> Tensor:
        w = self.weights["site_wise.bias"]
        return torch.addmm(w, atom.detach(), self._turned["site_wise"]).abs().flatten()

    def _angle_features(self, pair_arms: Tensor, pair_sign: Tensor, unit: Tensor) -> Tensor:
        """Angular Fourier features, once for both orders of an angle, (n_angles / 2, 64)."""
        one, other = unit.index_select(0, pair_arms).view(2, -1, 3).unbind(0)
        cosine = (one * other).sum(dim=1, keepdim=True) * pair_sign
        result: Tensor = _Fourier.apply(cosine, self._waves, self._offsets) @ self._from_waves
        return result

    def _read_out(self, atom: Tensor) -> Tensor:
        w = self.weights
        x = F.layer_norm(atom, atom.shape[1:], w["readout_norm.weight"], w["readout_norm.bias"])
        for n in ("0", "2", "4"):
            x = F.silu(torch.addmm(w[f"mlp.layers.{n}.bias"], x, self._turned[f"mlp.layers.{n}"]))
        return torch.addmm(w["mlp.layers.7.bias"], x, self._turned["mlp.layers.7"]).flatten()
