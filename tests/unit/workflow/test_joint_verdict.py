"""What several detectors say together: verdict, headline, reasons and suspects of an audit."""

from dataclasses import dataclass
from typing import ClassVar

import pytest

from mantrap.core import Cost, Detection
from mantrap.detect import DETECTORS
from mantrap.records import Verdict
from mantrap.workflow.audit import audit
from mantrap.workflow.plan import Plan, Source
from mantrap.workflow.verdict import SUCCESS_FROM
from tests import stage

QUICK = DETECTORS.create(stage.QUICK)
CHANGES = DETECTORS.create("universal_perturbation")


def run(*, planted, detectors=(QUICK,), labels=None):
    plan = Plan(detectors=detectors, labels=labels)
    return audit(stage.model(planted=planted), stage.image_set(), plan=plan, source=Source("", ""))


@dataclass(frozen=True, kw_only=True)
class Measures:
    """A detector without triggers that measures one trait: 10 of every label but one."""

    name: ClassVar[str] = "measures"
    quick: ClassVar[str] = "measures"
    label: int
    value: float
    trait: str = "margin"
    named: tuple[int, ...] = ()

    def detect(self, model, *_, labels=None, **__):
        scanned = range(model.num_classes) if labels is None else labels
        return Detection(
            detector="measures",
            num_classes=model.num_classes,
            labels=(),
            triggers=(),
            suspects=self.named,
            score=None,
            indices={},
            cost=Cost(),
            traits={self.trait: {k: self.value if k == self.label else 10.0 + k / 10 for k in scanned}},
        )


def chances(record):
    return {s.label: s.chance for s in record.comparison.standings}


def test_a_label_that_stands_out_by_an_eye_without_triggers_is_shown_and_not_accused_for_an_ordinary_trigger():
    # The clean model: its norms are ordinary, and the label of the smallest has a trigger that works.
    alone = run(planted=False)
    least = alone.detections[0].statistics.smallest_label
    record = run(planted=False, detectors=(QUICK, Measures(label=least, value=1000.0)))

    assert alone.verdict is Verdict.NO_EVIDENCE
    assert record.verdict is Verdict.INCONCLUSIVE
    assert record.suspects[0].label == least
    assert record.reasons[0].startswith(f"Label {least} stands out most, by how far its score can be driven (")
    assert "some label needs as small a trigger" in record.reasons[1]
    assert record.headline == f"Label {least} stands out, but not clearly enough to call it a backdoor."


def test_a_label_that_stands_out_without_a_trigger_is_noticed_and_no_more():
    label = 5  # its norm is the largest, so it has no trigger
    record = run(planted=False, detectors=(QUICK, Measures(label=label, value=1000.0)))

    assert record.verdict is Verdict.INCONCLUSIVE
    assert record.suspects == ()
    assert record.headline == "Label 5 stands out, but not clearly enough to call it a backdoor."
    assert "No trigger for it was measured, so this alone accuses nobody." in record.reasons


def test_a_detector_without_triggers_alone_accuses_nobody_and_may_give_the_all_clear():
    ordinary, special = (run(planted=False, detectors=(Measures(label=1, value=v),)) for v in (10.0, 1000.0))

    assert (ordinary.verdict, special.verdict) == (Verdict.NO_EVIDENCE, Verdict.INCONCLUSIVE)
    assert [t.value for t in ordinary.detections[0].traits] == [10.0, 10.0, 10.2, 10.3, 10.4, 10.5]
    assert chances(special)[1] < 0.02 < chances(ordinary)[1]


def test_what_another_eye_sees_makes_the_planted_label_stand_out_more_and_others_less():
    one = run(planted=True)
    agrees, differs = (
        run(planted=True, detectors=(QUICK, Measures(label=label, value=40.0))) for label in (stage.TARGET, 0)
    )

    assert chances(agrees)[stage.TARGET] < chances(one)[stage.TARGET] < chances(differs)[stage.TARGET]


def test_two_searches_of_one_eye_show_the_label_by_both_triggers():
    record = run(planted=True, detectors=(QUICK, CHANGES))

    assert record.verdict is Verdict.SUSPICIOUS
    assert [(s.label, s.detector) for s in record.suspects] == [
        (stage.TARGET, stage.QUICK),
        (stage.TARGET, "universal_perturbation"),
    ]
    patch, change = record.suspects
    assert patch.size.endswith(" pixels' worth of change")
    assert change.size.startswith("a change of all pixels by ")
    first = next(s for s in record.suspects if s.success >= SUCCESS_FROM)
    assert f": {first.size} sends " in record.headline


def test_a_trait_that_nobody_knows_is_written_down_and_decides_nothing():
    plain = run(planted=False)
    record = run(planted=False, detectors=(QUICK, Measures(label=1, value=1000.0, trait="colour")))
    (own,) = [d for d in record.detections if d.detector == "measures"]

    assert record.verdict is plain.verdict
    assert chances(record) == chances(plain)
    assert {(t.trait, t.chance) for t in own.traits} == {("colour", None)}


@pytest.mark.parametrize(("trait", "verdict"), [("margin", Verdict.NO_EVIDENCE), ("colour", Verdict.INCONCLUSIVE)])
def test_a_suspect_that_is_named_bars_the_all_clear_only_where_the_rule_does_not_know_why(trait, verdict):
    record = run(planted=False, detectors=(QUICK, Measures(label=1, value=10.0, trait=trait, named=(1,))))

    assert record.verdict is verdict


def test_one_label_alone_says_nothing_where_the_level_does_not():
    record = run(planted=False, detectors=(Measures(label=1, value=1000.0),), labels=(1,))

    assert record.verdict is Verdict.INCONCLUSIVE
    assert record.comparison.p_value == 1.0
    assert record.headline == "This audit cannot tell: what it saw is not enough for an answer."
