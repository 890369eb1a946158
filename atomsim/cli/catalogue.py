"""``atomsim potentials`` and ``atomsim structures``: what the library holds."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from atomsim.cli import compare, show, weights
from atomsim.cli.show import Json

potentials = typer.Typer(help="Potentials: what they are, where they come from, known limits.", no_args_is_help=True)
structures = typer.Typer(help="Prototype structures, with their sources.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", show_default=False)]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    weights.add_to(potentials)
    compare.add_to(potentials)
    app.add_typer(potentials, name="potentials")
    app.add_typer(structures, name="structures")


@potentials.command("list")
def list_potentials(as_json: Json = False) -> None:
    """List potentials and whether their weights are here, as pinned.

    \b
    analytic  a formula, needs none
    verified  here, and what the card pins
    missing   to be fetched: 'atomsim potentials fetch NAME'
    unpinned  here, but nobody said what they should be; not opened
    changed   here, but not what the card pins; not opened

    Of two cards of one name the first is used: folders of ATOMSIM_POTENTIALS in their order, then
    ~/.config/atomsim/potentials, then what is shipped.
    """  # noqa: D301 - click's mark for lines that must not be joined
    from atomsim.registry.cards import survey_cards

    cards, notes = survey_cards()
    show.tell_of_cards(cards, notes)
    rows = [{"name": c.name, "family": c.family, "weights": c.state, "summary": c.summary} for c in cards]
    _print_rows(rows, as_json)


@potentials.command("show")
def show_potential(name: Name, as_json: Json = False) -> None:
    """Show a potential's card: method, licence, citation, limits.

    \b
    Example:
      atomsim potentials show chgnet-0.3.0
    """  # noqa: D301 - click's mark for lines that must not be joined
    from atomsim.registry.cards import load_card

    card = load_card(name)
    show.tell_of_cards([card], [])
    content = card.model_dump(mode="json") | {"weights_state": card.state, "card": str(card.path)}
    _print_facts(content, as_json)


@structures.command("list")
def list_structures(as_json: Json = False) -> None:
    """List prototypes."""
    from atomsim.structures.prototypes import prototype_facts

    _print_rows(prototype_facts(), as_json)


@structures.command("show")
def show_structure(name: Name, as_json: Json = False) -> None:
    """Show a prototype: composition, cell, density, source.

    \b
    Example:
      atomsim structures show Li2RuO3
    """  # noqa: D301 - click's mark for lines that must not be joined
    from atomsim.structures.prototypes import load_prototype

    prototype = load_prototype(name)
    atoms = prototype.atoms
    content = {
        "name": prototype.name,
        "title": prototype.title,
        "formula": prototype.formula,
        "space_group": f"{prototype.space_group.symbol} ({prototype.space_group.number})",
        "n_atoms": len(atoms),
        "cell_A_deg": [round(float(v), 4) for v in atoms.cell.cellpar()],
        "density_g_cm3": prototype.density_g_cm3,
        "positions": prototype.positions,
        "citation": asdict(prototype.citation),
        "notes": prototype.notes,
    }
    _print_facts(content, as_json)


@structures.command("write")
def write_structure(
    name: Name,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Any format that ASE writes, by its suffix.")],
    as_json: Json = False,
) -> None:
    """Write a prototype to a file.

    \b
    Example:
      atomsim structures write Li2RuO3 Li2RuO3.cif
    """  # noqa: D301 - click's mark for lines that must not be joined
    from atomsim.io.write import write_structures
    from atomsim.structures.prototypes import load_prototype

    atoms = load_prototype(name).atoms
    write_structures(file, [atoms])
    if as_json:
        show.print_json({"file": str(file.resolve()), "n_atoms": len(atoms)})
    else:
        sys.stdout.write(f"{file.resolve()}\n")


def _print_rows(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        show.print_json(rows)
    elif rows:
        show.print_table(list(rows[0]), [list(row.values()) for row in rows])


def _print_facts(content: dict[str, Any], as_json: bool) -> None:
    """Print keys and values; lists of sentences one a line, tables within it after it, so that no key is broken."""
    if as_json:
        show.print_json(content)
        return
    inner = {key: value for key, value in content.items() if isinstance(value, dict) and value}
    rows: list[tuple[str, Any]] = []
    for key, value in content.items():
        if key in inner:
            continue
        if isinstance(value, list) and any(" " in str(item) for item in value):
            rows += [(key if n == 0 else "", f"- {item}") for n, item in enumerate(value)]
        elif isinstance(value, list):
            rows.append((key, " ".join(str(item) for item in value)))
        else:
            rows.append((key, "–" if value in (None, "") else str(value)))
    show.print_table(("", ""), rows, whole_keys=True)
    for title, table in inner.items():
        facts = [(key, "–" if value in (None, "") else str(value)) for key, value in table.items()]
        show.print_table(("", ""), facts, title=title, whole_keys=True)
