"""What is done to the chosen images before the trigger goes on them."""

from dataclasses import dataclass
from typing import ClassVar

from mantrap.core import Classifier, Rng
from mantrap.core.shapes import Images, Labels
from mantrap.ops.pgd import Ascent, away, pgd
from mantrap.poison.surrogates import surrogate


@dataclass(frozen=True, kw_only=True)
class Adversarial(Ascent):
    """Perturb the chosen images away from their label, so that the trigger is the easier thing to learn about them.

    It needs a classifier of the attacker's own. One that was trained to withstand such perturbations serves best: what
    misleads it misleads other networks as well.

    Args:
        norm: ``"linf"``, the largest change of a value, or ``"l2"``, the Euclidean length over all values of an image.
        eps: Largest norm; pixels are in [0, 1]. The paper has 8, 16 and 32 of 255 for L-infinity, and 300, 600 and
            1200 of 255 for L2.
        step: Norm of one step.
        steps: How many.

    Reference: Turner, Tsipras and Madry, Label-Consistent Backdoor Attacks, 2019, section 4.2 (adversarial
    perturbations); the published data sets' norms. Steps and step size are those of a re-implementation by others,
    which says that it has them from the paper.
    """

    name: ClassVar[str] = "adversarial"

    eps: float = 16 / 255
    step: float = 1.5 / 255
    steps: int = 100

    def prepare(self, images: Images, labels: Labels, *, model: Classifier | None, rng: Rng) -> Images:
        """The perturbed images, [n, c, h, w] in [0, 1].

        Raises:
            UsageError: There is no model, or it does not fit the images.
        """
        found = surrogate(model, images.shape[1:], labels=int(labels.max()) + 1, wanted_by=self.name)
        return pgd(found, images, labels, climb=away, ascent=self, rng=rng)
