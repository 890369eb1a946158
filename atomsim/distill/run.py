"""One distillation from recipe to card: every part is kept as a file, and the same command resumes from there.

OUT/
  recipe.toml run.json     what is done, and with which teacher
  labels/*.extxyz          frames with the teacher's energy, forces and stress, a file for each source
  labels/*.left-out        how many of them had a force above the limit, where some had
  statistics.json          energies of single atoms and number of neighbours, fixed by the first frames
  training/ committee-*/   mace-torch's own folders
  NAME.safetensors         the student
  errors.json              its errors, part by part
  strange.extxyz           labelled frames unlike those it learned from
  NAME.familiar.safetensors  summary of what it learned from, by which unlike structures are flagged
  NAME.toml                its card

Frames, and so labels, are equal however often it was killed. The student is not, to the last bit: mace-torch keeps
weights and optimizer at each epoch, not the state of its random generator, so after an interruption it sees the frames
in another order.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError

import torch
from ase import Atoms

from atomsim.batching.labels import label
from atomsim.distill.active import candidates, select_by_disagreement, select_by_error
from atomsim.distill.card import card_of
from atomsim.distill.familiarity import familiar_of, learned_from
from atomsim.distill.labelling import largest_force, read_frames, write_frames
from atomsim.distill.recipe import Recipe
from atomsim.distill.sampling import all_frames_of, frame_sources, seed_of, within
from atomsim.distill.training import Statistics, statistics, train, trained_model, write_training
from atomsim.distill.validation import examine
from atomsim.errors import AtomsimError, InputError, counted
from atomsim.io.files import make_folder, replacing, require_folder_name, write_atomically
from atomsim.models.interface import Potential
from atomsim.models.load import load_potential
from atomsim.models.mace.potential import MacePotential, quiet_mace
from atomsim.models.mace.safetensors import from_safetensors, to_safetensors

Say = Callable[[str], None]


@dataclass(frozen=True)
class Distilled:
    """Products of a distillation."""

    weights: Path
    card: Path
    errors: dict[str, float]


def distill(
    recipe: Recipe, out: Path, *, device: str | None = None, trust_file: bool = False, say: Say = lambda _: None
) -> Distilled:
    """Do what a recipe says, or what is left of it.

    Args:
        recipe: the recipe.
        out: folder of this distillation.
        device: takes the place of the recipe's.
        trust_file: allow a teacher that no card pins.
        say: receives progress, line by line.

    Raises:
        InputError: if the folder holds another distillation, or the recipe cannot be followed.
        AtomsimError: if training fails.
    """
    require_folder_name(out)
    out = out.resolve()  # training runs in a folder of its own
    teacher = load_potential(recipe.header.teacher, device=device or recipe.header.device, trust_file=trust_file)
    with _locked(out) as lock, _full_disk_in_one_line(out):
        _claim(recipe, teacher, out)
        collect(recipe, teacher, out, say)
        weights = learn(recipe, teacher, out, say, lock)
        return _examined(recipe, teacher, weights, out, say)


def _examined(recipe: Recipe, teacher: Potential, weights: Path, out: Path, say: Say) -> Distilled:
    student = read_student(weights, teacher)
    errors = examine(recipe, teacher, student, held_out(recipe, out), out / "examination", say)
    write_atomically(out / "errors.json", json.dumps(errors, indent=1) + "\n")
    frames = learned_from(out)
    familiar = familiar_of(recipe, teacher, student, frames, out, errors, say)
    card = out / f"{recipe.header.name}.toml"
    write_atomically(card, card_of(recipe, teacher, student, weights, errors, len(frames), left_out(out), familiar))
    say(f"{card}: copy it and {weights.name} to a folder of ATOMSIM_POTENTIALS to use {recipe.header.name} by name")
    return Distilled(weights, card, errors)


def collect(recipe: Recipe, teacher: Potential, out: Path, say: Say = lambda _: None) -> None:
    """Make and label all frames that are not there yet."""
    for job in frame_sources(recipe):
        path = out / "labels" / f"{job.name}.extxyz"
        if not path.is_file():
            made = all_frames_of(job, recipe, teacher)
            frames = within(made, recipe)
            if len(frames) < len(made):
                write_atomically(path.with_suffix(".left-out"), f"{len(made) - len(frames)}\n")
            write_frames(path, frames)
            say(f"{job.name}: {counted(len(frames), 'frame')}")


def left_out(out: Path) -> int:
    """Return how many frames had a force above the recipe's limit."""
    total = 0
    for path in (out / "labels").glob("*.left-out"):
        with _readable(path, path.with_suffix(".*")):
            total += int(path.read_text(encoding="utf-8"))
    return total


def held_out(recipe: Recipe, out: Path) -> dict[str, list[Atoms]]:
    """Return the frames that nothing was trained on, by domain."""
    found: dict[str, list[Atoms]] = {}
    for job in frame_sources(recipe):
        if job.split == "test":
            found.setdefault(job.domain, []).extend(read_frames(out / "labels" / f"{job.name}.extxyz"))
    return found


def learn(recipe: Recipe, teacher: Potential, out: Path, say: Say = lambda _: None, lock: int | None = None) -> Path:
    """Train through all rounds and return the student's file."""
    final = out / f"{recipe.header.name}.safetensors"
    frames = _first_frames(recipe, out)
    known = _statistics(recipe, frames, teacher, out)
    where = "cuda" if teacher.device.type == "cuda" else "cpu"
    for number, epochs in enumerate(recipe.starts):
        seed, folder = seed_of(recipe, "training") % 2**31, out / "training"
        if not trained_model(folder, epochs).is_file():
            write_training(folder, frames, recipe.train.valid_fraction, seed)
            say(f"training on {len(frames)} frames up to epoch {epochs}")
        trained = train(recipe, known, folder, seed=seed, epochs=epochs, device=where, say=say, lock=lock)
        if number < recipe.active.rounds:
            path = out / "labels" / f"active-{number + 1}.extxyz"
            if not path.is_file():
                student = _potential(_file_of(recipe, trained), teacher, recipe.header.name)
                write_frames(path, _found(recipe, teacher, student, out, number + 1, say))
                say(f"round {number + 1}: frames added")
            frames = frames + read_frames(path)
    _write_bytes(final, _file_of(recipe, trained))
    return final


