"""Independent systems, concatenated, and their evaluations: the state that everything else passes on."""

from atomsim.batch.evaluation import Evaluation, on_host
from atomsim.batch.scoped import PER_ATOM, PER_SYSTEM, take_scoped, to_host
from atomsim.batch.systems import Batch

__all__ = ["PER_ATOM", "PER_SYSTEM", "Batch", "Evaluation", "on_host", "take_scoped", "to_host"]
