"""Several triggers on the same image."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from mantrap.core import SILENT, Classifier, ImageSet, Progress, Rng, Trigger, require
from mantrap.core.attack import LearnedTrigger, NamedTrigger
from mantrap.core.shapes import Images
from mantrap.poison.generators import below
from mantrap.poison.triggers.single import SINGLE, before_training


@dataclass(frozen=True, kw_only=True)
class Several:
    """Several triggers on every image, put on one after the other: together they are one trigger.

    For several triggers that work each by itself see the attack ``badnets``.

    Args:
        triggers: Specs of the triggers, in the order in which they are put on; none that is trained together with the
            model.
    """

    name: ClassVar[str] = "several"

    triggers: tuple[str, ...] = ("patch", "patch(place='top_left')")

    def __post_init__(self) -> None:
        require(len(self.triggers) > 0, field="triggers", expected="with at least one spec", got=self.triggers)
        self._parts()

    def _parts(self) -> tuple[NamedTrigger | LearnedTrigger, ...]:
        return tuple(before_training(SINGLE.create(spec)) for spec in self.triggers)

    def learn(
        self,
        images: ImageSet,
        *,
        model: Classifier | None,
        target: int | None,
        rng: Rng,
        progress: Progress = SILENT,
    ) -> dict[str, Tensor]:
        """What those of them that learn have learned, below the number of each; nothing where none does."""
        tensors: dict[str, Tensor] = {}
        for number, part in enumerate(self._parts()):
            if isinstance(part, LearnedTrigger):
                own = rng.child("part", number=number)
                learned = part.learn(images, model=model, target=target, rng=own, progress=progress)
                tensors |= {f"{number}.{name}": tensor for name, tensor in learned.items()}
        return tensors

    def restore(self, tensors: Mapping[str, Tensor]) -> Trigger:
        """The trigger that puts on all of them."""
        parts = enumerate(self._parts())
        return _OneByOne(
            tuple(p.restore(below(str(k), tensors)) if isinstance(p, LearnedTrigger) else p for k, p in parts)
        )


@dataclass(frozen=True, eq=False)
class _OneByOne:
    parts: tuple[Trigger, ...]

    def __call__(self, images: Images, *, rng: Rng) -> Images:
        """The images with all triggers on them; each draws from a stream of its own."""
        for number, part in enumerate(self.parts):
            images = part(images, rng=rng.child("part", number=number))
        return images
