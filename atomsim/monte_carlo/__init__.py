"""Monte Carlo on lattices: one Metropolis criterion, exchanges of species vectorised over replicas, replica exchange.

It stands below ``structures`` and knows of numbers only: sites, species, energies and temperatures in eV.
"""

from __future__ import annotations

from atomsim.monte_carlo.convergence import potential_scale_reduction, standard_error
from atomsim.monte_carlo.energy import QuadraticEnergy
from atomsim.monte_carlo.metropolis import Replicas, accept, metropolis, site_pairs, start_replicas
from atomsim.monte_carlo.tempering import Sampling, temper

__all__ = [
    "QuadraticEnergy",
    "Replicas",
    "Sampling",
    "accept",
    "metropolis",
    "potential_scale_reduction",
    "site_pairs",
    "standard_error",
    "start_replicas",
    "temper",
]
