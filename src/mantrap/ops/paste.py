"""Put a patch of its own on each image, at a place of its own, and take one from there."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from mantrap.core.shapes import Images

Patches = Float[Tensor, "n c s t"]
Corners = Int64[Tensor, "n 2"]
_Places = tuple[Int64[Tensor, "n 1 1"], Int64[Tensor, "n s 1"], Int64[Tensor, "n 1 t"]]


def paste(images: Images, patches: Patches, corners: Corners) -> Images:
    """Replace the pixels of each image inside a rectangle by its patch; gradients reach the patches.

    Args:
        images: [n, c, h, w].
        patches: One for each image, [n, c, s, t]; taken to the type of the images.
        corners: Row and column of each patch's upper left pixel, [n, 2]; the patch lies within the image.

    Returns:
        New images, [n, c, h, w].
    """
    count, _, height, width = patches.shape
    image, rows, columns = _places(corners.to(images.device), count, height, width)
    pasted = images.clone()
    # With a slice between indices torch puts the indexed dimensions first: [n, s, t, c].
    pasted[image, :, rows, columns] = patches.permute(0, 2, 3, 1).to(pasted.dtype)
    return pasted


def cut(images: Images, corners: Corners, height: int, width: int) -> Patches:
    """The pixels of each image inside a rectangle, [n, c, height, width]; what :func:`paste` puts back.

    Args:
        images: [n, c, h, w].
        corners: Row and column of each rectangle's upper left pixel, [n, 2]; it lies within the image.
        height: Rows of the rectangles.
        width: Columns of them.
    """
    image, rows, columns = _places(corners.to(images.device), len(images), height, width)
    return images[image, :, rows, columns].permute(0, 3, 1, 2)


def _places(corners: Corners, count: int, height: int, width: int) -> _Places:
    """The numbers of images, rows and columns inside rectangles."""
    device = corners.device
    rows = corners[:, :1] + torch.arange(height, device=device)
    columns = corners[:, 1:] + torch.arange(width, device=device)
    return torch.arange(count, device=device)[:, None, None], rows[:, :, None], columns[:, None, :]
