"""MACE: pruning, precomputed tables, kernels, students."""
