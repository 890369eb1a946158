"""Report of a planner: submitted jobs, waiting steps, problems."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Submitted:
    """A job that was submitted."""

    token: str
    job: str
    what: str


@dataclass
class PlanReport:
    """Findings and actions of a planner."""

    submitted: list[Submitted] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    """Steps whose jobs are in the queue."""
    problems: dict[str, str] = field(default_factory=dict)
    """Reasons why steps are blocked, by step."""
    notes: list[str] = field(default_factory=list)
    complete: list[str] = field(default_factory=list)
    finished: bool = False
    """True if every step is complete."""
    planner: str = ""
    """The job that will continue by itself; empty if a person must, with ``atomsim resume``."""

    @property
    def has_jobs(self) -> bool:
        """True if there are jobs to wait for."""
        return bool(self.waiting)
