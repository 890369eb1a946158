"""Constraints on single atoms: as rules, in files, and the directions that they leave free."""
