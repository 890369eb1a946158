"""Errors of a student against its teacher: on frames it never saw, and on the tasks that it is for.

Every part is a function (recipe, teacher, student, …) → numbers with their units in the keys; ``examine``
keeps each as a file and continues after an interruption.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import TypeVar

import numpy as np
from ase import Atoms

from atomsim.analysis.agreement import label_errors
from atomsim.analysis.hull import formation_hull, lowest_at_each_x
from atomsim.analysis.lattice import lattice_of
from atomsim.analysis.voltage import voltage_steps
from atomsim.batching.labels import label
from atomsim.distill.examination import Barriers, Voltage
from atomsim.distill.recipe import Recipe
from atomsim.distill.stability import heated, pair_distributions
from atomsim.hopping.compute import HopRequest, compute
from atomsim.hopping.survey import SurveySettings, survey
from atomsim.io.files import write_atomically
from atomsim.mep.path import PathSettings
from atomsim.models.combine import Sum
from atomsim.models.interface import Potential
from atomsim.relaxation import Relaxation, RelaxSettings, iter_relax
from atomsim.structures.delithiation import delithiate
from atomsim.structures.prototypes import load_prototype
from atomsim.structures.random import dimers

Errors = dict[str, float]

RELAX = RelaxSettings(fmax_eV_per_A=0.02, max_steps=300, check_minimum=False)
ALIKE_EV = 0.010
"""Orderings whose energies the teacher tells apart by less than this per formula unit need no order, eV."""


def examine(
    recipe: Recipe,
    teacher: Potential,
    student: Potential,
    held_out: Mapping[str, Sequence[Atoms]],
    folder: Path,
    say: Callable[[str], None] = lambda _: None,
) -> Errors:
    """Return all errors of a student; a part is computed again where what it was asked has changed."""
    v = recipe.validate
    systems = [s.model_dump(mode="json") for s in recipe.systems]
    heat = [v.dynamics.model_dump(mode="json"), systems, recipe.header.seed]
    parts: dict[str, tuple[object, Callable[[], Errors]]] = {
        "frames": ({domain: len(f) for domain, f in held_out.items()}, lambda: frame_errors(held_out, student)),
        "lattices": (v.lattices, lambda: lattice_errors(v.lattices, teacher, student)),
        **{
            f"voltage-{key}": (one.model_dump(mode="json"), partial(voltage_errors, one, teacher, student, key))
            for key, one in _distinguished(v.voltage)
        },
        **{
            f"barriers-{key}": (one.model_dump(mode="json"), partial(barrier_errors, one, teacher, student, key))
            for key, one in _distinguished(v.barriers)
        },
        "dimer": ("O", lambda: dimer_errors("O", teacher, student)),
        "dynamics": (heat, lambda: heated(recipe, student)),
        "rdf": (heat, lambda: pair_distributions(recipe, teacher, student)),
    }
    errors: Errors = {}
    for name, (asked, part) in parts.items():
        path = folder / f"{name}.json"
        mark = {"student": student.sha256, "teacher": teacher.sha256, "asked": asked}
        found = _kept(path, mark)
        if found is None:
            found = {key: float(value) for key, value in part().items()}
            write_atomically(path, json.dumps({**mark, "errors": found}, indent=1) + "\n")
            say(f"{name}: " + ", ".join(f"{key} {value:.3g}" for key, value in found.items()))
        errors |= found
    return errors


def _kept(path: Path, mark: Mapping[str, object]) -> Errors | None:
    """Errors of a part that were computed for the same student and question; None for a torn file too."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        same = all(content[key] == value for key, value in mark.items())
        return {key: float(value) for key, value in content["errors"].items()} if same else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


Examined = TypeVar("Examined", Voltage, Barriers)


