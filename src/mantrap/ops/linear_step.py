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
    far = _filled(room, steep, eps) if norm == "l1" else _scaled(room, steep, eps)
    return (images + gradients.sign() * far.view_as(images)).clamp(0.0, 1.0)


def _filled(room: Float[Tensor, "n d"], steep: Float[Tensor, "n d"], eps: float) -> Float[Tensor, "n d"]:
    """How far each value goes within an L1 ball: the steepest first, as far as there is room."""
    order = steep.argsort(dim=1, descending=True, stable=True)
    rooms = room.gather(1, order)
    spent = rooms.cumsum(1) - rooms
    return torch.zeros_like(room).scatter(1, order, torch.minimum(rooms, (eps - spent).clamp_min(0)))


def _scaled(room: Float[Tensor, "n d"], steep: Float[Tensor, "n d"], eps: float) -> Float[Tensor, "n d"]:
    """How far each value goes within an L2 ball: its slope times ``rate``, as far as there is room.

    The length grows with the rate, and bends where a value comes to the end of its room. Between the bends of those
    before and after it is the root of what the stopped ones have and of the square of the rate times what the others
    have, so the rate follows from the first bend at which the length is too large.
    """
    steep = steep / steep.amax(1, keepdim=True).clamp_min(torch.finfo(steep.dtype).tiny)
    bends = torch.where(steep > 0, room / steep, torch.inf)
    order = bends.argsort(dim=1)
    squares = steep.square().gather(1, order).double()
    stopped = room.square().gather(1, order).double().cumsum(1)
    moving = (squares.sum(1, keepdim=True) - squares.cumsum(1)).clamp_min(0)
    bend = bends.gather(1, order).double()
    lengths = stopped + torch.where(moving > 0, bend.square() * moving, 0.0)
    fits = (lengths <= eps**2).sum(1, keepdim=True)  # so many stop; the length only grows from one bend to the next
    before = torch.cat([torch.zeros_like(stopped[:, :1]), stopped], 1).gather(1, fits)
    left = torch.cat([squares.sum(1, keepdim=True), moving], 1).gather(1, fits)
    rate = torch.where(left > 0, ((eps**2 - before).clamp_min(0) / left).sqrt(), torch.inf).to(steep.dtype)
    return torch.where(steep > 0, torch.minimum(room, rate * steep), 0.0)
