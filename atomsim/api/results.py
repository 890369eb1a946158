"""Results of verbs: typed views of records, and read-only sequences of them."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar, overload

from atomsim.api.views import atoms_of, check_columns, entry_of, number, table_html
from atomsim.errors import InputError, nearest
from atomsim.store.records import Record

if TYPE_CHECKING:
    import pandas as pd
    from ase import Atoms
    from pymatgen.core import Molecule, Structure
    from pymatgen.entries.computed_entries import ComputedStructureEntry

    from atomsim.report.standalone import View

SHOWN = 10
"""Rows of a table in a notebook."""
VIEW_HINT = "<p><code>.view()</code> shows the structures in three dimensions.</p>"
NAN = float("nan")
R = TypeVar("R", bound="Result")


@dataclass(frozen=True)
class PotentialFacts:
    """Which potential a result is of."""

    name: str | None = None
    sha256: str | None = None
    device: str | None = None
    dtype: str | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """One result: a record, and what it was made from."""

    record: Record
    """All that is known, as a run folder keeps it."""
    checks: Mapping[str, Any] = field(default_factory=dict)
    """Results of further potentials at the same geometry, by their names."""
    given: Any = None
    """Atoms that were given, with all that they carried."""
    source: Any = None
    """The pymatgen object that was given, if it was one."""
    check_flags: tuple[str, ...] = ()
    """Flags beyond those of the record, such as a check that failed."""

    columns: ClassVar[tuple[str, ...]] = ("energy_per_atom_eV",)
    """Columns that a table shows first."""

    @property
    def label(self) -> str:
        """Name, unique among the results of one call."""
        return self.record.label

    @property
    def status(self) -> str:
        """``converged`` or ``done``, or why not: ``max_steps``, ``saddle``, ``exploded``, ``invalid`` and others."""
        return self.record.status

    @property
    def ok(self) -> bool:
        """True if it may be used."""
        return self.record.good

    @property
    def message(self) -> str:
        """Failure and a remedy to try; empty where nothing failed."""
        return self.record.message.replace("; see log.txt", "; the traceback is on standard error")

    @property
    def flags(self) -> tuple[str, ...]:
        """Caveats to read before using it."""
        return (*self.record.values.get("flags", ()), *self.check_flags)

    @property
    def tags(self) -> dict[str, Any]:
        """Facts that came with the structure, such as ``x`` and ``multiplicity``."""
        return dict(self.record.tags)

    @property
    def settings(self) -> dict[str, Any]:
        """Settings it was computed with."""
        return dict(self.record.provenance.get("settings", {}))

    @property
    def seed(self) -> int:
        """Seed of everything random."""
        return int(self.record.provenance.get("seed", 0))

    @property
    def potential(self) -> PotentialFacts:
        """Name and hash of the potential, device and precision."""
        about = self.record.provenance
        named = about.get("potential") or {}
        return PotentialFacts(named.get("name"), named.get("sha256"), about.get("device"), about.get("dtype"))

    @property
    def evaluations(self) -> int:
        """Force calls that it took, its part in shared ones included."""
        values = self.record.values
        return int(values.get("force_calls", 0)) + int(values.get("host_hessian_force_calls", 0))

    @cached_property
    def atoms(self) -> Atoms:
        """Structure with all that the given one carried; energy, forces, stress and moments on ``.calc``."""
        return atoms_of(self.record, self.given)

    @property
    def structure(self) -> Structure | Molecule:
        """The same for pymatgen (a Molecule where it is not periodic); moments as the site property ``magmom``."""
        from atomsim.io.convert import to_pymatgen

        moments = self.atoms.calc.results.get("magmoms") if self.atoms.calc is not None else None
        return to_pymatgen(self.atoms, moments, self.source)

    def view(self) -> View:
        """Return the structure in three dimensions, before and after, or its path or trajectory as frames.

        Raises:
            InputError: for a result without a structure.
        """
        from atomsim.api.views import scenes_of_result
        from atomsim.report.standalone import view_of

        return view_of(scenes_of_result(self), self.label)

    def value(self, key: str) -> float:
        """Return a number of the record; NaN where it is not known."""
        return float(self.record.values.get(key, NAN))

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON: the record of a run, and checks where there are any."""
        content = {**asdict(self.record), "parents": list(self.record.parents)}
        return content | ({"checks": {k: c.to_dict() for k, c in self.checks.items()}} if self.checks else {})

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Rebuild what ``to_dict`` returned.

        Raises:
            InputError: if it is something else.
        """
        plain = dict(content)
        checks = plain.pop("checks", {})
        try:
            record = Record(**{**plain, "parents": tuple(plain["parents"])})
        except (TypeError, KeyError) as error:
            raise InputError(f"found a dict with {', '.join(map(str, content))}; wanted one of to_dict()") from error
        return cls(record, {name: cls._check(c) for name, c in checks.items()})

    @classmethod
    def _check(cls, content: Mapping[str, Any]) -> Any:
        """Rebuild a check."""
        from atomsim.api.relaxed import Evaluation

        return Evaluation.from_dict(content)

    def row(self) -> dict[str, Any]:
        """Return the row of a table: label, status, plain values and tags, checks, message."""
        values = {k: v for k, v in self.record.values.items() if isinstance(v, int | float | str)}
        tags = {k: v for k, v in self.record.tags.items() if isinstance(v, int | float | str) and k not in values}
        row = {"label": self.label, "status": self.status, **tags, **values, **check_columns(values, self.checks)}
        return row | {"message": self.message}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.label}: {self.status}{self._in_words()}>"

    def _in_words(self) -> str:
        energy = self.record.values.get("energy_per_atom_eV")
        return "" if energy is None else f", {energy:.4f} eV/atom"

    def _facts(self) -> dict[str, Any]:
        """Rows of the table in a notebook."""
        formula = self.atoms.get_chemical_formula("metal") if len(self.atoms) else ""
        numbers = {key: number(self.record.values[key]) for key in self.columns if key in self.record.values}
        return {"formula": formula, "status": self.status, **numbers, "message": self.message} | {
            f"flag {n}": flag for n, flag in enumerate(self.flags, 1)
        }

    def _repr_html_(self) -> str:
        rows = [(key, value) for key, value in self._facts().items() if value not in ("", None)]
        return f"<b>{html.escape(self.label)}</b>{table_html(('', ''), rows)}{VIEW_HINT}"

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key != "atoms"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


class Results(Sequence[R], Generic[R]):
    """Read-only results, by number or label."""

    def __init__(self, found: Iterable[R]) -> None:
        self._found = tuple(found)

    def __len__(self) -> int:
        return len(self._found)

    @overload
    def __getitem__(self, index: int | str) -> R: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: int | str | slice) -> R | Self:
        if isinstance(index, slice):
            return type(self)(self._found[index])
        if not isinstance(index, str):
            return self._found[index]
        for result in self._found:
            if result.label == index:
                return result
        labels = [r.label for r in self._found]
        raise KeyError(f"no result {index!r};{nearest(index, labels)} there are {', '.join(labels[:10])}")

    def __iter__(self) -> Iterator[R]:
        return iter(self._found)

    def __contains__(self, value: object) -> bool:
        return any(value is r or (isinstance(value, str) and value == r.label) for r in self._found)

    @property
    def good(self) -> Self:
        """Those that may be used."""
        return type(self)(r for r in self._found if r.ok)

    @property
    def failed(self) -> Self:
        """All others."""
        return type(self)(r for r in self._found if not r.ok)

    @property
    def counts(self) -> dict[str, int]:
        """Number of results of each status, most frequent first."""
        found = Counter(r.status for r in self._found)
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))

    @property
    def entries(self) -> list[ComputedStructureEntry]:
        """Pymatgen's entries of those with an energy that may be used; potential and hash in ``.data``."""
        return [entry_of(r) for r in self._found if r.ok and "energy_eV" in r.record.values]

    def view(self) -> View:
        """Return all structures in three dimensions, one at a time.

        Raises:
            InputError: if none has a structure.
        """
        from atomsim.api.views import scenes_of_result
        from atomsim.report.standalone import view_of

        return view_of([s for r in self._found for s in scenes_of_result(r)], type(self).__name__)

    def to_dataframe(self) -> pd.DataFrame:
        """Return a table of one row each; checks as ``<column>[name]`` and ``<column>_spread``."""
        import pandas as pd

        return pd.DataFrame([r.row() for r in self._found])

    def to_dict(self) -> dict[str, Any]:
        """Return all results as JSON."""
        return {"results": [r.to_dict() for r in self._found]}

    def __repr__(self) -> str:
        counts = ", ".join(f"{n} {status}" for status, n in self.counts.items())
        return f"<{type(self).__name__}: {counts or 'none'}>"

    def _repr_html_(self) -> str:
        counts = ", ".join(f"{n} {status}" for status, n in self.counts.items())
        ordered = [*self.failed, *self.good][:SHOWN]
        columns = ordered[0].columns if ordered else ()
        rows = [
            (
                r.label,
                r.status,
                *(number(r.record.values[key]) if key in r.record.values else "" for key in columns),
                r.message,
            )
            for r in ordered
        ]
        more = f"<p>… and {len(self) - SHOWN} more</p>" if len(self) > SHOWN else ""
        return (
            f"<p>{html.escape(counts)}</p>{table_html(('label', 'status', *columns, 'message'), rows)}{more}{VIEW_HINT}"
        )
