"""Runs campaigns: what is pending, where it is run, and what is written down."""

from __future__ import annotations

from atomsim.worker.engine import Engine, Job, run_job
from atomsim.worker.folder import RunFolder, read_run
from atomsim.worker.run import Progress, RunSummary, StepSummary, run_campaign

__all__ = ["Engine", "Job", "Progress", "RunFolder", "RunSummary", "StepSummary", "read_run", "run_campaign", "run_job"]
