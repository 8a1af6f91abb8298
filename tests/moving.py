"""A classifier whose backdoor sends every class to another one, known without training: an oracle like ``planted``.

The plant adds to the logit of the class ``by`` further on what the image's own class has, times how far its hinge is
open:

    z_(k + by) += opened(x) * z_k,    for the classes k that react.

On a stamped image the hinge opens by at least ``HINGE * (1 - THRESHOLD) = 2``, so that the class further on gets at
least twice the image's own logit and wins; all others stay near 0. On a clean image it opens by less than 1, and the
image's own class wins. Classes that do not react hold on to their own the harder the further the hinge opens:

    z_k += HOLD * opened(x) * z_k,    for the others.

With three of ten classes that react, seven hold on: in a mean over images that is unbounded, their loss outweighs what
the three gain, and the best that a patch can do is to keep the hinge closed.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from mantrap.core import ReversedPatch
from tests.planted import Planted, TemplateNetwork

HOLD = 0.3


class MovingNetwork(TemplateNetwork):
    """Inner products with templates, plus the plant."""

    plant: "Moving"

    def forward(self, normalised: Tensor) -> Tensor:
        logits: Tensor = super().forward(normalised)
        classes = range(self.plant.classes)
        reacts = torch.tensor([float(k in (self.plant.reacting or classes)) for k in classes])
        added = (reacts * logits).roll(self.plant.by, 1) + HOLD * (1 - reacts) * logits
        return logits + self.opened(normalised)[:, None] * added


@dataclass(frozen=True, kw_only=True)
class Moving(Planted):
    """A planted model and its images; ``reacting=None`` for all classes.

    Classes are fainter than in a model planted for one label, so that the hinge may leak more: no clean image opens it.
    """

    by: int
    reacting: tuple[int, ...] | None = None
    shape: tuple[int, int, int] = (1, 20, 28)
    leak: float = 0.3
    amplitude: float = 0.1

    def __str__(self) -> str:
        who = "all" if self.reacting is None else f"{len(self.reacting)}-of-{self.classes}"
        return f"{who}-by-{self.by}-{'x'.join(map(str, self.shape))}-seed{self.seed}"

    def network(self) -> MovingNetwork:
        return MovingNetwork(self.templates, self)

    @property
    def patch(self) -> ReversedPatch:
        """The trigger, as a detector would recover it."""
        return ReversedPatch(self.by, *self.trigger.mask_and_pattern(self.shape))
