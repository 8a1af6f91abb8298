"""Plant backdoors in a training set: triggers, choices of images, and the labels that they get."""

import dataclasses
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from mantrap.core import SILENT, Classifier, ImageSet, Progress, Rng, Trigger, spec_of
from mantrap.core.attack import (
    LearnedTrigger,
    NamedTrigger,
    Poisoned,
    Preparation,
    Relabelling,
    Selection,
)
from mantrap.core.shapes import Labels
from mantrap.core.sources import SourceOver
from mantrap.core.truth import Backdoor, GroundTruth
from mantrap.errors import DataError, UsageError

_BATCH = 128


@dataclass(frozen=True, kw_only=True)
class Poison:
    """Trigger x selection x relabelling: what BadNets and its kin are made of.

    Args:
        trigger: What is put on the chosen images.
        selection: Which images are chosen.
        relabelling: Whom the attack is aimed at, and which label they get.
        cover: Which further images carry the trigger and keep their label; none where ``None``.
        test_trigger: What goes on images when the attack is used, where that is another trigger than in training.
        preparation: What is done to the chosen images before the trigger goes on them.
    """

    trigger: NamedTrigger | LearnedTrigger
    selection: Selection
    relabelling: Relabelling
    cover: Selection | None = None
    test_trigger: NamedTrigger | LearnedTrigger | None = None
    preparation: Preparation | None = None

    def __str__(self) -> str:
        parts = (getattr(self, field.name) for field in dataclasses.fields(self))
        return ", ".join(str(spec_of(part)) for part in parts if part is not None)

    def apply(
        self, data: ImageSet, *, model: Classifier | None = None, rng: Rng, progress: Progress = SILENT
    ) -> Poisoned:
        """The poisoned set, and the truth about it; see :func:`apply_all`."""
        return apply_all(data, (self,), attack=str(self), model=model, rng=rng, progress=progress)


def apply_all(
    data: ImageSet,
    parts: Sequence[Poison],
    *,
    attack: str,
    model: Classifier | None = None,
    rng: Rng,
    progress: Progress = SILENT,
) -> Poisoned:
    """Plant one backdoor after another; no image carries two of them.

    The set that comes in is unchanged; images are stamped as they are read.

    Args:
        data: The training set, with labels.
        parts: The backdoors.
        attack: What to call all of this in the truth.
        model: A classifier that the attacker has, for triggers and preparations that need one.
        rng: Source of randomness.
        progress: Observer of the work.

    Raises:
        DataError: The images have no labels.
        UsageError: A selection or a relabelling does not fit the set, or a model is needed and there is none.
    """
    if data.labels is None or data.num_classes is None:
        raise DataError(expected=f"labels for {data.name}", got="none", remedy="Poison a labelled set.")
    labels, changes = data.labels.clone(), _Changes()
    backdoors: list[Backdoor] = []
    tensors: dict[str, Tensor] = {}
    for number, part in enumerate(parts):
        # The first backdoor's streams bear no number: it is the same whether others follow or not.
        own = rng if number == 0 else rng.child("backdoor", number=number)
        # For all of them, before any is chosen: a target or source that is no class of the set is refused as such.
        others = part.relabelling.relabel(data.labels, num_classes=data.num_classes, rng=own.child("relabelling"))
        chosen, covers = _choose(part, data.labels, changes.stamps.keys(), own)
        labels[chosen] = others[chosen]
        changes.prepared.update(_prepared(part.preparation, data, chosen, model=model, rng=own.child("preparation")))
        learn = partial(_learned, data, model, part.relabelling.target, own.child("learn"), progress)
        trigger, learned = learn(part.trigger)
        if part.test_trigger is not None:
            _, learned = learn(part.test_trigger)
        tensors |= {f"{number}.{name}": tensor for name, tensor in learned.items()}
        changes.stamps.update(dict.fromkeys((*chosen, *covers), _Stamp(trigger, own.child("trigger"))))
        backdoors.append(_truth(part, chosen, covers))
    source = _Changed(data.source, changes)
    source.read([min(changes.stamps)])  # a trigger that does not fit the images is refused now, not at the first epoch
    poisoned = data.over(source).with_labels(labels)
    truth = GroundTruth(
        attack=attack,
        seed=rng.seed,
        backdoors=tuple(backdoors),
        classes=data.num_classes,
        clean_digest=data.digest(),
        poisoned_digest=poisoned.digest(),
    )
    return Poisoned(poisoned, truth, tensors)


