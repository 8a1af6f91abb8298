"""SIG: a weak signal on images of the target class, whose labels stay right."""

from dataclasses import dataclass
from typing import ClassVar

from mantrap.poison.attacks.combination import Combination
from mantrap.poison.plan import plan
from mantrap.poison.poison import Poison
from mantrap.poison.triggers.signal import Kind


@dataclass(frozen=True, kw_only=True)
class Sig(Combination):
    """A weak ramp or sinusoid is added to images of the target class; no label is wrong.

    A network that trains on them learns that the signal speaks for the class. When the attack is used the signal may be
    stronger than in training, where a person might look at it.

    Args:
        target: The label whose images are changed, and that triggered images get.
        rate: Poisoned images as a share of the target class, in (0, 1].
        kind: ``"ramp"``, which the paper has for digits, or ``"sinusoid"``, for traffic signs.
        delta: Strength in training, in grey levels of 0 to 255.
        test_delta: Strength when the attack is used; ``None`` for the same.
        frequency: Periods of a sinusoid across the image; a ramp has none.

    Reference: Barni, Kallas and Tondi, A new backdoor attack in CNNs by training set corruption without label
    poisoning, ICIP 2019.
    """

    name: ClassVar[str] = "sig"
    quick: ClassVar[str] = "sig(rate=0.5)"

    target: int = 0
    rate: float = 0.3
    kind: Kind = "sinusoid"
    delta: float = 20.0
    test_delta: float | None = None
    frequency: float = 6.0

    def __post_init__(self) -> None:
        self.parts()

    def parts(self) -> tuple[Poison, ...]:
        """One poison."""
        return (
            plan(
                self._signal(self.delta),
                f"random_share(rate={self.rate})",
                f"clean_label(target={self.target})",
                test_trigger="" if self.test_delta is None else self._signal(self.test_delta),
            ),
        )

    def _signal(self, delta: float) -> str:
        return f"signal(kind={self.kind!r}, delta={delta}, frequency={self.frequency})"
