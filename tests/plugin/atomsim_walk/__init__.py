"""A walk as a step kind, a pair potential and its card: what a package adds to atomsim."""