def _distinguished(several: Sequence[Examined]) -> list[tuple[str, Examined]]:
    """Name each by its prototype, the second of one prototype with a number."""
    names = [one.prototype for one in several]
    return [
        (name if (before := names[:n].count(name)) == 0 else f"{name}-{before + 1}", one)
        for n, (name, one) in enumerate(zip(names, several, strict=True))
    ]


def frame_errors(held_out: Mapping[str, Sequence[Atoms]], student: Potential) -> Errors:
    """Compare with labels, by domain and by the way in which frames were made."""
    errors: Errors = {}
    for domain, frames in held_out.items():
        if not frames:
            continue
        own = label(frames, student)
        errors |= {f"{domain}_frames": float(len(frames)), **_named(domain, label_errors(own, frames))}
        kinds = [str(f.info.get("source", "")).split("-")[-2:-1] for f in frames]
        for kind in sorted({k[0] for k in kinds if k}):
            chosen = [n for n, k in enumerate(kinds) if k == [kind]]
            found = _named(f"{domain}_{kind}", label_errors([own[n] for n in chosen], [frames[n] for n in chosen]))
            errors |= {key: value for key, value in found.items() if "RMSE" not in key and "stress" not in key}
    return errors


def _named(name: str, errors: Errors) -> Errors:
    return {f"{name}_{key}": value for key, value in errors.items()}


def _relaxed(systems: Sequence[Atoms], potential: Potential) -> list[Relaxation]:
    found = dict(iter_relax(systems, potential, RELAX))
    return [found[n] for n in range(len(systems))]


def lattice_errors(prototypes: Sequence[str], teacher: Potential, student: Potential) -> Errors:
    """Relax prototypes with both: lengths of the cell, volumes, energies."""
    if not prototypes:
        return {}
    cells = [load_prototype(name).primitive for name in prototypes]
    errors: Errors = {}
    length, volume, energy = [], [], []
    for name, ours, theirs in zip(prototypes, _relaxed(cells, student), _relaxed(cells, teacher), strict=True):
        a, b = (lattice_of(r.atoms.cell.array) for r in (ours, theirs))
        off = [100 * abs(p / q - 1) for p, q in ((a.a, b.a), (a.b, b.b), (a.c, b.c))]
        errors[f"lattice_{name}_percent"] = max(off)
        length += off
        volume.append(100 * abs(a.volume / b.volume - 1))
        energy.append(1e3 * abs(ours.energy - theirs.energy) / len(ours.atoms))
    return errors | {
        "lattice_largest_percent": max(length),
        "lattice_mean_percent": float(np.mean(length)),
        "volume_largest_percent": max(volume),
        "relaxed_energy_MAE_meV_per_atom": float(np.mean(energy)),
    }


def voltage_errors(one: Voltage, teacher: Potential, student: Potential, key: str) -> Errors:
    """Relax orderings with both: their energies, the hull, the voltages from lowest to lowest."""
    host = load_prototype(one.prototype).primitive
    found = delithiate(
        host,
        one.ion,
        one.x,
        host_unit=one.host_unit,
        orderings=one.orderings,
        max_atoms=max(one.max_atoms, len(host)),
        seed=1,
    )
    cells, metal = [o.atoms for o in found.orderings], load_prototype(one.metal).primitive
    x, units = [o.x for o in found.orderings], [o.host_units for o in found.orderings]
    energies, ion = {}, {}
    for name, potential in (("student", student), ("teacher", teacher)):
        relaxed = _relaxed([*cells, metal], potential)
        energies[name] = [r.energy / n for r, n in zip(relaxed[:-1], units, strict=True)]
        ion[name] = relaxed[-1].energy / len(metal)
    steps = {}
    for name, energy in energies.items():
        lowest = lowest_at_each_x(x, energy)
        steps[name] = voltage_steps([x[k] for k in lowest], [energy[k] for k in lowest], ion[name])
    off = [abs(a.voltage - b.voltage) for a, b in zip(steps["student"], steps["teacher"], strict=True)]
    formation = {name: np.array(formation_hull(x, e).formation) for name, e in energies.items()}
    hulls = {name: formation_hull(x, e) for name, e in energies.items()}
    return {
        f"{key}_voltage_MAE_mV": 1e3 * float(np.mean(off)),
        f"{key}_voltage_largest_mV": 1e3 * max(off),
        f"{key}_formation_MAE_meV_per_fu": 1e3 * float(np.abs(formation["student"] - formation["teacher"]).mean()),
        f"{key}_hull_same_compositions": float(hulls["student"].vertex_x == hulls["teacher"].vertex_x),
        f"{key}_orderings_in_order_percent": _in_order(x, energies["student"], energies["teacher"]),
    }


