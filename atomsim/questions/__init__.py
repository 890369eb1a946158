"""Questions that a campaign answers, and the campaign file written for each: ``atomsim new``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from atomsim.errors import InputError, nearest

if TYPE_CHECKING:
    from atomsim.questions.written import CampaignText


@dataclass(frozen=True)
class Question:
    """A question that a user may ask."""

    name: str
    takes: str
    """Words that follow the name."""
    asks: str


QUESTIONS = (
    Question("delithiate", "my.cif", "Which orderings are stable as the ion leaves my crystal, and at which voltage?"),
    Question("barriers", "my.cif", "How does the ion move in my crystal, and over which barriers?"),
    Question("phonons", "my.cif", "Is my crystal stable, and what are its phonons and its free energy?"),
    Question("oxygen", "my.cif", "Does oxygen in my crystal dimerize, leave vacancies, or leave as O2?"),
    Question("dope", "my.cif --dopant Al", "Where does a dopant sit in my crystal, and what does it do to it?"),
    Question("glass", "FORMULA or FORMULA:SHARE …", "What is the structure of a glass of this composition?"),
    Question("interface", "A B [MORE …]", "Is the contact of two phases stable, and what do they react to?"),
)


@dataclass(frozen=True)
class Asked:
    """Options of a question."""

    ion: str | None = None
    dopant: str | None = None
    site: str | None = None


def question(name: str) -> Question:
    """Return a question by its name.

    Raises:
        InputError: if there is none, naming the nearest.
    """
    names = [q.name for q in QUESTIONS]
    if name not in names:
        raise InputError(f"no question {name!r};{nearest(name, names)} questions are {', '.join(names)}")
    return next(q for q in QUESTIONS if q.name == name)


def answer(name: str, words: Sequence[str], folder: Path, asked: Asked | None = None) -> CampaignText:
    """Return the campaign that answers a question.

    Args:
        name: of the question.
        words: structures or formulas that it is asked of.
        folder: of the campaign file, from which files are named.
        asked: the mobile ion, the dopant and its site.

    Raises:
        InputError: if the question cannot be asked of these, in one line.
    """
    from atomsim.questions import crystals, electrodes, mixtures
    from atomsim.questions.facts import subject

    asked = asked or Asked()
    about = question(name)
    _only_where_used(name, asked)
    if not words:
        raise InputError(f"{name}: found no structure, wanted 'atomsim new {name} {about.takes}'")
    if name == "glass":
        return mixtures.glass(words)
    if name == "interface":
        return mixtures.interface(words, folder)
    if len(words) > 1:
        raise InputError(f"{name}: found {len(words)} structures, wanted one; ask for each, as defaults follow from it")
    crystal = subject(words[0], folder)
    if name == "dope":
        return crystals.dopant(crystal, asked.ion, asked.dopant, asked.site)
    makers = {
        "delithiate": electrodes.delithiation,
        "oxygen": electrodes.oxygen,
        "barriers": crystals.barriers,
        "phonons": crystals.phonons,
    }
    return makers[name](crystal, asked.ion)


def _only_where_used(name: str, asked: Asked) -> None:
    unused = [option for option in ("dopant", "site") if getattr(asked, option) is not None and name != "dope"]
    if asked.ion is not None and name in ("glass", "interface", "phonons"):
        unused.append("ion")
    if unused:
        raise InputError(f"--{unused[0]} says nothing to '{name}'; leave it out")
