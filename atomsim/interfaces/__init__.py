"""Reactions between two phases in contact, from energies of bulk phases."""
