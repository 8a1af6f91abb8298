"""Poison frogs: a few correctly labelled images that make a network mistake one other image."""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mantrap.core import SILENT, Classifier, ImageSet, Progress, Rng, require, spec_of
from mantrap.core.attack import Poisoned
from mantrap.core.shapes import Images, Labels, Pattern
from mantrap.errors import DataError, UsageError
from mantrap.ops.features import features_of
from mantrap.ops.projections import onto_box
from mantrap.poison.clean_labels import OneImage
from mantrap.poison.poison import Poison, apply_all
from mantrap.poison.selections import Exactly
from mantrap.poison.surrogates import surrogate
from mantrap.poison.triggers.no_trigger import NoTrigger
from mantrap.poison.triggers.victim import Victim

_ROUNDING = 1e-6
"""Share of a distance that single precision may be wrong by, for which no step is at fault."""
_TINY = 1e-12
"""Keeps a weight above 0 where base and victim are alike, in pixels or in features."""


@dataclass(frozen=True, kw_only=True)
class Collision:
    """How a base image is moved towards the victim's features while it keeps its looks.

    Args:
        layer: Name of the layer whose output the features are; empty for what goes into the last linear layer.
        closeness: Weight of the distance to the base image (the paper's beta, relative), above 0. At 1 it is as bad to
            look like the victim as to have the features of the base image; well below 1, the poisons are copies of the
            victim.
        steps: How many steps; an image's are halved whenever one proves too long.
        watermark: Opacity of the victim that is blended into the base image beforehand, in [0, 1).
    """

    layer: str = ""
    closeness: float = 2.0
    steps: int = 120
    watermark: float = 0.3

    def __post_init__(self) -> None:
        require(self.closeness > 0, field="closeness", expected="above 0", got=self.closeness)
        require(self.steps >= 1, field="steps", expected="of at least 1", got=self.steps)
        require(0 <= self.watermark < 1, field="watermark", expected="in [0, 1)", got=self.watermark)


@dataclass(frozen=True, kw_only=True)
class FeatureCollision(Collision):
    """Change a few images of one class so that a network takes them for one certain image, and that image for theirs.

    It plants no backdoor: a single image, the victim, comes out as the class of the poisons; there is no trigger, and
    no label is wrong. It works best where a network is fine-tuned whose features the attacker knows. The victim is
    taken out of the training set and stands for an image that the attacker expects at test time; the truth keeps it as
    the trigger ``victim``.

    Args:
        target: The class of the poisons (the paper's base class), and what the victim shall be taken for.
        source: The class of the victim.
        victim: Index of the victim in the training set; drawn among the images of ``source`` where ``None``.
        count: How many poisons; the paper has 1 for a network whose features stay as they are, about 50 otherwise.
            All other options are those of :class:`Collision`.

    Reference: Shafahi et al., Poison Frogs! Targeted Clean-Label Poisoning Attacks on Neural Networks, NeurIPS 2018,
    equation 1, algorithm 1 and section 4.2 (watermarking).

    Deviations: the weight of the distance to the base image is relative to what base and victim are apart, image by
    image; the paper takes it from the sizes of image and features, which fits one network. The proximal step is that of
    equation 1; algorithm 1 as printed has half the weight in it, and so another minimum. The step size follows from the
    weight and shrinks image by image, by the usual test (Beck and Teboulle, SIAM J. Imaging Sciences 2009, section 3).
    Base images are drawn at random.
    """

    name: ClassVar[str] = "feature_collision"
    quick: ClassVar[str] = "feature_collision(count=2, steps=3)"

    target: int = 0
    source: int = 1
    victim: int | None = None
    count: int = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        OneImage(target=self.target, source=self.source)
        Exactly(count=self.count)

    def apply(
        self, data: ImageSet, *, model: Classifier | None = None, rng: Rng, progress: Progress = SILENT
    ) -> Poisoned:
        """The poisoned set, without the victim, and the truth about it.

        Raises:
            DataError: The images have no labels.
            UsageError: There is no model or it does not fit, the victim is no image of its class, or there are not
                enough images of the target class.
        """
        if data.labels is None:
            raise DataError(expected=f"labels for {data.name}", got="none", remedy="Poison a labelled set.")
        found = surrogate(model, data.shape, labels=0, wanted_by=self.name)
        index = self._victim(data.labels, rng.child("victim"))
        victim, attack = data.images([index])[0], str(spec_of(self))
        part = Poison(
            trigger=NoTrigger(),
            selection=Exactly(count=self.count),
            relabelling=OneImage(target=self.target, source=self.source),
            preparation=_Collide(found, victim, self),
        )
        rest = data.subset([i for i in range(len(data)) if i != index])
        poisoned = apply_all(rest, (part,), attack=attack, rng=rng, progress=progress)
        (backdoor,) = poisoned.truth.backdoors
        truth = dataclasses.replace(
            poisoned.truth, backdoors=(dataclasses.replace(backdoor, trigger=str(spec_of(Victim()))),)
        )
        return Poisoned(poisoned.data, truth, {"0.image": victim})

    def _victim(self, labels: Labels, rng: Rng) -> int:
        of_class: list[int] = torch.nonzero(labels == self.source).flatten().tolist()
        if not of_class:
            raise UsageError(
                expected=f"a source from 0 to {int(labels.max())} that has images",
                got=f"{self.source}",
                remedy="Choose a class of the set.",
            )
        if self.victim is None:
            return of_class[int(torch.randint(len(of_class), (1,), generator=rng.torch()))]
        if self.victim not in of_class:
            raise UsageError(
                expected=f"a victim out of the images of class {self.source}",
                got=f"image {self.victim}, of another class or not there",
                remedy="Choose another victim or source.",
            )
        return self.victim


