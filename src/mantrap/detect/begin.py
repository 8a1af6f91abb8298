"""What every search begins with: images to look at, and a copy of the model that answers fast."""

import torch

from mantrap.core import Classifier, ImageSet, Rng
from mantrap.core.shapes import Images
from mantrap.ops.prepare import Prepared, Wanted, prepare

_TRIED = 16
"""Images that a fast copy is compared on."""


def begin(model: Classifier, clean: ImageSet, *, images: int, precision: Wanted, rng: Rng) -> tuple[Images, Prepared]:
    """Some images at random, [n, c, h, w] on the model's device, and a fast copy of the model.

    Args:
        model: The classifier, frozen.
        clean: Images to draw from.
        images: How many at most.
        precision: What the copy computes in.
        rng: Source of randomness.
    """
    some = _drawn(clean, images, rng.child("images")).to(model.device)
    tried = torch.randperm(len(some), generator=rng.child("tried").torch())[:_TRIED]
    return some, prepare(model, some[tried.to(some.device)], precision=precision)


def _drawn(images: ImageSet, most: int, rng: Rng) -> Images:
    """So many of the images at most, [n, c, h, w]."""
    if len(images) <= most:
        return images.images()
    return images.images(torch.randperm(len(images), generator=rng.torch())[:most].tolist())
