"""Cards of the potentials of this package."""
