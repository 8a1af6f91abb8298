"""Is a recovered trigger a natural one? Some classes are where everything odd goes, without any backdoor."""

from dataclasses import dataclass
from functools import partial

import torch

from mantrap.core import Classifier, Cost, ImageSet, ReversedTrigger, Rng
from mantrap.core.shapes import Labels
from mantrap.ops.recovered import elsewhere, put_on, shuffled
from mantrap.ops.scores import trigger_success
from mantrap.records import Rate

_IMAGES = 200
"""Images that are tried at most: a rough answer is enough."""


@dataclass(frozen=True)
class Rearranged:
    """How well a trigger works that is not what it was.

    A planted trigger depends on its place, as a patch in the corner does, or on its shape, as one in the middle or at
    random places does. What works anywhere and in any order is no more than an amount of change, which pushes images
    into a class that the network gives to whatever it does not know.

    Args:
        elsewhere: Success mirrored, upside down or both, whichever works best.
        shuffled: Success with its pixels in random places and twice as strong.
    """

    elsewhere: Rate
    shuffled: Rate


def rearrange(
    model: Classifier, heldout: ImageSet, trigger: ReversedTrigger, *, sources: Labels, rng: Rng
) -> tuple[Rearranged, Cost]:
    """How well a trigger works elsewhere and shuffled.

    Args:
        model: The classifier.
        heldout: Images that the search has not seen; 200 of other classes at most are tried, drawn at random.
        trigger: What was recovered.
        sources: The class of each image.
        rng: Source of the shuffling.

    Raises:
        DataError: Every image belongs to the target class.
    """
    order = torch.randperm(len(sources), generator=rng.child("images").torch()).tolist()
    others = [i for i in order if int(sources[i]) != trigger.target][:_IMAGES]
    images = heldout.subset(others)

    def success(moved: ReversedTrigger) -> Rate:
        return trigger_success(model, images, partial(put_on, trigger=moved), moved.target, sources=sources[others])

    places = [success(there) for there in elsewhere(trigger)]
    found = Rearranged(max(places, key=lambda rate: rate.value), success(shuffled(trigger, rng)))
    return found, Cost(forward=(len(places) + 1) * len(images))
