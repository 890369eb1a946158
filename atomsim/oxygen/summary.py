"""Vacancies, release and onset from the records of an ``oxygen`` step: uncorrected and corrected side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ase import Atoms

from atomsim.analysis.release import Phase, Release, onset, release_energy
from atomsim.analysis.thermochemistry import Calibration, calibrate, formation_enthalpy, oxygen_potential
from atomsim.errors import InputError
from atomsim.store.records import Record

LEVELS = ("uncorrected", "corrected")
"""Energies of the potential as they are, and with the shift per O that calibration oxides give."""


@dataclass(frozen=True)
class VacancyLine:
    """One vacancy against ½E(O2), as the potential has it."""

    label: str
    host: str
    x: float | None
    kind: str
    multiplicity: int
    status: str
    unrelaxed_eV: float | None
    relaxed_eV: float | None
    image_distance_A: float
    force_calls: int


@dataclass(frozen=True)
class Summary:
    """Summary of an ``oxygen`` step."""

    oxygen_eV: float | None
    """½E(O2), eV; None where O2 could not be had, and nothing can be counted."""
    bond_A: float | None
    gas_eV: float
    """μ_O(T, p) − ½E(O2), eV."""
    temperature_K: float
    pressure_bar: float
    vacancies: tuple[VacancyLine, ...]
    calibration: Calibration | None
    releases: Mapping[tuple[str, bool], tuple[Release, ...]]
    """By (level, with the gas at T and p), the largest x first."""
    notes: tuple[str, ...]
    """Missing results and their causes."""

    def onset(self, level: str, *, gas: bool) -> tuple[float, float] | None:
        """Ion contents between which release becomes downhill; None if it never does."""
        return onset(self.releases.get((level, gas), ()))

    def to_json(self) -> dict[str, Any]:
        """Return the counts of ``summarise``."""
        found: dict[str, Any] = {"notes": list(self.notes), "gas_eV": self.gas_eV}
        if self.oxygen_eV is not None:
            found |= {"half_O2_eV": self.oxygen_eV, "O2_bond_A": self.bond_A}
        found["vacancies"] = [asdict(v) for v in self.vacancies]
        if self.calibration is not None:
            found["calibration"] = {
                "errors_eV_per_O": dict(self.calibration.errors_eV),
                "shift_eV_per_O": self.calibration.shift,
                "spread_eV_per_O": self.calibration.spread,
            }
        found["release"] = [
            {"level": level, "gas": gas, "onset_x": self.onset(level, gas=gas), "reactions": [asdict(r) for r in rs]}
            for (level, gas), rs in self.releases.items()
        ]
        return found


def ion_content(atoms: Atoms, ion: str) -> float | None:
    """Ions per atom of the other metals; None without any.

    Raises:
        InputError: for a structure without oxygen.
    """
    counts = Counter(atoms.symbols)
    if not counts["O"]:
        raise InputError(f"{atoms.get_chemical_formula()} has no O: found 0 atoms, wanted an oxide")
    metals = sum(n for e, n in counts.items() if e not in (ion, "O"))
    return counts[ion] / metals if metals else None


def summary_of(
    records: Sequence[Record], ion: str = "Li", temperature_K: float = 300.0, pressure_bar: float = 1.0
) -> Summary:
    """Count vacancies against O2 and find the release of O2 at every ion content."""
    gas = oxygen_potential(temperature_K, pressure_bar)
    by_role: dict[str, list[Record]] = {}
    for r in records:
        by_role.setdefault(r.tags.get("role", ""), []).append(r)
    molecule = next((r for r in by_role.get("oxygen", ()) if r.good), None)
    if molecule is None:
        why = next((r.message for r in by_role.get("oxygen", ())), "it was not computed")
        return Summary(None, None, gas, temperature_K, pressure_bar, (), None, {}, (f"no O2 to count from: {why}",))
    half = 0.5 * molecule.values["energy_eV"]
    vacancies = tuple(_line(r, half) for r in by_role.get("vacancy", ()))
    calibration, notes = _calibration(by_role, half)
    releases, more = _releases(by_role, half, gas, calibration, ion)
    bond = molecule.values["bond_A"]
    return Summary(half, bond, gas, temperature_K, pressure_bar, vacancies, calibration, releases, (*notes, *more))


def summary_of_step(records: Sequence[Record]) -> Summary:
    """Do the same with the settings that the records were made with."""
    about: Mapping[str, Any] = next((r.provenance.get("settings", {}) for r in records), {})
    return summary_of(
        records, about.get("ion", "Li"), about.get("temperature_K", 300.0), about.get("pressure_bar", 1.0)
    )


def _line(record: Record, half: float) -> VacancyLine:
    n = len(record.tags["sites"])
    unrelaxed, relaxed = (record.values.get(f"{k}_without_gas_eV") for k in ("unrelaxed", "relaxed"))
    return VacancyLine(
        label=record.label,
        host=record.tags["host"],
        x=record.tags["x"],
        kind=record.tags["vacancy"],
        multiplicity=record.tags["multiplicity"],
        status=record.status,
        unrelaxed_eV=None if unrelaxed is None else unrelaxed + n * half,
        relaxed_eV=None if relaxed is None else relaxed + n * half,
        image_distance_A=record.tags["image_distance_A"],
        force_calls=record.values.get("force_calls", 0),
    )


def _calibration(by_role: Mapping[str, Sequence[Record]], half: float) -> tuple[Calibration | None, list[str]]:
    """The shift per O, where all that it needs has relaxed."""
    given = by_role.get("calibration", ())
    if not given:
        return None, []
    elements = {"O": half}
    for r in by_role.get("element", ()):
        if r.good:
            elements[r.atoms.symbols[0]] = r.values["energy_eV"] / len(r.atoms)
    errors, notes = [], []
    for r in given:
        formula = r.tags.get("prototype") or r.label.removeprefix("calibration ")
        try:
            counts = Counter(r.atoms.symbols)
            units = _units(r.atoms, formula)
            computed = formation_enthalpy(r.values["energy_eV"], counts, elements) / units
            errors.append((formula, computed, round(counts["O"] / units)))
        except (InputError, KeyError) as error:
            notes.append(f"calibration with {formula} left out: {error}")
    return (calibrate(errors) if errors else None), notes


def _units(atoms: Atoms, formula: str) -> float:
    """Formula units in a cell."""
    per_unit = Counter(Atoms(formula).symbols)
    element, n = next(iter(per_unit.items()))
    return float(Counter(atoms.symbols)[element] / n)


def _releases(
    by_role: Mapping[str, Sequence[Record]],
    half: float,
    gas: float,
    calibration: Calibration | None,
    ion: str,
) -> tuple[dict[tuple[str, bool], tuple[Release, ...]], list[str]]:
    phases = [_phase(r, None, ion) for r in by_role.get("phase", ()) if r.good]
    hosts: dict[float, Phase] = {}
    for r in by_role.get("host", ()):
        if r.good and r.tags["x"] is not None:
            found = _phase(r, r.tags["x"], ion)
            before = hosts.get(round(r.tags["x"], 6))
            if before is None or found.energy_eV < before.energy_eV:
                hosts[round(r.tags["x"], 6)] = found
    if not phases or len(hosts) < 2:
        return {}, ["no release: wanted two ion contents or more, and phases such as the binary oxide"]
    shifts = {"uncorrected": 0.0} | ({} if calibration is None else {"corrected": calibration.shift})
    releases: dict[tuple[str, bool], tuple[Release, ...]] = {}
    for level, shift in shifts.items():
        for with_gas in (False, True):
            oxygen = half + shift + (gas if with_gas else 0.0)
            reactions = [release_energy(h, [*hosts.values(), *phases], oxygen) for h in hosts.values()]
            ordered = sorted((r for r in reactions if r is not None), key=lambda r: -r.x)
            if ordered:
                releases[level, with_gas] = tuple(ordered)
    notes = [] if releases else ["no release: the phases given make up none of the compositions"]
    return releases, notes


def _phase(record: Record, x: float | None, ion: str) -> Phase:
    """A phase per atom of the metals other than the ion, or per ion where there is none."""
    counts = Counter(record.atoms.symbols)
    metals = sum(n for e, n in counts.items() if e not in (ion, "O")) or counts[ion]
    per = {e: n / metals for e, n in counts.items()}
    order = [ion, *sorted(set(per) - {ion, "O"}), "O"]
    formula = "".join(f"{e}{per[e]:.3g}" if abs(per[e] - 1) > 1e-6 else e for e in order if e in per)
    name = record.label if x is None else formula
    return Phase(name.removeprefix("phase "), per, record.values["energy_eV"] / metals, x)
