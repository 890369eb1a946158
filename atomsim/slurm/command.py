"""Calls of Slurm's commands: a clean environment, bytes of any kind, and what a failure means."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence

from atomsim.errors import AtomsimError

TIMEOUT_S = 60
OF_CLIENTS = ("SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_CLUSTERS", "SLURM_JWT")
"""Variables that tell Slurm's commands where their cluster is; the others change what they do."""
OPTIONS = re.compile(r"(SLURM|SBATCH|SQUEUE|SCANCEL|SALLOC|SRUN|SACCT|SINFO|SCONTROL)_")
"""Variables that describe a job, or take the place of options: SBATCH_TIMELIMIT stands above ``#SBATCH --time``."""
UNREACHABLE = re.compile(
    r"unable to contact|connection (refused|reset|timed out|failure)|communication connection|socket timed out"
    r"|zero bytes were transmitted|standby mode|transport endpoint|unable to resolve|network is unreachable"
    r"|no route to host|host is down|munge encode failed|munge decode failed|invalid authentication credential"
    r"|protocol authentication error|could not establish a configuration source|insane message length"
    r"|persistent connection|unexpected message received",
    re.IGNORECASE,
)
"""Slurm was not reached, or its answer was lost: the request may have been carried out."""
PREFIX = re.compile(
    r"^(?:allocation failure: )?(?:\w+: (?=error: |fatal: ))?(?:error: |fatal: )?(?:Batch job submission failed: )?"
)
SAYS_NOTHING = ("Unspecified error", "")


class SlurmUnreachableError(AtomsimError):
    """Slurm does not answer; nothing is known, so nothing is decided."""


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment for Slurm's commands in which a profile and our own options are the last word.

    Variables such as SBATCH_JOB_NAME, SBATCH_PARTITION or SQUEUE_STATES override ``#SBATCH`` lines and hide
    jobs. Those of a planner's own job are not to become its jobs' too: sbatch passes everything on, and what
    the new job does not set itself, such as SLURM_MEM_PER_NODE, would hold for workers started by srun.
    """
    kept = {k: v for k, v in environment.items() if k in OF_CLIENTS or not OPTIONS.match(k)}
    return kept | {"SLURM_BITSTR_LEN": "0"}  # or squeue cuts long lists of array elements


def overriding(environment: Mapping[str, str]) -> list[str]:
    """Return the variables of a person's environment that sbatch would obey, and that are not passed to it."""
    return sorted(f"{k}={v}" for k, v in environment.items() if k.startswith("SBATCH_"))


def ask(
    command: Sequence[str], stdin: str | None = None, timeout_s: float = TIMEOUT_S
) -> subprocess.CompletedProcess[str]:
    """Run one of Slurm's commands; what it prints may hold other people's bytes, which are replaced.

    Raises:
        SlurmUnreachableError: if it is not here, or if its controller does not answer.
    """
    try:
        answer = subprocess.run(  # noqa: S603
            list(command), input=stdin, capture_output=True, encoding="utf-8", errors="replace",
            timeout=timeout_s, check=False, env=clean_environment(os.environ),
        )  # fmt: skip
    except FileNotFoundError as error:
        raise SlurmUnreachableError(
            f"no {command[0]!r} on this machine; log in to the cluster, or 'module load slurm', and try again"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise SlurmUnreachableError(f"{command[0]} did not answer within {timeout_s:g} s; try again later") from error
    except OSError as error:
        raise SlurmUnreachableError(f"{command[0]} does not start ({error.strerror}); try again later") from error
    if answer.returncode and UNREACHABLE.search(answer.stderr + answer.stdout):
        raise SlurmUnreachableError(f"Slurm's controller does not answer ({complaint(answer.stderr)}); try again later")
    return answer


def complaint(stderr: str) -> str:
    """Return the reason in what a command said: all its errors but the one that says nothing.

    A site's plugin explains first, and sbatch ends with "Batch job submission failed: Unspecified error".
    """
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if re.search(r"\b(error|fatal|failure): ", line)] or lines[-1:]
    messages = dict.fromkeys(PREFIX.sub("", line) for line in errors)
    useful = [line for line in messages if line not in SAYS_NOTHING]
    return "; ".join(useful or messages) or "no message"
