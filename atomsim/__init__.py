"""Batched atomistic simulation with machine-learned potentials.

The functions of ``__all__`` are the public interface (``docs/python.md``); all else is reached through its module,
without a promise. Everything is imported on first use: torch takes seconds, and ``atomsim --help`` should not.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from atomsim.api.asked import Opinion
    from atomsim.api.cations import CationOrder, Doping, dope, order
    from atomsim.api.coherent import CoherentInterface, coherent_interface
    from atomsim.api.compare import Comparison, compare
    from atomsim.api.composite import composite
    from atomsim.api.diffusion import Diffusivities, diffusion
    from atomsim.api.dynamics import Dynamics, Trajectory
    from atomsim.api.effects import DopantEffects, dopant_effects
    from atomsim.api.electrode import Electrode, electrode
    from atomsim.api.files import prototypes, read, write
    from atomsim.api.glass import Amorphous, Glass, Glasses, amorphize, glass
    from atomsim.api.hops import Hops, hops
    from atomsim.api.interface import Interface, interface
    from atomsim.api.isotherm import Isotherm, isotherm
    from atomsim.api.md import md
    from atomsim.api.migrated import Migration
    from atomsim.api.migration import migration
    from atomsim.api.opinions import Opinions, opinions
    from atomsim.api.orderings import Orderings, delithiate
    from atomsim.api.oxygen import Dimers, DimerSearch, Vacancies, dimerize, vacancies
    from atomsim.api.path_results import MinimumEnergyPath
    from atomsim.api.paths import neb
    from atomsim.api.potentials import calculator, load_potential
    from atomsim.api.progress import Progress
    from atomsim.api.relax import evaluate, iter_evaluate, iter_relax, relax
    from atomsim.api.relaxed import Evaluation, Evaluations, Relaxation, Relaxations
    from atomsim.api.runs import Run, open_run, run_campaign, run_step
    from atomsim.api.vibrations import Phonons, phonons
    from atomsim.errors import AtomsimError, InputError, Interrupted
    from atomsim.relaxation import RelaxSettings

__version__ = "0.2.0"

_HOMES = {
    "api.cations": ("CationOrder", "Doping", "dope", "order"),
    "api.coherent": ("CoherentInterface", "coherent_interface"),
    "api.compare": ("Comparison", "compare"),
    "api.composite": ("composite",),
    "api.diffusion": ("Diffusivities", "diffusion"),
    "api.dynamics": ("Dynamics", "Trajectory"),
    "api.effects": ("DopantEffects", "dopant_effects"),
    "api.electrode": ("Electrode", "electrode"),
    "api.files": ("prototypes", "read", "write"),
    "api.glass": ("Amorphous", "Glass", "Glasses", "amorphize", "glass"),
    "api.hops": ("Hops", "hops"),
    "api.interface": ("Interface", "interface"),
    "api.isotherm": ("Isotherm", "isotherm"),
    "api.md": ("md",),
    "api.migration": ("Migration", "migration"),
    "api.asked": ("Opinion",),
    "api.opinions": ("Opinions", "opinions"),
    "api.orderings": ("Orderings", "delithiate"),
    "api.oxygen": ("DimerSearch", "Dimers", "Vacancies", "dimerize", "vacancies"),
    "api.path_results": ("MinimumEnergyPath",),
    "api.paths": ("neb",),
    "api.potentials": ("calculator", "load_potential"),
    "api.progress": ("Progress",),
    "api.relax": ("evaluate", "iter_evaluate", "iter_relax", "relax"),
    "api.relaxed": ("Evaluation", "Evaluations", "Relaxation", "Relaxations"),
    "api.runs": ("Run", "open_run", "run_campaign", "run_step"),
    "api.vibrations": ("Phonons", "phonons"),
    "errors": ("AtomsimError", "InputError", "Interrupted"),
    "relaxation": ("RelaxSettings",),
}
"""Public names by their modules."""
_MODULES = {name: f"atomsim.{module}" for module, names in _HOMES.items() for name in names}
__all__ = [  # noqa: RUF022 - verbs first, then results
    "evaluate",
    "relax",
    "iter_relax",
    "iter_evaluate",
    "neb",
    "hops",
    "migration",
    "delithiate",
    "electrode",
    "dimerize",
    "vacancies",
    "order",
    "dope",
    "dopant_effects",
    "compare",
    "opinions",
    "md",
    "diffusion",
    "phonons",
    "interface",
    "coherent_interface",
    "isotherm",
    "composite",
    "amorphize",
    "glass",
    "read",
    "write",
    "prototypes",
    "load_potential",
    "calculator",
    "run_campaign",
    "open_run",
    "run_step",
    "Amorphous",
    "AtomsimError",
    "CationOrder",
    "CoherentInterface",
    "Comparison",
    "DimerSearch",
    "Dimers",
    "Diffusivities",
    "DopantEffects",
    "Doping",
    "Dynamics",
    "Electrode",
    "Evaluation",
    "Evaluations",
    "Glass",
    "Glasses",
    "Hops",
    "InputError",
    "Interface",
    "Isotherm",
    "Interrupted",
    "Migration",
    "MinimumEnergyPath",
    "Opinion",
    "Opinions",
    "Orderings",
    "Phonons",
    "Progress",
    "RelaxSettings",
    "Relaxation",
    "Relaxations",
    "Run",
    "Trajectory",
    "Vacancies",
    "__version__",
]


def __getattr__(name: str) -> Any:
    """Import on first use."""
    if name in _MODULES:
        found = getattr(import_module(_MODULES[name]), name)
        globals()[name] = found
        return found
    raise AttributeError(f"module 'atomsim' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
