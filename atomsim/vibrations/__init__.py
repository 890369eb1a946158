"""Harmonic vibrations of crystals: phonon bands, densities of states, stability and thermal properties."""
