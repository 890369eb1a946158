"""``atomsim.opinions``: what several potentials say of one crystal, and how far they differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from atomsim.api.arguments import listed, mapped, verb
from atomsim.api.asked import Opinion
from atomsim.errors import InputError, check_number, check_whole

if TYPE_CHECKING:
    import pandas as pd

QUANTITIES = ("lattice", "voltage", "barrier")


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
                f"found {', '.join(map(str, content)) or 'nothing'}, wanted what 'atomsim opinions --json' prints"
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
    pythons: Mapping[str, str] | None = None,
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
        processes: on a CPU, how many potentials are asked at once, each in a process of its own; one after the other
            in this one if not given.
        pythons: by potential, the Python of another environment, with atomsim, that asks it: SevenNet's beside MACE's.
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
    from atomsim.api.asked import Question, answers

    wanted = [str(p) for p in listed("potentials", potentials)]
    if len(set(wanted)) < 2 or len(set(wanted)) < len(wanted):
        raise InputError(f"potentials: found {', '.join(wanted) or 'none'}, wanted two or more that differ")
    asked = listed("quantities", quantities)
    if not asked or (unknown := [str(q) for q in asked if q not in QUANTITIES]):
        found = ", ".join(unknown) if asked else "none"
        raise InputError(f"quantities: found {found}, wanted some of {', '.join(QUANTITIES)}")
    for key, value in (
        ("fmax_eV_per_A", fmax_eV_per_A),
        ("max_length_A", max_length_A),
        ("supercell_min_A", supercell_min_A),
    ):
        check_number(key, value, "a number above 0", above=0.0)
    check_whole("max_atoms", max_atoms, "a whole number of atoms", low=2)
    hop = {"max_length_A": max_length_A, "supercell_min_A": supercell_min_A, "max_atoms": max_atoms}
    question = Question.of(host, ion, [q for q in QUANTITIES if q in asked], fmax_eV_per_A, hop, seed)
    opinions = answers(
        question, wanted, device, processes, mapped("pythons", pythons, "Python by name of the potential"), progress
    )
    return Opinions(question.label, tuple(opinions))
