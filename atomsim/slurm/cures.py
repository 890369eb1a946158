"""Remedies in a profile, by Slurm's words: reasons of refusals and of jobs that wait for ever."""

from __future__ import annotations

import re

CURES = (
    (r"launch failed", "a node could not start it (its prolog failed): 'atomsim resume DIR' has it run elsewhere"),
    (r"JobHeld|\bheld\b", "let it go ('scontrol release JOB'), or 'atomsim cancel DIR' and 'atomsim resume DIR'"),
    (r"DependencyNeverSatisfied", "'atomsim resume DIR' submits another planner"),
    (
        r"time limit|PartitionTimeLimit|MaxWall",
        "lower WALLTIME to what 'scontrol show partition' (MaxTime) and the QOS allow",
    ),
    (
        r"SubmitJob|job submit limit|temporarily unable to accept",
        "set [limits] max_submitted to what the site allows ('sacctmgr show qos format=name,MaxSubmitPU')",
    ),
    (
        r"job array specification|MaxArraySize",
        "set [limits] max_array_size to MaxArraySize ('scontrol show config | grep MaxArraySize')",
    ),
    (r"invalid partition|PartitionDown|PartitionInactive", "name another PARTITION ('sinfo' lists them)"),
    (
        r"gres|GPU spec|MaxGRES|\bTRES\b|PerJob.*gpu|GpuLimit|MinGRES",
        "change [slurm] gpu_request, gpu_type, gpus_per_worker or workers_per_job",
    ),
    (r"(Cpu|CPU)s?\w*PerJob|MaxCpu", "lower [slurm] cores_per_worker or workers_per_job"),
    (r"Memory|MaxMem|Mem\w*PerJob", "change [slurm] memory_per_worker_MB (or MEMORY of the planner)"),
    (r"Node\w*PerJob|MaxNode", "lower [slurm] workers_per_job"),
    (
        r"Grp\w*Minutes|budget|credit|insufficient",
        "the account is used up: charge another [slurm] account, or wait until it is filled again",
    ),
    (r"account", "set [slurm] account to one of yours ('sacctmgr show associations user=$USER')"),
    (r"qos|QOS", "set [slurm] qos to one of yours ('sacctmgr show associations user=$USER format=account,qos')"),
    (r"feature|constraint", "change [slurm] constraint ('sinfo -o %f' lists the features)"),
    (r"reservation", "change --reservation in [slurm] options ('scontrol show reservation')"),
    (
        r"PartitionConfig",  # Slurm gives it for a time limit above the partition's, too
        "lower WALLTIME to the partition's MaxTime; if it is, lower [slurm] cores_per_worker or workers_per_job",
    ),
    (
        r"node configuration|BadConstraints|PartitionNodeLimit|ReqNodeNotAvail|NodeDown",
        "no node has so much, or none is free: lower [slurm] cores_per_worker, memory_per_worker_MB or workers_per_job",
    ),
)
"""Patterns of what Slurm says, and what helps; capitals stand for what depends on the job."""
SOME_LIMIT = (
    "compare [limits] max_submitted, [slurm] walltime and what a job asks for with the limits of your account "
    "('sacctmgr show qos', 'sacctmgr show associations user=$USER')"
)


def cure(reason: str, planner: bool = False, run: str = "DIR") -> str:
    """Return what helps against a reason of Slurm's; empty if nothing is known.

    Args:
        reason: reason of a pending job, or the message of a refusal.
        planner: whether the job is a planner, which has keys of its own.
        run: folder of the run, for commands.
    """
    words = {"WALLTIME": "walltime", "PARTITION": "partition"}
    keys = {word: f"[{'planner' if planner else 'slurm'}] {key}" for word, key in words.items()}
    keys["MEMORY"] = "[planner] memory_MB"
    keys["DIR"] = run
    specific = re.sub(r"Job violates accounting/QOS policy[^;]*", "", reason)
    for pattern, text in CURES:
        if re.search(pattern, specific, re.IGNORECASE):
            return re.sub(r"\b(WALLTIME|PARTITION|MEMORY|DIR)\b", lambda m: keys[m[1]], text)
    return "" if specific == reason else SOME_LIMIT
