"""CHGNet on batches, without waste.

The weights are those of the chgnet package and the function is the same to rounding; what
differs is how it is computed:

- one graph for the whole batch, built with tensor operations on the device;
- every ``Linear(concat(a, b, c))`` is split into products per atom, per bond and per angle,
  which are gathered and added. Exact, and most of the multiplications disappear;
- bonds longer than the bond-graph cutoff are never updated, so what they say to the atoms is
  one product with their radial basis; the last angle update feeds nothing and is left out;
- until the first angle update both orders of an angle are alike and are computed once;
- the energy is differentiated once, with respect to the bond vectors g = ∂E/∂d. Forces and
  stress are sums over bonds: F_first = Σ g, F_second = −Σ g, σ = (1/V) Σ d ⊗ g.

Deng et al., Nat. Mach. Intell. 5, 1031 (2023), doi:10.1038/s42256-023-00716-3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own customary name)
from torch import Tensor

from atomsim.batch import Batch, Evaluation
from atomsim.models.chgnet.fused import Fused, kernels_missing
from atomsim.models.chgnet.gated import centred, gated_norm, gathered, rows, segment_sum
from atomsim.models.chgnet.graph import BondGraph, KeptGraph, bond_graph
from atomsim.models.chgnet.kernels import reason
from atomsim.models.chgnet.launches import Launches
from atomsim.models.chgnet.on_device import OnDevice
from atomsim.models.edges import volumes
from atomsim.models.interface import refuse_unknown_elements
from atomsim.models.neighbors import neighbor_list

Weights = dict[str, Tensor]

ELEMENTS = frozenset(range(1, 95)) - {84, 85, 86, 87, 88}
"""The 89 elements of the MPtrj data set: up to Pu without Po, At, Rn, Fr and Ra."""


@dataclass(frozen=True)
class Gate:
    """A gated multilayer perceptron, its first layer cut where its input was concatenated.

    Core and gate are stacked: first-layer weights are (in, 128), the rest (2, …). What the
    layer norm would subtract, the mean over features, is taken out of the weights before it.
    """

    parts: tuple[Tensor, ...]
    """First-layer weights of each part of the input, (features, 128) each."""
    bias: Tensor
    """First-layer bias, (128,)."""
    second: Tensor | None
    """Second-layer weights, (2, 64, 64), or None where there is one layer only."""
    second_bias: Tensor | None
    """Second-layer bias, (2, 1, 64)."""
    scale: Tensor
    """Scales of the two layer norms, (2, 1, 64)."""
    shift: Tensor
    """Shifts of the two layer norms, (2, 1, 64)."""
    out: Tensor | None
    """Weights after the sum over neighbours, (64, 64), or None."""

    def __call__(self, tables: Sequence[Tensor], indices: Sequence[Tensor | None]) -> Tensor:
        """Return messages, (n, 64), from the first layer's products per atom, bond and angle (see ``gathered``)."""
        first = gathered(tables, indices, activate=self.second is not None)
        pair = first.unflatten(1, (2, -1)).transpose(0, 1)
        if self.second is not None and self.second_bias is not None:
            pair = torch.baddbmm(self.second_bias, pair, self.second)
        return gated_norm(pair, self.scale, self.shift)

    def collect(self, message: Tensor, owner: Tensor, n_owners: int) -> Tensor:
        """Sum messages by owner and mix: (n, 64) to (n_owners, 64)."""
        assert self.out is not None
        return segment_sum(message, owner, n_owners) @ self.out


