"""Molecular dynamics on batches."""
