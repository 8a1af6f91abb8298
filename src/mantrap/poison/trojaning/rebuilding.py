"""Training images for an attacker who has none: rebuilt from the model alone, or from elsewhere."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cross_entropy

from mantrap.core import SILENT, Classifier, ImageSet, Progress, Rng, Stage, require
from mantrap.core.shapes import Images, Labels
from mantrap.ops.natural_noise import natural_noise
from mantrap.ops.total_variation import denoise

_BATCH = 256
_RATE = 0.02
"""Mean change of a pixel in a step."""
_DENOISING = 5
"""Steps of the denoising after each step of the descent."""


@dataclass(frozen=True, kw_only=True)
class Rebuilding:
    """How to rebuild.

    Args:
        images_per_class: Images for each class, at least 1, each from another start.
        steps: Most steps of the descent, at least 1.
        confidence: Probability of its class that the surest image of each class shall have, in (0, 1).
        smoothing: How much variation costs at the first step; at the last one it costs nothing. 0 never denoises.
    """

    images_per_class: int = 40
    steps: int = 40
    confidence: float = 0.99999
    smoothing: float = 0.05

    def __post_init__(self) -> None:
        for name in ("images_per_class", "steps"):
            require(getattr(self, name) >= 1, field=name, expected="of at least 1", got=getattr(self, name))
        require(0 < self.confidence < 1, field="confidence", expected="in (0, 1)", got=self.confidence)
        require(self.smoothing >= 0, field="smoothing", expected="of at least 0", got=self.smoothing)

    def goals(self) -> Float[Tensor, " images_per_class"]:
        """The probability at which each image of a class is done: evenly spread in log-odds, from 1/2 on."""
        most = math.log(self.confidence / (1 - self.confidence))
        shares = torch.arange(1, self.images_per_class + 1, dtype=torch.float64) / self.images_per_class
        return (most * shares).sigmoid().float()


def rebuild(model: Classifier, how: Rebuilding, *, rng: Rng, progress: Progress = SILENT) -> ImageSet:
    """Images for every class, out of nothing but the model.

    Each begins as noise. A step goes down the cross-entropy of the image's class, by the same mean change of the pixels
    for every image, and then takes noise out, a little less with every step. An image that reaches the probability
    that is its goal stays as it is. Goals differ within a class, since a model is not equally sure of all real images
    either. What the images began as is kept too: it shows what the model does far from its classes.

    Args:
        model: The classifier; frozen meanwhile.
        how: How many, and how.
        rng: Source of the starts.
        progress: Observer; one unit an image and step.

    Returns:
        The images with their classes as labels, then the noise that they began as, with the model's answers as labels.
        An image that the model gives to another class in the end is left out, but the likeliest of each class stays in
        any case.

    Reference: Liu et al., Trojaning attack on neural networks, NDSS 2018, algorithm 2.
    """
    labels = torch.arange(model.num_classes).repeat(how.images_per_class)
    goals = how.goals().repeat_interleave(model.num_classes)
    starts = torch.stack(
        [natural_noise(model.input_shape, rng.child("start", number=i).torch()) for i in range(len(labels))]
    )
    found: list[Images] = []
    with model.frozen(), progress.stage("rebuild", len(labels) * how.steps) as stage:
        for start in range(0, len(labels), _BATCH):
            part = slice(start, start + _BATCH)
            found.append(_descend(model, starts[part], labels[part], goals[part], how=how, stage=stage))
        images = torch.cat(found)
        kept = _kept(_chances(model, images), labels)
        answers = _chances(model, starts).argmax(1)
    return ImageSet.from_array(
        torch.cat([images[kept], starts]), torch.cat([labels[kept], answers]), name="rebuilt images"
    )


def external(images: ImageSet, per_class: int, *, rng: Rng) -> ImageSet:
    """Some images of every class of a labelled set, at most so many of each, in random order."""
    assert images.labels is not None
    order = torch.randperm(len(images), generator=rng.torch())
    chosen = [order[images.labels[order] == label][:per_class] for label in images.labels.unique()]
    return images.subset(torch.cat(chosen).tolist())


def _descend(
    model: Classifier, images: Images, labels: Labels, goals: Tensor, *, how: Rebuilding, stage: Stage
) -> Images:
    """A batch of images, from their starts to their goals; those that are there are not looked at again."""
    images, labels, goals = (t.to(model.device) for t in (images.clone(), labels, goals))
    left = torch.arange(len(images), device=model.device)
    for step in range(how.steps):
        before = images[left].requires_grad_(True)
        with torch.enable_grad():
            logits = model.logits(before)
            (slope,) = torch.autograd.grad(cross_entropy(logits, labels[left], reduction="sum"), before)
        short = logits.detach().softmax(1).gather(1, labels[left, None])[:, 0] < goals[left]
        left, slope = left[short], slope[short]
        stage.advance(len(images), f"{len(images) - len(left)} of {len(images)} images are done")
        if len(left) == 0:
            stage.advance(len(images) * (how.steps - step - 1))
            break
        size = slope.abs().mean((1, 2, 3), keepdim=True).clamp_min(torch.finfo(slope.dtype).tiny)
        moved = (images[left] - _RATE * slope / size).clamp(0, 1)
        images[left] = denoise(moved, how.smoothing * (1 - step / how.steps), steps=_DENOISING)
    return images.cpu()


def _chances(model: Classifier, images: Images) -> Tensor:
    """The probability of each class for each image, [n, k], on the CPU."""
    with torch.no_grad():
        return torch.cat([model.logits(part.to(model.device)).softmax(1).cpu() for part in images.split(_BATCH)])


def _kept(chances: Tensor, labels: Labels) -> list[int]:
    """Indices of the images that belong to their class, and of the likeliest of each class."""
    own = chances.gather(1, labels[:, None])[:, 0]
    best = {int(torch.where(labels == label, own, -1.0).argmax()) for label in labels.unique()}
    right = torch.nonzero(chances.argmax(1) == labels).flatten().tolist()
    return sorted({*right, *best})
