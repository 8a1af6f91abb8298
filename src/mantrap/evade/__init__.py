"""Adversarial examples: images that look as they did, and that a model takes for something else."""

from mantrap.core import Evasion, Registry
from mantrap.evade.apgd import Apgd
from mantrap.evade.bim import Bim
from mantrap.evade.fgsm import Fgsm
from mantrap.evade.mi_fgsm import MiFgsm
from mantrap.evade.perturb import perturb
from mantrap.evade.pgd import Pgd
from mantrap.evade.rfgsm import RandomFgsm
from mantrap.evade.square import Square

EVASIONS: Registry[Evasion] = Registry("evasion", [Fgsm, RandomFgsm, Bim, Pgd, MiFgsm, Apgd, Square])

__all__ = ["EVASIONS", "Apgd", "Bim", "Fgsm", "MiFgsm", "Pgd", "RandomFgsm", "Square", "perturb"]
