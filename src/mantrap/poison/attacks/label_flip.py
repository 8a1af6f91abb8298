"""Label flipping: poisoning that plants no backdoor."""

from dataclasses import dataclass
from typing import ClassVar

from mantrap.core import require
from mantrap.poison.attacks.combination import Combination
from mantrap.poison.plan import plan
from mantrap.poison.poison import Poison
from mantrap.poison.triggers.no_trigger import NoTrigger


@dataclass(frozen=True, kw_only=True)
class LabelFlip(Combination):
    """Some training images get a wrong label and are otherwise left alone, which costs accuracy.

    It plants no backdoor, and there is no trigger: the truth says ``no_trigger``. So success is what plain test images
    come out as. Without a target it is the share of errors; with one it is how often the images that the attack is
    aimed at are taken for it.

    Args:
        rate: Images with a wrong label as a share of all, in (0, 1].
        target: The label that they get; ``None`` for any wrong one, drawn evenly.
        source: The one class whose labels are flipped, for an attack with a target; ``None`` for all others.

    Reference: Biggio, Nelson and Laskov, Support vector machines under adversarial label noise, ACML 2011 (random
    flips, the paper's baseline); Tolpegin et al., Data poisoning attacks against federated learning systems, ESORICS
    2020 (from a source class to a target class).

    Deviations: Tolpegin et al. flip all images of the source class that an attacker has; here a share of all images.
    """

    name: ClassVar[str] = "label_flip"
    quick: ClassVar[str] = "label_flip(rate=0.2)"

    rate: float = 0.1
    target: int | None = None
    source: int | None = None

    def __post_init__(self) -> None:
        require(
            self.source is None or self.target is not None,
            field="source",
            expected="only together with a target",
            got=self.source,
        )
        self.parts()

    def parts(self) -> tuple[Poison, ...]:
        """One poison, without a trigger."""
        if self.target is None:
            aim = "untargeted"
        elif self.source is None:
            aim = f"all_to_one(target={self.target})"
        else:
            aim = f"source_specific(target={self.target}, sources=({self.source},))"
        return (plan(NoTrigger.name, f"random_share(rate={self.rate})", aim),)
