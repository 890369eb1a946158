"""Composite electrodes: capacity and energy of the whole electrode, by mass and by volume.

All-electrochem-active electrodes (Li et al., Adv. Mater. 2021, 33, 2008723): every component stores ions, so that the
electrode's capacity is the mass-weighted one of its components, and additives count as mass without capacity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ase.data import atomic_masses, atomic_numbers

from atomsim.errors import InputError, check_flag, check_number
from atomsim.units import FARADAY_MAH

SUM_TOLERANCE = 1e-3
"""Mass fractions add up to 1 to this."""
CHARGES = {"Li": 1, "Na": 1, "K": 1, "Mg": 2, "Ca": 2, "Zn": 2, "Al": 3}


@dataclass(frozen=True)
class Component:
    """One component of an electrode; an additive has no capacity."""

    name: str
    mass_fraction: float
    """Share of the electrode without its current collector, as it is made."""
    capacity_mAh_per_g: float = 0.0
    voltage_V: float = 0.0
    """Mean voltage against the ion's metal."""
    density_g_cm3: float | None = None
    """Density of the dense material."""
    full: bool = False
    """Goes into the cell with its ions: discharge gives back what charge took, and its mass does not grow."""

    def __post_init__(self) -> None:
        who = self.name or "a component"
        check_number(f"{who}: mass_fraction", self.mass_fraction, "a fraction above 0 and up to 1", above=0.0, high=1.0)
        check_number(f"{who}: capacity_mAh_per_g", self.capacity_mAh_per_g, "a capacity in mAh/g, 0 or more", low=0.0)
        check_number(f"{who}: voltage_V", self.voltage_V, "a voltage from 0 to 10 V", low=0.0, high=10.0)
        if self.density_g_cm3 is not None:
            check_number(f"{who}: density_g_cm3", self.density_g_cm3, "a density in g/cm³ above 0", above=0.0)
        check_flag(f"{who}: full", self.full)
        if self.capacity_mAh_per_g and not self.voltage_V:
            raise InputError(f"{who}: found a capacity without a voltage; give voltage_V, or no capacity")


@dataclass(frozen=True)
class CompositeEnergy:
    """Capacity, energy and thickness of a composite electrode; None where a density or the loading is missing."""

    components: tuple[Component, ...]
    ion: str
    capacity_mAh_per_g: float
    """ESC: of the electrode, by its initial mass, if every component gives all it has."""
    voltage_V: float
    """Mean voltage, weighted by capacity."""
    energy_Wh_per_kg: float
    """EG: by the initial mass; the delivered one where it was given."""
    theoretical_Wh_per_kg: float
    """By the initial mass, if every component gives all it has."""
    mass_gain: float
    """Discharged over initial mass; components that go in with their ions gain none."""
    energy_Wh_per_kg_discharged: float
    """By the discharged mass, ions taken up included."""
    density_g_cm3: float | None
    """Density of the electrode as it is, pores included."""
    filling: float | None
    """Share of the electrode's volume that is no pore."""
    energy_Wh_per_L: float | None
    """By the volume before discharge."""
    thickness_um: float | None
    capacity_mAh_per_cm2: float | None


