"""The check of the lowest mode against whole Hessians, on stationary points of all kinds.

    python -m benchmarks.minima --points points.pkl

Points are crystals, hosts with an ion moved half-way to a vacancy or into a void, and the same strained at random,
whose atoms then go to the nearest point without forces, minimum or not: relaxed from symmetric starts, which
symmetry holds on saddles, or led there by Newton's method with the whole, indefinite Hessian. Each point's own
whole Hessian by central differences says what it is; the check sees the point, and as preconditioner what the
optimizer has learned on the way or the model of springs. ``--points`` keeps them for the next time.
"""

from __future__ import annotations

import argparse
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk, make_supercell
from torch import Tensor

from atomsim.batch import Batch
from atomsim.batching.capacity import Capacity
from atomsim.mep.proof import Proof, prove
from atomsim.models.interface import EnergyModel, Potential
from atomsim.models.load import load_potential
from atomsim.optimize.drive import drive
from atomsim.optimize.entering import Group
from atomsim.optimize.minima import NEGATIVE
from atomsim.optimize.modes import lowest_modes
from atomsim.optimize.newton import Newton
from atomsim.optimize.products import Products
from atomsim.optimize.space import Space
from atomsim.optimize.springs import spring_guess, spring_hessian
from atomsim.optimize.stop import Stop
from atomsim.structures.prototypes import load_prototype

FMAX = 0.01
DISPLACEMENT_A = 0.01
SOFTEST = 0.3
"""Curvatures nearer to zero make steps no longer, eV/Å²."""
SEED = 1


@dataclass
class Point:
    """A stationary point and all that is known of it."""

    name: str
    potential: str
    space: Space
    atoms: Atoms
    inverse: Tensor
    """The preconditioner, Å²/eV."""
    hessian: np.ndarray
    """eV/Å², (3 rows, 3 rows)."""

    @property
    def eigenvalues(self) -> np.ndarray:
        """Of the Hessian without translations and rotations, eV/Å², rising."""
        inner = _inner(self.atoms, self.space)
        return np.linalg.eigvalsh(inner.T @ self.hessian @ inner)

    def order(self, below: float = NEGATIVE) -> int:
        """Number of eigenvalues below a curvature, eV/Å²."""
        return int((self.eigenvalues < below).sum())


def _inner(atoms: Atoms, space: Space) -> np.ndarray:
    """An orthonormal basis of all that costs energy, (3 rows, n)."""
    n = len(atoms) + (3 if space.cell else 0)
    null = np.zeros((6 if space.cell else 3, n, 3))
    for axis in range(3):
        null[axis, : len(atoms), axis] = 1.0
    for k, (a, b) in enumerate(((0, 1), (0, 2), (1, 2)) if space.cell else ()):
        null[3 + k, len(atoms) + a, b], null[3 + k, len(atoms) + b, a] = 1.0, -1.0
    return np.linalg.svd(null.reshape(len(null), -1))[2][len(null) :].T


def whole_hessian(atoms: Atoms, model: EnergyModel, space: Space) -> np.ndarray:
    """All second derivatives by central differences of forces, eV/Å², (3 rows, 3 rows)."""
    batch = Batch.pack([atoms])
    layout = space.layout(batch)
    columns = []
    for k in range(3 * len(layout.system)):
        step = torch.zeros(3 * len(layout.system), dtype=torch.float64)
        step[k] = DISPLACEMENT_A
        down, up = (space.move(batch, s * step.view(-1, 3), layout) for s in (-1, 1))
        change = space.force(down, model(down), layout) - space.force(up, model(up), layout)
        columns.append(change.flatten() / (2 * DISPLACEMENT_A))
    found = torch.stack(columns).numpy()
    return 0.5 * (found + found.T)


def relaxed_in_symmetry(atoms: Atoms, model: EnergyModel, space: Space) -> tuple[Atoms, Tensor] | None:
    """Go down without looking for saddles."""
    batch = Batch.pack([atoms])
    group = Group(0, batch, spring_guess(batch, space))
    (found,) = drive([group], model, Newton(), space, Stop(fmax=FMAX, max_steps=200), Capacity(systems=1))
    if found.status != "converged" or found.inverse_hessian is None:
        return None
    return found.batch.split()[0], found.inverse_hessian


def nearest_stationary(
    atoms: Atoms, model: EnergyModel, space: Space, order: int | None = None, steps: int = 25
) -> Atoms | None:
    """Follow Newton's steps with the whole Hessian, kept up to date by SR1, uphill or downhill.

    With an order, uphill along so many of the lowest modes and downhill along all others.
    """
    inner = _inner(atoms, space)
    hessian = inner.T @ whole_hessian(atoms, model, space) @ inner
    batch = Batch.pack([atoms])
    layout = space.layout(batch)
    before, step = None, np.zeros(inner.shape[1])
    for _ in range(steps):
        evaluation = model(batch)
        force = inner.T @ space.force(batch, evaluation, layout).numpy().ravel()
        error = np.zeros_like(step) if before is None else before - force - hessian @ step
        if abs(error @ step) > 1e-8 * np.linalg.norm(error) * np.linalg.norm(step):
            hessian = hessian + np.outer(error, error) / (error @ step)
        if float(space.residual(batch, evaluation)[0]) < FMAX:
            return batch.split()[0]
        values, vectors = np.linalg.eigh(hessian)
        values = np.where(np.abs(values) < SOFTEST, np.where(values < 0, -SOFTEST, SOFTEST), values)
        if order is not None:
            values = np.abs(values) * np.where(np.arange(len(values)) < order, -1, 1)
        step = vectors @ ((vectors.T @ force) / values)
        rows = (inner @ step).reshape(-1, 3)
        step = step * min(1.0, 0.15 / np.linalg.norm(rows, axis=1).max())
        before = force
        batch = space.move(batch, torch.from_numpy((inner @ step).reshape(-1, 3)), layout)
    return None


