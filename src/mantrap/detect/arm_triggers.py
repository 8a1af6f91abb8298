"""Kinds of triggers that arms search for: a patch behind a mask, and what is added to every pixel."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mantrap.core import ReversedPatch, ReversedPerturbation, Rng, require
from mantrap.detect.arms import ArmSettings, SizedTriggers
from mantrap.detect.passes import Arm
from mantrap.ops.boxed_adam import BoxedAdam
from mantrap.ops.projections import onto_budget


@dataclass(frozen=True, kw_only=True)
class PatchArms(ArmSettings):
    """Patches of the smallest L1 norm of their mask.

    Args:
        mask_rate: Learning rate of the mask, which lies in [0, 1].
        pattern_rate: Learning rate of the pattern.
        scales: Largest opacity of the masks that arms begin with, in turn.

    Reference: Wang et al., Neural Cleanse, IEEE S&P 2019, equation 3. Deviations: mask and pattern are moved in [0, 1]
    itself and not through a tanh, and the weight of the norm changes with every step.
    """

    mask_rate: float = 0.1
    pattern_rate: float = 0.2
    scales: tuple[float, ...] = (0.5, 0.2)

    def __post_init__(self) -> None:
        super().__post_init__()
        for field in ("mask_rate", "pattern_rate"):
            require(getattr(self, field) > 0, field=field, expected="above 0", got=getattr(self, field))
        scaled = bool(self.scales) and all(0 < scale <= 1 for scale in self.scales)
        require(scaled, field="scales", expected="with numbers in (0, 1]", got=self.scales)

    def begin(
        self, shape: tuple[int, int, int], arms: Sequence[Arm], streams: Sequence[Rng], device: torch.device
    ) -> "Patches":
        """Random masks and random patterns."""
        masks, patterns = [], []
        for arm, rng in zip(arms, streams, strict=True):
            stream, (_, height, width) = rng.torch(), shape
            scale = self.scales[arm.restart % len(self.scales)]
            masks.append(torch.rand(height, width, generator=stream) * scale)
            patterns.append(torch.rand(shape, generator=stream))
        return Patches(torch.stack(masks).to(device), torch.stack(patterns).to(device), self)

    def go_on(self, made_of: Mapping[str, Tensor]) -> "Patches":
        """Patches that were found before."""
        return Patches(made_of["mask"], made_of["pattern"], self)

    def slower(self, share: float) -> Self:
        """With shorter steps."""
        return replace(self, mask_rate=share * self.mask_rate, pattern_rate=share * self.pattern_rate)

    def recovered(self, target: int, made_of: Mapping[str, Tensor]) -> ReversedPatch:
        """The patch that the tensors of one arm make."""
        return ReversedPatch(target, made_of["mask"], made_of["pattern"])


class Patches(SizedTriggers):
    """Masks [a, h, w] and patterns [a, c, h, w], all in [0, 1]."""

    def __init__(self, mask: Float[Tensor, "a h w"], pattern: Float[Tensor, "a c h w"], settings: PatchArms) -> None:
        self.mask, self.pattern = mask, pattern
        self.best = {"mask": mask.clone(), "pattern": pattern.clone()}
        self._masks, self._patterns = BoxedAdam(mask, settings.mask_rate), BoxedAdam(pattern, settings.pattern_rate)
        self.mask_slope, self.pattern_slope = torch.empty_like(mask), torch.empty_like(pattern)

    def stamped(self, arms: slice, images: Tensor) -> Tensor:
        """Images behind the patches."""
        return images + self.mask[arms, None, None] * (self.pattern[arms, None] - images)

    def note(self, arms: slice, images: Tensor, slopes: Tensor) -> None:
        """By the mask a pixel moves along the pattern's distance from it, by the pattern as far as it is covered."""
        self.mask_slope[arms] = (slopes * (self.pattern[arms, None] - images)).sum((1, 2))
        self.pattern_slope[arms] = slopes.sum(1) * self.mask[arms, None]

    def norms(self) -> Float[Tensor, " a"]:
        """L1 of the masks, in pixels."""
        return self.mask.sum((1, 2))

    def keep(self, better: Bool[Tensor, " a"]) -> None:
        """Remember the patches of these arms as they are."""
        self.best["mask"][better], self.best["pattern"][better] = self.mask[better], self.pattern[better]

    def descend(self, cost: Float[Tensor, " a"]) -> None:
        """One step; each unit of opacity costs the same."""
        self._masks.descend(self.mask_slope + cost[:, None, None])
        self._patterns.descend(self.pattern_slope)

    def only(self, arms: Int[Tensor, " m"]) -> None:
        """Go on with these arms alone."""
        self.mask, self.pattern = self._masks.only(arms), self._patterns.only(arms)
        self.best = {name: tensor[arms] for name, tensor in self.best.items()}
        self.mask_slope, self.pattern_slope = torch.empty_like(self.mask), torch.empty_like(self.pattern)

    def shrink(self, most: float) -> None:
        """Take from the masks what is more than so many pixels."""
        self.mask.copy_(onto_budget(self.mask, most))


