"""What goes on an image: everything that a spec string can name."""

from collections.abc import Mapping

from torch import Tensor

from mantrap.core import Registry, Trigger
from mantrap.core.attack import LearnedTrigger, NamedTrigger, StoredTrigger
from mantrap.poison.triggers.patch import Patch
from mantrap.poison.triggers.several import Several
from mantrap.poison.triggers.single import SINGLE, before_training

TRIGGERS: Registry[NamedTrigger | StoredTrigger] = Registry("trigger", [*SINGLE, Several])
"""Add a new one to the list of :mod:`mantrap.poison.triggers.single`."""


def ready(spec: str, tensors: Mapping[str, Tensor]) -> Trigger:
    """The trigger that a spec names, with what was learned for it, ready to be put on images.

    Raises:
        SpecError: There is no such trigger.
    """
    trigger = TRIGGERS.create(spec)
    return trigger.restore(tensors) if isinstance(trigger, StoredTrigger) else trigger


def for_poisoning(spec: str) -> NamedTrigger | LearnedTrigger:
    """The trigger that a spec names, of the kinds that a training set can be poisoned with.

    Raises:
        SpecError: There is no such trigger, or it is one that comes out of the training of a model.
    """
    return before_training(TRIGGERS.create(spec))


__all__ = ["TRIGGERS", "Patch", "for_poisoning", "ready"]
