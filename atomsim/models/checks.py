"""The contract that every potential keeps, as checks that can be run on any of them.

    for check in check_contract(load_potential("chgnet-0.3.0"), systems):
        print(check)

A check is a worst deviation and what is allowed; nothing is raised for a broken promise.
"""

from __future__ import annotations

import math
import os
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from atomsim.batch import Batch, Evaluation, take_scoped
from atomsim.errors import InputError
from atomsim.models.interface import Potential


@dataclass(frozen=True)
class Tolerance:
    """Largest deviations allowed."""

    energy_eV_per_atom: float
    forces_eV_per_A: float
    stress_eV_per_A3: float
    magmoms_muB: float
    slope: float
    """Between a derivative and its finite difference: relative to max(1, |derivative|), eV/Å or eV."""
    step: float
    """Step of finite differences: Å along a displacement with an r.m.s. of 1, strain otherwise."""


FLOAT64 = Tolerance(1e-9, 1e-9, 1e-9, 1e-9, slope=2e-5, step=3e-5)
FLOAT32 = Tolerance(1e-5, 1e-4, 1e-5, 5e-5, slope=2e-2, step=1e-3)
"""Single precision keeps 24 bits, 6e-8 of each number. Atomic energies of 1–10 eV and bond
derivatives of 1–10 eV/Å pass through some ten layers and sums over about 100 neighbours, each
of which adds a rounding error: 1e-6 is typical and ten times that is allowed, more for forces,
where bonds cancel. A finite difference divides the energy's error by the step, 1e-6 eV by 1e-3,
on each of several atoms: in single precision it finds blunders, in double it finds errors."""


@dataclass(frozen=True)
class Check:
    """One promise, the worst deviation from it, and what is allowed."""

    name: str
    deviation: float
    allowed: float
    note: str = ""

    @property
    def passed(self) -> bool:
        """True if the promise was kept; a deviation that is not a number breaks it."""
        return self.deviation <= self.allowed

    def __str__(self) -> str:
        verdict = "ok    " if self.passed else "BROKEN"
        return f"{verdict} {self.name}: {self.deviation:.2g} (allowed {self.allowed:.2g}) {self.note}".rstrip()


@dataclass(frozen=True)
class _Trial:
    potential: Potential
    batch: Batch
    reference: Evaluation
    tolerance: Tolerance
    rng: np.random.Generator

    def compare(self, name: str, found: Evaluation, wanted: Evaluation | None = None) -> Iterator[Check]:
        """One check per quantity."""
        wanted, t = wanted or self.reference, self.tolerance
        per_atom = (found.energy - wanted.energy) / self.batch.counts
        yield Check(f"{name}: energy per atom", _largest(per_atom), t.energy_eV_per_atom)
        yield Check(f"{name}: forces", _largest(found.forces - wanted.forces), t.forces_eV_per_A)
        yield Check(f"{name}: stress", _largest(found.stress - wanted.stress), t.stress_eV_per_A3)
        if found.magmoms is not None and wanted.magmoms is not None:
            yield Check(f"{name}: magnetic moments", _largest(found.magmoms - wanted.magmoms), t.magmoms_muB)
        if found.energies is not None and wanted.energies is not None:
            yield Check(f"{name}: atomic energies", _largest(found.energies - wanted.energies), t.energy_eV_per_atom)


def check_contract(
    potential: Potential, systems: Sequence[Atoms], *, seed: int = 0, tolerance: Tolerance | None = None
) -> list[Check]:
    """Put a potential to every promise of the contract.

    Args:
        potential: what is tried.
        systems: at least two, of its elements, not at a minimum; best of different size, shape
            and periodicity, some of one atom, some with cells smaller than the cutoff.
        seed: of the random displacements, rotations and permutations.
        tolerance: for its precision if not given: ``FLOAT64`` or ``FLOAT32``.

    Returns:
        Every check, in a fixed order; ``all(c.passed for c in checks)`` is the verdict.

    Raises:
        InputError: for fewer than two systems.
    """
    if len(systems) < 2:
        raise InputError(f"found {len(systems)} systems, wanted at least two; one batch must hold several")
    batch = Batch.pack(systems, potential.device)
    tolerance = tolerance or (FLOAT32 if potential.dtype == torch.float32 else FLOAT64)
    trial = _Trial(potential, batch, potential(batch), tolerance, np.random.default_rng(seed))
    parts = (
        _form, _inputs_untouched, _globals_untouched, _repeats, _singles, _order, _translation, _lattice_translation,
        _rotation, _permutation, _forces, _stress, _sums, _fixed_ignored, _unknown_element,
    )  # fmt: skip
    return [check for part in parts for check in part(trial)]


