"""Take a backdoor out of a model, or train one without it. Nothing here ever sees an attack."""

from mantrap.core import Registry, Repair, SafeTraining
from mantrap.repair.anp import Anp
from mantrap.repair.automatic import Automatic
from mantrap.repair.fine_pruning import FinePruning
from mantrap.repair.fine_tuning import FineTuning
from mantrap.repair.ft_sam import FtSam
from mantrap.repair.i_bau import IBau
from mantrap.repair.isolation import Isolation
from mantrap.repair.nad import Nad
from mantrap.repair.pruning import Pruning
from mantrap.repair.steps import STEPS
from mantrap.repair.unlearning import Unlearning

REPAIRS: Registry[Repair] = Registry("repair", [*STEPS, Automatic])

SAFE_TRAININGS: Registry[SafeTraining] = Registry("safe training", [Isolation])

__all__ = [
    "REPAIRS",
    "SAFE_TRAININGS",
    "Anp",
    "Automatic",
    "FinePruning",
    "FineTuning",
    "FtSam",
    "IBau",
    "Isolation",
    "Nad",
    "Pruning",
    "Unlearning",
]
