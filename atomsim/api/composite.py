"""``atomsim.composite``: capacity and energy of a whole electrode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from atomsim.api.arguments import plain, verb
from atomsim.errors import InputError, nearest

if TYPE_CHECKING:
    from atomsim.analysis.composite import Component, CompositeEnergy


@verb
def composite(
    components: Mapping[str, Any] | Sequence[Any],
    *,
    ion: str = "Li",
    energy_Wh_per_kg: float | None = None,
    density_g_cm3: float | None = None,
    filling: float | None = None,
    loading_mg_per_cm2: float | None = None,
) -> CompositeEnergy:
    """Compute capacity, energy by mass and volume, and thickness of an electrode of several components.

    The model of Li et al., Adv. Mater. 2021, 33, 2008723: everything in the electrode counts as mass.

    Args:
        components: by name, each a mapping with ``mass_fraction`` and, unless it is an additive, ``capacity_mAh_per_g``
            and ``voltage_V``, or in their place ``electrode``, as ``atomsim.electrode`` returns it; ``density_g_cm3``;
            ``full`` where it goes into the cell with its ions, as an ``electrode`` does.
        ion: element that is stored.
        energy_Wh_per_kg: energy that was delivered; the theoretical one if not given.
        density_g_cm3: of the electrode, pores included.
        filling: share of its volume that is no pore, in place of its density.
        loading_mg_per_cm2: mass on an area.

    Returns:
        Capacity (mAh/g), energy by the initial and by the discharged mass (Wh/kg), by volume (Wh/L), thickness (µm).

    Raises:
        InputError: if mass fractions do not add up to 1, or density and filling disagree.

    Examples:
        >>> import atomsim
        >>> sulfur = {"mass_fraction": 0.325, "capacity_mAh_per_g": 1675, "voltage_V": 2.0}
        >>> chevrel = {"mass_fraction": 0.675, "capacity_mAh_per_g": 128.8, "voltage_V": 2.0}
        >>> found = atomsim.composite({"S8": sulfur, "Mo6S8": chevrel}, energy_Wh_per_kg=905.5, density_g_cm3=3.068)
        >>> round(found.capacity_mAh_per_g), round(found.energy_Wh_per_kg_discharged), round(found.energy_Wh_per_L)
        (631, 778, 2778)
    """
    from atomsim.analysis.composite import Component, composite_energy

    if isinstance(components, Mapping):
        made = [_component(str(name), content) for name, content in components.items()]
    elif isinstance(components, Sequence) and not isinstance(components, str):
        made = [c if isinstance(c, Component) else _component("", c) for c in components]
    else:
        raise InputError(f"components: found {type(components).__name__}, wanted them by name: {{'S8': {{…}}}}")
    return composite_energy(
        made,
        ion=ion,
        energy_Wh_per_kg=plain(energy_Wh_per_kg),
        density_g_cm3=plain(density_g_cm3),
        filling=plain(filling),
        loading_mg_per_cm2=plain(loading_mg_per_cm2),
    )


def _component(name: str, content: Any) -> Component:
    from atomsim.analysis.composite import Component

    known = [f.name for f in fields(Component)]
    if not isinstance(content, Mapping):
        raise InputError(
            f"{name or 'a component'}: found {type(content).__name__}, wanted a mapping of {', '.join(known)}"
        )
    values = {key: plain(value) for key, value in content.items() if key != "electrode"}
    for key in values:
        if key not in known:
            raise InputError(f"{name}: unknown key {key!r};{nearest(key, known)} wanted {', '.join(known)}, electrode")
    if "electrode" in content:
        values = {**_of_electrode(name, content["electrode"]), **values}
    if "mass_fraction" not in values:
        raise InputError(f"{name or 'a component'}: mass_fraction is not given; it must be")
    return Component(**{"name": name, **values})


def _of_electrode(name: str, electrode: Any) -> dict[str, float]:
    """Capacity and mean voltage that ``atomsim.electrode`` found, by the mass of the host with all its ions."""
    from atomsim.api.electrode import Electrode

    if not isinstance(electrode, Electrode) or not electrode.ok or not electrode.voltages:
        raise InputError(
            f"{name}: electrode: found {electrode!r}, wanted one with voltages, as atomsim.electrode returns"
        )
    found = {"capacity_mAh_per_g": electrode.capacity_mAh_per_g, "voltage_V": electrode.average_voltage_V}
    return {**found, "full": True}
