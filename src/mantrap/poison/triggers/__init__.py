"""What goes on an image: everything that a spec string can name."""

from collections.abc import Mapping

from torch import Tensor

from mantrap.core import Registry, Trigger
from mantrap.core.attack import LearnedTrigger, NamedTrigger, StoredTrigger
from mantrap.errors import UsageError
from mantrap.poison.triggers.patch import Patch

TRIGGERS: Registry[NamedTrigger | StoredTrigger] = Registry("trigger", [Patch])


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
        SpecError: There is no such trigger.
        UsageError: It is one that comes out of the training of a model.
    """
    trigger = TRIGGERS.create(spec)
    if isinstance(trigger, StoredTrigger) and not isinstance(trigger, LearnedTrigger):
        raise UsageError(
            expected="a trigger that is there before the training",
            got=f"{spec}, which is trained together with the model",
            remedy="Use the attack that trains it: `mantrap list attacks`.",
        )
    return trigger


__all__ = ["TRIGGERS", "Patch", "for_poisoning", "ready"]
