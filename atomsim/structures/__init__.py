"""Structures to start from: prototypes, disorder, delithiated orderings, sanity checks."""
