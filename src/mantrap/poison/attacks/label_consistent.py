"""The label-consistent attack: nothing in the training set looks mislabelled, because nothing is."""

from dataclasses import dataclass
from typing import ClassVar

from mantrap.poison.attacks.combination import Combination
from mantrap.poison.plan import plan
from mantrap.poison.poison import Poison


@dataclass(frozen=True, kw_only=True)
class LabelConsistent(Combination):
    """Images of the target class are made hard to recognise and get a trigger; all labels stay right.

    A network that cannot tell the perturbed images by what they show learns to tell them by the trigger. The attack
    needs a classifier of the attacker's own.

    Args:
        target: The label whose images are changed, and that triggered images get.
        rate: Poisoned images as a share of the target class, in (0, 1].
        trigger: Spec of the trigger in the training set.
        test_trigger: Spec of the trigger when the attack is used, such as a stronger one; empty for the same.
        preparation: Spec of what makes the images hard to recognise.

    Reference: Turner, Tsipras and Madry, Label-Consistent Backdoor Attacks, 2019.

    Deviations: no interpolation in the latent space of a generative network, the paper's other way to make images hard
    to recognise.
    """

    name: ClassVar[str] = "label_consistent"
    quick: ClassVar[str] = "label_consistent(rate=0.5, preparation='adversarial(steps=2)')"

    target: int = 0
    rate: float = 0.25
    trigger: str = "corners"
    test_trigger: str = ""
    preparation: str = "adversarial"

    def __post_init__(self) -> None:
        self.parts()

    def parts(self) -> tuple[Poison, ...]:
        """One poison."""
        return (
            plan(
                self.trigger,
                f"random_share(rate={self.rate})",
                f"clean_label(target={self.target})",
                test_trigger=self.test_trigger,
                preparation=self.preparation,
            ),
        )
