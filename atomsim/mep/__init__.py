"""Minimum-energy paths: bands whose images move together, saddle points, barriers and rates."""
