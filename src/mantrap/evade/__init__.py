"""Adversarial examples: images that look as they did, and that a model takes for something else."""

from typing import Final

from mantrap.core import Evasion, Registry
from mantrap.evade.bim import Bim
from mantrap.evade.fgsm import Fgsm
from mantrap.evade.perturb import perturb
from mantrap.evade.pgd import Pgd
from mantrap.evade.rfgsm import RandomFgsm

EVASIONS: Registry[Evasion] = Registry("evasion", [Fgsm, RandomFgsm, Bim, Pgd])

DEFAULT_EVASIONS: Final = (Fgsm.name, Pgd.name)
"""Those that mislead a model where none is named."""
DEFAULT_TRANSFERRED: Final = Fgsm.name
"""The one that makes examples to be shown to other models where none is named."""

__all__ = ["DEFAULT_EVASIONS", "DEFAULT_TRANSFERRED", "EVASIONS", "Bim", "Fgsm", "Pgd", "RandomFgsm", "perturb"]
