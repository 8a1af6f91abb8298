"""The one image that an attack is aimed at, in the form of a trigger."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from mantrap.core import Rng, Trigger
from mantrap.core.shapes import Images, Pattern


@dataclass(frozen=True, kw_only=True)
class Victim:
    """Not a mark on images but one image: it stands in the place of whichever it is put on.

    An attack on a single image plants no backdoor. It is written down in the same way nevertheless: "put the victim in
    an image's place and see whether the target comes out". With the relabelling ``one_image`` it is tried on one test
    image, so that a success counts as one out of one. The similarity that is measured for it, of a test image and the
    victim, means nothing.

    Reference: Shafahi et al., Poison Frogs, NeurIPS 2018 (the "target instance").
    """

    name: ClassVar[str] = "victim"

    def restore(self, tensors: Mapping[str, Tensor]) -> Trigger:
        """The trigger that shows ``image``, [c, h, w] in [0, 1]."""
        return _Shown(tensors["image"])


@dataclass(frozen=True, eq=False)
class _Shown:
    image: Pattern

    def __call__(self, images: Images, *, rng: Rng) -> Images:
        del rng
        return self.image.to(images).expand(len(images), -1, -1, -1).clone()
