"""A network without some of its neurons: silent for a while, or cut off for good."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Bool
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from mantrap.core import Classifier
from mantrap.errors import UsageError
from mantrap.ops.neurons import Neurons, reader_of
from mantrap.ops.readings import on_reading


@contextmanager
def silenced(model: Classifier, layer: str, silent: Bool[Tensor, " units"]) -> Iterator[None]:
    """Inside, some of the neurons that a layer reads say nothing to it: it reads zeros.

    Args:
        model: The classifier.
        layer: Name of the reading layer.
        silent: Which of its neurons are silent; it may be changed inside.

    Raises:
        UsageError: There is no such layer.
    """
    reader = reader_of(model, layer)

    def quiet(values: Tensor) -> Tensor:
        mask = silent.to(values.device)
        return values.masked_fill(mask if isinstance(reader, nn.Linear) else mask[:, None, None], 0)

    handle = on_reading(reader, quiet)
    try:
        yield
    finally:
        handle.remove()


def cut_off(model: Classifier, neurons: Neurons) -> Classifier:
    """A copy of the model in which a layer does not hear some of its neurons: the weights to them are zero.

    Other layers that read the same neurons, as in a residual network, go on hearing them.

    Raises:
        UsageError: There is no such layer, or its weights are computed from others, as by weight normalisation.
    """
    made = copy.copy(model)
    made.module = copy.deepcopy(model.module)
    reader = reader_of(made, neurons.layer)
    if is_parametrized(reader, "weight"):
        raise UsageError(
            expected="a layer with weights of its own",
            got=f"{neurons.layer}, whose weights are computed from others",
            remedy="Name another layer, or choose a repair that trains.",
        )
    groups = reader.groups if isinstance(reader, nn.Conv2d) else 1
    with torch.no_grad():
        # [groups, outputs of a group, inputs of a group, ...]: a convolution in groups numbers its inputs through them.
        weights = reader.weight.unflatten(0, (groups, -1))
        each = weights.shape[2]
        for number in neurons.numbers:
            weights[number // each, :, number % each] = 0
    return made
