"""Sites whose Slurm prints, refuses and hides things in its own way: commands on PATH play it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from atomsim.slurm.client import RealSlurm, RejectedError, SlurmUnreachableError, job_ids
from atomsim.slurm.command import complaint
from atomsim.slurm.cures import cure

Play = Callable[..., Path]
FAILED = b"Batch job submission failed: "
POLICY = b"Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)\n"


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    """Put a command on PATH: what it prints, and the file in which it notes how it was called."""
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    def put(name: str, out: bytes = b"", err: bytes = b"", code: int = 0) -> Path:
        (tmp_path / f"{name}.out").write_bytes(out)
        (tmp_path / f"{name}.err").write_bytes(err)
        script = tmp_path / name
        script.write_text(
            f'#!/bin/sh\necho "$@" >>{tmp_path}/{name}.calls\nenv >{tmp_path}/{name}.env\n'
            f"cat {tmp_path}/{name}.out\ncat {tmp_path}/{name}.err >&2\nexit {code}\n"
        )
        script.chmod(0o755)
        return tmp_path / f"{name}.calls"

    return put


@pytest.mark.parametrize(
    "out",
    [
        b"4711\n",
        b"4711;cluster\n",
        b"** Welcome! Maintenance on 2026-12-01 **\n12 nodes are down\n4711\n",
        b"2026\n4711;north\nYour project has used 93 % of its hours.\n",
    ],
)
def test_a_banner_is_no_job_id(play: Play, out: bytes) -> None:
    play("sbatch", out)
    assert RealSlurm().submit(Path("x.sh")) == "4711"


def test_of_numbers_in_a_banner_the_job_of_this_name_is_the_id(play: Play) -> None:
    play("sbatch", b"2026\n4711\n93\n")  # 93 is what is left of its hours
    calls = play("scontrol")
    answer = "echo JobId=4711 JobName=as-1-plan-x JobState=PENDING"
    calls.with_name("scontrol").write_text(f'#!/bin/sh\n[ "$4" = 4711 ] && {answer}\n')
    assert RealSlurm().submit(Path("as-1-plan-x.sh")) == "4711"


def test_an_answer_without_an_id_may_be_a_job_all_the_same() -> None:
    with pytest.raises(SlurmUnreachableError, match=r"no job id \(it said: Welcome to the cluster\)"):
        job_ids("Welcome\nto the cluster\n")


@pytest.mark.parametrize(
    ("err", "reason", "key"),
    [
        (
            b"sbatch: error: Cannot find GPU specification\nsbatch: error: " + FAILED + b"Unspecified error\n",
            "Cannot find GPU specification",
            "[slurm] gpu_request",
        ),
        (
            b"sbatch: error: QOSMaxWallDurationPerJobLimit\nsbatch: error: " + FAILED + POLICY,
            "QOSMaxWallDurationPerJobLimit",
            "[slurm] walltime",
        ),
        (
            b"sbatch: error: AssocMaxSubmitJobLimit\nsbatch: error: " + FAILED + POLICY,
            "AssocMaxSubmitJobLimit",
            "[limits] max_submitted",
        ),
        (b"sbatch: error: Batch job submission failed: Invalid qos specification\n", "Invalid qos", "[slurm] qos"),
        (
            b"sbatch: error: Batch job submission failed: Invalid account or account/partition combination specified\n",
            "Invalid account",
            "[slurm] account",
        ),
        (b"sbatch: error: Invalid generic resource (gres) specification\n", "Invalid generic", "[slurm] gpu_request"),
        (b"sbatch: error: Memory specification can not be satisfied\n", "Memory", "[slurm] memory_per_worker_MB"),
        (b"sbatch: error: Batch job submission failed: Invalid job array specification\n", "array", "max_array_size"),
        (b"sbatch: error: Batch job submission failed: Unspecified error\n", "Unspecified error", ""),
    ],
)
def test_a_refusal_names_its_reason_and_the_key_that_cures_it(play: Play, err: bytes, reason: str, key: str) -> None:
    play("sbatch", err=err, code=1)
    with pytest.raises(RejectedError, match=r"sbatch refused x\.sh") as caught:
        RealSlurm().submit(Path("x.sh"))
    assert reason in str(caught.value)
    assert key in str(caught.value)
    assert caught.value.by_limit == ("SubmitJob" in reason)


@pytest.mark.parametrize(
    "err",
    [
        b"sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)\n",
        b"sbatch: error: Batch job submission failed: Socket timed out on send/recv operation\n",
        b"sbatch: error: Batch job submission failed: Zero Bytes were transmitted or received\n",
        b"sbatch: error: Munge encode failed: Failed to access /run/munge/munge.socket.2\n",
        b"sbatch: error: Batch job submission failed: Slurm backup controller in standby mode\n",
        b"slurm_load_jobs error: Transport endpoint is not connected\n",
    ],
)
def test_a_lost_connection_is_no_refusal(play: Play, err: bytes) -> None:
    play("sbatch", err=err, code=1)
    with pytest.raises(SlurmUnreachableError, match="controller does not answer"):
        RealSlurm().submit(Path("x.sh"))


def test_names_of_any_bytes_and_banners_in_the_queue(play: Play) -> None:
    calls = play(
        "squeue", b"| Site | news | of | the | day |\n7|N/A|RUNNING|b\xe9ton\xff|None\n8|0-3|PENDING|as-a-b|held\n"
    )
    first, second = RealSlurm(1234).queue()
    assert (first.job, second.name, second.elements) == ("7", "as-a-b", (0, 1, 2, 3))
    assert "--user 1234" in calls.read_text()


def test_scancel_gets_one_name_a_call(play: Play) -> None:
    calls = play("scancel")
    RealSlurm(1234).cancel(["as-a-1", "as-a-2"])
    assert calls.read_text().splitlines() == ["--user 1234 --name=as-a-1", "--user 1234 --name=as-a-2"]


def test_no_command_sees_what_would_change_its_meaning(
    play: Play, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("SBATCH_TIMELIMIT", "SQUEUE_STATES", "SLURM_JOB_NAME"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm.conf")
    play("squeue")
    RealSlurm().queue()
    seen = {line.partition("=")[0] for line in (tmp_path / "squeue.env").read_text().splitlines()}
    assert {name for name in seen if name.startswith(("SBATCH", "SQUEUE", "SLURM"))} == {
        "SLURM_CONF",
        "SLURM_BITSTR_LEN",
    }


@pytest.mark.parametrize(
    ("answer", "known"),
    [
        (b"JobId=7 JobName=as-a-1 UserId=me(1) JobState=RUNNING Reason=None\n", True),
        (
            b"JobId=8 JobName=as-a-1 JobState=COMPLETED\nJobId=7 JobName=as-a-1 JobState=PENDING\n",  # of one array
            True,
        ),
        (b"JobId=7 JobName=as-a-1 UserId=me(1) JobState=COMPLETED Reason=None\n", False),
        (b"JobId=7 JobName=anothers UserId=me(1) JobState=RUNNING Reason=None\n", False),  # ids are given again
        (b"", False),
    ],
)
def test_what_an_old_list_of_jobs_leaves_out_is_asked_for_by_id(play: Play, answer: bytes, known: bool) -> None:
    play("scontrol", answer, code=0 if answer else 1)
    assert RealSlurm().knows("7", "as-a-1") == known


def test_of_several_partitions_the_longest_limit_holds(play: Play) -> None:
    play("scontrol", b"PartitionName=short MaxTime=1-00:05:00 State=UP\n")
    assert RealSlurm().longest_s("short,other") == 24 * 3600 + 300
    play("scontrol", b"PartitionName=gpu MaxTime=UNLIMITED State=UP\n")
    assert RealSlurm().longest_s("gpu") == float("inf")


def test_what_cures_depends_on_the_job() -> None:
    assert cure("PartitionTimeLimit").startswith("lower [slurm] walltime")
    assert cure("PartitionTimeLimit", planner=True).startswith("lower [planner] walltime")
    assert "'atomsim resume runs/x'" in cure("launch failed requeued held", run="runs/x")
    assert cure("Priority") == ""


def test_complaints_lose_nothing_but_what_says_nothing() -> None:
    assert complaint("") == "no message"
    assert complaint("something odd\nlast words\n") == "last words"
    assert complaint("sbatch: error: one\nsbatch: error: two\nsbatch: error: two\n") == "one; two"
