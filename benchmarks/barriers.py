"""Barriers of hops against ASE: force calls, barriers and saddles reached, and time.

    python -P -m benchmarks.barriers --reference --work barriers

Both sides see the same potential, supercell and relaxed ends. The peer is ASE's NEB (improved tangent,
climbing image) with FIRE from IDPP guesses with 0.03 Å of noise, five images, evaluated one by one, to a largest
projected force of 0.05 eV/Å. A force call is one evaluation of one system; atomsim's count the proof of the saddle
and all that was tried, and the host's Hessian and the ends once per host. With ``--reference`` the peer starts three
times with other noise, and the lowest continues to 0.01 eV/Å: that barrier is the reference. Every saddle,
the peer's too, is put to the same proof. For all hops ASE's calls are those of one hop of each kind times its copies
in the supercell, and of two ends for each, as without symmetry. With ``--calculator`` the peer asks CHGNet's
own ASE calculator, and the time is what is measured.

A line of JSON is appended to ``WORK/rows.jsonl`` as each hop is done; started again, the script continues.
"""

from __future__ import annotations

import argparse
import json
import pickle
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.calculators.singlepoint import SinglePointCalculator
from ase.mep import NEB
from ase.optimize import FIRE

from atomsim.hopping.compute import HostHops
from atomsim.hopping.survey import SurveySettings, survey
from atomsim.mep.find import find_paths
from atomsim.mep.interpolate import idpp, roughened
from atomsim.mep.path import Endpoints, PathSettings, at_positions, path_tangents
from atomsim.mep.proof import prove
from atomsim.mep.segments import resolve
from atomsim.models.ase import PotentialCalculator
from atomsim.models.interface import Potential
from atomsim.models.load import load_potential
from atomsim.optimize.noise import seeded_noise
from atomsim.relaxation import relax
from atomsim.structures.prototypes import load_prototype
from benchmarks.barriers_report import report

IMAGES, NOISE_A, SPRING = 5, 0.03, 0.1
FMAX, REFERENCE_FMAX = 0.05, 0.01
MAX_STEPS = 400
STARTS = 3
NEAR_EV = 0.02
"""Starts this near to the lowest continue to the reference's force too."""


@dataclass(frozen=True)
class Host:
    """Which hops of a prototype."""

    ion: str = "Li"
    hops: int = 4
    max_length_A: float = 3.4
    max_atoms: int = 60
    interstitials: bool = False


HOSTS = {
    "TiS2": Host(hops=4, max_length_A=4.0, interstitials=True),
    "Mo6S8": Host(hops=5, max_length_A=3.0, interstitials=True),
    "Na3RuO4": Host("Na", hops=8),
    "LiCoO2": Host(hops=1),
    "Li2RuO3": Host(hops=5),
    "LRMO": Host(hops=4),
}


@dataclass(frozen=True)
class Found:
    """What one side found for one hop."""

    status: str
    barrier_eV: float
    negative_modes: int | None
    force_calls: int
    cpu_s: float
    saddle_A: list[list[float]]


@dataclass(frozen=True)
class Prepared:
    """What the hops of a host share, and the hops."""

    ends: tuple[Endpoints, ...]
    multiplicities: tuple[int, ...]
    facts: dict[str, Any]


def prepare(name: str, potential: Potential, work: Path) -> Prepared:
    """Relax host and ends, compute the Hessian; kept in a file, so that all sides see the same."""
    kept = work / f"{name}.pickle"
    if kept.exists():
        return pickle.loads(kept.read_bytes())
    how = HOSTS[name]
    settings = SurveySettings(
        max_length_A=how.max_length_A, interstitials=how.interstitials, supercell_min_A=8.0, max_atoms=how.max_atoms
    )
    (host,) = relax([load_prototype(name).primitive], potential, fmax_eV_per_A=0.01)
    hops = HostHops(survey(host.atoms, how.ion, settings), settings)
    view = hops.view
    start = time.process_time()
    hessian = hops.compute_hessian(potential)
    ends, multiplicities = [], []
    for placed in view.placed:
        hops.relax_ends([placed], potential)
        found = hops.endpoints(placed)
        if not isinstance(found, str) and np.linalg.norm(found.displacement, axis=1).max() > 0.6:
            ends.append(found)
            multiplicities.append(placed.hop.multiplicity)
        if len(ends) == how.hops:
            break
    shared = hessian.force_calls + sum(e.force_calls for e in hops.ends.values())
    facts = {
        "atoms": len(ends[0].start),
        "image_distance_A": view.cell.image_distance_A,
        "copies": view.cell.n_atoms // len(view.hops.host),
        "shared_calls": shared,
        "shared_s": time.process_time() - start,
        "ase_end_calls": end_calls(ends[0].start, ends[0].moving[0], potential),
    }
    prepared = Prepared(tuple(ends), tuple(multiplicities), facts)
    kept.write_bytes(pickle.dumps(prepared))
    return prepared


