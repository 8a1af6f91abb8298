"""Adversarial examples: images that look as they did, and that a model takes for something else."""

from mantrap.core import Evasion, Registry
from mantrap.evade.adversarial_patch import AdversarialPatch
from mantrap.evade.apgd import Apgd
from mantrap.evade.bim import Bim
from mantrap.evade.fgsm import Fgsm
from mantrap.evade.mi_fgsm import MiFgsm
from mantrap.evade.perturb import perturb
from mantrap.evade.pgd import Pgd
from mantrap.evade.rfgsm import RandomFgsm
from mantrap.evade.single import SINGLE
from mantrap.evade.square import Square
from mantrap.evade.universal import Universal
from mantrap.evade.worst_case import WorstCase

EVASIONS: Registry[Evasion] = Registry("evasion", [*SINGLE, WorstCase])

__all__ = [
    "EVASIONS",
    "AdversarialPatch",
    "Apgd",
    "Bim",
    "Fgsm",
    "MiFgsm",
    "Pgd",
    "RandomFgsm",
    "Square",
    "Universal",
    "WorstCase",
    "perturb",
]
