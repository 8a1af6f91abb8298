"""Adversarial examples: images that look as they did, and that a model takes for something else."""

from mantrap.core import Evasion, Registry
from mantrap.evade.bim import Bim
from mantrap.evade.boundary import Boundary
from mantrap.evade.carlini_wagner import CarliniWagner
from mantrap.evade.ddn import Ddn
from mantrap.evade.deepfool import DeepFool
from mantrap.evade.fgsm import Fgsm
from mantrap.evade.lbfgs import Lbfgs
from mantrap.evade.perturb import perturb
from mantrap.evade.pgd import Pgd
from mantrap.evade.rfgsm import RandomFgsm

EVASIONS: Registry[Evasion] = Registry(
    "evasion", [Fgsm, RandomFgsm, Bim, Pgd, Lbfgs, DeepFool, CarliniWagner, Ddn, Boundary]
)

__all__ = [
    "EVASIONS",
    "Bim",
    "Boundary",
    "CarliniWagner",
    "Ddn",
    "DeepFool",
    "Fgsm",
    "Lbfgs",
    "Pgd",
    "RandomFgsm",
    "perturb",
]