@dataclass(eq=False)
class Chgnet:
    """CHGNet as a ``Potential``: energies, forces, stresses, magnetic moments, atomic energies.

    Args:
        weights: state dict of the chgnet model.
        name: name of its card.
        sha256: SHA-256 of the weights file.
        device: where batches will live.
        dtype: float32, as it was trained, or float64.
        skin: extra reach of the neighbour list on a GPU, Å.
    """

    weights: Weights = field(repr=False)
    name: str
    sha256: str
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    dtype: torch.dtype = torch.float32
    skin: float = 0.5
    cutoff: float = 6.0
    short: float = 3.0
    """Bond-graph cutoff: angles are between bonds shorter than this, Å."""
    elements: frozenset[int] = ELEMENTS

    def __post_init__(self) -> None:
        self.reference = self.weights["composition_model.fc.weight"].flatten().to(self.device, torch.float64)
        w = {k: v.to(self.device, self.dtype) for k, v in self.weights.items()}
        self.weights = w
        n_conv = sum(k.endswith("mlp_out.layers.1.weight") and k.startswith("atom_conv") for k in w)
        self.atom_conv = [
            _gate(w, f"atom_conv_layers.{n}", "twoBody_atom", ["0", "3"], 3, last="mlp_out") for n in range(n_conv)
        ]
        self.bond_conv = [
            _gate(w, f"bond_conv_layers.{n}", "twoBody_bond", ["0", "3"], 4, last="mlp_out") for n in range(n_conv - 1)
        ]
        # the last angle update of the checkpoint is never read
        self.angle_update = [
            _gate(w, f"angle_layers.{n}", "twoBody_bond", ["1"], 4, last=None) for n in range(n_conv - 2)
        ]
        # on a CPU a search is one per cent of an evaluation: a skin would only add state
        self._on_device = self._moving() if self.device.type != "cpu" else None

    def _moving(self) -> OnDevice:
        kind = Fused if self.kernel == "fused" else Launches
        launches = kind(self.weights, self.atom_conv, self.bond_conv, self.angle_update, (self.cutoff, self.short))
        kept = KeptGraph(self.cutoff, self.short, self.skin)
        return OnDevice(launches, kept, partial(_differentiated, self.reference))

    @property
    def kernel(self) -> str:
        """``fused`` on a card, ``loops`` on a CPU where they can be compiled, else ``torch``."""
        if self.kernel_note:
            return "torch"
        return "loops" if self.device.type == "cpu" else "fused"

    @property
    def kernel_note(self) -> str:
        """Reason why nothing is compiled; empty where kernels or loops are."""
        if self.dtype != torch.float32:
            return "compiled kernels are for single precision"
        return reason() if self.device.type == "cpu" else kernels_missing(self.device)

    @cached_property
    def double(self) -> Chgnet:
        """The same potential in float64; its weights were given in single precision."""
        return replace(self, dtype=torch.float64)

    def __call__(self, batch: Batch) -> Evaluation:
        """Evaluate all systems of the batch: in one pass on a GPU, one by one on a CPU.

        A CPU gains nothing from batches: a system's intermediate results fit into its cache,
        those of a batch do not. And so a system's result cannot depend on its neighbours.
        """
        refuse_unknown_elements(batch, self.elements, self.name)
        if self.device.type == "cpu" and batch.n_systems > 1:
            return Evaluation.join([self._evaluate(batch.take([n])) for n in range(batch.n_systems)])
        return self._evaluate(batch)

    def _evaluate(self, batch: Batch) -> Evaluation:
        if self._on_device is not None:
            return self._on_device(batch)
        graph = bond_graph(batch, neighbor_list(batch, self.cutoff), self.short)
        return Evaluation(*_differentiated(self.reference, batch, graph, self._atomic_energies))

    def _atomic_energies(self, batch: Batch, g: BondGraph, vector: Tensor) -> tuple[Tensor, Tensor]:
        w = self.weights
        x = vector.to(self.dtype)
        length = x.norm(dim=1, keepdim=True)
        basis = _radial(length, w["bond_basis_expansion.rbf_expansion_ag.frequencies"], self.cutoff)
        weight = rows(basis @ w["bond_weights_ag.weight"].T, g.bond)
        n = g.n_short
        short_basis = _radial(length[:n], w["bond_basis_expansion.rbf_expansion_bg.frequencies"], self.short)
        bond_weight = short_basis @ w["bond_weights_bg.weight"].T
        arm = rows(bond_weight, g.angle_bond[0]) * rows(bond_weight, g.angle_bond[1])
        angle = self._angle_features(g, x[:n] / length[:n])

        atom = w["atom_embedding.embedding.weight"][batch.numbers - 1]
        bond = basis[:n] @ w["bond_embedding.weight"].T
        long_bond = [basis[n:] @ (w["bond_embedding.weight"].T @ layer.parts[1]) for layer in self.atom_conv]
        for k, conv in enumerate(self.bond_conv):
            atom = self._update_atoms(self.atom_conv[k], g, atom, bond, long_bond[k], weight)
            bond = self._update_bonds(conv, g, atom, bond, angle, arm)
            if k < len(self.angle_update):
                angle = self._update_angles(self.angle_update[k], g, atom, bond, angle)
        magmoms = F.linear(atom, w["site_wise.weight"], w["site_wise.bias"]).abs().flatten()
        atom = self._update_atoms(self.atom_conv[-1], g, atom, bond, long_bond[-1], weight)
        return self._read_out(atom), magmoms

    def _angle_features(self, g: BondGraph, unit: Tensor) -> Tensor:
        """Angular Fourier features, once for both orders of an angle, (n_angles / 2, 64)."""
        w = self.weights
        arms = g.angle_bond[:, g.pair_angle]
        cosine = (rows(unit, arms[0]) * rows(unit, arms[1])).sum(dim=1) * g.angle_sign[g.pair_angle]
        angle = torch.acos(cosine * (1 - 1e-6))  # as in training: keeps the derivative finite
        phase = torch.outer(angle, w["angle_basis_expansion.fourier_expansion.frequencies"])
        constant = torch.full_like(angle[:, None], 1 / math.sqrt(2))
        basis = torch.cat([constant, torch.sin(phase), torch.cos(phase)], dim=1) / math.sqrt(math.pi)
        return basis @ w["angle_embedding.weight"].T

    def _update_atoms(
        self, layer: Gate, g: BondGraph, atom: Tensor, bond: Tensor, long_bond: Tensor, weight: Tensor
    ) -> Tensor:
        of_bond = torch.cat([bond @ layer.parts[1], long_bond]) + layer.bias
        tables = (atom @ layer.parts[0], atom @ layer.parts[2], of_bond)
        message = layer(tables, (g.center, g.neighbor, g.bond)) * weight
        return atom + layer.collect(message, g.center, len(atom))

    def _update_bonds(
        self, layer: Gate, g: BondGraph, atom: Tensor, bond: Tensor, angle: Tensor, arm: Tensor
    ) -> Tensor:
        message = layer(*_angle_products(layer, g, atom, bond, angle)) * arm
        return bond + layer.collect(message, g.angle_bond[0], len(bond))

    def _update_angles(self, layer: Gate, g: BondGraph, atom: Tensor, bond: Tensor, angle: Tensor) -> Tensor:
        update = layer(*_angle_products(layer, g, atom, bond, angle))
        return update + (angle if len(angle) == len(update) else rows(angle, g.angle_pair))

    def _read_out(self, atom: Tensor) -> Tensor:
        w = self.weights
        x = F.layer_norm(atom, atom.shape[1:], w["readout_norm.weight"], w["readout_norm.bias"])
        for n in ("0", "2", "4"):
            x = F.silu(F.linear(x, w[f"mlp.layers.{n}.weight"], w[f"mlp.layers.{n}.bias"]))
        return F.linear(x, w["mlp.layers.7.weight"], w["mlp.layers.7.bias"]).flatten()


