"""``python -m atomsim.cli``: what job scripts call, as a node's PATH need not hold ``atomsim``."""

from atomsim.cli import main

main()
