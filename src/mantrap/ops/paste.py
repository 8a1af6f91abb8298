"""Put a patch of its own on each image, at a place of its own."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from mantrap.core.shapes import Images


def paste(images: Images, patches: Float[Tensor, "n c s t"], corners: Int64[Tensor, "n 2"]) -> Images:
    """Replace the pixels of each image inside a rectangle by its patch; gradients reach the patches.

    Args:
        images: [n, c, h, w].
        patches: One for each image, [n, c, s, t]; taken to the type of the images.
        corners: Row and column of each patch's upper left pixel, [n, 2]; the patch lies within the image.

    Returns:
        New images, [n, c, h, w].
    """
    count, _, height, width = patches.shape
    device = images.device
    corners = corners.to(device)
    rows = corners[:, :1] + torch.arange(height, device=device)
    columns = corners[:, 1:] + torch.arange(width, device=device)
    pasted = images.clone()
    # With a slice between indices torch puts the indexed dimensions first: [n, s, t, c].
    every = torch.arange(count, device=device)[:, None, None]
    pasted[every, :, rows[:, :, None], columns[:, None, :]] = patches.permute(0, 2, 3, 1).to(pasted.dtype)
    return pasted
