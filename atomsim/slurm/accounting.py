"""Slurm's accounting of attempts that exited without a final report. Only ever an addition.

Many sites keep no accounts, and what they keep may be late or wrong: a host out of memory can read
``FAILED 0:9``. So nothing is decided by it; a person is told.
"""

from __future__ import annotations

from collections.abc import Sequence

from atomsim.slurm.command import SlurmUnreachableError, ask
from atomsim.store.claims import Attempt

TIMEOUT_S = 20
MANY = 200
"""Attempts asked about at once; the newest."""


def causes(attempts: Sequence[Attempt]) -> dict[tuple[str, int], str]:
    """Ask once how the jobs of some attempts ended, by (chunk key, attempt's number).

    Returns:
        State, exit code and node, e.g. ``NODE_FAIL 0:0 on n1``; nothing where there are no accounts.
    """
    asked = [a for a in attempts if a.claim.get("job")][-MANY:]
    if not asked:
        return {}
    known = parse_accounts(_accounts(sorted({str(a.claim["job"]) for a in asked})))
    found = {}
    for attempt in asked:
        runs = known.get(str(attempt.claim["job"]), [])
        restarts = int(attempt.claim.get("restarts", 0))
        if restarts < len(runs):
            found[attempt.key, attempt.number] = runs[restarts]
    return found


def parse_accounts(text: str) -> dict[str, list[str]]:
    """Read ``JobID|State|ExitCode|NodeList`` lines: what each start of a job came to, in order."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        fields = line.split("|")
        if len(fields) == 4:
            job, state, code, nodes = fields
            # "CANCELLED by 1000" names a user: the first word is the state
            found.setdefault(job, []).append(f"{state.split()[0] if state else '?'} {code} on {nodes}")
    return found


def _accounts(jobs: Sequence[str]) -> str:
    command = ["sacct", "--noheader", "--parsable2", "--allocations", "--duplicates", f"--jobs={','.join(jobs)}"]
    command += ["--format=JobID,State,ExitCode,NodeList", "--starttime=now-30days"]
    try:
        answer = ask(command, timeout_s=TIMEOUT_S)
    except SlurmUnreachableError:
        return ""
    return answer.stdout if answer.returncode == 0 else ""
