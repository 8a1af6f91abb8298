"""Move the pixels of images along a flow, smoothly and by fractions of a pixel."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate

from mantrap.core.shapes import Images

Flow = Float[Tensor, "m 2 h w"]
"""For each pixel how far to the right and how far down its new value is fetched, in pixels."""


def warp(images: Images, flow: Flow) -> Images:
    """Give each pixel the value that the image has where the flow points to, between pixels by bilinear interpolation.

    Args:
        images: [n, c, h, w] in [0, 1].
        flow: Steps to the right and down, in pixels, [n, 2, h, w], or [1, 2, h, w] for the same in all images. What
            points out of the image is taken from its nearest edge.

    Returns:
        The warped images, [n, c, h, w] in [0, 1].
    """
    count, _, height, width = images.shape
    columns = torch.arange(width, device=images.device) + flow[:, 0]
    rows = torch.arange(height, device=images.device)[:, None] + flow[:, 1]
    # grid_sample counts from -1, the centre of the first pixel, to 1, the centre of the last one.
    grid = torch.stack([2 * columns / max(width - 1, 1) - 1, 2 * rows / max(height - 1, 1) - 1], dim=-1).clamp(-1, 1)
    grid = grid.to(images.dtype).expand(count, -1, -1, -1)
    return grid_sample(images, grid, padding_mode="border", align_corners=True).clamp(0, 1)


def through(control: Float[Tensor, "m 2 k l"], height: int, width: int) -> Flow:
    """Fields that run smoothly through control vectors spread evenly over the image, from edge to edge.

    Args:
        control: The vectors, right and down, in pixels.
        height: Rows of the fields.
        width: Columns of the fields.

    Returns:
        The fields, interpolated bicubically, [m, 2, h, w].
    """
    return interpolate(control, size=(height, width), mode="bicubic", align_corners=True)


def smooth_field(control: Float[Tensor, "2 k l"], height: int, width: int) -> Flow:
    """A field that runs smoothly through control vectors spread evenly over the image, from edge to edge.

    Args:
        control: The vectors, right and down; they are scaled so that the mean size of their components is 1.
        height: Rows of the field.
        width: Columns of the field.

    Returns:
        The field, interpolated bicubically, [1, 2, h, w].

    Reference: Nguyen and Tran, WaNet, ICLR 2021, section 3.
    """
    return through((control / control.abs().mean())[None], height, width)
