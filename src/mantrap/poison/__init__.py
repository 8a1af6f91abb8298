"""Plant backdoors: in training sets, by triggers, selections and relabellings that combine freely, and in models."""

from mantrap.poison.attacks import ATTACKS, BadNets, Combined, attack_text, combine
from mantrap.poison.clean_labels import CleanLabel
from mantrap.poison.plan import PREPARATIONS, RELABELLINGS, SELECTIONS, plan
from mantrap.poison.poison import Poison, apply_all, put_on
from mantrap.poison.relabellings import AllToAll, AllToOne, SourceSpecific, Untargeted
from mantrap.poison.selections import Exactly, RandomShare
from mantrap.poison.triggers import TRIGGERS, Patch, ready

__all__ = [
    "ATTACKS",
    "PREPARATIONS",
    "RELABELLINGS",
    "SELECTIONS",
    "TRIGGERS",
    "AllToAll",
    "AllToOne",
    "BadNets",
    "CleanLabel",
    "Combined",
    "Exactly",
    "Patch",
    "Poison",
    "RandomShare",
    "SourceSpecific",
    "Untargeted",
    "apply_all",
    "attack_text",
    "combine",
    "plan",
    "put_on",
    "ready",
]
