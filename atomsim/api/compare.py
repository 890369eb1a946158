"""``atomsim.compare``: two potentials on the same structures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from atomsim.api.arguments import verb
from atomsim.api.each import Call
from atomsim.api.inputs import items_of
from atomsim.api.potentials import resolve
from atomsim.api.relaxed import Evaluation, Evaluations, Relaxation, Relaxations
from atomsim.api.views import axes, table_html
from atomsim.errors import InputError, counted

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from atomsim.analysis.agreement import Agreement, RelaxedAgreement, Summary


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """Two potentials, a and b, on the same structures; differences are b − a."""

    names: tuple[str, str]
    evaluated: tuple[Evaluations, Evaluations] = field(repr=False)
    """Results of both on the structures as they are."""
    relaxations: tuple[Relaxations, Relaxations] | None = field(default=None, repr=False)
    """The structures relaxed by both."""

    @property
    def rows(self) -> tuple[Agreement, ...]:
        """Agreement on each structure as it is; those that one of them cannot compute are left out."""
        from atomsim.analysis.agreement import agreement

        pairs = zip(*self.evaluated, strict=True)
        return tuple(agreement(a.label, a.atoms, b.atoms) for a, b in pairs if a.ok and b.ok)

    @property
    def relaxed_rows(self) -> tuple[RelaxedAgreement, ...]:
        """Agreement of what both relax each structure to."""
        from atomsim.analysis.agreement import relaxed_agreement

        if self.relaxations is None:
            return ()
        return tuple(
            relaxed_agreement(a.label, a.atoms, b.atoms, (a.energy_eV, b.energy_eV), (a.status, b.status))
            for a, b in zip(*self.relaxations, strict=True)
            if a.status != "invalid" and b.status != "invalid"
        )

    @property
    def static(self) -> pd.DataFrame:
        """One row for each structure as it is: energies, forces and stress."""
        return _table(self.rows)

    @property
    def relaxed(self) -> pd.DataFrame:
        """One row for each relaxed structure: volume, lengths, displacement."""
        return _table(self.relaxed_rows)

    @property
    def summary(self) -> Summary:
        """Averages over the structures."""
        from atomsim.analysis.agreement import summarise

        return summarise(self.rows)

    @property
    def status(self) -> str:
        """``done``, or ``partial`` where a structure could not be computed or did not converge."""
        parts = [*self.evaluated, *(self.relaxations or ())]
        return "partial" if any(r.failed for r in parts) else "done"

    @property
    def ok(self) -> bool:
        """True if everything was computed and converged."""
        return self.status == "done"

    @property
    def message(self) -> str:
        """Failures and their causes; empty where there are none."""
        parts = [*self.evaluated, *(self.relaxations or ())]
        return "; ".join(f"{r.label}: {r.status}: {r.message}" for results in parts for r in results.failed)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON."""
        tables = {"static": [asdict(r) for r in self.rows], "relaxed": [asdict(r) for r in self.relaxed_rows]}
        return {"potentials": list(self.names), "summary": asdict(self.summary), **tables}

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the parity of force components.

        Args:
            ax: axes to draw on; new ones if not given.

        Returns:
            The axes.
        """
        drawn = axes(ax)
        for a, b in zip(*self.evaluated, strict=True):
            if a.ok and b.ok:
                drawn.plot(a.forces_eV_per_A.ravel(), b.forces_eV_per_A.ravel(), ".", color="C0", ms=3)
        low, high = np.array([drawn.get_xlim(), drawn.get_ylim()]).T
        drawn.plot([low.min(), high.max()], [low.min(), high.max()], "k-", lw=0.5)
        drawn.set_xlabel(f"force by {self.names[0]}, eV/Å")
        drawn.set_ylabel(f"force by {self.names[1]}, eV/Å")
        return drawn

    def __repr__(self) -> str:
        structures = counted(len(self.evaluated[0]), "structure")
        return f"<Comparison {self.names[0]} and {self.names[1]}: {structures}, {self.status}>"

    def _repr_html_(self) -> str:
        facts = [(k, f"{v:.4g}") for k, v in asdict(self.summary).items() if v is not None]
        return f"<p>b − a: {self.names[1]} − {self.names[0]}</p>{table_html(('', ''), facts)}"


def _table(rows: Sequence[Any]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame([asdict(row) for row in rows])


@verb
def compare(
    a: Any,
    b: Any,
    structures: Any,
    *,
    relax: bool = True,
    fmax_eV_per_A: float = 0.03,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    device: str = "auto",
    processes: int | None = None,
    progress: Any = None,
) -> Comparison:
    """Compare two potentials on the same structures: energies, forces, stresses, and what both relax them to.

    Args:
        a: one potential: name, path, ``Potential``, ASE calculator or TorchSim model.
        b: the other. For more than two, ``check_with`` of other verbs.
        structures: one or many, as in ``relax``.
        relax: relax all structures with both, too.
        fmax_eV_per_A: converged when no force is larger.
        settings: all of these at once; keywords take their place.
        seed: of everything random.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        processes: on a CPU, how many to use.
        progress: None (a bar where a person looks), True, False or a ``Progress``.

    Returns:
        Tables ``.static`` and ``.relaxed`` of differences b − a, and their ``.summary``.

    Raises:
        InputError: for an empty list, a wrong type, or potentials that cannot be loaded.

    Examples:
        >>> import atomsim
        >>> found = atomsim.compare("lj-test", "lj-test", ["Li", "LiCoO2"], relax=False, device="cpu")
        >>> found.status, found.summary.forces_MAE_meV_per_A
        ('done', 0.0)
    """
    del settings
    if not isinstance(relax, bool):
        raise InputError(f"found relax={relax!r}, wanted True or False")
    both = [resolve(p, device) for p in (a, b)]
    given, _ = items_of(structures)  # an iterator can be read once
    evaluated, relaxed = [], []
    for loaded in both:
        call = Call("evaluate", loaded, {}, seed, device, processes, None, progress)
        evaluated.append(call.all(given, Evaluation, Evaluations))
    if relax:
        keys = {"fmax_eV_per_A": fmax_eV_per_A, "check_minimum": False}
        for loaded in both:
            call = Call("relax", loaded, keys, seed, device, processes, None, progress)
            relaxed.append(call.all(given, Relaxation, Relaxations))
    names = (both[0].potential.name, both[1].potential.name)
    pair: Any = tuple(evaluated)
    return Comparison(names, pair, tuple(relaxed) if relax else None)  # type: ignore[arg-type]
