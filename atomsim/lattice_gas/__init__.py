"""Ions and vacancies on the sites of a host: energy fitted to relaxed orderings, and x(V) at temperature from it.

The verb is ``atomsim.isotherm``.
"""