def _form(t: _Trial) -> Iterator[Check]:
    n_atoms, n_systems = t.batch.n_atoms, t.batch.n_systems
    shapes = {
        "energy": (n_systems,),
        "forces": (n_atoms, 3),
        "stress": (n_systems, 3, 3),
        "magmoms": (n_atoms,),
        "energies": (n_atoms,),
    }
    for name, shape in shapes.items():
        value = getattr(t.reference, name)
        if value is None:
            continue
        good = tuple(value.shape) == shape and value.dtype == torch.float64
        good = good and not value.requires_grad and bool(value.isfinite().all())
        yield _promise(f"{name} is a finite float64 tensor {shape} without history", good)
    yield Check("stress is symmetric", _largest(t.reference.stress - t.reference.stress.mT), 1e-12)
    identity = len(t.potential.sha256) == 64 and bool(t.potential.name)
    yield _promise("has a name and a sha256", identity)
    yield _promise("can be a key", getattr(type(t.potential), "__hash__", None) is not None)


def _inputs_untouched(t: _Trial) -> Iterator[Check]:
    given = replace(t.batch)
    tensors = [value for f in fields(given) if (value := getattr(given, f.name)) is not None]
    kept = [value.clone() for value in tensors]
    t.potential(given)
    same = all(map(torch.equal, kept, tensors))
    tracked = given.positions.requires_grad or given.cell.requires_grad
    yield _promise("inputs are not changed", same and not tracked)


def _globals_untouched(t: _Trial) -> Iterator[Check]:
    def state() -> tuple[object, ...]:
        return (
            torch.get_default_dtype(),
            torch.get_num_threads(),
            torch.are_deterministic_algorithms_enabled(),
            torch.get_rng_state().numpy().tobytes(),
            repr(np.random.get_state(legacy=False)),  # noqa: NPY002  the global one is what must not move
            random.getstate(),
            dict(os.environ),
        )

    for enabled in (True, False):
        with torch.set_grad_enabled(enabled):
            before = state()
            found = t.potential(t.batch)
            yield _promise(f"global state is not changed (gradients {enabled})", state() == before)
            yield _promise(f"gradient mode is kept ({enabled})", torch.is_grad_enabled() == enabled)
        yield from t.compare(f"gradients {'on' if enabled else 'off'}", found)


def _repeats(t: _Trial) -> Iterator[Check]:
    other = t.batch.take(list(range(t.batch.n_systems - 1)))
    t.potential(other)  # what was evaluated before must not matter
    yield from t.compare("evaluated again", t.potential(t.batch))


def _singles(t: _Trial) -> Iterator[Check]:
    singles = [t.potential(t.batch.take([k])) for k in range(t.batch.n_systems)]
    yield from t.compare("one by one", Evaluation.join(singles))


def _order(t: _Trial) -> Iterator[Check]:
    backwards = list(range(t.batch.n_systems))[::-1]
    turned = t.batch.take(backwards)
    yield from t.compare("systems in another order", t.potential(turned).take(turned, backwards))


def _translation(t: _Trial) -> Iterator[Check]:
    by = _tensor(t.rng.normal(size=(t.batch.n_systems, 3)), t.batch)
    moved = replace(t.batch, positions=t.batch.positions + by[t.batch.system])
    yield from t.compare("translated", t.potential(moved))


def _lattice_translation(t: _Trial) -> Iterator[Check]:
    steps = _tensor(t.rng.integers(-2, 3, size=(t.batch.n_atoms, 3)).astype(float), t.batch)
    steps = steps * t.batch.pbc[t.batch.system]
    by = torch.einsum("ak,akc->ac", steps, t.batch.cell[t.batch.system])
    moved = replace(t.batch, positions=t.batch.positions + by)
    yield from t.compare("atoms moved by lattice vectors", t.potential(moved))


def _rotation(t: _Trial) -> Iterator[Check]:
    from scipy.spatial.transform import Rotation

    r = _tensor(Rotation.random(random_state=t.rng).as_matrix(), t.batch)
    turned = replace(t.batch, positions=t.batch.positions @ r.mT, cell=t.batch.cell @ r.mT)
    found = t.potential(turned)
    back = replace(found, forces=found.forces @ r, stress=r.mT @ found.stress @ r)
    yield from t.compare("rotated", back)


