"""An adversarial patch: a picture that misleads the model wherever it is stuck on an image."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mantrap.core import SILENT, Classifier, Problem, Progress, Rng, Stage, require
from mantrap.core.shapes import Images, Labels
from mantrap.errors import UsageError
from mantrap.evade.shared import for_each_target, shared_climb
from mantrap.ops.boxed_adam import BoxedAdam
from mantrap.ops.paste import Corners, Patches, paste
from mantrap.ops.pgd import PerImage, slope


@dataclass(frozen=True, kw_only=True)
class AdversarialPatch:
    """Learn one patch that misleads the model at whatever place of whatever image, and put it at a place drawn anew.

    It does not hide: its budget is an area, and inside it every pixel may be anything. Use it beside triggers that were
    recovered from a model: a natural patch as small as these is no sign of a backdoor.

    Away from their classes all images share one patch, and those of the class that it leads to cannot be misled;
    towards targets those of one target do.

    Args:
        size: Height and width of the patch in pixels.
        steps: How often it is changed.
        rate: Learning rate, of pixels in [0, 1].
        batch_size: Images that are drawn for each step, each with a place of its own.

    Reference: Brown et al., Adversarial Patch, 2017, equation 1.

    Deviations: of the paper's transformations there is the place alone, for patches are neither turned nor scaled; away
    from the own class, which the paper has not, the loss is clipped as for ``universal``.
    """

    name: ClassVar[str] = "adversarial_patch"
    quick: ClassVar[str] = "adversarial_patch(size=(4, 4), steps=30, rate=0.1, batch_size=12)"
    needs_gradients: ClassVar[bool] = True
    aims: ClassVar[bool] = True
    size: tuple[int, int] = (8, 8)
    steps: int = 300
    rate: float = 0.05
    batch_size: int = 128

    def __post_init__(self) -> None:
        require(min(self.size) >= 1, field="size", expected="of at least 1 pixel", got=self.size)
        require(self.steps >= 1, field="steps", expected="of at least 1", got=self.steps)
        require(self.rate > 0, field="rate", expected="above 0", got=self.rate)
        require(self.batch_size >= 1, field="batch_size", expected="of at least 1", got=self.batch_size)

    def search(self, problem: Problem, *, rng: Rng, progress: Progress = SILENT) -> Images:
        """See :class:`~mantrap.core.Evasion`."""
        _, height, width = problem.model.input_shape
        if self.size[0] > height or self.size[1] > width:
            raise UsageError(
                expected=f"a patch that fits into {height}x{width} pixels",
                got=f"{self.size[0]}x{self.size[1]}",
                remedy="Choose a smaller size.",
            )

        def found(led: Problem, stream: Rng) -> Images:
            with progress.stage("adversarial patch", self.steps) as stage:
                patch = adversarial_patch(led, self, rng=stream, stage=stage)
            return paste(led.images, _for_each(patch, len(led)), places(self, led.images, stream.child("place")))

        return for_each_target(problem, found, rng)


def adversarial_patch(problem: Problem, settings: AdversarialPatch, *, rng: Rng, stage: Stage) -> Patches:
    """One patch that leads images to the goal wherever it lies on them, [1, c, height, width] in [0, 1]."""
    patch = torch.full((1, problem.model.input_shape[0], *settings.size), 0.5, device=problem.images.device)
    adam, climb = BoxedAdam(patch, settings.rate), shared_climb(problem)
    for number in range(settings.steps):
        stream = rng.child("step", number=number)
        chosen = torch.randint(len(problem), (settings.batch_size,), generator=stream.child("images").torch())
        images, anchors = (given[chosen.to(given.device)] for given in (problem.images, problem.anchors))
        corners = places(settings, images, stream.child("places"))

        def with_patches(
            model: Classifier, patches: Patches, labels: Labels, images: Images = images, corners: Corners = corners
        ) -> PerImage:
            return climb(model, paste(images, patches, corners), labels)

        rise = slope(problem.model, _for_each(patch, len(images)), anchors, with_patches)
        adam.descend(-rise.mean(0, keepdim=True))
        stage.advance()
    return patch


def places(settings: AdversarialPatch, images: Images, rng: Rng) -> Corners:
    """A place for the patch on each image, evenly among all where it fits: its upper left pixel, [n, 2]."""
    generator = rng.torch()
    rooms = [whole - part + 1 for whole, part in zip(images.shape[2:], settings.size, strict=True)]
    drawn = [torch.randint(room, (len(images),), generator=generator) for room in rooms]
    return torch.stack(drawn, dim=1).to(images.device)


def _for_each(patch: Patches, images: int) -> Tensor:
    return patch.expand(images, -1, -1, -1)
