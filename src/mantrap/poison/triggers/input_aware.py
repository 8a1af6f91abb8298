"""The trigger of input-aware backdoors: what is put on an image, and where, is made from the image itself."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from mantrap.core import Rng, Trigger, require
from mantrap.core.shapes import Images
from mantrap.errors import UsageError
from mantrap.poison.generators import EncoderDecoder, below, loaded

ImageMasks = Float[Tensor, "n 1 h w"]
"""A mask for each image."""
_STEEPNESS, _MIDDLE = 20.0, 0.5


@dataclass(frozen=True, kw_only=True)
class InputAwareTrigger:
    """A pattern and a mask that two networks make for each image; the pattern of one image does not serve for another.

    Args:
        width: Channels of the networks after their first convolution.
        levels: How often their maps are halved.

    Reference: Nguyen and Tran, Input-aware dynamic backdoor attack, NeurIPS 2020, section 3.
    """

    name: ClassVar[str] = "input_aware_trigger"

    width: int = 16
    levels: int = 2

    def __post_init__(self) -> None:
        require(self.width >= 1, field="width", expected="of at least 1 channel", got=self.width)
        require(self.levels >= 1, field="levels", expected="of at least 1", got=self.levels)

    def pattern_network(self, channels: int) -> EncoderDecoder:
        """A network for patterns, with fresh weights from torch's global stream."""
        return EncoderDecoder(channels, channels, width=self.width, levels=self.levels)

    def mask_network(self, channels: int) -> EncoderDecoder:
        """A network for masks, with fresh weights from torch's global stream; see :func:`sharpened`."""
        return EncoderDecoder(channels, 1, width=self.width, levels=self.levels)

    def restore(self, tensors: Mapping[str, Tensor]) -> Trigger:
        """The trigger of the weights ``pattern.*`` and ``mask.*`` of its networks."""
        weights = below("pattern", tensors)
        channels = weights["blocks.0.weight"].shape[1]
        pattern = loaded(self.pattern_network(channels), weights)
        return _Made(pattern, loaded(self.mask_network(channels), below("mask", tensors)))


def sharpened(masks: ImageMasks) -> ImageMasks:
    """Masks pushed towards 0 and 1, as what a mask network puts out is used: ``tanh(20 m - 10) / 2 + 1/2``."""
    return (_STEEPNESS * (masks - _MIDDLE)).tanh() / 2 + 0.5


def show(images: Images, patterns: Images, masks: ImageMasks) -> Images:
    """Each image with its own pattern through its own mask, ``(1 - mask) * image + mask * pattern``."""
    return ((1 - masks) * images + masks * patterns).clamp(0, 1)


@dataclass(frozen=True, eq=False)
class _Made:
    """The trigger with its trained networks."""

    pattern: EncoderDecoder
    mask: EncoderDecoder

    def __call__(self, images: Images, *, rng: Rng) -> Images:
        """The images, each with the trigger that is made for it.

        Raises:
            UsageError: They have other channels than those that the networks were trained on.
        """
        del rng
        if images.shape[1] != self.pattern.channels:
            raise UsageError(
                expected=f"images of {self.pattern.channels} channels, which the trigger was trained on",
                got=f"{images.shape[1]}",
                remedy="Use it on images of the kind that it was trained on.",
            )
        pattern, mask = self.pattern.to(images.device), self.mask.to(images.device)
        return show(images, pattern(images), sharpened(mask(images)))
