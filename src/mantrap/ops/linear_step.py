"""The best perturbation of a function that is linear in the pixels."""

import torch
from jaxtyping import Float
from torch import Tensor

from mantrap.core import AnyNorm
from mantrap.core.shapes import Images


def linear_step(images: Images, gradients: Images, eps: float, norm: AnyNorm) -> Images:
    """The images that raise a linear function most, of all within ``eps`` and within [0, 1].

    Args:
        images: [n, c, h, w] in [0, 1].
        gradients: Those of the function, [n, c, h, w]. Where a value's is 0 it stays.
        eps: Radius of the ball, above 0.
        norm: Which ball.

    Returns:
        [n, c, h, w]. For L-infinity every value goes by ``eps`` or to the end of its range. For L1 the values with the
        steepest gradients go to the end of their range, one after the other, until ``eps`` is spent. For L2 each goes
        by its gradient times a number that is one for the image, and stops at the end of its range.
    """
    if norm == "linf":
        return (images + eps * gradients.sign()).clamp(0.0, 1.0)
    room = torch.where(gradients > 0, 1 - images, images).masked_fill(gradients == 0, 0.0).flatten(1)
    steep = gradients.abs().flatten(1)
    far = _filled(room, steep, eps) if norm == "l1" else in_proportion(room, steep, eps, 2)
    return (images + gradients.sign() * far.view_as(images)).clamp(0.0, 1.0)


def _filled(room: Float[Tensor, "n d"], steep: Float[Tensor, "n d"], eps: float) -> Float[Tensor, "n d"]:
    """How far each value goes within an L1 ball: the steepest first, as far as there is room."""
    order = steep.argsort(dim=1, descending=True, stable=True)
    rooms = room.gather(1, order)
    spent = rooms.cumsum(1) - rooms
    return torch.zeros_like(room).scatter(1, order, torch.minimum(rooms, (eps - spent).clamp_min(0)))


def in_proportion(
    room: Float[Tensor, "n d"], steep: Float[Tensor, "n d"], size: float | Float[Tensor, "n 1"], power: int
) -> Float[Tensor, "n d"]:
    """How far each value goes: its slope times a rate of its image, as far as there is room.

    The norm grows with the rate, and bends where a value comes to the end of its room. Between two bends its power is
    what the stopped ones have and the power of the rate times what the others have, so the rate follows from the first
    bend at which the norm is too large.

    Args:
        room: How far each value can go, at least 0.
        steep: Its slope, at least 0.
        size: Norm of the whole, of all or of each image; smaller where there is no room for it.
        power: 1 for the sum of what is gone, 2 for its Euclidean length.
    """
    most = size**power if isinstance(size, float) else size.double() ** power
    steep = steep / steep.amax(1, keepdim=True).clamp_min(torch.finfo(steep.dtype).tiny)
    bends = torch.where(steep > 0, room / steep, torch.inf)
    order = bends.argsort(dim=1)
    powers = steep.gather(1, order).double() ** power
    stopped = (room.gather(1, order).double() ** power).cumsum(1)
    moving = (powers.sum(1, keepdim=True) - powers.cumsum(1)).clamp_min(0)
    bend = bends.gather(1, order).double()
    lengths = stopped + torch.where(moving > 0, bend**power * moving, 0.0)
    fits = (lengths <= most).sum(1, keepdim=True)  # so many stop; the length only grows from one bend to the next
    before = torch.cat([torch.zeros_like(stopped[:, :1]), stopped], 1).gather(1, fits)
    left = torch.cat([powers.sum(1, keepdim=True), moving], 1).gather(1, fits)
    rate = torch.where(left > 0, ((most - before).clamp_min(0) / left) ** (1 / power), torch.inf).to(steep.dtype)
    return torch.where(steep > 0, torch.minimum(room, rate * steep), 0.0)