def collide(model: Classifier, bases: Images, victim: Pattern, *, collision: Collision) -> Images:
    """Images that look like the bases and have the features of the victim.

    Each minimises ``|f(x) - f(victim)|^2 + beta * |x - base|^2`` by a gradient step on the first term and a proximal
    step on the second (forward-backward splitting), where ``base`` is the base image with the watermark in it and
    ``beta = closeness * |f(base) - f(victim)|^2 / |base - victim|^2``.

    Args:
        model: The classifier that gives the features; frozen meanwhile.
        bases: [n, c, h, w] in [0, 1].
        victim: [c, h, w] in [0, 1].
        collision: Weights and steps.

    Returns:
        [n, c, h, w] in [0, 1], on the device of the bases.
    """
    home, victim = bases.device, victim.to(model.device)
    bases = collision.watermark * victim + (1 - collision.watermark) * bases.to(model.device)
    with model.frozen():
        with torch.no_grad():
            goal = features_of(model, victim[None], collision.layer)

        def apart(images: Images) -> tuple[Tensor, Tensor]:
            """How far each image's features are from the victim's, squared, [n, 1, 1, 1], and the gradient of that."""
            with torch.enable_grad():
                pixels = images.detach().requires_grad_()
                distance = (features_of(model, pixels, collision.layer) - goal).square().sum(1)
                (gradient,) = torch.autograd.grad(distance.sum(), pixels)
            return distance.detach().view(-1, 1, 1, 1), gradient

        images = bases
        distance, gradient = apart(images)
        beta = (collision.closeness * distance / _squared(bases - victim).clamp(min=_TINY)).clamp(min=_TINY)
        sizes = 1 / beta
        for _ in range(collision.steps):
            weight = 2 * sizes * beta
            ahead = onto_box((images - sizes * gradient + weight * bases) / (1 + weight))
            move, (distance_ahead, gradient_ahead) = ahead - images, apart(ahead)
            promised = distance + (gradient * move).sum((1, 2, 3), keepdim=True) + _squared(move) / (2 * sizes)
            short_enough = distance_ahead <= promised + _ROUNDING * distance
            images, distance, gradient = (
                torch.where(short_enough, new, old)
                for new, old in ((ahead, images), (distance_ahead, distance), (gradient_ahead, gradient))
            )
            sizes = torch.where(short_enough, sizes, sizes / 2)
    return images.to(home)


def _squared(changes: Images) -> Tensor:
    """The squared length of each, [n, 1, 1, 1]."""
    return changes.square().sum((1, 2, 3), keepdim=True)


@dataclass(frozen=True, eq=False)
class _Collide:
    """The preparation of base images for one victim."""

    name: ClassVar[str] = "collide"

    model: Classifier
    victim: Pattern
    collision: Collision

    def prepare(self, images: Images, labels: Labels, *, model: Classifier | None, rng: Rng) -> Images:
        del labels, model, rng
        return collide(self.model, images, self.victim, collision=self.collision)