@dataclass(frozen=True, kw_only=True)
class AdditionArms(ArmSettings):
    """Perturbations of the smallest L2 norm that are added to every image alike.

    Args:
        rate: Learning rate, in shares of the range of a pixel.
        scale: Standard deviation of the noise that arms begin with.

    Reference: Moosavi-Dezfooli et al., Universal adversarial perturbations, CVPR 2017, for the perturbation; Xiang,
    Miller and Kesidis, Detection of backdoors in trained classifiers without access to the training set, IEEE TNNLS
    2022, for what its size says of a backdoor. Deviation: the size is weighed as Neural Cleanse weighs its mask.
    """

    initial_cost: float = 0.02
    success_threshold: float = 0.9
    rate: float = 0.03
    scale: float = 0.02

    def __post_init__(self) -> None:
        super().__post_init__()
        for field in ("rate", "scale"):
            require(getattr(self, field) > 0, field=field, expected="above 0", got=getattr(self, field))

    def begin(
        self, shape: tuple[int, int, int], arms: Sequence[Arm], streams: Sequence[Rng], device: torch.device
    ) -> "Additions":
        """Faint noise."""
        del arms
        drawn = [torch.randn(shape, generator=s.torch()) * self.scale for s in streams]
        return Additions(torch.stack(drawn).clamp(-1, 1).to(device), self.rate)

    def go_on(self, made_of: Mapping[str, Tensor]) -> "Additions":
        """Perturbations that were found before."""
        return Additions(made_of["delta"], self.rate)

    def slower(self, share: float) -> Self:
        """With shorter steps."""
        return replace(self, rate=share * self.rate)

    def recovered(self, target: int, made_of: Mapping[str, Tensor]) -> ReversedPerturbation:
        """The perturbation that the tensors of one arm make."""
        return ReversedPerturbation(target, made_of["delta"])


class Additions(SizedTriggers):
    """Perturbations [a, c, h, w] in [-1, 1]."""

    def __init__(self, delta: Float[Tensor, "a c h w"], rate: float) -> None:
        self.delta = delta
        self.best = {"delta": delta.clone()}
        self._adam = BoxedAdam(delta, rate, low=-1.0)
        self.slope = torch.empty_like(delta)

    def stamped(self, arms: slice, images: Tensor) -> Tensor:
        """Images with the perturbation added, as far as pixels can go."""
        return (images + self.delta[arms, None]).clamp(0, 1)

    def note(self, arms: slice, images: Tensor, slopes: Tensor) -> None:
        """A pixel that is at its end counts where the way down leads back."""
        moved = images + self.delta[arms, None]
        stuck = ((moved < 0) & (slopes > 0)) | ((moved > 1) & (slopes < 0))
        self.slope[arms] = slopes.masked_fill(stuck, 0).sum(1)

    def norms(self) -> Float[Tensor, " a"]:
        """L2 of the perturbations, in ranges of a pixel."""
        norms: Tensor = torch.linalg.vector_norm(self.delta, dim=(1, 2, 3))
        return norms

    def keep(self, better: Bool[Tensor, " a"]) -> None:
        """Remember the perturbations of these arms as they are."""
        self.best["delta"][better] = self.delta[better]

    def only(self, arms: Int[Tensor, " m"]) -> None:
        """Go on with these arms alone."""
        self.delta, self.best = self._adam.only(arms), {"delta": self.best["delta"][arms]}
        self.slope = torch.empty_like(self.delta)

    def descend(self, cost: Float[Tensor, " a"]) -> None:
        """One step; the norm pulls each perturbation towards nothing, all of them alike hard."""
        inwards = self.delta / self.norms().clamp_min(torch.finfo(self.delta.dtype).tiny)[:, None, None, None]
        self._adam.descend(self.slope + cost[:, None, None, None] * inwards)
