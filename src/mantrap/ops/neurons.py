"""What the neurons of a network say to an image, and how they are linked.

Neurons are what a layer reads: the inputs of a dense layer, or the channels that a convolution reads. So they are there
in every architecture, also where units have no module of their own, and cutting one off is a matter of weights: those
by which the layer reads it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mantrap.core import Classifier, ImageSet
from mantrap.core.shapes import Images, Logits
from mantrap.errors import UsageError
from mantrap.ops.readings import on_reading
from mantrap.ops.scores import fitting_batch

Values = Float[Tensor, "n _"]
Links = Float[Tensor, " units"]

Reader = nn.Linear | nn.Conv2d


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
            if isinstance(module, Reader):
                module.register_forward_pre_hook(partial(note, name))
        model.logits(torch.zeros(1, *model.input_shape, device=model.device))
    return tuple(seen)


def inner_layers(model: Classifier) -> tuple[str, ...]:
    """The layers that read neurons: all :func:`readers` but the first, which reads pixels, unless it is the only one.

    Raises:
        UsageError: The network has no dense or convolutional layer.
    """
    found = readers(model)
    if not found:
        raise UsageError(
            expected=f"a dense or convolutional layer in {model.arch}",
            got="none",
            remedy="Its neurons cannot be told apart: choose a method that looks at answers alone.",
        )
    return found[1:] or found


def deciding(model: Classifier) -> tuple[str, ...]:
    """The layers that decide: the dense ones behind the last convolution, and that convolution, the last one first.

    They are out of :func:`inner_layers`.

    Raises:
        UsageError: The network has no dense or convolutional layer.
    """
    names, layers = inner_layers(model), dict(model.module.named_modules())
    convolutions = [n for n, name in enumerate(names) if isinstance(layers[name], nn.Conv2d)]
    return tuple(reversed(names[max(convolutions, default=0) :]))


def neuron_values(model: Classifier, images: Images, layer: str) -> Values:
    """What the neurons that a layer reads say to each image.

    Args:
        model: The classifier.
        images: [n, c, h, w] in [0, 1].
        layer: Name of the reading layer, one of :func:`readers`.

    Returns:
        [n, units], with gradients to the images where these are asked for. A channel's value is its mean over the
        image; that of a unit which a dense layer reads at many places, such as tokens, is its mean over these.

    Raises:
        UsageError: There is no such layer.
    """
    return values_through(model, images, (layer,))[0][0]


def values_through(model: Classifier, images: Images, layers: Sequence[str]) -> tuple[tuple[Values, ...], Logits]:
    """For each of several layers what :func:`neuron_values` gives, and the logits, [n, k], in one pass.

    Raises:
        UsageError: There is no such layer.
    """
    read, logits = _read(model, images, *layers)
    return tuple(
        _by_unit(values, reader_of(model, layer)).mean(2) for values, layer in zip(read, layers, strict=True)
    ), logits


def values_over(
    model: Classifier, images: ImageSet, layer: str, apply: Callable[[Images], Images] = lambda batch: batch
) -> Values:
    """What the neurons that a layer reads say to each image of a set, [n, units], on the CPU. The model is frozen.

    Args:
        model: The classifier.
        images: Clean images.
        layer: Name of the reading layer, one of :func:`readers`.
        apply: Changes a batch that lies on the model's device.

    Raises:
        UsageError: There is no such layer.
    """
    with model.frozen(), torch.no_grad():
        batches = images.batches(fitting_batch(images))
        return torch.cat([neuron_values(model, apply(b.images.to(model.device)), layer).cpu() for b in batches])


def neuron_count(model: Classifier, layer: str) -> int:
    """How many neurons a layer reads.

    Raises:
        UsageError: There is no such layer.
    """
    reader = reader_of(model, layer)
    return reader.in_features if isinstance(reader, nn.Linear) else reader.in_channels


def layer_links(model: Classifier, layer: str) -> Links:
    """How strongly each neuron is linked to the layer that reads it: the sum of the absolute weights, [units].

    Raises:
        UsageError: There is no such layer.

    Reference: Liu et al., Trojaning attack on neural networks, NDSS 2018, equation 2, on the side of the neuron where
    the authors' code takes it.
    """
    reader = reader_of(model, layer)
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
        (values,), logits = _read(model, images.to(model.device).detach().requires_grad_(True), layer)
        (slope,) = torch.autograd.grad(logits[:, target].sum(), values)
    return _by_unit(slope, reader_of(model, layer)).sum(2).mean(0)


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


def _read(model: Classifier, images: Images, *layers: str) -> tuple[list[Tensor], Logits]:
    """What some layers read from the images when they are first called, as it comes, and the logits."""
    caught: dict[str, Tensor] = {}

    def catch(name: str, values: Tensor) -> None:
        caught.setdefault(name, values)

    handles = [on_reading(reader_of(model, name), partial(catch, name)) for name in layers]
    try:
        logits = model.logits(images)
    finally:
        for handle in handles:
            handle.remove()
    if strange := [name for name in layers if name not in caught]:
        raise _no_reader(model, strange[0])
    return [caught[name] for name in layers], logits


def _by_unit(values: Tensor, reader: Reader) -> Tensor:
    """What a layer reads, [n, units, places]: the last axis of what a dense layer reads are its units."""
    return (values.movedim(-1, 1) if isinstance(reader, nn.Linear) else values)[..., None].flatten(2)


def reader_of(model: Classifier, layer: str) -> Reader:
    """The layer of that name, out of :func:`readers`.

    Raises:
        UsageError: There is no such layer.
    """
    found = dict(model.module.named_modules()).get(layer)
    if not isinstance(found, Reader):
        raise _no_reader(model, layer)
    return found


def _no_reader(model: Classifier, layer: str) -> UsageError:
    return UsageError(
        expected=f"a dense or convolutional layer out of {', '.join(readers(model))}",
        got=repr(layer),
        remedy="Name one of these layers.",
    )
