"""``atomsim.opinions``: what several potentials say of one crystal, and how far they differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from atomsim.api.arguments import verb
from atomsim.errors import AtomsimError, InputError

if TYPE_CHECKING:
    import pandas as pd
    from ase import Atoms

QUANTITIES = ("lattice", "voltage", "barrier")


@dataclass(frozen=True)
class Opinion:
    """Results of one potential; a quantity that it could not give is absent, and ``messages`` say why."""

    potential: str
    sha256: str
    values: Mapping[str, float]
    """Numbers by name, units in the names."""
    messages: tuple[str, ...] = ()
    structures: Mapping[str, Atoms] = field(default_factory=dict, repr=False)
    """Relaxed crystals by label."""


@dataclass(frozen=True)
class Opinions:
    """Opinions of several potentials on one crystal."""

    label: str
    opinions: tuple[Opinion, ...]

    @property
    def spread(self) -> dict[str, float]:
        """Largest less smallest value of each quantity that at least two potentials give."""
        names = dict.fromkeys(key for o in self.opinions for key in o.values)
        found = {key: [o.values[key] for o in self.opinions if key in o.values] for key in names}
        return {key: float(np.ptp(values)) for key, values in found.items() if len(values) > 1}

    @property
    def messages(self) -> tuple[str, ...]:
        """Missing quantities, and why."""
        return tuple(f"{o.potential}: {m}" for o in self.opinions for m in o.messages)

    @property
    def table(self) -> pd.DataFrame:
        """One row for each quantity, one column for each potential, and the spread."""
        import pandas as pd

        columns = {o.potential: pd.Series(dict(o.values), dtype=float) for o in self.opinions}
        return pd.DataFrame(columns).assign(spread=pd.Series(self.spread, dtype=float))

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        rows = [
            {"potential": o.potential, "sha256": o.sha256, "values": dict(o.values), "messages": list(o.messages)}
            for o in self.opinions
        ]
        return {"label": self.label, "opinions": rows, "spread": self.spread}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Opinions:
        """Rebuild what ``to_dict`` returned, without crystals.

        Raises:
            InputError: if it is something else.
        """
        try:
            rows = [
                Opinion(str(o["potential"]), str(o["sha256"]), dict(o["values"]), tuple(o["messages"]))
                for o in content["opinions"]
            ]
            return cls(str(content["label"]), tuple(rows))
        except (KeyError, TypeError) as error:
            raise InputError(
                f"found {', '.join(map(str, content))}, wanted what 'atomsim opinions --json' prints"
            ) from error

    def joined(self, other: Opinions) -> Opinions:
        """Return these opinions and those of another environment on the same crystal.

        Raises:
            InputError: if they are of another crystal.
        """
        if other.label != self.label:
            raise InputError(f"found opinions on {other.label}, wanted {self.label}; join those on one crystal")
        known = {o.sha256 for o in self.opinions}
        return Opinions(self.label, (*self.opinions, *(o for o in other.opinions if o.sha256 not in known)))

    def ranking(self) -> list[tuple[str, float]]:
        """Relaxed crystals with the spread of their volumes, as fractions of the mean, largest first."""
        labels = dict.fromkeys(key for o in self.opinions for key in o.structures)
        found = []
        for label in labels:
            volumes = [float(o.structures[label].cell.volume) for o in self.opinions if label in o.structures]
            if len(volumes) > 1:
                found.append((label, float(np.ptp(volumes) / np.mean(volumes))))
        return sorted(found, key=lambda pair: (-pair[1], pair[0]))

    def write_dft_list(self, folder: str | Path, most: int = 3) -> list[Path]:
        """Write VASP inputs, without POTCAR, of the crystals on which the potentials differ most.

        Args:
            folder: where.
            most: at most so many crystals, as the first potential relaxed them.

        Raises:
            InputError: if fewer than two potentials share a crystal.
        """
        from atomsim.io.dft_list import write_dft_list

        ranked = self.ranking()[:most]
        first = [next(o.structures[label] for o in self.opinions if label in o.structures) for label, _ in ranked]
        facts = [{"volume_spread_percent": round(100 * spread, 2)} for _, spread in ranked]
        pairs = [(label, atoms) for (label, _), atoms in zip(ranked, first, strict=True)]
        return write_dft_list(Path(folder), pairs, facts)


@verb
def opinions(
    host: Any,
    potentials: Sequence[str] = ("chgnet-0.3.0", "chgnet-r2scan"),
    ion: str = "Li",
    *,
    quantities: Sequence[str] = ("lattice", "voltage", "barrier"),
    fmax_eV_per_A: float = 0.02,
    max_length_A: float = 3.2,
    supercell_min_A: float = 7.5,
    max_atoms: int = 64,
    seed: int = 0,
    device: str = "auto",
    processes: int | None = None,
    progress: Any = None,
) -> Opinions:
    """Ask several potentials for lattice, average voltage and lowest barrier of one crystal; each relaxes it by itself.

    Args:
        host: crystal with its ions: Atoms, a Structure, a file, a prototype's name, a result.
        potentials: names or paths, each different.
        ion: element that leaves and hops.
        quantities: some of ``lattice``, ``voltage`` (full and empty host, against the ion's metal) and ``barrier``.
        fmax_eV_per_A: largest force after relaxation.
        max_length_A: longest hop.
        supercell_min_A: distance wanted between an ion and its image in the barrier's cell.
        max_atoms: largest such cell.
        seed: of everything random.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        processes: on a CPU, how many to use; this one alone if not given.
        progress: None (a bar where a person looks), True, False or a ``Progress``.

    Returns:
        Values by potential and their spread. A potential that lacks an element, or for which something does not
        converge, is named in ``messages``; the rest continues.

    Raises:
        InputError: if fewer than two different potentials are given, or one is not at hand.

    Examples:
        >>> import atomsim
        >>> found = atomsim.opinions("Li", ["lj-test", "lennard-jones"], quantities=["lattice"], device="cpu")
        >>> [o.potential for o in found.opinions], sorted(found.spread)[0]
        (['lj-test', 'lennard-jones'], 'a_A')
    """
    from atomsim.api.inputs import one_item
    from atomsim.models.load import load_potential

    wanted = [str(p) for p in potentials]
    if len(set(wanted)) < 2 or len(set(wanted)) < len(wanted):
        raise InputError(f"potentials: found {', '.join(wanted) or 'none'}, wanted two or more that differ")
    if unknown := set(quantities) - set(QUANTITIES):
        raise InputError(f"quantities: found {', '.join(sorted(unknown))}, wanted some of {', '.join(QUANTITIES)}")
    label = one_item(host, "host").label
    how = {"seed": seed, "device": device, "processes": processes, "progress": progress}
    hop = {"max_length_A": max_length_A, "supercell_min_A": supercell_min_A, "max_atoms": max_atoms}
    loaded = {name: load_potential(name, device=device) for name in wanted}  # all are there, before one computes
    if len({p.sha256 for p in loaded.values()}) < len(loaded):
        raise InputError(f"potentials: {' and '.join(wanted)} are not all different weights; leave the same one out")
    found = [
        _Asked(host, name, ion, fmax_eV_per_A, hop, how).opinion(loaded[name].sha256, quantities) for name in wanted
    ]
    return Opinions(label, tuple(found))


@dataclass
class _Asked:
    """A potential that is asked, and what it has said so far."""

    host: Any
    name: str
    ion: str
    fmax: float
    hop: Mapping[str, Any]
    how: Mapping[str, Any]
    values: dict[str, float] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    structures: dict[str, Atoms] = field(default_factory=dict)

    def opinion(self, sha256: str, quantities: Sequence[str]) -> Opinion:
        """Ask for each quantity; what fails costs no other."""
        for quantity in QUANTITIES:
            if quantity in quantities:
                try:
                    getattr(self, quantity)()
                except AtomsimError as error:
                    self.messages.append(f"{quantity}: {error}")
        return Opinion(self.name, sha256, self.values, tuple(self.messages), self.structures)

    def lattice(self) -> None:
        """Axes of the conventional cell, and the volume."""
        from spglib import get_symmetry_dataset

        from atomsim.api.relax import relax

        found: Any = relax(self.host, self.name, fmax_eV_per_A=self.fmax, standard_cell=True, **self.how)
        if not found.ok:
            self.messages.append(f"lattice: {found.status}: {found.message}")
            return
        atoms = found.atoms
        data = get_symmetry_dataset((atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers), symprec=0.01)
        lengths = atoms.cell.lengths() if data is None else np.linalg.norm(data.std_lattice, axis=1)
        self.values |= {f"{axis}_A": float(x) for axis, x in zip("abc", lengths, strict=True)}
        self.values["volume_A3_per_atom"] = float(atoms.cell.volume) / len(atoms)
        self.structures[found.label] = atoms

    def voltage(self) -> None:
        """Average voltage between the host and the host without its ions, each relaxed."""
        from atomsim.api.electrode import electrode
        from atomsim.api.orderings import delithiate
        from atomsim.api.relax import relax

        empty: Any = delithiate(self.host, [0.0], ion=self.ion, orderings=1)
        settings: Any = {"fmax_eV_per_A": self.fmax, "noise_A": 0.02, **self.how}
        relaxed: Any = relax([self.host, *empty], self.name, **settings)
        found = electrode(relaxed)
        if found.voltages:
            self.values["average_voltage_V"] = float(found.average_voltage_V)
        else:
            self.messages.append(f"voltage: {found.message or '; '.join(found.notes) or found.status}")
        self.structures |= {r.label: r.atoms for r in relaxed if r.ok and r.label not in self.structures}

    def barrier(self) -> None:
        """Lowest proven barrier."""
        from atomsim.api.migration import migration

        found = migration(self.host, self.ion, self.name, **self.hop, **self.how)
        proven = [p.barrier_eV for p in found.hops if p.ok and p.barrier_eV is not None]
        if proven:
            self.values["lowest_barrier_eV"] = float(min(proven))
        else:
            self.messages.append(f"barrier: {found.message or found.status}")
