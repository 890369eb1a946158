"""Card files: the schema of a potential's card, and reading and writing it."""

from __future__ import annotations

import hashlib
import json
import os
import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from ase.data import atomic_numbers
from pydantic import BaseModel, Field, PrivateAttr, ValidationError, field_validator

from atomsim import catalog
from atomsim.errors import InputError, nearest
from atomsim.registry.card_parts import Citation, Distilled, Familiar, Strict, Weights
from atomsim.registry.plugins import OWN, families

ALL_ELEMENTS = frozenset(range(1, 119))
"""Atomic numbers of everything with a chemical symbol."""


class PotentialCard(Strict):
    """Contents of ``potentials/NAME.toml``."""

    name: str
    """Name that users type; equal to the file's name without ``.toml``."""
    family: str
    """``chgnet``, ``mace``, ``lennard-jones``, ``morse``, or one that an installed package loads."""
    summary: str
    """One line for lists."""
    method: str
    """Kind of model, and what it was trained on."""
    functional: str
    """Level of theory of the training data."""
    elements: tuple[str, ...]
    """Chemical symbols that it was made for; ``["all"]`` where elements make no difference."""
    cutoff_A: float
    """Largest distance at which two atoms interact directly, Å."""
    dtype: Literal["float32", "float64"]
    """Precision used unless another is asked for."""
    licence: str
    citation: Citation
    weights: Weights
    energies: str
    """Reference and correction policy of the training energies, in plain words."""
    limits: tuple[str, ...]
    """Known limits, in plain words."""
    parameters: dict[str, float] = Field(default_factory=dict)
    """Numbers of an analytic form; units in the keys."""
    head: str = ""
    """Head of a multi-head model that ``functional`` and ``energies`` speak of."""
    distilled: Distilled | None = None
    """For a student: its teacher and recipe."""
    errors: dict[str, float] = Field(default_factory=dict)
    """For a student: errors against its teacher as its recipe measures them, units in the keys."""
    familiar: Familiar | None = None
    """For a student: which structures are like those it learned from."""
    _path: Path | None = PrivateAttr(default=None)
    _others: tuple[Path, ...] = PrivateAttr(default=())

    @field_validator("family")
    @classmethod
    def _known_family(cls, value: str) -> str:
        known = (*OWN, *families())
        if value not in known:
            raise ValueError(f"Input should be {' or '.join(map(repr, known))}")
        return value

    @field_validator("elements")
    @classmethod
    def _symbols(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [s for s in value if s != "all" and not 1 <= atomic_numbers.get(s, 0) <= 118]
        if unknown or not value:
            raise ValueError(f"not chemical symbols: {', '.join(unknown) or 'none given'}")
        return value

    @property
    def numbers(self) -> frozenset[int]:
        """Atomic numbers that the potential was made for."""
        return ALL_ELEMENTS if "all" in self.elements else frozenset(atomic_numbers[s] for s in self.elements)

    @property
    def path(self) -> Path | None:
        """File that the card was read from."""
        return self._path

    @property
    def others(self) -> tuple[Path, ...]:
        """Files of cards of the same name that are not used."""
        return self._others

    @property
    def rivals_note(self) -> str:
        """One line about cards of the same name that are not used; empty if there is none."""
        if not self._others:
            return ""
        return f"several cards are named {self.name}: {self._path} is used, not {', '.join(map(str, self._others))}"

    @property
    def weights_path(self) -> Path | None:
        """Where the weights are; None for an analytic form or if they are not on this machine."""
        if self.weights.origin in ("file", "url"):
            beside = [self._path.parent] if self._path else []
            folders = dict.fromkeys([*beside, *stores(), catalog.folder("potentials")])
            places = [place for folder in folders if (place := folder / self.weights.file).is_file()]
            if len(places) > 1 and self.weights.sha256:  # a name is no identity
                return next((p for p in places if sha256_of(p) == self.weights.sha256), places[0])
            return places[0] if places else None
        spec = find_spec(self.weights.package) if self.weights.origin == "package" else None
        if spec is None or not spec.submodule_search_locations:
            return None
        return Path(spec.submodule_search_locations[0]) / self.weights.file

    def familiar_bytes(self) -> bytes | None:
        """The summary of what it learned from; None where there is none, or not beside the weights.

        Raises:
            InputError: if it is not the one that the card pins.
        """
        place = self.weights_path
        if self.familiar is None or place is None or not (path := place.parent / self.familiar.file).is_file():
            return None
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != self.familiar.sha256:
            raise InputError(f"{path} is not the file that the card {self.name} pins; copy it again, or remove it")
        return data

    @property
    def state(self) -> Literal["analytic", "verified", "missing", "changed", "unpinned"]:
        """State of the files on this machine, compared with the hashes that the card pins."""
        if self.weights.origin == "none":
            return "analytic"
        path = self.weights_path
        if path is None or not path.is_file():
            return "missing"
        if not self.weights.sha256:
            return "unpinned"
        return "verified" if sha256_of(path) == self.weights.sha256 else "changed"

    def found_at(self, path: Path | None, others: tuple[Path, ...] = ()) -> PotentialCard:
        """Return this card with the file that it was read from, and those of its name that are not used."""
        card = self.model_copy()
        card._path, card._others = path, others
        return card

    def pinned(self, sha256: str, size_bytes: int) -> PotentialCard:
        """Return this card with the weights' hash and size."""
        pin = {"sha256": sha256, "size_bytes": size_bytes}
        return self.model_copy(update={"weights": self.weights.model_copy(update=pin)})


def own_store() -> Path:
    """The user's own folder for cards and weights; it need not exist."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config"), "atomsim", "potentials")  # noqa: PTH111 - a home that cannot be found is no error here


def stores() -> list[Path]:
    """Folders of cards and weights that are not shipped: the user's own, then ``ATOMSIM_POTENTIALS``."""
    shared = os.environ.get("ATOMSIM_POTENTIALS", "").split(os.pathsep)
    return [own_store(), *(Path(os.path.expanduser(folder)) for folder in shared if folder)]  # noqa: PTH111 - as above


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_card(path: Path) -> PotentialCard:
    """Read and validate a card file.

    Raises:
        InputError: if the file cannot be read, is not TOML, or does not follow the schema.
    """
    content = parse_toml(path)
    try:
        card = PotentialCard.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{path}: {_first_problem(error)}") from error
    if card.name != path.stem:
        raise InputError(f"{path}: found name {card.name!r}, wanted {path.stem!r}, the file's own; rename one")
    return card.found_at(path)


def parse_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        InputError: if it cannot be read, or is none.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):  # reading a pipe would wait for ever
        raise InputError(f"cannot read the card {path}: found a pipe or device, wanted a file; remove it")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read the card {path}: {error.strerror}; check the path, or remove it") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not TOML: {error}; correct that line, or remove it") from error


