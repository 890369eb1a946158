"""Fused kernels of CHGNet: by Triton's interpreter where Triton is installed (CI has none), and on a card."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from ase import Atoms
from ase.build import bulk

from atomsim.batch import Batch
from atomsim.models.chgnet.fused import Fused, Plan, kernels_missing
from atomsim.models.chgnet.graph import bond_graph
from atomsim.models.chgnet.launches import Launches
from atomsim.models.chgnet.on_device import with_room
from atomsim.models.load import load_potential
from atomsim.models.neighbors import neighbor_list
from atomsim.models.replay import padded


def systems(n: int) -> list[Atoms]:
    found = []
    for seed in range(n):
        atoms = bulk("LiO", "rocksalt", 4.1 + 0.1 * seed)
        atoms.rattle(0.05, seed=seed)
        found.append(atoms)
    return found


def graph(batch: Batch, cutoff: float, short: float):
    return bond_graph(batch, neighbor_list(batch, cutoff), short)


def test_sums_of_a_plan_find_the_rows_that_the_graph_names():
    g = graph(Batch.pack(systems(2)), 6.0, 2.9)
    plan = Plan.of(g, 4)
    assert torch.equal(g.bond[plan.edge_twins], torch.arange(len(g.first))[:, None].expand(-1, 2))
    assert torch.equal(g.center[plan.edge_reverse], g.neighbor)
    assert torch.equal(torch.repeat_interleave(torch.arange(4), plan.edge_start.diff()), g.center)
    left, right = g.angle_bond
    assert torch.equal(left[plan.angle_reverse], right)
    assert torch.equal(right[plan.angle_reverse], left)
    short = torch.nonzero(g.bond < g.n_short).flatten()
    run = torch.repeat_interleave(torch.arange(len(short)), plan.angle_start.diff())
    assert torch.equal(g.bond[short][run], left)
    assert torch.equal(g.center[short][run], g.angle_center)
    assert torch.equal(torch.repeat_interleave(torch.arange(4), plan.short_start.diff()), g.center[short])
    assert torch.equal(g.bond[short][plan.short_twins], torch.arange(g.n_short)[:, None].expand(-1, 2))


def with_spare(batch: Batch, g) -> tuple[Batch, object]:
    n_long = len(g.first) - g.n_short
    room = (batch.n_systems + 2, batch.n_atoms + 3, g.n_short + 4, n_long + 5, len(g.pair_angle) + 21)
    spare = with_room(g, *room)
    batch = padded(batch, *room[:2], 18.0)
    return batch, spare.at(batch)


def test_a_graph_with_spare_room_has_two_edges_a_bond_and_two_orders_a_pair():
    batch = Batch.pack(systems(2))
    g = graph(batch, 6.0, 2.9)
    whole, spare = with_spare(batch, g)
    plan = Plan.of(spare, whole.n_atoms)
    assert torch.equal(spare.bond[plan.edge_twins], torch.arange(len(spare.first))[:, None].expand(-1, 2))
    assert torch.equal(spare.angle_pair[plan.angle_twins], torch.arange(len(spare.pair_angle))[:, None].expand(-1, 2))
    assert int(plan.angle_start[-1]) == len(spare.angle_center)
    assert torch.equal(plan.angle_start[: 2 * g.n_short + 1], Plan.of(g, batch.n_atoms).angle_start)
    assert float(spare.vector[len(g.first) - g.n_short + spare.n_short :].norm(dim=1).min()) > 6.0


def test_a_cpu_has_no_fused_kernels():
    assert "CUDA" in kernels_missing(torch.device("cpu"))


def interpreted() -> None:
    """Compare both ways of one small batch; run in a process whose Triton interprets."""
    from atomsim.models.chgnet import tiles

    tiles.ROWS, tiles.PAIR_ROWS, tiles.RUN_ROWS = 256, 256, 64  # the interpreter counts programs, not numbers
    torch.set_num_threads(1)
    p = load_potential("chgnet-0.3.0", "cpu", "float32")
    for cutoff, short in ((3.2, 2.4), (3.2, 1.0)):  # the second without angles
        batch = Batch.pack(systems(2))
        g = graph(batch, cutoff, short)
        results, spare = [], with_spare(batch, g)
        for kind, (whole, there) in ((Launches, (batch, g)), (Fused, (batch, g)), (Fused, spare)):
            model = kind(p.weights, p.atom_conv, p.bond_conv, p.angle_update, (p.cutoff, p.short))
            vector = there.vector.detach().requires_grad_(True)
            site, moments = model(whole, model.prepare(there, whole.n_atoms), vector)
            (gradient,) = torch.autograd.grad(site.sum(), vector)
            near, far = gradient[: g.n_short], gradient[there.n_short : there.n_short + len(g.first) - g.n_short]
            results.append((site.detach()[: batch.n_atoms], moments[: batch.n_atoms], torch.cat([near, far])))
        for other in results[1:]:
            print(len(g.center), [float((a - b).abs().max()) for a, b in zip(results[0], other, strict=True)])
            for a, b in zip(results[0], other, strict=True):
                torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed here")
def test_interpreted_kernels_give_what_torch_gives():
    root = Path(__file__).parents[2]
    path = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH", "")]))
    env = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, __file__], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.gpu
def test_fused_kernels_on_a_card_give_what_torch_and_a_cpu_give():
    here = Batch.pack([atoms * (2, 2, 1) for atoms in systems(4)])
    fused, torch_s = (load_potential("chgnet-0.3.0", "cuda", "float32") for _ in range(2))
    assert fused.kernel == "fused", fused.kernel_note
    weights = torch_s.weights, torch_s.atom_conv, torch_s.bond_conv, torch_s.angle_update
    torch_s._on_device._launches = Launches(*weights, (torch_s.cutoff, torch_s.short))
    exact = load_potential("chgnet-0.3.0", "cpu", "float64")(here)
    there = Batch.pack([atoms * (2, 2, 1) for atoms in systems(4)], "cuda")
    found, plain = fused(there), torch_s(there)
    for other in (plain, exact):
        assert float((found.energy.cpu() - other.energy.cpu()).abs().max()) < 1e-5 * 8
        assert float((found.forces.cpu() - other.forces.cpu()).abs().max()) < 2e-4
        assert float((found.stress.cpu() - other.stress.cpu()).abs().max()) < 1e-5


if __name__ == "__main__":
    interpreted()
