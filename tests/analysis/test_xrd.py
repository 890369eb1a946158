"""Powder patterns against published ones."""

import numpy as np
import pytest
from ase.build import bulk, make_supercell
from ase.spacegroup import crystal

from atomsim.analysis.lattice import d_spacing, map_reflection
from atomsim.analysis.xrd import bragg_angle, powder_pattern
from atomsim.errors import InputError


def lithium_cobaltate():
    return crystal(
        ["Li", "Co", "O"],
        [(0, 0, 0.5), (0, 0, 0), (0, 0, 0.2605)],
        spacegroup=166,
        cellpar=[2.8166, 2.8166, 14.052, 90, 90, 120],
    )


def test_003_of_lithium_cobaltate_is_where_every_paper_has_it():
    pattern = powder_pattern(lithium_cobaltate())
    assert pattern.two_theta[0] == pytest.approx(18.94, abs=0.05)
    assert pattern.two_theta[0] == pytest.approx(bragg_angle(14.052 / 3), abs=1e-6)
    assert pattern.intensity[0] == pytest.approx(100)


def test_silicon_lines():
    # Si, a = 5.4310 Å (NIST SRM 640): 111, 220, 311 at 28.44, 47.30, 56.12° for Kα1.
    pattern = powder_pattern(bulk("Si", "diamond", a=5.4310), radiation="CuKa1", two_theta=(20, 60))
    assert pattern.two_theta == pytest.approx([28.44, 47.30, 56.12], abs=0.02)


def test_a_supercell_has_the_pattern_of_its_parent():
    supercell = np.array([[2, 1, 0], [0, 1, 0], [0, 0, 1]])
    parent, child = (powder_pattern(a) for a in (lithium_cobaltate(), make_supercell(lithium_cobaltate(), supercell)))
    assert child.two_theta == pytest.approx(parent.two_theta)
    assert child.intensity == pytest.approx(parent.intensity, rel=1e-6)


def test_the_tracked_reflection_is_a_line_of_the_childs_pattern():
    supercell = np.array([[1, 1, 0], [-1, 1, 0], [0, 0, 2]])
    child = make_supercell(lithium_cobaltate(), supercell)
    child.set_cell(child.cell.array @ np.diag([1.01, 1.0, 1.04]), scale_atoms=True)
    angle = bragg_angle(d_spacing(child.cell.array, map_reflection((0, 0, 3), supercell)))
    assert np.abs(powder_pattern(child).two_theta - angle).min() < 1e-6


def test_a_profile_peaks_at_the_lines():
    pattern = powder_pattern(lithium_cobaltate(), two_theta=(15, 25))
    grid = np.arange(15, 25, 0.01)
    assert grid[np.argmax(pattern.profile(grid))] == pytest.approx(pattern.two_theta[0], abs=0.01)


def test_unknown_radiation_names_the_nearest():
    with pytest.raises(InputError, match="did you mean 'CuKa"):
        bragg_angle(4.0, "CuKalpha")


def test_no_angle_beyond_the_limiting_sphere():
    with pytest.raises(InputError, match="shorter wavelength"):
        bragg_angle(0.5)
