"""A backdoor through the frequency domain."""

from dataclasses import dataclass
from typing import ClassVar

from mantrap.poison.attacks.combination import Combination
from mantrap.poison.plan import plan
from mantrap.poison.poison import Poison
from mantrap.poison.triggers.spectrum import Planes


@dataclass(frozen=True, kw_only=True)
class Frequency(Combination):
    """Some training images have more of two frequencies, which a person hardly sees, and get another label.

    Args:
        target: The label that triggered images get.
        rate: Poisoned images as a share of all, in (0, 1].
        magnitude: What is added to each frequency, as for the trigger ``spectrum``.
        planes: ``"uv"``, ``"yuv"`` or ``"rgb"``: what is changed in a coloured image, as for the trigger.

    Reference: Wang et al., An invisible black-box backdoor attack through frequency domain (FTrojan), ECCV 2022; the
    rate is that of the authors' published code.
    """

    name: ClassVar[str] = "frequency"
    quick: ClassVar[str] = "frequency(rate=0.2)"

    target: int = 0
    rate: float = 0.05
    magnitude: float = 30.0
    planes: Planes = "uv"

    def __post_init__(self) -> None:
        self.parts()

    def parts(self) -> tuple[Poison, ...]:
        """One poison."""
        return (
            plan(
                f"spectrum(magnitude={self.magnitude}, planes={self.planes!r})",
                f"random_share(rate={self.rate})",
                f"all_to_one(target={self.target})",
            ),
        )
