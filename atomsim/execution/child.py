"""One process of a pool: builds the potential once, then turns tasks into records.

Reads a job and then tasks as lines of JSON from standard input; writes replies to what was
standard output. It ends when its input does, or when its parent is gone.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from atomsim.execution.checkpoint import Remembering
    from atomsim.execution.job import TaskOutcome

POLL_S = 0.5
"""Longest life after a parent that was killed."""


def main() -> None:
    """Serve tasks until there are no more."""
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # Slurm's warning is for the parent, which acts on it
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints goes to the log, not among the replies
    first = sys.stdin.readline()
    if not first:
        return
    spec = json.loads(first)
    threading.Thread(target=follow, args=(spec["parent"],), daemon=True).start()
    _serve(spec, replies)


def _serve(spec: dict[str, Any], replies: IO[str]) -> None:
    from atomsim.errors import AtomsimError, StorageError
    from atomsim.execution.checkpoint import Remembering
    from atomsim.execution.job import Engine, Job, batched, guarded
    from atomsim.execution.machine import tune_process
    from atomsim.store.records import Task
    from atomsim.tasks import kind_of
    from atomsim.tasks.base import Context

    tune_process(threads=1)  # this process is atomsim's own
    context = Context.from_json(spec["context"])
    settings = kind_of(spec["kind"]).Settings.model_validate(spec["settings"])
    job = Job(spec["kind"], settings, (), context, {}, on_calls=lambda calls: _reply(replies, {"calls": calls}))
    try:
        engine = Engine(**spec["engine"])
        potential = engine.load()
    except AtomsimError as error:
        _reply(replies, {"error": str(error)})
        return
    if isinstance(potential, Remembering):
        signal.signal(signal.SIGTERM, lambda *_: _leave(potential))
    job = job.keeping(engine.places(job.kind, potential))
    _reply(replies, {"ready": potential.sha256})
    for line in sys.stdin:
        tasks = [Task(**each | {"parents": tuple(each["parents"])}) for each in json.loads(line)["tasks"]]
        try:
            alone = len(tasks) == 1
            outcomes = [guarded(job, tasks[0], potential)] if alone else batched(replace(job, tasks=tasks), potential)
            _answer(replies, outcomes)
        except StorageError as error:
            _reply(replies, {"error": str(error), "storage": True})
            return


def _answer(replies: IO[str], outcomes: Iterable[TaskOutcome]) -> None:
    from atomsim.store.records import to_line

    for outcome in outcomes:
        _reply(replies, {"record": to_line(outcome.record), "wall_s": outcome.wall_s, "made": outcome.evaluations})


def _leave(potential: Remembering) -> None:
    """End when asked to, with what was evaluated on disk."""
    try:
        potential.flush()
    finally:
        os._exit(1)


def _reply(replies: IO[str], content: dict[str, Any]) -> None:
    replies.write(json.dumps(content) + "\n")
    replies.flush()


def follow(parent: int) -> None:
    """End with the parent, also when it was killed without a chance to say so."""
    while os.getppid() == parent:
        time.sleep(POLL_S)
    os._exit(1)


if __name__ == "__main__":
    main()
