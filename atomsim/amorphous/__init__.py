"""Glasses: composition, start, melt and quench, and the verdict on what came out.

>>> glass = composition("Li2Ru0.8S0.2O3.2", 124)
>>> start = make_start(glass, Start("units"), seed=1)
>>> for phase, snapshot in melt_quench([Melt("one", start, seed=1)], potential, Protocol()):
...     print(phase, snapshot.status, snapshot.state.kinetic_temperature)
"""
