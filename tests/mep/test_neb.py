"""One path between two given structures: segments, ends that are no minima, and their flags."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.constraints import FixAtoms
from ase.io import read, write
from chain_potential import Chain
from typer.testing import CliRunner

import atomsim
from atomsim.batch import Batch
from atomsim.cli import app
from atomsim.errors import InputError
from atomsim.models.pair import LennardJones


@pytest.fixture(autouse=True)
def _found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def at(x: float) -> Atoms:
    return Atoms("H", positions=[[x, 0.0, 0.0]])


CHAINS = [
    ((0.1, 0.3, 0.2), (0, 0.05, 0.02, 0)),
    ((0.3, 0.1, 0.2), (0, 0.3, -0.05, 0.05)),
    ((0.1, 0.2, 0.3, 0.2), (0, 0, 0.2, 0.1, 0)),
    ((0.3, 0.3), (0, -0.25, 0)),
]


@pytest.mark.parametrize(("humps", "wells"), CHAINS)
@pytest.mark.parametrize("images", [3, 6])
def test_every_hop_of_a_path_over_several_humps_has_its_own_barrier(humps, wells, images):
    chain = Chain(humps, wells)
    path = atomsim.neb(at(0), at(len(humps)), chain, images=images, fmax_eV_per_A=0.02)
    bottoms, tops = chain.scanned()
    assert path.status == "converged"
    assert [s.barrier_eV for s in path.segments] == pytest.approx(tops - bottoms[:-1], abs=0.005)
    assert [s.reverse_barrier_eV for s in path.segments] == pytest.approx(tops - bottoms[1:], abs=0.005)
    assert [s.negative_modes for s in path.segments] == [1] * len(humps)
    assert path.barrier_eV == pytest.approx(tops.max() - bottoms[0], abs=0.005)
    assert any("intermediate minimum" in flag for flag in path.flags)
    assert any(f"{len(humps)} hops" in flag for flag in path.flags)
    deeper = bottoms[1:-1].min() < min(bottoms[0], bottoms[-1]) - 0.01
    assert any("below both ends" in flag for flag in path.flags) == deeper
    assert path.evaluations == chain.calls


def test_forces_at_ends_and_at_minima_between_them_are_those_of_the_potential():
    chain = Chain((0.1, 0.3), (0, 0.1, 0))
    path = atomsim.neb(at(0), at(2), chain, images=3)
    evaluation = chain(Batch.pack(list(path.images)))
    for n, image in enumerate(path.images):
        assert image.get_potential_energy() == pytest.approx(float(evaluation.energy[n]), abs=1e-9)
        np.testing.assert_allclose(image.get_forces()[0], evaluation.forces[n], atol=1e-9)


def vacancy(displaced_A: float = 0.0, seed: int = 0) -> tuple[Atoms, Atoms, LennardJones]:
    """Two ends of an argon vacancy's hop, each with displaced atoms."""
    crystal = bulk("Ar", "fcc", a=5.26, cubic=True).repeat(2)
    start, end = crystal[1:], crystal[1:]
    end.positions[0] = crystal.positions[0]
    rng = np.random.default_rng(seed)
    for atoms in (start, end):
        atoms.positions += rng.normal(0, displaced_A, atoms.positions.shape)
    return start, end, LennardJones(onset_A=4.5, cutoff_A=5.2)


def test_ends_that_were_not_relaxed_are_no_minima_and_are_not_taken_for_some():
    start, end, argon = vacancy(0.1)
    path = atomsim.neb(start, end, argon, relax_ends=False, images=3, fmax_eV_per_A=0.01, max_steps=20)
    assert not path.ok
    assert "no minimum: force" in path.message
    assert "no minimum: force" in " ".join(path.flags)
    evaluation = argon(Batch.pack([start, end]))
    for n, image in ((0, path.images[0]), (1, path.images[-1])):
        np.testing.assert_allclose(image.get_forces(), evaluation.forces.reshape(2, -1, 3)[n], atol=1e-9)
        assert path.end_fmax_eV_per_A[n] == pytest.approx(float(np.linalg.norm(image.get_forces(), axis=1).max()))


