"""Adopt a single file of weights under a card: one that was copied here by hand.

A file whose SHA-256 a card pins needs no consent. Where no card pins it, two things are missing: which card it
is meant to be, and the user's trust; the error names both, and the command that gives them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from atomsim.errors import InputError, nearest, note_once
from atomsim.io.files import replacing
from atomsim.registry.cards import PotentialCard, list_cards, load_card, sha256_of
from atomsim.registry.fetch import os_errors_in_one_line, place_aside, record, writable_store
from atomsim.registry.trust import require_archive


@dataclass(frozen=True)
class Adoption:
    """File of weights and the card that it is to stand behind."""

    source: Path
    sha256: str
    card: PotentialCard
    pinned: bool
    """True if the card pins this very file already."""


def plan_adoption(source: Path, name: str = "", *, pin: bool = False) -> Adoption:
    """Find the card of a file, without opening it as a model.

    Args:
        source: file of weights.
        name: of the card; found from the hash, or else from the file's name, if not given.
        pin: trust the file where no card pins its SHA-256.

    Raises:
        InputError: if no card is known, the card pins another file, or trust is missing; it says what to type.
        AtomsimError: if it is no whole file of ``torch.save``.
    """
    digest = sha256_of(source)
    known = [card for card in list_cards() if card.weights.sha256 == digest]
    if name and not any(card.name == name for card in known):
        return _under(load_card(name), source, digest, pin=pin)
    if known:
        wanted = next((card for card in known if card.name == name), known[0])
        return Adoption(source, digest, wanted, pinned=True)
    named = [c for c in list_cards() if c.weights.origin == "url" and c.weights.file == source.name]
    if not named:
        raise InputError(_no_card(source, digest))
    return _under(named[0], source, digest, pin=pin)


def adopt(plan: Adoption) -> Path:
    """Copy a file into the store under its card's file name, and record its SHA-256.

    Returns:
        Where the weights are now.

    Raises:
        AtomsimError: if the store cannot be written to.
        InputError: if the file has changed since it was judged.
    """
    card = plan.card
    if card.state == "verified" and card.weights_path is not None:
        return card.weights_path
    store = writable_store()
    target = store / card.weights.file
    with os_errors_in_one_line(store):
        size = plan.source.stat().st_size
        with replacing(target) as unfinished:
            unfinished.write_bytes(plan.source.read_bytes())
            if sha256_of(unfinished) != plan.sha256:
                raise InputError(f"{plan.source} changed while it was read; import it again")
            aside = place_aside(target, plan.sha256)
            if aside is not None:
                target.replace(aside)
                note_once(f"another {target.name} lay in {store}; it is kept as {aside}")
        record(card.pinned(plan.sha256, size), store)
    return target


def _under(card: PotentialCard, source: Path, digest: str, *, pin: bool) -> Adoption:
    weights = card.weights
    if weights.origin != "url":
        raise InputError(
            f"{card.name} comes with an installation, and pins its own weights: {source.name} cannot take its "
            "place; give the file by path, or write a card of another name"
        )
    if weights.sha256:
        raise InputError(
            f"{source.name} is not the file that {card.name} pins: found sha256 {digest[:12]}…, wanted "
            f"{weights.sha256[:12]}…; nothing imported; give the file by path to use it as it is"
        )
    others = [c for c in list_cards() if c.weights.sha256 == digest and c.weights.file != weights.file]
    if others:
        raise InputError(
            f"{source.name} is the file that {others[0].name} pins, wanted that of {card.name}; nothing imported; "
            f"use it as {others[0].name}"
        )
    require_archive(source)
    if not pin:
        raise InputError(
            f"{source.name} is not imported: no card pins its sha256 ({digest}), and a .model file can run any code; "
            f"if you trust it and it is {card.name}, 'atomsim potentials import {source} --as {card.name} --pin'"
        )
    return Adoption(source, digest, card, pinned=False)


def _no_card(source: Path, digest: str) -> str:
    open_cards = [c.name for c in list_cards() if c.weights.origin == "url" and not c.weights.sha256]
    return (
        f"no card pins {source.name} (sha256 {digest[:12]}…), and none names a file of that name; say which it is: "
        f"'atomsim potentials import {source} --as NAME --pin', NAME one of {', '.join(open_cards) or 'none is open'};"
        f"{nearest(source.stem.replace('_', '-'), open_cards)} or use it by path, with --trust-file"
    )
