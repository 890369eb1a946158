"""``atomsim.electrode``: hull, voltages, lattice and more of relaxed structures against x."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from atomsim.api.arguments import listed, made, verb
from atomsim.api.electrode_inputs import host_tags, metal_of
from atomsim.api.execution import How, Plan, Planned, execute
from atomsim.api.relaxed import Relaxation, Relaxations
from atomsim.api.results import NAN, Result
from atomsim.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from pymatgen.entries.computed_entries import ComputedStructureEntry

    from atomsim.api.vibrations import Phonons
    from atomsim.store.records import Record


@dataclass(frozen=True)
class Voltage:
    """Average voltage while the ion content falls from ``x_high`` to ``x_low`` on charge."""

    x_high: float
    x_low: float
    voltage_V: float
    """Against the ion's metal."""


@dataclass(frozen=True)
class Vertex:
    """A phase on the convex hull."""

    x: float
    label: str
    formation_eV_per_fu: float


@dataclass(frozen=True, eq=False, repr=False)
class Electrode(Result):
    """Hull, voltages, lattice, oxygen and redox of a host against its ion content."""

    members: tuple[Relaxation, ...] = ()
    """Relaxations that were given."""
    reference: Relaxation | None = None
    """The ion's metal."""

    @property
    def voltages(self) -> tuple[Voltage, ...]:
        """Average voltages between the phases on the hull, ion-rich first; empty without a reference."""
        return tuple(Voltage(**step) for step in self.record.values.get("voltage", {}).get("hull", ()))

    @property
    def average_voltage_V(self) -> float:  # noqa: N802 - units are in names
        """Average voltage over the whole range of x; NaN without a reference."""
        steps = self.voltages
        width = sum(s.x_high - s.x_low for s in steps)
        return sum(s.voltage_V * (s.x_high - s.x_low) for s in steps) / width if width else NAN

    @property
    def hull(self) -> tuple[Vertex, ...]:
        """Phases on the convex hull of formation energies."""
        return tuple(Vertex(**vertex) for vertex in self.record.values.get("hull", ()))

    @property
    def capacity_mAh_per_g(self) -> float:  # noqa: N802
        """Gravimetric capacity over the whole range of x, per mass of the full host."""
        return float(self.record.values.get("capacity", {}).get("whole_range_mAh_per_g", NAN))

    @property
    def structures(self) -> list[dict[str, Any]]:
        """Each structure that takes part: x, energies, lattice, oxygen, moments, oxidation states."""
        return list(self.record.values.get("structures", ()))

    @property
    def vibrational(self) -> dict[str, Any]:
        """Hull and voltages with the free energy of vibrations, each voltage beside the one without; or empty."""
        return dict(self.record.values.get("vibrational", {}))

    @property
    def scatter(self) -> dict[str, Any]:
        """Statistics of random removals: ``structures``, ``states`` (mean and scatter by x), ``voltages``; or empty."""
        return dict(self.record.values.get("scatter", {}))

    @property
    def excluded(self) -> list[dict[str, str]]:
        """Structures that take no part, each with its reason."""
        return list(self.record.values.get("excluded", ()))

    @property
    def notes(self) -> list[str]:
        """Caveats to read before believing the numbers."""
        return [note["text"] for note in self.record.values.get("notes", ())]

    @property
    def flags(self) -> tuple[str, ...]:
        """The same as ``notes``."""
        return tuple(self.notes)

    @property
    def comparison(self) -> list[dict[str, Any]]:
        """Published values beside those computed here, where there are any."""
        return list(self.record.values.get("comparison", ()))

    @property
    def energy_policy(self) -> list[str]:
        """Which zero the energies have, in words."""
        return list(self.record.values.get("energy_policy", ()))

    @property
    def entries(self) -> list[ComputedStructureEntry]:
        """Pymatgen's entries of the structures that take part."""
        used = {row["label"] for row in self.structures}
        return Relaxations(r for r in self.members if r.label in used).entries

    @property
    def table(self) -> pd.DataFrame:
        """One row for each structure: x, energies, distance above the hull, volume."""
        import pandas as pd

        return pd.DataFrame(
            [{k: v for k, v in row.items() if v is None or isinstance(v, str | int | float)} for row in self.structures]
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Return ``table``."""
        return self.table

    def insertion_electrode(self) -> Any:
        """Return pymatgen's ``InsertionElectrode`` of the same structures; its voltages are the same.

        Raises:
            InputError: without a reference.
        """
        from pymatgen.apps.battery.insertion_battery import InsertionElectrode

        from atomsim.api.views import entry_of

        if self.reference is None or not self.voltages:
            raise InputError("no voltages: there is no relaxed reference; give reference=")
        return InsertionElectrode.from_entries(self.entries, entry_of(self.reference))

    def plot(self, ax: Axes | None = None, *, kind: str = "voltage") -> Axes:
        """Draw what the report draws: voltages with published ones beside them, the ``hull`` or another chart.

        Args:
            ax: axes to draw on, of a figure of several panels the first; new ones for all if not given.
            kind: ``voltage``, ``hull``, ``lattice``, ``layers``, ``oxygen``, ``shortest``, ``moments``, ``oxidation``
                or ``xrd``.

        Returns:
            The axes.

        Raises:
            InputError: for another kind, or where there is nothing of it.
        """
        from atomsim.api import plots

        return plots.electrode(self, ax, kind)

    def _in_words(self) -> str:
        if not self.ok:
            return ""
        phases = ", ".join(f"{v.x:g}" for v in self.hull)
        voltage = "no voltages" if not self.voltages else f"{self.average_voltage_V:.3f} V on average"
        return f", hull at x = {phases}, {voltage}"

    def _facts(self) -> dict[str, Any]:
        steps = {f"x = {s.x_high:g} to {s.x_low:g}": f"{s.voltage_V:.3f} V" for s in self.voltages}
        capacity = {"capacity": f"{self.capacity_mAh_per_g:.1f} mAh/g"} if self.ok else {}
        notes = {f"note {n}": note for n, note in enumerate(self.notes, 1)}
        return {"status": self.status, "message": self.message, **steps, **capacity, **notes}


@verb
def electrode(
    relaxed: Any,
    *,
    reference: Any = None,
    potential: Any = None,
    layer_reflection: Sequence[int] | None = None,
    radiation: str = "CuKa",
    vibrations: Any = None,
    temperature_K: float = 300.0,
) -> Electrode:
    """Analyse relaxed structures of one host as an electrode: hull, voltages, capacity, lattice, oxygen, redox, XRD.

    Voltages from energies alone: Aydinol et al., Phys. Rev. B 56, 1354 (1997).

    Args:
        relaxed: ``Relaxations`` of all x, from one potential. Those not made by ``delithiate`` are taken too: x follows
            from their compositions, the host's formula unit is the reduced one.
        reference: relaxation of the ion's metal with the same potential; relaxed here if not given.
        potential: that the relaxations are of, where it was not loaded by name.
        layer_reflection: indices of the reflection of the layers in the parent's setting.
        radiation: X-ray line: ``CuKa``, ``CuKa1``, ``MoKa`` …
        vibrations: ``atomsim.phonons`` of the same relaxations and of ``reference``; ``.vibrational`` then has hull and
            voltages with their free energy.
        temperature_K: of the vibrations.

    Returns:
        Energies in eV per formula unit, voltages in V against the metal, capacity in mAh/g. A relaxation that is not
        good is in ``.excluded``, never in the hull.

    Raises:
        InputError: for an empty list, anything but relaxations, two potentials, pressure, or two hosts.

    Examples:
        >>> import atomsim
        >>> orderings = atomsim.delithiate("LiCoO2", [1.0, 0.0], max_atoms=4)
        >>> relaxed = atomsim.relax(orderings, "lj-test", keep_symmetry=True, device="cpu")
        >>> found = atomsim.electrode(relaxed)
        >>> found.status, [vertex.x for vertex in found.hull], len(found.voltages)
        ('done', [0.0, 1.0], 1)
    """
    from atomsim.tasks.electrode import Settings

    members = _members(relaxed)
    good = [r for r in members if r.ok]
    if not good:
        raise InputError(
            f"relaxed: none of {len(members)} relaxations is good: {members[0].message or members[0].status}"
        )
    tagged = host_tags(members)
    ion = str(next(r for r in tagged if r.good).tags["ion"])
    metal = metal_of(ion, good[0], reference, potential)
    modes = [] if vibrations is None else [p.record for p in _listed(vibrations)]
    keys: dict[str, Any] = {
        "layer_reflection": None if layer_reflection is None else listed("layer_reflection", layer_reflection),
        "radiation": radiation,
    }
    if modes:
        keys |= {"vibrations": "vibrations"}
    given = {**keys, "temperature_K": temperature_K}
    step: Any = made(Settings, {"structures": "relaxed", "reference": "reference", **given})
    keys = given if modes else keys
    _one_host(tagged)
    written = {key: getattr(step, key) for key in keys if getattr(step, key) is not None}
    planned = Planned("electrode", "electrode", {"structures": "relaxed", "reference": "reference", **written})
    how = How(progress=False, records={"relaxed": tagged, "reference": [metal.record], "vibrations": modes})
    (record,) = execute(Plan("electrode", (planned,)), how, lambda found: found["electrode"])
    return Electrode(record, members=tuple(members), reference=metal)


def _listed(vibrations: Any) -> list[Phonons]:
    """Return phonons as a list.

    Raises:
        InputError: if they are something else.
    """
    from atomsim.api.vibrations import Phonons

    if isinstance(vibrations, Phonons):
        return [vibrations]
    found: list[Any] = list(vibrations) if isinstance(vibrations, Iterable) else [vibrations]
    if wrong := [p for p in found if not isinstance(p, Phonons)]:
        raise InputError(
            f"vibrations: found {type(wrong[0]).__name__}, wanted phonons, as atomsim.phonons returns them"
        )
    return found


def _members(relaxed: Any) -> list[Relaxation]:
    if isinstance(relaxed, Relaxation):
        return [relaxed]
    if not isinstance(relaxed, Iterable) or isinstance(relaxed, str):
        raise InputError(f"relaxed: found {type(relaxed).__name__}, wanted relaxations, as atomsim.relax returns them")
    members = list(relaxed)
    for one in members:
        if not isinstance(one, Relaxation):
            raise InputError(
                f"relaxed: found {type(one).__name__} among them, wanted relaxations: atomsim.relax(structures, …)"
            )
    if not members:
        raise InputError("relaxed: found none, wanted at least one relaxation")
    return members


def _one_host(records: Sequence[Record]) -> None:
    from atomsim.tasks.electrode_inputs import sort_out

    for entry in sort_out(records)[1]:
        if entry["reason"].startswith("another host"):
            raise InputError(f"{entry['label']} is of {entry['reason']}; give the structures of one host at a time")


def with_members(record: Record, members: Sequence[Relaxation], reference: Relaxation | None) -> Electrode:
    """Return the electrode of a run folder."""
    return replace(Electrode(record), members=tuple(members), reference=reference)
