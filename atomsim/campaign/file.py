"""Campaign files: strict TOML, checked word by word before anything is computed."""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError, field_validator

from atomsim.errors import InputError, nearest
from atomsim.registry.cards import from_folder
from atomsim.store.records import task_id
from atomsim.tasks import kind_of, kinds
from atomsim.tasks.base import Source, StepSettings, find_files, sources, unknown_word
from atomsim.tasks.keys import describe_settings, explain
from atomsim.tasks.kind import StepKind

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,60}")


class CampaignHeader(StepSettings):
    """Keys of ``[campaign]``."""

    name: str = Field(description="short name of the campaign")
    title: str = Field(default="", description="title of the report")
    potential: str = Field(
        default="chgnet-0.3.0", description="name of a potential or path of a .model file; NAME#HEAD for one head"
    )
    dtype: Literal["float32", "float64"] | None = Field(
        default=None, description="precision; the potential's own if absent"
    )
    device: str = Field(default="auto", description="auto, cpu, cuda or cuda:N")
    seed: int = Field(default=0, ge=0, description="seed of everything random")

    @field_validator("device")
    @classmethod
    def _known_device(cls, value: str) -> str:
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", value):
            raise ValueError(f"found {value!r}, wanted auto, cpu, cuda or cuda:N")
        return value


@dataclass(frozen=True)
class Step:
    """One step of a campaign."""

    number: int
    """Position in the file, from 1."""
    name: str
    kind: str
    settings: BaseModel
    """The kind's own ``Settings``."""
    needs: tuple[str, ...]
    """Names of the earlier steps whose records it takes."""
    files: tuple[tuple[str, str], ...] = ()
    """``(name, sha256)`` of the files that it reads."""

    @property
    def module(self) -> StepKind:
        """The module of this kind of step."""
        return kind_of(self.kind)

    @property
    def folder(self) -> str:
        """Name of this step's folder within a run."""
        return f"{self.number:02d}-{self.name}"


@dataclass(frozen=True)
class Campaign:
    """A validated campaign file."""

    path: Path
    text: str
    """The file, verbatim."""
    header: CampaignHeader
    steps: tuple[Step, ...]

    @property
    def base_dir(self) -> Path:
        """Folder that relative file names start from."""
        return self.path.resolve().parent

    @property
    def needs_potential(self) -> bool:
        """True if any step calls forces."""
        return any(step.module.NEEDS_POTENTIAL for step in self.steps)

    def content(self) -> dict[str, Any]:
        """Everything that decides the results but the potential, JSON-able.

        Title, device and comments do not decide; a potential is identified by its weights' sha256.
        """
        steps = [
            {"name": s.name, "kind": s.kind, "settings": s.settings.model_dump(mode="json"), "files": s.files}
            for s in self.steps
        ]
        return {"dtype": self.header.dtype, "seed": self.header.seed, "steps": steps}

    def identity(self) -> str:
        """Content hash of everything that decides the results."""
        return task_id(self.content())


def load_campaign(
    path: Path | str, *, potential: str | None = None, device: str | None = None, text: str | None = None
) -> Campaign:
    """Read and check a campaign file.

    Args:
        path: the TOML file.
        potential: takes the place of the file's ``potential``.
        device: takes the place of the file's ``device``.
        text: takes the place of the file's content; files that it names are looked for beside ``path`` all the same.

    Raises:
        InputError: with one line for every problem found.
    """
    kinds()  # a package that offers a kind that there is already is refused here, whatever the campaign uses
    path = Path(path)
    text = _read(path) if text is None else text
    raw = _parse(path, text)
    problems: list[str] = []
    header = _header(raw, path.resolve().parent, potential, device, problems)
    steps = _steps(raw, path.resolve().parent, problems)
    problems += [
        f"unknown table or key {key!r};{nearest(key, ['campaign', 'step'])} wanted [campaign] and [[step]]"
        for key in raw
        if key not in {"campaign", "step"}
    ]
    if problems or header is None:
        hint = f"'atomsim check --keys {path.name}' lists all keys"
        raise InputError("\n".join(f"{path.name}: {p}{'' if p.endswith('?') else '.'} {hint}." for p in problems))
    return Campaign(path, text, header, tuple(steps))


def _read(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise InputError(f"no campaign file {path}; 'workflows/' holds some to copy and edit") from error
    except IsADirectoryError as error:
        raise InputError(f"{path} is a folder, wanted a campaign file (.toml)") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path.name} is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    if not text.strip():
        raise InputError(f"{path.name} is empty; wanted a [campaign] table and at least one [[step]]")
    return text


def _parse(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path.name}: not valid TOML: {error}") from error


def _header(
    raw: Mapping[str, Any], base_dir: Path, potential: str | None, device: str | None, problems: list[str]
) -> CampaignHeader | None:
    table = raw.get("campaign")
    if not isinstance(table, dict):
        problems.append("no [campaign] table; wanted one with a name")
        return None
    given = {k: v for k, v in (("potential", potential), ("device", device)) if v is not None}
    try:
        header = CampaignHeader.model_validate({**table, **given})
        if potential is None:
            return header.model_copy(update={"potential": from_folder(header.potential, base_dir)})
        return header  # noqa: TRY300
    except ValidationError as error:
        problems += explain(error, CampaignHeader, "[campaign]")
        return None


