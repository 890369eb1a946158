"""Common parts of every kind of step: settings, context, origin of structures (``kind`` says what a kind is)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, SerializerFunctionWrapHandler, model_serializer

from atomsim import catalog
from atomsim.errors import InputError, nearest
from atomsim.io.atoms_json import atoms_from_json, atoms_to_json
from atomsim.io.files import write_atomically
from atomsim.io.metadata import as_read, without_metadata
from atomsim.store.records import Record, Task, task_id, usable
from atomsim.store.storage import Storage, TaskStorage

if TYPE_CHECKING:
    from ase import Atoms


GIVEN = ".jsonl"
"""Suffix of files of structures with labels and tags (``write_origins``)."""

Inputs = Mapping[str, Sequence[Record]]
"""Records of earlier steps by the step's name, in the order of their tasks."""


@dataclass(frozen=True)
class Later:
    """Marks a setting that did not exist in the first release: ``key: Annotated[bool, Later()] = False``."""


class StepSettings(BaseModel):
    """Base of every kind's settings: unknown keys, wrong types and nan are refused.

    Settings enter task ids as they are serialised, so a key that came after the first release must not change the
    ids of runs that never used it: it is marked with ``Later`` and left out where it has its default.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @model_serializer(mode="wrap")
    def _without_later_defaults(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = serialise(self)
        for key, info in type(self).model_fields.items():
            if any(isinstance(mark, Later) for mark in info.metadata) and getattr(self, key) == info.get_default(
                call_default_factory=True
            ):
                content.pop(key, None)
        return content


@dataclass(frozen=True)
class Source:
    """Marks a setting whose words say where structures come from."""

    prototypes: bool = True
    """Words may name prototypes of the library."""
    files: bool = True
    """Words may name files or patterns, relative to the campaign file."""
    single: bool = False
    """It must give exactly one structure."""


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


StepName = Annotated[str, Source(prototypes=False, files=False)]
"""A setting that names one earlier step."""
Structures = Annotated[list[str], BeforeValidator(_as_list), Source()]
"""A setting that names earlier steps, prototypes or files; one word or a list."""
Parent = Annotated[str, Source(single=True)]
"""A setting that names one prototype, file or earlier step with a single structure."""


@dataclass(frozen=True)
class Context:
    """Knowledge of a step besides its settings and its inputs."""

    step: str
    """Name of the step."""
    seed: int = 0
    """Seed of the campaign."""
    base_dir: Path = field(default_factory=Path)
    """Folder of the campaign file: relative file names start here."""
    potential_name: str | None = None
    potential_sha256: str | None = None
    elements: frozenset[int] | None = None
    """Atomic numbers that the potential knows; None where no potential is used."""
    trust_file: bool = False
    """Load ``.model`` files that no card pins; such a file can run any code."""
    kept: Storage = field(default_factory=Storage, compare=False, repr=False)
    """State and artifacts of the tasks; see ``storage``."""

    def storage(self, task: Task) -> TaskStorage:
        """Return what a task keeps on disk while it works: its state and its artifacts."""
        return self.kept.of(task.id)

    def to_json(self) -> dict[str, Any]:
        """Return what another process needs to have the same context; where things are kept it learns otherwise."""
        content = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "kept"}
        elements = None if self.elements is None else sorted(self.elements)
        return content | {"base_dir": str(self.base_dir), "elements": elements}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Context:
        """Rebuild what ``to_json`` gave."""
        elements = None if content["elements"] is None else frozenset(content["elements"])
        return cls(**{**content, "base_dir": Path(content["base_dir"]), "elements": elements})


@dataclass(frozen=True)
class Origin:
    """A structure that a step starts from, and where it came from."""

    label: str
    atoms: Atoms
    tags: dict[str, Any] = field(default_factory=dict)
    parents: tuple[str, ...] = ()
    file: Path | None = None


def write_origins(path: Path, found: Iterable[Origin]) -> None:
    """Write structures with their labels and tags, every float exactly, one a line; whole or not at all."""
    write_atomically(path, origins_text(found))


def origins_text(found: Iterable[Origin]) -> str:
    """Return what ``write_origins`` writes."""
    contents = ({"label": o.label, "tags": o.tags, "structure": atoms_to_json(o.atoms)} for o in found)
    return "".join(json.dumps(content, sort_keys=True, allow_nan=False) + "\n" for content in contents)


def read_origins(path: Path) -> list[Origin]:
    """Return what ``write_origins`` wrote.

    Raises:
        InputError: if it is another file.
    """
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return [Origin(c["label"], atoms_from_json(c["structure"]), c["tags"], file=path) for c in lines]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path.name} does not hold structures as atomsim writes them ({error})") from error


def sources(settings: BaseModel) -> list[tuple[str, Source, list[str]]]:
    """Return ``(key, source, words)`` of every setting that says where structures come from."""
    found = []
    for key, info in type(settings).model_fields.items():
        for mark in info.metadata:
            value = getattr(settings, key)
            if isinstance(mark, Source) and value is not None:
                found.append((key, mark, [value] if isinstance(value, str) else list(value)))
    return found


def find_files(word: str, base_dir: Path) -> list[Path]:
    """Return the files that a word names, a pattern's sorted; of bare names, also those shipped beside workflows."""
    path = Path(word)
    if not path.is_absolute():
        path = base_dir / path
    if path.is_file():
        return [path]
    if any(mark in word for mark in "*?["):
        folder = Path(path.anchor) if Path(word).is_absolute() else base_dir  # whose own name may hold marks
        return sorted(p for p in folder.glob(str(path.relative_to(folder))) if p.is_file())
    shipped = catalog.folder("workflows") / word
    return [shipped] if Path(word).name == word and Path(word).suffix and shipped.is_file() else []


