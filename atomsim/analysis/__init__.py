"""What a set of relaxed structures says: hull, voltage, lattice, oxygen, redox, diffraction.

Pure functions of structures and numbers; nothing here evaluates a potential.
"""
