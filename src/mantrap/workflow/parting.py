"""How an audit parts its images."""

from mantrap.core import ImageSet, Rng
from mantrap.data import split

HELDOUT_SHARE = 0.25
"""Share of the images that what was found is measured on."""


def parted(images: ImageSet, rng: Rng) -> tuple[ImageSet, ImageSet]:
    """Images to search with, and others, of no equal content, to measure on.

    Args:
        images: All there are.
        rng: Source of randomness of the audit.
    """
    parts = split(images, {"scan": 1 - HELDOUT_SHARE, "heldout": HELDOUT_SHARE}, rng=rng.child("split"))
    return parts["scan"], parts["heldout"]
