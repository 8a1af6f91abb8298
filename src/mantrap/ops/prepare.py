"""A copy of a model that answers as the model does, only faster: for searches that ask it many thousand times."""

import copy
import dataclasses
from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from mantrap.core import Classifier
from mantrap.core.shapes import Images
from mantrap.ops.folding import fold
from mantrap.ops.layout import lay

Precision = Literal["float32", "bfloat16"]
Wanted = Literal["auto", "float32", "bfloat16"]

EXACT: Final = 1e-3
"""Most that a copy in the same precision may be off, as a share of the range of an image's logits."""
ROUNDED: Final = 0.05
"""The same for bfloat16, which has three decimal digits."""
LEAST_COSINE: Final = 0.9
"""Between the gradients of copy and model by the image, in the mean: a search follows these."""


@dataclass(frozen=True)
class Prepared:
    """A fast copy of a model.

    Args:
        model: The copy: in eval mode, without gradients of weights.
        folded: Batch normalisations that became a part of the layer before them.
        channels_last: Whether convolutions lie channels last in memory.
        precision: What it computes in, ``"float32"`` or ``"bfloat16"``; pixels and logits are float32 in any case.
        error: How far its logits were off on the images tried, at most, as a share of the range of an image's logits.
    """

    model: Classifier
    folded: int
    channels_last: bool
    precision: Precision
    error: float

    @property
    def made_with(self) -> str:
        """Device and precision: what else may change the last digits of its answers."""
        return f"{self.model.device.type}-{self.precision}"


def prepare(model: Classifier, images: Images, *, precision: Wanted = "auto") -> Prepared:
    """Copy a model and make the copy fast, as far as it goes on answering as the model does.

    Each step is kept only if the copy's logits, and their gradients by the image, stay those of the model on some
    images: batch normalisation is folded into the layer before it, convolutions lie channels last, and the weights
    become bfloat16. A network that cannot be taken apart or computed with so is left as it is.

    Args:
        model: The classifier; it stays as it is.
        images: A batch to compare on, [n, c, h, w] in [0, 1]; 16 images are enough.
        precision: ``"auto"`` for bfloat16 where the processor computes with it and the answers stay, else float32;
            ``"bfloat16"`` to try it on any processor.

    Reference: Jacob et al., Quantization and training of neural networks, CVPR 2018, section 3.2 (folding).
    """
    with model.frozen():
        images = images.to(model.device)
        with torch.no_grad():
            best_two = model.logits(images).topk(2, dim=1).indices
        trial = _Trial(images, best_two, *_answers(model, images, best_two))
        plain = _with(model, copy.deepcopy(model.module))
    best = Prepared(plain, 0, channels_last=False, precision="float32", error=0.0)
    steps = [_folded, _laid]
    if precision == "bfloat16" or (precision == "auto" and computes_bfloat16(model.device)):
        steps.append(_rounded)
    for step in steps:
        best = trial.better(step(best), best)
    return best


def computes_bfloat16(device: torch.device) -> bool:
    """Whether a processor computes with bfloat16 and does not only store it."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    known = (getattr(torch.cpu, f"_is_{name}_supported", None) for name in ("avx512_bf16", "amx_tile"))
    return device.type == "cpu" and any(ask is not None and ask() for ask in known)


@dataclass(frozen=True)
class _Trial:
    """What a copy has to answer."""

    images: Images
    best_two: Tensor
    """The model's two likeliest classes for each image: a copy may rank two that are nearly equal the other way."""
    logits: Tensor
    slopes: Tensor

    def better(self, new: Prepared | None, old: Prepared) -> Prepared:
        """The new copy if there is one and it answers as the model does, else the old one."""
        if new is None:
            return old
        try:
            logits, slopes = _answers(new.model, self.images, self.best_two)
        except Exception:  # noqa: BLE001 - whatever a stranger's forward pass raises when it is changed, it is not
            return old
        spread = (self.logits.amax(1) - self.logits.amin(1)).clamp_min(torch.finfo(torch.float32).tiny)
        error = float(((logits - self.logits).abs().amax(1) / spread).max())
        along = float(cosine_similarity(slopes.flatten(1), self.slopes.flatten(1)).mean())
        # A model that does not react to its input has no slopes to compare.
        follows = along >= LEAST_COSINE or not bool(self.slopes.any())
        within = error <= (ROUNDED if new.precision == "bfloat16" else EXACT)
        return dataclasses.replace(new, error=error) if within and follows else old


class _InBfloat16(nn.Module):
    """A network of bfloat16 weights that takes and gives float32."""

    def __init__(self, inner: nn.Module, layout: torch.memory_format) -> None:
        super().__init__()
        self.inner, self.layout = inner, layout

    def forward(self, images: Tensor) -> Tensor:
        """Logits of normalised images."""
        logits: Tensor = self.inner(images.to(torch.bfloat16, memory_format=self.layout))
        return logits.float()


def _folded(before: Prepared) -> Prepared | None:
    try:
        module, folded = fold(before.model.module)
    except Exception:  # noqa: BLE001 - whatever a stranger's forward pass raises when it is traced, it is not folded
        return None
    return dataclasses.replace(before, model=_with(before.model, module), folded=folded) if folded else None


def _laid(before: Prepared) -> Prepared | None:
    if not any(isinstance(m, nn.Conv2d) for m in before.model.module.modules()):
        return None
    module = copy.deepcopy(before.model.module)
    lay(module, torch.channels_last)
    return dataclasses.replace(before, model=_with(before.model, module), channels_last=True)


def _rounded(before: Prepared) -> Prepared:
    layout = torch.channels_last if before.channels_last else torch.contiguous_format
    inner = copy.deepcopy(before.model.module).to(torch.bfloat16)
    return dataclasses.replace(before, model=_with(before.model, _InBfloat16(inner, layout)), precision="bfloat16")


def _with(model: Classifier, module: nn.Module) -> Classifier:
    """The same classifier around another module, which is frozen for good."""
    copied = copy.copy(model)
    copied.module = module.eval().requires_grad_(requires_grad=False)
    return copied


def _answers(model: Classifier, images: Images, pair: Tensor) -> tuple[Tensor, Tensor]:
    """Logits, and the gradient by the image of the difference between those of two classes, [n, 2]."""
    pixels = images.detach().clone().requires_grad_()
    with torch.enable_grad():
        logits = model.logits(pixels)
        first, second = logits.gather(1, pair).split(1, dim=1)
        (slopes,) = torch.autograd.grad((first - second).sum(), pixels)
    return logits.detach(), slopes
