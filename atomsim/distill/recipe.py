"""Recipes: strict TOML that says which teacher a student learns from, on what, and how it is examined."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from ase.data import atomic_numbers
from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from atomsim.distill.examination import Validate
from atomsim.errors import InputError, nearest
from atomsim.structures.prototypes import load_prototype, prototype_names
from atomsim.tasks.base import StepSettings
from atomsim.tasks.keys import explain

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,60}")
Domain = Literal["crystal", "disordered", "amorphous", "pairs"]


class RecipeHeader(StepSettings):
    """Keys of ``[distill]``."""

    name: str = Field(description="name of the student, and of its card")
    summary: str = Field(description="one line for lists")
    teacher: str = Field(default="chgnet-0.3.0", description="name of a potential or path of a .model file")
    device: str = Field(default="auto", description="auto, cpu, cuda or cuda:N")
    seed: int = Field(default=0, ge=0, description="seed of everything random")
    max_force_eV_per_A: float = Field(default=25.0, gt=0, description="frames with a larger force are left out")
    held_out: float = Field(default=0.12, gt=0, lt=1, description="frames to test on, for each frame to learn from")

    @field_validator("name")
    @classmethod
    def _plain(cls, value: str) -> str:
        if not NAME.fullmatch(value):
            raise ValueError("wanted letters, digits, dots and hyphens")
        return value


class System(StepSettings):
    """Keys of a ``[[system]]``: a crystal (``prototype``) or a random mixture (``formula``), and its frames."""

    name: str = Field(description="short name, unique")
    domain: Domain = Field(default="crystal", description="what its errors are counted under")
    prototype: str | None = Field(default=None, description="a structure of the library")
    conventional: bool = Field(default=False, description="take the conventional cell instead of the primitive one")
    repeat: list[int] = Field(default=[1, 1, 1], min_length=3, max_length=3, description="copies along each vector")
    ion: str | None = Field(default=None, description="element that leaves")
    x: list[float] = Field(default=[], description="ions per formula unit of the host to leave; all if empty")
    host_unit: str | None = Field(default=None, description="formula of the host without ions, e.g. RuO3")
    orderings: int = Field(default=2, ge=1, description="orderings at each x")
    max_atoms: int = Field(default=40, ge=1, description="largest supercell for orderings")
    shuffled: list[str] = Field(default=[], description="elements to exchange at random over their common sites")
    formula: list[str] = Field(default=[], description="random packings of these compositions, e.g. Li8Ru4O12")
    density_g_per_cm3: list[float] = Field(default=[], description="of the packings: one for each formula")
    rattled: int = Field(default=0, ge=0, description="frames with displaced atoms and a strained cell")
    rattle_A: float = Field(default=0.25, gt=0, description="largest standard deviation of displacements")
    strain: float = Field(default=0.05, ge=0, description="largest isotropic strain; shear is a third of it")
    relaxations: int = Field(default=0, ge=0, description="relaxations by the teacher whose path is kept")
    relax_steps: int = Field(default=60, ge=1, description="their longest")
    relax_frames: int = Field(default=10, ge=1, description="frames kept of each")
    md_temperatures_K: list[float] = Field(default=[], description="of the teacher's dynamics, one run each")
    md_steps: int = Field(default=100, ge=1, description="steps of each run")
    md_every: int = Field(default=10, ge=1, description="steps from frame to frame")
    md_timestep_fs: float = Field(default=2.0, gt=0, description="time step")
    md_max_atoms: int = Field(default=60, ge=1, description="larger cells are left out of dynamics")
    compressed: int = Field(default=0, ge=0, description="frames with two like atoms pushed together")
    compressed_elements: list[str] = Field(default=["O"], min_length=1, description="elements of these pairs, in turn")
    hops: int = Field(default=0, ge=0, description="bands of ion hops, the shortest first")
    hop_steps: int = Field(default=15, ge=1, description="steps of each band")
    hop_max_atoms: int = Field(default=50, ge=1, description="largest supercell of a hop")
    active: bool = Field(default=True, description="take part in the student's own dynamics")

    @model_validator(mode="after")
    def _complete(self) -> System:
        if (self.prototype is None) == (not self.formula):
            raise ValueError("wanted either prototype or formula")
        if self.prototype is not None and self.prototype not in prototype_names():
            raise ValueError(f"no prototype {self.prototype!r};{nearest(self.prototype, prototype_names())}")
        if len(self.density_g_per_cm3) != len(self.formula):
            raise ValueError("wanted one density_g_per_cm3 for each formula")
        if (self.x or self.hops) and self.ion is None:
            raise ValueError("x and hops need the ion")
        return self

    @property
    def elements(self) -> frozenset[str]:
        """Chemical symbols in it."""
        if self.prototype is not None:
            return frozenset(load_prototype(self.prototype).atoms.symbols)
        return frozenset(e for f in self.formula for e in re.findall(r"[A-Z][a-z]?", f))


class Pairs(StepSettings):
    """Keys of ``[pairs]``: two atoms in an empty box, for a sane short range; single atoms too."""

    per_pair: int = Field(default=8, ge=0, description="distances of each pair of elements")
    from_covalent: float = Field(default=0.75, gt=0, description="nearest, in sums of covalent radii")
    to_A: float = Field(default=4.5, gt=0, description="furthest")
    box_A: float = Field(default=14.0, gt=0, description="edge of the box")
    also: list[str] = Field(default=["O"], description="elements whose own pair gets four times as many distances")


class Train(StepSettings):
    """Keys of ``[train]``: the network and mace-torch's training of it."""

    hidden_irreps: str = Field(default="32x0e", description="channels and symmetry of messages")
    max_ell: int = Field(default=2, ge=0, le=4, description="highest spherical harmonic")
    correlation: int = Field(default=3, ge=1, le=3, description="body order of a layer, less one")
    interactions: int = Field(default=2, ge=1, description="layers")
    r_max_A: float = Field(default=5.0, gt=0, description="cutoff")
    radial_functions: int = Field(default=8, ge=1, description="Bessel functions")
    radial_mlp: list[int] = Field(default=[32, 32], description="widths of the radial network")
    readout_irreps: str = Field(default="16x0e", description="width of the last readout")
    epochs: int = Field(default=40, ge=1, description="epochs in all, over all rounds; more of them continue with it")
    batch_size: int = Field(default=4, ge=1, description="frames per step")
    learning_rate: float = Field(default=0.01, gt=0, description="at the start")
    learning_rate_decay: float = Field(default=0.9, gt=0, le=1, description="what is left of it after each epoch")
    wall_covalent: float = Field(
        default=0.65, ge=0, le=1, description="pairs nearer than this part of their covalent sum are made to repel"
    )
    ema: float = Field(default=0.99, gt=0, lt=1, description="decay of the averaged weights")
    loss: Literal["universal", "weighted"] = Field(default="universal", description="Huber, or mean square")
    energy_weight: float = Field(default=10.0, ge=0, description="per atom")
    last_epochs: int = Field(default=0, ge=0, description="of the epochs, those at the end with another energy weight")
    last_energy_weight: float = Field(default=100.0, ge=0, description="per atom, in the last epochs")
    forces_weight: float = Field(default=10.0, ge=0, description="per component")
    stress_weight: float = Field(default=10.0, ge=0, description="per component")
    threads: int = Field(default=1, ge=1, description="OpenMP threads of the training")
    valid_fraction: float = Field(default=0.05, gt=0, lt=0.5, description="of the frames, to watch the training")


