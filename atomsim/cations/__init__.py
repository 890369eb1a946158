"""Cations: how they order on sublattices, where a dopant sits, and what either does to the layers.

The verbs are ``atomsim.order`` and ``atomsim.dope``.
"""
