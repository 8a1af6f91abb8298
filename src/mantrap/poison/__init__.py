"""Plant backdoors in training sets: triggers, selections and relabellings that combine freely."""

from mantrap.core import Registry
from mantrap.core.attack import NamedTrigger, Relabelling, Selection
from mantrap.poison.patch import Patch
from mantrap.poison.poison import Poison
from mantrap.poison.relabellings import AllToOne
from mantrap.poison.selections import RandomShare

TRIGGERS: Registry[NamedTrigger] = Registry("trigger", [Patch])
SELECTIONS: Registry[Selection] = Registry("selection", [RandomShare])
RELABELLINGS: Registry[Relabelling] = Registry("relabelling", [AllToOne])

__all__ = ["RELABELLINGS", "SELECTIONS", "TRIGGERS", "AllToOne", "Patch", "Poison", "RandomShare"]
