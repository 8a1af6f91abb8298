"""How far any image at all can push a classifier towards each of its classes."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mantrap.core import Classifier, Rng
from mantrap.core.shapes import Images, Logits
from mantrap.errors import FailedError
from mantrap.ops.boxed_adam import BoxedAdam

_SETTLING = 0.4
"""Share of the steps, the last ones, that are shorter: first the box is crossed, then the summit is sought."""
_SHORTER = 0.3


def margins(logits: Logits, labels: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    """How much more each image's logits say for a label than for the best other one; above 0 where it is the answer."""
    own = logits.gather(1, labels[:, None])[:, 0]
    others = logits.scatter(1, labels[:, None], -math.inf).amax(1)
    return own - others


def maximum_margins(
    model: Classifier, labels: Sequence[int], *, starts: int, steps: int, rate: float, rng: Rng, at_once: int
) -> Float[Tensor, " k"]:
    """The largest margin for each label that was found anywhere in the space of images.

    No data are needed: every search begins at an image of noise and climbs by Adam within [0, 1].

    Args:
        model: The classifier, frozen; best a fast copy.
        labels: What to climb towards.
        starts: Searches for each label, at least 1.
        steps: Steps of each.
        rate: Learning rate, in shares of the range of a pixel.
        rng: Start ``i`` of label t is drawn from ``rng.child("start", target=t, number=i)``.
        at_once: Images in one pass through the model.

    Returns:
        For each label the largest margin of any search at any step.

    Raises:
        FailedError: The model's output is not finite.

    Reference: Wang, Xiang, Miller and Kesidis, MM-BD: post-training detection of backdoor attacks with arbitrary
    backdoor pattern types using a maximum margin statistic, IEEE S&P 2024.
    """
    wanted = torch.tensor(labels, device=model.device).repeat_interleave(starts)
    streams = [rng.child("start", target=t, number=i).torch() for t in labels for i in range(starts)]
    images = torch.stack([torch.rand(model.input_shape, generator=s) for s in streams]).to(model.device)
    best = torch.full((len(wanted),), -math.inf, device=model.device)
    adam = BoxedAdam(images, rate)
    for step in range(steps):
        slopes = torch.empty_like(images)
        for start in range(0, len(wanted), at_once):
            part = slice(start, start + at_once)
            found, slopes[part] = _climb(model, images[part], wanted[part])
            best[part] = torch.maximum(best[part], found)
        adam.descend(-slopes, share=_SHORTER if step >= (1 - _SETTLING) * steps else 1.0)
    return best.view(len(labels), starts).amax(1).cpu()


def _climb(model: Classifier, images: Images, wanted: Int[Tensor, " n"]) -> tuple[Tensor, Tensor]:
    """The margins of some images, and where they rise."""
    pixels = images.clone().requires_grad_()
    with torch.enable_grad():
        found = margins(model.logits(pixels), wanted)
        (slopes,) = torch.autograd.grad(found.sum(), pixels)
    found = found.detach()
    if not bool(found.isfinite().all()):
        raise FailedError(
            expected="finite logits on any image",
            got=f"a margin of {float(found[~found.isfinite()][0])}",
            remedy="Check the model's declared preprocessing and its weights.",
        )
    return found, slopes