def test_forces_on_ends_that_are_not_relaxed_are_told_before_a_search_that_could_find_nothing(caplog):
    start, end, argon = vacancy(0.2)
    path = atomsim.neb(start, end, argon, relax_ends=False, images=5, fmax_eV_per_A=0.01)
    assert path.status == "unproven"
    assert path.barrier_eV is None
    assert path.evaluations <= 2  # nothing but the ends
    (line,) = [r.getMessage() for r in caplog.records]
    for n, name in enumerate(("start", "end")):
        assert f"{path.end_fmax_eV_per_A[n]:.3g} eV/Å at the {name}" in line
        assert f"the {name} is no minimum: force {path.end_fmax_eV_per_A[n]:.3g}" in " ".join(path.flags)
    assert "relax the ends" in path.message


def test_ends_that_are_minima_need_not_be_relaxed():
    chain = Chain((0.2,), (0, 0))
    whole = atomsim.neb(at(0), at(1), chain)
    again = atomsim.neb(whole.images[0], whole.images[-1], chain, relax_ends=False)
    assert again.status == "converged"
    assert again.barrier_eV == pytest.approx(whole.barrier_eV, abs=1e-3)


def test_an_end_on_a_saddle_is_said_to_be_on_one():
    chain = Chain((0.2, 0.2), (0, 0, 0))
    start, end = (at(x) + Atoms("O", positions=[[-5, 0, 0]]) for x in (0, 1.5))
    for atoms in (start, end):
        atoms.set_constraint(FixAtoms([1]))  # a lone atom would be free to move as a whole
    path = atomsim.neb(start, end, chain, relax_ends=False, fmax_eV_per_A=0.1)
    assert not path.ok
    assert "the end is on a saddle" in path.message
    # relaxed, it leaves the saddle, and how far it went is said
    path = atomsim.neb(start, end, chain)
    assert path.end_moved_A[1] == pytest.approx(0.5, abs=0.05)


def test_a_path_without_a_saddle_is_no_answer():
    path = atomsim.neb(at(0), at(2.5), Chain((), (), shelf=True))
    assert path.status == "unproven"
    assert "no saddle between the ends" in path.message
    assert path.barrier_eV is None
    assert path.reverse_barrier_eV is None
    assert path.reaction_energy_eV == pytest.approx(0.4, abs=0.02)


def test_ends_that_relax_to_one_minimum_have_no_barrier():
    path = atomsim.neb(at(0), at(0.3), Chain((0.2,), (0, 0)))
    assert path.status == "drifted"
    assert "one minimum" in path.message
    assert path.barrier_eV is None


def test_atoms_that_would_pass_through_each_other_give_no_number():
    """Exchanged atoms of a close-packed crystal, taken in the order given."""
    start, end, argon = vacancy()
    end.positions[[5, 6]] = end.positions[[6, 5]]
    path = atomsim.neb(start, end, argon, order="given", images=3, max_steps=3)
    assert not path.ok
    assert path.barrier_eV is None or path.upper_bound


def test_an_unproven_barrier_is_an_upper_bound():
    path = atomsim.neb(at(0), at(1), Chain((0.2,), (0, 0)), search="band", max_steps=1, fmax_eV_per_A=1e-5)
    assert not path.ok
    assert path.upper_bound or path.barrier_eV is None


def test_a_rate_needs_a_proven_barrier():
    chain = Chain((0.2,), (0, 0))
    path = atomsim.neb(at(0), at(1), chain)
    slow, fast = path.rate_per_s(300), path.rate_per_s(600)
    assert fast / slow == pytest.approx(np.exp(path.barrier_eV / 8.617333e-5 * (1 / 300 - 1 / 600)), rel=1e-4)
    with pytest.raises(InputError, match="drifted"):
        atomsim.neb(at(0), at(0.3), chain).rate_per_s(300)