class Active(StepSettings):
    """Keys of ``[active]``: rounds in which the student runs dynamics and the teacher labels what it finds."""

    rounds: int = Field(default=0, ge=0, description="rounds after the first training")
    epochs: list[int] = Field(default=[], description="epoch at which each round starts; one for each round")
    temperatures_K: list[float] = Field(default=[600.0, 1500.0], description="of the student's dynamics")
    steps: int = Field(default=500, ge=1, description="steps of each run")
    every: int = Field(default=50, ge=1, description="steps from candidate to candidate")
    timestep_fs: float = Field(default=2.0, gt=0, description="time step")
    select: Literal["committee", "error"] = Field(
        default="committee", description="spread of a committee, or the error itself, where the teacher is cheap"
    )
    committee: int = Field(default=2, ge=2, description="members, the student among them")
    committee_epochs: int = Field(default=5, ge=1, description="epochs of the other members")
    candidates: int = Field(default=300, ge=1, description="frames that are looked at, spread over all runs")
    frames: int = Field(default=100, ge=1, description="frames that are labelled and kept")


@dataclass(frozen=True)
class Recipe:
    """A validated recipe."""

    path: Path
    text: str
    header: RecipeHeader
    systems: tuple[System, ...]
    pairs: Pairs
    train: Train
    active: Active
    validate: Validate

    @property
    def symbols(self) -> tuple[str, ...]:
        """Chemical symbols of all systems, by atomic number."""
        found = {e for s in self.systems for e in s.elements}
        return tuple(sorted(found, key=lambda e: atomic_numbers[e]))

    @property
    def sha256(self) -> str:
        """SHA-256 of the file."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def identity(self) -> str:
        """SHA-256 of all that decides the student but the length of training, which may be raised to continue.

        Comments, device and the examination do not decide.
        """
        header = self.header.model_dump(mode="json", exclude={"device", "summary"})
        train = self.train.model_dump(mode="json", exclude={"epochs", "threads"})
        parts = [train, *(s.model_dump(mode="json") for s in (*self.systems, self.pairs, self.active))]
        return hashlib.sha256(json.dumps([header, *parts], sort_keys=True).encode()).hexdigest()

    @property
    def starts(self) -> tuple[int, ...]:
        """Epochs that training pauses at for a round or for another energy weight, then the last one."""
        t = self.train
        return (*self.active.epochs, *([t.epochs - t.last_epochs] if t.last_epochs else []), t.epochs)

    def energy_weight(self, until: int) -> float:
        """Return the weight of energies in the part of the training that ends with an epoch."""
        t = self.train
        return t.last_energy_weight if t.last_epochs and until == t.epochs else t.energy_weight


TABLES: dict[str, type[BaseModel]] = {
    "distill": RecipeHeader,
    "pairs": Pairs,
    "train": Train,
    "active": Active,
    "validate": Validate,
}


def load_recipe(path: Path | str) -> Recipe:
    """Read and check a recipe.

    Raises:
        InputError: with one line for every problem found.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        raw = tomllib.loads(text)
    except OSError as error:
        raise InputError(
            f"cannot read the recipe {path}: {error.strerror}; 'workflows/distill-*.toml' are some"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path.name}: not valid TOML: {error}") from error
    problems = [
        f"unknown table or key {key!r};{nearest(key, [*TABLES, 'system'])} wanted {', '.join([*TABLES, 'system'])}"
        for key in raw
        if key not in {*TABLES, "system"}
    ]
    parts: dict[str, Any] = {
        key: _table(model, raw.get(key, {}), f"[{key}]", problems) for key, model in TABLES.items()
    }
    tables = raw.get("system", [])
    systems = [_table(System, t, f"[[system]] {n}", problems) for n, t in enumerate(tables, 1)]
    if not problems:
        problems += _consistent(parts, systems)
    if problems:
        raise InputError("\n".join(f"{path.name}: {p}" for p in problems))
    header = parts.pop("distill")
    return Recipe(path, text, header, tuple(systems), **parts)