def composite_energy(
    components: Sequence[Component],
    *,
    ion: str = "Li",
    energy_Wh_per_kg: float | None = None,
    density_g_cm3: float | None = None,
    filling: float | None = None,
    loading_mg_per_cm2: float | None = None,
) -> CompositeEnergy:
    """Return capacity, energy and thickness of an electrode of some components.

    Args:
        components: with mass fractions that add up to 1.
        ion: element that is stored.
        energy_Wh_per_kg: energy that was delivered, by the initial mass; the theoretical one if not given.
        density_g_cm3: of the electrode, pores included.
        filling: share of its volume that is no pore; the density then follows from those of the components.
        loading_mg_per_cm2: mass on an area.

    Raises:
        InputError: if mass fractions do not add up to 1, a filling has no densities, or density and filling disagree.
    """
    if not components:
        raise InputError("found no component, wanted at least one with mass fraction, capacity and voltage")
    total = sum(c.mass_fraction for c in components)
    if abs(total - 1.0) > SUM_TOLERANCE:
        parts = ", ".join(f"{c.name} {c.mass_fraction:g}" for c in components)
        raise InputError(
            f"mass fractions add up to {total:g} ({parts}), wanted 1: give binder, carbon and electrolyte too, as "
            "components without capacity"
        )
    capacity = sum(c.mass_fraction * c.capacity_mAh_per_g for c in components) / total
    if capacity <= 0.0:
        raise InputError("no component has a capacity, so this is no electrode")
    theoretical = sum(c.mass_fraction * c.capacity_mAh_per_g * c.voltage_V for c in components) / total
    if energy_Wh_per_kg is not None:
        check_number("energy_Wh_per_kg", energy_Wh_per_kg, "an energy in Wh/kg above 0", above=0.0)
    energy = theoretical if energy_Wh_per_kg is None else energy_Wh_per_kg
    if energy > theoretical * (1.0 + SUM_TOLERANCE):
        raise InputError(
            f"energy_Wh_per_kg: found {energy:g}, more than the {theoretical:.4g} that the components can deliver; "
            "check it, their capacities and voltages"
        )
    density, filled = _density(components, density_g_cm3, filling)
    taken_up = sum(c.mass_fraction * c.capacity_mAh_per_g for c in components if not c.full) / total
    gain = 1.0 + taken_up / capacity_of_metal(ion)
    thick = area = None
    if loading_mg_per_cm2 is not None:
        check_number("loading_mg_per_cm2", loading_mg_per_cm2, "a loading in mg/cm² above 0", above=0.0)
        area = loading_mg_per_cm2 * capacity / 1000.0
        thick = None if density is None else 10.0 * loading_mg_per_cm2 / density
    return CompositeEnergy(
        tuple(components), ion, capacity, theoretical / capacity, energy, theoretical, gain, energy / gain, density,
        filled, None if density is None else energy * density, thick, area,
    )  # fmt: skip


def capacity_of_metal(ion: str) -> float:
    """Return the capacity of an ion's metal, mAh/g.

    Raises:
        InputError: if the charge of the ion is not known.
    """
    if ion not in CHARGES:
        raise InputError(f"ion: found {ion!r}, wanted one of {', '.join(CHARGES)}")
    return CHARGES[ion] * FARADAY_MAH / float(atomic_masses[atomic_numbers[ion]])


def _density(
    components: Sequence[Component], density: float | None, filling: float | None
) -> tuple[float | None, float | None]:
    """Density of the electrode and its filling, as far as they are known."""
    if density is not None:
        check_number("density_g_cm3", density, "a density in g/cm³ above 0", above=0.0)
    if filling is not None:
        check_number("filling", filling, "a share of the volume, above 0 and up to 1", above=0.0, high=1.0)
    unknown = [c.name for c in components if c.density_g_cm3 is None]
    if unknown:
        if filling is not None and density is None:
            raise InputError(f"filling: no density of {', '.join(unknown)}; give density_g_cm3 of each component")
        return density, filling
    dense = 1.0 / sum(c.mass_fraction / c.density_g_cm3 for c in components if c.density_g_cm3)
    if density is None:
        return (None, None) if filling is None else (filling * dense, filling)
    if density > 1.001 * dense:
        raise InputError(
            f"density_g_cm3: found {density:g}, more than {dense:.4g} of the components without any pore; check them"
        )
    if filling is not None and abs(density - filling * dense) > 0.02 * density:
        raise InputError(
            f"found density_g_cm3={density:g} and filling={filling:g}, but this filling gives {filling * dense:.4g}; "
            "give one of the two"
        )
    return density, density / dense