@pytest.mark.parametrize(
    "wrong", [{"images": 2.5}, {"images": 0}, {"max_steps": True}, {"noise_A": -0.1}, {"fmax_eV_per_A": float("inf")}]
)
def test_settings_that_make_no_sense_are_refused_by_name(wrong):
    (name,) = wrong
    with pytest.raises(InputError, match=f"found {name}="):
        atomsim.neb(at(0), at(1), Chain((0.2,), (0, 0)), **wrong)


def test_structures_of_pymatgen_and_files_are_ends_too():
    from pymatgen.io.ase import AseAtomsAdaptor

    start, end, argon = vacancy()
    write("end.extxyz", end)
    path = atomsim.neb(AseAtomsAdaptor.get_structure(start), "end.extxyz", argon, images=3, fmax_eV_per_A=0.01)
    assert path.moved.startswith("Ar1 3.")
    with pytest.raises(InputError, match="start: found int"):
        atomsim.neb(1, end, argon)


def test_a_setting_that_does_not_exist_is_refused_with_the_nearest():
    with pytest.raises(InputError, match="did you mean 'fmax_eV_per_A'"):
        atomsim.neb(at(0), at(1), Chain((0.2,), (0, 0)), fmax=0.1)


def test_the_example_in_the_docstring_is_true():
    import doctest

    from atomsim.mep import neb

    assert doctest.testmod(neb).failed == 0


def test_public_names_are_no_modules():
    for name in atomsim.__all__:
        assert importlib.util.find_spec(f"atomsim.{name}") is None
        assert getattr(atomsim, name) is not None


def call(name: str, start: Atoms, end: Atoms, *words: str):
    write("start.extxyz", start)
    write("end.extxyz", end)
    loader = ("--loader", "chain_potential:load", "--potential", name, "--device", "cpu")
    return CliRunner().invoke(app, ["neb", "start.extxyz", "end.extxyz", *words, *loader])


def test_the_command_shows_hops_proof_and_forces_at_the_ends():
    found = call("three", at(0), at(3))
    assert found.exit_code == 0, found.output
    shown = " ".join(found.stdout.split())
    for words in ("1 negative mode", "moves H1 3.0", "fmax at start and end", "3 hops", "below both ends"):
        assert words in shown
    content = json.loads(call("three", at(0), at(3), "--json").stdout)
    assert len(content["segments"]) == 3
    bottoms, tops = Chain((0.1, 0.3, 0.2), (0, 0.05, 0.3, 0)).scanned()
    assert content["barrier_eV"] == pytest.approx(tops.max() - bottoms[0], abs=0.005)
    images = read(content["file"], ":")
    assert [i.get_potential_energy() for i in images] == pytest.approx(
        [e + images[0].get_potential_energy() for e in content["energies_eV"]], abs=1e-6
    )
    assert all(0 < np.abs(images[n].get_forces()).max() < 0.05 for n in (0, -1))


def test_the_command_fails_where_there_is_no_saddle():
    found = call("shelf", at(0), at(2.5))
    shown = " ".join(found.stdout.split())
    assert found.exit_code == 1, found.output
    assert "no saddle between the ends" in shown
    assert "barrier_eV none" in shown


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--images", "0"), ("--max-steps", "0"), ("--starts", "0"), ("--seed", "-1"), ("--fmax", "nan"),
        ("--fmax", "0"), ("--search", "dimer"), ("-o", "start.extxyz"), ("-o", "nowhere/path.extxyz"),
    ],
)  # fmt: skip
def test_what_is_refused_is_named_as_it_was_typed(option, value):
    found = call("three", at(0), at(3), option, value)
    text = str(found.output) + str(found.stderr)
    assert found.exit_code == 2, text
    assert {"-o": Path(value).parts[0]}.get(option, option) in text
    assert "eV_per_A" not in text
    assert "Traceback" not in text
