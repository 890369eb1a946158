"""The contract that every potential keeps, as a test for packages that add one.

Examples:
    >>> import atomsim
    >>> from atomsim.testing import check_contract
    >>> systems = [*atomsim.read("Li"), *atomsim.read("LiCoO2")]
    >>> checks = list(check_contract(atomsim.load_potential("lj-test", device="cpu"), systems))
    >>> all(check.passed for check in checks), len(checks) > 10
    (True, True)
"""

from __future__ import annotations

from atomsim.models.checks import FLOAT32, FLOAT64, Check, Tolerance, check_contract

__all__ = ["FLOAT32", "FLOAT64", "Check", "Tolerance", "check_contract"]