def card_text(card: PotentialCard) -> str:
    """Return a card as TOML that ``read_card`` reads back."""
    content = card.model_dump(mode="json", exclude_defaults=True)
    tables = {key: value for key, value in content.items() if isinstance(value, dict)}
    lines = [_assignment(key, value) for key, value in content.items() if key not in tables]
    for key, table in tables.items():
        lines += ["", f"[{key}]", *(_assignment(inner, value) for inner, value in table.items())]
    return "\n".join(lines) + "\n"


def _assignment(key: str, value: Any) -> str:
    # JSON's strings, numbers and lists are TOML's, but for the control character DEL
    return f"{key} = {json.dumps(value, ensure_ascii=False)}".replace("\x7f", "\\u007f")


def _first_problem(error: ValidationError) -> str:
    problems = error.errors(include_url=False)
    # A misspelt key is also a missing one; the misspelling says more.
    problem = next((p for p in problems if p["type"] == "extra_forbidden"), problems[0])
    *section, key = problem["loc"] or ("card",)
    where = f" in [{'.'.join(map(str, section))}]" if section else ""
    if problem["type"] == "extra_forbidden":
        known = _keys(section)
        return f"unknown key {key!r}{where};{nearest(str(key), known)} known keys: {', '.join(known)}"
    if problem["type"] == "missing":
        return f"key {key!r} is missing{where}; add it"
    return f"{key!r}{where}: {problem['msg']}; found {_shortened(problem['input'])}"


def _keys(section: list[Any]) -> list[str]:
    models: dict[Any, type[BaseModel]] = {
        "citation": Citation,
        "weights": Weights,
        "distilled": Distilled,
        "familiar": Familiar,
    }
    return list((models.get(section[0], PotentialCard) if section else PotentialCard).model_fields)


def _shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
