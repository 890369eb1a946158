"""Structure files out: the format that the name says, and in extended XYZ all that a structure carries."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ase.db
import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io.formats import UnknownFileTypeError, filetype, ioformats
from ase.io.jsonio import decode, encode

from atomsim.constraints.formats import from_selective_dynamics, selective_dynamics
from atomsim.errors import InputError
from atomsim.io.extxyz import alike, extxyz_atoms, not_in_extxyz
from atomsim.io.files import is_special, place_of, replacing, require_other_file
from atomsim.io.losses import losses, note_losses, with_results_to_come
from atomsim.io.metadata import as_it_came
from atomsim.io.readback import check_readback

SUFFIXES = (".extxyz", ".xyz", ".cif", ".vasp", ".traj", ".json", ".db", ".xsf", ".pdb")
"""Suffixes that messages offer where a name says nothing; whatever else ASE writes and reads again is taken too."""
CELLS_ONLY = frozenset({"cif", "vasp", "xsf", "vasp-xdatcar"})


def check_target(
    path: Path, structures: Sequence[Atoms] | None = None, inputs: Sequence[Path] = (), *, force: bool = False
) -> None:
    """Find before the work what would keep its result from being written.

    Args:
        path: file to be written.
        structures: what goes in, of which as much will come out; tried on a file that is thrown away.
        inputs: files that were read, which are not overwritten.
        force: overwrite them.

    What the file will not keep of them, or of the results to come, is named on standard error.

    Raises:
        InputError: naming what is wrong and what is possible.
    """
    target = place_of(path)
    if not target.parent.is_dir():
        raise InputError(f"no folder {target.parent} to write {path.name} in; make it first")
    require_other_file(path, inputs, force=force)
    kind = format_of(path)
    if structures:
        with tempfile.TemporaryDirectory() as folder:
            ready = with_results_to_come([as_it_came(atoms) for atoms in structures])
            _note_losses(kind, Path(folder) / path.name, ready)


def write_structures(path: Path, structures: Sequence[Atoms], *, checked: bool = False) -> None:
    """Write structures in the format that the name says, whole or not at all.

    Extended XYZ holds results, constraints and metadata; other formats what they can: what a file does not keep is
    named on standard error.

    Args:
        path: file to write.
        structures: what to write, with what their calculators have computed.
        checked: ``check_target`` has said what is not kept.

    Raises:
        InputError: if the name says no format that holds them.
        AtomsimError: if the file cannot be written; an old file is untouched.
    """
    kind = format_of(path)
    if not checked:
        with tempfile.TemporaryDirectory() as folder:
            _note_losses(kind, Path(folder) / path.name, structures)
    with replacing(path) as unfinished:
        _write_as(kind, unfinished, structures, path.name)


def _note_losses(kind: str, trial: Path, structures: Sequence[Atoms]) -> None:
    """Write for trial, and name what does not come back."""
    nowhere = set().union(*(not_in_extxyz(atoms) for atoms in structures))
    lost = nowhere
    if kind != "extxyz":  # which holds everything else
        _write_as(kind, trial, structures, trial.name)
        found = check_readback(trial, structures, trial.name)
        lost = set().union(*(losses(a, b, alike) for a, b in zip(structures, found, strict=True)))
    note_losses(trial.name, lost, nowhere)


def write_extxyz(path: Path, structures: Sequence[Atoms], results: Sequence[Mapping[str, Any]] | None = None) -> None:
    """Write structures as extended XYZ, whole or not at all.

    Args:
        path: file to write; an old one is replaced when the new one is complete.
        structures: what to write; ``info`` and arrays go along.
        results: for each structure, what is known of ``energy`` eV, ``forces`` (n, 3) eV/Å,
            ``stress`` (6,) eV/Å³ in the order xx yy zz yz xz xy, ``magmoms`` (n,) μB. Without it,
            what a structure's calculator has already computed is written.

    Raises:
        InputError: if there are not as many results as structures.
        AtomsimError: if the file cannot be written; an old file is untouched.
    """
    ready = list(structures) if results is None else with_results(structures, results)
    with replacing(path) as unfinished:
        _write_as("extxyz", unfinished, ready, path.name)


def with_results(structures: Sequence[Atoms], results: Sequence[Mapping[str, Any]]) -> list[Atoms]:
    """Return copies of structures with what is known of each on its calculator (see ``write_extxyz``).

    Raises:
        InputError: if there are not as many results as structures.
    """
    if len(results) != len(structures):
        raise InputError(f"{len(results)} results for {len(structures)} structures; want one for each")
    return [_attach(a, r) for a, r in zip(structures, results, strict=True)]


def default_name(stem: str, what: str) -> str:
    """Return ``STEM-WHAT.extxyz``, or a name like it that no reader takes for another format."""
    return openable(f"{stem}-{what}.extxyz")


def openable(name: str) -> str:
    """Return the name of an extended XYZ file such that no reader takes it for another format.

    ASE knows VASP's and other files by parts of their names, capitals counting: POSCAR-relaxed.extxyz is one.
    """
    return next((n for n in (name, name.lower()) if _by_name(n) == "extxyz"), "structures.extxyz")


def format_of(path: Path) -> str:
    """Return ASE's name of the format that a file name says; extended XYZ for pipes and devices.

    Raises:
        InputError: if it says none, or one that is not written, or not read again.
    """
    kind = _by_name(path.name)
    if kind is None and is_special(path):
        return "extxyz"
    if path.suffix.lower() in {".extxyz", ".xyz"} and kind != "extxyz":
        raise InputError(
            f"readers take {path.name!r} for the format {kind!r}, as its name begins like theirs; "
            f"wanted another, such as {default_name(path.stem, 'out')}"
        )
    known = ioformats.get(kind or "")
    if known is None or not (known.can_write and known.can_read) or path.suffix in {".gz", ".bz2", ".xz"}:
        raise InputError(
            f"cannot tell from the name {path.name!r} in which format to write structures; "
            f"wanted one that ends in {', '.join(SUFFIXES)}"
        )
    return str(known.name)


def _by_name(name: str) -> str | None:
    """Return the format that a file name says, as ASE understands it."""
    if name.lower().endswith((".extxyz", ".xyz")):
        # ASE's signatures go before suffixes: POSCAR-relaxed.extxyz would be VASP's
        seen = filetype(name, read=False)
        return "extxyz" if seen in {"extxyz", "xyz"} else str(seen)
    try:
        return str(filetype(name, read=False))
    except UnknownFileTypeError:
        return None


def _write_as(kind: str, path: Path, structures: Sequence[Atoms], name: str) -> None:
    if len(structures) > 1 and (ioformats[kind].single or kind == "vasp"):
        raise InputError(
            f"{name} holds one structure, and there are {len(structures)}; "
            "write them to .extxyz, .traj, .cif, .json or .db, or one by one"
        )
    if kind in CELLS_ONLY and any(atoms.cell.rank < 3 for atoms in structures):
        raise InputError(f"{name} holds crystals only, and one of the structures has no full cell; write to .extxyz")
    how = {"direct": True, "vasp5": True} if kind == "vasp" else {}
    try:
        ready = [extxyz_atoms(a) if kind == "extxyz" else _as_held(a, kind) for a in structures]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about what the format cannot hold
            if kind == "db":  # by what it is: the unfinished file has another suffix
                with ase.db.connect(path, type="db", append=False) as database:
                    for atoms in ready:
                        database.write(atoms)
            else:
                ase.io.write(path, ready, format=kind, **how)
    except (OSError, InputError):
        raise
    except Exception as error:  # writers raise whatever they meet
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"cannot write {name}: {reason}; try .extxyz, which holds everything") from error


def _as_held(atoms: Atoms, kind: str) -> Atoms:
    """Return atoms with constraints as a format has them: VASP's flags are along lattice vectors, if they can be."""
    if kind == "traj":
        return _without_unreadable(atoms)
    flags = selective_dynamics(atoms) if kind == "vasp" else None
    if flags is None:
        return atoms
    held: Atoms = atoms.copy()
    held.set_constraint(from_selective_dynamics(flags.tolist()))
    return held


def _without_unreadable(atoms: Atoms) -> Atoms:
    """Return atoms without values of info that ASE's JSON writes and does not read, such as a date on the second."""
    kept: Atoms = atoms.copy()
    kept.calc = atoms.calc
    kept.info = {}
    for key, value in atoms.info.items():
        try:
            if alike(decode(encode(value)), value):
                kept.info[key] = value
        except Exception:  # noqa: S112 - whatever it stumbles over
            continue
    return kept


def _attach(atoms: Atoms, results: Mapping[str, Any]) -> Atoms:
    with_results: Atoms = atoms.copy()
    known = {key: results[key] for key in ("energy", "forces", "stress", "magmoms") if results.get(key) is not None}
    arrays = {key: value if key == "energy" else np.asarray(value, dtype=float) for key, value in known.items()}
    with_results.calc = SinglePointCalculator(with_results, **arrays)
    return with_results
