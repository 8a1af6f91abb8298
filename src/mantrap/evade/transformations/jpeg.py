"""JPEG compression."""

import io
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mantrap.core import Rng, require
from mantrap.core.shapes import Images

_COLOUR = 3


@dataclass(frozen=True, kw_only=True)
class Jpeg:
    """Compress every image as JPEG and open it again, which keeps what the eye sees and drops much else.

    Grey images and colour images are written as such; other channels one by one, as grey.

    Args:
        quality: From 1, the coarsest, to 95.

    Reference: Dziugaite et al., A study of the effect of JPG compression on adversarial images, 2016.
    """

    name: ClassVar[str] = "jpeg"
    quick: ClassVar[str] = "jpeg(quality=50)"
    smooth: ClassVar[bool] = False
    random: ClassVar[bool] = False
    quality: int = 75

    def __post_init__(self) -> None:
        require(1 <= self.quality <= 95, field="quality", expected="from 1 to 95", got=self.quality)

    def __call__(self, images: Images, *, rng: Rng) -> Images:
        """See :class:`~mantrap.core.Transformation`."""
        del rng
        levels = (images.detach().cpu().clamp(0, 1) * 255).round().byte()  # a file holds no others
        colour = images.shape[1] == _COLOUR
        seen = [
            self._seen(image.permute(1, 2, 0)) if colour else torch.stack([self._seen(channel) for channel in image])
            for image in levels
        ]
        opened = torch.stack([image.permute(2, 0, 1) if colour else image for image in seen])
        return (opened.to(images) / 255).to(images.device)

    def _seen(self, levels: Tensor) -> Tensor:
        """One picture [h, w] or [h, w, 3] of bytes, written and opened again."""
        buffer = io.BytesIO()
        Image.fromarray(levels.numpy()).save(buffer, "JPEG", quality=self.quality)
        return torch.from_numpy(np.asarray(Image.open(buffer)).copy())
