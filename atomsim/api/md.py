"""``atomsim.md``: molecular dynamics of structures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from atomsim.api.arguments import check_temperature, verb
from atomsim.api.dynamics import Dynamics
from atomsim.api.each import Call, changed
from atomsim.api.execution import GIVEN, Found, How, Plan, Planned, check_processes, execute, run_path
from atomsim.api.inputs import checked, items_of
from atomsim.api.results import Results
from atomsim.errors import InputError, Interrupted

STEP = "moved"
MD_KEYS = (
    "ensemble",
    "temperature_K",
    "pressure_GPa",
    "timestep_fs",
    "duration_ps",
    "every_fs",
    "replicas",
    "tau_fs",
    "tau_p_fs",
    "compressibility_per_GPa",
    "teacher",
    "teacher_frames",
)
"""Keywords of ``md`` that are keys of an ``md`` step."""


@verb
def md(
    structures: Any,
    potential: Any = "chgnet-0.3.0",
    *,
    ensemble: Literal["nve", "nvt", "npt", "npt_flexible", "langevin"] = "nvt",
    temperature_K: Any,
    pressure_GPa: float | None = None,
    timestep_fs: float = 2.0,
    duration_ps: float,
    every_fs: float = 50.0,
    replicas: int = 1,
    tau_fs: float = 100.0,
    tau_p_fs: float = 1000.0,
    compressibility_per_GPa: float = 0.01,
    teacher: str | None = None,
    teacher_frames: int = 8,
    seed: int = 0,
    device: str = "auto",
    processes: int | None = None,
    run: str | Path | None = None,
    keep: Literal["last", "frames"] = "last",
    progress: Any = None,
) -> Dynamics | Results[Dynamics]:
    """Run molecular dynamics of each structure at each temperature.

    Args:
        structures: one or many, as in ``relax``.
        potential: name, path, ``Potential``, ASE calculator or TorchSim model.
        ensemble: ``nve``; ``nvt`` (CSVR, Bussi et al. 2007); ``npt`` and ``npt_flexible`` (stochastic cell rescaling,
            Bernetti & Bussi 2020); ``langevin`` (BAOAB).
        temperature_K: one, or several: each structure runs at all of them.
        pressure_GPa: target pressure of ``npt``; 0 if not given.
        timestep_fs: time step.
        duration_ps: length of each trajectory.
        every_fs: time from frame to frame.
        replicas: trajectories of each structure and temperature, with other velocities.
        tau_fs: relaxation time of the bath.
        tau_p_fs: relaxation time of the pressure.
        compressibility_per_GPa: sets how fast the cell follows, not what is sampled.
        teacher: name of another potential, which labels a sample of the frames: errors in ``value("teacher")``, and a
            flag where they are beyond those of the potential's card.
        teacher_frames: frames that it labels, of each trajectory.
        seed: of velocities and noise, which depend on it and on the structure, not on the place in a list.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        processes: on a CPU, how many to use; this one alone if not given.
        run: folder in which frames, states and results are kept; the same call again resumes.
        keep: ``last`` frame without ``run``; ``frames`` are files and need it. With ``run`` all frames are kept.
        progress: None (a bar where a person looks), True, False or a ``Progress``.

    Returns:
        One ``Dynamics`` for one structure at one temperature, else a sequence. ``.trajectory`` reads its frames. An
        unstable trajectory raises nothing: its status is ``exploded`` or ``not_a_number``.

    Raises:
        InputError: for times, temperatures or an ensemble that make no sense, or frames without a folder.
        Interrupted: after Ctrl-C, with ``.results``.

    Examples:
        >>> import atomsim
        >>> from ase.build import bulk
        >>> argon = bulk("Ar", cubic=True, a=5.26)
        >>> found = atomsim.md(argon, "lj-test", temperature_K=40, duration_ps=0.1, every_fs=20, device="cpu")
        >>> found.status, found.value("frames"), abs(found.drift_meV_per_atom_per_ps) < 5
        ('done', 6.0, True)
    """
    given = list(temperature_K) if hasattr(temperature_K, "__iter__") and not isinstance(temperature_K, str) else None
    temperatures = [check_temperature(t) for t in ([temperature_K] if given is None else given)]
    keys = {key: value for key, value in locals().items() if key in MD_KEYS} | {"temperature_K": temperatures}
    if keep not in ("last", "frames"):
        raise InputError(f"found keep={keep!r}, wanted 'last' or 'frames'")
    if keep == "frames" and run is None:
        raise InputError("found keep='frames' without run; frames are files: give run='runs/x'")
    call = Call("md", potential, keys, seed, device, processes, run, progress)
    found, single = _moved(structures, call)
    return found[0] if single and given is None and len(found) == 1 else Results(found)


def _moved(structures: Any, call: Call) -> tuple[list[Dynamics], bool]:
    """Return the results of all structures in their order, and whether one was given."""
    settings, path = call.settings, run_path(call.run)
    how = How(call.loaded, check_processes(call.processes), path, call.progress)
    items, single = items_of(structures)
    items = checked(items, call.loaded.potential, settings)
    step = Planned(STEP, "md", {"structures": GIVEN, **changed(call.keys, settings)})
    sound = [item for item in items if not item.problem]

    def collect(found: Found) -> list[Dynamics]:
        results = []
        for item in items:
            if item.problem:
                results.append(call.result(item, None, Dynamics))
            mine = (r for r in found.get(STEP, ()) if r.tags.get("start") == item.label)
            results += [replace(call.result(item, record, Dynamics), path=path) for record in mine]
        return results

    if not sound:
        return collect({}), single
    try:
        return execute(Plan(STEP, (step,), {GIVEN: sound}, int(call.seed)), how, collect), single
    except Interrupted as error:
        raise Interrupted(Results(error.results)) from None