def read_student(path: Path, like: Potential) -> MacePotential:
    """Load a student's file on the device of another potential."""
    return _potential(path.read_bytes(), like, path.stem)


def _potential(data: bytes, like: Potential, name: str) -> MacePotential:
    digest = hashlib.sha256(data).hexdigest()
    return MacePotential(
        from_safetensors(data, name), name=name, sha256=digest, device=like.device, dtype=torch.float32
    )


def _found(recipe: Recipe, teacher: Potential, student: Potential, out: Path, number: int, say: Say) -> list[Atoms]:
    """The frames of one round, labelled."""
    active, limit = recipe.active, recipe.header.max_force_eV_per_A
    frames = candidates(recipe, student, number)
    say(f"round {number}: {len(frames)} candidates")
    if active.select == "error":
        return select_by_error(frames, student, teacher, active.frames, limit)
    members = [student, *(_member(recipe, teacher, out, number, k, say) for k in range(1, active.committee))]
    chosen = label(select_by_disagreement(frames, members, active.frames), teacher)
    return [f for f in chosen if largest_force(f) < limit]


def _member(recipe: Recipe, teacher: Potential, out: Path, number: int, member: int, say: Say) -> MacePotential:
    """Train another member of the committee, on what the student has learned from up to now."""
    folder, seed = out / f"committee-{member}", seed_of(recipe, f"member {member}") % 2**31
    frames = _first_frames(recipe, out)
    for k in range(1, number):
        frames += read_frames(out / "labels" / f"active-{k}.extxyz")
    write_training(folder, frames, recipe.train.valid_fraction, seed)
    known = Statistics.read(out / "statistics.json")
    where = "cuda" if teacher.device.type == "cuda" else "cpu"
    epochs = number * recipe.active.committee_epochs
    trained = train(recipe, known, folder, seed=seed, epochs=epochs, device=where, say=say)
    return _potential(_file_of(recipe, trained), teacher, f"member-{member}")


def _first_frames(recipe: Recipe, out: Path) -> list[Atoms]:
    jobs = [job for job in frame_sources(recipe) if job.split == "train"]
    return [f for job in jobs for f in read_frames(out / "labels" / f"{job.name}.extxyz")]


def _statistics(recipe: Recipe, frames: list[Atoms], teacher: Potential, out: Path) -> Statistics:
    path = out / "statistics.json"
    if not path.is_file():
        alone = label([Atoms(s, cell=[recipe.pairs.box_A] * 3, pbc=True) for s in recipe.symbols], teacher)
        write_atomically(path, statistics(frames, alone, recipe.train.r_max_A).text())
    with _readable(path, path):
        return Statistics.read(path)


def _file_of(recipe: Recipe, trained: Path) -> bytes:
    return to_safetensors(_own_model(trained), recipe.train.wall_covalent)


def _own_model(path: Path) -> object:
    """Unpickle what this distillation's own training wrote; nothing else is opened so."""
    with quiet_mace(), _readable(path, path.parent):
        import mace.modules  # noqa: F401  before e3nn, which loads its constants the old way

        return torch.load(path, map_location="cpu", weights_only=False)


@contextmanager
def _locked(out: Path) -> Iterator[int]:
    """Keep others out of a folder; a training that outlives its killed parent keeps them out too.

    Raises:
        InputError: if another process works here.
    """
    make_folder(out)
    with (out / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(f"another distillation or its training works in {out}; wait for it, or end it") from error
        yield file.fileno()


def _claim(recipe: Recipe, teacher: Potential, out: Path) -> None:
    """Mark a folder as this distillation's; refuse one that is another's."""
    mark = {"recipe": recipe.identity, "teacher": teacher.name, "teacher_sha256": teacher.sha256}
    path = out / "run.json"
    if path.is_file():
        with _readable(path, path):
            found = dict(json.loads(path.read_text(encoding="utf-8")))
        if found != mark:
            changed = ", ".join(k for k in mark if found.get(k) != mark[k])
            raise InputError(f"{out} was made with another {changed}; choose another folder with --out, or remove it")
        return
    write_atomically(out / "recipe.toml", recipe.text)
    write_atomically(path, json.dumps(mark, indent=1) + "\n")


@contextmanager
def _readable(path: Path, remade: Path) -> Iterator[None]:
    """Turn what reading a torn file raises into one line, with what is to be removed so that it is made anew.

    Raises:
        InputError: if the file is damaged.
    """
    try:
        yield
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError, EOFError, UnpicklingError) as error:
        raise InputError(
            f"{path} is damaged; remove {remade}, then run the same command again, which makes it anew"
        ) from error


@contextmanager
def _full_disk_in_one_line(out: Path) -> Iterator[None]:
    """Turn the operating system's errors into one line.

    Raises:
        AtomsimError: if something cannot be read or written.
    """
    try:
        yield
    except OSError as error:
        what = f"{error.filename}: " if error.filename else ""
        raise AtomsimError(
            f"cannot continue in {out}: {what}{error.strerror or error}; mend that, then run the same command again"
        ) from error


def _write_bytes(path: Path, data: bytes) -> None:
    with replacing(path) as unfinished:
        unfinished.write_bytes(data)
