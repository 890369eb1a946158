"""Formation energies and the lower hull, against hand-made cases and scipy."""

import numpy as np
import pytest
from scipy.spatial import ConvexHull

from atomsim.analysis.hull import formation_hull, lowest_at_each_x
from atomsim.errors import InputError


def test_formation_energy_is_relative_to_the_mixture_of_the_ends():
    hull = formation_hull([0.0, 1.0, 2.0], [-10.0, -14.5, -17.0])
    # Halfway between −10 and −17 lies −13.5.
    assert hull.formation == pytest.approx((0.0, -1.0, 0.0))
    assert hull.vertices == (0, 1, 2)
    assert hull.energy(0.5) == pytest.approx(-12.25)


def test_distance_above_the_hull_counts_from_the_tie_line():
    x, energy = [0.0, 0.5, 1.0, 1.0, 2.0], [0.0, 0.3, -1.0, -0.8, 0.0]
    hull = formation_hull(x, energy)
    assert hull.vertices == (0, 2, 4)
    assert hull.above_hull == pytest.approx((0.0, 0.8, 0.0, 0.2, 0.0))


def test_phases_above_the_mixture_of_the_ends_leave_only_the_ends():
    hull = formation_hull([2.0, 1.0, 0.0], [0.0, 0.1, 0.0])
    assert hull.vertices == (2, 0)
    assert hull.above_hull[1] == pytest.approx(0.1)


def test_collinear_points_are_no_vertices_but_lie_on_the_hull():
    hull = formation_hull([0.0, 1.0, 2.0], [1.0, 2.0, 3.0])
    assert hull.vertices == (0, 2)
    assert hull.above_hull == pytest.approx((0, 0, 0))


def test_vertices_equal_qhulls_lower_facets():
    rng = np.random.default_rng(7)
    points = rng.uniform(size=(60, 2))
    facets = ConvexHull(points)
    lower = {
        int(v) for simplex, eq in zip(facets.simplices, facets.equations, strict=True) if eq[1] < 0 for v in simplex
    }
    assert set(formation_hull(points[:, 0].tolist(), points[:, 1].tolist()).vertices) == lower


def test_a_single_composition_is_its_own_hull():
    hull = formation_hull([1.0, 1.0], [-3.0, -2.9])
    assert hull.vertices == (0,)
    assert hull.above_hull == pytest.approx((0.0, 0.1))


def test_order_of_the_entries_changes_nothing():
    x, energy = [0.0, 0.5, 1.0, 1.5, 2.0], [0.0, -0.2, -0.5, -0.1, 0.0]
    forward, back = formation_hull(x, energy), formation_hull(x[::-1], energy[::-1])
    assert forward.vertex_x == back.vertex_x
    assert forward.above_hull == pytest.approx(back.above_hull[::-1])


def test_lowest_at_each_x_takes_the_first_of_equals():
    assert lowest_at_each_x([1.0, 0.0, 1.0, 1.0 + 1e-9], [2.0, 5.0, 1.0, 1.0]) == [1, 2]


@pytest.mark.parametrize(("x", "energy"), [([], []), ([1.0], [1.0, 2.0]), ([0.0, 1.0], [0.0, float("nan")])])
def test_unusable_numbers_are_refused(x, energy):
    with pytest.raises(InputError):
        formation_hull(x, energy)


def test_no_energy_is_made_up_outside_the_hull():
    with pytest.raises(InputError, match="outside the hull"):
        formation_hull([0.0, 1.0], [0.0, 0.0]).energy(1.2)
