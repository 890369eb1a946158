"""``atomsim.migration``: hops, paths, proven saddles, percolation and diffusivity of an ion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from atomsim.api.arguments import listed, made, verb
from atomsim.api.execution import Found, How, Plan, Planned, check_processes, execute, plain_errors, run_path
from atomsim.api.hops import HOP_KEYS, Hops, surveyed
from atomsim.api.inputs import Item, one_item
from atomsim.api.migrated import Migration
from atomsim.api.potentials import remember, resolve
from atomsim.errors import InputError

if TYPE_CHECKING:
    from pydantic import BaseModel

HOST_KEYS: dict[str, Any] = {"fmax_eV_per_A": 0.01, "standard_cell": True}
"""Settings of the relaxation of a host, which comes first."""
MIGRATION_KEYS = (
    "ion",
    "max_length_A",
    "interstitials",
    "divacancies",
    "supercell_min_A",
    "max_atoms",
    "images",
    "fmax_eV_per_A",
    "end_fmax_eV_per_A",
    "max_steps",
    "search",
    "guess",
    "noise_A",
    "starts",
    "prefactors",
    "check_with",
    "only",
    "sample",
)
"""Keywords of ``migration`` that are keys of a ``barriers`` step."""


@verb
def migration(
    host: Any,
    ion: str = "Li",
    potential: Any = "chgnet-0.3.0",
    *,
    max_length_A: float = 4.0,
    interstitials: bool = False,
    divacancies: bool = False,
    supercell_min_A: float = 8.0,
    max_atoms: int = 120,
    images: int = 5,
    fmax_eV_per_A: float = 0.05,
    end_fmax_eV_per_A: float = 0.02,
    max_steps: int = 200,
    search: Literal["follow", "band"] = "follow",
    guess: Literal["idpp", "linear"] = "idpp",
    noise_A: float = 0.03,
    starts: int = 1,
    prefactors: bool | Literal["full"] = False,
    check_with: Sequence[str] = (),
    only: Sequence[str] | None = None,
    sample: int | None = None,
    relax_host: bool = True,
    settings: Mapping[str, Any] | BaseModel | None = None,
    seed: int = 0,
    device: str = "auto",
    processes: int | None = None,
    run: str | Path | None = None,
    progress: Any = None,
) -> Migration:
    """Find every hop of an ion, its path, barrier and proven saddle, and how the hops percolate.

    The host is brought into the standard setting of its primitive cell, so every description of one crystal gives the
    same answer. Percolation as in ``structures.network``; diffusivity of a lone carrier from the master equation.

    Args:
        host: crystal with its ions: Atoms, a Structure, a file, a prototype's name, a result, or ``Hops``, which is
            not relaxed again and whose settings are kept.
        ion: element that hops.
        potential: name, path, ``Potential``, ASE calculator or TorchSim model.
        max_length_A: longest hop.
        interstitials: hop between empty sites too.
        divacancies: also hops beside a second vacancy.
        supercell_min_A: distance wanted between an ion and its image.
        max_atoms: largest supercell that may be used for it.
        images: images between the ends of a path.
        fmax_eV_per_A: largest projected force of a band; of a followed saddle 0.4 of it.
        end_fmax_eV_per_A: largest force at the ends.
        max_steps: steps of a band before it is given up.
        search: ``follow`` a mode to the saddle, or a climbing ``band`` all the way.
        guess: first guess of a path, ``idpp`` or ``linear``.
        noise_A: seeded noise on the guess.
        starts: bands per hop with other noise; the lowest is kept.
        prefactors: attempt frequencies (Vineyard): of the ion and its shell, or ``"full"``: of all atoms.
        check_with: names of further potentials to evaluate each path with.
        only: names of the hops to compute; thresholds are then upper bounds.
        sample: number of hops to compute, drawn at random: for a glass, whose hops are all distinct.
        relax_host: relax host and cell first, to 0.01 eV/Å.
        settings: all of these at once; keywords take their place.
        seed: of the noise.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        processes: on a CPU, how many to use; this one alone if not given.
        run: folder in which results are kept; ``atomsim report`` works on it.
        progress: None (a bar where a person looks), True, False or a ``Progress``.

    Returns:
        Hops, barriers (eV), percolation, rates (1/s) and diffusivities (cm²/s).

    Raises:
        InputError: for an absent ion, a host of more than ``max_atoms`` atoms, or constraints.
        Interrupted: after Ctrl-C, with ``.results``.

    Examples:
        >>> import atomsim
        >>> from ase.build import bulk
        >>> small = {"max_length_A": 2.8, "supercell_min_A": 5.0, "max_atoms": 8, "images": 3}
        >>> found = atomsim.migration(bulk("Cu", a=3.1), "Cu", "lj-test", **small, device="cpu")
        >>> found
        <Migration Cu: 3D at 0.242 eV, 1 of 1 hops proven>
        >>> round(found.percolation.threshold_eV[3], 4), f"{found.diffusivity(300).mean:.1e}"
        (0.242, '8.3e-07')
    """
    keys = {key: value for key, value in locals().items() if key in MIGRATION_KEYS}
    keys["check_with"] = _names(check_with)
    if isinstance(host, Hops):
        keys |= {**{key: host.settings[key] for key in HOP_KEYS}, "ion": host.ion}
        item, word, relax_host = host.item, "", False
    else:
        item = one_item(host, "host")
        word = str(host) if isinstance(host, str | Path) else ""
    from atomsim.tasks.barriers_checks import require_further
    from atomsim.tasks.base import Context

    step: Any = made(_settings(), {"structures": ["host"], **keys})
    loaded = remember(resolve(potential, device))
    further = partial(require_further, step, Context("hops"), {int(z) for z in item.atoms.numbers})
    plain_errors("hops", further)
    surveyed(item, {key: keys[key] for key in HOP_KEYS})  # what could only fail after the host was relaxed
    plan = plan_of(item, word, _written(keys, step), relax_host=relax_host, seed=seed)
    how = How(loaded, check_processes(processes), run_path(run), progress)

    def collect(found: Found) -> Migration:
        hosts = found.get("host", [])
        return Migration(item.label, tuple(found.get("hops", ())), hosts[0] if hosts else None, item.atoms)

    return execute(plan, how, collect)


def plan_of(item: Item, word: str, keys: Mapping[str, Any], *, relax_host: bool, seed: int) -> Plan:
    """Return the plan: the host relaxed in its standard setting, then its hops."""
    source = "given"
    if word:
        source = word if item.tags.get("prototype") == word else str(Path(word).resolve())
    given = {} if word else {"given": [item]}
    steps = [Planned("host", "relax", {"structures": source, **HOST_KEYS})] if relax_host else []
    hops = {"structures": "host" if relax_host else source, **keys}
    return Plan(f"barriers-{_plain(item.label)}", (*steps, Planned("hops", "barriers", hops)), given, seed)


def _settings() -> Any:
    from atomsim.tasks.barriers import Settings

    return Settings


def _written(keys: Mapping[str, Any], step: Any) -> dict[str, Any]:
    """Return the keys as a campaign file has them; those that came later only where they are set."""
    return {key: getattr(step, key) for key in keys if getattr(step, key) is not None}


def _names(check_with: Any) -> list[str]:
    names = listed("check_with", check_with, "names of potentials")
    for name in names:
        if not isinstance(name, str):
            raise InputError(
                f"check_with: found {type(name).__name__}, wanted names of potentials here, as each process loads them"
            )
    return names


def _plain(label: str) -> str:
    return "".join(c if c.isascii() and (c.isalnum() or c in "_.-") else "-" for c in label).strip("-.") or "host"
