"""The triggers of dynamic backdoors: a patch that differs from image to image, in value and in place."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from mantrap.core import Rng, Trigger, require
from mantrap.core.shapes import Images
from mantrap.errors import UsageError
from mantrap.ops.paste import paste
from mantrap.poison.generators import PatchGenerator, PatchMaker, UniformPatches, below, loaded

UpperLefts = Int64[Tensor, "p 2"]
"""Row and column of the upper left pixel of each place."""
UpperLeftsOfEach = Int64[Tensor, "n p 2"]
"""The same for each image of a batch."""


@dataclass(frozen=True, kw_only=True)
class Places:
    """Square patches, and where they may be.

    Args:
        size: Side of a patch in pixels.
        places: Where it may be: numbers of cells, counted row by row from the upper left. As many cells of this size as
            fit beside and below each other are spread over the image, so that they never overlap. One that is named
            twice is drawn twice as often.
    """

    size: int = 5
    places: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        require(self.size >= 1, field="size", expected="of at least 1 pixel", got=self.size)
        require(
            len(self.places) > 0 and min(self.places) >= 0,
            field="places",
            expected="with at least one number, all from 0",
            got=self.places,
        )

    def corners(self, height: int, width: int) -> UpperLefts:
        """Where these places are in an image of this size, [p, 2].

        Raises:
            UsageError: One of them is not in it.
        """
        rows, columns = cells(self.size, height, width)
        if max(self.places) >= rows * columns:
            raise UsageError(
                expected=f"places out of the {rows * columns} cells of size {self.size} in {height}x{width} pixels, "
                "counted from 0",
                got=f"{self.places}",
                remedy="Choose a smaller size, or other places.",
            )
        return torch.tensor([(p // columns * height // rows, p % columns * width // columns) for p in self.places])


@dataclass(frozen=True, kw_only=True)
class RandomTrigger(Places):
    """A patch of independent uniform values, drawn anew for each image, at one of several places.

    Args:
        size: Side of a patch in pixels.
        places: Where it may be; numbers of cells as for :class:`Places`.

    Reference: Salem et al., Dynamic backdoor attacks against machine learning models, EuroS&P 2022.
    """

    name: ClassVar[str] = "random_trigger"

    def __call__(self, images: Images, *, rng: Rng) -> Images:
        """The images, each with a patch of its own."""
        return _Made(UniformPatches((images.shape[1], self.size, self.size)), self)(images, rng=rng)


@dataclass(frozen=True, kw_only=True)
class BanTrigger(Places):
    """A patch that a network makes of noise, anew for each image, at one of several places.

    The network is trained together with the model that knows its patches.

    Args:
        size: Side of a patch in pixels.
        places: Where it may be; numbers of cells as for :class:`Places`.

    Reference: Salem et al., Dynamic backdoor attacks against machine learning models, EuroS&P 2022 (BaN).
    """

    name: ClassVar[str] = "ban_trigger"

    def restore(self, tensors: Mapping[str, Tensor]) -> Trigger:
        """The trigger of these weights of the network, ``generator.*``."""
        return _Made(_generator(tensors, self.size), self)


@dataclass(frozen=True, kw_only=True)
class ConditionalBanTrigger(Places):
    """A patch that a network makes of noise for a given label, anew for each image, at one of several places.

    The network is trained together with the model; it makes the patches of all labels, which need no places of their
    own.

    Args:
        size: Side of a patch in pixels.
        places: Where it may be; numbers of cells as for :class:`Places`.
        label: The label that the network is asked for.

    Reference: Salem et al., Dynamic backdoor attacks against machine learning models, EuroS&P 2022 (c-BaN).
    """

    name: ClassVar[str] = "c_ban_trigger"

    label: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.label >= 0, field="label", expected="of at least 0", got=self.label)

    def restore(self, tensors: Mapping[str, Tensor]) -> Trigger:
        """The trigger of these weights of the network, ``generator.*``.

        Raises:
            UsageError: The network knows no such label.
        """
        generator = _generator(tensors, self.size)
        if self.label >= generator.labels:
            raise UsageError(
                expected=f"a label below {generator.labels}, which the generator was trained with",
                got=f"{self.label}",
                remedy="Choose a label of the model.",
            )
        return _Made(generator, self, self.label)


def put_somewhere(images: Images, patches: Float[Tensor, "n k s s"], corners: UpperLeftsOfEach, *, rng: Rng) -> Images:
    """Put a patch on each image, at one of its places.

    Args:
        images: [n, c, h, w] in [0, 1].
        patches: One for each, [n, k, s, s] in [0, 1]; gradients reach them.
        corners: The places that each image has to choose from, [n, p, 2].
        rng: Source of the choices.

    Returns:
        [n, c, h, w] in [0, 1].

    Raises:
        UsageError: The patches have other channels than the images.
    """
    if images.shape[1] != patches.shape[1]:
        raise UsageError(
            expected=f"images of {patches.shape[1]} channels, which the trigger was trained on",
            got=f"{images.shape[1]}",
            remedy="Use it on images of the kind that it was trained on.",
        )
    count, places = corners.shape[:2]
    chosen = torch.randint(places, (count,), generator=rng.torch())
    return paste(images, patches, corners[torch.arange(count), chosen])


def share_out(labels: int, each: int, *, size: int, height: int, width: int) -> list[tuple[int, ...]]:
    """Places for each label, spread over the image; no two labels have one in common.

    Raises:
        UsageError: There are not so many.
    """
    rows, columns = cells(size, height, width)
    if labels * each > rows * columns:
        raise UsageError(
            expected=f"at most {rows * columns} places, for so many patches of size {size} fit into {height}x{width} "
            "pixels",
            got=f"{each} for each of {labels} labels",
            remedy="Choose a smaller size, fewer places, or a single target.",
        )
    spread = [number * rows * columns // (labels * each) for number in range(labels * each)]
    return [tuple(spread[start : start + each]) for start in range(0, labels * each, each)]


def cells(size: int, height: int, width: int) -> tuple[int, int]:
    """How many patches of this size fit below each other, and how many beside each other."""
    return height // size, width // size


def _generator(tensors: Mapping[str, Tensor], size: int) -> PatchGenerator:
    weights = below("generator", tensors)
    return loaded(PatchGenerator.like(weights, size), weights)


@dataclass(frozen=True, eq=False)
class _Made:
    """A trigger that is ready to be put on images: what makes its patches, where they may be, where they lead."""

    maker: PatchMaker
    places: Places
    label: int = 0

    def __call__(self, images: Images, *, rng: Rng) -> Images:
        """The images, each with a patch of its own."""
        count, _, height, width = images.shape
        noise = self.maker.draw(count, rng.child("noise")).to(images.device)
        patches = self.maker.to(images.device)(noise, torch.full((count,), self.label, device=images.device))
        corners = self.places.corners(height, width).expand(count, -1, -1)
        return put_somewhere(images, patches, corners, rng=rng.child("places"))
