"""Adversarial examples: images that look as they did, and that a model takes for something else."""

from typing import Final

from mantrap.core import Evasion, Registry
from mantrap.evade.adversarial_patch import AdversarialPatch
from mantrap.evade.apgd import Apgd
from mantrap.evade.bim import Bim
from mantrap.evade.boundary import Boundary
from mantrap.evade.carlini_wagner import CarliniWagner
from mantrap.evade.ddn import Ddn
from mantrap.evade.deepfool import DeepFool
from mantrap.evade.fgsm import Fgsm
from mantrap.evade.lbfgs import Lbfgs
from mantrap.evade.mi_fgsm import MiFgsm
from mantrap.evade.perturb import perturb
from mantrap.evade.pgd import Pgd
from mantrap.evade.rfgsm import RandomFgsm
from mantrap.evade.single import SINGLE
from mantrap.evade.square import Square
from mantrap.evade.universal import Universal
from mantrap.evade.worst_case import WorstCase

EVASIONS: Registry[Evasion] = Registry("evasion", [*SINGLE, WorstCase])

DEFAULT_EVASIONS: Final = ("fgsm", "apgd(steps=40)", "square(queries=500)", "ddn")
"""Specs of those that mislead a model where none is named: one step, many, answers alone, and the smallest norm."""
DEFAULT_TRANSFERRED: Final = Lbfgs.name
"""The one that makes examples to be shown to other models where none is named."""

__all__ = [
    "DEFAULT_EVASIONS",
    "DEFAULT_TRANSFERRED",
    "EVASIONS",
    "AdversarialPatch",
    "Apgd",
    "Bim",
    "Boundary",
    "CarliniWagner",
    "Ddn",
    "DeepFool",
    "Fgsm",
    "Lbfgs",
    "MiFgsm",
    "Pgd",
    "RandomFgsm",
    "Square",
    "Universal",
    "WorstCase",
    "perturb",
]
