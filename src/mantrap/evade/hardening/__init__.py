"""Training against adversarial examples, and its control."""

from mantrap.core import Hardening, Registry
from mantrap.evade.hardening.fast import Fast
from mantrap.evade.hardening.fgsm_training import FgsmTraining
from mantrap.evade.hardening.noise import Noise
from mantrap.evade.hardening.pgd_training import PgdTraining
from mantrap.evade.hardening.pool import Pool
from mantrap.evade.hardening.trades import Trades

HARDENINGS: Registry[Hardening] = Registry("hardening", [FgsmTraining, PgdTraining, Trades, Fast, Pool, Noise])

__all__ = ["HARDENINGS", "Fast", "FgsmTraining", "Noise", "PgdTraining", "Pool", "Trades"]
