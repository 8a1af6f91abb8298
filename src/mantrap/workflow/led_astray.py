"""What an evasion does to all images of a set, batch by batch, and as the pictures that a file would hold."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mantrap.core import (
    AWAY,
    Classifier,
    Cost,
    Evasion,
    Goal,
    ImageSet,
    Memo,
    Problem,
    Progress,
    Rng,
    spec_of,
)
from mantrap.core.shapes import Images, Labels
from mantrap.evade import perturb
from mantrap.evade.noise import noisy
from mantrap.ops.eight_bits import beyond, whole_levels
from mantrap.ops.projections import distortion, norms
from mantrap.ops.scores import fitting_batch
from mantrap.records import AimedAt
from mantrap.workflow.evading import is_budgeted, norm_of
from mantrap.workflow.saved import answers, saved_of

SHOWN, LOOKED_AT = 4, 64
"""Images of which examples are kept, and on which the model itself is looked at; the first ones."""


@dataclass(frozen=True, eq=False)
class Victims:
    """Images that a model gets right, and where each is to be led.

    Args:
        model: The classifier as evasions see it.
        judge: The classifier as it answers; another one where a random transformation is before it.
        bare: The classifier without a transformation; ``None`` where there is none.
        images: Those images, with their labels.
        numbers: Their places in the set that they are from.
        targets: For each the class to lead it to, [n]; ``None`` for any other.
    """

    model: Classifier
    judge: Classifier
    bare: Classifier | None
    images: ImageSet
    numbers: tuple[int, ...]
    targets: Labels | None

    @property
    def labels(self) -> Labels:
        """Their classes, [n]."""
        assert self.images.labels is not None
        return self.images.labels

    def goal(self, places: slice) -> Goal:
        """Where some of them are to be led."""
        return AWAY if self.targets is None else Goal(self.targets[places])

    def first(self, most: int = LOOKED_AT) -> Problem:
        """The first of them, to be led away from their classes, on the model's device."""
        few = min(most, len(self.images))
        pixels = self.images.images(list(range(few))).to(self.model.device)
        return Problem(self.model, pixels, self.labels[:few].to(self.model.device))


def drawn_targets(labels: Labels, classes: int, aim: AimedAt, rng: Rng) -> Labels | None:
    """For each image a class drawn for it that is not its own, [n], if it is to be led to one."""
    if aim is AimedAt.AWAY:
        return None
    return (labels + torch.randint(1, classes, labels.shape, generator=rng.torch())) % classes


@dataclass(frozen=True, eq=False)
class Astray:
    """What one evasion came to, image by image.

    Args:
        right: Whether the model still gets the saved picture right, [n].
        reached: Whether the saved picture is where it was to be led, [n].
        right_in_floats: Whether the model gets it right before it is rounded, [n].
        reached_in_floats: Whether it was led there before it was rounded, [n].
        right_with_noise: Whether the model gets it right with noise of the same size, [n].
        right_unaware: Whether the model gets right, behind its transformation, what was made for it without one, [n];
            all of them where there is none.
        sure: The model's confidence in what it says of the saved picture, [n].
        size: Norm of the change before rounding, [n].
        saved_size: Norm of the change of the saved picture, [n].
        distortion: Its root mean square over the values of an image, [n].
        outside: How many saved pictures exceed the budget, [1].
        shown: The first saved pictures, [s, c, h, w].
    """

    right: Bool[Tensor, " n"]
    reached: Bool[Tensor, " n"]
    right_in_floats: Bool[Tensor, " n"]
    reached_in_floats: Bool[Tensor, " n"]
    right_with_noise: Bool[Tensor, " n"]
    right_unaware: Bool[Tensor, " n"]
    sure: Float[Tensor, " n"]
    size: Float[Tensor, " n"]
    saved_size: Float[Tensor, " n"]
    distortion: Float[Tensor, " n"]
    outside: Tensor
    shown: Float[Tensor, "s c h w"]
    cost: Tensor
    """Images forward, and with a gradient, [2]."""

    def misled(self, eps: float | None = None) -> Bool[Tensor, " n"]:
        """Where the model gets the saved picture wrong, if only with a change of at most ``eps``, [n]."""
        return ~self.right if eps is None else ~self.right & (self.saved_size <= eps)

    @property
    def spent(self) -> Cost:
        """What it cost."""
        forward, backward = self.cost.tolist()
        return Cost(forward=int(forward), backward=int(backward))


