"""Poison from spec strings."""

from dataclasses import dataclass
from typing import ClassVar

import pytest

from mantrap.core import Registry
from mantrap.core.attack import StoredTrigger
from mantrap.errors import SpecError, UsageError
from mantrap.poison import TRIGGERS, AllToOne, Exactly, Patch, Poison, RandomShare, SourceSpecific, plan
from mantrap.poison.preparations import Adversarial


def test_the_default_is_badnets():
    assert plan() == Poison(trigger=Patch(), selection=RandomShare(), relabelling=AllToOne())


def test_every_part_comes_from_its_spec():
    made = plan(
        "patch(size=2)",
        "exactly(count=3)",
        "source_specific(target=2, sources=(0,))",
        cover="random_share(rate=0.3)",
        test_trigger="patch(size=5)",
        preparation="adversarial(steps=2)",
    )
    assert made == Poison(
        trigger=Patch(size=2),
        selection=Exactly(count=3),
        relabelling=SourceSpecific(target=2, sources=(0,)),
        cover=RandomShare(rate=0.3),
        test_trigger=Patch(size=5),
        preparation=Adversarial(steps=2),
    )
    assert str(made) == (
        "patch(size=2), exactly(count=3), source_specific(target=2, sources=(0,)), random_share(rate=0.3),"
        " patch(size=5), adversarial(steps=2)"
    )


@pytest.mark.parametrize(
    ("specs", "words"),
    [
        ({"trigger": "pach"}, "a trigger out of .*Did you mean patch"),
        ({"trigger": "patch(size=0)"}, "size of at least 1 pixel, got 0"),
        ({"selection": "patch"}, "a selection out of"),
        ({"relabelling": "all_to_nobody"}, "a relabelling out of"),
        ({"relabelling": ""}, "got"),
        ({"cover": "all_to_one"}, "a selection out of"),
        ({"test_trigger": "exactly"}, "a trigger out of"),
        ({"preparation": "cooking"}, "a preparation out of"),
    ],
    ids=str,
)
def test_a_spec_that_names_nothing_is_refused(specs, words):
    with pytest.raises(SpecError, match=words):
        plan(**specs)


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A trigger that comes out of the training of a model."""

    name: ClassVar[str] = "trained"

    def restore(self, tensors):
        raise AssertionError(tensors)


@pytest.mark.parametrize("which", ["trigger", "test_trigger"])
def test_a_trigger_that_only_a_training_makes_poisons_no_set(which, monkeypatch):
    monkeypatch.setattr("mantrap.poison.triggers.TRIGGERS", Registry("trigger", [*TRIGGERS, Trained]))
    assert isinstance(Trained(), StoredTrigger)
    with pytest.raises(UsageError, match="there before the training, got trained, which is trained together"):
        plan(**{which: "trained"})
