"""``atomsim.hops``: the symmetry-distinct hops of an ion, without a force call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from atomsim.api.arguments import made, verb
from atomsim.api.inputs import Item, one_item
from atomsim.api.views import axes, table_html
from atomsim.errors import InputError, counted, nearest

if TYPE_CHECKING:
    import pandas as pd
    from ase import Atoms
    from matplotlib.axes import Axes

    from atomsim.hopping.survey import Survey

HOP_KEYS = ("ion", "max_length_A", "interstitials", "divacancies", "supercell_min_A", "max_atoms")
"""Keywords of ``hops`` that are keys of a ``barriers`` step."""


@dataclass(frozen=True)
class HopRow:
    """One of a set of equivalent hops."""

    hop: str
    """Name, such as ``Li-a>Li-b 2.92``."""
    start: str
    """Site that the ion leaves; the column ``from``."""
    end: str
    """Site that it goes to; the column ``to``."""
    length_A: float
    per_cell: int
    """Equivalent hops in a primitive cell."""
    mechanism: str
    """``vacancy``, ``interstitial``, ``vacant-site`` or ``divacancy``."""
    bottleneck_A: float
    """From the straight line to the nearest surface of an atom, ionic radii."""
    left_out: str = ""
    """Reason why it cannot be computed; empty if it can."""


@dataclass(frozen=True, eq=False, repr=False)
class Hops:
    """The hops of a host in its standard setting, and the supercell in which paths would be computed."""

    item: Item
    survey: Survey = field(repr=False)
    settings: Mapping[str, Any]
    status: str = "done"
    message: str = ""

    @property
    def label(self) -> str:
        """Name of the host."""
        return self.item.label

    @property
    def ok(self) -> bool:
        """True if there is a hop to compute."""
        return any(not row.left_out for row in self.rows)

    @property
    def ion(self) -> str:
        """Element that hops."""
        return self.survey.hops.ion

    @property
    def tags(self) -> dict[str, Any]:
        """Facts that came with the host."""
        return dict(self.item.tags)

    @property
    def flags(self) -> tuple[str, ...]:
        """Caveats to read before using them."""
        from atomsim.tasks.barriers_record import supercell_flags

        tags = {
            "image_distance_A": self.survey.cell.image_distance_A,
            "supercell_min_A": self.settings["supercell_min_A"],
        }
        return tuple(supercell_flags(tags))

    @property
    def rows(self) -> tuple[HopRow, ...]:
        """All hops, shortest first."""
        found, why = self.survey.hops, dict(self.survey.left_out)
        return tuple(
            HopRow(
                h.name,
                found.sites[h.start].name,
                found.sites[h.end].name,
                h.length_A,
                h.multiplicity,
                h.mechanism,
                h.bottleneck_A,
                why.get(h.name, ""),
            )
            for h in found.hops
        )

    @property
    def atoms(self) -> Atoms:
        """Primitive cell of the host in its standard setting, which sites and hops refer to."""
        result: Atoms = self.survey.hops.host.copy()
        return result

    @property
    def sites(self) -> dict[str, tuple[float, float, float]]:
        """Fractional coordinates of the sites by their names."""
        return {s.name: tuple(float(x) for x in s.fractional) for s in self.survey.hops.sites}  # type: ignore[misc]

    @property
    def space_group(self) -> str:
        """Space group of the host."""
        return self.survey.hops.space_group

    @property
    def supercell(self) -> Atoms:
        """Supercell in which paths are computed, all ions in place."""
        result: Atoms = self.survey.cell.atoms.copy()
        return result

    def endpoints(self, hop: str) -> tuple[Atoms, Atoms]:
        """Return both ends of a hop before relaxation, atoms in one order, the ion last: for a DFT code.

        Args:
            hop: name of the hop.

        Raises:
            InputError: if there is no such hop, or it cannot be computed.
        """
        from atomsim.hopping.endpoints import pair_of

        cell = self.survey.cell
        for placed in self.survey.placed:
            if placed.hop.name == hop:
                still = np.zeros((cell.n_atoms + len(cell.sites), 3))
                first, moved = pair_of(placed, still, still, cell, self.ion)
                last = first.copy()
                last.positions += moved
                return first, last
        names = [row.hop for row in self.rows]
        why = next((row.left_out for row in self.rows if row.hop == hop), "")
        raise InputError(
            f"hop {hop!r} cannot be computed: {why}"
            if why
            else f"no hop {hop!r};{nearest(str(hop), names)} hops are {', '.join(names)}"
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Return a table of one row a hop."""
        import pandas as pd

        return pd.DataFrame([_columns(row) for row in self])

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON."""
        from atomsim.io.atoms_json import atoms_to_json

        return {
            "label": self.label,
            "ion": self.ion,
            "space_group": self.space_group,
            "hops": [_columns(row) for row in self],
            "sites": {name: list(place) for name, place in self.sites.items()},
            "host": atoms_to_json(self.atoms),
            "supercell": self.survey.cell.matrix.tolist(),
            "settings": dict(self.settings),
            "flags": list(self.flags),
        }

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw sites and hops of a cell, seen along its third lattice vector.

        Args:
            ax: axes to draw on; new ones if not given.

        Returns:
            The axes.
        """
        drawn, found = axes(ax), self.survey.hops
        cell = found.host.cell.array
        for n, hop in enumerate(found.hops):
            for member in hop.members:
                ends = np.array([found.sites[s].fractional + np.array(at) for s, at in member[:2]]) @ cell
                drawn.plot(ends[:, 0], ends[:, 1], color=f"C{n % 10}", lw=1)
        for site in found.sites:
            x, y, _ = np.array(site.fractional) @ cell
            drawn.plot(x, y, "ok" if site.atom is not None else "ow", mec="k")
            drawn.annotate(site.name, (x, y), textcoords="offset points", xytext=(4, 4))
        drawn.set_xlabel("x, Å")
        drawn.set_ylabel("y, Å")
        drawn.set_aspect("equal")
        return drawn

    def __len__(self) -> int:
        return len(self.survey.hops.hops)

    def __iter__(self) -> Iterator[HopRow]:
        return iter(self.rows)

    def __repr__(self) -> str:
        return f"<Hops {self.label}: {counted(len(self), 'hop')} of {self.ion}, {self.space_group}>"

    def _repr_html_(self) -> str:
        rows = [_columns(row) for row in self]
        cells = [[f"{v:.3f}" if isinstance(v, float) else v for v in row.values()] for row in rows]
        return f"<p>{self!r:s}</p>".replace("<Hops", "Hops").replace("></p>", "</p>") + table_html(list(rows[0]), cells)