@dataclass(frozen=True, eq=False)
class Tried:
    """An evasion with one budget, and what came of it."""

    evasion: Evasion
    eps: float
    astray: Astray


def lead_astray(
    evasion: Evasion, among: Victims, *, rng: Rng, progress: Progress, memo: Memo, batch_size: int | None = None
) -> Astray:
    """Mislead a model on every image, and see what is left of that when pictures are saved.

    Args:
        evasion: Who misleads it.
        among: Whom, and where to.
        rng: Source of randomness; every batch has a stream of its own.
        progress: Observer of the work.
        memo: Keeps finished batches.
        batch_size: Images at a time; as many as fit where ``None``.
    """
    size = batch_size or fitting_batch(among.images)
    starts = range(0, len(among.images), size)
    name = str(spec_of(evasion))
    digest = hashlib.sha256(name.encode()).hexdigest()[:16]  # a spec may be longer than a file's name
    parts = []
    with progress.stage(name, len(among.images)) as stage:
        for number, start in enumerate(starts):
            places = slice(start, min(start + size, len(among.images)))
            key = f"{digest} {places.start}-{places.stop}"
            found = memo.load(key)
            if found is None:
                found = _batch(evasion, among, places, rng.child("batch", number=number))
                memo.save(key, found)
            parts.append(found)
            stage.advance(places.stop - places.start)
    return _joined(parts)


def _batch(evasion: Evasion, among: Victims, places: slice, rng: Rng) -> dict[str, Tensor]:
    """The same of some images, as tensors that can be kept."""
    judge, goal, labels = among.judge, among.goal(places), among.labels[places]
    originals = whole_levels(among.images.images(list(range(places.start, places.stop))))
    eps, norm = evasion.eps if is_budgeted(evasion) else None, norm_of(evasion)

    def asked(model: Classifier) -> tuple[Images, Images, Cost]:
        made = perturb(evasion, model, originals, labels, goal=goal, rng=rng)
        saved, more = saved_of(evasion, made.images, originals, model=model, labels=labels, goal=goal)
        return made.images, saved, made.cost + more

    made, saved, cost = asked(among.model)
    change = made - originals
    sizes = norms(change, norm)
    noise = noisy(originals, sizes if eps is None else eps, norm, rng.child("noise"))
    as_floats, as_picture, with_noise = (answers(judge, images) for images in (made, saved, noise))
    sure, said = as_picture.softmax(1).max(1)
    cost, unaware = cost + Cost(forward=3 * len(labels)), torch.ones_like(labels, dtype=torch.bool)
    if among.bare is not None:
        _, before, more = asked(among.bare)
        unaware = answers(judge, before).argmax(1) == labels
        cost += more + Cost(forward=len(labels))
    return {
        "right": said == labels,
        "reached": goal.reached(as_picture, labels),
        "right_in_floats": as_floats.argmax(1) == labels,
        "reached_in_floats": goal.reached(as_floats, labels),
        "right_with_noise": with_noise.argmax(1) == labels,
        "right_unaware": unaware,
        "sure": sure,
        "size": sizes,
        "saved_size": norms(saved - originals, norm),
        "distortion": distortion(change),
        "outside": torch.tensor([0 if eps is None else beyond(saved, originals, eps, norm)]),
        "shown": saved[: max(0, SHOWN - places.start)].clone(),
        "cost": torch.tensor([cost.forward, cost.backward]),
    }


def _joined(parts: Sequence[dict[str, Tensor]]) -> Astray:
    """All batches as one."""
    summed = {name: torch.stack([part[name] for part in parts]).sum(0) for name in ("outside", "cost")}
    listed = {name: torch.cat([part[name] for part in parts]) for name in parts[0] if name not in summed}
    return Astray(**listed, **summed)
