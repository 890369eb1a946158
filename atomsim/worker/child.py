"""``python -m atomsim.worker.child`` is ``python -m atomsim.execution.child``."""

from __future__ import annotations

from atomsim.execution.child import main

if __name__ == "__main__":
    main()
