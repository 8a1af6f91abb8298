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

    Several triggers are several backdoors, each with images of its own; one target for all of them makes several
    triggers for one label, a target for each makes several labels with a trigger each.

    Args:
        target: The label that triggered images get, or one for each trigger; for all-to-all and untargeted attacks it
            means nothing.
        rate: Poisoned images of each backdoor as a share of all, in (0, 1].
        trigger: Spec of the trigger, or of several that differ.
        goal: ``"all_to_one"``; ``"all_to_all"``, each class to the next one; ``"untargeted"``, to any wrong one; or
            ``"source_specific"``, only images of the ``sources`` react.
        sources: Classes that react, for a source-specific attack.
        cover_rate: Images of other classes that carry the trigger and keep their label, as a share of all, for a
            source-specific attack.

    Reference: Gu, Dolan-Gavitt and Garg, BadNets, 2017. Covers are those of Tang et al., USENIX Security 2021. Several
    triggers for one label, and several labels with a trigger each: Wang et al., Neural Cleanse, IEEE S&P 2019, section
    VII.

    Deviations: poisoned images replace clean ones, as in Neural Cleanse, so that the set keeps its size; Gu et al. add
    stamped copies.
    """

    name: ClassVar[str] = "badnets"
    quick: ClassVar[str] = "badnets(rate=0.05)"

    target: int | tuple[int, ...] = 0
    rate: float = 0.1
    trigger: str | tuple[str, ...] = "patch"
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
        different = {part.trigger for part in self.parts()}
        require(
            len(different) == len(self._triggers) > 0,
            field="trigger",
            expected="with at least one spec, and no trigger twice",
            got=self.trigger,
        )

    @property
    def _triggers(self) -> tuple[str, ...]:
        return self.trigger if isinstance(self.trigger, tuple) else (self.trigger,)

    @property
    def _targets(self) -> tuple[int, ...]:
        """The label of each trigger."""
        if not isinstance(self.target, tuple):
            return (self.target,) * len(self._triggers)
        require(
            len(self.target) == len(self._triggers),
            field="target",
            expected=f"that is one label, or one for each of {len(self._triggers)} triggers",
            got=self.target,
        )
        return self.target

    def parts(self) -> tuple[Poison, ...]:
        """A poison for each trigger."""
        cover = f"random_share(rate={self.cover_rate})" if self.sources and self.cover_rate else ""
        return tuple(
            plan(trigger, f"random_share(rate={self.rate})", self._aim(target), cover=cover)
            for trigger, target in zip(self._triggers, self._targets, strict=True)
        )

    def _aim(self, target: int) -> str:
        options = {
            "all_to_one": f"(target={target})",
            "source_specific": f"(target={target}, sources={self.sources})",
        }
        return self.goal + options.get(self.goal, "")
