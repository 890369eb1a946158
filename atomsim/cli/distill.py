"""``atomsim distill``: a small, fast student of a large potential."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from atomsim.cli import show
from atomsim.cli.show import Device, Json, TrustFile


def add_to(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command("distill")(distill)


def distill(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE.toml", show_default=False)],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="DIR", help="Folder; distilled/NAME if not given.")
    ] = None,
    device: Device = None,
    trust_file: TrustFile = False,
    as_json: Json = False,
) -> None:
    """Teach a small MACE what a large potential knows of some materials.

    Configurations, labels, training, examination and card are kept in the folder; the same command
    continues where it was interrupted.

    \b
    Example:
      atomsim distill workflows/distill-li-ru-s-o.toml
    """  # noqa: D301 - click's mark for lines that must not be joined
    from atomsim.distill.recipe import load_recipe
    from atomsim.distill.run import distill as run
    from atomsim.execution.machine import tune_process

    chosen = load_recipe(recipe)
    tune_process(chosen.train.threads)
    folder = out or Path("distilled") / chosen.header.name
    made = run(chosen, folder, device=device, trust_file=trust_file, say=_say)
    if as_json:
        show.print_json({key: str(v) if isinstance(v, Path) else v for key, v in asdict(made).items()})
        return
    show.print_table(("error", "value"), [(key, f"{value:.4g}") for key, value in made.errors.items()])
    sys.stdout.write(f"{made.card}\n")


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
