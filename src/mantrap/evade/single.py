"""Evasions that do one thing, which others may ask one after the other."""

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
from mantrap.evade.pgd import Pgd
from mantrap.evade.rfgsm import RandomFgsm
from mantrap.evade.square import Square
from mantrap.evade.universal import Universal

SINGLE: Final[Registry[Evasion]] = Registry(
    "evasion",
    [
        Fgsm,
        RandomFgsm,
        Bim,
        Pgd,
        MiFgsm,
        Apgd,
        Square,
        Lbfgs,
        DeepFool,
        CarliniWagner,
        Ddn,
        Boundary,
        Universal,
        AdversarialPatch,
    ],
)
