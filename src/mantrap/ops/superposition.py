"""What a model makes of an image that others are laid over: a trigger outshouts whatever lies over it."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from mantrap.core import Classifier, ImageSet, Rng
from mantrap.core.shapes import Images, Labels
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


def mean_image(images: ImageSet) -> Float[Tensor, "c h w"]:
    """The mean of all images of a set, by pixel and channel, [c, h, w] in [0, 1]."""
    batches = images.batches(fitting_batch(images))
    return torch.stack([batch.images.double().sum(0) for batch in batches]).sum(0).div(len(images)).float()


def drawn_from_every_class(labels: Labels, count: int, rng: Rng) -> list[int]:
    """The numbers of so many images, drawn at random, from every class as many as from any other while they last.

    Args:
        labels: Of all images, [n].
        count: How many; all of them where there are fewer.
        rng: Source of randomness.
    """
    order = torch.randperm(len(labels), generator=rng.torch())
    seen: dict[int, int] = {}
    turns = []
    for label in labels[order].tolist():
        turns.append(seen.get(label, 0))
        seen[label] = turns[-1] + 1
    return [int(number) for number in order[torch.tensor(turns).argsort(stable=True)[:count]]]


def kept_under(
    model: Classifier, images: ImageSet, overlays: ImageSet, *, mean: Float[Tensor, "c h w"], contrast: float
) -> Float[Tensor, " n"]:
    """The share of overlays of other classes under which the model gives an image its own label, [n] in [0, 1].

    What is laid over an image is by how much the overlay differs from the mean image. So light and dark images stay as
    light and as dark in the mean, while what they show is drowned.

    Args:
        model: The classifier; frozen meanwhile.
        images: Labelled images.
        overlays: Labelled images to lay over them, each over all images of other classes.
        mean: The mean image.
        contrast: How many times as strong as it is the difference is laid over, above 0.

    Returns:
        Shares on the CPU; 0 where every overlay is of the image's own class.

    Raises:
        FailedError: The model's output is not finite.
    """
    assert overlays.labels is not None
    laid = (contrast * (overlays.images(range(len(overlays))) - mean)).to(model.device)
    labels, shares = overlays.labels.to(model.device), []
    with model.frozen(), torch.no_grad():
        for batch in images.batches(fitting_batch(images)):
            assert batch.labels is not None
            own, pixels = batch.labels.to(model.device), batch.images.to(model.device)
            kept, met = torch.zeros(len(own), device=model.device), torch.zeros(len(own), device=model.device)
            for overlay, label in zip(laid, labels, strict=True):
                answers = finite_logits(model, (pixels + overlay).clamp(0, 1)).argmax(1)
                kept += (answers == own) & (own != label)
                met += own != label
            shares.append((kept / met.clamp(min=1)).cpu())
    return torch.cat(shares)
