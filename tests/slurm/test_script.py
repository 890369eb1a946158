"""Profiles are strict, scripts are plain text, and every limit of a site is kept."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from conftest_slurm import profile

from atomsim import catalog
from atomsim.errors import InputError
from atomsim.slurm.chunking import arrays, plan_chunks
from atomsim.slurm.client import parse_elements, parse_line
from atomsim.slurm.command import clean_environment
from atomsim.slurm.options import seconds_of
from atomsim.slurm.profile import described_keys, read_profile
from atomsim.slurm.script import ArrayJob, PlannerJob, array_script, planner_script
from atomsim.store.records import Task
from atomsim.tasks import relax

RELAX = relax.Settings(structures=["s"])


def options(script: str) -> dict[str, str]:
    words = [line.removeprefix("#SBATCH ") for line in script.splitlines() if line.startswith("#SBATCH ")]
    pairs = [shlex.split(word)[0].partition("=") for word in words]
    return {name: value for name, _, value in pairs}


def test_array_script_says_what_slurm_must_know() -> None:
    cluster = profile(slurm={"account": "proj", "gpu_type": "a100", "cores_per_worker": 4, "memory_per_worker_MB": 900})
    script = array_script(cluster, ArrayJob("as-1-x", "02-relaxed", 3, 1000, 17, ("n3", "n7")), Path("/data/run"))
    found = options(script)
    assert found["--job-name"] == found["--comment"] == "as-1-x"
    assert found["--array"] == "0-16%2"
    assert found["--gres"] == "gpu:a100:1"
    assert found["--exclude"] == "n3,n7"
    assert found["--signal"] == "B:USR1@120"
    assert found["--time"] == "0-01:00:00"
    assert "--requeue" in found
    # nothing but the very process that acts on signals may stand between Slurm and it
    last = script.strip().splitlines()[-1]
    assert last.startswith(f"exec {sys.executable} ")
    assert "worker /data/run --step 02-relaxed --round 3 --first 1000 --chunks 17 --token as-1-x" in last


def test_four_workers_in_one_job_have_a_gpu_each() -> None:
    cluster = profile(slurm={"workers_per_job": 4, "memory_per_worker_MB": 100})
    script = array_script(cluster, ArrayJob("t", "02-relaxed", 1, 0, 10), Path("/data/run"))
    found = options(script)
    assert found["--array"] == "0-2%2"  # 10 chunks, 4 by 4
    assert found["--gres"] == "gpu:4"
    assert found["--ntasks"] == "4"
    assert found["--mem"] == "400M"
    assert found["--signal"] == "USR1@120"  # to the steps, which srun starts
    assert "srun --kill-on-bad-exit=0 --ntasks=4 --cpus-per-task=1 --gpus-per-task=1" in script


@pytest.mark.parametrize("workers", [1, 2])
def test_a_warning_before_python_listens_kills_no_worker(tmp_path: Path, workers: int) -> None:
    """Slurm's warnings come up to half a minute early, and Python may take that long to start."""
    python, srun = tmp_path / "python", tmp_path / "srun"
    python.write_text("#!/bin/bash\nkill -USR1 $$\necho alive\n")
    srun.write_text('#!/bin/bash\nwhile [[ $1 == --* ]]; do shift; done\nexec "$@"\n')
    python.chmod(0o755)
    srun.chmod(0o755)
    cluster = profile(
        slurm={"workers_per_job": workers}, environment={"python": str(python), "setup": ["kill -USR1 $$"]}
    )
    script = array_script(cluster, ArrayJob("t", "s", 1, 0, 2), tmp_path)
    paths = os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", script], env=paths, capture_output=True, text=True, check=False, timeout=600)
    assert (done.returncode, done.stdout) == (0, "alive\n"), done


def test_planner_waits_for_the_end_however_it_comes() -> None:
    script = planner_script(profile(), PlannerJob("as-p", ("12", "13")), Path("/data/run"))
    assert options(script)["--dependency"] == "afterany:12:13"
    assert "resume /data/run --token as-p" in script
    assert "--begin" not in options(script)
    alone = options(planner_script(profile(), PlannerJob("as-p", (), 300), Path("/data/run")))
    assert "--dependency" not in alone
    assert alone["--begin"] == "now+300"


def test_hostile_paths_are_quoted() -> None:
    run = Path('/data/it\'s a "strange" $(path)/100%')
    script = array_script(profile(), ArrayJob("t", "02-relaxed", 1, 0, 1), run)
    assert options(script)["--chdir"] == str(run)
    assert options(script)["--output"] == str(run / "slurm/logs/%x-%a.log").replace("100%", "100%%")
    assert shlex.split(script.strip().splitlines()[-1])[6] == str(run)