def put_on(pixels: Tensor, trigger: Trigger, rng: Rng) -> Tensor:
    """Images as a source reads them with the trigger on them, in the same type: of 8 bits go in, 8 bits come out."""
    if pixels.dtype != torch.uint8:
        return trigger(pixels, rng=rng)
    return _as_bytes(trigger(pixels.float() / 255, rng=rng))


def _choose(part: Poison, labels: Labels, taken: Collection[int], rng: Rng) -> tuple[list[int], list[int]]:
    """Indices of the images to poison and of those to cover them with; none that is taken already."""
    aim = part.relabelling
    eligible = _free(aim.eligible(labels), taken, f"{spec_of(aim)} may poison")
    chosen = part.selection.choose(eligible, total=aim.total(labels), rng=rng.child("selection"))
    if part.cover is None:
        return chosen, []
    coverable = _free(aim.coverable(labels), {*taken, *chosen}, f"may cover {spec_of(aim)}")
    return chosen, part.cover.choose(coverable, total=len(labels), rng=rng.child("cover"))


def _free(index: Sequence[int], taken: Collection[int], what: str) -> list[int]:
    """Those of the indices that are not taken; at least one."""
    free = [i for i in index if i not in taken]
    if not free:
        raise UsageError(
            expected=f"images that {what}",
            got="none that is left",
            remedy="Choose another target or source, or more images.",
        )
    return free


def _learned(
    data: ImageSet,
    model: Classifier | None,
    target: int | None,
    rng: Rng,
    progress: Progress,
    trigger: NamedTrigger | LearnedTrigger,
) -> tuple[Trigger, dict[str, Tensor]]:
    """The trigger, ready to be put on images, and what it had to learn for that."""
    if not isinstance(trigger, LearnedTrigger):
        return trigger, {}
    tensors = trigger.learn(data, model=model, target=target, rng=rng, progress=progress)
    return trigger.restore(tensors), tensors


def _prepared(
    preparation: Preparation | None, data: ImageSet, chosen: Sequence[int], *, model: Classifier | None, rng: Rng
) -> dict[int, Tensor]:
    """The chosen images after their preparation, [c, h, w] each, in the type of the source."""
    if preparation is None:
        return {}
    assert data.labels is not None
    whole = data.source.read(chosen[:1]).dtype == torch.uint8
    found: dict[int, Tensor] = {}
    for start in range(0, len(chosen), _BATCH):
        index = chosen[start : start + _BATCH]
        changed = preparation.prepare(
            data.images(index), data.labels[index], model=model, rng=rng.child("batch", start=start)
        )
        found |= dict(zip(index, _as_bytes(changed) if whole else changed, strict=True))
    return found


def _truth(part: Poison, chosen: Sequence[int], covers: Sequence[int]) -> Backdoor:
    return Backdoor(
        trigger=str(spec_of(part.test_trigger or part.trigger)),
        relabelling=str(spec_of(part.relabelling)),
        target=part.relabelling.target,
        training_trigger=str(spec_of(part.trigger)),
        selection=str(spec_of(part.selection)),
        poisoned=tuple(chosen),
        covers=tuple(covers),
    )


@dataclass(frozen=True, eq=False)
class _Stamp:
    """A trigger and the streams that it draws from."""

    trigger: Trigger
    rng: Rng

    def __call__(self, pixels: Tensor, index: int) -> Tensor:
        """One image, [1, c, h, w], with the trigger on it; the stream is that of its place in the set."""
        return put_on(pixels, self.trigger, self.rng.child("image", index=index))


@dataclass(frozen=True, eq=False)
class _Changes:
    """What happens to which image, by index."""

    prepared: dict[int, Tensor] = field(default_factory=dict)
    stamps: dict[int, _Stamp] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class _Changed(SourceOver):
    """Pixels of another source, some of them replaced or stamped."""

    changes: _Changes

    def read(self, index: Sequence[int]) -> Tensor:
        pixels = self.source.read(index)
        places = [place for place, i in enumerate(index) if i in self.changes.stamps]
        if not places:
            return pixels
        pixels = pixels.clone()
        for place in places:
            i = index[place]
            image = self.changes.prepared.get(i, pixels[place])[None]
            pixels[place] = self.changes.stamps[i](image, i)[0]
        return pixels


def _as_bytes(images: Tensor) -> Tensor:
    return (images * 255).round().to(torch.uint8)