def end_calls(start: Atoms, ion: int, potential: Potential) -> int:
    """Force calls of FIRE for one end, begun 0.1 Å from it around the ion, where relaxed hosts leave it."""
    atoms = at_positions(start, start.positions)
    atoms.set_constraint()
    near = atoms.get_distances(ion, range(len(atoms)), mic=True) < 3.0
    atoms.positions[near] += np.random.default_rng(0).normal(0.0, 0.06, (int(near.sum()), 3))
    atoms.calc = PotentialCalculator(potential)
    optimizer = FIRE(atoms, logfile=None)
    optimizer.run(fmax=0.02, steps=300)
    return optimizer.get_number_of_steps() + 1


def ours(ends: Endpoints, potential: Potential, starts: int) -> dict[str, Any]:
    """One hop with atomsim, from one or several starts."""
    settings = PathSettings(images=IMAGES, fmax_eV_per_A=FMAX, noise_A=NOISE_A, starts=starts)
    start = time.process_time()
    (path,) = find_paths([ends], potential, settings)
    path = resolve(path, ends, potential, settings).path
    negative = path.proof.negative_modes if path.proof else None
    saddle = path.images[path.highest].positions.tolist()
    spent = time.process_time() - start
    return {"found": asdict(Found(path.status, path.barrier, negative, path.force_calls, spent, saddle))}


@dataclass
class Peer:
    """ASE's band for one hop; continues where it was."""

    ends: Endpoints
    seed: int
    calculator: Callable[[], Calculator]

    def __post_init__(self) -> None:
        ends = self.ends
        positions = idpp(ends.start, ends.displacement, IMAGES, self.seed)
        fields = [seeded_noise(ends.start, self.seed, f"benchmark {k}", also=ends.end.positions) for k in (1, 2)]
        positions = roughened(positions, NOISE_A * np.array(fields))
        self.images = [ends.start.copy(), *(at_positions(ends.start, p) for p in positions), ends.end]
        for n, energy in ((0, ends.start_energy), (-1, ends.end_energy)):
            still = np.zeros((len(self.images[n]), 3))
            self.images[n].calc = SinglePointCalculator(self.images[n], energy=energy, forces=still)
        for image in self.images[1:-1]:
            image.calc = self.calculator()
        band = NEB(self.images, k=SPRING, climb=True, method="improvedtangent")
        self.optimizer = FIRE(band, logfile=None)
        self.spent_s = 0.0

    def run(self, fmax: float, steps: int = MAX_STEPS) -> Found:
        """Continue until no projected force is larger than ``fmax``, eV/Å."""
        start = time.process_time()
        converged = self.optimizer.run(fmax=fmax, steps=steps)
        self.spent_s += time.process_time() - start
        energies = self.energies
        calls = (self.optimizer.get_number_of_steps() + 1) * IMAGES
        top = int(energies.argmax())
        status = "converged" if converged else "max_steps"
        saddle = self.images[top].positions.tolist()
        return Found(status, float(energies.max() - energies[0]), None, calls, self.spent_s, saddle)

    @property
    def energies(self) -> np.ndarray:
        """Of all images, eV."""
        return np.array([float(image.get_potential_energy()) for image in self.images])

    def negative_modes(self, potential: Potential) -> int | None:
        """Put the highest image to the proof; None if it is an end."""
        top = int(self.energies.argmax())
        if top in (0, len(self.images) - 1):
            return None
        tangent = path_tangents(self.images, self.energies)[top]
        force = self.images[top].get_forces(apply_constraint=False)
        (proof,) = prove([self.images[top]], [force], [tangent], [self.ends.curvature().numpy()], potential)
        return proof.negative_modes