def half_way(host: Atoms, ion: str, neighbour: int) -> Atoms:
    """Take out a neighbour of the first ion, and put that ion half-way to where it was."""
    one, *others = (n for n, s in enumerate(host.symbols) if s == ion)
    far = host.get_distances(one, others, mic=True)
    shells = np.unique(np.round(far, 2))
    other = others[int(np.flatnonzero(np.round(far, 2) == shells[min(neighbour, len(shells) - 1)])[0])]
    moved = host.copy()
    moved.positions[one] += 0.5 * host.get_distance(one, other, mic=True, vector=True)
    del moved[other]
    return moved


def strained(atoms: Atoms, size: float, seed: int) -> Atoms:
    """Deform a cell at random, atoms with it, and shake the atoms a little."""
    rng = np.random.default_rng(seed)
    rattled = atoms.copy()
    strain = rng.normal(0, size, (3, 3))
    rattled.set_cell(atoms.cell.array @ (np.eye(3) + 0.5 * (strain + strain.T)), scale_atoms=True)
    rattled.positions += rng.normal(0, size, (len(atoms), 3))
    return rattled


def scaled(atoms: Atoms, factor: float) -> Atoms:
    """Return a crystal dilated or pressed."""
    other = atoms.copy()
    other.set_cell(atoms.cell.array * factor, scale_atoms=True)
    return other


def in_void(atoms: Atoms, ion: str, place: tuple[float, float, float]) -> Atoms:
    """Put the first ion at fractional coordinates."""
    moved = atoms.copy()
    moved.positions[next(n for n, s in enumerate(atoms.symbols) if s == ion)] = np.array(place) @ atoms.cell.array
    return moved


def starts(potential: str) -> Iterator[tuple[str, Atoms]]:
    """What points are looked for near."""
    layers = load_prototype("LiCoO2").primitive
    oxide = load_prototype("Li2O").primitive
    wide, broad = layers.repeat((2, 2, 1)), make_supercell(oxide, [[1, 1, -1], [1, -1, 1], [-1, 1, 1]])
    if potential == "mace-li-ru-s-o":
        yield from _of_ruthenate()
    else:
        yield "LiCoO2", layers
        yield "LiCoO2 dilated 1.06", scaled(layers, 1.06)
        yield "LiCoO2, Li half-way", half_way(wide, "Li", 0)
        if potential != "chgnet-0.3.0":
            yield "LiCoO2, Co half-way", half_way(wide, "Co", 0)
        yield "CoO2", layers[[s != "Li" for s in layers.symbols]]
    if potential != "mace-li-mn-co-ni-w-o":
        yield "Li2O", oxide
        yield "Li2O dilated 1.1", scaled(oxide, 1.1)
        yield "Li2O pressed 0.93", scaled(oxide, 0.93)
        yield "Li2O, Li half-way", half_way(broad, "Li", 0)
        yield "Li2O, Li half-way far", half_way(broad, "Li", 1)
        yield "Li2O, Li in the void", in_void(broad, "Li", (0.5, 0.5, 0.5))
        yield "LiO rock salt", bulk("LiO", "rocksalt", a=4.3)


def _of_ruthenate() -> Iterator[tuple[str, Atoms]]:
    salt = bulk("RuO", "rocksalt", a=4.3, cubic=True)
    salt.symbols[[n for n, s in enumerate(salt.symbols) if s == "Ru"][:2]] = "Li"
    yield "LiRuO2 ordered", salt
    yield "LiRuO2 dilated 1.07", scaled(salt, 1.07)
    one = bulk("RuO", "rocksalt", a=4.2)
    yield "RuO", one
    yield "LiRuO2, Li gone half-way", in_void(salt, "Li", (0.25, 0.25, 0.25))


def points(potential: str, model: Potential) -> Iterator[Point]:
    """All points of one potential."""
    seen: list[tuple[str, bool, np.ndarray]] = []
    for number, (name, start) in enumerate(starts(potential)):
        plain = Atoms(start.numbers, start.positions, cell=start.cell, pbc=True)
        for cell in (False, True):
            space = Space(cell=cell)
            batches = [("symmetric", relaxed_in_symmetry(plain, model, space))]
            for order in (None, 1, 3) if "half-way" in name and not cell else (None,):
                moved = nearest_stationary(strained(plain, 0.02, SEED + number), model, space, order)
                if moved is not None:
                    how = "strained" if order is None else f"order {order} sought"
                    batches.append((how, (moved, spring_guess(Batch.pack([moved]), space))))
            for how, found in batches:
                if found is None:
                    continue
                atoms, inverse = found
                hessian = whole_hessian(atoms, model, space)
                point = Point(f"{name}, {how}", potential, space, atoms, inverse, hessian)
                key = (name, cell, point.eigenvalues)
                if any(k[:2] == key[:2] and np.allclose(k[2], key[2], atol=0.02) for k in seen):
                    continue
                seen.append(key)
                yield point


