"""What a model puts out, looked at before any work is spent on it."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from mantrap.core import Classifier
from mantrap.core.shapes import Images, Logits
from mantrap.errors import ModelError
from mantrap.models.architectures.base import FEWEST_CLASSES

_SUM_TOLERANCE = 1e-4
_SAME = 1e-6


def looks_like_probabilities(logits: Logits) -> bool:
    """Whether every row lies in [0, 1] and sums to 1 (within 1e-4), as after a softmax.

    A cross-entropy over such rows has a gradient 50 to 5,000 times too small, so a search for triggers finds nothing.

    Example:
        >>> looks_like_probabilities(torch.tensor([[0.25, 0.75]]))
        True
        >>> looks_like_probabilities(torch.tensor([[-1.4, -0.3]]))
        False
    """
    inside = (logits >= 0) & (logits <= 1 + _SUM_TOLERANCE)
    sums = logits.sum(1)
    return bool(inside.all() and ((sums - 1).abs() <= _SUM_TOLERANCE).all())


def count_classes(
    module: nn.Module, input_shape: tuple[int, int, int], *, tried: str, wanted: int | None = None
) -> int:
    """The number of logits that a module gives two images; the module is frozen meanwhile.

    Args:
        module: Maps images [n, c, h, w] to logits [n, k].
        input_shape: Channels, height and width of one image.
        tried: What the module is, for the message.
        wanted: The number there must be; ``None`` for any from 2 up.

    Raises:
        ModelError: The forward pass fails, gives no rows of logits, or not as many as wanted.
    """
    probe = Classifier(module, input_shape=input_shape, num_classes=FEWEST_CLASSES)
    images = torch.linspace(0, 1, 2 * math.prod(input_shape)).view(2, *input_shape).to(probe.device)
    with probe.frozen(), torch.no_grad(), torch.random.fork_rng(devices=[]):
        try:
            output = module(images)
        except Exception as error:  # a stranger's module can fail in any way
            channels, height, width = input_shape
            raise ModelError(
                expected=f"a forward pass through {tried}",
                got=f"{type(error).__name__}: {str(error).partition(chr(10))[0]:.200}",
                remedy=f"If it takes other images than {channels} channels of {height}x{width}, "
                "give --channels and --resize HxW.",
            ) from error
    shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
    fits = isinstance(output, Tensor) and output.ndim == 2 and len(output) == len(images)
    if not fits or output.shape[1] < FEWEST_CLASSES:
        raise ModelError(
            expected=f"logits of shape (2, classes) for two images from {tried}",
            got=f"{shape}",
            remedy="Wrap the model so that its forward pass returns one row of logits, two or more, for each image.",
        )
    found: int = output.shape[1]
    if wanted not in (None, found):
        raise ModelError(
            expected=f"{wanted} classes from {tried}", got=f"{found}", remedy="Correct --arch or the class names."
        )
    return found


def times(shape: Iterable[int]) -> str:
    """A shape as people write it: 3x32x32."""
    return "x".join(map(str, shape))


def check_outputs(model: Classifier, images: Images) -> None:
    """Refuse a model whose answers no audit can rest on.

    Log-probabilities pass: a softmax over them changes nothing.

    Args:
        model: The classifier; it is frozen meanwhile.
        images: Some of the images to audit with, [n, c, h, w] in [0, 1].

    Raises:
        ModelError: The outputs are probabilities, are not finite, or are the same whatever the image.
    """
    pixels = images.to(model.device)
    with model.frozen(), torch.no_grad():
        logits = model.logits(pixels)
        inverted = model.logits(1 - pixels)
    if not bool(torch.isfinite(logits).all()):
        raise ModelError(
            expected="finite logits",
            got=f"NaN or infinite ones for {int((~torch.isfinite(logits)).any(1).sum())} of {len(logits)} images",
            remedy="Check the declared --mean, --std and --pixel-range, or get an undamaged model.",
        )
    if looks_like_probabilities(logits):
        raise ModelError(
            expected="logits",
            got=f"probabilities (each of {len(logits)} rows lies in [0, 1] and sums to 1)",
            remedy="Remove the final softmax, or give --arch FILE.py:NAME with a forward pass that returns logits.",
        )
    if _same_everywhere(torch.cat([logits, inverted])):
        raise ModelError(
            expected="logits that depend on the image",
            got=f"the same row for {len(logits)} images and their inverses",
            remedy="Check the architecture, the declared preprocessing and that the weights are the trained ones.",
        )


def _same_everywhere(rows: Tensor) -> bool:
    return float((rows - rows[0]).abs().max()) <= _SAME * max(1.0, float(rows.abs().max()))
