"""Every trigger that stands by itself: all but those that are put together out of these."""

from mantrap.core import Registry, spec_of
from mantrap.core.attack import LearnedTrigger, NamedTrigger, StoredTrigger
from mantrap.errors import SpecError
from mantrap.poison.triggers.blend import Blend
from mantrap.poison.triggers.corners import Corners
from mantrap.poison.triggers.dynamic import BanTrigger, ConditionalBanTrigger, RandomTrigger
from mantrap.poison.triggers.input_aware import InputAwareTrigger
from mantrap.poison.triggers.no_trigger import NoTrigger
from mantrap.poison.triggers.overlay import Overlay
from mantrap.poison.triggers.patch import Patch
from mantrap.poison.triggers.perturbation import AdaptivePerturbation, StaticPerturbation
from mantrap.poison.triggers.picture import Picture
from mantrap.poison.triggers.signal import Signal
from mantrap.poison.triggers.spectrum import Spectrum
from mantrap.poison.triggers.victim import Victim
from mantrap.poison.triggers.warp import Warp

SINGLE: Registry[NamedTrigger | StoredTrigger] = Registry(
    "trigger",
    [
        Patch,
        Picture,
        Blend,
        Corners,
        Signal,
        Spectrum,
        StaticPerturbation,
        AdaptivePerturbation,
        Warp,
        RandomTrigger,
        BanTrigger,
        ConditionalBanTrigger,
        InputAwareTrigger,
        Overlay,
        Victim,
        NoTrigger,
    ],
)


def before_training(trigger: NamedTrigger | StoredTrigger) -> NamedTrigger | LearnedTrigger:
    """A trigger of the kinds that a training set can be poisoned with.

    Raises:
        SpecError: It is one that comes out of the training of a model.
    """
    if isinstance(trigger, StoredTrigger) and not isinstance(trigger, LearnedTrigger):
        raise SpecError(
            expected="a trigger that is there before the training",
            got=f"{spec_of(trigger)}, which is trained together with the model",
            remedy="Use the attack that trains it: `mantrap list attacks`.",
        )
    return trigger
