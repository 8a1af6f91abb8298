"""How sure a model stays of an image that another one is laid over: a trigger outshouts whatever lies over it."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from mantrap.core import Classifier, ImageSet, Rng
from mantrap.core.shapes import Images
from mantrap.errors import UsageError
from mantrap.ops.scores import finite_logits, fitting_batch, in_batches

Entropies = Float[Tensor, " n"]
Overlays = Float[Tensor, "m c h w"]


def draw_overlays(images: ImageSet, count: int, rng: Rng) -> Overlays:
    """So many different images of a set, drawn at random, [count, c, h, w] in [0, 1].

    Raises:
        UsageError: There are fewer.
    """
    if not 1 <= count <= len(images):
        raise UsageError(
            expected=f"1 to {len(images)} images to lay over others, for {images.name} has so many",
            got=f"{count}",
            remedy="Ask for fewer, or give more images.",
        )
    return images.images(torch.randperm(len(images), generator=rng.torch())[:count].tolist())


def superposed(images: Images, overlays: Overlays, *, opacity: float) -> Float[Tensor, "n m c h w"]:
    """Every image with every overlay on it, [n, m, c, h, w] in [0, 1].

    Args:
        images: [n, c, h, w] in [0, 1].
        overlays: [m, c, h, w] in [0, 1].
        opacity: How much of each an overlaid image is made of, in (0, 1]: at 0.5 it is their mean, at 1 their sum; what
            is brighter than white is cut.
    """
    return (opacity * (images[:, None] + overlays.to(images.device))).clamp(max=1)


def superposition_entropy(model: Classifier, images: Images, overlays: Overlays, *, opacity: float = 0.5) -> Entropies:
    """The mean entropy of the model's answers to an image superposed with others, in bits, [n] in [0, log2 k].

    An image that carries a trigger gets the trigger's label under almost every overlay, so its entropy is low. Every
    image meets the same overlays: two entropies then differ by the images, never by what was drawn for each.

    Args:
        model: The classifier; frozen meanwhile.
        images: [n, c, h, w] in [0, 1], on any device.
        overlays: Such as :func:`draw_overlays` gives, [m, c, h, w].
        opacity: As for :func:`superposed`.

    Returns:
        Entropies on the CPU.

    Raises:
        FailedError: The model's output is not finite.

    Reference: Gao et al., STRIP: a defence against trojan attacks on deep neural networks, ACSAC 2019, section 4.
    Deviations: overlays are the same for every image, and how images are superposed is an option, for the paper leaves
    open what its linear blend weighs.
    """
    at_once = fitting_batch(images)
    each = max(1, at_once // len(overlays))
    with model.frozen(), torch.no_grad():
        parts = in_batches(images.to(model.device), each)
        found = [_entropies(model, part, overlays, opacity, at_once) for part in parts]
    return torch.cat(found) if found else torch.zeros(0)


def _entropies(model: Classifier, images: Images, overlays: Overlays, opacity: float, at_once: int) -> Entropies:
    """Those of a few images."""
    pairs = superposed(images, overlays, opacity=opacity).flatten(0, 1)
    answers = torch.cat([finite_logits(model, part).double().softmax(1) for part in in_batches(pairs, at_once)])
    bits: Tensor = torch.special.entr(answers).sum(1) / math.log(2)
    return bits.view(images.shape[0], len(overlays)).mean(1).float().cpu()