def test_setup_lines_come_before_python() -> None:
    cluster = profile(environment={"setup": ["module load cuda", "source venv/bin/activate"], "python": "python3"})
    lines = array_script(cluster, ArrayJob("t", "s", 1, 0, 1), Path("/r")).splitlines()
    assert lines.index("module load cuda") < lines.index("source venv/bin/activate") < len(lines) - 1
    assert lines[-1].startswith("exec python3 -P -m atomsim.cli worker")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"slurm": {"partitoin": "gpu"}}, "did you mean 'partition'"),
        ({"slurm": {"walltime": "4h"}}, r"found '4h', wanted \[days-\]hours:minutes"),
        ({"slurm": {"options": ["--array=1-3"]}}, "--array is set by atomsim"),
        ({"slurm": {"gpus_per_worker": 0}, "worker": {"device": "cuda"}}, "gpus_per_worker = 0"),
        ({"limits": {"max_array_size": "many"}}, "found 'many', wanted a valid integer"),
        ({"limts": {}}, "unknown table or key 'limts'; did you mean 'limits'"),
    ],
)
def test_mistakes_in_profiles(changes: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        profile(**changes)


def test_every_shipped_profile_is_sound() -> None:
    paths = sorted(catalog.folder("slurm").glob("*.toml"))
    assert len(paths) >= 4
    for path in paths:
        cluster = read_profile(path)
        assert cluster.work_s < cluster.walltime_s


def test_unknown_profile() -> None:
    with pytest.raises(InputError, match="did you mean 'one-gpu'"):
        read_profile("one-gpus")


@pytest.mark.parametrize(
    ("walltime", "seconds", "written"),
    [
        ("04:00", 4 * 3600, "0-04:00:00"),  # four minutes, had sbatch read it
        ("4:30:15", 4 * 3600 + 30 * 60 + 15, "0-04:30:15"),
        ("100:00:00", 100 * 3600, "4-04:00:00"),
        ("1-02:03", 93780, "1-02:03:00"),
        ("1-02:03:04", 93784, "1-02:03:04"),
        ("1-12", 36 * 3600, "1-12:00:00"),
    ],
)
def test_walltimes_reach_slurm_in_the_one_form_that_has_one_meaning(walltime: str, seconds: int, written: str) -> None:
    cluster = profile(slurm={"walltime": walltime}, planner={"walltime": walltime})
    assert cluster.walltime_s == seconds_of(walltime) == seconds
    run = Path("/data/run")
    assert options(array_script(cluster, ArrayJob("t", "s", 1, 0, 1), run))["--time"] == written
    assert options(planner_script(cluster, PlannerJob("p", ()), run))["--time"] == written


@pytest.mark.parametrize("table", ["slurm", "planner"])
@pytest.mark.parametrize("walltime", ["240", "4h", "04:75", "04:00:60", "", "1-2-3", "00:00:30"])
def test_other_walltimes_are_refused(walltime: str, table: str) -> None:
    with pytest.raises(InputError, match="walltime: found"):
        profile(**{table: {"walltime": walltime}})


@pytest.mark.parametrize(
    ("request_", "one", "four"),
    [
        ("gres", "--gres=gpu:a100:1", "--gres=gpu:a100:4"),
        ("gpus", "--gpus=a100:1", "--gpus=a100:4"),
        ("gpus-per-node", "--gpus-per-node=a100:1", "--gpus-per-node=a100:4"),
        ("gpus-per-task", "--gpus-per-task=a100:1", "--gpus-per-task=a100:1"),
        ("none", "", ""),
    ],
)
def test_gpus_are_asked_for_as_the_site_wants_it(request_: str, one: str, four: str) -> None:
    for parallel, wanted in ((1, one), (4, four)):
        table = {"gpu_request": request_, "gpu_type": "a100", "workers_per_job": parallel}
        script = array_script(profile(slurm=table), ArrayJob("t", "s", 1, 0, 8), Path("/r"))
        asked = [
            line for line in script.splitlines() if line.startswith("#SBATCH") and "gpu" in line.replace("=gpu\n", "")
        ]
        asked = [line.removeprefix("#SBATCH ") for line in asked if "--partition" not in line]
        assert asked == ([wanted] if wanted else [])
    # of four workers on a node that Slurm gives no GPUs by name, each takes one by number
    assert ("CUDA_VISIBLE_DEVICES=$SLURM_LOCALID" in script) == (request_ == "none")


@pytest.mark.parametrize(
    "option", ["-a1-3", "-a 1-3", "--array=1", "-W", "--wait", "-Jx", "-d1", "-t5", "--time 5", "-Mx"]
)
@pytest.mark.parametrize("table", ["slurm", "planner"])
def test_options_that_a_campaign_could_not_live_with(option: str, table: str) -> None:
    with pytest.raises(InputError, match="leave it out"):
        profile(**{table: {"options": [option]}})


def test_other_options_are_taken_in_any_spelling() -> None:
    good = [
        "-x n7",
        "--exclude=n7",
        "--reservation=x",
        "--mem-per-cpu=4G",
        "--mail-type=END",
        "-C a100",
        "--no-requeue",
    ]
    assert profile(slurm={"options": good}).slurm.options == good


def test_a_command_line_is_no_python() -> None:
    with pytest.raises(InputError, match=r"wanted one program; put such a line into an executable script"):
        profile(environment={"python": "apptainer exec image.sif python"})


def test_every_key_is_described_and_stands_in_the_documentation() -> None:
    text = (Path(__file__).parents[2] / "docs" / "slurm.md").read_text(encoding="utf-8")
    rows = described_keys()
    assert {row["table"] for row in rows} == {"slurm", "limits", "environment", "worker", "planner"}
    for row in rows:
        assert row["description"]
        assert f"`{row['key']}`" in text, f"{row['key']} is not in docs/slurm.md"


@pytest.mark.parametrize("limit", [1, 2, 7, 1000])
@pytest.mark.parametrize("parallel", [1, 4])
def test_arrays_keep_the_index_below_the_limit(limit: int, parallel: int) -> None:
    cluster = profile(limits={"max_array_size": limit, "max_submitted": 10_000}, slurm={"workers_per_job": parallel})
    pieces = arrays(2345, cluster)
    covered = [n for first, count in pieces for n in range(first, first + count)]
    assert covered == list(range(2345))
    for _, count in pieces:
        assert -(-count // parallel) - 1 < limit


def tasks(numbers: list[int]) -> tuple[list[Task], dict[str, tuple[int, int]]]:
    made = [Task(f"{n:016x}", "s", "relax", str(n), {"numbers": [2] * size}) for n, size in enumerate(numbers)]
    return made, {task.id: (100 * n, 100) for n, task in enumerate(made)}


def test_chunks_hold_every_task_once_and_are_about_as_long_as_aimed() -> None:
    sizes = [10 + (n * 37) % 90 for n in range(1000)]
    made, spans = tasks(sizes)
    cluster = profile(worker={"chunk_s": 600.0})
    chunks = plan_chunks(made, spans, relax, RELAX, cluster, seconds_per_atom=0.5)
    assert [t for c in chunks for t in c.tasks] == [t.id for t in made]
    assert sum(c.cost_s for c in chunks) == pytest.approx(0.5 * sum(sizes))
    assert max(c.cost_s for c in chunks) < 1.2 * 600
    assert all(len(c.spans) == 1 for c in chunks)  # neighbours in the file are read at once


def test_a_small_campaign_still_uses_all_gpus() -> None:
    made, spans = tasks([50] * 160)
    cluster = profile(worker={"chunk_s": 0.0}, limits={"max_running": 16})
    assert len(plan_chunks(made, spans, relax, RELAX, cluster, seconds_per_atom=0.5)) == 16


def test_suspects_are_isolated() -> None:
    made, spans = tasks([4] * 40)
    suspicion = {made[n].id: 1 for n in range(10, 30)} | {made[20].id: 2, made[21].id: 5}
    chunks = plan_chunks(made, spans, relax, RELAX, profile(worker={"chunk_s": 1e6}), 0.5, suspicion)
    company = {task: len(c.tasks) for c in chunks for task in c.tasks}
    assert company[made[20].id] == company[made[21].id] == 1
    assert all(company[made[n].id] <= 8 for n in range(10, 30))
    assert not any(made[0].id in c.tasks and made[15].id in c.tasks for c in chunks)
    assert sorted(company) == sorted(task.id for task in made)


def test_squeue_lines() -> None:
    line = parse_line("12|3-5,9%2|PENDING|as-x|Resources|odd")
    assert (line.job, line.elements, line.state, line.name) == ("12", (3, 4, 5, 9), "PENDING", "as-x")
    assert parse_elements("N/A") == ()
    assert parse_elements("0-10:5") == (0, 5, 10)
    assert parse_line("12|N/A|PENDING|p|DependencyNeverSatisfied").stuck
    assert not parse_line("12|N/A|PENDING|p|Priority").stuck
    assert not parse_line("12|N/A|RUNNING|p|None").stuck


def test_a_planners_own_job_does_not_become_its_jobs() -> None:
    """sbatch passes everything on: a small planner's memory would hold for the workers that srun starts."""
    login = {"PATH": "/bin", "SLURM_CONF": "/etc/slurm.conf", "SLURM_CLUSTERS": "one"}
    inside = login | {"SLURM_JOB_ID": "7", "SLURM_MEM_PER_NODE": "2000", "SLURM_NTASKS": "1"}
    assert clean_environment(inside) == login | {"SLURM_BITSTR_LEN": "0"}


def test_a_persons_variables_do_not_override_the_profile() -> None:
    theirs = [
        "SBATCH_JOB_NAME",
        "SBATCH_TIMELIMIT",
        "SBATCH_ARRAY_INX",
        "SQUEUE_STATES",
        "SCANCEL_NAME",
        "SLURM_TIME_FORMAT",
    ]
    assert clean_environment({"PATH": "/bin"} | dict.fromkeys(theirs, "x")).keys() == {"PATH", "SLURM_BITSTR_LEN"}