def _in_order(x: Sequence[float], ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Pairs of orderings at one x whose order is kept, of those that the teacher tells apart, per cent."""
    apart = [
        (ours[i] - ours[j]) * (theirs[i] - theirs[j]) > 0
        for i, j in combinations(range(len(x)), 2)
        if abs(x[i] - x[j]) < 1e-6 and abs(theirs[i] - theirs[j]) > ALIKE_EV
    ]
    return 100.0 * float(np.mean(apart)) if apart else 100.0


def barrier_errors(one: Barriers, teacher: Potential, student: Potential, key: str) -> Errors:
    """Compute the shortest hops with both, in the host as the teacher relaxes it; both barriers of each count."""
    (relaxed,) = _relaxed([load_prototype(one.prototype).primitive], teacher)
    host = Atoms(relaxed.atoms.numbers, relaxed.atoms.positions, cell=relaxed.atoms.cell, pbc=True)
    settings = SurveySettings(
        supercell_min_A=one.supercell_min_A,
        max_atoms=max(one.max_atoms, len(host)),
        path=PathSettings(images=5, max_steps=120, prove_saddle=False),
    )
    placed = sorted(survey(host, one.ion, settings).placed, key=lambda p: (p.hop.length_A, p.hop.name))[: one.hops]
    requests = [HopRequest(n, one.prototype, host, p.hop.name) for n, p in enumerate(placed)]
    ours, theirs = (
        {
            r.key: r.path
            # a sum of one, as what hops share is kept by potential, and not every potential can be a key
            for r in compute(requests, one.ion, settings, Sum([p]))
            if r.path is not None and r.status == "converged"
        }
        for p in (student, teacher)
    )
    both = sorted(set(ours) & set(theirs))
    off = [abs(ours[k].barrier - theirs[k].barrier) for k in both]
    off += [abs(ours[k].reverse_barrier - theirs[k].reverse_barrier) for k in both]
    found = {f"{key}_barriers": float(len(both)), f"{key}_barriers_wanted": float(len(placed))}
    if off:
        found[f"{key}_barrier_MAE_meV"] = 1e3 * float(np.mean(off))
        found[f"{key}_barrier_largest_meV"] = 1e3 * max(off)
        found[f"{key}_barrier_mean_eV"] = float(np.mean([theirs[k].barrier for k in both]))
    return found


def dimer_errors(element: str, teacher: Potential, student: Potential) -> Errors:
    """Compare the energy of a pair in a box over its distance, 1 to 3 Å."""
    pair = dimers([element], 3, 1.0, 3.0, 14.0, [])[1]
    frames = []
    for distance in np.arange(1.0, 3.01, 0.1):
        frame = pair.copy()
        frame.positions[1] = frame.positions[0] + [distance, 0, 0]
        frames.append(frame)
    ours, theirs = (np.array([f.get_potential_energy() for f in label(frames, p)]) for p in (student, teacher))
    known = theirs < theirs.min() + 10.0
    return {
        f"{element}{element}_dimer_MAE_meV": 1e3 * float(np.abs(ours - theirs)[known].mean()),
        f"{element}{element}_dimer_bond_error_A": float(abs(ours.argmin() - theirs.argmin()) * 0.1),
    }
