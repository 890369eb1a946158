"""Potential cards: what a potential is, what it was trained on, and where it must not be trusted.

A card is a TOML file in ``potentials/``. It pins the weights by their SHA-256, so that a
record that names a potential says exactly which numbers it came from.

Weights that are not shipped lie in stores: the user's own folder, and those that
``ATOMSIM_POTENTIALS`` names, which may be read-only. Of two cards of one name the first is used, in
the order of ``ATOMSIM_POTENTIALS``, the user's own folder, what is shipped (``card_folders``); so a
student distilled under a shipped name is the one that is used. A card of fetched weights is no rival of
a shipped one: it adds the SHA-256 that the shipped card leaves open and changes nothing else.

Whatever else lies in a store, such as the recipe beside a student, is passed over.
"""

from __future__ import annotations

from pathlib import Path

from atomsim import catalog
from atomsim.errors import InputError, nearest
from atomsim.registry.card_file import (
    ALL_ELEMENTS,
    PotentialCard,
    card_text,
    own_store,
    parse_toml,
    read_card,
    sha256_of,
    stores,
)
from atomsim.registry.card_parts import Citation, Distilled, Familiar, Weights
from atomsim.registry.plugins import card_folders_of_packages

__all__ = [
    "ALL_ELEMENTS",
    "Citation",
    "Distilled",
    "Familiar",
    "PotentialCard",
    "Weights",
    "card_folders",
    "card_names",
    "card_text",
    "is_card",
    "list_cards",
    "load_card",
    "own_store",
    "read_card",
    "sha256_of",
    "stores",
    "survey_cards",
]


def card_folders() -> list[Path]:
    """Folders of cards; of two cards of one name the first is used."""
    own, *shared = stores()
    return list(dict.fromkeys([*shared, own, catalog.folder("potentials"), *card_folders_of_packages()]))


def card_names() -> list[str]:
    """Names of all cards, shipped or in a store, sorted."""
    return sorted({path.stem for path in _card_files()[0]})


def list_cards() -> list[PotentialCard]:
    """Every sound card, sorted by name."""
    return survey_cards()[0]


def survey_cards() -> tuple[list[PotentialCard], list[str]]:
    """Return every sound card, sorted by name, and one line about each file that is passed over."""
    files, notes = _card_files()
    cards = []
    for name in sorted({path.stem for path in files}):
        try:
            cards.append(load_card(name))
        except InputError as error:
            notes.append(str(error))
    return cards, notes


MODEL_FILES = (".model", ".safetensors", ".pt", ".pth")
"""Suffixes of files of weights."""


def from_folder(potential: str, folder: Path) -> str:
    """Return a potential named in a file of this folder, where the paths of models start; with its ``#head``."""
    file = potential.rpartition("#")[0] if "#" in potential else potential
    is_path = file.endswith(MODEL_FILES) or "/" in file
    return str(folder / Path(potential).expanduser()) if is_path else potential


def load_card(name: str) -> PotentialCard:
    """Read a card by name; what a shipped card leaves unpinned is taken from a store's.

    Raises:
        InputError: if there is no such card, or it is malformed.
    """
    places = [place for folder in card_folders() if (place := folder / f"{name}.toml").is_file() and is_card(place)]
    if not places or name != Path(name).name:
        names = card_names()
        raise InputError(
            f"unknown potential {name!r};{nearest(name, names)} wanted one of {', '.join(names)}, "
            "or a path to a .model file"
        )
    cards = [read_card(place) for place in places]
    shipped = next((card for card in cards if _is_shipped(card)), None)
    card = next(card for card in cards if shipped in (None, card) or card.weights.origin != "url")
    others = tuple(c.path for c in cards if c.path not in (None, card.path) and not _pins(c, card))
    card = card.found_at(card.path, others)
    if card.weights.origin != "url" or card.weights.sha256:
        return card
    order = {folder: n for n, folder in enumerate(stores())}
    ranked = [(order[c.path.parent], c.weights) for c in cards if c.path and c.path.parent in order]
    pins = [(n, w) for n, w in ranked if w.origin == "url" and w.sha256]
    pin = min(pins, key=lambda found: found[0], default=None)
    return card if pin is None else card.pinned(pin[1].sha256, pin[1].size_bytes)


def _is_shipped(card: PotentialCard) -> bool:
    return card.path is not None and card.path.parent == catalog.folder("potentials")


def _pins(other: PotentialCard, card: PotentialCard) -> bool:
    """True if a card is of the same fetched weights: then it only adds their SHA-256."""
    mine, theirs = card.weights, other.weights
    return mine.origin == theirs.origin == "url" and (mine.file, mine.url) == (theirs.file, theirs.url)


def _card_files() -> tuple[list[Path], list[str]]:
    """Files that are meant to be cards, and one line about each that cannot be read."""
    files, notes = [], []
    for folder in card_folders():
        for path in sorted(folder.glob("*.toml")):
            try:
                if is_card(path):
                    files.append(path)
            except InputError as error:
                notes.append(str(error))
    return files, notes


def is_card(path: Path) -> bool:
    """True if a file is meant to be a card, and not a recipe or campaign beside one."""
    return bool({"family", "weights", "name"} & set(parse_toml(path)))
