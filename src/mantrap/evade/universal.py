"""A universal perturbation: the same change for all images."""

from dataclasses import dataclass
from typing import ClassVar

from mantrap.core import SILENT, ImageSet, Problem, Progress, Rng, require
from mantrap.core.shapes import Images
from mantrap.evade.leading import ManySteps
from mantrap.evade.shared import for_each_target, shared_climb
from mantrap.ops.projections import onto_box
from mantrap.ops.universal import universal_perturbation


@dataclass(frozen=True, kw_only=True)
class Universal(ManySteps):
    """Learn one perturbation that misleads the model on as many of the images as it can, added to each of them.

    Away from their classes all images share it, and those of the class that it leads to cannot be misled; towards
    targets those of one target do.

    Args:
        eps: Budget, of pixels in [0, 1].
        norm: ``"linf"`` or ``"l2"``.
        step: Length of a step, as a share of ``eps``.
        steps: How many.
        batch_size: Images that are drawn for each step; never more than there are.

    Reference: Moosavi-Dezfooli et al., Universal Adversarial Perturbations, CVPR 2017, for the question; Shafahi et
    al., Universal Adversarial Training, AAAI 2020, algorithm 2, for the way, with the deviations of
    :func:`~mantrap.ops.universal.universal_perturbation`.
    """

    name: ClassVar[str] = "universal"
    quick: ClassVar[str] = "universal(eps=0.1, steps=12, step=0.25, batch_size=12)"
    needs_gradients: ClassVar[bool] = True
    aims: ClassVar[bool] = True
    step: float = 0.05
    steps: int = 200
    batch_size: int = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.batch_size >= 1, field="batch_size", expected="of at least 1", got=self.batch_size)

    def search(self, problem: Problem, *, rng: Rng, progress: Progress = SILENT) -> Images:
        """See :class:`~mantrap.core.Evasion`."""

        def found(led: Problem, stream: Rng) -> Images:
            delta = universal_perturbation(
                led.model,
                ImageSet.from_array(led.images.cpu(), led.anchors),
                climb=shared_climb(led),
                ascent=self.ascent,
                batch_size=min(self.batch_size, len(led)),
                rng=stream,
                progress=progress,
            )
            return onto_box(led.images + delta.to(led.images.device))

        return for_each_target(problem, found, rng)