def _table(model: type[BaseModel], content: Any, where: str, problems: list[str]) -> Any:
    try:
        return model.model_validate(content)
    except ValidationError as error:
        problems += explain(error, model, where)
        return None


def _consistent(parts: dict[str, Any], systems: Sequence[System]) -> list[str]:
    """Check relations between the tables of a file."""
    problems = []
    names = [s.name for s in systems]
    active, train, validate = parts["active"], parts["train"], parts["validate"]
    if not systems:
        problems.append("no [[system]]; wanted at least one, each with double brackets")
    problems += [
        f"[[system]] name {n!r} occurs twice; wanted each once"
        for n in sorted({n for n in names if names.count(n) > 1})
    ]
    rising = [0, *active.epochs, train.epochs - train.last_epochs]
    if len(active.epochs) != active.rounds or any(b <= a for a, b in pairwise(rising)):
        problems.append(
            f"[active] epochs = {active.epochs} does not fit rounds = {active.rounds}; "
            f"wanted one rising number for each round, below {rising[-1]}"
        )
    wanted = [*validate.dynamics.systems, *([validate.dynamics.rdf_system] if validate.dynamics.rdf_system else [])]
    problems += [f"[validate.dynamics]: no [[system]] {n!r};{nearest(n, names)}" for n in wanted if n not in names]
    crystals = [*validate.lattices, *(v.prototype for v in validate.voltage), *(v.metal for v in validate.voltage)]
    crystals += [b.prototype for b in validate.barriers]
    known = prototype_names()
    problems += [f"[validate]: no prototype {c!r};{nearest(c, known)}" for c in crystals if c not in known]
    return problems
