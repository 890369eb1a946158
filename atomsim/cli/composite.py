"""``atomsim composite``: capacity and energy of an electrode of several components."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from atomsim.cli import show
from atomsim.cli.options import speaks_options
from atomsim.cli.show import Json
from atomsim.errors import InputError

KEYS = ("mass_fraction", "capacity_mAh_per_g", "voltage_V", "density_g_cm3")
ROWS = (
    ("capacity_mAh_per_g", "capacity, mAh/g"),
    ("voltage_V", "mean voltage, V"),
    ("energy_Wh_per_kg", "energy by initial mass, Wh/kg"),
    ("energy_Wh_per_kg_discharged", "energy by discharged mass, Wh/kg"),
    ("theoretical_Wh_per_kg", "theoretical energy, Wh/kg"),
    ("energy_Wh_per_L", "energy by volume, Wh/L"),
    ("density_g_cm3", "density, g/cm³"),
    ("filling", "filling"),
    ("thickness_um", "thickness, µm"),
    ("capacity_mAh_per_cm2", "capacity, mAh/cm²"),
)


def add_to(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(speaks_options(composite))


def composite(
    components: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME:FRACTION[:mAh/g:V[:g/cm3]]…",
            help="Components with mass fraction, capacity, voltage, density.",
        ),
    ],
    ion: Annotated[str, typer.Option(help="Element that is stored.")] = "Li",
    energy: Annotated[float | None, typer.Option(help="Energy delivered, Wh/kg; theoretical if not given.")] = None,
    density: Annotated[float | None, typer.Option(help="Of the electrode, pores included, g/cm³.")] = None,
    filling: Annotated[float | None, typer.Option(help="Share of its volume that is no pore.")] = None,
    loading: Annotated[float | None, typer.Option(help="Mass on an area, mg/cm².")] = None,
    as_json: Json = False,
) -> None:
    """Compute capacity, energy by mass and volume, and thickness of a whole electrode.

    Additives such as carbon and binder are components without capacity; mass fractions add up to 1.

    \b
    Examples:
      atomsim composite S8:0.325:1675:2.0 Mo6S8:0.675:128.8:2.0 --energy 905.5 --density 3.068
      atomsim composite LiCoO2:0.8:140:3.9:5.05 LPSC:0.15:::1.64 carbon:0.05:::2.0 --filling 0.9 --loading 20
    """  # noqa: D301 - click's mark for lines that must not be joined
    from atomsim.api.composite import composite as compute

    named = [_component(word) for word in components]
    twice = next((name for n, (name, _) in enumerate(named) if name in dict(named[:n])), None)
    if twice is not None:
        raise InputError(
            f"found {twice} twice, wanted each component once: add its fractions up, or tell them apart by name"
        )
    found = compute(
        dict(named),
        ion=ion,
        energy_Wh_per_kg=energy,
        density_g_cm3=density,
        filling=filling,
        loading_mg_per_cm2=loading,
    )
    if as_json:
        show.print_json(asdict(found))
        return
    rows = [(name, "–" if getattr(found, key) is None else f"{getattr(found, key):.4g}") for key, name in ROWS]
    show.print_table(("what", "value"), rows)


def _component(word: str) -> tuple[str, dict[str, Any]]:
    name, *numbers = word.split(":")
    if not name or not 1 <= len(numbers) <= len(KEYS):
        raise InputError(
            f"found {word!r}, wanted NAME:FRACTION, then mAh/g, V and g/cm³ where known: Mo6S8:0.675:128.8:2.1"
        )
    try:
        return name, {key: float(text) for key, text in zip(KEYS, numbers, strict=False) if text}
    except ValueError as error:
        raise InputError(f"found {word!r}, wanted numbers after the name: Mo6S8:0.675:128.8:2.1") from error
