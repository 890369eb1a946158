"""What a GPU would compute, on a pretended one, in a process of its own.

Once torch has computed derivatives on a device, a process can no longer fork, as other tests do.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CASES = Path(__file__).parent / "helpers" / "card_cases.py"


@pytest.mark.slow
def test_a_pretended_card_gives_the_cpus_numbers_with_few_questions() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", str(CASES)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=CASES.parents[2])
    assert done.returncode == 0, done.stdout + done.stderr
