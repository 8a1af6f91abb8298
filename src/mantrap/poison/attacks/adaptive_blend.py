"""Adaptive blend: a backdoor whose training images do not stand apart from the clean ones inside the network."""

from dataclasses import dataclass
from typing import ClassVar

from mantrap.core import require, spec_of
from mantrap.poison.attacks.combination import Combination
from mantrap.poison.plan import plan
from mantrap.poison.poison import Poison
from mantrap.poison.triggers.blend import Blend


@dataclass(frozen=True, kw_only=True)
class AdaptiveBlend(Combination):
    """Some pieces of a faint pattern on few training images, part of which keep their label; in use the whole pattern.

    The images that keep their label, the covers, teach the network that the pattern alone does not decide, and each
    image shows other pieces. So the poisoned images lie less apart from clean ones in the network's features, which is
    what several screenings of training sets look for.

    Args:
        target: The label that triggered images get.
        rate: Poisoned images as a share of all, in (0, 1].
        cover_rate: Images that carry the trigger and keep their label, as a share of all, in [0, 1).
        pattern: ``"noise"``, ``"cartoon"`` or the path of a picture, as for the trigger ``blend``.
        alpha: Share of the pattern in a training image, in (0, 1].
        test_alpha: The same when the attack is used.
        seed: Where the noise is drawn from; means nothing for a picture.
        grid: Rows, and columns, of pieces that the pattern is cut into.
        pieces_shown: How many of them a training image shows.

    Reference: Qi, Xie, Li, Mahloujifar and Mittal, Revisiting the assumption of latent separability for backdoor
    defenses, ICLR 2023 (Adaptive-Blend); rates, strengths and pieces are those of the authors' published code.

    Deviations: the images to poison are drawn among those that are not of the target class; the authors draw among all.
    """

    name: ClassVar[str] = "adaptive_blend"
    quick: ClassVar[str] = "adaptive_blend(rate=0.1, cover_rate=0.1)"

    target: int = 0
    rate: float = 0.003
    cover_rate: float = 0.003
    pattern: str = "cartoon"
    alpha: float = 0.15
    test_alpha: float = 0.2
    seed: int = 0
    grid: int = 4
    pieces_shown: int = 8

    def __post_init__(self) -> None:
        require(0 <= self.cover_rate < 1, field="cover_rate", expected="in [0, 1)", got=self.cover_rate)
        self.parts()

    def parts(self) -> tuple[Poison, ...]:
        """One poison with covers."""
        whole = Blend(pattern=self.pattern, alpha=self.test_alpha, seed=self.seed)
        pieces = Blend(
            pattern=self.pattern, alpha=self.alpha, seed=self.seed, grid=self.grid, pieces_shown=self.pieces_shown
        )
        return (
            plan(
                str(spec_of(pieces)),
                f"random_share(rate={self.rate})",
                f"all_to_one(target={self.target})",
                cover=f"random_share(rate={self.cover_rate})" if self.cover_rate else "",
                test_trigger=str(spec_of(whole)),
            ),
        )
