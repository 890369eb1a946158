"""``atomsim.delithiate``: symmetry-distinct ways of leaving x ions in a host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from atomsim.api.arguments import made, mapped, verb
from atomsim.api.each import changed
from atomsim.api.execution import How, Plan, Planned, execute
from atomsim.api.inputs import one_item
from atomsim.api.results import NAN, Result, Results
from atomsim.api.views import axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DELITHIATE_KEYS = (
    "x_per_formula_unit",
    "ion",
    "host_unit",
    "orderings",
    "max_atoms",
    "primitive",
    "supercell",
    "symprec_A",
    "formal_charges",
    "choose",
)
"""Keywords of ``delithiate`` that are keys of a ``delithiate`` step."""


class Ordering(Result):
    """One way of leaving ions in a host; ``.atoms.info`` says where ions were."""

    columns = ("x", "ewald_eV")

    @property
    def x(self) -> float:
        """Ions per formula unit of the host."""
        return float(self.record.tags["x"])

    @property
    def host_units(self) -> float:
        """Formula units of the host in the cell."""
        return float(self.record.tags["host_units"])

    @property
    def ordering(self) -> int:
        """Rank by Coulomb energy among those of its x."""
        return int(self.record.tags["ordering"])

    @property
    def multiplicity(self) -> int:
        """Orderings that are the same by symmetry."""
        return int(self.record.tags["multiplicity"])

    @property
    def ewald_eV(self) -> float:  # noqa: N802 - units are in names
        """Coulomb energy of formal charges; of the cell."""
        found = self.record.tags.get("ewald_eV")
        return NAN if found is None else float(found)


class Orderings(Results[Ordering]):
    """Orderings at all x, ion-rich first as asked for, each x by Coulomb energy."""

    @property
    def counts(self) -> dict[float, dict[str, Any]]:  # type: ignore[override]
        """For each x: all orderings, the distinct ones among them, and those chosen."""
        return {o.x: dict(o.record.tags["counts"]) for o in self}

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw Coulomb energies per host unit against x.

        Args:
            ax: axes to draw on; new ones if not given.

        Returns:
            The axes.
        """
        drawn = axes(ax)
        drawn.plot([o.x for o in self], [o.ewald_eV / o.host_units for o in self], "o")
        drawn.set_xlabel("x, ions per formula unit")
        drawn.set_ylabel("Coulomb energy, eV per formula unit")
        return drawn

    def __repr__(self) -> str:
        xs = dict.fromkeys(o.x for o in self)
        return f"<Orderings: {len(self)} of x = {', '.join(f'{x:g}' for x in xs)}>"


@verb
def delithiate(
    parent: Any,
    x_per_formula_unit: Sequence[float],
    ion: str = "Li",
    *,
    host_unit: str | None = None,
    orderings: int = 5,
    max_atoms: int = 100,
    primitive: bool = True,
    supercell: Sequence[int] | None = None,
    symprec_A: float | None = None,
    formal_charges: Mapping[str, float] | None = None,
    choose: Literal["coulomb", "random"] = "coulomb",
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Orderings:
    """Take ions out of a host: symmetry-distinct orderings of those that are left, and a choice among them.

    All superlattices of every size up to ``max_atoms`` are searched as far as they can be enumerated (Hart & Forcade,
    Phys. Rev. B 77, 224115 (2008)) and ranked by the Coulomb energy of formal charges.

    Args:
        parent: full host: Atoms, a Structure, a file, a prototype's name or a result.
        x_per_formula_unit: ions left per formula unit of the host; one number or many.
        ion: element to take out.
        host_unit: formula unit of the host without the ion, such as ``RuO3``; the reduced one if not given.
        orderings: orderings to keep for each x.
        max_atoms: largest supercell, atoms of the full host.
        primitive: start from the parent's primitive cell.
        supercell: copies along each lattice vector, instead of a search.
        symprec_A: tolerance of the parent's symmetry; the structure's own noise decides if not given.
        formal_charges: formal charges of some elements, e, such as ``{"Ni": 2}``.
        choose: ``coulomb``: those of low Coulomb energy and unlike ones; ``random``: drawn at random, so that their
            scatter is that of all, for a glass.
        settings: all of these at once; keywords take their place.
        seed: of the sampling, where there are too many to enumerate.

    Returns:
        The orderings, with ``x``, ``host_units``, ``multiplicity`` and ``ewald_eV``; ``.counts`` says how many
        there were.

    Raises:
        InputError: if the ion is absent, an x is out of range or cannot be reached within ``max_atoms``.

    Examples:
        >>> import atomsim
        >>> found = atomsim.delithiate("LiCoO2", [1.0, 0.5, 0.0], orderings=1, max_atoms=8)
        >>> [(o.label, len(o.atoms)) for o in found]
        [('x=1.00-00', 4), ('x=0.50-00', 7), ('x=0.00-00', 3)]
    """
    from atomsim.tasks.delithiate import Settings

    keys = {key: value for key, value in locals().items() if key in DELITHIATE_KEYS}
    if isinstance(x_per_formula_unit, int | float):
        keys["x_per_formula_unit"] = [x_per_formula_unit]
    keys["formal_charges"] = formal_charges and mapped("formal_charges", formal_charges, "charges in e by element")
    step = made(Settings, {"parent": "given", **keys})
    item = one_item(parent, "parent")
    word = str(parent) if isinstance(parent, str | Path) else ""
    source = (word if "prototype" in item.tags else str(Path(word).resolve())) if word else "given"
    chosen = {"x_per_formula_unit": keys["x_per_formula_unit"], **changed(keys, step)}
    planned = Planned("orderings", "delithiate", {"parent": source, **chosen})
    plan = Plan("orderings", (planned,), {} if word else {"given": [item]}, seed)
    return execute(plan, How(progress=False), lambda found: Orderings(map(Ordering, found.get("orderings", ()))))
