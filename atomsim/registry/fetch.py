"""Fetch a potential's weights once, and know that they are the right ones.

``download`` brings the bytes to an unfinished file; only when that is whole and what the card pins does
it take its place in the store, so a file that lies there is never lost to a failed download. Where nobody
published a SHA-256, that of the first download is recorded in a card of the user's own, if the user agrees.
Nothing is unpickled here.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import quote

from atomsim.errors import AtomsimError, InputError
from atomsim.registry.cards import PotentialCard, Weights, card_text, load_card, own_store, sha256_of, stores
from atomsim.registry.download import OtherFinishedError, Part, Patience, Progress
from atomsim.registry.trust import require_archive, require_private


@dataclass(frozen=True)
class Fetched:
    """Result of ``fetch``."""

    path: Path
    sha256: str
    size_bytes: int
    new: bool
    """False if it was here already."""
    card: Path | None = None
    """Where the SHA-256 was recorded; None if it was known."""
    set_aside: Path | None = None
    """Where another file of that name, which no card pinned, is kept; None if there was none."""


def fetch(
    name: str,
    *,
    mirror: str | None = None,
    pin: bool = False,
    patience: Patience | None = None,
    progress: Progress | None = None,
) -> Fetched:
    """Bring the weights of a card to this machine, or find that they are here.

    Args:
        name: of a card whose weights have an address.
        mirror: folder or address that holds the file by the card's file name; the card's address if not given.
        pin: if nobody published a SHA-256, trust this download and record its hash in a card of the user's own.
        patience: of the download.
        progress: receives the bytes so far.

    Raises:
        InputError: if there is no such card, it has nothing to fetch, or it has no SHA-256 and ``pin`` is false.
        AtomsimError: if the file cannot be had, or is not the one that the card pins; then nothing is kept.
    """
    while True:
        card = load_card(name)
        weights = card.weights
        if weights.origin != "url":
            where = f"in the package {weights.package!r}" if weights.origin == "package" else "with its card"
            raise InputError(f"{name} has nothing to fetch: it comes {where}; use it as it is")
        if card.state == "verified":
            assert card.weights_path is not None
            return Fetched(card.weights_path, weights.sha256, card.weights_path.stat().st_size, new=False)
        source = _source(weights, mirror)
        if not weights.sha256:
            _require_consent(name, source, mirror, pin=pin)
        folder = _folder_to_write(card)
        path = folder / f"{weights.file}.part"
        part = Part(path, weights.sha256, weights.size_bytes, patience or Patience(), progress or _silent)
        with os_errors_in_one_line(folder), contextlib.suppress(OtherFinishedError), part.opened() as file:
            now = load_card(name)
            if now != card or now.state == "verified":  # another process was done between our look and the lock
                continue
            return _brought(card, source, part, file, folder)


def _brought(card: PotentialCard, source: str, part: Part, file: IO[bytes], folder: Path) -> Fetched:
    """Complete an unfinished file, verify it, and only then give it its place."""
    digest = _verified(card.weights, source, part, file)
    target, size = folder / card.weights.file, part.path.stat().st_size
    if card.weights.sha256:
        part.move(target)
        return Fetched(target, digest, size, new=True)
    # consent is to the source: what lay here came from nobody knows where, and may be the only copy
    aside = place_aside(target, digest)
    recorded = record(card.pinned(digest, size), folder)  # before the lock goes with the unfinished file's name
    if aside is not None:
        target.replace(aside)
    part.move(target)
    return Fetched(target, digest, size, new=True, card=recorded, set_aside=aside)


def place_aside(target: Path, digest: str) -> Path | None:
    """Where a file that lies in the place of another one is to be kept; None if there is none, or the same."""
    old = sha256_of(target) if target.is_file() else digest
    return target.with_name(f"{target.name}.unpinned-{old[:8]}") if old != digest else None


def record(card: PotentialCard, folder: Path) -> Path:
    """Write a card into a store, whole or not at all."""
    path = folder / f"{card.name}.toml"
    unfinished = folder / f".{card.name}.toml.{os.getpid()}"
    with unfinished.open("w", encoding="utf-8") as file:
        file.write(card_text(card))
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
    return path


def writable_store() -> Path:
    """The first folder of ``ATOMSIM_POTENTIALS`` that can be written to, or the user's own."""
    own, *shared = stores()
    return next((folder for folder in shared if os.access(folder, os.W_OK | os.X_OK)), own)


def _source(weights: Weights, mirror: str | None) -> str:
    if mirror is None:
        return weights.url
    if "://" not in mirror:
        return str(Path(mirror).expanduser() / weights.file)
    if not mirror.startswith(("https://", "http://")):
        raise InputError(f"cannot use the mirror {mirror!r}: wanted a folder, or an address that begins with https://")
    return f"{mirror.rstrip('/')}/{quote(weights.file)}"


def _require_consent(name: str, source: str, mirror: str | None, *, pin: bool) -> None:
    if not pin:
        command = f"atomsim potentials fetch {name}{f' --mirror {mirror}' if mirror else ''} --pin"
        raise InputError(
            f"{name} has no published SHA-256 to compare with; to trust what {source} sends, and want the same "
            f"from then on, run '{command}'"
        )
    require_private(source)


def _folder_to_write(card: PotentialCard) -> Path:
    """A store that can be written to; where a spoiled copy lies, if that is one, so that it is replaced."""
    here = card.weights_path
    if here is not None and here.parent in stores() and os.access(here.parent, os.W_OK | os.X_OK):
        return here.parent
    # a spoiled copy in a folder that is closed to us must not be found before the good one
    return own_store() if here is not None else writable_store()


def _verified(weights: Weights, source: str, part: Part, file: IO[bytes]) -> str:
    """Complete an unfinished file and return its SHA-256.

    Raises:
        AtomsimError: if it is not what the card pins, or no whole archive where it pins nothing; then it is removed.
    """
    part.complete(source, file)
    found = sha256_of(part.path)
    if weights.sha256 and found != weights.sha256 and part.continued:
        file.truncate(0)  # perhaps the beginning was of another file: once more, from zero
        part.complete(source, file)
        found = sha256_of(part.path)
    if not weights.sha256:
        try:
            require_archive(part.path)
        except AtomsimError:
            part.forget()
            raise
    elif found != weights.sha256:
        part.forget()
        raise AtomsimError(
            f"{source} is not the file that the card pins: found sha256 {found[:12]}…, "
            f"wanted {weights.sha256[:12]}…; nothing kept; try again, or another --mirror"
        )
    return found


def _silent(done: int, total: int | None) -> None:
    """Ignore the progress."""


@contextlib.contextmanager
def os_errors_in_one_line(folder: Path) -> Iterator[None]:
    """Make a folder, and turn the operating system's errors in it into one line.

    Raises:
        AtomsimError: if the folder cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise AtomsimError(
            f"cannot write to {folder}: {error.strerror or error}; set ATOMSIM_POTENTIALS to a folder "
            "with room that you can write to"
        ) from error
