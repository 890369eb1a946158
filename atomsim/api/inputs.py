"""Inputs of verbs: structures in all shapes that users hold, each with label, tags and origin."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atomsim.errors import InputError, nearest

if TYPE_CHECKING:
    from ase import Atoms

    from atomsim.store.records import Record

WANTED = "ASE Atoms, a pymatgen Structure, a file, the name of a prototype, or a result of atomsim"


def given_file(step: str) -> str:
    """Return where structures that were given stand in a run folder."""
    return f"input/{step}.jsonl"


@dataclass(frozen=True)
class Item:
    """One structure that was given."""

    label: str
    atoms: Atoms
    tags: dict[str, Any] = field(default_factory=dict)
    record: Record | None = None
    """Record of the result that was given, if it was one."""
    source: Any = None
    """The pymatgen object that was given, if it was one."""
    problem: str = ""
    """Reason why it cannot be used; empty where it can."""


def items_of(what: Any, name: str = "structures") -> tuple[list[Item], bool]:
    """Return the structures that were given, labels made unique, and whether it was a single one.

    Raises:
        InputError: if nothing was given, or one that is alone is no structure.
    """
    if is_single(what):
        item = next(iter(taken(what)))
        if item.problem and not len(item.atoms) and item.source is None:
            raise InputError(f"{name}: {item.problem}")
        return [item], True
    try:
        found = [item for one in what for item in taken(one)]
    except TypeError as error:
        raise InputError(f"{name}: found {type(what).__name__}, wanted {WANTED}, or many of these") from error
    if not found:
        raise InputError(f"{name}: found an empty {type(what).__name__}, wanted at least one structure")
    return unique(found), False


def one_item(what: Any, name: str) -> Item:
    """Return the only structure that was given, fit to be used.

    Raises:
        InputError: if it is not exactly one, or cannot be used.
    """
    items, _ = items_of(what, name)
    if len(items) != 1:
        raise InputError(f"{name}: found {len(items)} structures, wanted one")
    if items[0].problem:
        raise InputError(f"{name}: {items[0].problem}")
    return items[0]


def is_single(what: Any) -> bool:
    """True if it stands for one structure and not for many."""
    from ase import Atoms
    from pymatgen.core import SiteCollection

    from atomsim.api.results import Result

    kinds = (Atoms, SiteCollection, str, bytes, os.PathLike, Result, Item, dict)
    return isinstance(what, kinds) or not isinstance(what, Iterable)


def taken(one: Any) -> Iterator[Item]:
    """Return what one entry stands for: always one item, which may say why it cannot be used."""
    from ase import Atoms

    from atomsim.batching.capacity import in_one_line

    try:
        yield _item(one)
    except Exception as error:  # parsers and adaptors raise whatever they meet
        from pymatgen.core import SiteCollection

        source = one if isinstance(one, SiteCollection) else None
        yield Item("structure", Atoms(), source=source, problem=in_one_line(error))


def _item(one: Any) -> Item:
    from ase import Atoms
    from pymatgen.core import SiteCollection

    from atomsim.api.results import Result
    from atomsim.io.convert import from_pymatgen
    from atomsim.io.metadata import as_it_came
    from atomsim.structures.hosts import left_sites

    if isinstance(one, Item):
        return one
    if isinstance(one, Result):
        return _of_result(one)
    if isinstance(one, Atoms):
        atoms = as_it_came(one)
        return Item(_label(one), atoms, dict(left_sites(one.info)))
    if isinstance(one, SiteCollection):
        return Item(_label(one), from_pymatgen(one), source=one)
    if isinstance(one, str | os.PathLike):
        return _named(one)
    raise InputError(f"found {type(one).__name__}, wanted {WANTED}")


def _of_result(result: Any) -> Item:
    tags = dict(result.record.tags)
    if result.record.kind == "relax":  # where ions were: what has moved fits its host's sites no more
        tags.pop("vacancies", None)
    if result.record.structure is None:
        return Item(result.label, result.atoms, tags, problem=result.message or f"it is {result.status}")
    return Item(result.label, result.atoms, tags, replace(result.record, status="done"), result.source)


def _label(one: Any) -> str:
    named = getattr(one, "info", None) or getattr(one, "properties", None) or {}
    if isinstance(named.get("label"), str) and named["label"]:
        return str(named["label"])
    if hasattr(one, "composition"):
        return str(one.composition.reduced_formula)
    return str(one.get_chemical_formula("metal", empirical=True)) or "structure"


def _named(word: str | os.PathLike[str]) -> Item:
    """Return the structure of a prototype's name or of a file of one structure."""
    from atomsim.io import read_structures
    from atomsim.io.metadata import as_read
    from atomsim.structures.hosts import left_sites
    from atomsim.structures.prototypes import is_prototype, load_prototype, prototype_names

    if isinstance(word, str) and is_prototype(word, Path()):
        return Item(word, load_prototype(word).atoms, {"prototype": word})
    path = Path(word).expanduser()
    if not path.exists():
        hint = nearest(str(word), prototype_names())
        raise InputError(f"{str(word)!r} is neither a file nor a prototype;{hint or ' check the name'}")
    found = read_structures(path)
    if len(found) != 1:
        raise InputError(
            f"{path} holds {len(found)} structures and a word stands for one; atomsim.read({str(path)!r}) gives all"
        )
    return Item(path.stem, as_read(found[0]), {"file": path.name, "index": 0} | left_sites(found[0].info))


def unique(items: Sequence[Item]) -> list[Item]:
    """Number the labels that occur more than once."""
    repeated = {label for label, n in Counter(i.label for i in items).items() if n > 1}
    taken_names = {i.label for i in items if i.label not in repeated}
    seen: Counter[str] = Counter()
    found = []
    for item in items:
        label = item.label
        while label in repeated or (label != item.label and label in taken_names):
            seen[item.label] += 1
            label = f"{item.label}-{seen[item.label]}"
        taken_names.add(label)
        found.append(replace(item, label=label))
    return found


def checked(items: Sequence[Item], potential: Any, settings: Any = None) -> list[Item]:
    """Note on each structure why it cannot be computed, if it cannot."""
    return [item if item.problem else replace(item, problem=_problem(item, potential, settings)) for item in items]


def _problem(item: Item, potential: Any, settings: Any) -> str:
    from atomsim.batching.capacity import in_one_line
    from atomsim.constraints.rules import require_supported
    from atomsim.structures.sanity import check_structure

    try:
        check_structure(item.atoms, getattr(potential, "elements", None))
        require_supported(item.atoms, symmetry=not hasattr(settings, "ensemble"))  # dynamics keep none
        if settings is not None and hasattr(settings, "keep_symmetry"):
            from atomsim.tasks.relax import check_constraints

            check_constraints(item.atoms, settings)
    except Exception as error:
        return in_one_line(error)
    return ""


def given_record(item: Item, step: str) -> Record:
    """Return the record by which a step takes a structure that was given."""
    from atomsim.io.atoms_json import atoms_to_json
    from atomsim.store.records import record_of
    from atomsim.tasks.base import Context, Origin, make_task
    from atomsim.tasks.structures import Settings

    if item.record is not None:
        return replace(item.record, label=item.label, structure=atoms_to_json(item.atoms), tags=item.tags)
    settings = Settings(structures=[given_file(step)])
    task = make_task(Origin(item.label, item.atoms, item.tags), "structures", settings, Context(step))
    assert task.structure is not None
    return record_of(task, "done", structure=task.structure, values={"n_atoms": len(item.atoms)})
