"""Analysis of relaxed structures: hull, voltage, lattice, oxygen, redox, diffraction.

Pure functions of structures and numbers; nothing here evaluates a potential.
"""
