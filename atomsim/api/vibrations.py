"""``atomsim.phonons``: phonons of relaxed crystals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from atomsim.api.arguments import verb
from atomsim.api.each import Call
from atomsim.api.results import Result, Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from phonopy import Phonopy

    from atomsim.vibrations.quasi_harmonic import QuasiHarmonic
    from atomsim.vibrations.spectrum import Bands, Dos, ImaginaryMode
    from atomsim.vibrations.stability import Lower
    from atomsim.vibrations.thermal import Thermal

PHONON_KEYS = (
    "supercell_min_A",
    "max_atoms",
    "displacement_A",
    "symprec_A",
    "primitive_matrix",
    "fmax_eV_per_A",
    "mesh_A",
    "t_max_K",
    "t_step_K",
    "imaginary_THz",
    "follow",
    "max_steps",
    "volumes",
    "expansion",
)
"""Keywords of ``phonons`` that are keys of its step."""


class Phonons(Result):
    """Phonons of one crystal; ``atoms`` is its primitive cell."""

    columns: ClassVar[tuple[str, ...]] = (
        "lowest_THz", "highest_THz", "zero_point_eV_per_atom", "free_energy_300K_eV_per_atom",
    )  # fmt: skip

    @property
    def stable(self) -> bool:
        """True where no mode is imaginary."""
        return bool(self.record.values.get("stable", False))

    @cached_property
    def bands(self) -> Bands:
        """Frequencies along the lines between special points."""
        from atomsim.vibrations.record import bands_from

        return bands_from(self._values())

    @cached_property
    def dos(self) -> Dos:
        """Density of states, parted by elements."""
        from atomsim.vibrations.record import dos_from

        return dos_from(self._values())

    @cached_property
    def thermal(self) -> Thermal:
        """Free energy, entropy and heat capacity against temperature, per atom."""
        from atomsim.vibrations.record import thermal_from

        return thermal_from(self._values())

    @cached_property
    def quasi_harmonic(self) -> QuasiHarmonic | None:
        """Volume, expansion, bulk modulus, C_P, G against temperature, with ``volumes=7``; None where not known."""
        from atomsim.vibrations.record import quasi_harmonic_from

        return quasi_harmonic_from(self._values())

    @property
    def imaginary(self) -> tuple[ImaginaryMode, ...]:
        """Imaginary modes, the most imaginary first."""
        from atomsim.vibrations.record import imaginary_from

        return imaginary_from(self._values())

    @property
    def lower(self) -> tuple[Lower, ...]:
        """Ends of the relaxations along imaginary modes, with ``follow=True``."""
        from atomsim.vibrations.record import lower_from

        return lower_from(self._values())

    def free_energy(self, temperature_K: float) -> float:
        """Return the vibrational free energy, zero-point energy included, eV per atom."""
        return self.thermal.at(temperature_K)[0]

    def phonopy(self) -> Phonopy:
        """Return phonopy's object with the force constants, for all else that phonopy does."""
        from atomsim.vibrations.record import force_constants_from

        return force_constants_from(self._values(), self.atoms).phonopy

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the bands; imaginary frequencies below zero."""
        from atomsim.api.views import axes

        drawn = axes(ax)
        drawn.plot(self.bands.distance, self.bands.frequency_THz, color="C0", lw=1)
        for at, _ in self.bands.ticks:
            drawn.axvline(at, color="0.7", lw=0.6)
        drawn.set_xticks([at for at, _ in self.bands.ticks], [name for _, name in self.bands.ticks])
        drawn.axhline(0.0, color="0.3", lw=0.8)
        drawn.set_ylabel("frequency, THz")
        return drawn

    def _values(self) -> Mapping[str, Any]:
        from atomsim.errors import InputError

        if not self.ok:
            raise InputError(f"{self.label}: no phonons were computed: {self.message or self.status}")
        return self.record.values

    def _in_words(self) -> str:
        if not self.ok:
            return ""
        return ", stable" if self.stable else f", {self.imaginary[0].name}"


@verb
def phonons(
    structures: Any,
    potential: Any = "chgnet-0.3.0",
    *,
    supercell_min_A: float = 10.0,
    max_atoms: int = 200,
    displacement_A: float = 0.02,
    symprec_A: float = 0.01,
    primitive_matrix: Sequence[Sequence[float]] | None = None,
    fmax_eV_per_A: float = 0.02,
    mesh_A: float = 60.0,
    t_max_K: float = 1000.0,
    t_step_K: float = 10.0,
    imaginary_THz: float = 0.1,
    follow: bool = False,
    max_steps: int = 500,
    volumes: int = 0,
    expansion: float = 0.06,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    device: str = "auto",
    processes: int | None = None,
    run: str | Path | None = None,
    progress: Any = None,
) -> Phonons | Results[Phonons]:
    """Compute phonons of relaxed crystals: bands, density of states, stability, F(T), S and Cv.

    Args:
        structures: crystals relaxed with this potential, one or many, as in ``relax``.
        potential: name, path, ``Potential``, ASE calculator or TorchSim model.
        supercell_min_A: distance wanted between an atom and its image in the supercell.
        max_atoms: largest supercell that may be used for it.
        displacement_A: length of a displacement.
        symprec_A: tolerance in which the crystal is symmetric; it is moved to its exact symmetry.
        primitive_matrix: primitive vectors as rows in units of the given ones; found by symmetry if not given.
        fmax_eV_per_A: a structure with a larger force is refused, as not relaxed.
        mesh_A: density of the mesh of q points, as a length.
        t_max_K: highest temperature.
        t_step_K: step of the temperatures.
        imaginary_THz: imaginary frequencies up to this are noise.
        follow: relax along imaginary modes to the lower structure.
        max_steps: of such a relaxation.
        volumes: volumes of the quasi-harmonic approximation, 6 or more; 0 for none.
        expansion: the largest of them over the relaxed one, less one; the smallest is half as far below.
        settings: all of these at once; keywords take their place.
        seed: of the search for soft modes after such a relaxation.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        processes: on a CPU, how many to use; this one alone if not given.
        run: folder in which results are kept; ``atomsim report`` works on it.
        progress: None (a bar where a person looks), True, False or a ``Progress``.

    Returns:
        One result for one structure, a sequence for many. A structure that is not relaxed is ``invalid``; a saddle is
        computed and has a flag, and ``.imaginary`` names its modes.

    Raises:
        InputError: for a structure that is no crystal, or a primitive cell that is none.
        Interrupted: after Ctrl-C, with ``.results``.

    Examples:
        >>> import atomsim
        >>> from ase.build import bulk
        >>> argon = atomsim.relax(bulk("Ar", a=5.2), "lj-test", fmax_eV_per_A=1e-4, device="cpu")
        >>> found = atomsim.phonons(argon, "lj-test", supercell_min_A=7, device="cpu")
        >>> found.stable, len(found.bands.ticks) > 5
        (True, True)
        >>> bool(found.free_energy(300) < found.free_energy(0))
        True
    """
    keys = {key: value for key, value in locals().items() if key in PHONON_KEYS}
    return Call("phonons", potential, keys, seed, device, processes, run, progress).all(structures, Phonons, Results)
