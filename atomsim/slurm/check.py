"""Asks the real Slurm whether what a profile says is so, before a campaign finds out."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from atomsim.slurm.client import SlurmUnreachableError
from atomsim.slurm.profile import TIME, Cluster, seconds_of
from atomsim.slurm.script import ArrayJob, array_script


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
    partitions = {cluster.slurm.partition, cluster.planner.partition or cluster.slurm.partition}
    for name in sorted(partitions):
        findings += _partition(cluster, name)
    findings.append(_would_be_accepted(cluster))
    return findings


def _partition(cluster: Cluster, name: str) -> list[Finding]:
    lines = [_fields(line) for line in _ask("scontrol", "--oneliner", "show", "partition").splitlines() if line]
    known = {line.get("PartitionName", ""): line for line in lines}
    if name not in known:
        return [Finding(f"partition {name}", False, f"not there; partitions are {', '.join(sorted(known))}")]
    about = known[name]
    findings = [Finding(f"partition {name}", about.get("State") == "UP", f"state {about.get('State', 'unknown')}")]
    limit = about.get("MaxTime", "UNLIMITED")
    if name == cluster.slurm.partition:
        fits = TIME.fullmatch(limit) is None or seconds_of(limit) >= cluster.walltime_s
        findings.append(
            Finding("[slurm] walltime", fits, f"MaxTime is {limit}, the profile says {cluster.slurm.walltime}")
        )
    return findings


def _would_be_accepted(cluster: Cluster) -> Finding:
    """Let sbatch judge a job of one element without submitting it."""
    script = array_script(cluster, ArrayJob("as-check", "01-check", 1, 0, cluster.slurm.workers_per_job), Path("/tmp"))  # noqa: S108 - never written to
    answer = subprocess.run(
        ["sbatch", "--test-only"],  # noqa: S607
        input=script,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    said = [line for line in answer.stderr.splitlines() if line.strip()]
    text = re.sub(r"^(sbatch|allocation): (error: )?", "", said[-1]) if said else "accepted"
    return Finding("sbatch would take a job", answer.returncode == 0, text)


def _fields(text: str) -> dict[str, str]:
    return {m[1]: m[2].strip() for m in re.finditer(r"(\w+)\s*=\s*(\S+)", text)}


def _ask(*command: str) -> str:
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SlurmUnreachableError(f"{command[0]} does not work here ({error}); run this on the cluster") from error
    if answer.returncode:
        raise SlurmUnreachableError(f"{' '.join(command)}: {answer.stderr.strip() or 'no answer'}")
    return answer.stdout