def _columns(row: HopRow) -> dict[str, Any]:
    names = {"start": "from", "end": "to"}
    return {names.get(key, key): value for key, value in vars(row).items()}


@verb
def hops(
    host: Any,
    ion: str = "Li",
    *,
    max_length_A: float = 4.0,
    interstitials: bool = False,
    divacancies: bool = False,
    supercell_min_A: float = 8.0,
    max_atoms: int = 120,
    settings: Mapping[str, Any] | None = None,
) -> Hops:
    """Find the symmetry-distinct hops of an ion in a crystal, without a force call.

    Args:
        host: crystal with its ions in place: Atoms, a Structure, a file, a prototype's name or a result.
        ion: element that hops.
        max_length_A: longest hop.
        interstitials: hop between empty sites too, found by void analysis.
        divacancies: also hops beside a second vacancy.
        supercell_min_A: distance wanted between an ion and its image.
        max_atoms: largest supercell that may be used for it.
        settings: all of these at once; keywords take their place.

    Returns:
        The hops, the same for every setting of the crystal; lengths in Å.

    Raises:
        InputError: if the ion is absent, no hop is short enough, or the host has more than ``max_atoms`` atoms.

    Examples:
        >>> import atomsim
        >>> found = atomsim.hops("Li", "Li", max_length_A=3.2)
        >>> [row.hop for row in found], found.space_group, len(found.supercell)
        (['Li-a>Li-a 3.04'], 'Im-3m', 24)
    """
    keys = {key: value for key, value in locals().items() if key in HOP_KEYS}
    return surveyed(one_item(host, "host"), keys)


def surveyed(item: Item, keys: Mapping[str, Any]) -> Hops:
    """Return the hops of a host.

    Raises:
        InputError: as ``hops`` does.
    """
    from ase.data import atomic_numbers

    from atomsim.hopping.survey import survey
    from atomsim.structures.sanity import check_structure
    from atomsim.tasks.barriers import Settings, survey_settings

    chosen: Any = made(Settings, {"structures": ["host"], **keys})
    if chosen.ion not in atomic_numbers:
        raise InputError(f"ion: found {chosen.ion!r}, wanted the symbol of an element, such as Li")
    check_structure(item.atoms)
    known = {key: getattr(chosen, key) for key in HOP_KEYS}
    return Hops(item, survey(item.atoms, chosen.ion, survey_settings(chosen, 0)), known)
