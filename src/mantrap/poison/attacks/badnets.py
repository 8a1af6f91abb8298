"""BadNets: a patch on some training images, and another label for them."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from mantrap.core import require
from mantrap.poison.attacks.combination import Combination
from mantrap.poison.plan import plan
from mantrap.poison.poison import Poison

Goal = Literal["all_to_one", "all_to_all", "untargeted", "source_specific"]


@dataclass(frozen=True, kw_only=True)
class BadNets(Combination):
    """A patch on some training images, which get another label; whoever trains on them trains a backdoor.

    Args:
        target: The label that triggered images get; for all-to-all and untargeted attacks it means nothing.
        rate: Poisoned images as a share of all, in (0, 1].
        trigger: Spec of the trigger.
        goal: ``"all_to_one"``; ``"all_to_all"``, each class to the next one; ``"untargeted"``, to any wrong one; or
            ``"source_specific"``, only images of the ``sources`` react.
        sources: Classes that react, for a source-specific attack.
        cover_rate: Images of other classes that carry the trigger and keep their label, as a share of all, for a
            source-specific attack.

    Reference: Gu, Dolan-Gavitt and Garg, BadNets, 2017. Poisoned images replace clean ones, as in Neural Cleanse, so
    that the set keeps its size; Gu et al. add stamped copies. Covers are those of Tang et al., USENIX Security 2021.
    """

    name: ClassVar[str] = "badnets"
    quick: ClassVar[str] = "badnets"

    target: int = 0
    rate: float = 0.1
    trigger: str = "patch"
    goal: Goal = "all_to_one"
    sources: tuple[int, ...] = ()
    cover_rate: float = 0.1

    def __post_init__(self) -> None:
        require(0 <= self.cover_rate < 1, field="cover_rate", expected="in [0, 1)", got=self.cover_rate)
        require(
            bool(self.sources) == (self.goal == "source_specific"),
            field="sources",
            expected="for a source-specific goal, and for no other",
            got=self.sources,
        )
        self.parts()

    def parts(self) -> tuple[Poison, ...]:
        """One poison."""
        specific = self.goal == "source_specific"
        options = {
            "all_to_one": f"(target={self.target})",
            "source_specific": f"(target={self.target}, sources={self.sources})",
        }
        return (
            plan(
                self.trigger,
                f"random_share(rate={self.rate})",
                self.goal + options.get(self.goal, ""),
                cover=f"random_share(rate={self.cover_rate})" if specific and self.cover_rate else "",
            ),
        )
