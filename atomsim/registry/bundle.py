"""Carry cards and weights to machines without internet.

A bundle is a folder, or a zip file of one, with ``NAME.toml`` and the file of weights for each
potential. Its folder can also be a store (``ATOMSIM_POTENTIALS``) or a mirror as it is. Every
file is compared with its card's SHA-256 on the way out and on the way in.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from atomsim.errors import AtomsimError, InputError, note_once
from atomsim.io.files import replacing, require_folder_name
from atomsim.registry.cards import PotentialCard, card_names, card_text, is_card, list_cards, load_card, read_card
from atomsim.registry.fetch import os_errors_in_one_line, place_aside, record, writable_store

CARRIED = ("url", "file")
"""Origins of weights that a bundle holds; a package's are installed with it."""


def export_bundle(target: Path, names: Iterable[str] = ()) -> list[str]:
    """Write a folder, or a zip file if the name ends so, with cards and weights.

    Args:
        target: folder or ``.zip`` file; a file must not exist yet.
        names: of potentials; all that were fetched if none is given.

    Returns:
        Names of the potentials in it.

    Raises:
        InputError: if one is not here, or not what its card pins; or ``target`` exists.
        AtomsimError: if ``target`` cannot be written to.
    """
    cards = [_whole(load_card(name)) for name in names] or _fetched()
    if not cards:
        raise InputError("nothing to export: no weights were fetched; run 'atomsim potentials fetch NAME' first")
    if target.suffix != ".zip":
        require_folder_name(target)
        with os_errors_in_one_line(target):
            for card, path in cards:
                _copy(path, target, card)
                record(card, target)
        return [card.name for card, _ in cards]
    if target.exists():
        raise InputError(f"{target} exists already; remove it or choose another name")
    with replacing(target) as unfinished, zipfile.ZipFile(unfinished, "w", zipfile.ZIP_STORED) as archive:
        for card, path in cards:
            archive.writestr(f"{card.name}.toml", card_text(card))
            archive.write(path, card.weights.file)
    return [card.name for card, _ in cards]


def import_bundle(source: Path, *, pin: bool = False) -> list[str]:
    """Take cards and weights from a bundle into the store.

    Args:
        source: folder or zip file that ``export_bundle`` wrote.
        pin: trust the bundle where this machine has no SHA-256 to compare with. Weights can run any code.

    Returns:
        Names of the potentials in it.

    Raises:
        InputError: if it is no bundle, contradicts a card here, or says something new and ``pin`` is false.
        AtomsimError: if a file is not what its card pins, or the store cannot be written to.
    """
    with _unpacked(source) as folder:
        cards = [read_card(path) for path in sorted(folder.glob("*.toml")) if is_card(path)]
        if not cards:
            raise InputError(f"{source} holds no cards; give a folder or .zip of 'atomsim potentials export'")
        for card in cards:  # all are judged before one is taken
            _require_known(card, pin)
        store = writable_store()
        with os_errors_in_one_line(store):
            for card in cards:
                _copy(folder / card.weights.file, store, card)
                record(card, store)
    return [card.name for card in cards]


def _fetched() -> list[tuple[PotentialCard, Path]]:
    return [_whole(card) for card in list_cards() if card.weights.origin == "url" and card.state == "verified"]


def _whole(card: PotentialCard) -> tuple[PotentialCard, Path]:
    path = card.weights_path
    if card.weights.origin not in CARRIED:
        raise InputError(f"{card.name} is not exported: it comes with an installation; export others")
    if path is None or card.state != "verified":
        raise InputError(
            f"weights of {card.name} are {card.state}, wanted verified; run 'atomsim potentials fetch {card.name}'"
        )
    return card, path


def _require_known(card: PotentialCard, pin: bool) -> None:
    if card.weights.origin not in CARRIED or not card.weights.sha256:
        raise InputError(_nothing_pinned(card))
    known = load_card(card.name).weights.sha256 if card.name in card_names() else ""
    if known and known != card.weights.sha256:
        raise InputError(
            f"the bundle contradicts the card {card.name!r} here: found sha256 {card.weights.sha256[:12]}…, "
            f"wanted {known[:12]}…; nothing imported"
        )
    if not known and not pin:
        raise InputError(
            f"no card here pins {card.name} (the bundle says sha256 {card.weights.sha256}); "
            "if you trust the bundle, add --pin"
        )


def _nothing_pinned(card: PotentialCard) -> str:
    """Say what to do with a card that names no SHA-256 to compare its weights with."""
    if card.weights.origin not in CARRIED:
        return f"{card.name}.toml is of weights that come with an installation; leave it out of the bundle"
    return (
        f"{card.name}.toml pins no weights: found no sha256 for {card.weights.file}, wanted that of the file that you "
        f"trust; write sha256 = \"…\" (what 'sha256sum {card.weights.file}' says) under [weights] and import again, or "
        f"fetch it with 'atomsim potentials fetch {card.name} --pin' and export that"
    )


def _copy(source: Path, folder: Path, card: PotentialCard) -> None:
    """Copy weights, whole or not at all, if they are what the card pins."""
    target = folder / card.weights.file
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    digest = hashlib.sha256()
    try:
        with source.open("rb") as original, unfinished.open("wb") as copy:
            while chunk := original.read(1 << 20):
                digest.update(chunk)
                copy.write(chunk)
            copy.flush()
            os.fsync(copy.fileno())
        if digest.hexdigest() != card.weights.sha256:
            raise AtomsimError(
                f"{source.name} is not what the card {card.name!r} pins: found sha256 {digest.hexdigest()[:12]}…, "
                f"wanted {card.weights.sha256[:12]}…; make the bundle again"
            )
        aside = place_aside(target, card.weights.sha256)
        if aside is not None:  # perhaps the only copy of what a user put there, or another card's
            target.replace(aside)
            note_once(f"another {target.name} lay in {folder}; it is kept as {aside}")
        unfinished.replace(target)
    except FileNotFoundError as error:
        raise AtomsimError(f"the bundle lacks {card.weights.file} of {card.name}; make it again") from error
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def _unpacked(source: Path) -> Iterator[Path]:
    if source.is_dir():
        yield source
        return
    if not zipfile.is_zipfile(source):
        raise InputError(f"{source} is no bundle; give a folder or .zip of 'atomsim potentials export'")
    store = writable_store()
    with os_errors_in_one_line(store), tempfile.TemporaryDirectory(dir=store, prefix=".import-") as folder:
        with zipfile.ZipFile(source) as archive:
            for name in archive.namelist():
                if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
                    raise InputError(f"{source} is no bundle: it would write to {name!r}; nothing imported")
            try:
                archive.extractall(folder)
            except zipfile.BadZipFile as error:
                raise AtomsimError(f"{source} is damaged: {error}; copy it again") from error
        yield Path(folder)
