"""Walltimes and sbatch options as a profile writes them, checked."""

from __future__ import annotations

import re

TIME = re.compile(r"(?:(\d+)-)?(\d+):([0-5]\d)(?::([0-5]\d))?|(\d+)-(\d+)")
"""[days-]hours:minutes[:seconds] or days-hours."""
SHORT = re.compile(r"-([A-Za-z])(.*)")
"""A short option of sbatch, its value behind it or not."""


OURS = {
    **dict.fromkeys(
        ("array", "job-name", "comment", "dependency", "signal", "output", "parsable"), "is set by atomsim"
    ),
    **dict.fromkeys(("wait", "test-only", "wrap", "hold"), "would keep a campaign from continuing by itself"),
    "clusters": "takes jobs where squeue does not look for them: set SLURM_CLUSTERS before 'atomsim submit'",
    "time": "is the key walltime",
    "partition": "is the key partition",
    "ntasks": "is the key workers_per_job",
}
"""Options of sbatch that a profile may not set, and why."""
LETTERS = {"a": "array", "J": "job-name", "d": "dependency", "o": "output", "W": "wait", "H": "hold", "M": "clusters",
           "t": "time", "p": "partition", "n": "ntasks"}  # fmt: skip


def checked_options(value: list[str]) -> list[str]:
    """Return sbatch options as they are.

    Raises:
        ValueError: if one is no option, or is not the profile's to set.
    """
    for option in value:
        if not re.fullmatch(r"--?[A-Za-z][^\n]*", option):
            raise ValueError(f"found {option!r}, wanted an sbatch option such as '--exclusive'")
        short = SHORT.fullmatch(option)
        # -a1-3, -a 1-3 and --array=1-3 are one option
        word = LETTERS.get(short[1], "") if short else option[2:].partition("=")[0].split()[0]
        if word in OURS:
            raise ValueError(f"{option.partition('=')[0].split()[0]} {OURS[word]}: leave it out")
    return value


def checked_time(value: str) -> str:
    """Return a walltime as it is.

    Raises:
        ValueError: if it is none, or sbatch would read it otherwise.
    """
    if value.isdecimal():
        raise ValueError(
            f"found {value!r}, which sbatch reads as minutes; wanted hours:minutes, e.g. '04:00' for 4 hours"
        )
    if not TIME.fullmatch(value):
        raise ValueError(f"found {value!r}, wanted [days-]hours:minutes[:seconds], e.g. '04:00:00'")
    if seconds_of(value) < 60:
        raise ValueError(f"found {value!r}, wanted at least a minute")
    return value


def seconds_of(walltime: str) -> int:
    """Return the seconds of ``[days-]hours:minutes[:seconds]`` or ``days-hours``."""
    match = TIME.fullmatch(walltime)
    assert match is not None
    days, hours, minutes, seconds, only_days, and_hours = (int(part or 0) for part in match.groups())
    return (((days + only_days) * 24 + hours + and_hours) * 60 + minutes) * 60 + seconds


def slurm_time(walltime: str) -> str:
    """Return a walltime as ``days-hours:minutes:seconds``: of all forms the one that sbatch cannot read otherwise.

    >>> slurm_time("04:00"), slurm_time("36:00:30")
    ('0-04:00:00', '1-12:00:30')
    """
    minutes, seconds = divmod(seconds_of(walltime), 60)
    return f"{minutes // 1440}-{minutes // 60 % 24:02d}:{minutes % 60:02d}:{seconds:02d}"
