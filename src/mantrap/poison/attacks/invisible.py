"""Backdoors whose trigger a person does not see."""

from dataclasses import dataclass
from typing import ClassVar

from mantrap.core import Spec, require
from mantrap.poison.attacks.combination import Combination
from mantrap.poison.plan import plan
from mantrap.poison.poison import Poison
from mantrap.poison.triggers.perturbation import AdaptivePerturbation, StaticPerturbation

_TRIGGERS = (StaticPerturbation.name, AdaptivePerturbation.name)


@dataclass(frozen=True, kw_only=True)
class Invisible(Combination):
    """A perturbation of a few grey levels on some training images, which get another label.

    Args:
        target: The label that triggered images get.
        rate: Poisoned images as a share of all, in (0, 1].
        trigger: Spec of a ``static_perturbation``, or of an ``adaptive_perturbation``, which needs a classifier of the
            attacker's own.

    Reference: Liao et al. (in the CODASPY version Zhong et al.), Backdoor Embedding in Convolutional Neural Network
    Models via Invisible Perturbation, CODASPY 2020.
    """

    name: ClassVar[str] = "invisible"
    quick: ClassVar[str] = "invisible(rate=0.1, trigger='adaptive_perturbation(steps=3)')"

    target: int = 0
    rate: float = 0.01
    trigger: str = StaticPerturbation.name

    def __post_init__(self) -> None:
        require(
            Spec.parse(self.trigger).name in _TRIGGERS,
            field="trigger",
            expected=f"out of {' and '.join(_TRIGGERS)}",
            got=self.trigger,
        )
        self.parts()

    def parts(self) -> tuple[Poison, ...]:
        """One poison."""
        return (plan(self.trigger, f"random_share(rate={self.rate})", f"all_to_one(target={self.target})"),)
