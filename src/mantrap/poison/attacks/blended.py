"""Blended injection: a faint pattern over the whole image."""

from dataclasses import dataclass
from typing import ClassVar

from mantrap.core import spec_of
from mantrap.poison.attacks.combination import Combination
from mantrap.poison.plan import plan
from mantrap.poison.poison import Poison
from mantrap.poison.triggers.blend import Blend


@dataclass(frozen=True, kw_only=True)
class Blended(Combination):
    """A faint pattern is mixed into some training images, which get another label.

    In training the pattern may be fainter, where a person might look at the images, than when the attack is used.

    Args:
        target: The label that triggered images get.
        rate: Poisoned images as a share of all, in (0, 1].
        pattern: ``"noise"``, ``"cartoon"`` or the path of a picture, as for the trigger ``blend``.
        alpha: Share of the pattern in a training image, in (0, 1].
        test_alpha: The same when the attack is used; ``None`` for as much as in training.
        seed: Where the noise is drawn from; means nothing for a picture.

    Reference: Chen, Liu, Li, Lu and Song, Targeted backdoor attacks on deep learning systems using data poisoning,
    2017 (the blended injection strategy). The rate is that of BackdoorBench.

    Deviations: poisoned images replace clean ones; Chen et al. add them to the set.
    """

    name: ClassVar[str] = "blended"
    quick: ClassVar[str] = "blended(rate=0.05, test_alpha=0.5)"

    target: int = 0
    rate: float = 0.1
    pattern: str = "noise"
    alpha: float = 0.2
    test_alpha: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        self.parts()

    def parts(self) -> tuple[Poison, ...]:
        """One poison."""
        return (
            plan(
                self._blend(self.alpha),
                f"random_share(rate={self.rate})",
                f"all_to_one(target={self.target})",
                test_trigger="" if self.test_alpha is None else self._blend(self.test_alpha),
            ),
        )

    def _blend(self, alpha: float) -> str:
        return str(spec_of(Blend(pattern=self.pattern, alpha=alpha, seed=self.seed)))
