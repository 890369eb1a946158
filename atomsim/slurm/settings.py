"""With what a campaign runs on a cluster: engine, profile, versions and whose jobs these are."""

from __future__ import annotations

import os
import pwd
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atomsim.errors import InputError
from atomsim.execution.job import Engine
from atomsim.slurm.profile import Cluster, parse_profile


@dataclass(frozen=True)
class Settings:
    """With what a campaign runs on a cluster; written once by ``submit``."""

    run: str
    """Short id of this run, part of every token."""
    campaign: str
    """Path of the campaign file."""
    engine: dict[str, Any]
    cluster_name: str
    cluster: dict[str, Any]
    versions: dict[str, str]
    """Versions of the code that results depend on; workers with others refuse to work."""
    owner: int | None = None
    """User id of the person whose jobs these are; None in runs of earlier releases."""
    owner_name: str = ""

    def refuse_others(self, run: Path) -> None:
        """Refuse a person whose view of the queue does not hold this run's jobs.

        Raises:
            InputError: if the run is somebody else's.
        """
        if self.owner is not None and self.owner != os.getuid():
            raise InputError(
                f"{run} is a run of {self.owner_name or 'user'} ({self.owner}), whose jobs you can neither see for "
                "sure nor end; have them do it, or submit the campaign into a folder of your own"
            )

    @property
    def profile(self) -> Cluster:
        """The cluster's profile."""
        return parse_profile(self.cluster, self.cluster_name)


def settings_of(campaign: Path, engine: Engine, cluster: Cluster, versions: dict[str, str]) -> Settings:
    """Return the settings of a new run: device, processes and checkpoints are the profile's."""
    of_engine = {
        "potential": engine.potential,
        "device": cluster.worker.device,
        "dtype": engine.dtype,
        "processes": cluster.worker.processes if cluster.worker.device == "cpu" else 1,
        "trust_file": engine.trust_file,
        "loader": engine.loader,
        "checkpoint_s": cluster.worker.checkpoint_s,
    }
    tables = {k: v for k, v in cluster.model_dump(mode="json").items() if k != "name"}
    return Settings(
        run=secrets.token_hex(3),
        campaign=str(campaign.resolve()),
        engine=of_engine,
        cluster_name=cluster.name,
        cluster=tables,
        versions=versions,
        owner=os.getuid(),
        owner_name=_user_name(os.getuid()),
    )


def engine_of(settings: Settings) -> Engine:
    """Return the engine that a campaign was submitted with."""
    return Engine(**settings.engine)


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # a container need not know its user
        return ""