def peers(ends: Endpoints, potential: Potential, *, reference: bool) -> dict[str, Any]:
    """One hop with ASE, from several noisy guesses; the lowest continues to the reference's force."""
    bands = [Peer(ends, seed, partial(PotentialCalculator, potential)) for seed in range(STARTS if reference else 1)]
    found = [replace(b.run(FMAX), negative_modes=b.negative_modes(potential)) for b in bands]
    row: dict[str, Any] = {"ase": [asdict(f) for f in found]}
    if reference:
        lowest = min(f.barrier_eV for f in found)
        near = [b for b, f in zip(bands, found, strict=True) if f.barrier_eV < lowest + NEAR_EV]
        done = [replace(b.run(REFERENCE_FMAX), negative_modes=b.negative_modes(potential)) for b in near[:2]]
        proven = [f for f in done if f.negative_modes == 1] or done
        row["reference"] = asdict(min(proven, key=lambda f: f.barrier_eV))
    return row


def with_calculator(ends: Endpoints) -> dict[str, Any]:
    """One hop with ASE's defaults and CHGNet's own calculator: what it costs without atomsim."""
    from chgnet.model.dynamics import CHGNetCalculator
    from chgnet.model.model import CHGNet

    model = CHGNet.load(verbose=False, use_device="cpu")
    one = CHGNetCalculator(model=model, use_device="cpu")
    return {"found": asdict(Peer(ends, 0, partial(_of_one, one)).run(FMAX))}


def _of_one(shared: Calculator) -> Calculator:
    """A calculator of its own for each image, on one model."""
    from chgnet.model.dynamics import CHGNetCalculator

    return CHGNetCalculator(model=shared.model, use_device="cpu")


def rows_of(work: Path) -> list[dict[str, Any]]:
    """What is done, one entry a line; a torn last line is left out."""
    file = work / "rows.jsonl"
    found = []
    for line in file.read_text().splitlines() if file.exists() else ():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def missing(
    name: str, sides: Sequence[str], potential: Potential, work: Path, reference: bool, most: int
) -> Iterator[dict[str, Any]]:
    """Compute what is not in the file yet, hop by hop."""
    prepared = prepare(name, potential, work)
    done = {(r["side"], r["host"], r["hop"]) for r in rows_of(work)}
    sides_by_name: dict[str, Callable[[Endpoints], dict[str, Any]]] = {
        "atomsim": lambda ends: ours(ends, potential, 1),
        "atomsim-2": lambda ends: ours(ends, potential, 2),
        "ase": lambda ends: peers(ends, potential, reference=reference),
        "calculator": with_calculator,
    }
    for side in sides:
        for ends, multiplicity in list(zip(prepared.ends, prepared.multiplicities, strict=True))[:most]:
            key = (side, name, str(ends.key))
            if key not in done:
                facts = {"side": side, "host": name, "hop": str(ends.key), "multiplicity": multiplicity}
                yield facts | prepared.facts | sides_by_name[side](ends)


def main() -> None:
    """Run what is missing, then print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--hosts", nargs="+", default=list(HOSTS), choices=list(HOSTS))
    parser.add_argument("--hops", type=int, default=100, help="hops of each host at most")
    parser.add_argument(
        "--sides", nargs="*", default=["atomsim", "ase"], choices=["atomsim", "atomsim-2", "ase", "calculator"]
    )
    parser.add_argument("--potential", default="chgnet-0.3.0")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--reference", action="store_true", help="several noisy starts of ASE, the lowest to 0.01 eV/Å")
    parser.add_argument("--work", type=Path, default=Path("barriers-work"), help="folder of what is done")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.work.mkdir(parents=True, exist_ok=True)
    potential = load_potential(arguments.potential, device=arguments.device) if arguments.sides else None
    for name in arguments.hosts if potential is not None else ():
        for row in missing(name, arguments.sides, potential, arguments.work, arguments.reference, arguments.hops):
            with (arguments.work / "rows.jsonl").open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(row["side"], row["host"], row["hop"], flush=True)
    print(report(rows_of(arguments.work)))


if __name__ == "__main__":
    main()
