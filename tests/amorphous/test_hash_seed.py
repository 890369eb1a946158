"""A verdict does not depend on the order in which Python keeps a set of words, which each process draws anew."""

from __future__ import annotations

import os
import subprocess
import sys

PROGRAM = """
import numpy as np
from ase import Atoms
from atomsim.amorphous.composition import composition
from atomsim.amorphous.integrity import mixing
what = composition({"Li2RuO3": 0.5, "Li2SO4": 0.5}, 52)  # as many Ru as S
places = np.random.default_rng(1).uniform(0, 9, (52, 3))
print([m.species for m in mixing(Atoms(what.symbols, places, cell=[9, 9, 9], pbc=True), what)])
"""


def test_of_two_cations_as_many_the_same_is_judged_in_every_process() -> None:
    command = [sys.executable, "-c", PROGRAM]
    started = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONHASHSEED": seed})
        for seed in ("1", "2", "4")
    ]
    assert {process.communicate()[0] for process in started} == {"['S']\n"}
