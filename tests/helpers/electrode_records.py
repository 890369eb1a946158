"""Records as a delithiation campaign leaves them, made without a potential.

The numbers are invented (a straight voltage curve, a host that breathes a little, one pair of oxygens
that meets when all lithium is gone); only the structures are chemistry.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.build import bulk

from atomsim.io.atoms_json import atoms_to_json
from atomsim.store.records import Record, Task
from atomsim.structures.prototypes import load_prototype
from atomsim.tasks import electrode
from atomsim.tasks.base import Context

POTENTIAL = {"name": "chgnet-0.3.0", "sha256": "d14a" * 16}
LITHIUM_EV = -1.9
HOST_UNITS = 4
ALL_X = (2.0, 1.5, 1.0, 0.5, 0.0)


def voltage(x: float) -> float:
    """The invented equilibrium voltage at x."""
    return 4.5 - 0.6 * x


def energy_per_unit(x: float) -> float:
    """Energy whose derivative along x is the voltage, eV per formula unit."""
    return -30.0 + LITHIUM_EV * x - (4.5 * x - 0.3 * x**2)


def host() -> Atoms:
    """Li2RuO3, the primitive cell of C2/c, 4 formula units, layers normal to c* with the period d(002)."""
    return load_prototype("Li2RuO3").primitive


def delithiated(x: float, rng: np.random.Generator) -> Atoms:
    """The host with x ions left per formula unit, its cell breathing."""
    atoms = host()
    lithium = np.flatnonzero(atoms.numbers == 3)
    gone = rng.choice(lithium, size=len(lithium) - round(x * HOST_UNITS), replace=False)
    del atoms[gone.tolist()]
    strain = np.diag([1 - 0.01 * (2 - x), 1 - 0.012 * (2 - x), 1 + 0.03 * (2 - x) * (x - 0.3)])
    atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)
    atoms.positions += rng.normal(scale=0.03, size=(len(atoms), 3))
    if x == 0:
        first, second = np.flatnonzero(atoms.numbers == 8)[:2]
        towards = atoms.get_distance(first, second, mic=True, vector=True)
        atoms.positions[second] = atoms.positions[first] + 1.45 * towards / np.linalg.norm(towards)
    atoms.set_array(
        "magmoms", np.where(atoms.numbers == 44, 0.15 + 0.1 * x, np.where(atoms.numbers == 8, 0.09 - 0.04 * x, 0.0))
    )
    return atoms


def relaxed(step: str, label: str, atoms: Atoms, energy: float, status: str = "converged", **content) -> Record:
    """A record of a relax step."""
    arrays = {"forces": np.zeros((len(atoms), 3))}
    if "magmoms" in atoms.arrays:
        arrays["magmoms"] = atoms.arrays["magmoms"]
    values = {
        "energy_eV": energy,
        "energy_per_atom_eV": energy / len(atoms),
        "fmax_eV_per_A": 0.034,
        "pressure_GPa": 0.02,
    }
    values |= {"volume_A3": float(atoms.cell.volume), "steps": 42, "force_calls": 47, "n_atoms": len(atoms)}
    defaults = {
        "provenance": {
            "potential": POTENTIAL,
            "versions": {"torch": "2.10"},
            "seed": 0,
            "device": "cpu",
            "dtype": "float32",
        },
        "run": {"wall_s": 12.5, "attempt": 1},
    }
    return Record(
        task=f"{step}-{label}", step=step, kind="relax", label=label, status=status, values=values,
        structure=atoms_to_json(atoms, arrays), **(defaults | content),
    )  # fmt: skip


@dataclass(frozen=True)
class Made:
    """Inputs of an electrode step and what it made of them."""

    inputs: dict[str, list[Record]]
    settings: electrode.Settings
    tasks: list[Task]
    records: list[Record]


def structures(orderings: int = 3, seed: int = 1) -> list[Record]:
    """Relaxed orderings at every x; the last of x = 1 did not converge."""
    rng = np.random.default_rng(seed)
    found = []
    for x in ALL_X:
        for n in range(1 if x in (2.0, 0.0) else orderings):
            tags = {
                "parent": "example-host",
                "ion": "Li",
                "x": x,
                "x_max": 2.0,
                "host_units": HOST_UNITS,
                "ordering": n,
            }
            tags |= {"multiplicity": 4 + n, "ewald_eV": -100.0 + n, "supercell": np.eye(3, dtype=int).tolist()}
            bad = x == 1.0 and n == orderings - 1
            status, message = ("max_steps", "fmax is 0.21 eV/Å after 500 steps") if bad else ("converged", "")
            energy = HOST_UNITS * (energy_per_unit(x) + 0.03 * n)
            found.append(
                relaxed(
                    "relaxed", f"x={x:.2f}-{n:02d}", delithiated(x, rng), energy, status, message=message, tags=tags
                )
            )
    return found


def metal(energy_per_atom: float = LITHIUM_EV, **content) -> Record:
    """The relaxed reference."""
    return relaxed("metal", "Li", bulk("Li", "bcc", a=3.44, cubic=True), 2 * energy_per_atom, **content)


def electrode_step(inputs: dict[str, list[Record]] | None = None, **settings) -> Made:
    """Run an electrode step as the worker does."""
    inputs = inputs or {"relaxed": structures(), "metal": [metal()]}
    chosen = electrode.Settings(
        **({"structures": "relaxed", "reference": "metal", "layer_reflection": [0, 0, 2]} | settings)
    )
    context = Context(step="electrode")
    tasks = electrode.expand(chosen, inputs, context)
    return Made(inputs, chosen, tasks, list(electrode.run(tasks, chosen, inputs, context)))