def unknown_word(word: str, steps: Iterable[str], base_dir: Path) -> str:
    """Return the one line for a word that names no step, prototype or file."""
    from atomsim.structures.prototypes import prototype_names

    known = [*steps, *prototype_names()]
    hint = nearest(word, known)
    if Path(word).suffix or "/" in word:
        hint = f" looked for a file in {base_dir.resolve()}."
    return (
        f"{word!r} is neither an earlier step, a prototype nor a file;{hint} 'atomsim structures list' shows prototypes"
    )


def origins(words: Sequence[str], inputs: Inputs, context: Context, *, as_given: bool = False) -> list[Origin]:
    """Return the structures that words name, labels made unique, in the words' order.

    A step stands for its good records; the others are left out (see ``left_out``).

    Args:
        words: names of steps, prototypes, files or patterns.
        inputs: records of the earlier steps.
        context: of the step.
        as_given: leave left-handed cells so; else the same lattice is given by right-handed vectors.

    Raises:
        InputError: if a word names nothing, or a named file or prototype is not fit to be used; one line for each.
    """
    from atomsim.structures.sanity import right_handed

    found, problems = gather(words, inputs, context)
    if problems:
        raise InputError("\n".join(problems))
    if not as_given:
        found = [replace(origin, atoms=right_handed(origin.atoms)) for origin in found]
    return _unique(found)


def gather(words: Sequence[str], inputs: Inputs, context: Context) -> tuple[list[Origin], list[str]]:
    """Return the structures that words name and are fit to be used, and one line for each that is not."""
    found: list[Origin] = []
    problems: list[str] = []
    for word in words:
        if word in inputs:
            found += [Origin(r.label, r.atoms, dict(r.tags), (r.task,)) for r in usable(inputs[word])]
            continue
        for read in _readers(word, inputs, context):
            try:
                candidates = read()
            except InputError as error:
                problems.append(str(error))
                continue
            for where, origin in candidates:
                try:
                    _check(origin.atoms, where, context)
                    found.append(origin)
                except InputError as error:
                    problems.append(str(error))
    return found, problems


def left_out(inputs: Inputs) -> list[Record]:
    """Records that a consumer does not take, such as unconverged or exploded ones."""
    return [r for records in inputs.values() for r in records if not r.good]


def _readers(word: str, inputs: Inputs, context: Context) -> list[Callable[[], list[tuple[str, Origin]]]]:
    """Return what reads each of the files that a word names, or the prototype."""
    from atomsim.structures.prototypes import prototype_names

    def nothing() -> list[tuple[str, Origin]]:
        raise InputError(unknown_word(word, inputs, context.base_dir))

    if word in prototype_names():
        return [partial(_prototype, word, context.base_dir)]
    return [partial(_from_file, path) for path in find_files(word, context.base_dir)] or [nothing]


def _prototype(name: str, base_dir: Path) -> list[tuple[str, Origin]]:
    from atomsim.structures.prototypes import is_prototype, load_prototype

    is_prototype(name, base_dir)  # refused where a file has the name too
    return [(f"prototype {name}", Origin(name, load_prototype(name).atoms, {"prototype": name}))]


def _from_file(path: Path) -> list[tuple[str, Origin]]:
    from atomsim.io import read_structures
    from atomsim.structures.hosts import left_sites

    if path.suffix == GIVEN:
        return [(f"{path.name} structure {o.label}", o) for o in read_origins(path)]
    structures = read_structures(path)
    digits = len(str(len(structures)))
    found = []
    for n, atoms in enumerate(structures, 1):
        label = path.stem if len(structures) == 1 else f"{path.stem}-{n:0{digits}d}"
        tags = {"file": path.name, "index": n - 1} | left_sites(atoms.info)
        found.append((f"{path.name} structure {n}", Origin(label, as_read(atoms), tags, file=path)))
    return found


def _check(atoms: Atoms, where: str, context: Context) -> None:
    from atomsim.constraints.rules import require_supported
    from atomsim.structures.sanity import check_structure

    try:
        check_structure(atoms, context.elements)
        require_supported(atoms, symmetry=True)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _unique(found: list[Origin]) -> list[Origin]:
    """Number the labels that occur more than once."""
    repeated = {label for label, n in Counter(o.label for o in found).items() if n > 1}
    taken = {o.label for o in found} - repeated
    seen: Counter[str] = Counter()
    named = []
    for origin in found:
        label = origin.label
        while label in repeated or (label != origin.label and label in taken):
            seen[origin.label] += 1
            label = f"{origin.label}-{seen[origin.label]}"
        taken.add(label)
        named.append(replace(origin, label=label))
    return named


def make_task(origin: Origin, kind: str, settings: BaseModel, context: Context) -> Task:
    """Return the task of one structure, its id made from all that decides the result."""
    structure = atoms_to_json(origin.atoms)
    decides = [kind, settings.model_dump(mode="json"), context.seed, context.potential_sha256]
    return Task(
        id=task_id(*decides, context.step, origin.label, without_metadata(structure), origin.tags, origin.parents),
        step=context.step,
        kind=kind,
        label=origin.label,
        structure=structure,
        tags=dict(origin.tags),
        parents=origin.parents,
    )
