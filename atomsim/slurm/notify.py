"""Notification that a campaign has ended or needs a manual resume, in the way that the profile names."""

from __future__ import annotations

import os
import subprocess

from atomsim.slurm.profile import Cluster
from atomsim.store.run_folder import RunFolder

TIMEOUT_S = 60


def notify(cluster: Cluster, folder: RunFolder, state: str, message: str) -> None:
    """Run the profile's ``notify_command``; what is wrong with it goes to the log and stops nothing.

    Args:
        cluster: the profile.
        folder: of the run.
        state: ``finished``, ``stopped`` or what else a planner found.
        message: why, for a person; empty if there is nothing to say.
    """
    command = cluster.planner.notify_command
    if not command:
        return
    run = str(folder.path.resolve())
    text = "\n".join(filter(None, (f"{run}: {state}", message, f"'atomsim status {run}' says more."))) + "\n"
    variables = {"ATOMSIM_STATE": state, "ATOMSIM_MESSAGE": message, "ATOMSIM_RUN": run}
    try:
        answer = subprocess.run(  # noqa: S603 - a line of the user's own profile
            ["/bin/bash", "-c", command], input=text, env=os.environ | variables, timeout=TIMEOUT_S,
            capture_output=True, encoding="utf-8", errors="replace", check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        folder.say(f"notify_command failed: {error}")
        return
    if answer.returncode:
        lines = answer.stderr.strip().splitlines()
        folder.say(f"notify_command ended with {answer.returncode}: {lines[-1] if lines else 'no message'}")