def _angle_products(
    layer: Gate, g: BondGraph, atom: Tensor, bond: Tensor, angle: Tensor
) -> tuple[tuple[Tensor, ...], tuple[Tensor | None, ...]]:
    """First-layer products of a message along angles, and where each angle finds its own."""
    left, right, of_angle, of_atom = layer.parts
    tables = (bond @ left, bond @ right, angle @ of_angle, atom @ of_atom + layer.bias)
    same_order = len(angle) == len(g.angle_center)
    return tables, (g.angle_bond[0], g.angle_bond[1], None if same_order else g.angle_pair, g.angle_center)


def _differentiated(
    reference: Tensor, batch: Batch, g: BondGraph, atomic_energies: Callable[..., tuple[Tensor, Tensor]]
) -> tuple[Tensor, ...]:
    """Fields of an ``Evaluation``, from atomic energies and moments as a function of bond vectors."""
    with torch.enable_grad():
        vector = g.vector.detach().requires_grad_(True)
        site, magmoms = atomic_energies(batch, g, vector)
        (gradient,) = torch.autograd.grad(site.sum(), vector)
    site = site.detach().to(torch.float64) + reference.index_select(0, batch.numbers - 1)
    forces = segment_sum(gradient, g.first, batch.n_atoms) - segment_sum(gradient, g.second, batch.n_atoms)
    outer = (g.vector[:, :, None] * gradient[:, None, :]).flatten(1)
    virial = segment_sum(outer, g.system, batch.n_systems).unflatten(1, (3, 3))
    volume = volumes(batch)
    periodic = (volume > 0)[:, None, None]
    stress = torch.where(periodic, virial / volume.clamp(min=1e-300)[:, None, None], 0.0)
    energy = segment_sum(site[:, None], batch.system, batch.n_systems).flatten()
    return energy, forces, 0.5 * (stress + stress.mT), magmoms.detach().to(torch.float64), site


def _radial(length: Tensor, frequencies: Tensor, cutoff: float, p: int = 8) -> Tensor:
    """Bessel functions under a polynomial envelope that is flat at the cutoff, (n, n_radial).

    Gasteiger et al., ICLR 2020, arXiv:2003.03123, Eqs. 7 and 8.
    """
    x = length / cutoff
    envelope = 1 - x**p * ((p + 1) * (p + 2) / 2 - x * (p * (p + 2) - x * (p * (p + 1) / 2)))
    envelope = torch.where(x < 1, envelope, 0.0)
    return envelope * (math.sqrt(2 / cutoff) * torch.sin(frequencies * x) / length)


def _gate(w: Weights, layer: str, block: str, linear: list[str], n_parts: int, last: str | None) -> Gate:
    def stacked(what: str) -> Tensor:
        return torch.stack([w[f"{layer}.{block}.{name}"] for name in (f"mlp_core.{what}", f"mlp_gate.{what}")])

    def norm(what: str) -> Tensor:
        return torch.stack([w[f"{layer}.{block}.bn1.{what}"], w[f"{layer}.{block}.bn2.{what}"]])[:, None]

    first, bias = stacked(f"layers.{linear[0]}.weight").mT, stacked(f"layers.{linear[0]}.bias")[:, None]
    second = second_bias = None
    if len(linear) == 2:
        second = centred(stacked(f"layers.{linear[1]}.weight").mT).contiguous()
        second_bias = centred(stacked(f"layers.{linear[1]}.bias")[:, None])
    else:
        first, bias = centred(first), centred(bias)
    return Gate(
        parts=tuple(p.contiguous() for p in torch.cat([first[0], first[1]], dim=1).chunk(n_parts)),
        bias=bias.flatten(),
        second=second,
        second_bias=second_bias,
        scale=norm("weight"),
        shift=norm("bias"),
        out=w[f"{layer}.{last}.layers.1.weight"].T.contiguous() if last else None,
    )
