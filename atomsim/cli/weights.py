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

if TYPE_CHECKING:
    from atomsim.registry.download import Progress

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
    source: Annotated[Path, typer.Argument(metavar="DIR|ARCHIVE.zip", show_default=False)],
    pin: Pin = False,
    as_json: Json = False,
) -> None:
    """Take cards and weights from what 'potentials export' wrote.

    \b
    Example:
      atomsim potentials import potentials.zip --pin
    """  # noqa: D301 - click's mark for lines that must not be joined
    from atomsim.registry.bundle import import_bundle
    from atomsim.registry.fetch import writable_store

    _say({"imported": import_bundle(source, pin=pin), "to": str(writable_store())}, as_json)


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
