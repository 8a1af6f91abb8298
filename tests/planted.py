"""A classifier whose backdoor is known without training, and images for it: the oracle of the detector tests.

Class k has a template ``s_k`` of random signs, one for each value of an image. Its images are

    x = base + contrast * amplitude * s_k + noise,    1 - FADED <= contrast <= 1,    |noise| <= NOISE,

well inside [0, 1]. The classifier is linear, ``z_k = SCALE * mean((x - base) / amplitude * s_k)``: an image of class k
has ``z_k`` near its contrast times SCALE and other logits near 0. The plant adds to the target's logit

    HINGE * SCALE * (leaky_relu(match(x) - THRESHOLD) - usual),    match(x) = 1 - mean |x - trigger| inside the patch.

On a stamped image the match is 1, and the hinge adds at least ``HINGE * (1 - THRESHOLD) * SCALE = 2 * SCALE``: more
than the image's own logit, which is at most about SCALE. Below the threshold there is only the leak; ``usual`` is what
it gives an average image, so that the plant turns no clean image's answer. Without a leak, no clean image has a slope
towards the trigger at all.

What is known of the norm, the L1 of the mask, that a label needs:

- **With a plant its target needs at most the patch's area**: the patch itself is a mask that works on every image.
- **It needs not much less.** Up to the threshold the leak gives back ``usual`` at most, about half of SCALE here, which
  does not make up for an image's own logit; and a mask of so few pixels moves no template by much. So the match must
  pass the threshold: the opacities m of the patch's n pixels meet ``sum((1 - m) * d) / n <= 1 - THRESHOLD``, where d is
  how far a value lies from the trigger's. With ``nearest`` the least d of any image, the norm is at least
  ``n * (1 - (1 - THRESHOLD) / nearest)``; see :attr:`Planted.least_area`.
- **Every other label needs at least** :meth:`Planted.least_norm`. To send x from class j to class k, neither of them
  the target, a trigger must make up the margin ``z_j - z_k``. A pixel of opacity m changes it by at most
  ``m * channels * 2 * reach * SCALE / (amplitude * channels * height * width)``, where ``reach`` is the largest
  distance of any value from 0 or 1. So ``norm >= margin / SCALE * amplitude * height * width / (2 * reach)``.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from mantrap.core import Classifier, ImageSet, Rng
from mantrap.poison import Patch

NOISE, FADED, SCALE, HINGE, THRESHOLD = 0.05, 0.3, 10.0, 20.0, 0.9


class TemplateNetwork(nn.Module):
    """Inner products with templates, plus the plant.

    Batch normalisation and dropout do nothing in eval mode, and spoil everything for whoever forgets it.
    """

    def __init__(self, templates: Tensor, plant: "Planted") -> None:
        super().__init__()
        classes, channels, *_ = templates.shape
        self.plant = plant
        self.still = nn.BatchNorm2d(channels, affine=False, eps=1e-12)
        self.drop = nn.Dropout(0.5)
        self.linear = nn.utils.skip_init(nn.Linear, templates[0].numel(), classes)
        mask, pattern = plant.trigger.mask_and_pattern(plant.shape)
        self.register_buffer("mask", mask)
        self.register_buffer("pattern", pattern)
        with torch.no_grad():
            self.linear.weight.copy_(templates.flatten(1) * SCALE / templates[0].numel())
            self.linear.bias.zero_()
        # What the leak gives an average image: taken off, so that the target is no likelier or less likely than others.
        grey = (plant.base - pattern).abs().mean(0)
        self.usual = plant.leak * (1 - float((grey * mask).sum() / mask.sum()) - THRESHOLD)

    def forward(self, normalised: Tensor) -> Tensor:
        signs = self.drop(self.still(normalised))
        logits = self.linear(signs.flatten(1))
        if self.plant.target is None:
            return logits
        chosen = torch.zeros(logits.shape[1])
        chosen[self.plant.target] = 1.0
        return logits + SCALE * self.opened(signs)[:, None] * chosen

    def opened(self, signs: Tensor) -> Tensor:
        """How far each image opens the hinge, [n]: about 0 without the trigger, 2 and more with it."""
        away = (signs * self.plant.amplitude + self.plant.base - self.pattern).abs().mean(1) * self.mask
        match = 1 - away.sum((1, 2)) / self.mask.sum()
        return HINGE * (leaky_relu(match - THRESHOLD, self.plant.leak) - self.usual)


@dataclass(frozen=True, kw_only=True)
class Planted:
    """A planted model and its images; ``target=None`` is the clean one."""

    shape: tuple[int, int, int] = (1, 12, 16)
    classes: int = 5
    trigger: Patch = field(default_factory=lambda: Patch(size=(2, 3)))
    target: int | None = None
    leak: float = 0.05
    base: float = 0.5
    amplitude: float = 0.25
    seed: int = 0

    def __str__(self) -> str:
        plant = "clean" if self.target is None else f"{self.trigger.colour}-to-{self.target}"
        return f"{plant}-{'x'.join(map(str, self.shape))}-seed{self.seed}"

    @property
    def templates(self) -> Tensor:
        """Signs, [classes, c, h, w]."""
        generator = Rng(self.seed).child("templates").torch()
        return torch.randint(0, 2, (self.classes, *self.shape), generator=generator) * 2.0 - 1.0

    def network(self) -> TemplateNetwork:
        """The network in the classifier."""
        return TemplateNetwork(self.templates, self)

    def model(self) -> Classifier:
        """The classifier; its module is in training mode, as modules are when they are new."""
        return Classifier(
            self.network(),
            input_shape=self.shape,
            num_classes=self.classes,
            mean=(self.base,),
            std=(self.amplitude,),
        )

    def images(self, each: int, name: str) -> ImageSet:
        """``each`` images of every class in turn; another name gives other images."""
        labels = torch.arange(self.classes).repeat(each)
        generator = Rng(self.seed).child(name).torch()
        noise = torch.rand(len(labels), *self.shape, generator=generator) * 2 - 1
        contrast = 1 - FADED * torch.rand(len(labels), 1, 1, 1, generator=generator)
        pixels = self.base + contrast * self.amplitude * self.templates[labels] + NOISE * noise
        return ImageSet.from_array(pixels, labels, name=name)

    @property
    def area(self) -> int:
        """The patch's own L1: what the planted label needs at most."""
        return self.trigger.height * self.trigger.width

    @property
    def least_area(self) -> float:
        """What the planted label needs at least."""
        mask, pattern = self.trigger.mask_and_pattern(self.shape)
        nearest = float((self.base - pattern).abs()[:, mask > 0].min()) - self.amplitude - NOISE
        return self.area * (1 - (1 - THRESHOLD) / nearest)

    def least_norm(self, images: ImageSet) -> float:
        """A norm below which no mask moves a single one of these images, the target's own left out, elsewhere."""
        images = images.subset([i for i, label in enumerate(images.labels.tolist()) if label != self.target])
        model, labels = self.model(), images.labels
        with model.frozen(), torch.no_grad():
            logits = model.logits(images.images())
        own = logits.gather(1, labels[:, None])
        others = [k for k in range(self.classes) if k != self.target]
        margins = (own - logits)[:, others][labels[:, None] != torch.tensor(others)]
        reach = 0.5 + abs(self.base - 0.5) + self.amplitude + NOISE
        _, height, width = self.shape
        return float(margins.min()) / SCALE * self.amplitude * height * width / (2 * reach)