def _steps(raw: Mapping[str, Any], base_dir: Path, problems: list[str]) -> list[Step]:
    tables = raw.get("step", [])
    if not isinstance(tables, list) or not tables or not all(isinstance(t, dict) for t in tables):
        problems.append("no [[step]]; wanted at least one, each with double brackets")
        return []
    names = [t.get("name") for t in tables]
    steps: list[Step] = []
    for number, table in enumerate(tables, 1):
        where = f"[[step]] {number}" + (f" ({table['name']})" if isinstance(table.get("name"), str) else "")
        found = len(problems)
        settings = _settings(table, where, problems)
        _check_name(table, names[: number - 1], where, problems)
        if settings is None or len(problems) > found:
            continue
        earlier = [n for n in names[: number - 1] if isinstance(n, str)]
        later = [n for n in names[number - 1 :] if isinstance(n, str)]
        needs, files = _resolve(settings, earlier, later, base_dir, where, problems)
        problems += _wrong_kinds(kind_of(table["kind"]), settings, [s for s in steps if s.name in needs], where)
        steps.append(Step(number, table["name"], table["kind"], settings, tuple(needs), tuple(files)))
    return steps


def _wrong_kinds(kind: StepKind, settings: BaseModel, needed: Sequence[Step], where: str) -> list[str]:
    """Name steps of a kind that is not taken from, under the key that names them."""
    by_key = getattr(kind, "KINDS_BY_KEY", {})
    found = []
    for other in needed:
        keys = [key for key, _, words in sources(settings) if other.name in words]
        found += [
            f"{where} takes from {other.name!r}, a {other.kind} step; wanted {' or '.join(takes)}"
            for takes in dict.fromkeys(by_key.get(key) or getattr(kind, "TAKES_KINDS", ()) for key in keys)
            if takes and other.kind not in takes
        ]
    return found


def _settings(table: Mapping[str, Any], where: str, problems: list[str]) -> BaseModel | None:
    kind = table.get("kind")
    if not isinstance(kind, str):
        problems.append(f"{where} has no kind; kinds are {', '.join(kinds())}")
        return None
    try:
        model = kind_of(kind).Settings
    except InputError as error:
        problems.append(f"{where}: {error}")
        return None
    try:
        return model.model_validate({k: v for k, v in table.items() if k not in {"name", "kind"}})
    except ValidationError as error:
        problems += explain(error, model, where, extra=("name", "kind"))
        return None


def _check_name(table: Mapping[str, Any], earlier: Sequence[Any], where: str, problems: list[str]) -> None:
    name = table.get("name")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        problems.append(f"{where}: name is {name!r}, wanted letters, digits, '-', '_' or '.'")
    elif name in earlier:
        problems.append(f"{where}: the name {name!r} is taken by [[step]] {list(earlier).index(name) + 1}")


def _resolve(
    settings: BaseModel,
    earlier: Sequence[str],
    later: Sequence[str],
    base_dir: Path,
    where: str,
    problems: list[str],
) -> tuple[list[str], list[tuple[str, str]]]:
    """Distinguish earlier steps from prototypes and files, and hash the files."""
    from atomsim.structures.prototypes import is_prototype

    needs: list[str] = []
    files: list[tuple[str, str]] = []
    for key, source, words in sources(settings):
        for word in words:
            if word in earlier:
                needs += [word] if word not in needs else []
                continue
            try:
                if source.prototypes and is_prototype(word, base_dir):
                    continue
            except InputError as error:
                problems.append(f"{where}: {key}: {error}")
                continue
            paths = find_files(word, base_dir) if source.files else []
            if paths:
                files += [(word, _sha256(p)) for p in paths]
                continue
            problems.append(f"{where}: {key}: {_unresolved(word, source, earlier, later, base_dir)}")
    return needs, files


def _unresolved(word: str, source: Source, earlier: Sequence[str], later: Sequence[str], base_dir: Path) -> str:
    if word in later:
        return f"{word!r} is this or a later step; a step takes only from earlier ones"
    if source.prototypes or source.files:
        return unknown_word(word, earlier, base_dir)
    known = f"earlier steps are {', '.join(earlier)}" if earlier else "there is no earlier step"
    return f"{word!r} is not an earlier step;{nearest(word, earlier)} {known}"


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error


def describe_keys() -> dict[str, list[dict[str, str]]]:
    """Return every key of ``[campaign]`` and of every kind of step: type, default, meaning."""
    step = [
        {"key": "name", "type": "text", "default": "must be given", "description": "name that later steps use"},
        {"key": "kind", "type": "text", "default": "must be given", "description": "one of " + ", ".join(kinds())},
    ]
    tables = {"[campaign]": describe_settings(CampaignHeader), "[[step]]": step}
    return tables | {f'[[step]] kind = "{kind}"': describe_settings(kind_of(kind).Settings) for kind in kinds()}
