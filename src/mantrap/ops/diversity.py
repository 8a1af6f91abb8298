"""Make what a network puts out differ as much as what went in."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from mantrap.core import Rng

_LEAST = 1e-7


def partners(count: int, rng: Rng) -> Int64[Tensor, " n"]:
    """Another place of a batch for each place, as indices; where there are two or more, none is its own."""
    step = int(torch.randint(1, max(count, 2), (), generator=rng.torch()))
    return torch.arange(count).roll(step)


def diversity_loss(
    inputs: Float[Tensor, "n ..."],
    others: Float[Tensor, "n ..."],
    outputs: Float[Tensor, "n ..."],
    other_outputs: Float[Tensor, "n ..."],
) -> Float[Tensor, ""]:
    """How much more inputs differ than outputs: the mean ratio of their distances, 0 where there are no pairs.

    Args:
        inputs: The first of each pair, [n, ...].
        others: The second.
        outputs: What was made of the first.
        other_outputs: What was made of the second.

    Returns:
        The loss, of no dimension; gradients are finite for equal outputs as well.

    Reference: Nguyen and Tran, Input-aware dynamic backdoor attack, NeurIPS 2020, the diversity loss.
    """
    if len(inputs) == 0:
        return outputs.sum()
    return (_distances(inputs, others) / _distances(outputs, other_outputs)).mean()


def _distances(first: Tensor, second: Tensor) -> Float[Tensor, " n"]:
    """Root of the mean squared difference of each pair, and a little more, lest it be 0."""
    return ((first - second).square().flatten(1).mean(1) + _LEAST**2).sqrt()
