"""Systems for checks of potentials: every kind of periodicity, none at a minimum."""

from __future__ import annotations

from ase import Atoms
from ase.build import bulk


def assorted(elements: list[int]) -> list[Atoms]:
    """A rattled crystal, one atom in a cell smaller than a cutoff, a triclinic cell, a cluster, a slab, an atom."""

    def some(n: int) -> list[int]:
        return [elements[k % len(elements)] for k in range(n)]

    crystal = bulk("LiO", "rocksalt", a=4.2, cubic=True)
    crystal.numbers[:] = some(8)
    crystal.rattle(0.08, seed=1)
    tiny = Atoms(some(1), cell=[[0, 2.3, 2.1], [2.2, 0, 2.0], [2.4, 2.1, 0.2]], pbc=True)
    cell = [[3.6, 0.2, 0.1], [-0.7, 4.1, 0.3], [0.4, 0.9, 4.6]]
    triclinic = Atoms(some(3), cell=cell, pbc=True, scaled_positions=[[0.1, 0.1, 0], [0.55, 0.5, 0.1], [0.2, 0.6, 0.6]])
    cluster = Atoms(some(4), positions=[[0, 0, 0], [1.9, 0.2, 0.1], [0.3, 2.1, 0], [1.4, 1.5, 1.7]])
    layer = [[0, 0, 5], [2, 1.9, 5.3], [0.1, 2, 7], [2, 0.1, 7.2]]
    slab = Atoms(some(4), cell=[3.9, 4.0, 15], pbc=[True, True, False], positions=layer)
    return [crystal, tiny, triclinic, cluster, slab, Atoms(some(1))]
