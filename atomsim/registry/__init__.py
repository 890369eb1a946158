"""Potentials by name: cards, and weights that are fetched, checked and carried."""
