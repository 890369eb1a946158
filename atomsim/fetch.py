"""Fetch a potential's weights once, and know that they are the right ones.

pooch keeps the store: it compares the SHA-256 and only then moves a file to its place. ``download``
brings the bytes. Where nobody published a SHA-256, that of the first download is recorded in a card
of the user's own, if the user agrees. Nothing is unpickled here.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from atomsim.cards import PotentialCard, Weights, card_text, load_card, own_store, sha256_of, stores
from atomsim.download import Part, Patience, Progress, require_private
from atomsim.errors import AtomsimError, InputError


@dataclass(frozen=True)
class Fetched:
    """What ``fetch`` found or brought."""

    path: Path
    sha256: str
    size_bytes: int
    new: bool
    """False if it was here already."""
    card: Path | None = None
    """Where the SHA-256 was recorded; None if it was known."""


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
        progress: told how far the download is.

    Raises:
        InputError: if there is no such card, it has nothing to fetch, or it has no SHA-256 and ``pin`` is false.
        AtomsimError: if the file cannot be had, or is not the one that the card pins; then nothing is kept.
    """
    card = load_card(name)
    weights = card.weights
    if weights.origin != "url":
        where = f"in the package {weights.package!r}" if weights.origin == "package" else "with atomsim itself"
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
    with os_errors_in_one_line(folder), _quiet_pooch():
        if not weights.sha256:  # what lies there came from nobody knows where: consent is to the source only
            (folder / weights.file).unlink(missing_ok=True)
        path = _through_pooch(folder, weights, source, part)
        digest, size = sha256_of(path), path.stat().st_size
        recorded = None if weights.sha256 else record(card.pinned(digest, size), folder)
    return Fetched(path, digest, size, new=True, card=recorded)


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


def _through_pooch(folder: Path, weights: Weights, source: str, part: Part) -> Path:
    import pooch

    known = f"sha256:{weights.sha256}" if weights.sha256 else None
    store = pooch.create(path=folder, base_url="", registry={weights.file: known}, urls={weights.file: source})
    while True:
        try:
            return Path(store.fetch(weights.file, downloader=part))
        except ValueError as error:  # pooch's word for another hash
            if part.continued:  # perhaps the beginning was of another file: once more, from zero
                continue
            raise AtomsimError(
                f"{source} is not the file that the card pins: found sha256 {part.sha256[:12]}…, "
                f"wanted {weights.sha256[:12]}…; nothing kept; try again, or another --mirror"
            ) from error


def _silent(done: int, total: int | None) -> None:
    """Tell nobody."""


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


@contextlib.contextmanager
def _quiet_pooch() -> Iterator[None]:
    import pooch

    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
