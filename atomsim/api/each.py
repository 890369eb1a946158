"""Verbs that give one result for each structure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from atomsim.api.arguments import made
from atomsim.api.execution import GIVEN, Found, How, Plan, Planned, check_processes, execute, records_of, run_path
from atomsim.api.inputs import WANTED, Item, checked, is_single, items_of, taken, unique
from atomsim.api.potentials import Loaded, remember, resolve
from atomsim.api.relaxed import Evaluation
from atomsim.api.results import Result, Results
from atomsim.api.views import refused
from atomsim.errors import InputError, Interrupted

if TYPE_CHECKING:
    from atomsim.store.records import Record

R = TypeVar("R", bound=Result)
S = TypeVar("S", bound=Results[Any])
STEP = {"evaluate": "evaluated", "relax": "relaxed", "phonons": "phonons"}
"""Names of the steps in a run folder."""
ON_GPU = 256
"""Structures in flight of an iterating verb, where they are evaluated together."""


@dataclass(frozen=True)
class Call:
    """A kind of step, its keys, and how it is run."""

    kind: str
    given_potential: Any
    keys: Mapping[str, Any]
    seed: int = 0
    device: str = "auto"
    processes: int | None = None
    run: Any = None
    progress: Any = None
    check_with: Sequence[Any] = field(default_factory=tuple)

    @cached_property
    def loaded(self) -> Loaded:
        """The potential."""
        return remember(resolve(self.given_potential, self.device))

    @cached_property
    def settings(self) -> Any:
        """The step's settings."""
        from atomsim.tasks import kind_of

        return made(kind_of(self.kind).Settings, {"structures": [GIVEN], **self.keys})

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """Provenance in the record of a task that was never computed."""
        potential = self.loaded.potential
        about = {"name": potential.name, "sha256": potential.sha256}
        settings = self.settings.model_dump(mode="json")
        where = {"device": str(potential.device), "dtype": str(potential.dtype).removeprefix("torch.")}
        return {"settings": settings, "seed": self.seed, "potential": about, **where}

    def all(self, structures: Any, one: type[R], many: type[S]) -> R | S:
        """Return one result for one structure, and a sequence for many."""
        how = How(self.loaded, check_processes(self.processes), run_path(self.run), self.progress)
        others = others_of(self.check_with, self.loaded, self.device)
        _ = self.settings  # refused before structures are read
        items, single = items_of(structures)
        items = checked(items, self.loaded.potential, self.settings)
        sound = [item for item in items if not item.problem]

        def collect(found: Found) -> list[R]:
            records = {r.label: r for r in found.get(STEP[self.kind], ())}
            return [self.result(i, records.get(i.label), one) for i in items if i.problem or i.label in records]

        if not sound:
            results = collect({})
        else:
            try:
                results = execute(self.plan(sound), how, collect)
            except Interrupted as error:
                raise Interrupted(many(error.results)) from None
        results = with_checks(results, others)
        return results[0] if single else many(results)

    def each(self, structures: Iterable[Any], one: type[R]) -> Iterator[tuple[int, R]]:
        """Yield ``(index, result)`` as they end; take no more structures than are computed together."""
        if is_single(structures):
            structures = [structures]
        if not isinstance(structures, Iterable):
            raise InputError(f"structures: found {type(structures).__name__}, wanted an iterable of {WANTED}")
        check_processes(self.processes)
        _ = self.settings
        return self._each(iter(structures), one, self.loaded)

    def _each(self, structures: Iterator[Any], one: type[R], loaded: Loaded) -> Iterator[tuple[int, R]]:
        from atomsim.models.shared import Shared

        on_cpu = loaded.potential.device.type == "cpu"
        at_once = 4 * (self.processes or 0) or 1 if on_cpu else ON_GPU
        how, shared, first = How(loaded, self.processes, None, False), Shared(), 0
        while some := list(islice(structures, at_once)):
            items = unique([item for given in some for item in taken(given)])
            items = checked(items, loaded.potential, self.settings)
            place = {item.label: first + n for n, item in enumerate(items)}
            by_label = {item.label: item for item in items}
            first += len(items)
            yield from ((place[i.label], self.result(i, None, one)) for i in items if i.problem)
            sound = [item for item in items if not item.problem]
            if sound:
                for _, record in records_of(self.plan(sound), how, shared):
                    yield place[record.label], self.result(by_label[record.label], record, one)

    def result(self, item: Item, record: Record | None, one: type[R]) -> R:
        """Return the result of a structure, computed or not."""
        known = refused(item, self.kind, self.provenance) if record is None else record
        return one(known, given=item.atoms if len(item.atoms) else None, source=item.source)

    def plan(self, items: Sequence[Item]) -> Plan:
        """Return the plan for structures that can be computed."""
        step = Planned(STEP[self.kind], self.kind, {"structures": GIVEN, **changed(self.keys, self.settings)})
        return Plan(STEP[self.kind], (step,), {GIVEN: items}, int(self.seed))


def changed(keys: Mapping[str, Any], settings: Any) -> dict[str, Any]:
    """Return the keys that are not at their defaults, as a campaign file would name them."""
    fields = type(settings).model_fields
    found = {key: getattr(settings, key) for key in keys}
    return {key: value for key, value in found.items() if value != fields[key].get_default(call_default_factory=True)}


def others_of(check_with: Any, loaded: Loaded, device: str) -> list[Loaded]:
    """Return further potentials.

    Raises:
        InputError: if one is not at hand, or is the potential that is to be checked.
    """
    found = [remember(resolve(p, device)) for p in listed(check_with)]
    for other in found:
        if other.potential.sha256 == loaded.potential.sha256:
            raise InputError(
                f"check_with: {other.potential.name} is the potential that is to be checked, and agrees with itself; "
                "name another one"
            )
    return found


def listed(check_with: Any) -> list[Any]:
    """Return further potentials as a list; one alone may stand for itself."""
    many = isinstance(check_with, list | tuple)
    return list(check_with) if many else [check_with]


def with_checks(results: Sequence[R], others: Sequence[Loaded]) -> list[R]:
    """Evaluate the geometries of results with further potentials; a check that fails is a flag."""
    found = list(results)
    for other in others:
        usable = [n for n, r in enumerate(found) if r.ok and r.record.structure is not None]
        if not usable:
            continue
        call = Call("evaluate", other, {}, progress=False)
        evaluated: Any = call.all([found[n].atoms for n in usable], Evaluation, Results)
        for n, check in zip(usable, evaluated, strict=True):
            name = other.potential.name
            if check.ok:
                found[n] = replace(found[n], checks={**found[n].checks, name: check})
            else:
                note = _not_checked(other, found[n], check)
                found[n] = replace(found[n], check_flags=(*found[n].check_flags, note))
    return found


def _not_checked(other: Loaded, result: Result, check: Result) -> str:
    """Say why a further potential could not judge a result, and what it therefore lacks."""
    from ase.data import chemical_symbols

    name = other.potential.name
    unknown = sorted({int(z) for z in result.atoms.numbers} - set(other.potential.elements))
    if not unknown:
        return f"not checked with {name}: {check.message or check.status}"
    symbols = ", ".join(chemical_symbols[z] for z in unknown)
    return (
        f"not checked with {name}, which was not made for {symbols}: no second opinion on this structure; name one "
        "that was by check_with ('atomsim potentials list')"
    )
