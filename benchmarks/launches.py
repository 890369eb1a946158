"""What a step asks of a device: operations dispatched and waits of the host, counted on a pretended card.

No GPU is needed and none is used: see ``tests/helpers/pretended_card.py``.

    python -m benchmarks.launches
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from ase.build import bulk

from atomsim.models.load import load_potential
from atomsim.relaxation import RelaxSettings

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from helpers.counting import OnCard, count_steps
from helpers.pretended_card import device, pretended_card


def main() -> None:
    """Print a table: methods by numbers of systems."""
    potential = load_potential("chgnet-0.3.0", device="cpu")
    print("CHGNet on a pretended card; medians over steps, means in brackets")
    print(f"{'method':8} {'systems':>7} {'evaluation':>16} {'kernels':>8} {'optimizer':>14} {'waits a step':>14}")
    with pretended_card() as counts:
        for method in ("fire", "newton", "lbfgs"):
            for number in (2, 6):
                systems = []
                for seed in range(number):
                    atoms = bulk("NaCl", "rocksalt", 5.5, cubic=True)
                    atoms.rattle(0.1, seed=seed)
                    systems.append(atoms)
                settings = RelaxSettings(method=method, max_steps=15, fmax_eV_per_A=0.03, check_minimum=False)
                model = OnCard(replace(potential, device=device()), counts)  # type: ignore[type-var]
                found = count_steps(systems, model, settings, counts)
                per_evaluation = f"{found.evaluation:.0f} ({found.evaluation_mean:.0f})"
                optimizer = f"{found.optimizer:.0f} ({found.optimizer_mean:.0f})"
                waits = f"{found.waits_of_most:.1f} ({found.waits_of_all:.1f})"
                kernels = f"{found.evaluation_kernels:.0f}"
                print(f"{method:8} {number:7d} {per_evaluation:>16} {kernels:>8} {optimizer:>14} {waits:>14}")


if __name__ == "__main__":
    main()
