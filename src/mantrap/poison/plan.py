"""Poison from spec strings."""

from mantrap.core import Registry
from mantrap.core.attack import Preparation, Relabelling, Selection
from mantrap.poison.clean_labels import CleanLabel, OneImage
from mantrap.poison.poison import Poison
from mantrap.poison.preparations import Adversarial
from mantrap.poison.relabellings import AllToAll, AllToOne, SourceSpecific, Untargeted
from mantrap.poison.selections import Exactly, RandomShare
from mantrap.poison.triggers import for_poisoning

SELECTIONS: Registry[Selection] = Registry("selection", [RandomShare, Exactly])
RELABELLINGS: Registry[Relabelling] = Registry(
    "relabelling", [AllToOne, AllToAll, Untargeted, SourceSpecific, CleanLabel, OneImage]
)
PREPARATIONS: Registry[Preparation] = Registry("preparation", [Adversarial])


def plan(
    trigger: str = "patch",
    selection: str = "random_share",
    relabelling: str = "all_to_one",
    *,
    cover: str = "",
    test_trigger: str = "",
    preparation: str = "",
) -> Poison:
    """A poison out of spec strings; the empty string stands for none.

    Raises:
        SpecError: A spec does not parse, names what is not there, or a trigger that only comes out of the training of a
            model.
    """
    return Poison(
        trigger=for_poisoning(trigger),
        selection=SELECTIONS.create(selection),
        relabelling=RELABELLINGS.create(relabelling),
        cover=SELECTIONS.create(cover) if cover else None,
        test_trigger=for_poisoning(test_trigger) if test_trigger else None,
        preparation=PREPARATIONS.create(preparation) if preparation else None,
    )
