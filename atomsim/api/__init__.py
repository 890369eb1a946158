"""The public functions of atomsim: what ``atomsim.<verb>`` runs, and what it returns.

A verb checks what it is given (``arguments``, ``inputs``), writes a plan of steps (``execution``), runs it in memory or
in a run folder by the code that ``atomsim run`` uses, and wraps the records that come out (``results``).
"""
