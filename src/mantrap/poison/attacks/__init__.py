"""Attacks by name: what the literature calls them, with its settings."""

from mantrap.core import Registry
from mantrap.core.attack import DataAttack, ModelAttack
from mantrap.poison.attacks.badnets import BadNets
from mantrap.poison.attacks.combination import Combined

ATTACKS: Registry[DataAttack | ModelAttack] = Registry("attack", [BadNets])

__all__ = ["ATTACKS", "BadNets", "Combined"]
