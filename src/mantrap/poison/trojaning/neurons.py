"""Which neurons a Trojan attack may work through, how they are linked, and what they say to an image.

Neurons are what a layer reads: the inputs of a dense layer, or the channels that a convolution reads. So they are there
in every architecture, also where units have no module of their own, and the layer that reads them is the first one to
retrain.
"""

from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mantrap.core import Classifier
from mantrap.core.shapes import Images, Logits
from mantrap.errors import UsageError

Values = Float[Tensor, "n units"]
Links = Float[Tensor, " units"]

_Reader = nn.Linear | nn.Conv2d


@dataclass(frozen=True)
class Neurons:
    """Some of the neurons that a layer reads, by their numbers."""

    layer: str
    numbers: tuple[int, ...]


def readers(model: Classifier) -> tuple[str, ...]:
    """The names of the dense and convolutional layers, in the order in which a forward pass comes through them."""
    seen: dict[str, None] = {}

    def note(name: str, *_: object) -> None:
        seen.setdefault(name)

    with model.frozen(), torch.no_grad():
        for name, module in model.module.named_modules():
            if isinstance(module, _Reader):
                module.register_forward_pre_hook(partial(note, name))
        model.logits(torch.zeros(1, *model.input_shape, device=model.device))
    return tuple(seen)


def neuron_values(model: Classifier, images: Images, layer: str) -> Values:
    """What the neurons that a layer reads say to each image.

    Args:
        model: The classifier.
        images: [n, c, h, w] in [0, 1].
        layer: Name of the reading layer, one of :func:`readers`.

    Returns:
        [n, units], with gradients to the images where these are asked for. A channel's value is its mean over the
        image.

    Raises:
        UsageError: There is no such layer.
    """
    values, _ = _read(model, images, layer)
    return values.flatten(2).mean(2) if values.dim() > 2 else values


def layer_links(model: Classifier, layer: str) -> Links:
    """How strongly each neuron is linked to the layer that reads it: the sum of the absolute weights, [units].

    Raises:
        UsageError: There is no such layer.

    Reference: Liu et al., Trojaning attack on neural networks, NDSS 2018, equation 2, on the side of the neuron where
    the authors' code takes it.
    """
    reader = _reader(model, layer)
    groups = reader.groups if isinstance(reader, nn.Conv2d) else 1
    weights = (
        reader.weight.detach().abs().flatten(2).sum(2) if reader.weight.dim() > 2 else reader.weight.detach().abs()
    )
    links: Tensor = weights.unflatten(0, (groups, -1)).sum(1).flatten()
    return links


def target_links(model: Classifier, images: Images, layer: str, target: int) -> Links:
    """How strongly each neuron is linked to the target: the slope of the target's logit along it, [units].

    The mean over the images; for neurons that the output layer reads, it is their weight to the target.

    Args:
        model: The classifier; frozen meanwhile.
        images: Where the slope is taken, [n, c, h, w] in [0, 1].
        layer: Name of the reading layer.
        target: The target's number.

    Raises:
        UsageError: There is no such layer.
    """
    with model.frozen(), torch.enable_grad():
        values, logits = _read(model, images.to(model.device).detach().requires_grad_(True), layer)
        (slope,) = torch.autograd.grad(logits[:, target].sum(), values)
    return (slope.flatten(2).sum(2) if slope.dim() > 2 else slope).mean(0)


def strongest(layer: str, scores: Links, count: int) -> Neurons:
    """The neurons with the highest scores, the highest first.

    Raises:
        UsageError: More neurons than there are.
    """
    if count > len(scores):
        raise UsageError(
            expected=f"at most {len(scores)} neurons, for {layer} reads so many",
            got=f"{count}",
            remedy="Choose fewer neurons, or another layer.",
        )
    return Neurons(layer, tuple(scores.argsort(descending=True, stable=True)[:count].tolist()))


def _read(model: Classifier, images: Images, layer: str) -> tuple[Tensor, Logits]:
    """What a layer reads from the images, as it comes, and the logits."""
    caught: list[Tensor] = []
    handle = _reader(model, layer).register_forward_pre_hook(lambda _module, inputs: caught.append(inputs[0]))
    try:
        logits = model.logits(images)
    finally:
        handle.remove()
    return caught[0], logits


def _reader(model: Classifier, layer: str) -> _Reader:
    found = dict(model.module.named_modules()).get(layer)
    if not isinstance(found, _Reader):
        raise UsageError(
            expected=f"a dense or convolutional layer out of {', '.join(readers(model))}",
            got=repr(layer),
            remedy="Name one of these layers.",
        )
    return found
