"""Asks the real Slurm whether what a profile says is so, before a campaign finds out."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from atomsim.slurm.client import SlurmUnreachableError
from atomsim.slurm.command import ask, complaint, overriding
from atomsim.slurm.cures import cure
from atomsim.slurm.options import TIME, seconds_of, slurm_time
from atomsim.slurm.profile import Cluster
from atomsim.slurm.script import ArrayJob, PlannerJob, array_script, planner_script


@dataclass(frozen=True)
class Finding:
    """One thing that was compared."""

    what: str
    good: bool
    found: str


def check_cluster(cluster: Cluster) -> list[Finding]:
    """Compare a profile with the cluster that this machine belongs to.

    Raises:
        SlurmUnreachableError: if Slurm is not here or does not answer.
    """
    config = _fields(_ask("scontrol", "show", "config"))
    findings = [Finding("Slurm answers", True, config.get("SLURM_VERSION", "version unknown"))]
    size = int(config.get("MaxArraySize", "1001"))
    findings.append(
        Finding(
            "[limits] max_array_size",
            cluster.limits.max_array_size <= size,
            f"MaxArraySize is {size}, the profile says {cluster.limits.max_array_size}",
        )
    )
    known = {
        about.get("PartitionName", ""): about
        for about in map(_fields, _ask("scontrol", "--oneliner", "show", "partition").splitlines())
        if about
    }
    findings += _partitions(known, "slurm", cluster.slurm.partition, cluster.walltime_s)
    if cluster.planner.submits:
        findings += _partitions(known, "planner", *cluster.planner_limits)
    findings += _scripts(cluster)
    findings += _surroundings(cluster)
    return findings


def _partitions(known: Mapping[str, Mapping[str, str]], table: str, names: str, walltime_s: int) -> list[Finding]:
    """Judge the partitions of one kind of job; of a list, Slurm takes any that fits."""
    findings = []
    limits: dict[str, str] = {}
    for name in names.split(","):
        about = known.get(name)
        if about is None:
            found = f"not there; partitions are {', '.join(sorted(known))}"
            findings.append(Finding(f"[{table}] partition {name}", False, found))
            continue
        limits[name] = about.get("MaxTime", "UNLIMITED")
        state = about.get("State", "unknown")
        findings.append(Finding(f"[{table}] partition {name}", state == "UP", f"state {state}"))
    if limits:
        fits = any(not TIME.fullmatch(limit) or seconds_of(limit) >= walltime_s for limit in limits.values())
        given = ", ".join(f"{limit} ({name})" if len(limits) > 1 else limit for name, limit in limits.items())
        found = (
            f"MaxTime is {given}, the profile says {slurm_time(f'{walltime_s // 3600}:{walltime_s // 60 % 60:02d}')}"
        )
        if not fits:
            found += "; Slurm would take such a job, and never start it"
        findings.append(Finding(f"[{table}] walltime", fits, found))
    return findings


def _scripts(cluster: Cluster) -> list[Finding]:
    """Let sbatch judge, without submitting it, every script that a campaign sends."""
    nowhere = Path("/tmp")  # noqa: S108 - never written to
    array = ArrayJob("as-check", "01-check", 1, 0, cluster.slurm.workers_per_job)
    scripts = {"workers": array_script(cluster, array, nowhere)}
    if cluster.planner.submits:
        scripts["planner"] = planner_script(cluster, PlannerJob("as-check-plan-", ()), nowhere)
    findings = []
    for name, script in scripts.items():
        answer = ask(["sbatch", "--test-only"], stdin=script)
        reason = complaint(answer.stderr).removeprefix("sbatch: ")
        help_ = cure(reason, planner=name == "planner") if answer.returncode else ""
        text = f"{reason}{f'; {help_}' if help_ else ''}"
        findings.append(Finding(f"sbatch would take the {name}", answer.returncode == 0, text))
    return findings


def _surroundings(cluster: Cluster) -> list[Finding]:
    """Judge what lies outside Slurm: Python, and variables that would have changed every job."""
    python = cluster.environment.python or sys.executable
    findings = []
    if "/" in python:
        there = shutil.which(python) is not None
        found = python if there else f"{python} is not here, or is not executable"
        findings.append(Finding("[environment] python", there, found))
    ignored = overriding(os.environ)
    if ignored:
        found = f"not passed on: {', '.join(ignored)}; what should hold belongs into the profile"
        findings.append(Finding("variables of sbatch", True, found))
    return findings


def _fields(text: str) -> dict[str, str]:
    return {m[1]: m[2].strip() for m in re.finditer(r"(\w+)\s*=\s*(\S+)", text)}


def _ask(*command: str) -> str:
    answer = ask(command)
    if answer.returncode:
        raise SlurmUnreachableError(f"{' '.join(command)}: {complaint(answer.stderr)}")
    return answer.stdout