def gathered(path: Path | None, potentials: list[str]) -> list[Point]:
    """All points, from a file where there is one."""
    if path is not None and path.exists():
        return list(pickle.loads(path.read_bytes()))
    found: list[Point] = []
    for name in potentials:
        for point in points(name, load_potential(name, device="cpu")):
            found.append(point)
            low = ", ".join(f"{v:.2f}" for v in point.eigenvalues[:4])
            print(f"{name}: {point.name}, cell {point.space.cell}, {len(point.atoms)} atoms: {low}", flush=True)
    if path is not None:
        path.write_bytes(pickle.dumps(found))
    return found


@dataclass
class Judged:
    """What the check said of a point, and what proofs said of a saddle."""

    point: Point
    curved: bool
    """Whether the curvature along the whole Hessian's lowest mode is negative at the larger displacement too."""
    calls: int
    negative: bool
    settled: bool
    proofs: list[Proof]

    @property
    def missed(self) -> bool:
        """A saddle taken for a minimum."""
        return self.point.order() > 0 and self.curved and not self.negative

    @property
    def unsaid(self) -> bool:
        """Neither a saddle nor a minimum, or a minimum taken for a saddle."""
        return not self.settled or (self.negative and self.point.order() == 0)


def judged(point: Point, model: EnergyModel) -> Judged:
    """Put a point to the check and, a saddle at fixed cell, to the proof with two false hosts."""
    batch, space = Batch.pack([point.atoms]), point.space
    force = space.force(batch, model(batch), space.layout(batch))
    products = Products(batch, force, model, space)
    inner = _inner(point.atoms, space)
    values, modes = np.linalg.eigh(inner.T @ point.hessian @ inner)
    lowest = inner @ modes[:, 0]
    along = torch.from_numpy(lowest)[None]
    curved = float((along * products.two_sided(along, torch.tensor([True]))).sum()) < NEGATIVE
    found = lowest_modes(products, [point.inverse], negative=NEGATIVE)
    proofs: list[Proof] = []
    if point.order() and not space.cell:
        rng = np.random.default_rng(SEED)
        tangent = lowest + 0.3 * rng.normal(size=len(lowest)) / len(lowest) ** 0.5
        stiff = inner @ (modes * np.abs(values)) @ modes.T @ inner.T
        learned = stiff - 2 * abs(values[0]) * np.outer(lowest, lowest)  # knows the mode of the path, and no other
        for host in (spring_hessian(batch, space).numpy(), learned):
            proofs += prove([point.atoms], [force.numpy()], [tangent.reshape(-1, 3)], [host], model)
    calls, curvature = int(found.force_calls[0]), float(found.curvature[0])
    return Judged(point, curved, calls, curvature < NEGATIVE, bool(found.settled[0]), proofs)


def wrong_proofs(one: Judged) -> int:
    """Proofs that count other than the whole Hessian does."""
    return sum(p.negative_modes != min(2, one.point.order(-p.negligible)) or not p.settled for p in one.proofs)


def table(found: list[Judged]) -> Iterator[str]:
    """Lines of the table in RESULTS.md."""
    yield "| potential | order | points | calls a point | missed | unsettled or false alarm | no curvature |"
    yield "|---|---|---|---|---|---|---|"
    for name in dict.fromkeys(j.point.potential for j in found):
        for order in range(5):
            some = [j for j in found if j.point.potential == name and min(j.point.order(), 4) == order]
            if some:
                calls = np.mean([j.calls for j in some])
                missed, unsaid = sum(j.missed for j in some), sum(j.unsaid for j in some)
                flat = sum(j.point.order() > 0 and not j.curved for j in some)
                label = order if order < 4 else "4 and more"
                yield f"| {name} | {label} | {len(some)} | {calls:.1f} | {missed} | {unsaid} | {flat} |"
    proofs = [p for j in found for p in j.proofs]
    calls = np.mean([p.force_calls for p in proofs]) if proofs else np.nan
    yield f"proofs: {len(proofs)}, wrong {sum(map(wrong_proofs, found))}, {calls:.1f} calls each"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--points", type=Path)
    parser.add_argument("--potential", action="append")
    options = parser.parse_args()
    torch.set_num_threads(1)
    every = gathered(options.points, options.potential or ["chgnet-0.3.0", "mace-li-mn-co-ni-w-o", "mace-li-ru-s-o"])
    surfaces = {name: load_potential(name, device="cpu") for name in {p.potential for p in every}}
    print("\n".join(table([judged(p, surfaces[p.potential]) for p in every])))