def _permutation(t: _Trial) -> Iterator[Check]:
    spans = zip(t.batch.starts.tolist(), t.batch.sizes, strict=True)
    order = torch.as_tensor(np.concatenate([s + t.rng.permutation(n) for s, n in spans]), device=t.batch.device)
    everything = torch.arange(t.batch.n_systems, device=t.batch.device)
    found = t.potential(take_scoped(t.batch, order, everything))
    back = torch.argsort(order)
    yield from t.compare("atoms in another order", take_scoped(found, back, everything))


def _forces(t: _Trial) -> Iterator[Check]:
    for n in range(3):
        along = _tensor(t.rng.normal(size=(t.batch.n_atoms, 3)), t.batch)

        def displaced(h: float, d: Tensor = along) -> Batch:
            return replace(t.batch, positions=t.batch.positions + h * d)

        slope = _slope(t, displaced)
        power = -(t.reference.forces * along).sum(dim=1)
        predicted = torch.zeros_like(slope).index_add_(0, t.batch.system, power)
        yield _slopes_equal(t, f"forces are the energy's derivative, direction {n}", slope, predicted)


def _stress(t: _Trial) -> Iterator[Check]:
    volume = t.batch.volume
    for n in range(3):
        strain = _tensor(t.rng.normal(size=(3, 3)), t.batch)
        strain = 0.5 * (strain + strain.mT)

        def strained(h: float, e: Tensor = strain) -> Batch:
            f = torch.eye(3, dtype=torch.float64, device=t.batch.device) + h * e
            return replace(t.batch, positions=t.batch.positions @ f, cell=t.batch.cell @ f)

        has_cell = volume > 0.0
        slope = torch.where(has_cell, _slope(t, strained), 0.0)
        predicted = volume * (t.reference.stress * strain).sum(dim=(1, 2))
        yield _slopes_equal(t, f"stress is the energy's derivative, strain {n}", slope, predicted)


def _slope(t: _Trial, at: Callable[[float], Batch]) -> Tensor:
    """Five-point central difference; its error is of fourth order in the step."""
    h = t.tolerance.step
    near, far = (t.potential(at(s * h)).energy - t.potential(at(-s * h)).energy for s in (1.0, 2.0))
    return ((8.0 * near - far) / (12.0 * h)).to(torch.float64)


def _slopes_equal(t: _Trial, name: str, found: Tensor, predicted: Tensor) -> Check:
    scale = torch.sqrt(t.batch.counts) * predicted.abs().clamp(min=1.0)
    return Check(name, _largest((found - predicted) / scale), t.tolerance.slope)


def _sums(t: _Trial) -> Iterator[Check]:
    if t.reference.energies is not None:
        total = t.batch.cell.new_zeros(t.batch.n_systems).index_add_(0, t.batch.system, t.reference.energies)
        apart = (total - t.reference.energy) / t.batch.counts
        yield Check("atomic energies sum to the energy", _largest(apart), t.tolerance.energy_eV_per_atom)
    net = torch.zeros_like(t.reference.stress[:, 0]).index_add_(0, t.batch.system, t.reference.forces)
    yield Check("forces on a system sum to zero", _largest(net), 10 * t.tolerance.forces_eV_per_A)


def _fixed_ignored(t: _Trial) -> Iterator[Check]:
    yield from t.compare("all atoms fixed", t.potential(replace(t.batch, fixed=torch.ones_like(t.batch.fixed))))


def _unknown_element(t: _Trial) -> Iterator[Check]:
    strangers = sorted(set(range(1, 119)) - t.potential.elements)
    if not strangers:
        return
    numbers = t.batch.numbers.clone()
    numbers[-1] = strangers[-1]
    try:
        t.potential(replace(t.batch, numbers=numbers))
    except InputError:
        yield _promise("an unknown element is refused", kept=True)
    else:
        yield _promise("an unknown element is refused", kept=False)


def _promise(name: str, kept: bool) -> Check:
    return Check(name, 0.0 if kept else math.inf, 0.0)


def _largest(values: Tensor) -> float:
    return float(values.abs().max()) if values.numel() else 0.0


def _tensor(values: np.ndarray, batch: Batch) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float64, device=batch.device)
