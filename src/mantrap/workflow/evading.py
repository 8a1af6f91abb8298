"""What a model is to be misled with."""

from dataclasses import dataclass, replace
from typing import Any, TypeGuard, cast

from mantrap.core import (
    AnyNorm,
    BudgetedEvasion,
    Classifier,
    CoveringEvasion,
    Evasion,
    ImageSet,
    MinimalEvasion,
    Transformation,
    spec_of,
)
from mantrap.errors import UsageError
from mantrap.records import AimedAt
from mantrap.records.base import SCHEMA_VERSION
from mantrap.records.evading import AREA
from mantrap.training import check_fits
from mantrap.workflow.plan import Source
from mantrap.workflow.versions import versions

_SHARES = (0.125, 0.25, 0.5, 0.75, 1.0)
"""Of an evasion's own budget: what it is tried with where no budgets are given."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Evading:
    """What a model is to be misled with.

    Args:
        model: The classifier.
        source: Its file.
        images: Images with labels.
        evasions: Who misleads it.
        budgets: With which budgets, in rising order; parts of each evasion's own where there are none.
        aim: Where to lead images.
        transformation: What is done to images before the model sees them, which evasions know and attack through.
        seed: Of all randomness.
        command: How to run it again, for the record.

    Raises:
        DataError: Images without labels, or that do not fit the model.
        UsageError: No evasion, the same one twice, or one that cannot aim where it should; or a budget that one of them
            cannot have.
    """

    model: Classifier
    source: Source
    images: ImageSet
    evasions: tuple[Evasion, ...]
    budgets: tuple[float, ...] = ()
    aim: AimedAt = AimedAt.AWAY
    transformation: Transformation | None = None
    seed: int = 0
    command: str = ""

    def __post_init__(self) -> None:
        check_fits(self.model, self.images, remedy="Give images of the model's task, with labels.")
        specs = [str(spec_of(one)) for one in self.evasions]
        if not specs or len(set(specs)) < len(specs):
            raise UsageError(
                expected="one evasion or more, each once", got=", ".join(specs) or "none", remedy="Name others."
            )
        lame = [one.name for one in self.evasions if not one.aims]
        if self.aim is not AimedAt.AWAY and lame:
            raise UsageError(
                expected="evasions that can lead to a given class",
                got=", ".join(lame),
                remedy="Leave them out, or lead away from the own class only.",
            )
        for one in self.evasions:
            self.tried(one)

    def tried(self, evasion: Evasion) -> tuple[tuple[float, Evasion], ...]:
        """An evasion with each of its budgets, in rising order; nothing for one of the smallest norm.

        The budget of a patch is the share of the picture that it covers, and no other is tried.
        """
        if isinstance(evasion, CoveringEvasion):
            _, height, width = self.model.input_shape
            return ((evasion.size[0] * evasion.size[1] / (height * width), evasion),)
        if not is_budgeted(evasion):
            return ()
        budgets = self.budgets or tuple(share * evasion.eps for share in _SHARES)
        return tuple((eps, with_budget(evasion, eps)) for eps in sorted(set(budgets)))

    def identity(self) -> dict[str, object]:
        """What makes two pieces of such work the same."""
        return {
            "kind": "evade",
            "schema_version": SCHEMA_VERSION,
            "model": self.source.sha256,
            "preprocessing": self.model.digest(),
            "images": self.images.digest(),
            "evasions": [str(spec_of(one)) for one in self.evasions],
            "budgets": list(self.budgets),
            "aim": self.aim.value,
            "transformation": None if self.transformation is None else str(spec_of(self.transformation)),
            "seed": self.seed,
            "versions": versions(),
        }


def norm_of(evasion: Evasion) -> AnyNorm:
    """What an evasion's perturbations are measured by; those of a patch by their length."""
    return evasion.norm if isinstance(evasion, MinimalEvasion) else "l2"


def spent_of(evasion: Evasion) -> str:
    """What its budgets are: a norm, or the area of a patch."""
    return AREA if isinstance(evasion, CoveringEvasion) else norm_of(evasion)


def is_budgeted(evasion: Evasion) -> TypeGuard[BudgetedEvasion]:
    """Whether an evasion has a ball to stay in."""
    return isinstance(evasion, BudgetedEvasion)


def with_budget(evasion: BudgetedEvasion, eps: float) -> BudgetedEvasion:
    """The same with another budget.

    Raises:
        SpecError: It cannot have that one.
    """
    return cast("BudgetedEvasion", replace(cast("Any", evasion), eps=eps))
