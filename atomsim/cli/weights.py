"""``atomsim potentials fetch``, ``export`` and ``import``: weights that come from elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from atomsim.cli import show
from atomsim.cli.show import Json
from atomsim.errors import InputError

if TYPE_CHECKING:
    from atomsim.registry.adopt import Adoption
    from atomsim.registry.download import Progress

MODEL_SUFFIXES = (".model", ".pt", ".pth")
"""Suffixes of single files that are imported under a card's name."""

Pin = Annotated[
    bool,
    typer.Option("--pin", help="Trust what comes where no SHA-256 is known yet, and record its SHA-256."),
]


def add_to(potentials: typer.Typer) -> None:
    """Add the commands of this module."""
    potentials.command("fetch")(fetch)
    potentials.command("export")(export)
    potentials.command("import")(import_)


def fetch(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", show_default=False)],
    pin: Pin = False,
    mirror: Annotated[
        str | None, typer.Option("--mirror", metavar="DIR|URL", help="Where the file lies, by the card's file name.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Download weights, once; size and SHA-256 are checked before anything is opened.

    An interrupted download resumes where it stopped. Files go to the first folder of
    ATOMSIM_POTENTIALS that can be written to, or to ~/.config/atomsim/potentials.

    \b
    Examples:
      atomsim potentials fetch mace-mpa-0-medium --pin
      atomsim potentials fetch mace-mpa-0-medium --mirror /shared/weights
    """  # noqa: D301 - click's mark for lines that must not be joined
    from dataclasses import asdict

    from atomsim.registry.cards import load_card
    from atomsim.registry.fetch import fetch as bring

    results = []
    for name in names:
        sys.stderr.write(f"{name}: licence {load_card(name).licence}\n")
        with _progress(name) as progress:
            found = bring(name, mirror=mirror, pin=pin, progress=progress)
        results.append({"name": name} | {key: _plain(value) for key, value in asdict(found).items()})
        if not as_json:
            recorded = f"; recorded in {found.card}" if found.card else ""
            sys.stdout.write(f"{found.path} ({found.size_bytes:,} bytes, sha256 {found.sha256}{recorded})\n")
        if found.set_aside:
            sys.stderr.write(f"note: another {found.path.name} lay there; it is kept as {found.set_aside}\n")
    if as_json:
        show.print_json(results)


def export(
    target: Annotated[Path, typer.Argument(metavar="DIR|ARCHIVE.zip", show_default=False)],
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", show_default=False)] = None,
    as_json: Json = False,
) -> None:
    """Write cards and weights for machines without internet; all that were fetched if none is named.

    The folder can be imported, named in ATOMSIM_POTENTIALS, or given as --mirror.

    \b
    Example:
      atomsim potentials export potentials.zip mace-mpa-0-medium
    """  # noqa: D301 - click's mark for lines that must not be joined
    from atomsim.registry.bundle import export_bundle

    _say({"exported": export_bundle(target, names or ()), "to": str(target.resolve())}, as_json)


def import_(
    source: Annotated[Path, typer.Argument(metavar="DIR|ARCHIVE.zip|FILE", show_default=False)],
    pin: Pin = False,
    under: Annotated[
        str, typer.Option("--as", metavar="NAME", help="Card that a file of weights stands behind.", show_default=False)
    ] = "",
    as_json: Json = False,
) -> None:
    """Take cards and weights from what 'potentials export' wrote, or one file of weights under its card's name.

    \b
    Examples:
      atomsim potentials import potentials.zip --pin
      atomsim potentials import mace_mp_small.model --as mace-mp-0-small --pin
    """  # noqa: D301 - click's mark for lines that must not be joined
    from atomsim.registry.bundle import import_bundle
    from atomsim.registry.fetch import writable_store

    if source.is_file() and source.suffix in MODEL_SUFFIXES:
        _import_file(source, under, pin, as_json)
        return
    if under:
        raise InputError(f"found --as {under} for {source}, whose cards have names; leave it out, or give one file")
    _say({"imported": import_bundle(source, pin=pin), "to": str(writable_store())}, as_json)


def _import_file(source: Path, name: str, pin: bool, as_json: bool) -> None:
    from atomsim.registry.adopt import adopt, plan_adoption

    plan = plan_adoption(source, name, pin=pin)
    if not plan.pinned:
        _require_fitting(plan)
    where = adopt(plan)
    _say({"imported": [plan.card.name], "to": str(where)}, as_json)


def _require_fitting(plan: Adoption) -> None:
    """Open a file that the user trusts, and refuse it where elements or cutoff are not those of its card.

    Raises:
        InputError: naming the first difference.
    """
    from ase.data import chemical_symbols

    from atomsim.models.load import load_potential

    card = plan.card
    found = load_potential(plan.source, device="cpu", trust_file=True, head=card.head or None)
    lacking = sorted(card.numbers - found.elements)
    if lacking:
        symbols = ", ".join(chemical_symbols[z] for z in lacking[:5])
        raise InputError(
            f"{plan.source.name} is not {card.name}: it lacks {symbols}{' …' if len(lacking) > 5 else ''}, which "
            "the card names; give the card that it is of by --as, or write one"
        )
    if abs(found.cutoff - card.cutoff_A) > 1e-6:
        raise InputError(
            f"{plan.source.name} is not {card.name}: found a cutoff of {found.cutoff:g} Å, wanted {card.cutoff_A:g} Å; "
            "give the card that it is of by --as, or write one"
        )


def _say(content: dict[str, list[str] | str], as_json: bool) -> None:
    if as_json:
        show.print_json(content)
        return
    done, names = next(iter(content.items()))
    sys.stdout.write(f"{done} {', '.join(names)} to {content['to']}\n")


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Path) else value


@contextmanager
def _progress(name: str) -> Iterator[Progress]:
    """A bar on a terminal, and silence elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    console = Console(stderr=True)
    columns = (TextColumn(name), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(name, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
