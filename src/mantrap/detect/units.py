"""How a search of many labels is cut into pieces that fit in memory and are lost or kept as a whole."""

import contextlib
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from mantrap.core import Classifier, Elsewhere, Memo, OutOfTime, SharedMemo, Stage
from mantrap.detect.arms import ArmSettings
from mantrap.errors import FailedError

Result = TypeVar("Result")

GIB = 1 << 30
_STATES = 6
"""Tensors of the size of a mask, and of a pattern, that an arm has: value, two moments, best, slope, a passing one."""
_PASSING = 1.5
"""What a pass takes beside what it saves for the way back, as a factor: the gradients on that way."""
_PAUSE = 0.05
"""Seconds between two looks at what other processes have finished."""
_MOST_AT_ONCE = {"cpu": 80, "cuda": 4096}
"""Images in one pass: more of them leave a processor's cache and are slower."""


@dataclass(frozen=True)
class Units:
    """The pieces of a search, a function of model, labels and memory alone.

    Args:
        labels: The labels of each unit, in rising order.
        at_once: Images in one pass through the model.
    """

    labels: tuple[tuple[int, ...], ...]
    at_once: int


def plan_units(model: Classifier, labels: Sequence[int], settings: ArmSettings, *, images: int) -> Units:
    """Cut a search into units.

    Args:
        model: The classifier that the search asks.
        labels: Labels to search for, in any order, each once.
        settings: How many arms a label has, how many images an arm in one pass, which stay together, how many labels a
            unit at most, and how much memory there is. A search that does not fit at all gets the smallest units there
            are.
        images: Images to search with; all are held.
    """
    channels, height, width = model.input_shape
    pixels = 4 * height * width
    arm = _STATES * pixels * (1 + channels)
    left = settings.memory * GIB - images * pixels * channels
    # Half of what is left for a pass through the model at most, the rest for the arms.
    at_once, image = images_at_once(model, left / 2, least=settings.images_per_step)
    at_once -= at_once % settings.images_per_step
    arms = math.floor(max(0.0, left - at_once * image) / arm)
    together = max(1, min(settings.labels_at_once, arms // settings.restarts))
    ordered = sorted(labels)
    return Units(tuple(tuple(ordered[i : i + together]) for i in range(0, len(ordered), together)), at_once)


def images_at_once(model: Classifier, memory: float, *, least: int = 1) -> tuple[int, float]:
    """How many images go through the model in one pass with a gradient, and what each of them takes, in bytes.

    Args:
        model: The classifier.
        memory: Bytes for the pass.
        least: So many in any case.
    """
    image = _PASSING * bytes_by_image(model) + 16 * math.prod(model.input_shape)
    most = _MOST_AT_ONCE.get(model.device.type, _MOST_AT_ONCE["cpu"])
    return max(least, min(most, math.floor(max(0.0, memory) / image))), image


def with_room(work: Callable[[int], Result], at_once: int, *, least: int) -> tuple[Result, int]:
    """Do some work with so many images in a pass, or with half as many for want of memory, and half of these.

    Args:
        work: What to do, given the images in a pass; begun anew each time.
        at_once: How many at first.
        least: Fewer than these are not tried.

    Returns:
        What the work came to, and how many images it had in a pass.

    Raises:
        FailedError: Memory does not suffice for ``least`` images.
    """
    while True:
        try:
            return work(at_once), at_once
        except (MemoryError, RuntimeError) as error:
            if not no_memory(error):
                raise
            if at_once <= least:
                raise FailedError(
                    expected=f"memory for {least} images in a pass",
                    got="less",
                    remedy="Free memory; a search for patches can also do with fewer images_per_step.",
                ) from error
        at_once = max(least, at_once // 2)


def no_memory(error: Exception) -> bool:
    """Whether this is how Python or torch says that memory has run out; on a processor torch has no class for it."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error)


def unit_by_unit(
    units: Iterable[Sequence[int]],
    memo: Memo,
    stage: Stage,
    work: Callable[[Sequence[int]], Mapping[str, Tensor]],
    *,
    made_with: str,
    first: int = 0,
) -> Iterator[tuple[Sequence[int], Mapping[str, Tensor]]]:
    """Each unit with what came of it: from the memo where it is there, else worked on now and kept.

    Args:
        units: The labels of each.
        memo: Finished units are taken from here and put here; one of other labels is none. With one that is shared,
            other processes make some of them.
        stage: Told of units that came from the memo; the others tell it themselves.
        work: What to do for a unit.
        made_with: Device and precision, which change the last digits: units made with others are not taken.
        first: The number of the first unit, where others came before it.
    """
    named = {f"unit-{number}-{made_with}": unit for number, unit in enumerate(units, first)}
    told, over = set[str](), False
    if isinstance(memo, SharedMemo):
        told, over = _beside_others(named, memo, stage, work)
    for key, unit in named.items():
        found = _kept(memo, key, unit)
        try:
            if found is not None and key not in told:
                stage.advance(len(unit), f"labels {unit[0]} to {unit[-1]} from the run before")
            if found is None and not over:
                found = {"labels": torch.tensor(unit), **work(unit)}
                memo.save(key, found)
        except OutOfTime:
            over = True  # what is finished counts all the same, wherever it lies
        if found is not None:
            yield unit, found
    if over:
        raise OutOfTime


def _kept(memo: Memo, key: str, unit: Sequence[int]) -> Mapping[str, Tensor] | None:
    """What came of a unit before; ``None`` where that is not there, or is that of other labels."""
    found = memo.load(key)
    return found if found is not None and found["labels"].tolist() == list(unit) else None


def _beside_others(
    named: Mapping[str, Sequence[int]],
    memo: SharedMemo,
    stage: Stage,
    work: Callable[[Sequence[int]], Mapping[str, Tensor]],
) -> tuple[set[str], bool]:
    """Make units that no other process is at, until all are there.

    Returns:
        The units of which the stage was told, and whether time was over before all were there.

    Raises:
        Elsewhere: This process only helps, and there is nothing left to help with.
    """
    left, told = dict(named), set[str]()
    try:
        while left:
            for key, unit in [*left.items()]:
                with memo.claim(key) as ours:
                    if _kept(memo, key, unit) is not None:
                        stage.advance(len(unit), f"labels {unit[0]} to {unit[-1]} from another process")
                    elif ours:
                        memo.save(key, {"labels": torch.tensor(unit), **work(unit)})
                    else:
                        continue
                    told.add(key)
                    del left[key]
            if left and memo.helping:
                break
            if left:
                time.sleep(_PAUSE)
                stage.advance(0, "waiting for another process")
    except OutOfTime:
        return told, True
    if memo.helping:
        raise Elsewhere
    return told, False


def bytes_by_image(model: Classifier) -> int:
    """What one image more adds to what a forward pass saves for the way back, in bytes."""
    one, two = (_saved(model, count) for count in (1, 2))
    return max(1, two - one)


def _saved(model: Classifier, count: int) -> int:
    """Bytes that a pass of so many images saves, each piece of memory counted once."""
    pieces: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        pieces[storage.data_ptr()] = storage.nbytes()
        return tensor

    def give(saved: Any) -> Any:
        return saved

    images = torch.zeros(count, *model.input_shape, device=model.device).requires_grad_()
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(note, give), model.frozen():
        logits = model.logits(images)  # held until all is counted, so that no memory is given out twice
    del logits
    return sum(pieces.values())


@dataclass
class Share:
    """How far a unit has come, for whoever waits; what is done again does not count twice."""

    stage: Stage
    labels: int
    steps: int
    step: int = 0

    def reached(self, step: int) -> None:
        """Say that so many steps are done."""
        if step > self.step:
            self.step = step
            with contextlib.suppress(OutOfTime) if step == self.steps else contextlib.nullcontext():
                # A unit that is finished is kept; the next one is told.
                self.stage.advance(self.labels / self.steps, f"step {step} of {self.steps}")
